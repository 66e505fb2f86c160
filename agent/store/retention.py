"""What may be forgotten, and when? What is over and old, and the oldest of it when the file grows too large."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

DAY_S = 86400.0
ROOM = 0.9
"""A file that was too large is brought down to this part of its limit, so that it is not trimmed at every look."""
SHARE = 10
"""One step forgets the oldest tenth of everything that is over."""

UNTOLD_S = 30 * DAY_S
"""What could not be told for so long, through a channel that is dead or no longer configured, helps nobody."""

PARCEL_ROW = 640
"""What a row for the centre takes beside its body: its key twice, and half of the last page on average."""

_TOLD_OF_NOTHING = "DELETE FROM told WHERE incident NOT IN (SELECT id FROM incident)"
_OVER = (  # how much is over, and: forget the oldest of it
    (
        "SELECT count(*) FROM incident WHERE resolved_at IS NOT NULL",
        """DELETE FROM incident WHERE id IN
           (SELECT id FROM incident WHERE resolved_at IS NOT NULL ORDER BY resolved_at LIMIT ?)""",
    ),
    (
        'SELECT count(*) FROM "transition"',
        """DELETE FROM "transition" WHERE (at, probe, new) IN
           (SELECT at, probe, new FROM "transition" ORDER BY at LIMIT ?)""",
    ),
    (
        "SELECT count(*) FROM event",
        """DELETE FROM event WHERE (at, what, facts) IN (SELECT at, what, facts FROM event ORDER BY at LIMIT ?)""",
    ),
    (
        "SELECT count(*) FROM outbox WHERE state <> 'waiting'",
        """DELETE FROM outbox WHERE id IN
           (SELECT id FROM outbox WHERE state <> 'waiting' ORDER BY finished LIMIT ?)""",
    ),
)


def expire(db: sqlite3.Connection, before: float, now: float) -> int:
    """Forget what was over before that time; returns how many rows."""
    day = time.strftime("%Y-%m-%d", time.gmtime(max(0.0, before - DAY_S)))  # a day lasts longer in some time zones
    dropped = 0
    for sql, value in (
        ("DELETE FROM incident WHERE resolved_at < ?", before),
        ('DELETE FROM "transition" WHERE at < ?', before),
        ("DELETE FROM event WHERE at < ?", before),
        ("DELETE FROM availability WHERE day < ?", day),
        ("DELETE FROM silence WHERE until < ?", before),
        ("DELETE FROM note WHERE at < ? AND incident NOT IN (SELECT id FROM incident)", before),
        ("DELETE FROM outbox WHERE state <> 'waiting' AND finished < ?", before),
        ("DELETE FROM outbox WHERE state = 'waiting' AND created < ?", min(before, now - UNTOLD_S)),
        ("DELETE FROM parcel WHERE at < ?", now - UNTOLD_S),  # however long the past is kept
    ):
        dropped += db.execute(sql, (value,)).rowcount
    return dropped + db.execute(_TOLD_OF_NOTHING).rowcount


def too_large(db: sqlite3.Connection, most: int) -> bool:
    """Does what is in use exceed the limit? What waits to be told has a limit of its own and is not the past."""
    return _bytes(db, used=True) - _waiting(db) > most


def _waiting(db: sqlite3.Connection) -> int:
    """The bytes of what waits to be told."""
    (notices,) = db.execute("SELECT total(length(message)) FROM outbox WHERE state = 'waiting'").fetchone()
    (parcels,) = db.execute("SELECT total(length(body) + ?) FROM parcel", (PARCEL_ROW,)).fetchone()
    return int(notices) + int(parcels)


def shrink(db: sqlite3.Connection) -> int:
    """Forget the oldest part of what is over; returns how many rows, 0 when nothing is left to forget."""
    dropped = 0
    for how_many, forget in _OVER:
        (count,) = db.execute(how_many).fetchone()
        dropped += db.execute(forget, (count // SHARE + 1,)).rowcount
    for sql in ("DELETE FROM note WHERE incident NOT IN (SELECT id FROM incident)", _TOLD_OF_NOTHING):
        dropped += db.execute(sql).rowcount
    if not dropped:
        dropped = db.execute("DELETE FROM availability WHERE day IN (SELECT min(day) FROM availability)").rowcount
    return dropped


def give_back(db: sqlite3.Connection, most: int) -> None:
    """Make the file itself smaller where it is larger than its limit; else its free room is used again."""
    if _bytes(db) > most:
        db.executescript("PRAGMA incremental_vacuum")  # `execute` would take its first step only
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _bytes(db: sqlite3.Connection, *, used: bool = False) -> int:
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free * used) * size
