"""When was that, and by when should it have been? Times as other programs write them, and a store's settlement day.

Pure: the zone and the present moment are handed in. Moments are seconds since 1970 (UTC).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

LONGEST = 64
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
_EPOCH = re.compile(r"[0-9]{10}(?:\.[0-9]{1,9})?|[0-9]{13}|[0-9]{16}")
_WRITTEN = re.compile(
    r"([0-9]{4})[-./年]?([0-9]{1,2})[-./月]?([0-9]{1,2})日?[T _]*"
    r"([0-9]{1,2})[:时]?([0-9]{2})(?:[:分]?([0-9]{2})(?:[.,]([0-9]{1,9}))?秒?)?\s*(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})?",
    re.IGNORECASE,
)
_SHORT = re.compile(r"([0-9]{1,2})[-/月]([0-9]{1,2})日?[T _]*([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def parse(text: str, form: str | None, zone: tzinfo, now: float) -> float | None:
    """The moment a text names, in `zone` where it names no other; None where it cannot be told.

    `form` is a format of strptime. Without one: ISO 8601 and its usual variants, seconds or milliseconds since 1970,
    and texts without a year or date, which are taken for the latest such moment that is not in the future.
    """
    text = text.strip()
    if not text or len(text) > LONGEST:
        return None
    try:
        moment = _by_form(text, form, zone, now) if form else _by_looks(text, zone, now)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment is not None and _EARLIEST <= moment <= _LATEST else None


def spoken(moment: float, zone: tzinfo) -> str:
    """As people in the store read it: 2026-11-22 23:01."""
    return datetime.fromtimestamp(moment, zone).strftime("%Y-%m-%d %H:%M")


def rfc3339(moment: float) -> str:
    """2026-11-22T15:01:00.000Z."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def settlement_day(now: float, zone: tzinfo, deadline: str, days: Collection[Day]) -> tuple[float, float] | None:
    """The settlement day whose deadline passed last: when it began, and its deadline. None if there was none of late.

    A day with a deadline from noon on begins at midnight. One with a deadline before noon ("02:00") is the day before,
    and begins at its noon, so that a close after midnight still belongs to the day that it closes. In the hour that
    the clock goes through twice the second time counts; a deadline in the hour that it skips comes an hour later.
    """
    around = _settlement_days(now, zone, deadline, days, range(0, -9, -1))
    return next((day for day in around if day[1] <= now), None)


def next_settlement_day(
    now: float, zone: tzinfo | None, deadline: str, days: Collection[Day]
) -> tuple[float, float] | None:
    """The settlement day whose deadline comes next: when it begins, and its deadline. Without a zone, the PC's own."""
    around = _settlement_days(now, zone, deadline, days, range(9))
    return next((day for day in around if day[1] > now), None)


def _settlement_days(
    now: float, zone: tzinfo | None, deadline: str, days: Collection[Day], ahead: Iterable[int]
) -> Iterator[tuple[float, float]]:
    """The settlement days whose deadlines fall on today and so many days ahead."""
    at = time.fromisoformat(deadline.strip())
    today = datetime.fromtimestamp(now, zone).date()
    for count in ahead:
        due_on = today + timedelta(days=count)
        named = due_on if at.hour >= 12 else due_on - timedelta(days=1)
        if DAYS[named.weekday()] in days:
            due = _moment(due_on, at, zone, fold=1 if not _is_skipped(due_on, at, zone) else 0)
            yield _moment(named, time(0) if at.hour >= 12 else time(12), zone), due


def _moment(day: date, at: time, zone: tzinfo | None, fold: int = 0) -> float:
    return datetime.combine(day, at.replace(fold=fold), zone).timestamp()


def _is_skipped(day: date, at: time, zone: tzinfo | None) -> bool:
    written = datetime.combine(day, at, zone)
    return datetime.fromtimestamp(written.timestamp(), zone).replace(tzinfo=None) != written.replace(tzinfo=None)


def _by_form(text: str, form: str, zone: tzinfo, now: float) -> float | None:
    if re.search(r"%[YyGsDcx]", form):
        return _at(datetime.strptime(text, form), zone)  # noqa: DTZ007 - the zone is added where the text has none
    here = datetime.fromtimestamp(now, zone)
    if not re.search(r"%[dj]", form):
        return _clock(datetime.strptime(text, form).time(), zone, here)  # noqa: DTZ007
    # The year goes into the text, so that 29 February exists in the years that have one.
    for year in (here.year + 1, here.year, here.year - 1, *range(here.year - 2, here.year - 9, -1)):
        try:
            moment = _at(datetime.strptime(f"{year} {text}", f"%Y {form}"), zone)  # noqa: DTZ007
        except ValueError:
            continue
        if moment <= now + 86400:
            return moment
    return None


def _by_looks(text: str, zone: tzinfo, now: float) -> float | None:
    if _EPOCH.fullmatch(text):
        whole = len(text.partition(".")[0])
        return float(text) / (1 if whole <= 10 else 1e3 if whole <= 13 else 1e6)
    written = _WRITTEN.fullmatch(text)
    if written is not None:
        return _written(written, zone)
    here = datetime.fromtimestamp(now, zone)
    short = _SHORT.fullmatch(text)
    if short is not None:
        return _by_form("-".join(part or "0" for part in short.groups()), "%m-%d-%H-%M-%S", zone, now)
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        return _clock(time(int(clock[1]), int(clock[2]), int(clock[3] or 0)), zone, here)
    return _at(datetime.fromisoformat(text), zone)


def _written(found: re.Match[str], zone: tzinfo) -> float:
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    fraction = int((found[7] or "0").ljust(6, "0")[:6])
    said = datetime(year, month, day, hour, minute, int(found[6] or 0), fraction)  # noqa: DTZ001 - see _at
    offset = (found[8] or "").upper().replace(":", "")
    if not offset:
        return _at(said, zone)
    if offset in ("Z", "UTC", "GMT"):
        return said.replace(tzinfo=UTC).timestamp()
    shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return said.replace(tzinfo=UTC).timestamp() - shift.total_seconds() * (-1 if offset[0] == "-" else 1)


def _clock(at: time, zone: tzinfo, here: datetime) -> float:
    """The last time the clock showed that; a minute ahead is still today, when two clocks differ a little."""
    moment = _moment(here.date(), at, zone)
    return moment if moment <= here.timestamp() + 60 else _moment(here.date() - timedelta(days=1), at, zone)


def _at(said: datetime, zone: tzinfo) -> float:
    return (said if said.tzinfo is not None else said.replace(tzinfo=zone)).timestamp()
