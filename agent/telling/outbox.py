"""What waits in the outbox as of now, also while a disk refuses? The state file, and what no file took yet.

Belongs to one thread, the daemon's main loop. Nothing here raises for what a disk does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import msgspec

from agent.store import Batch, Fate, Outgoing
from agent.store.outbox import FAR_S
from agent.store.rows import text, value
from agent.store.words import NoticeState

if TYPE_CHECKING:
    from agent.keeper import Keeper
    from agent.outcome import Outcome
    from agent.telling.message import Message

NEVER = float("inf")
CATCH_UP_S = 5.0
"""How soon a state file that cannot be read, or is behind, is asked again."""
LOOK_S = 600.0
"""How long what is due later is believed to be due then: somebody may set the clock."""
AT_A_TIME = 64
"""Notices of a dead channel that are passed on in one turn."""
EXERCISE, EXERCISE_S = "drill", 600.0
"""An exercise that is older than any may last leaves no more: whoever began it was killed before taking it back."""


class Outbox:
    """The notices that wait."""

    def __init__(self, keeper: Keeper, unsaved: Callable[[], Batch]) -> None:
        self._keeper, self._unsaved = keeper, unsaved
        self._waiting: dict[str, int] | None = None

    def changed(self) -> None:
        """Something was saved."""
        self._waiting = None

    def waits_for(self, incident: str) -> frozenset[str]:
        """The channels that have something still to tell of this incident."""
        pending = self._keeper.pending
        if not pending.notices and not pending.fates:
            nowhere: frozenset[str] = frozenset()
            return self._keeper.ask(lambda store: store.outbox.waits_for(incident), nowhere)
        none: list[Outgoing] = []
        kept = self._keeper.ask(lambda store: store.outbox.of(incident), none)
        fresh = (one for one in pending.notices if one.incident == incident)
        over = self._over()
        return frozenset(one.channel for one in (*kept, *fresh) if one.state == "waiting" and one.id not in over)

    def _over(self) -> set[tuple[str, str]]:
        """Those that are finished, though no disk took that yet."""
        return {fate.id for fate in self._keeper.pending.fates if fate.state != "waiting"}

    def waiting(self) -> dict[str, int]:
        """How many notices wait, by channel."""
        if self._waiting is None:
            none: dict[str, int] = {}
            found = dict(self._keeper.ask(lambda store: store.outbox.waiting(), none))
            changes = Counter(one.channel for one in self._keeper.pending.notices)
            changes.subtract(channel for _, channel in self._over())
            for channel, change in changes.items():
                found[channel] = max(0, found.get(channel, 0) + change)
            self._waiting = found
        return self._waiting

    def stale(self, name: str, before: float) -> list[Outgoing]:
        """Those that have waited for this channel since then or longer, and for which no other stands in."""
        none: list[Outgoing] = []
        found = self._keeper.ask(lambda store: store.outbox.stale(name, before, AT_A_TIME), none)
        return [one for one in self._present(name, found) if not one.passed_on and one.created <= before][:AT_A_TIME]

    def oldest(self, name: str) -> float | None:
        """Since when the one waits that is to be passed on next."""
        kept = self._keeper.ask(lambda store: store.outbox.oldest(name), None)
        known = {fate.id for fate in self._unsaved().fates if fate.passed_on}
        fresh = (*self._unsaved().notices, *self._keeper.pending.notices)
        moments = [one.created for one in fresh if one.channel == name and one.id not in known]
        return min([*moments, *([] if kept is None else [kept])], default=None)

    def due(self, name: str, hand: Collection[Outgoing], wall: float, room: int) -> list[Outgoing]:
        """What may leave now beside those that are in hand, at most `room`."""
        none: list[Outgoing] = []
        kept = self._keeper.ask(lambda store: store.outbox.due(name, wall, room + len(hand)), none)
        busy = {one.incident for one in hand}
        chosen: list[Outgoing] = []
        for one in self._present(name, kept):
            if one.what == EXERCISE and abs(wall - one.created) > EXERCISE_S:
                self._unsaved().fates.append(taken_back(one, wall))
            elif len(chosen) < room and one.incident not in busy and _is_due(one, wall) and not self._overtakes(one):
                chosen.append(one)
            busy.add(one.incident)
        return chosen

    def exercised(self) -> frozenset[str]:
        """The channels for which an exercise waits that was not tried yet."""
        nowhere: frozenset[str] = frozenset()
        return self._keeper.ask(lambda store: store.outbox.untried(EXERCISE), nowhere)

    def _overtakes(self, one: Outgoing) -> bool:
        """Whether an earlier one of its incident waits, where the file cannot say so because it has only that one."""
        pending = self._keeper.pending
        if not any(one.id == fresh.id for fresh in pending.notices):
            return False
        over = self._over()
        none: list[Outgoing] = []
        kept = self._keeper.ask(lambda store: store.outbox.of(one.incident), none)
        return any(each.state == "waiting" and each.channel == one.channel and each.id not in over for each in kept)

    def _present(self, name: str, kept: Sequence[Outgoing]) -> list[Outgoing]:
        """As they stand now, with what no disk took yet."""
        pending = self._keeper.pending
        if not pending.notices and not pending.fates:
            return list(kept)
        fates = {fate.id: fate for fate in pending.fates}
        known = {one.id: one for one in (*kept, *(fresh for fresh in pending.notices if fresh.channel == name))}
        now = (_after(one, fates.get(one.id)) for one in known.values())
        return [one for one in now if one.state == "waiting"]

    def next_in(self, name: str, wall: float) -> float:
        """Seconds until something of this channel may be due."""
        if self._keeper.pending.notices or self._keeper.pending.fates:
            return CATCH_UP_S
        at = self._keeper.ask(lambda store: store.outbox.next_due(name), None)
        if at is None:
            return NEVER if not self._keeper.problems.get("state") else CATCH_UP_S
        return max(CATCH_UP_S if at <= wall else 0.0, min(at - wall, LOOK_S))


def _is_due(one: Outgoing, wall: float) -> bool:
    return one.due <= wall or one.due > wall + FAR_S


def _after(one: Outgoing, fate: Fate | None) -> Outgoing:
    """What a fate makes of it that no disk took yet."""
    if fate is None:
        return one
    return msgspec.structs.replace(
        one,
        state=fate.state,
        due=fate.due,
        attempts=fate.attempts,
        detail=fate.detail,
        passed_on=one.passed_on or fate.passed_on,
    )


def passed_on(one: Outgoing, wall: float) -> Fate:
    """It goes on waiting, and another channel stands in for this one."""
    return Fate(
        key=one.key,
        channel=one.channel,
        state="waiting",
        due=one.due,
        attempts=one.attempts,
        at=wall,
        detail=one.detail,
        passed_on=True,
    )


def twin_of(one: Outgoing, channel: str, wall: float) -> Outgoing:
    """The same for another channel, which stands in for that one."""
    fresh = {"created": wall, "due": wall, "attempts": 0, "detail": "", "passed_on": False}
    return msgspec.structs.replace(one, channel=channel, instead_of=one.channel, **fresh)


def taken_back(one: Outgoing, wall: float) -> Fate:
    """It is not to leave any more."""
    return Fate(
        key=one.key,
        channel=one.channel,
        state="dropped",
        due=wall,
        attempts=one.attempts,
        at=wall,
        detail=one.detail or "the exercise was over",
    )


def encoded(message: Message) -> str:
    """For the outbox."""
    return text(message)


def decoded(noted: str) -> Message | None:
    """From the outbox; None where it is no message."""
    from agent.telling.message import Message

    return value(Message, noted)


def fate_of(one: Outgoing, state: NoticeState, wall: float, due: float, outcome: Outcome) -> Fate:
    """What came of one attempt."""
    return Fate(
        key=one.key,
        channel=one.channel,
        state=state,
        due=due,
        attempts=one.attempts + 1,
        at=wall,
        detail=outcome.detail,
        passed_on=one.passed_on,
    )
