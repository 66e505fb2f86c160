"""In which words is it kept who was told what of a fault? Times are Unix seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from agent.incidents import Incident

IMPACTS = ("none", "degrade", "stop")
What = Literal["opened", "escalated", "reminder", "resolved", "joined", "drill"]


class Rung(msgspec.Struct, frozen=True):
    """A level that was told: when it last was, and how often it was reminded since the fault is as grave as it is."""

    name: str
    at: float
    reminders: int = 0


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What people know of one incident. It is kept with the notices that it speaks of, so that none is told twice."""

    incident: str
    level: int = 0
    """The highest level that was told, counted from 1 as they stand in the file; 0: nobody yet."""
    told_at: tuple[tuple[str, float], ...] = ()
    """Each channel that was told of the fault, and when it first was: those also hear of its end."""
    reminders: int = 0
    last_at: float = 0.0
    """The last notice about it, whatever it said."""
    over: bool = False
    """Nothing more will be said of it."""
    home: str = ""
    """The incident that it turned out to be part of, or that this one in turn is part of."""
    fault: str = ""
    """Equal for incidents of the same fault: see `fault_of`."""
    impact: str = ""
    """The gravest that was seen; `since` then is when it became so, and levels count from there."""
    since: float = 0.0
    raised_at: float = 0.0
    """When it became graver than it was when it was confirmed. Whoever took charge before did so of less."""
    rungs: tuple[Rung, ...] = ()
    owed: tuple[str, ...] = ()
    """Channels that were told, and do not know yet that it became graver."""
    relieved: tuple[str, ...] = ()
    """Channels that know that it is over."""
    returned_at: float = 0.0
    """When it was last back after it was gone, under another incident, before anybody was told so."""
    spoken: str = ""
    """The incident that the last notice was about: this one, or the one under which the fault was known before."""
    count: int = 0
    """How many notices there were: each has its number in its key."""
    recent: tuple[float, ...] = ()
    """When the last ones were."""


class Notice(msgspec.Struct, frozen=True):
    """Something to tell, to several channels at once. Whoever gets the same `key` twice has got one notice twice."""

    key: str
    what: What
    incident: str
    level: int
    channels: tuple[str, ...]
    at: float


def fault_of(incident: Incident) -> str:
    """The same for each incident of a fault that comes and goes. What nobody can name is told apart by its probes."""
    if incident.cause == "unclassified":
        return " ".join(sorted(incident.probes))
    return f"{incident.cause} {incident.fingerprint}"


def adopted(incident: Incident, told: Told | None, now: float) -> Told:
    """What people know, put right: first seen, grown graver, or remembered from a clock that was ahead of this one."""
    if told is None:
        since = min(incident.opened_at, now)
        return Told(
            incident=incident.id,
            fault=fault_of(incident),
            impact=incident.impact,
            since=since,
            home=incident.joined_to or "",
        )
    if (
        max(told.since, told.raised_at, told.returned_at, told.last_at, *(rung.at for rung in told.rungs), *told.recent)
        > now
    ):
        told = replace(
            told,
            since=min(told.since, now),
            raised_at=min(told.raised_at, now),
            returned_at=min(told.returned_at, now),
            last_at=min(told.last_at, now),
            rungs=tuple(replace(rung, at=min(rung.at, now)) for rung in told.rungs),
            recent=tuple(min(at, now) for at in told.recent),
        )
    if incident.joined_to and not told.home:
        told = replace(told, home=incident.joined_to)
    if incident.resolved_at is None and _weight(incident.impact) > _weight(told.impact):
        channels = tuple(channel for channel, _ in told.told_at)
        told = replace(told, impact=incident.impact, since=now, raised_at=now, owed=channels)
    return told


def shifted(told: Told, seconds: float) -> Told:
    """The same after the wall clock was set by so much: what was ten minutes ago still was."""
    return replace(
        told,
        told_at=tuple((channel, at + seconds) for channel, at in told.told_at),
        since=told.since + seconds,
        raised_at=told.raised_at and told.raised_at + seconds,
        returned_at=told.returned_at and told.returned_at + seconds,
        last_at=told.last_at and told.last_at + seconds,
        rungs=tuple(replace(rung, at=rung.at + seconds) for rung in told.rungs),
        recent=tuple(at + seconds for at in told.recent),
    )


def _weight(impact: str) -> int:
    return IMPACTS.index(impact) if impact in IMPACTS else -1
