"""Is the store open at this moment?

`mon-sat 09:00-22:00`, `fri,sat 18:00-02:00` (past midnight), `daily 00:00-24:00`; several lines add up. The wall clock
of the store counts, so that a shop opens at nine on both sides of a daylight-saving change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

EXPECTED = 'opening hours such as "mon-sat 09:00-22:00", "daily 08:00-24:00" or "fri,sat 18:00-02:00"'
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES

_SPAN = r"\d{1,2}:\d{2}-\d{1,2}:\d{2}"
_LINE = re.compile(rf"([a-z,\- ]+) ({_SPAN}(?:[, ]{_SPAN})*)")
_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class Hours:
    """Opening hours as spans of minutes since Monday 00:00, the end not included; no span at all means always."""

    spans: tuple[tuple[int, int], ...] = ()
    zone: tzinfo | None = None

    def open_at(self, moment: datetime) -> bool:
        """Whether the store is open at this moment (an aware datetime, of any zone)."""
        if not self.spans:
            return True
        local = moment.astimezone(self.zone)
        minute = local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
        return any(start <= minute < end or start <= minute + WEEK_MINUTES < end for start, end in self.spans)


def parse(lines: Iterable[str], zone: tzinfo | None = None) -> Hours:
    """Read the lines of `schedule.opening_hours`. Raises ValueError naming what was expected."""
    return Hours(tuple(span for line in lines for span in _spans(line)), zone)


def zone_of(name: str | None) -> tzinfo | None:
    """The time zone called `name`; None, the PC's own, where none is named. Raises ValueError."""
    if name is None:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError('a time zone that this PC knows, such as "Asia/Shanghai"') from error


def _spans(line: str) -> Iterator[tuple[int, int]]:
    tidy = re.sub(r" ?([-,]) ?", r"\1", " ".join(line.lower().split()))
    found = _LINE.fullmatch(tidy)
    if found is None:
        raise ValueError(EXPECTED)
    times = [_times(*numbers) for numbers in _TIMES.findall(found[2])]
    for day in _days(found[1]):
        for start, end in times:
            yield day * DAY_MINUTES + start, day * DAY_MINUTES + end


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
