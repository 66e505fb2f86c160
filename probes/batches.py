"""Of all that the POS software recorded: which were batch closes, how did the last end, what waits, what failed?

Pure. What comes in are rows as they were written; what goes out is clean of card data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import tzinfo

import msgspec

from probes import moments, records
from probes.model import Measurement, because
from probes.records import Row

AHEAD = 3600
"""A record dated further ahead than this is not believed: it would hide every missed deadline until then."""
KEPT = 20
"""So many failed transactions are handed on."""

Placed = tuple[float, Row]


class Meanings(msgspec.Struct, frozen=True):
    """What the POS software's words mean, in small letters."""

    success: frozenset[str]
    waiting: frozenset[str]
    close: frozenset[str]
    is_log: bool = False
    """A log's pattern without a status is about successes."""

    @classmethod
    def of(cls, success: Iterable[str], waiting: Iterable[str], close: Iterable[str], is_log: bool) -> Meanings:
        """From the settings as they were written."""
        return cls(_words(success), _words(waiting), _words(close), is_log)

    def is_close(self, row: Row) -> bool:
        """A record without a type is a batch close. One without a status is none, unless success is written so."""
        if row.type:
            return _word(row.type) in self.close
        if self.is_log and not row.status:
            return not row.pending  # a pattern without a status is about successes, or about the count alone
        return bool(row.status) or not self.success

    def is_settled(self, row: Row) -> bool:
        """Whether it went through."""
        return not row.status or not self.success or _word(row.status) in self.success

    def is_waiting(self, row: Row) -> bool:
        """Whether it has not come to an end yet."""
        return _word(row.status) in self.waiting


class Close(msgspec.Struct, frozen=True):
    """One batch close that came to an end."""

    at: float
    local: str
    """As people in the store read it."""
    status: str
    settled: bool


class Reading(msgspec.Struct, frozen=True):
    """What the record says, free of card data. Moments are seconds since 1970."""

    now: float = 0.0
    problem: dict[str, Measurement] = {}
    """Why it could not be read: `detail` and the facts of it."""
    last: Close | None = None
    settled: Close | None = None
    """The last one that went through."""
    pending: int | None = None
    oldest_pending: float | None = None
    failed: tuple[str, ...] = ()
    """`time|type|amount|status|reference` of the last transactions that failed."""
    began: float | None = None
    """When the settlement day began whose deadline passed last."""
    due: float | None = None
    due_local: str = ""
    notes: tuple[str, ...] = ()


def understand(rows: Sequence[tuple[float | None, Row]], meanings: Meanings, here: tzinfo, now: float) -> Reading:
    """Rows with their moments to a reading."""
    placed = [(at, row) for at, row in rows if at is not None and at <= now + AHEAD]
    ahead = [row for at, row in rows if at is not None and at > now + AHEAD]
    lost = [row for at, row in rows if at is None and row.time]
    notes = (
        [f"{len(ahead)} records dated ahead of the clock, such as {records.clean(ahead[-1].time)!r}"] if ahead else []
    )
    if lost:
        count, example = len(lost), records.clean(lost[-1].time)
        text = f"{count} times not understood, such as {example!r}"
        if not placed:
            return Reading(now=now, problem=because(text, why="times_unknown", count=count, example=example))
        notes.append(text)
    if placed and placed[0][0] > placed[-1][0]:
        placed.reverse()  # newest first, as some export it
    placed.sort(key=lambda pair: pair[0])
    closes = [pair for pair in placed if meanings.is_close(pair[1]) and not meanings.is_waiting(pair[1])]
    settled = next((pair for pair in reversed(closes) if meanings.is_settled(pair[1])), None)
    pending, oldest = _pending([row for _at, row in rows], placed, meanings, settled[0] if settled else 0.0)
    return Reading(
        now=now,
        last=_close(closes[-1], meanings, here) if closes else None,
        settled=_close(settled, meanings, here) if settled else None,
        pending=pending,
        oldest_pending=oldest,
        failed=_failed(placed, meanings),
        notes=tuple(notes),
    )


def _word(text: str) -> str:
    return text.strip().casefold()


def _words(values: Iterable[str]) -> frozenset[str]:
    return frozenset(_word(value) for value in values)


def _close(pair: Placed, meanings: Meanings, here: tzinfo) -> Close:
    at, row = pair
    return Close(at, moments.spoken(at, here), records.kept(row).status or "recorded", meanings.is_settled(row))


def _pending(
    rows: Sequence[Row], placed: Sequence[Placed], meanings: Meanings, settled_at: float
) -> tuple[int | None, float | None]:
    """How many transactions wait to be sent, and since when the oldest has waited, as far as that is recorded."""
    sales = [(at, row) for at, row in placed if row.status and not meanings.is_close(row)]
    newest = {row.reference: row for _at, row in sales if row.reference}
    # Without a reference nothing ties a transaction to its end: what the last close left behind is taken for sent.
    unsent = [
        at
        for at, row in sales
        if meanings.is_waiting(row) and (newest[row.reference] is row if row.reference else at > settled_at)
    ]
    oldest = min(unsent, default=None)
    counts = [row.pending for _at, row in placed if _is_count(row.pending)]
    counts = counts or [row.pending for row in rows if _is_count(row.pending)]
    if counts:
        return int(counts[-1]), oldest
    return (len(unsent) if sales else None), oldest


def _is_count(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None


def _failed(placed: Sequence[Placed], meanings: Meanings) -> tuple[str, ...]:
    """The last records that neither went through nor wait. Five facts each, and nothing else, ever."""
    made_good: set[tuple[str, str]] = set()
    failed: list[str] = []
    for at, row in reversed(placed):
        if meanings.is_settled(row):
            made_good.add((row.reference, row.type))
        elif not meanings.is_waiting(row) and not (row.reference and (row.reference, row.type) in made_good):
            fact = records.kept(row)
            facts = (moments.rfc3339(at), fact.type, fact.amount, fact.status, fact.reference)
            failed.append("|".join(text.replace("|", "/") for text in facts))
        if len(failed) == KEPT:
            break
    return tuple(reversed(failed))
