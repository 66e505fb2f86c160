"""What the status page ships: both languages whole, everything kept for a reload, nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import agent.web
from agent.causes import CAUSES
from agent.report import LINKS

STATIC = Path(agent.web.__file__).parent / "static"


def words(language: str) -> dict[str, Any]:
    text = (STATIC / f"words.{language}.js").read_text("utf-8")
    found: dict[str, Any] = json.loads(text.removeprefix("export default ").rstrip().rstrip(";"))
    return found


def places(text: object) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", json.dumps(text)))


def test_both_languages_have_the_same_words_with_the_same_places_to_fill() -> None:
    english, chinese = words("en"), words("zh-CN")
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert places(text) == places(chinese[key]), key
        assert type(text) is type(chinese[key])
        if isinstance(text, list):
            assert len(text) == len(chinese[key])


def test_chinese_is_chinese() -> None:
    chinese = re.compile("[一-鿿]|[：；，]")
    left = [key for key, text in words("zh-CN").items() if not chinese.search(json.dumps(text, ensure_ascii=False))]
    assert sorted(left) == ["loading.kicker", "switch", "switch.label", "version"]


def test_every_party_link_status_and_verdict_has_its_word() -> None:
    known = words("en")
    assert {f"party.{each.party}" for each in CAUSES.values()} <= set(known)
    assert {f"link.{link}" for link in LINKS} <= set(known)
    for status in ("ok", "warn", "fail", "unknown", "skipped"):
        assert f"status.{status}" in known
        assert f"link.state.{status}" in known
    for word in ("ready", "at_risk", "down", "unknown"):
        assert {word, f"{word}.kicker", f"settlement.{word}"} <= set(known)


def test_every_word_that_is_asked_for_exists() -> None:
    known = words("en")
    asked = {
        key
        for path in STATIC.glob("*.js")
        for key in re.findall(r'(?:say|part|list)\(\s*"([a-z_.]+)"', path.read_text("utf-8"))
    }
    assert len(asked) > 50
    assert asked <= set(known)


def test_the_service_worker_keeps_everything_that_ships_and_nothing_that_changes() -> None:
    source = (STATIC / "sw.js").read_text("utf-8")
    kept = set(re.findall(r'"([a-zA-Z.-]+\.(?:js|css|svg))"', source))
    assert kept == {path.name for path in STATIC.iterdir()} - {"index.html", "sw.js"}
    assert "health.json" not in source


def test_nothing_comes_from_elsewhere_and_nothing_is_read_as_markup() -> None:
    for path in STATIC.iterdir():
        text = path.read_text("utf-8")
        for address in re.findall(r"https?://[^\s\"'`)]+", text):
            assert address == "http://www.w3.org/2000/svg", path.name
        if path.suffix == ".js":
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style="):
                assert word not in text, path.name
    page = (STATIC / "index.html").read_text("utf-8")
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=", page)


def test_the_page_stays_small() -> None:
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < 120_000
