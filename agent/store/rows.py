"""What does a batch look like in the tables, and back? Pure; no SQL is run here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from agent.store.words import AvailabilityRow, Batch, Event
from probes.model import Scalar

T = TypeVar("T")
Work = list[tuple[str, list[tuple[Any, ...]]]]

# Each leaves a row alone that says the same already: then its page is not written either.
_SEQ = """
    INSERT INTO number VALUES ('seq', ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value > value
"""
_MEMORY = """
    INSERT INTO memory VALUES (?, ?)
    ON CONFLICT (probe) DO UPDATE SET noted = excluded.noted WHERE excluded.noted <> noted
"""
_TRACK = """
    INSERT INTO track VALUES (?, ?)
    ON CONFLICT (probe) DO UPDATE SET track = excluded.track WHERE excluded.track <> track
"""
_INCIDENT = """
    INSERT INTO incident VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET opened_at = excluded.opened_at, resolved_at = excluded.resolved_at, incident = excluded.incident
    WHERE excluded.incident <> incident
"""
_TRANSITION = 'INSERT OR IGNORE INTO "transition" VALUES (?, ?, ?, ?, ?)'
_AVAILABILITY = """
    INSERT INTO availability VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (day, probe) DO UPDATE SET good = excluded.good, bad = excluded.bad, blind = excluded.blind
    WHERE (excluded.good, excluded.bad, excluded.blind) <> (good, bad, blind)
"""
_EVENT = "INSERT OR IGNORE INTO event VALUES (?, ?, ?)"
_MARK = """
    INSERT INTO mark VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value <> value
"""


def work(batch: Batch) -> Work:
    """The statements that keep this batch, with their rows."""
    all_of_it: Work = [
        (_MEMORY, [(name, text(noted)) for name, noted in batch.memories.items()]),
        (_TRACK, [(name, text(track)) for name, track in batch.tracks.items()]),
        (_INCIDENT, [(one.id, one.opened_at, one.resolved_at, text(one)) for one in batch.incidents]),
        (_TRANSITION, [(one.at, one.probe, one.old, one.new, one.reason) for one in batch.transitions]),
        (_AVAILABILITY, list(batch.availability)),
        (_EVENT, [(one.at, one.what, text(one.facts)) for one in batch.events]),
        (_MARK, list(batch.marks.items())),
        (_SEQ, [] if batch.seq is None else [(batch.seq,)]),
    ]
    return [(sql, rows) for sql, rows in all_of_it if rows]


def text(value: Any) -> str:
    """As JSON; letters that no file can hold (half a surrogate, from a device's name) are escaped."""
    plain = msgspec.to_builtins(value)
    try:
        return msgspec.json.encode(plain).decode()
    except UnicodeEncodeError:
        return json.dumps(plain, separators=(",", ":"))


def value(kind: type[T], noted: object) -> T | None:
    """Back from JSON; None when that is not what stands there."""
    if not isinstance(noted, str):
        return None
    try:
        return msgspec.convert(json.loads(noted), kind)
    except (ValueError, RecursionError):
        return None


def struct(kind: type[T], row: Sequence[object]) -> T | None:
    """A row as the struct whose fields it holds, in order; None when it does not."""
    try:
        return msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=True)), kind)  # type: ignore[attr-defined]
    except ValueError:
        return None


def availability(row: Sequence[object]) -> AvailabilityRow | None:
    """A row of that table."""
    try:
        found: AvailabilityRow = msgspec.convert(row, AvailabilityRow)
        return found
    except ValueError:
        return None


def event(row: Sequence[object]) -> Event | None:
    """A row of that table."""
    at, what, noted = row
    facts = value(dict[str, Scalar], noted)
    return None if facts is None else struct(Event, (at, what, facts))
