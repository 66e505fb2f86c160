"""Who is to be told of this incident at this moment, and when must that be asked again? Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from agent.escalation.words import Notice, Rung, Told, What, adopted

if TYPE_CHECKING:
    from agent.config.escalation import Level
    from agent.incidents import Incident
    from agent.store import Note

HOUR_S = 3600.0
POLL_S = 60.0
"""What waits for the store to open, for a silence to end or for a flapping fault's turn is asked about so soon."""
LEAST_S = 300.0
"""However near the settlement is, nobody is reminded more often than this."""
FLAPPING_MOST = 4
"""Notices within an hour about a fault that comes and goes."""
QUIET_S = 900.0
"""Such a fault is said to be gone only after so long: until then it may come back with nobody the wiser."""


class Moment(NamedTuple):
    """What holds at one moment for all incidents alike."""

    now: float
    levels: Sequence[Level]
    silenced: bool
    is_open: Callable[[float], bool]
    deadline: float | None
    """The next settlement."""
    before_settlement: float = HOUR_S


def decide(  # noqa: PLR0913 - one call, one moment: all that it hangs on is named at the caller
    incident: Incident,
    told: Told | None,
    *,
    charge: Note | None,
    silenced: bool,
    is_open: Callable[[float], bool],
    levels: Sequence[Level],
    now: float,
    deadline: float | None,
    before_settlement: float = HOUR_S,
    lately: Iterable[float] = (),
) -> tuple[Told, list[Notice]]:
    """What is to be told now, and what people know once it is. Asked twice at the same moment, it has nothing to add.

    `charge`: the last note by which somebody took charge. `deadline`: the next settlement. `lately`: when notices were
    about the same fault under another incident.
    """
    moment = Moment(now, levels, silenced, is_open, deadline, before_settlement)
    return Step(incident, told, charge, moment, lately).run()


def next_at(  # noqa: PLR0913 - as `decide`
    incident: Incident,
    told: Told | None,
    *,
    charge: Note | None,
    silenced: bool,
    is_open: Callable[[float], bool],
    levels: Sequence[Level],
    now: float,
    deadline: float | None,
    before_settlement: float = HOUR_S,
) -> float | None:
    """When `decide`, which was just asked, must be asked again at the latest if nothing happens; None: not before."""
    moment = Moment(now, levels, silenced, is_open, deadline, before_settlement)
    return Step(incident, told, charge, moment).again_at()


