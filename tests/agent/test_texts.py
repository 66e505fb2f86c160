"""Texts: complete in both languages for every kind and reason, and never a traceback for a missing fact."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from agent import texts
from probes import registry
from probes.model import PROBE_REASONS

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
    assert set(catalogue("probe")) == set(PROBE_REASONS)


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


def test_an_unknown_reason_is_shown_by_the_probes_own_sentence_or_by_its_name() -> None:
    assert texts.sentence("drawer", "drawer.open", {}, "en", otherwise="the drawer is open") == "the drawer is open"
    assert texts.sentence("drawer", "drawer.open", {}, "en") == "drawer.open"


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0.2, "0 s", "0 秒"),
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
