"""The corpus: over 300 texts with card numbers in every usual disguise, over 300 without, and what comes of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from probes import plugin, settlement, version
from probes.host import Host
from probes.model import Observation
from probes.redact import luhn, scrub
from probes.settlement_settings import SettlementSettings
from probes.version_settings import VersionSettings
from tests.probes.cards import DISGUISES, NUMBERS, Case, cases, leaks

CASES = list(cases())
LINES = (Path(__file__).parent / "data" / "innocent_lines.txt").read_text("utf-8").split("\n")
INNOCENT = [line for line in LINES if line and not line.startswith("# ")]


def together(texts: list[str], size: int) -> list[list[str]]:
    return [texts[place : place + size] for place in range(0, len(texts), size)]


def told(seen: Observation) -> str:
    """All that a probe hands on, its memory too."""
    return "\n".join([seen.detail, *seen.evidence, *map(str, seen.measurements.values()), str(seen.memory)])


def test_there_are_at_least_three_hundred_of_each_and_none_is_there_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.text for case in CASES}) >= 350
    assert len(set(INNOCENT)) == len(INNOCENT) >= 300
    assert len(DISGUISES) >= 100


def test_every_number_could_be_a_card_and_all_lengths_are_there() -> None:
    assert all(luhn(number) for number in NUMBERS.values())
    assert {len(number) for number in NUMBERS.values()} == {13, 14, 15, 16, 17, 18, 19}
    assert {case.card for case in CASES} >= set(NUMBERS.values()) - {NUMBERS["visa-4242"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_card_gets_past(case: Case) -> None:
    assert leaks(case.text, case), "this text does not hold what it is here for"
    clean = scrub(case.text)
    assert not leaks(clean, case), clean
    assert not leaks(scrub(f"2026-11-22 06:14:05 INFO [pos] {case.text} rc=00"), case)
    assert not leaks(scrub("nothing here\n" * 100 + case.text + "\nnor here" * 100), case)


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_card_arrives_as_it_was(text: str) -> None:
    assert scrub(text) == text
    assert scrub(f"pos-main: {text}; done") == f"pos-main: {text}; done"


def test_many_innocent_lines_arrive_as_they_were() -> None:
    text = "\n".join(INNOCENT)
    assert scrub(text) == text


def test_a_column_of_numbers_is_no_card_that_was_wrapped() -> None:
    column = "trace\n" + "\n".join(f"{number:08}" for number in range(40128888, 40129088)) + "\n"
    assert scrub(column) == column


def test_what_was_cleaned_once_stays_as_it_is() -> None:
    for case in CASES:
        clean = scrub(case.text)
        assert scrub(clean) == clean, case


def test_a_plugin_may_say_what_it_likes(tmp_path: Path) -> None:
    said = tmp_path / "said"
    wanted = plugin.PluginSettings(kind="plugin", command=("/bin/cat", str(said)))

    def look(texts: list[str]) -> str:
        said.write_text("\n\n".join(["TILL OK", *texts]), "utf-8", newline="")
        return told(plugin.judge(wanted, plugin.read(wanted, Host(ends=time.monotonic() + 10)), {}))

    for group in together([case.text for case in CASES], 3):
        text = look(group)
        assert "TILL OK" in text
        for case in CASES:
            if case.text in group:
                assert not leaks(text, case), (case, text)
    for group in together([text for text in INNOCENT if "|" not in text], 10):
        lines = look(group).split("\n")
        assert [text for text in group if text.strip() not in lines] == []


def test_a_settlement_record_may_hold_what_it_likes(tmp_path: Path) -> None:
    log = tmp_path / "pos.log"
    wanted = SettlementSettings(
        kind="settlement",
        file=str(log),
        format="log",
        patterns=(r"^(?P<time>\S+Z) (?P<type>\w+) ref=(?P<reference>\S+) rc=(?P<status>.*)",),
    )
    for case in (each for each in CASES if "\n" not in each.text):  # a reader of lines sees one half alone
        log.write_text(f"2026-11-22T06:14:05Z SALE ref=000123 rc={case.text}\n", "utf-8", newline="")
        text = told(settlement.judge(wanted, settlement.read(wanted, Host(ends=time.monotonic() + 10)), {}))
        assert "2026-11-22T06:14:05" in text
        assert not leaks(text, case), (case, text)


def test_a_version_may_be_anything(tmp_path: Path) -> None:
    file = tmp_path / "VERSION"
    wanted = VersionSettings(kind="version", of="POS software", file=str(file), pattern="(?s)(.{1,120})")

    def look(text: str) -> str:
        file.write_text(text, "utf-8", newline="")
        return told(version.judge(wanted, version.read(wanted, Host(ends=time.monotonic() + 10)), {}))

    for case in CASES:
        assert not leaks(look(case.text), case), case
    for text in INNOCENT:
        if len(text) <= 100:
            assert text.strip() in look(text)


def test_three_megabytes_of_short_numbered_lines_are_read_quickly() -> None:
    text = "".join(f"line {number}\n" for number in range(1, 300_001))
    begin = time.process_time()
    assert scrub(text) == text
    assert time.process_time() - begin < 3


def test_a_megabyte_of_a_log_is_read_quickly() -> None:
    lines = [f"2026-11-22 06:14:05.123 INFO [pos-main] heartbeat seq={number} state=IDLE" for number in range(14_000)]
    text = "\n".join(lines)
    begin = time.process_time()
    assert scrub(text) == text
    assert time.process_time() - begin < 2
