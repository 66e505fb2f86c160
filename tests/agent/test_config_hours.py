"""Opening hours: days, lists, past midnight, daylight saving."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.config import hours
from agent.config.read import Source

CHINA = timezone(timedelta(hours=8))
BERLIN = ZoneInfo("Europe/Berlin")


def is_open(lines: list[str], local: str) -> bool:
    """`local` is a wall-clock time in China. 2024-01-01 was a Monday."""
    return hours.parse(lines, CHINA).open_at(datetime.fromisoformat(local).replace(tzinfo=CHINA))


@pytest.mark.parametrize(
    ("lines", "local", "expected"),
    [
        ([], "2024-01-01T03:00", True),
        (["mon-sat 09:00-22:00"], "2024-01-01T09:00", True),
        (["mon-sat 09:00-22:00"], "2024-01-01T08:59:59", False),
        (["mon-sat 09:00-22:00"], "2024-01-06T21:59:59", True),
        (["mon-sat 09:00-22:00"], "2024-01-06T22:00", False),
        (["mon-sat 09:00-22:00"], "2024-01-07T12:00", False),
        (["Mon-Sat  9:00 - 22:00"], "2024-01-01T09:00", True),
        (["daily 00:00-24:00"], "2024-01-07T23:59", True),
        (["daily 08:00-24:00"], "2024-01-07T07:59", False),
        (["fri 18:00-02:00"], "2024-01-05T18:00", True),
        (["fri 18:00-02:00"], "2024-01-06T01:59", True),
        (["fri 18:00-02:00"], "2024-01-06T02:00", False),
        (["fri 18:00-02:00"], "2024-01-05T01:00", False),
        (["sun 18:00-02:00"], "2024-01-01T01:59", True),
        (["sun 18:00-02:00"], "2024-01-08T01:59", True),
        (["sun 18:00-02:00"], "2024-01-02T01:59", False),
        (["fri,sat 18:00-20:00"], "2024-01-06T19:00", True),
        (["fri, sat 18:00-20:00"], "2024-01-04T19:00", False),
        (["mon wed 18:00-20:00"], "2024-01-03T19:00", True),
        (["sat-mon 10:00-12:00"], "2024-01-07T11:00", True),
        (["sat-mon 10:00-12:00"], "2024-01-02T11:00", False),
        (["mon-fri 09:00-12:00,14:00-18:00"], "2024-01-01T13:00", False),
        (["mon-fri 09:00-12:00, 14:00-18:00"], "2024-01-01T14:00", True),
        (["mon 09:00-12:00", "mon 14:00-18:00"], "2024-01-01T15:00", True),
        (["mon-mon 09:00-12:00"], "2024-01-02T10:00", False),
        (["mon-fri,sun 09:00-12:00"], "2024-01-07T10:00", True),
    ],
)
def test_whether_the_store_is_open(lines: list[str], local: str, expected: bool) -> None:
    assert is_open(lines, local) is expected


@pytest.mark.parametrize(
    "line",
    [
        *("", "mon", "09:00-22:00", "mon 9-22", "mon 09:00", "mon 09:00-22:00 pm", "monday 09:00-22:00"),
        *("mon- 09:00-22:00", "-mon 09:00-22:00", "mon-tue-wed 09:00-22:00", "daily-mon 09:00-10:00"),
        *("mon 24:00-25:00", "mon 09:60-10:00", "mon 09:00-24:01", "mon 09:00-09:00", "mon,, 09:00-10:00"),
    ],
)
def test_what_is_no_opening_hours(line: str) -> None:
    with pytest.raises(ValueError, match=r"^opening hours such as"):
        hours.parse([line])


@given(st.text())
def test_any_text_is_hours_or_is_refused(text: str) -> None:
    try:
        assert hours.parse([text]).spans
    except ValueError as error:
        assert str(error) == hours.EXPECTED


def opens(lines: list[str], holidays: list[str], local: str) -> bool:
    """`local` is a wall-clock time in China. 2026-10-01 was a Thursday, 2026-12-25 a Friday."""
    moment = datetime.fromisoformat(local).replace(tzinfo=CHINA)
    return hours.parse(lines, CHINA, holidays).open_at(moment)


@pytest.mark.parametrize(
    ("lines", "holidays", "local", "expected"),
    [
        (["daily 09:00-22:00"], ["2026-10-01"], "2026-09-30T12:00", True),
        (["daily 09:00-22:00"], ["2026-10-01"], "2026-10-01T12:00", False),
        (["daily 09:00-22:00"], ["2026-10-01"], "2026-10-02T12:00", True),
        (["daily 09:00-22:00"], ["2026-10-01"], "2027-10-01T12:00", True),
        (["daily 09:00-22:00"], ["2026-10-01..2026-10-07"], "2026-10-07T21:59", False),
        (["daily 09:00-22:00"], [" 2026-10-01 .. 2026-10-07 "], "2026-10-08T09:00", True),
        (["daily 09:00-22:00"], ["12-25..12-26"], "2026-12-26T12:00", False),
        (["daily 09:00-22:00"], ["12-25..12-26"], "2031-12-25T12:00", False),
        (["daily 09:00-22:00"], ["12-25..12-26"], "2026-12-27T12:00", True),
        (["daily 09:00-22:00"], ["12-31..01-02"], "2026-12-31T12:00", False),
        (["daily 09:00-22:00"], ["12-31..01-02"], "2027-01-02T12:00", False),
        (["daily 09:00-22:00"], ["12-31..01-02"], "2027-01-03T12:00", True),
        (["daily 09:00-22:00"], ["02-29"], "2028-02-29T12:00", False),
        (["daily 09:00-22:00"], ["01-01", "2026-10-01"], "2026-10-01T12:00", False),
        # a bar that opened on Thursday evening closes at two, holiday or not; on the holiday it does not open
        (["daily 18:00-02:00"], ["2026-10-02"], "2026-10-02T01:59", True),
        (["daily 18:00-02:00"], ["2026-10-02"], "2026-10-02T18:00", False),
        (["daily 18:00-02:00"], ["2026-10-02"], "2026-10-03T01:59", False),
        (["sun 18:00-02:00"], ["2026-10-04"], "2026-10-05T01:00", False),
        ([], ["2026-10-01"], "2026-10-01T00:00", False),
        ([], ["2026-10-01"], "2026-10-02T00:00", True),
    ],
)
def test_a_store_stays_closed_on_its_holidays(
    lines: list[str], holidays: list[str], local: str, expected: bool
) -> None:
    assert opens(lines, holidays, local) is expected


@pytest.mark.parametrize(
    "line",
    [
        *("", "2026", "2026-10", "10", "2026-13-01", "2026-02-30", "02-30", "2026-10-07..2026-10-01", "tomorrow"),
        *("2026-10-01..10-07", "10-01..2026-10-07", "2026-10-01 2026-10-07", "2026-10-01..", "1.10.2026", "20261001"),
        *("2026-10-01..2026-10-02..2026-10-03", "2026-W40-1", "2026-1-1", "٢٠٢٦-10-01"),
    ],
)
def test_what_is_no_holiday(line: str) -> None:
    with pytest.raises(ValueError, match=r"^a day such as"):
        hours.holiday(line)


@given(st.text(st.sampled_from("0123456789-. ")))
def test_any_text_is_a_holiday_or_is_refused(text: str) -> None:
    try:
        first, last = hours.holiday(text)
    except ValueError as error:
        assert str(error) == hours.HOLIDAY_EXPECTED
    else:
        assert first in text
        assert last in text


def test_holidays_come_from_the_configuration() -> None:
    text = b'[site]\ntimezone = "Asia/Shanghai"\n[schedule]\nholidays = ["2026-10-01..2026-10-07"]\n'
    store = config.opening_hours(config.parse(Source("config.toml", text)))
    assert not store.open_at(datetime(2026, 9, 30, 16, 0, tzinfo=UTC))
    assert store.open_at(datetime(2026, 9, 30, 15, 59, tzinfo=UTC))


def test_a_moment_of_any_zone_is_asked_in_the_stores_zone() -> None:
    store = hours.parse(["mon 09:00-10:00"], CHINA)
    assert store.open_at(datetime(2024, 1, 1, 1, 30, tzinfo=UTC))
    assert not store.open_at(datetime(2024, 1, 1, 9, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        # Sunday 2024-03-31: 02:00 does not exist in Berlin, the clock goes from 01:59 to 03:00.
        ("2024-03-31T00:59", True),  # 01:59 winter time
        ("2024-03-31T01:00", False),  # 03:00 summer time
        ("2024-03-31T06:59", False),  # 08:59 summer time
        ("2024-03-31T07:00", True),  # 09:00 summer time; a day before, 09:00 was 08:00 UTC
        ("2024-03-30T07:59", False),
        ("2024-03-30T08:00", True),
        # Sunday 2024-10-27: 02:30 happens twice.
        ("2024-10-27T00:30", True),  # 02:30 summer time
        ("2024-10-27T01:30", True),  # 02:30 winter time
        ("2024-10-27T02:00", False),  # 03:00 winter time
    ],
)
def test_the_wall_clock_counts_on_daylight_saving_days(utc: str, expected: bool) -> None:
    store = hours.parse(["sat,sun 09:00-03:00"], BERLIN)
    assert store.open_at(datetime.fromisoformat(utc).replace(tzinfo=UTC)) is expected


def test_the_stores_zone_comes_from_the_configuration() -> None:
    text = b'[site]\ntimezone = "Asia/Shanghai"\n[schedule]\nopening_hours = ["mon 09:00-10:00"]\n'
    store = config.opening_hours(config.parse(Source("config.toml", text)))
    assert store.open_at(datetime(2024, 1, 1, 1, 30, tzinfo=UTC))


def test_without_a_zone_the_pcs_own_counts() -> None:
    store = hours.parse(["mon 00:00-24:00", "tue-sun 00:00-24:00"])
    assert store.open_at(datetime(2024, 1, 1, 1, 30, tzinfo=UTC))
