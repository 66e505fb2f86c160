"""What waits for the centre, and is it safe? In memory what it is, in the state file its bodies.

A report of a change is kept at once. One that says only that this till is still watched is kept when it was not taken
soon, or when another follows: while the centre can be reached it costs no write, and after a kill the newest report is
in the report file. A disk that refuses stops nobody: what it did not take waits in memory, bounded.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from agent.push.order import Waiting
from agent.store import Batch, Done, Kept

if TYPE_CHECKING:
    from agent.keeper import Keeper
    from agent.push.sender import Parcel

HOLD_S = 3.0
"""How soon a report that nobody has taken is kept."""
FORGET_S = 30.0
"""How soon it is written down what was taken: until then a kill makes it come twice, with the same key."""
AGAIN_S = 5.0
"""How soon a state file that cannot be read is asked again."""
IN_MEMORY = 400
"""Parcels that wait in memory because no disk takes them."""
LEVEL = 6


class Stock:
    """All that waits. Belongs to the loop's thread; nothing raises for what a disk does."""

    def __init__(self, keeper: Keeper, unsaved: Callable[[], Batch], save: Callable[[bool], None]) -> None:
        self._keeper, self._unsaved, self._save = keeper, unsaved, save
        self.waiting: dict[str, Waiting] = {}
        self.newest = ""
        """The key of the newest report."""
        self.seq = 0
        self.restored = False
        self._fresh: Kept | None = None
        self._keep_at = self._forget_at = float("inf")
        self._dirty = False

    # --- coming -------------------------------------------------------------------------------------------------------

    def report(self, encoded: bytes, seq: int, at: float, ways: Collection[str], *, changed: bool) -> Waiting | None:
        """A new report. None where it is known already."""
        self.keep_all()
        kept = packed("report", encoded, seq, at, ways, changed=changed)
        self.newest, self.seq = kept.key, seq
        if kept.key in self.waiting:
            return None
        if changed:
            self._put(kept)
        else:
            self._fresh, self._keep_at = kept, time.monotonic() + HOLD_S
        return self._enter(kept)

    def incident(self, encoded: bytes, at: float, ways: Collection[str]) -> Waiting | None:
        """Something happened to an incident; it is kept with whatever is saved next."""
        kept = packed("incident", encoded, self.seq, at, ways)
        if kept.key in self.waiting:
            return None
        self._put(kept)
        return self._enter(kept)

    def _enter(self, kept: Kept) -> Waiting:
        one = Waiting(kept.key, kept.kind, kept.seq, kept.at, kept.changed, set(kept.ways))
        self.waiting[one.key] = one
        return one

    def _put(self, kept: Kept) -> None:
        self._unsaved().parcels.append(kept)
        self._dirty = True

    @property
    def only_in_file(self) -> bool:
        """The newest report was not taken, and is nowhere but in the report file."""
        return self._fresh is not None

    def keep_all(self) -> None:
        """What is held back so far is to be kept: it was not taken."""
        if self._fresh is not None:
            self._put(self._fresh)
        self._fresh, self._keep_at = None, float("inf")

    # --- going --------------------------------------------------------------------------------------------------------

    def done(self, one: Waiting, way: str) -> None:
        """This way needs it no more."""
        one.ways.discard(way)
        if not one.ways:
            self.waiting.pop(one.key, None)
        if self._fresh is not None and self._fresh.key == one.key:
            self._fresh = msgspec.structs.replace(self._fresh, ways=tuple(one.ways)) if one.ways else None
            self._keep_at = self._keep_at if one.ways else float("inf")
            return  # it was never written
        self._unsaved().done.append(Done(one.key, way))
        self._forget_at = min(self._forget_at, time.monotonic() + FORGET_S)

    def body(self, key: str) -> bytes | None:
        """The gzipped JSON. None: it is lost; empty: the state file cannot be asked now."""
        if self._fresh is not None and self._fresh.key == key:
            return self._fresh.body
        for batch in (self._unsaved(), self._keeper.pending):
            for kept in batch.parcels:
                if kept.key == key:
                    return kept.body
        cannot_ask: bytes | None = b""
        found = self._keeper.ask(lambda store: store.parcels.body(key), cannot_ask)
        return found if not found or _is_sound(key, found) else None

    def too_many_in_memory(self) -> list[Waiting]:
        """Those that no disk took, where they are too many, oldest first, but for the newest."""
        pending = self._keeper.pending.parcels
        if len(pending) <= IN_MEMORY:
            return []
        known = [self.waiting[one.key] for one in pending if one.key in self.waiting]
        ranked = sorted(known, key=lambda one: (one.key == self.newest, one.changed, one.seq))
        return ranked[: max(0, len(known) - IN_MEMORY)]

    # --- keeping ------------------------------------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Write what is to be written by now."""
        if now >= self._keep_at:
            self.keep_all()
        if self._dirty or now >= self._forget_at:
            self._dirty, self._forget_at = False, float("inf")
            self._save(False)

    def wait_until(self) -> float:
        """When `flush` has something to do: monotonic seconds."""
        return 0.0 if self._dirty else min(self._keep_at, self._forget_at)

    def everything(self, in_hand: Iterable[Parcel]) -> Batch:
        """What a new state file must hold of this; the rest went with the old one."""
        found = {}
        for parcel in in_hand:
            one = self.waiting.get(parcel.key)
            if one is not None:
                found[one.key] = Kept(
                    key=one.key, kind=one.kind, seq=one.seq, at=one.at, changed=one.changed, ways=tuple(one.ways),
                    body=parcel.packed,
                )  # fmt: skip
        return Batch(parcels=list(found.values()))

    # --- an earlier life ----------------------------------------------------------------------------------------------

    def restore(self, ways: Collection[str], taken: Callable[[str], int]) -> bool:
        """Take up what waited, for these ways; `taken`: up to which report a way has them. False: not yet possible."""
        found: list[Kept] | None = self._keeper.ask(lambda store: store.parcels.index(), None)
        if found is None:
            return False
        taken_since = {(one.key, one.way) for batch in (self._unsaved(), self._keeper.pending) for one in batch.done}
        for kept in found:
            for way in set(kept.ways).difference(ways):
                self._unsaved().done.append(Done(kept.key, way))
            left = {way for way in kept.ways if way in ways and (kept.key, way) not in taken_since}
            if kept.key not in self.waiting and left:
                self._enter(kept).ways.intersection_update(left)
        self.restored = True
        if not self.newest:
            self._last_report(ways, taken)
        self.waiting = dict(sorted(self.waiting.items(), key=lambda item: (item[1].seq, item[1].at)))
        return True

    def _last_report(self, ways: Collection[str], taken: Callable[[str], int]) -> None:
        """The newest one is in the report file; it may be there alone."""
        path = self._keeper.report_path
        try:
            encoded = path.read_bytes() if path is not None else b""
            told = json.loads(encoded)
            seq, at = int(told["seq"]), datetime.fromisoformat(told["generated_at"]).timestamp()
        except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):  # none, or no report
            return
        left = [way for way in ways if taken(way) < seq]
        kept = packed("report", encoded, seq, at, left)
        self.newest, self.seq = kept.key, seq
        if left and kept.key not in self.waiting:
            self._put(kept)  # before the next report replaces the file
            self._enter(kept)


def packed(
    kind: Literal["report", "incident"],
    encoded: bytes,
    seq: int,
    at: float,
    ways: Collection[str],
    *,
    changed: bool = True,
) -> Kept:
    """As it is kept."""
    body = gzip.compress(encoded, LEVEL, mtime=0)
    return Kept(key=key_of(seq, encoded), kind=kind, seq=seq, at=at, changed=changed, ways=tuple(ways), body=body)


def key_of(seq: int, encoded: bytes) -> str:
    """By which the centre knows that it has it already."""
    return f"{seq}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def _is_sound(key: str, body: bytes) -> bool:
    try:
        return hashlib.sha256(gzip.decompress(body)).hexdigest().startswith(key.rpartition("-")[2])
    except (OSError, EOFError, ValueError, gzip.zlib.error):  # type: ignore[attr-defined]  # what gzip itself raises
        return False
