"""Texts: complete in both languages for every kind and reason, and never a traceback for a missing fact."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import probes
from agent import runner, texts
from agent.rendering import summary
from probes import registry
from probes.model import PROBE_REASONS, CannotAnswer, NotFitted, OutOfTime
from tests.agent.kinds import make_kind, make_probe, raising, sleep_for, teach

FOLDER = Path(texts.__file__).parent
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".toml", ".json"))
HAN = re.compile(r"[\u4e00-\u9fff]")


def catalogue(name: str) -> dict[str, dict[str, str]]:
    if name == "words":
        return json.loads((FOLDER / "words.json").read_text(encoding="utf-8"))
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", registry.names())
def test_every_reason_of_every_kind_has_a_sentence_in_both_languages(name: str) -> None:
    kind = registry.find(name)
    for entry in ("kind", "ok"):
        assert set(catalogue(name)[entry]) == {"en", "zh-CN"}, entry
    for reason in kind.reasons:
        assert set(catalogue(reason.partition(".")[0])[reason]) == {"en", "zh-CN"}, reason


def test_every_answer_that_is_none_has_a_sentence_too() -> None:
    entries = [entry.partition(":") for entry in catalogue("probe")]
    assert {reason for reason, _colon, _why in entries} == set(PROBE_REASONS)
    assert {why for _reason, _colon, why in entries} <= {"", *catalogue("why")}


def whys() -> Iterator[tuple[str, ast.expr]]:
    """Every `why="…"` of the code with the English text beside it."""
    for path in [*Path(probes.__file__).parent.rglob("*.py"), *FOLDER.parent.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            given = [key.value for key in node.keywords if key.arg == "why"] if isinstance(node, ast.Call) else []
            if isinstance(node, ast.Call) and given and isinstance(given[0], ast.Constant):
                yield str(given[0].value), node.args[0]


def fixed_parts(text: ast.expr) -> list[str]:
    """What a text says whatever its facts are."""
    pieces = text.values if isinstance(text, ast.JoinedStr) else [text]
    return [str(piece.value) for piece in pieces if isinstance(piece, ast.Constant)]


def test_every_cause_that_the_code_gives_has_a_text_and_every_text_a_cause() -> None:
    assert {why for why, _text in whys()} == set(catalogue("why"))


def test_the_english_of_a_cause_is_what_the_code_says() -> None:
    for why, text in whys():
        if isinstance(text, (ast.Constant, ast.JoinedStr)):
            parts = [part for part in re.split(r"{\w+}", catalogue("why")[why]["en"]) if part]
            assert fixed_parts(text) == parts, why


@pytest.mark.parametrize(
    ("error", "english", "chinese"),
    [
        (
            NotFitted("no temperature sensor answers on this PC", why="no_sensor"),
            "not fitted: no temperature sensor answers on this PC",
            "未配备：本机没有可读取的温度传感器",
        ),
        (
            OutOfTime("/bin/x did not end in time", why="program_late", program="/bin/x"),
            "the check did not finish in 3 s: /bin/x did not end in time",
            "检测未能在 3 秒内完成：/bin/x 未及时结束",
        ),
        (NotFitted("no drawer"), "not fitted: no drawer", "未配备：no drawer"),
        (NotFitted("no drawer", why="never_heard"), "not fitted: no drawer", "未配备：no drawer"),
    ],
)
def test_why_nothing_could_be_seen_is_said_in_the_readers_language(
    monkeypatch: pytest.MonkeyPatch, error: CannotAnswer, english: str, chinese: str
) -> None:
    teach(monkeypatch, make_kind("bad", raising(error)))
    (found,) = runner.look_at_all([make_probe("p", "bad", timeout=3)], {})
    assert summary(found, "en") == english
    assert summary(found, "zh-CN") == chinese


def test_a_probe_that_was_left_behind_says_so_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("hang", sleep_for(5)))
    (found,) = runner.look_at_all([make_probe("p", "hang", timeout=0.2)], {})
    assert summary(found, "zh-CN") == "检测未能在 0.2 秒内完成：检测卡住，不再等待"


def test_of_a_probe_that_nobody_waited_for_it_is_not_said_that_it_was_late() -> None:
    found = runner.not_awaited(make_probe("p", "tls", timeout=3), "lan.cable_unplugged")
    assert summary(found, "en") == "not waited for, lan.cable_unplugged explains it"
    assert summary(found, "zh-CN") == "未等待结果，lan.cable_unplugged 已可解释"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_both_languages_of_a_sentence_name_the_same_facts(path: Path) -> None:
    for name, sentence in catalogue(path.stem).items():
        assert set(sentence) == {"en", "zh-CN"}, name
        facts = [sorted(set(re.findall(r"{(\w+)", sentence[language]))) for language in texts.LANGUAGES]
        assert facts[0] == facts[1], name
        assert not HAN.search(sentence["en"]), name
        assert sentence["en"] and sentence["zh-CN"], name


@pytest.mark.parametrize("name", registry.names())
def test_no_sentence_belongs_to_a_reason_that_no_longer_exists(name: str) -> None:
    known = {"kind", "ok", *registry.find(name).reasons}
    assert {entry for entry in catalogue(name) if entry.partition(".")[0] in ("kind", "ok", name)} <= known


@pytest.mark.parametrize(
    ("template", "facts", "expected"),
    [
        ("{free_bytes:bytes} free", {"free_bytes": 1_500_000_000}, "1.5 GB free"),
        ("{free_bytes:bytes} free", {"free_bytes": 999}, "999 B free"),
        ("{rtt_ms} ms", {"rtt_ms": 12.3456}, "12.3 ms"),
        ("{rtt_ms} ms", {"rtt_ms": 1234.56}, "1235 ms"),
        ("{holders} hold it", {"holders": ["pos", "brltty"]}, "pos, brltty hold it"),
        ("{gone} of {never.heard[0]}", {}, "? of ?"),
    ],
)
def test_filling(template: str, facts: dict[str, object], expected: str) -> None:
    assert texts.fill(template, facts) == expected


def test_a_list_is_joined_as_the_language_does() -> None:
    facts = {"of": "POS", "version": "4.2", "waiting": ["pos-backend", "this PC"]}
    english, chinese = (texts.sentence("version", "version.restart_pending", facts, each) for each in texts.LANGUAGES)
    assert english == "POS 4.2: an update waits for a restart of pos-backend, this PC"
    assert chinese == "POS 4.2：更新需重启后生效（pos-backend、this PC）"
    subjects = texts.phrase("subject.all", "zh-CN", shown=["a.example:443", "b.example:443"])
    assert subjects == "a.example:443、b.example:443"


def test_an_unknown_reason_is_shown_by_the_probes_own_sentence_or_by_its_name() -> None:
    assert texts.sentence("drawer", "drawer.open", {}, "en", otherwise="the drawer is open") == "the drawer is open"
    assert texts.sentence("drawer", "drawer.open", {}, "en") == "drawer.open"


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0.2, "0.2 s", "0.2 秒"),
        (0.01, "0 s", "0 秒"),
        (59.6, "1 min", "1 分钟"),
        (9000, "2 h 30 min", "2 小时 30 分钟"),
        (195375, "2 d 6 h", "2 天 6 小时"),
        (86401, "1 d", "1 天"),
        (-5, "0 s", "0 秒"),
    ],
)
def test_a_length_of_time_is_told_in_the_sentences_language(seconds: float, english: str, chinese: str) -> None:
    assert texts.fill("{age_s:span}", {"age_s": seconds}) == english
    assert texts.fill("{age_s:时长}", {"age_s": seconds}) == chinese


def phrases() -> Iterator[tuple[str, bool]]:
    """Every name given to `texts.phrase` in the code, and whether it is whole or only how it begins."""
    for path in FOLDER.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_phrase = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "phrase"
            )
            name = node.args[0] if is_phrase and node.args else None  # type: ignore[attr-defined]
            if isinstance(name, ast.Constant):
                yield name.value, True
            elif isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
                yield name.values[0].value, False


def test_every_phrase_of_the_code_is_in_the_catalogue() -> None:
    words, used = catalogue("words"), set(phrases())
    assert {name for name, is_whole in used if is_whole} <= set(words)
    for begin in {name for name, is_whole in used if not is_whole}:
        assert any(name.startswith(begin) for name in words), begin
    assert len(used) > 40
