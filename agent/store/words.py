"""In which words does the store speak? What is kept together, what happened to the agent, and how keeping fails.

StoreError            the state cannot be read or kept now; the same batch can be saved again later
├── StoreMissing      there is no state file to read
└── StoreCorrupt      the file is damaged, or was taken away: `Store.reopen()` starts anew
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from agent.incidents import Incident
from agent.state import Track, Transition
from probes.model import Memory, Scalar

AvailabilityRow = tuple[str, str, float, float, float]
"""Day (`2026-11-22`, in the store's zone), probe, and how many seconds it was good, bad and not seen on that day."""


class StoreError(Exception):
    """The state cannot be read or kept; the text is `cannot <verb> <file>: <cause>`."""


class StoreMissing(StoreError):
    """There is no state file: no daemon ever ran here, or it keeps its state elsewhere."""


class StoreCorrupt(StoreError):
    """The open file is damaged, or is no longer the file of that name. `Store.reopen()` is the way on."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened to the agent or its PC, not to what it watches. `at` is Unix seconds."""

    at: float
    what: str
    """Such as `agent.started`, `agent.stopped`, `dark`, `clock.jumped`, `suspended`, `reloaded`, `state.corrupt`."""
    facts: dict[str, Scalar] = {}


class Note(msgspec.Struct, frozen=True):
    """Somebody took charge of an incident or wrote something to it."""

    incident: str
    at: float
    by: str
    text: str = ""
    until: float | None = None


class Silence(msgspec.Struct, frozen=True):
    """Planned work: nobody is told from `from_` until `until`, Unix seconds. The store gives the `id`."""

    id: int
    from_: float
    until: float
    by: str
    reason: str = ""


NoticeState = Literal["waiting", "sent", "refused", "dropped"]


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A notice on its way through one channel. Together `key` and `channel` are there once, ever. Unix seconds."""

    key: str
    """The idempotency key: the same notice has the same one through every channel and at every attempt."""
    channel: str
    incident: str
    what: str
    """Such as `opened`, `escalated`, `reminder`, `resolved`, `joined`."""
    level: int = 0
    at: float
    """When there was something to tell."""
    created: float
    """When it was put into the outbox for this channel."""
    due: float
    attempts: int = 0
    state: NoticeState = "waiting"
    finished: float | None = None
    detail: str = ""
    """What came of the last attempt."""
    instead_of: str = ""
    """The channel that it stands in for."""
    passed_on: bool = False
    """Another channel stands in for this one."""
    message: str = ""
    """The message as JSON; empty once it is no longer needed."""

    @property
    def id(self) -> tuple[str, str]:
        """Which one it is."""
        return self.key, self.channel


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a notice in the outbox: sent, refused, or due again later."""

    key: str
    channel: str
    state: NoticeState
    due: float
    attempts: int
    at: float
    detail: str = ""
    passed_on: bool = False

    @property
    def id(self) -> tuple[str, str]:
        """Whose fate this is."""
        return self.key, self.channel


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A report, or what happened to an incident, that waits for the centre. There once, ever, by its `key`."""

    key: str
    kind: Literal["report", "incident"]
    seq: int
    """Of the report, or of the newest one when the other happened."""
    at: float
    """When it was made: Unix seconds."""
    changed: bool = True
    """It tells of a change; False: the report said only that this till is still watched."""
    ways: tuple[str, ...]
    """The ways to the centre that have not taken it yet."""
    body: bytes = b""
    """JSON, gzipped; empty in an index."""


class Done(msgspec.Struct, frozen=True):
    """This way needs it no more: the centre has it, or never will. What all ways are done with is forgotten."""

    key: str
    way: str


class Batch(msgspec.Struct):
    """What is to be kept together, all of it or nothing. Only what changed need be in it.

    Saving the same batch twice is the same as saving it once.
    """

    memories: dict[str, Memory] = {}
    tracks: dict[str, Track] = {}
    incidents: list[Incident] = []
    transitions: list[Transition] = []
    availability: list[AvailabilityRow] = []
    """Totals of the day, not what was added since the last batch."""
    events: list[Event] = []
    marks: dict[str, str] = {}
    seq: int | None = None
    told: dict[str, Any] = {}
    """By incident: who was told of it, in the words of whoever decides about that."""
    notices: list[Outgoing] = []
    """New ones; one that is in the outbox already, or ever was, stays as it is."""
    fates: list[Fate] = []
    """What became of earlier ones. What was finished stays finished."""
    parcels: list[Kept] = []
    """New ones for the centre."""
    done: list[Done] = []

    @property
    def empty(self) -> bool:
        """Nothing to keep."""
        return self.seq is None and not any(
            (
                self.memories,
                self.tracks,
                self.incidents,
                self.transitions,
                self.availability,
                self.events,
                self.marks,
                self.told,
                self.notices,
                self.fates,
                self.parcels,
                self.done,
            )
        )

    def merge(self, other: Batch) -> None:
        """Add a later batch: where both speak of the same thing, the later one holds."""
        self.memories.update(other.memories)
        self.tracks.update(other.tracks)
        self.marks.update(other.marks)
        self.incidents = list({one.id: one for one in (*self.incidents, *other.incidents)}.values())
        self.availability = list({row[:2]: row for row in (*self.availability, *other.availability)}.values())
        self.transitions.extend(other.transitions)
        self.events.extend(other.events)
        self.told.update(other.told)
        if other.notices:
            self.notices = list({one.id: one for one in (*self.notices, *other.notices)}.values())
        over = {one.id for one in other.fates if one.state != "waiting"}
        if over:  # what is finished needs its words no more
            self.notices = [msgspec.structs.replace(one, message="") if one.id in over else one for one in self.notices]
        if other.fates:
            self.fates = list({one.id: one for one in (*self.fates, *other.fates)}.values())
        if other.parcels:
            self.parcels = list({one.key: one for one in (*self.parcels, *other.parcels)}.values())
        if other.done:
            self.done = list(dict.fromkeys((*self.done, *other.done)))
            if self.parcels:
                self._forget_done()
        if other.seq is not None:
            self.seq = max(other.seq, self.seq or 0)

    def _forget_done(self) -> None:
        """What no file took yet and no way needs any more, none has to take."""
        over: dict[str, set[str]] = {}
        for one in self.done:
            over.setdefault(one.key, set()).add(one.way)
        left = []
        for each in self.parcels:
            ways = tuple(way for way in each.ways if way not in over.get(each.key, ()))
            if ways:
                left.append(each if ways == each.ways else msgspec.structs.replace(each, ways=ways))
        self.parcels = left
