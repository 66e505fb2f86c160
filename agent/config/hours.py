"""Is the store open at this moment?

`mon-sat 09:00-22:00`, `fri,sat 18:00-02:00` (past midnight), `daily 00:00-24:00`; several lines add up. The wall clock
of the store counts, so that a shop opens at nine on both sides of a daylight-saving change. Holidays are days on which
it does not open: `2026-10-01`, `2026-10-01..2026-10-07`, or every year `12-25`, `12-31..01-02`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

EXPECTED = 'opening hours such as "mon-sat 09:00-22:00", "daily 08:00-24:00" or "fri,sat 18:00-02:00"'
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES

HOLIDAY_EXPECTED = (
    'a day such as "2026-10-01", several such as "2026-10-01..2026-10-07", or the same every year such as "12-25"'
)

_DAY = r"((?:[0-9]{4}-)?[0-9]{2}-[0-9]{2})"
_HOLIDAY = re.compile(rf"\s*{_DAY}\s*(?:\.\.\s*{_DAY}\s*)?")
_SPAN = r"\d{1,2}:\d{2}-\d{1,2}:\d{2}"
_LINE = re.compile(rf"([a-z,\- ]+) ({_SPAN}(?:[, ]{_SPAN})*)")
_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class Hours:
    """Opening hours as spans of minutes since Monday 00:00, the end not included; no span at all means always."""

    spans: tuple[tuple[int, int], ...] = ()
    zone: tzinfo | None = None
    holidays: tuple[tuple[str, str], ...] = ()
    """First and last days, both as `2026-10-01` or both, for every year, as `10-01`."""

    def open_at(self, moment: datetime) -> bool:
        """Whether the store is open at this moment (an aware datetime, of any zone)."""
        return self.open_by_clock(moment.astimezone(self.zone))

    def open_by_clock(self, local: datetime) -> bool:
        """Whether the store is open when its wall clock shows this. A night that began before a holiday goes on."""
        if not self.spans:
            return not self.is_holiday(local)
        minute = local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
        began = [at - start for start, end in self.spans for at in (minute, minute + WEEK_MINUTES) if start <= at < end]
        if not began or not self.holidays:
            return bool(began)
        clock = local.replace(tzinfo=None)
        return any(not self.is_holiday(clock - timedelta(minutes=ago)) for ago in began)

    def is_holiday(self, day: date) -> bool:
        """Whether the store stays closed on this day of its calendar."""
        written = day.isoformat()[:10]
        return any(_is_within(written[-len(first) :], first, last) for first, last in self.holidays)


def parse(lines: Iterable[str], zone: tzinfo | None = None, holidays: Iterable[str] = ()) -> Hours:
    """Read `schedule.opening_hours` and `schedule.holidays`. Raises ValueError naming what was expected."""
    spans = tuple(span for line in lines for span in spans_of(line))
    return Hours(spans, zone, tuple(holiday(line) for line in holidays))


def holiday(line: str) -> tuple[str, str]:
    """The first and the last day of a holiday. Raises ValueError naming what was expected."""
    found = _HOLIDAY.fullmatch(line)
    if found is None:
        raise ValueError(HOLIDAY_EXPECTED)
    first, last = found[1], found[2] or found[1]
    every_year = len(first) == 5
    try:
        for day in (first, last):
            date.fromisoformat(f"2024-{day}" if every_year else day)  # a leap year: 02-29 may be a holiday
    except ValueError as error:
        raise ValueError(HOLIDAY_EXPECTED) from error
    if len(last) != len(first) or (last < first and not every_year):
        raise ValueError(HOLIDAY_EXPECTED)
    return first, last


def _is_within(day: str, first: str, last: str) -> bool:
    return first <= day <= last if first <= last else day >= first or day <= last


def zone_of(name: str | None) -> tzinfo | None:
    """The time zone called `name`; None, the PC's own, where none is named. Raises ValueError."""
    if name is None:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError('a time zone that this PC knows, such as "Asia/Shanghai"') from error


def spans_of(line: str) -> list[tuple[int, int]]:
    """The spans of one line of opening hours. Raises ValueError naming what was expected."""
    tidy = re.sub(r" ?([-,]) ?", r"\1", " ".join(line.lower().split()))
    found = _LINE.fullmatch(tidy)
    if found is None:
        raise ValueError(EXPECTED)
    times = [_times(*numbers) for numbers in _TIMES.findall(found[2])]
    days = _days(found[1])
    return [(day * DAY_MINUTES + start, day * DAY_MINUTES + end) for day in days for start, end in times]


def _times(*numbers: str) -> tuple[int, int]:
    hour, minute, end_hour, end_minute = (int(number) for number in numbers)
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or start >= DAY_MINUTES or end > DAY_MINUTES or start == end:
        raise ValueError(EXPECTED)
    return start, end if end > start else end + DAY_MINUTES


def _days(text: str) -> list[int]:
    days: list[int] = []
    for part in re.split(r"[, ]", text):
        first, dash, last = part.partition("-")
        if part == "daily":
            days += range(7)
        elif first in DAYS and not dash:
            days.append(DAYS.index(first))
        elif first in DAYS and last in DAYS:
            start, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7
            days += [(start + step) % 7 for step in range(length + 1)]
        else:
            raise ValueError(EXPECTED)
    return days
