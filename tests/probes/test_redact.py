"""redact: no card number gets past, and what is not one stays readable."""

from __future__ import annotations

import json
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import redact
from probes.redact import luhn, scrub, scrub_data

DATA = Path(__file__).parent / "data"
DIRTY = tomllib.loads((DATA / "dirty.toml").read_text("utf-8"))["case"]
INNOCENT = tomllib.loads((DATA / "innocent.toml").read_text("utf-8"))["texts"]


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(DIRTY) >= 60
    assert len(INNOCENT) >= 60


@pytest.mark.parametrize("case", DIRTY, ids=lambda case: case["text"][:40])
def test_card_data_does_not_get_past(case: dict[str, Any]) -> None:
    clean = scrub(case["text"])
    closed = re.sub(r"[ \-._+/\u00a0\u2013]|%20", "", clean)
    for gone in case["gone"]:
        assert gone not in clean
        assert gone.replace("/", "") not in closed


@pytest.mark.parametrize("text", INNOCENT, ids=lambda text: text[:40])
def test_what_is_no_card_data_stays_as_it_is(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        pytest.param("x 4111111111111111 y", "x ************1111 y", id="the last four stay"),
        pytest.param("4111 1111 1111 1111", "**** **** **** 1111", id="the grouping stays"),
        pytest.param("4111111111111111|12/27|123 ok", "************1111|**/**|*** ok", id="what follows goes"),
        pytest.param("a\n;4111111111111111=2712?\nb", "a\n[line with track data dropped]\nb", id="a track's line goes"),
        pytest.param('{"cvv":"123"}', '{"cvv":"***"}', id="by its name"),
        pytest.param("5A0841111111111111115F", "5A08****************5F", id="by its tag"),
    ],
)
def test_what_is_left_can_still_be_read(dirty: str, clean: str) -> None:
    assert scrub(dirty) == clean


@pytest.mark.parametrize(
    "document",
    [
        '{"pan": 4111111111111111, "amount": 12.5, "cvv":123}',
        '{"pan":4111111111111111}',
        '[{"n" : 5555555555554444\n}]',
        '{"cvv": 123\n, "exp":1227}',
    ],
)
def test_a_json_document_can_still_be_read(document: str) -> None:
    clean = json.loads(scrub(document))
    assert "4111111" not in str(clean)
    assert "5555" not in str(clean)


@pytest.mark.parametrize(
    ("digits", "expected"),
    [("4111111111111111", True), ("4111111111111112", False), ("79927398713", True), ("０", True), ("", True)],
)
def test_the_check_digit(digits: str, expected: bool) -> None:
    assert luhn(digits) is expected


@pytest.mark.parametrize("text", ["sale 4111 1111 11", "sale 411111111111", "t2 4111111111111111=27", "5A 08 41 11"])
def test_a_number_that_was_cut_off_is_not_shown(text: str) -> None:
    assert "41" not in scrub(text, cut=True)


def test_a_parsed_document_is_cleaned_by_name_and_by_value() -> None:
    document = {
        "pan": 4111111111111111,
        "cvv": 123,
        "amount": 12.5,
        "ok": True,
        "none": None,
        "trace": "000123",
        "4111111111111111": ["5555555555554444", {"exp": "2712"}],
        "count": 1776256245123,
    }
    assert scrub_data(document) == {
        "pan": "************1111",
        "cvv": "***",
        "amount": 12.5,
        "ok": True,
        "none": None,
        "trace": "000123",
        "************1111": ["************4444", {"exp": "****"}],
        "count": 1776256245123,
    }


def _check_digit(payload: str) -> str:
    """Written apart from the code under test: from the right, double every second digit and add the digits."""
    total = 0
    for place, char in enumerate(reversed(payload)):
        value = int(char) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return str((10 - total % 10) % 10)


@st.composite
def cards(draw: st.DrawFn) -> str:
    prefix, length = draw(
        st.sampled_from(
            [
                ("4", 16),
                ("4", 19),
                ("51", 16),
                ("2221", 16),
                ("34", 15),
                ("37", 15),
                ("36", 14),
                ("3528", 16),
                ("62", 16),
                ("62", 17),
                ("62", 18),
                ("62", 19),
                ("6011", 16),
                ("6304", 19),
                ("955880", 19),
                ("5018", 13),
            ]
        )
    )
    rest = draw(st.text("0123456789", min_size=length - len(prefix) - 1, max_size=length - len(prefix) - 1))
    return prefix + rest + _check_digit(prefix + rest)


