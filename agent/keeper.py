"""Does what is known reach the disk, also on a bad day? A full, read-only or broken disk is said, and caught up with.

State goes to the store in whole batches, the report to its file. What cannot be written waits in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from agent import report, salvage
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
IN_MEMORY = "posagent runs on in memory and tries again"
HALF_WRITTEN_S = 60.0
"""A report that nobody finished in this time was being written when its writer was killed."""
UNSAVED_AT_MOST = 20_000
"""Rows of one table that wait in memory; beyond it the oldest go."""
NOTICES_AT_MOST = 2000
"""Notices are some kilobytes each."""
PARCELS_AT_MOST = 500
"""So are reports for the centre; whoever waits with them sees to it that there are no more."""


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
        self._durable = False
        self._damaged = False
        self._retry_at = 0.0
        self._retry_s = RETRY_S
        self._seq = 0
        self._swept = False
        self._told: set[str] = set()

    # --- state --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the state file; where that fails the daemon runs on in memory and tries again with every save."""
        try:
            self._open()
        except StoreError as error:
            self._fail(error)

    def _open(self) -> Store:
        self._store = Store(directory(self._env) / "state.sqlite")
        self._told.clear()
        self._tell_of(self._store)
        return self._store

    def _tell_of(self, store: Store) -> None:
        for sentence in set(store.problems) - self._told:
            self._told.add(sentence)
            self.problems["state.corrupt"] = sentence
            self.news.append(Event(at=time.time(), what="state.corrupt", facts={"detail": sentence}))
        store.problems.clear()

    def _ask(self, question: Callable[[Store], T], otherwise: T) -> T:
        if self._store is None:
            return otherwise
        try:
            found = question(self._store)
        except StoreError as error:
            self._damaged = self._damaged or isinstance(error, StoreCorrupt)
            self._fail(error)
            return otherwise
        self._tell_of(self._store)
        return found

    def ask(self, question: Callable[[Store], T], otherwise: T) -> T:
        """Put a question to the state file; `otherwise` where it cannot answer."""
        return self._ask(question, otherwise)

    @property
    def pending(self) -> Batch:
        """What no file took yet. Not to be changed."""
        return self._pending

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
        opened = [*opened, *self._salvaged({each.id for each in opened})]
        past = self._ask(lambda store: store.incidents(since=resolved_since), none)
        recent = [each for each in past if each.resolved_at is not None and each.resolved_at >= resolved_since]
        return Book(open=tuple(opened), recent=tuple(recent))

    def _salvaged(self, known: Collection[str]) -> list[Incident]:
        """What the last report tells of and no state file ever knew: the file was lost, or its disk was full."""
        try:
            told = salvage.open_incidents(self.report_path.read_bytes() if self.report_path else b"")
        except OSError:
            return []
        found = [each for each in told if each.id not in known and not self._has(each.id)]
        self._pending.incidents.extend(found)
        return found

    def _has(self, incident: str) -> bool:
        return self._ask(lambda store: store.incident(incident), None) is not None

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
        self._durable = self._durable or durable
        self._bound()
        if time.monotonic() < self._retry_at or (self._pending.empty and not self._retry_at):
            return self._pending.empty
        if self._pending.empty:  # a read failed: whether the file is well shows when something is written
            self._pending.marks["last_seen"] = f"{time.time():.3f}"
        try:
            self._put(everything)
        except StoreError as error:
            self._fail(error)
            return False
        self._durable = False
        self._retry_at, self._retry_s = 0.0, RETRY_S
        self.problems.pop("state", None)
        return True

    def _put(self, everything: Callable[[], Batch]) -> None:
        store, first = self._store, self._pending
        if store is None:
            store = self._open()
            first = self._all_into(store, everything())
        try:
            if self._damaged:
                raise StoreCorrupt("what was read was damaged")
            store.save(first, durable=self._durable)
        except StoreCorrupt:
            self._damaged = True  # whatever comes of it, the next file is to hold everything
            store.reopen()
            self._told.clear()
            self._tell_of(store)
            store.save(self._all_into(store, everything()), durable=True)
        self._damaged = False
        self._pending = Batch()

    def _all_into(self, store: Store, all_there_is: Batch) -> Batch:
        """For a file that this life has not written to: it is empty, or comes from an earlier one.

        What an earlier life left open there and this one knows nothing of is over, or was told anew by another id.
        """
        all_there_is.merge(self._pending)
        known = {each.id: each for each in all_there_is.incidents}
        for stray in store.open_incidents():
            if stray.id not in known:
                heir = next((each.id for each in known.values() if _is_same_fault(stray, each)), None)
                over = msgspec.structs.replace(stray, resolved_at=time.time(), joined_to=heir)
                all_there_is.incidents.append(over)
        if self._seq:
            all_there_is.seq = self._seq = max(self._seq, store.next_seq())
        return all_there_is

    def wait(self, now: float) -> float:
        """Seconds until what a file refused is to be tried again: call `save` then, with nothing if need be."""
        return max(0.0, self._retry_at - now) if self._retry_at else float("inf")

    def _fail(self, error: StoreError) -> None:
        self.problems["state"] = f"{error}; {IN_MEMORY}"
        now = time.monotonic()
        if now >= self._retry_at:
            self._retry_at, self._retry_s = now + self._retry_s, min(2 * self._retry_s, SLOWEST_S)

    def _bound(self) -> None:
        pending = self._pending
        for waiting in (
            pending.transitions,
            pending.events,
            pending.incidents,
            pending.availability,
            pending.fates,
            pending.done,
        ):
            del waiting[:-UNSAVED_AT_MOST]
        del pending.parcels[:-PARCELS_AT_MOST]
        if len(pending.notices) > NOTICES_AT_MOST:
            self._bring_down()

    def _bring_down(self) -> None:
        """Of too many notices those that have left go first, then the oldest about what is over."""
        pending = self._pending
        over = {each.id for each in pending.incidents if each.resolved_at is not None}
        ranked = sorted(pending.notices, key=lambda one: (bool(one.message), one.incident not in over))
        gone = ranked[: len(ranked) - NOTICES_AT_MOST]
        lost = sum(bool(one.message) for one in gone)
        left = {one.id for one in pending.notices} - {one.id for one in gone}
        pending.notices = [one for one in pending.notices if one.id in left]
        if lost:
            self.news.append(Event(time.time(), "notices.dropped", {"count": lost, "quota": NOTICES_AT_MOST}))

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
        except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):  # none, or no report
            return 0, 0.0, ""

    def last_verdict(self) -> str | None:
        """As `Reporter.verdict_mark` has it: the last report's, for a kill may leave the state file behind it."""
        try:
            told = json.loads(self.report_path.read_bytes())["verdict"] if self.report_path else {}
            since = datetime.fromisoformat(told["since"]).timestamp()
            return f"{told['payments']} {told['settlement']} {since}"
        except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
            return self.mark("verdict")

    def close(self) -> None:
        """Done."""
        if self._store is not None:
            self._store.close()
            self._store = None

    # --- report -------------------------------------------------------------------------------------------------------

    def write(self, content: bytes) -> bool:
        """Replace the report file; a missing directory is made. False: it is worth another try."""
        if self.report_path is None:
            self.problems["report"] = "cannot write a report: this user has no place for it; set `path` in [report]"
            return True
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
        self._sweep(self.report_path)
        return True

    def _sweep(self, path: Path) -> None:
        """Once: remove what writers left that were killed while they wrote."""
        if self._swept:
            return
        self._swept = True
        with contextlib.suppress(OSError):
            for left in path.parent.glob(f".{path.name}.*"):
                if abs(time.time() - left.stat().st_mtime) > HALF_WRITTEN_S:
                    left.unlink()


def _is_same_fault(one: Incident, other: Incident) -> bool:
    return other.resolved_at is None and one.cause == other.cause and not set(one.probes).isdisjoint(other.probes)


def all_of(tracks: Mapping[str, Track], memories: Mapping[str, Memory], incidents: Sequence[Incident]) -> Batch:
    """Everything that a new state file must hold."""
    batch = Batch()
    batch.tracks.update(tracks)
    batch.memories.update(memories)
    batch.incidents.extend(incidents)
    return batch
