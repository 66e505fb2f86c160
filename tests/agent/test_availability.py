"""Availability: seconds of good, bad and blind, per day of the store, inside its opening hours."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.availability import Row, Tally, accrue, rows
from agent.config import hours
from agent.config.hours import Hours
from probes.model import Status

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
OK, WARN, FAIL, UNKNOWN, SKIPPED = Status.OK, Status.WARN, Status.FAIL, Status.UNKNOWN, Status.SKIPPED
ALWAYS = Hours(zone=UTC)


def at(local: str, zone: tzinfo = SHANGHAI) -> float:
    return datetime.fromisoformat(local).replace(tzinfo=zone).timestamp()


def told(start: str, end: str, lines: list[str], zone: tzinfo = SHANGHAI, status: Status | None = OK) -> list[Row]:
    tally = Tally()
    accrue(tally, "auth", status, at(start, zone), at(end, zone), hours.parse(lines, zone))
    return rows(tally)


@pytest.mark.parametrize(
    ("status", "times"),
    [
        (OK, (60.0, 0.0, 0.0)),
        (WARN, (0.0, 60.0, 0.0)),
        (FAIL, (0.0, 60.0, 0.0)),
        (UNKNOWN, (0.0, 0.0, 60.0)),
        (None, (0.0, 0.0, 60.0)),
    ],
)
def test_a_minute_is_good_bad_or_blind(status: Status | None, times: tuple[float, float, float]) -> None:
    assert told("2026-03-02T10:00", "2026-03-02T10:01", [], status=status) == [("2026-03-02", "auth", *times)]


def test_what_is_not_fitted_has_no_availability() -> None:
    assert told("2026-03-02T10:00", "2026-03-02T10:01", [], status=SKIPPED) == []


def test_a_closed_shop_counts_nothing() -> None:
    assert told("2026-03-01T10:00", "2026-03-01T18:00", ["mon-sat 09:00-22:00"]) == []


def test_only_what_lies_between_opening_and_closing_counts() -> None:
    assert told("2026-03-02T08:00", "2026-03-02T09:00:30", ["mon-sat 09:00-22:00"]) == [
        ("2026-03-02", "auth", 30.0, 0.0, 0.0)
    ]
    assert told("2026-03-02T21:59", "2026-03-03T09:00:10", ["mon-sat 09:00-22:00"]) == [
        ("2026-03-02", "auth", 60.0, 0.0, 0.0),
        ("2026-03-03", "auth", 10.0, 0.0, 0.0),
    ]


def test_the_day_is_that_of_the_store_not_of_greenwich() -> None:
    assert told("2026-03-02T23:00", "2026-03-03T02:00", []) == [
        ("2026-03-02", "auth", 3600.0, 0.0, 0.0),
        ("2026-03-03", "auth", 7200.0, 0.0, 0.0),
    ]


def test_a_bar_that_closes_after_midnight_is_open_on_both_days() -> None:
    assert told("2026-03-06T12:00", "2026-03-07T12:00", ["fri 18:00-02:00"]) == [
        ("2026-03-06", "auth", 6 * 3600.0, 0.0, 0.0),
        ("2026-03-07", "auth", 2 * 3600.0, 0.0, 0.0),
    ]


def test_a_bar_that_closes_after_midnight_on_sunday_is_open_on_monday() -> None:
    assert told("2026-03-08T23:00", "2026-03-09T12:00", ["sun 18:00-02:00"]) == [
        ("2026-03-08", "auth", 3600.0, 0.0, 0.0),
        ("2026-03-09", "auth", 7200.0, 0.0, 0.0),
    ]


def test_a_break_at_noon_does_not_count_and_overlapping_lines_count_once() -> None:
    lines = ["mon-fri 09:00-12:00,14:00-18:00", "mon 11:00-13:00"]
    assert told("2026-03-02T00:00", "2026-03-03T00:00", lines) == [("2026-03-02", "auth", 8 * 3600.0, 0.0, 0.0)]


def test_a_whole_week_adds_up() -> None:
    found = told("2026-03-02T00:00", "2026-03-09T00:00", ["mon-sat 09:00-22:00"])
    assert [(day, good) for day, _, good, _, _ in found] == [(f"2026-03-0{n}", 13 * 3600.0) for n in range(2, 8)]


def test_a_holiday_does_not_count_and_the_night_before_it_does() -> None:
    tally = Tally()
    opened = hours.parse(["daily 20:00-02:00"], SHANGHAI, ["2026-10-02"])
    accrue(tally, "auth", OK, at("2026-10-01T12:00", SHANGHAI), at("2026-10-03T23:00", SHANGHAI), opened)
    assert [(day, good) for day, _, good, _, _ in rows(tally)] == [
        ("2026-10-01", 4 * 3600.0),
        ("2026-10-02", 2 * 3600.0),
        ("2026-10-03", 3 * 3600.0),
    ]


@pytest.mark.parametrize(
    ("day", "after", "lines", "opened"),
    [
        pytest.param("2026-03-29", "2026-03-30", [], 23, id="spring: a day of 23 hours"),
        pytest.param("2026-10-25", "2026-10-26", [], 25, id="autumn: a day of 25 hours"),
        pytest.param("2026-03-29", "2026-03-30", ["daily 09:00-22:00"], 13, id="spring: a shop opens at nine"),
        pytest.param("2026-10-25", "2026-10-26", ["daily 09:00-22:00"], 13, id="autumn: a shop opens at nine"),
        pytest.param("2026-03-29", "2026-03-30", ["sun 00:00-06:00"], 5, id="spring: a night is an hour shorter"),
        pytest.param("2026-10-25", "2026-10-26", ["sun 00:00-06:00"], 7, id="autumn: a night is an hour longer"),
        pytest.param("2026-03-29", "2026-03-30", ["sun 02:15-02:45"], 0, id="spring: a half hour that never was"),
        pytest.param("2026-10-25", "2026-10-26", ["sun 02:15-02:45"], 1, id="autumn: a half hour that was twice"),
    ],
)
def test_daylight_saving(day: str, after: str, lines: list[str], opened: int) -> None:
    found = told(f"{day}T00:00", f"{after}T00:00", lines, BERLIN)
    assert found == ([(day, "auth", opened * 3600.0, 0.0, 0.0)] if opened else [])


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param("2026-03-02T10:00", "2026-03-02T09:00", id="an hour back"),
        pytest.param("2026-03-02T10:00", "2026-03-02T10:00", id="no time at all"),
        pytest.param("2000-01-01T00:00", "2026-03-02T10:00", id="from 2000 to 2026"),
    ],
)
def test_a_clock_that_was_set_is_not_time_that_passed(start: str, end: str) -> None:
    assert told(start, end, []) == []


def test_spans_add_up_by_probe_and_are_told_in_order() -> None:
    tally = Tally()
    for probe, status, start, end in [("b", OK, 0.0, 10.5), ("a", OK, 0, 5), ("b", FAIL, 10.5, 20), ("b", OK, 20, 21)]:
        accrue(tally, probe, status, start, end, ALWAYS)
    accrue(tally, "a", UNKNOWN, 86_399.0, 86_402.0, ALWAYS)
    assert rows(tally) == [
        ("1970-01-01", "a", 5.0, 0.0, 1.0),
        ("1970-01-01", "b", 11.5, 9.5, 0.0),
        ("1970-01-02", "a", 0.0, 0.0, 2.0),
    ]


def test_after_a_restart_the_day_goes_on_from_what_was_stored() -> None:
    tally = Tally([("1970-01-01", "auth", 100.0, 5.0, 1.0)])
    accrue(tally, "auth", OK, 200.0, 260.0, ALWAYS)
    assert rows(tally) == [("1970-01-01", "auth", 160.0, 5.0, 1.0)]


def test_days_gone_by_are_let_go_of() -> None:
    tally = Tally([("1970-01-01", "auth", 100.0, 5.0, 1.0), ("1970-01-02", "auth", 1.0, 0.0, 0.0)])
    tally.forget(before="1970-01-02")
    assert rows(tally) == [("1970-01-02", "auth", 1.0, 0.0, 0.0)]


def test_new_opening_hours_count_from_the_next_span_on() -> None:
    tally = Tally()
    monday = at("2026-03-02T10:00")
    accrue(tally, "auth", OK, monday, monday + 60, hours.parse(["tue 09:00-22:00"], SHANGHAI))
    accrue(tally, "auth", OK, monday, monday + 60, hours.parse(["mon 09:00-22:00"], SHANGHAI))
    assert rows(tally) == [("2026-03-02", "auth", 60.0, 0.0, 0.0)]


def test_without_a_zone_the_pcs_own_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CST-8")
    time.tzset()
    try:
        tally = Tally()
        accrue(tally, "auth", OK, at("2026-03-02T08:59"), at("2026-03-02T09:01"), hours.parse(["mon 09:00-22:00"]))
        assert rows(tally) == [("2026-03-02", "auth", 60.0, 0.0, 0.0)]
    finally:
        monkeypatch.undo()
        time.tzset()


ZONES = st.sampled_from(
    [UTC, BERLIN, SHANGHAI, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")]
)
LINES = st.lists(
    st.sampled_from(
        ["mon-sat 09:00-22:00", "daily 00:00-24:00", "fri,sat 18:00-02:00", "sun 01:30-02:30", "sun 18:00-02:00"]
    ),
    max_size=3,
)
HOLIDAYS = st.lists(st.sampled_from(["01-01..04-30", "2027-05-01..2027-12-31", "12-31..01-02"]), max_size=2)
MOMENTS = st.integers(1_700_000_000, 1_900_000_000)


@given(MOMENTS, st.integers(1, 3 * 86_400), LINES, HOLIDAYS, ZONES)
def test_whatever_the_zone_and_the_hours_it_agrees_with_asking_every_minute(
    start: int, length: int, lines: list[str], holidays: list[str], zone: tzinfo
) -> None:
    start -= start % 60
    length = length // 60 // 8 * 60 + 60
    opened = hours.parse(lines, zone, holidays)
    expected: dict[str, float] = {}
    for second in range(start, start + length, 60):
        moment = datetime.fromtimestamp(second, zone)
        if opened.open_at(moment):
            expected[moment.date().isoformat()] = expected.get(moment.date().isoformat(), 0.0) + 60.0
    tally = Tally()
    accrue(tally, "auth", OK, float(start), float(start + length), opened)
    assert {day: good for day, _, good, _, _ in rows(tally)} == expected


@given(MOMENTS, st.lists(st.integers(1, 90_000), min_size=1, max_size=20), LINES, ZONES)
def test_however_a_time_is_cut_up_it_counts_the_same(
    start: int, pieces: list[int], lines: list[str], zone: tzinfo
) -> None:
    opened = hours.parse(lines, zone)
    whole, cut = Tally(), Tally()
    accrue(whole, "auth", OK, start, start + sum(pieces), opened)
    moment = start
    for piece in pieces:
        accrue(cut, "auth", OK, moment, moment + piece, opened)
        moment += piece
    assert rows(cut) == rows(whole)


@given(MOMENTS, st.integers(1, 30 * 86_400), LINES, ZONES)
def test_no_day_has_more_seconds_than_a_day_has(start: int, length: int, lines: list[str], zone: tzinfo) -> None:
    tally = Tally()
    accrue(tally, "auth", OK, start, start + length, hours.parse(lines, zone))
    longest = timedelta(hours=25).total_seconds()
    assert all(0.0 < good <= longest for _, _, good, _, _ in rows(tally))
    assert sum(good for _, _, good, _, _ in rows(tally)) <= length


def test_a_thousand_probes_each_minute_cost_milliseconds() -> None:
    tally = Tally()
    opened = hours.parse(["mon-sat 09:00-22:00"], BERLIN)
    began = time.process_time()
    for minute in range(10):
        for number in range(1000):
            accrue(tally, f"host/{number}", OK, 1_700_000_000.0 + 60 * minute, 1_700_000_060.0 + 60 * minute, opened)
    assert time.process_time() - began < 10 * 0.02