AROUND = st.text(st.characters(exclude_categories=["Nd", "Cs"]), max_size=12)


@given(cards(), AROUND, AROUND)
@settings(max_examples=400, deadline=None)
def test_no_card_number_gets_past_whatever_stands_around_it(card: str, before: str, after: str) -> None:
    clean = scrub(f"{before} {card},{after}")
    assert card not in clean
    assert card[:-4] not in clean


@given(cards(), st.sampled_from([" ", "-", ".", "_", "%20", "\u00a0", "  "]), AROUND)
@settings(max_examples=200, deadline=None)
def test_nor_when_it_is_grouped_by_four(card: str, gap: str, before: str) -> None:
    written = gap.join(card[place : place + 4] for place in range(0, len(card), 4))
    clean = scrub(f"{before}: {written} ok")
    assert written not in clean
    assert not clean.count(written[: 8 + len(gap)])


@given(st.lists(st.one_of(cards(), st.text("0123456789", min_size=1, max_size=6)), min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_nor_among_other_numbers(numbers: list[str]) -> None:
    clean = scrub(" ".join(numbers))
    assert not [number for number in numbers if len(number) >= 13 and number in clean]


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_text_comes_through(text: str) -> None:
    assert isinstance(scrub(text), str)
    assert isinstance(scrub(text, cut=True), str)


PIECES = (
    *(
        "pan",
        "card no",
        "4111111111111111",
        "4111 1111 1111 1111",
        "5A08",
        "5F20",
        "5f24",
        "F2",
        "DE 14",
        "field",
        "bit 35",
    ),
    *("de55", "data element", "域", "%B", "^", "=", "D", "*1111", "0x", "\\x", "3", "34", "35", "0527", "12/27", "pin"),
    *(
        " ",
        "-",
        ".",
        "/",
        "+",
        ":",
        ",",
        '"',
        "track2",
        "bytes",
        "rx_bytes",
        "123",
        "41",
        "A",
        "%20",
        "%2d",
        "\n",
        "token",
    ),
)
NASTY = st.one_of(st.sampled_from(PIECES), st.text("0123456789 -./=^%*dDfF5A2", max_size=8), st.text(max_size=3))


@given(st.lists(NASTY, max_size=30).map("".join))
@settings(max_examples=3000, deadline=None)
def test_what_is_let_through_at_a_glance_is_what_the_long_way_would_not_change(text: str) -> None:
    if redact._is_harmless(text):
        assert redact._scrubbed(text) == text


@pytest.mark.parametrize("case", DIRTY, ids=lambda case: case["text"][:40])
def test_nothing_dirty_is_let_through_at_a_glance(case: dict[str, Any]) -> None:
    assert not redact._is_harmless(case["text"])


@pytest.mark.parametrize("text", ["192.168.100.23:50443", "192.168.100.23: connected in 0.001 s", "rtt_ms", "ok", ""])
def test_the_everyday_text_is_let_through_at_a_glance(text: str) -> None:
    assert redact._is_harmless(text)


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "brick",
    ["4", "16", "4444 ", "41 ", "4 ", "4111111111111112\n", "=", "B12345678^", "%B1 2 3 4", "5A08", "AB ", "37", "exp: ",
     "1234567890123456-", "password=", " ", "-", "3%31", "DE2: "],
)  # fmt: skip
def test_a_megabyte_of_digits_or_a_lot_of_anything_takes_no_more_than_seconds(brick: str) -> None:
    text = brick * ((MEGABYTE if brick.isdigit() else MEGABYTE // 5) // len(brick))
    begin = time.process_time()
    scrub(text)
    scrub(text, cut=True)
    assert time.process_time() - begin < 4


def test_twice_the_text_takes_twice_the_time_not_four_times() -> None:
    def cost(size: int) -> float:
        text = "9" * 900 + " " + "4 1 " * size
        begin = time.process_time()
        redact.scrub(text)
        return time.process_time() - begin

    cost(1000)
    small, large = min(cost(20_000) for _ in range(3)), min(cost(80_000) for _ in range(3))
    assert large < 10 * small + 0.05
