"""What does a batch look like in the tables, and back? Pure; no SQL is run here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from agent.store.words import AvailabilityRow, Batch, Event, Fate, Kept, Outgoing
from probes.model import Scalar

T = TypeVar("T")
Work = list[tuple[str, list[tuple[Any, ...]]]]

OUTGOING = Outgoing.__struct_fields__

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
_TOLD = """
    INSERT INTO told VALUES (?, ?)
    ON CONFLICT (incident) DO UPDATE SET told = excluded.told WHERE excluded.told <> told
"""
_COLUMNS, _MARKS = ", ".join(OUTGOING), ", ".join("?" * len(OUTGOING))
_NOTICE = f"INSERT OR IGNORE INTO outbox ({_COLUMNS}) VALUES ({_MARKS})"  # noqa: S608 -- names of our own fields
_FATE = """
    UPDATE outbox SET state = ?, due = ?, attempts = ?, detail = ?, passed_on = max(passed_on, ?),
        finished = ?, message = iif(?, message, x'')
    WHERE key = ? AND channel = ? AND state = 'waiting'
"""
_PARCEL = "INSERT OR IGNORE INTO parcel (key, kind, seq, at, changed, ways, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
_DONE_BY_ALL = "DELETE FROM parcel WHERE key = ? AND ways = ?"
_DONE = """
    UPDATE parcel SET ways = trim(replace(' ' || ways || ' ', ' ' || ?2 || ' ', ' '))
    WHERE key = ?1 AND instr(' ' || ways || ' ', ' ' || ?2 || ' ')
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
        (_TOLD, [(name, text(told)) for name, told in batch.told.items()]),
        (_NOTICE, [_notice(one) for one in batch.notices]),
        (_FATE, [_fate(one) for one in batch.fates]),
        (_PARCEL, [_parcel(one) for one in batch.parcels]),
        *((sql, [(one.key, one.way)]) for one in batch.done for sql in (_DONE_BY_ALL, _DONE)),
        (_SEQ, [] if batch.seq is None else [(batch.seq,)]),
    ]
    return [(sql, rows) for sql, rows in all_of_it if rows]


def _notice(one: Outgoing) -> tuple[Any, ...]:
    *front, detail, instead_of, passed_on, message = msgspec.structs.astuple(one)
    return (*front, plain(detail), instead_of, passed_on, plain(message).encode())


def _fate(one: Fate) -> tuple[Any, ...]:
    waits = one.state == "waiting"
    told = (one.state, one.due, one.attempts, plain(one.detail), one.passed_on)
    return (*told, None if waits else one.at, waits, one.key, one.channel)


def _parcel(one: Kept) -> tuple[Any, ...]:
    return one.key, one.kind, one.seq, one.at, one.changed, " ".join(one.ways), one.body


def text(value: Any) -> str:
    """As JSON; letters that no file can hold (half a surrogate, from a device's name) are escaped."""
    plain = msgspec.to_builtins(value)
    try:
        return msgspec.json.encode(plain).decode()
    except UnicodeEncodeError:
        return json.dumps(plain, separators=(",", ":"))


def plain(told: str) -> str:
    """Without letters that no file can hold."""
    return told.encode("utf-8", "replace").decode()


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


def outgoing(row: Sequence[object]) -> Outgoing | None:
    """A row of the outbox, its columns in the order of OUTGOING."""
    *front, passed_on, message = row
    told = message.decode("utf-8", "replace") if isinstance(message, bytes) else message
    return struct(Outgoing, (*front, bool(passed_on), told))


def kept(row: Sequence[object]) -> Kept | None:
    """A row of what waits for the centre, without its body."""
    *front, changed, ways = row
    return struct(Kept, (*front, bool(changed), tuple(str(ways).split()), b""))
