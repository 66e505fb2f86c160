"""Does what is known reach the disk, also on a bad day? A full, read-only or broken disk is said, and caught up with.

State goes to the store in whole batches, the report to its file. What cannot be written waits in memory.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent import report
from agent.incidents import Book, Incident
from agent.store import Batch, Event, Store, StoreCorrupt, StoreError, directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.state import Track
    from agent.store import AvailabilityRow, Note, Silence
    from probes.model import Memory

T = TypeVar("T")
RETRY_S, SLOWEST_S = 5.0, 60.0
"""How long after a failed write the next is tried: at first, and at most."""
UNSAVED_AT_MOST = 20_000
"""Transitions and events that wait in memory; beyond it the oldest go."""


class Keeper:
    """The state file and the report file of a running daemon. No method raises for what a disk does."""

    def __init__(self, report_path: Path | None, env: Mapping[str, str] = os.environ) -> None:
        self.report_path = report_path
        self.problems: dict[str, str] = {}
        self.news: list[Event] = []
        """What happened to the files themselves, to be recorded."""
        self._env = env
        self._store: Store | None = None
        self._pending = Batch()
        self._retry_at = 0.0
        self._retry_s = RETRY_S
        self._seq = 0

    # --- state --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the state file; where that fails the daemon runs on in memory and tries again with every save."""
        try:
            store = Store(directory(self._env) / "state.sqlite")
        except StoreError as error:
            self.problems["state"] = f"{error}; posagent runs on in memory and tries again"
            return
        self._store = store
        self.problems.pop("state", None)
        self._tell_of(store)

    def _tell_of(self, store: Store) -> None:
        for sentence in store.problems:
            self.problems["state.corrupt"] = sentence
            self.news.append(Event(at=time.time(), what="state.corrupt", facts={"detail": sentence}))
        store.problems.clear()

    def _ask(self, question: Callable[[Store], T], otherwise: T) -> T:
        if self._store is None:
            return otherwise
        try:
            return question(self._store)
        except StoreError as error:
            self.problems["state"] = str(error)
            return otherwise

    def tracks(self) -> dict[str, Track]:
        """As they were last saved."""
        return self._ask(lambda store: store.tracks(), {})

    def memories(self) -> Mapping[str, Memory]:
        """As they were last saved."""
        return self._ask(lambda store: store.memories(), {})

    def book(self, resolved_since: float) -> Book:
        """The open incidents, and those resolved since that moment."""
        none: list[Incident] = []
        opened = self._ask(lambda store: store.open_incidents(), none)
        past = self._ask(lambda store: store.incidents(since=resolved_since), none)
        recent = [each for each in past if each.resolved_at is not None and each.resolved_at >= resolved_since]
        return Book(open=tuple(opened), recent=tuple(recent))

    def availability(self, since_day: str) -> Sequence[AvailabilityRow]:
        """Seconds per day and probe since that day."""
        return self._ask(lambda store: store.availability(since_day), [])

    def mark(self, name: str) -> str | None:
        """A mark of this agent's last life."""
        return self._ask(lambda store: store.mark(name), None)

    def events(self, limit: int) -> Sequence[Event]:
        """The newest events, oldest first."""
        none: list[Event] = []
        return sorted(self._ask(lambda store: store.events(None, limit), none), key=lambda event: event.at)

    def notes(self, incident: str) -> Sequence[Note]:
        """What people said of an incident."""
        return self._ask(lambda store: store.notes(incident), [])

    def silences(self, now: float) -> Sequence[Silence]:
        """Planned work that holds now."""
        return self._ask(lambda store: store.silences(now), [])

    def changed_by_others(self) -> bool:
        """Whether another process (a technician's command) wrote since the last call."""
        return self._ask(lambda store: store.changed(), False)

    def save(self, batch: Batch, *, durable: bool = False, everything: Callable[[], Batch] = Batch) -> bool:
        """Keep this and what waits. `everything` is asked for all there is to keep when a new file had to be begun."""
        self._pending.merge(batch)
        self._bound()
        if self._pending.empty or time.monotonic() < self._retry_at:
            return self._pending.empty
        fresh = self._store is None
        if self._store is None:
            self.open()
        try:
            self._put(durable, everything, fresh=fresh)
        except StoreError as error:
            self._fail(error)
            return False
        self._retry_at, self._retry_s = 0.0, RETRY_S
        self.problems.pop("state", None)
        return True

    def _put(self, durable: bool, everything: Callable[[], Batch], *, fresh: bool) -> None:
        if self._store is None:
            raise StoreError(self.problems.get("state", "cannot open the state file"))
        first = everything() if fresh else Batch()
        first.merge(self._pending)
        try:
            self._store.save(first, durable=durable)
        except StoreCorrupt:
            self._store.reopen()
            self._tell_of(self._store)
            first = everything()  # the new file is empty
            first.merge(self._pending)
            self._store.save(first, durable=durable)
        self._pending = Batch()

    def _fail(self, error: StoreError) -> None:
        self.problems["state"] = f"{error}; posagent runs on in memory and tries again"
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, SLOWEST_S)

    def _bound(self) -> None:
        for waiting in (self._pending.transitions, self._pending.events):
            del waiting[:-UNSAVED_AT_MOST]

    def trim(self, keep: float, max_bytes: int) -> None:
        """Drop what is too old, or too much."""
        self._ask(lambda store: store.trim(time.time(), keep, max_bytes), 0)

    def next_seq(self) -> int:
        """The number of the next report. It is saved with whatever is saved next; the report itself bears it too."""
        if not self._seq:
            self._seq = max(self._ask(lambda store: store.next_seq(), 1) - 1, self.last_report()[0])
        self._seq += 1
        self._pending.seq = self._seq
        return self._seq

    def last_report(self) -> tuple[int, float, str]:
        """What this agent wrote last, in this life or the one before: its `seq`, when (Unix time), and the boot id."""
        try:
            data = json.loads(self.report_path.read_bytes()) if self.report_path else {}
            return int(data["seq"]), datetime.fromisoformat(data["generated_at"]).timestamp(), str(data["boot_id"])
        except (OSError, ValueError, TypeError, LookupError):  # none, unreadable, or something else by that name
            return 0, 0.0, ""

    def close(self) -> None:
        """Done."""
        if self._store is not None:
            self._store.close()
            self._store = None

    # --- report -------------------------------------------------------------------------------------------------------

    def write(self, content: bytes) -> bool:
        """Replace the report file; a missing directory is made."""
        if self.report_path is None:
            return False
        try:
            try:
                report.write(self.report_path, content)
            except FileNotFoundError:
                self.report_path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
                report.write(self.report_path, content)
        except OSError as error:
            self.problems["report"] = f"cannot write {self.report_path}: {error.strerror or error}; trying again"
            return False
        self.problems.pop("report", None)
        return True


def all_of(tracks: Mapping[str, Track], memories: Mapping[str, Memory], incidents: Sequence[Incident]) -> Batch:
    """Everything that a new state file must hold."""
    batch = Batch()
    batch.tracks.update(tracks)
    batch.memories.update(memories)
    batch.incidents.extend(incidents)
    return batch
