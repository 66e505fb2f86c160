"""What must this agent still know after the power comes back? The only SQL.

Everything that belongs together is written together (`Batch`), rows that say the same already are not written again,
and whoever reads a row that is no use is told so in `problems`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent import homes
from agent.incidents import Incident
from agent.state import Track, Transition
from agent.store import file, outbox, retention, rows
from agent.store.outbox import Outbox
from agent.store.parcels import Parcels
from agent.store.words import (
    AvailabilityRow,
    Batch,
    Done,
    Event,
    Fate,
    Kept,
    Note,
    Outgoing,
    Silence,
    StoreCorrupt,
    StoreError,
    StoreMissing,
)
from probes.model import Memory

__all__ = [
    "AvailabilityRow",
    "Batch",
    "Done",
    "Event",
    "Fate",
    "Kept",
    "Note",
    "Outgoing",
    "Silence",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreMissing",
    "directory",
]

T = TypeVar("T")


def directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where state lives. Raises StoreError where this user has no place for it."""
    found = homes.state(env)
    if found is None:
        raise StoreError("cannot keep state: this user has no home directory; set $XDG_STATE_HOME or $STATE_DIRECTORY")
    return Path(found)


class Store:
    """The open state file. Raises StoreError from every method; close it. For one thread."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open or create, and migrate. A file that is no database is moved aside, and `problems` says so.

        `read_only` makes nothing and mends nothing: StoreMissing and StoreCorrupt say what is the matter.
        """
        self.path = path
        self.problems: list[str] = []
        self._read_only = read_only
        self._distrusted = False
        self._lost = False
        self._refused: StoreError | None = None
        self._open()

    def _open(self, *, distrust: bool = False) -> None:
        self._refused = None
        if self._read_only:
            self._db = self._attempt(lambda: file.readable(self.path))
        else:
            try:
                self._db = self._attempt(lambda: self._make(distrust))
            except StoreError as error:
                if not self.path.exists():
                    raise
                # On a disk that takes nothing the past can still be known; every save tries again to open it.
                try:
                    self._db = self._attempt(lambda: file.readable(self.path))
                except StoreError:
                    raise error from None  # there is no past to know: the disk is what is to be told
                self._refused = error
        self._identity = file.identity(self.path)
        self._seen = self._attempt(lambda: file.number(self._db, "data_version"))
        self._lost = False

    def _make(self, distrust: bool) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return file.writable(self.path, self.problems, distrust=distrust)

    def _attempt(self, way: Callable[[], T]) -> T:
        try:
            return way()
        except FileNotFoundError as error:
            raise StoreMissing(f"cannot open {self.path}: there is no such file") from error
        except OSError as error:
            raise StoreError(f"cannot open {self.path}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise self._trouble("open", error) from error

    def reopen(self) -> None:
        """After StoreCorrupt: start anew, with the old file moved aside, and say so in `problems`.

        A file that proves whole is kept, once. Whoever holds the truth in memory saves all of it again. Should this
        fail, every save says StoreCorrupt until it is called again and succeeds.
        """
        self._lost = True
        self._db.close()
        self._open(distrust=self._distrusted)
        self._distrusted = True

    def close(self) -> None:
        """Done with it."""
        self._db.close()

    def changed(self) -> bool:
        """Did another process write since this was last asked?"""
        before, self._seen = self._seen, int(self._ask("PRAGMA data_version")[0][0])
        return before != self._seen

    # Writing

    def save(self, batch: Batch, *, durable: bool = False) -> None:
        """Keep all of this or, when StoreError says so, nothing; it can then be saved again later.

        `durable`: it is on the disk when this returns; else a power cut may take the last half minute.
        """
        wanted = rows.work(batch)
        if not wanted:
            return
        with self._writing(durable) as db:
            for sql, values in wanted:
                db.executemany(sql, values)
        self._distrusted = False

    def remember(self, memories: Mapping[str, Memory]) -> None:
        """Keep what these probes noted; the others' notes stay."""
        self.save(Batch(memories=dict(memories)))

    def next_seq(self) -> int:
        """One more than ever before, over restarts, also when two processes ask at once."""
        with self._writing() as db:
            db.execute("INSERT INTO number VALUES ('seq', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1")
            return int(db.execute("SELECT value FROM number WHERE name = 'seq'").fetchone()[0])

    def add_note(self, note: Note) -> None:
        """Keep what somebody wrote to an incident, for good."""
        with self._writing(durable=True) as db:
            values = (note.incident, note.at, note.by, note.text, note.until)
            db.execute("INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?, ?)", values)

    def add_silence(self, silence: Silence) -> Silence:
        """Keep planned work; returns it with its id."""
        with self._writing(durable=True) as db:
            values = (silence.from_, silence.until, silence.by, silence.reason)
            made = db.execute("INSERT INTO silence (starts, until, by, reason) VALUES (?, ?, ?, ?)", values).lastrowid
            return msgspec.structs.replace(silence, id=made or 0)

    def end_silences(self, now: float) -> int:
        """Every silence that lasts or is still to come ends now; returns how many."""
        with self._writing(durable=True) as db:
            sql = "UPDATE silence SET until = ?, starts = min(starts, ?) WHERE until > ?"
            return db.execute(sql, (now, now, now)).rowcount

    def trim(self, now: float, keep: float, max_bytes: int) -> int:
        """Forget what ended more than `keep` seconds ago, then the oldest until the file fits; returns how many rows.

        What is still open is never forgotten, nor what probes remember.
        """
        with self._writing() as db:
            dropped = retention.expire(db, now - keep, now)
        while retention.too_large(self._db, max_bytes):
            with self._writing() as db:
                fewer = retention.shrink(db)
            if not fewer:
                break
            dropped += fewer
        with self._errors("write"):
            retention.give_back(self._db, max_bytes)
        return dropped

    def hasten(self, channel: str, now: float) -> int:
        """This channel works again: all that waits for it is due now. Returns how many were not."""
        with self._writing() as db:
            return outbox.hasten(db, channel, now)

    def bring_down(self, quota: int, now: float) -> int:
        """Where more than `quota` notices wait, the oldest of resolved incidents are dropped first; how many were."""
        with self._writing() as db:
            return outbox.bring_down(db, quota, now)

    # Reading

    @property
    def outbox(self) -> Outbox:
        """The notices that wait, and what became of the others."""
        return Outbox(self._ask, self._sound)

    @property
    def parcels(self) -> Parcels:
        """What waits for the centre."""
        return Parcels(self._ask, self._sound)

    def told(self, kind: type[T]) -> dict[str, T]:
        """By incident: who was told of it."""
        return self._named(kind, "SELECT incident, told FROM told")

    def memories(self) -> dict[str, dict[str, Any]]:
        """What each probe noted at its last look; a note that cannot be read is forgotten."""
        return self._named(dict, "SELECT probe, noted FROM memory")

    def tracks(self) -> dict[str, Track]:
        """What is believed of each probe."""
        return self._named(Track, "SELECT probe, track FROM track")

    def open_incidents(self) -> list[Incident]:
        """Those not resolved, oldest first."""
        sql = "SELECT incident FROM incident WHERE resolved_at IS NULL ORDER BY opened_at, id"
        return self._sound("incident", (rows.value(Incident, noted) for (noted,) in self._ask(sql)))

    def incidents(self, since: float | None = None, limit: int = 100) -> list[Incident]:
        """Newest first; with `since` those that were open at that time or later."""
        sql = (
            "SELECT incident FROM incident WHERE resolved_at IS NULL OR resolved_at >= ? "
            "ORDER BY opened_at DESC, id DESC LIMIT ?"
        )
        return self._sound(
            "incident", (rows.value(Incident, noted) for (noted,) in self._ask(sql, _after(since), limit))
        )

    def incident(self, id: str) -> Incident | None:
        """The one of this id."""
        found = self._ask("SELECT incident FROM incident WHERE id = ?", id)
        return next(iter(self._sound("incident", (rows.value(Incident, noted) for (noted,) in found))), None)

    def transitions(self, since: float | None = None, probe: str | None = None, limit: int = 1000) -> list[Transition]:
        """Newest first, of one probe or of all."""
        sql = (
            "SELECT probe, at, old, new, reason FROM transition WHERE at >= ? AND probe = coalesce(?, probe) "
            "ORDER BY at DESC LIMIT ?"
        )
        found = self._ask(sql, _after(since), probe, limit)
        return self._sound("transition", (rows.struct(Transition, row) for row in found))

    def availability(self, since_day: str = "") -> list[AvailabilityRow]:
        """From that day (`2026-11-22`) on, oldest first."""
        found = self._ask("SELECT * FROM availability WHERE day >= ? ORDER BY day, probe", since_day)
        return self._sound("availability", (rows.availability(row) for row in found))

    def events(self, since: float | None = None, limit: int = 100) -> list[Event]:
        """Newest first."""
        found = self._ask(
            "SELECT at, what, facts FROM event WHERE at >= ? ORDER BY at DESC LIMIT ?", _after(since), limit
        )
        return self._sound("event", (rows.event(row) for row in found))

    def mark(self, name: str) -> str | None:
        """What was last written down under this name."""
        found = self._ask("SELECT value FROM mark WHERE name = ?", name)
        return str(found[0][0]) if found else None

    def notes(self, incident: str) -> list[Note]:
        """What people wrote to an incident, oldest first."""
        found = self._ask("SELECT * FROM note WHERE incident = ? ORDER BY at", incident)
        return self._sound("note", (rows.struct(Note, row) for row in found))

    def silences(self, now: float) -> list[Silence]:
        """Those that last now."""
        found = self._ask("SELECT * FROM silence WHERE starts <= ? AND until > ? ORDER BY id", now, now)
        return self._sound("silence", (rows.struct(Silence, row) for row in found))

    def _named(self, kind: type[T], sql: str) -> dict[str, T]:
        found = ((str(name), rows.value(kind, noted)) for name, noted in self._ask(sql))
        return {name: noted for name, noted in found if noted is not None}

    def _sound(self, what: str, found: Iterable[T | None]) -> list[T]:
        all_of_them = list(found)
        sound = [one for one in all_of_them if one is not None]
        problem = f"state file holds records of table {what} that cannot be read; they are left out"
        if len(sound) < len(all_of_them) and problem not in self.problems:
            self.problems.append(problem)
        return sound

    def _ask(self, sql: str, *values: object) -> list[Any]:
        with self._errors("read"):
            return self._db.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _writing(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction, that is there as a whole or not at all."""
        with self._errors("write"):
            if self._refused:
                self._db.close()
                self._open()
            if self._refused:
                raise self._refused
            if self._lost or file.identity(self.path) != self._identity:
                raise StoreCorrupt(f"cannot write {self.path}: the file was removed or replaced")
            try:
                if durable:
                    self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            finally:
                with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    if durable:
                        self._db.execute("PRAGMA synchronous=NORMAL")

    @contextlib.contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._trouble(verb, error) from error

    def _trouble(self, verb: str, error: sqlite3.Error) -> StoreError:
        kind = StoreCorrupt if file.is_damage(error) else StoreError
        trouble = kind(f"cannot {verb} {self.path}: {error}")
        if file.code(error) == sqlite3.SQLITE_READONLY and not self._read_only:
            self._refused = trouble  # the disk was read-only when this was opened: it stays so until it is opened anew
        return trouble


def _after(since: float | None) -> float:
    return float("-inf") if since is None else since