class Step:
    """One incident at one moment."""

    def __init__(
        self,
        incident: Incident,
        told: Told | None,
        charge: Note | None,
        moment: Moment,
        lately: Iterable[float] = (),
    ) -> None:
        self.incident = incident
        self.now = moment.now
        self.told = adopted(incident, told, self.now)
        self.charge = charge
        self.moment = moment
        numbered = enumerate(moment.levels, 1)
        self.levels = {level.name: (number, level) for number, level in numbered if self._covers(level)}
        ends = moment.deadline if incident.impact == "stop" or incident.cause.startswith("settlement.") else None
        self.deadline = ends if ends is not None and ends > self.now else None
        self.urgent = self.deadline is not None and self.deadline - self.now <= moment.before_settlement
        self.lately = [at for at in lately if abs(self.now - at) < HOUR_S]
        self.notices: list[Notice] = []

    def run(self) -> tuple[Told, list[Notice]]:
        """Everything, in order."""
        if not self.told.over:
            if self.incident.resolved_at is not None:
                self._end()
            elif not self.moment.silenced and not self._is_in_charge():
                self._escalate()
                self._remind()
        return self.told, self.notices

    def again_at(self) -> float | None:
        """The next moment at which there may be something to tell. What was due and not told is held up."""
        return min((at if at > self.now else self.now + POLL_S for at in self._times()), default=None)

    def _times(self) -> Iterator[float]:
        if self.told.over:
            return
        if self.moment.silenced or self.incident.resolved_at is not None:
            yield max(self.now, (self.incident.resolved_at or 0.0) + QUIET_S if self._may_return() else 0.0)
        elif self._is_in_charge():
            if self.charge is not None and self.charge.until is not None:
                yield self.charge.until
        else:
            known = {rung.name for rung in self.told.rungs}
            yield from (self._due_at(level) for name, (_, level) in self.levels.items() if name not in known)
            yield from (due for _, _, due in self._reminders())
            yield from (self.now for _ in self.told.owed)

    # ---- the beginning

    def _escalate(self) -> None:
        """Levels whose time has come, and whoever does not know yet that it became graver: each channel once."""
        known = {rung.name for rung in self.told.rungs}
        due = [
            (number, level)
            for name, (number, level) in self.levels.items()
            if name not in known and self._due_at(level) <= self.now and self._awake(level)
        ]
        owed = [channel for channel in self.told.owed if self._reachable(channel)]
        channels = _union(owed, *(level.channels for _, level in due))
        level = max([self.told.level, *(number for number, _ in due)])
        if not channels or not self._tell("escalated" if self.told.told_at else "opened", channels, level):
            return
        again = {level.name for level in self.moment.levels if not set(owed).isdisjoint(level.channels)}
        rungs = [Rung(rung.name, self.now) if rung.name in again else rung for rung in self.told.rungs]
        self.told = replace(
            self.told,
            level=level,
            rungs=(*rungs, *(Rung(level.name, self.now) for _, level in due)),
            owed=tuple(channel for channel in self.told.owed if channel not in channels),
        )

    def _remind(self) -> None:
        """Each told level by its own clock; all that are due speak at once."""
        due = {
            rung.name: channels
            for rung, channels, at in self._reminders()
            if at <= self.now and self._awake(self.levels[rung.name][1])
        }
        if not due or not self._tell("reminder", _union(*due.values()), self.told.level):
            return
        rungs = (Rung(r.name, self.now, r.reminders + 1) if r.name in due else r for r in self.told.rungs)
        self.told = replace(self.told, rungs=tuple(rungs), reminders=self.told.reminders + 1)

    def _reminders(self) -> Iterator[tuple[Rung, list[str], float]]:
        """Told levels that remind, whom, and when. A channel of several of them hears from the last one only."""
        taken: set[str] = set()
        for name, (_, level) in reversed(self.levels.items()):
            rung = next((rung for rung in self.told.rungs if rung.name == name), None)
            if rung is None:
                continue
            channels = [channel for channel in level.channels if channel not in taken]
            taken.update(channels)
            if channels and level.remind_every:
                yield rung, channels, self._reminder_at(rung, level)

    # ---- the end

    def _end(self) -> None:
        """Exactly those who were told of it hear that it is over, or part of something else."""
        waiting = [channel for channel, _ in self.told.told_at if channel not in self.told.relieved]
        ready = [channel for channel in waiting if not self.moment.silenced and self._reachable(channel)]
        what: What = "joined" if self.incident.joined_to is not None else "resolved"
        if ready and not self._may_return() and self._tell(what, ready, self.told.level):
            self.told = replace(self.told, relieved=(*self.told.relieved, *ready))
            waiting = [channel for channel in waiting if channel not in ready]
        self.told = replace(self.told, over=not waiting)

    # ---- the rules

    def _tell(self, what: What, channels: Sequence[str], level: int) -> bool:
        """Tell it, unless the fault comes and goes and this would be too much of it within the hour."""
        recent = [at for at in self.told.recent if self.now - at < HOUR_S]
        if self._comes_and_goes() and len(recent) + len(self.lately) >= FLAPPING_MOST:
            return False
        count = self.told.count + 1
        key = f"{self.incident.id}/{what}/{count}"
        self.notices.append(Notice(key, what, self.incident.id, level, tuple(channels), self.now))
        informed = [channel for channel, _ in self.told.told_at]
        new = [(each, self.now) for each in channels if each not in informed]
        self.told = replace(
            self.told,
            told_at=(*self.told.told_at, *new),
            spoken=self.incident.id,
            count=count,
            last_at=self.now,
            recent=(*recent, self.now),
        )
        return True

    def _comes_and_goes(self) -> bool:
        """Whether it is known to, was back within the hour, or the hour already heard of its beginning and its end."""
        returned = self.now - self.told.returned_at < HOUR_S
        return self.incident.flapping or returned or len(self.lately) >= 2

    def _may_return(self) -> bool:
        """Whether it comes and goes, and has not been gone for long."""
        gone_at = self.incident.resolved_at if self.incident.joined_to is None else None
        return gone_at is not None and self._comes_and_goes() and 0 <= self.now - gone_at < QUIET_S

    def _covers(self, level: Level) -> bool:
        """Whether a level is for faults such as this."""
        incident = self.incident
        return (
            incident.impact in level.impacts
            and (not level.parties or incident.party in level.parties)
            and (not level.causes or any(fnmatchcase(incident.cause, pattern) for pattern in level.causes))
        )

    def _is_in_charge(self) -> bool:
        """Whether somebody has taken charge of it, as grave as it is, and not too long ago."""
        charge = self.charge
        return (
            charge is not None
            and charge.at >= self.told.raised_at
            and (charge.until is None or charge.until > self.now)
        )

    def _awake(self, level: Level) -> bool:
        """Whether a level may be told at this hour. Before a settlement in danger, it may at any."""
        return level.hours == "always" or self.urgent or self.moment.is_open(self.now)

    def _reachable(self, channel: str) -> bool:
        """Whether a level by which a channel was told may be told now; one that the file has no more may."""
        names = {rung.name for rung in self.told.rungs}
        mine = [level for level in self.moment.levels if level.name in names and channel in level.channels]
        return not mine or any(self._awake(level) for level in mine)

    def _due_at(self, level: Level) -> float:
        return self._tightened(self.told.since, level.after)

    def _reminder_at(self, rung: Rung, level: Level) -> float:
        """Each wait is twice the one before, up to the longest."""
        wait = min(level.remind_every * 2.0 ** min(rung.reminders, 40), level.remind_at_most)
        return max(self._tightened(rung.at, wait), rung.at + min(wait, LEAST_S))

    def _tightened(self, start: float, wait: float) -> float:
        """`wait` after `start`; in the last hour before settlement every wait shrinks with the time that is left.

        When a third of the hour is left, a third of the wait is enough. So it is due where start + wait·(left/before)
        meets the clock: always before the deadline.
        """
        before = self.moment.before_settlement
        if self.deadline is None or before <= 0 or start + wait <= self.deadline - before:
            return start + wait
        return min(start + wait, start + wait * (self.deadline - start) / (before + wait))


def _union(*names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))
