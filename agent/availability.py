"""For how long of the opening hours was each thing well? Pure: from spans of time to seconds per day and probe.

The wall clock of the store decides what is a day and when it is open, on both sides of a daylight-saving change; what
is counted are real seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from agent.config.hours import DAY_MINUTES, WEEK_MINUTES, Hours
from probes.model import Status

LONGEST_S = 31 * 86400.0
"""A longer span is a clock that was set, not time that passed."""
BLOCK_S = 86400
STEP_S = 3600
MINUTE_S = 60.0
Row = tuple[str, str, float, float, float]
"""The day as `2026-03-29`, the probe, and seconds good, bad and blind."""


class Span(NamedTuple):
    """A stretch of time within one day of the store, open or closed throughout. Unix seconds, the end not included."""

    start: float
    end: float
    day: str
    is_open: bool


NEVER = Span(0.0, 0.0, "", is_open=False)


class Tally:
    """Seconds of good, bad and blind per day and probe. After a restart it goes on from the stored rows of the day."""

    __slots__ = ("_blocks", "_hours", "_last", "seconds")

    def __init__(self, stored: Iterable[Row] = ()) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = {(day, probe): [*times] for day, probe, *times in stored}
        self._hours: Hours | None = None
        self._blocks: dict[int, tuple[Span, ...]] = {}
        self._last = NEVER

    def forget(self, before: str) -> None:
        """Let go of the days before this one: their rows are in safe hands."""
        for key in [key for key in self.seconds if key[0] < before]:
            del self.seconds[key]

    def spans(self, start: float, end: float, hours: Hours) -> list[Span]:
        """The spans that have a part in it; those of the last days are kept, as a thousand probes ask for the same."""
        if hours is not self._hours:
            self._hours, self._last = hours, NEVER
            self._blocks.clear()
        if self._last.start <= start and end <= self._last.end:
            return [self._last]
        found = [
            span
            for block in range(int(start // BLOCK_S), int(end // BLOCK_S) + 1)
            for span in self._block(block, hours)
            if span.start < end and span.end > start
        ]
        if found:
            self._last = found[-1]
        return found

    def _block(self, block: int, hours: Hours) -> tuple[Span, ...]:
        spans = self._blocks.get(block)
        if spans is None:
            if len(self._blocks) > LONGEST_S // BLOCK_S + 2:
                self._blocks.clear()
            spans = self._blocks[block] = _spans(block, hours)
        return spans


def accrue(tally: Tally, probe: str, status: Status | None, start: float, end: float, hours: Hours) -> None:
    """Add the time from `start` to `end` (Unix seconds), during which `status` was confirmed; None: nothing was known.

    Only opening hours count. What is not fitted has no availability; a span that runs backwards, or for longer than
    any till is left alone, is a clock that was set.
    """
    if status is Status.SKIPPED or not 0.0 < end - start <= LONGEST_S:
        return
    column = 0 if status is Status.OK else 1 if status is Status.FAIL or status is Status.WARN else 2
    for span in tally.spans(start, end, hours):
        if span.is_open:
            seconds = tally.seconds.get((span.day, probe))
            if seconds is None:
                seconds = tally.seconds[span.day, probe] = [0.0, 0.0, 0.0]
            seconds[column] += min(end, span.end) - max(start, span.start)


def rows(tally: Tally) -> list[Row]:
    """All that was added up, by day and probe, to the millisecond: totals of the day, not what is new."""
    return [
        (day, probe, round(good, 3), round(bad, 3), round(blind, 3))
        for (day, probe), (good, bad, blind) in sorted(tally.seconds.items())
    ]


def _spans(block: int, hours: Hours) -> tuple[Span, ...]:
    """The spans of one UTC day."""
    start, end = float(block * BLOCK_S), float((block + 1) * BLOCK_S)
    found: list[Span] = []
    while start < end:
        offset = _offset(start, hours.zone)
        until = _same_offset_until(start, end, offset, hours.zone)
        found += _of_one_offset(start, until, offset, hours)
        start = until
    return tuple(found)


def _offset(moment: float, zone: tzinfo | None) -> float:
    """By how much the store's clock is ahead of UTC, in seconds."""
    ahead = datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()
    return ahead.total_seconds() if ahead is not None else 0.0


def _same_offset_until(start: float, end: float, offset: float, zone: tzinfo | None) -> float:
    """The first full second at which the store's clock is set, or `end`."""
    sure, changed = start, start
    while changed < end:
        sure, changed = changed, min(changed + STEP_S, end)
        if _offset(changed, zone) != offset:
            break
    else:
        return end
    while changed - sure > 1.0:
        middle = (sure + changed) // 2
        sure, changed = (sure, middle) if _offset(middle, zone) != offset else (middle, changed)
    return changed


def _of_one_offset(start: float, end: float, offset: float, hours: Hours) -> list[Span]:
    """Cut at local midnight, and wherever the store opens or closes."""
    found: list[Span] = []
    while start < end:
        local = datetime.fromtimestamp(start + offset, UTC)
        minute = local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
        midnight = start + DAY_MINUTES * MINUTE_S - (start + offset) % (DAY_MINUTES * MINUTE_S)
        ahead = _minutes_to_change(hours, minute) * MINUTE_S - (start + offset) % MINUTE_S
        until = min(end, midnight, start + ahead)
        found.append(Span(start, until, local.date().isoformat(), hours.open_by_clock(local)))
        start = until
    return found


def _minutes_to_change(hours: Hours, minute: int) -> int:
    """How many minutes until the next opening or closing, of whichever line."""
    edges = (edge for span in hours.spans for edge in span)
    return min(((edge - minute - 1) % WEEK_MINUTES + 1 for edge in edges), default=WEEK_MINUTES)
