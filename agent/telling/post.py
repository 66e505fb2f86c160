"""Which notice leaves next, and what became of the last? Between the outbox in the state file and the channels.

Belongs to one thread, the daemon's main loop. A notice leaves only once it is in the state file, or the disk refused
it. A channel that fails rests longer and longer, whatever waits for it; when it works again all of it leaves, oldest
first. Where one is dead for long, its `fallback` is told as well; the notice itself goes on waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from agent.journal import Journal, Priority
from agent.store import Batch, Event, Fate, Outgoing
from agent.telling.delivery import Delivered, Delivery, Line, put_off, rest
from agent.telling.outbox import CATCH_UP_S, EXERCISE, NEVER, Outbox, decoded, encoded, fate_of, passed_on, twin_of

if TYPE_CHECKING:
    from agent.config.escalation import NotifySettings
    from agent.config.model import Channel
    from agent.keeper import Keeper
    from agent.outcome import Outcome
    from agent.telling.message import Message

LATE_S = 120.0
"""Of a notice that leaves later than this it is asked what happened meanwhile."""
REVIVED = 2
"""A channel that works again after so many failures in a row was dead: all that waits for it is due."""

Words = Callable[[Outgoing, float], "Message | None"]
"""A notice in words, at that time; None when nobody knows any more what it was about."""


class Post:
    """Sends what is in the outbox. `unsaved` gives the batch that is saved next; `save` saves it.

    `words` puts a notice into words anew, `passed` is told of those that stand in for another channel's, `ended` says
    when an incident was over.
    """

    def __init__(  # noqa: PLR0913 -- what it stands between
        self,
        keeper: Keeper,
        delivery: Delivery,
        journal: Journal,
        *,
        unsaved: Callable[[], Batch],
        save: Callable[[bool], None],
        record: Callable[[Event], None],
        words: Words,
        passed: Callable[[Outgoing], None],
        ended: Callable[[str], float | None],
    ) -> None:
        self._keeper, self._delivery, self._journal = keeper, delivery, journal
        self.outbox = Outbox(keeper, unsaved)
        self._unsaved, self._save, self._record = unsaved, save, record
        self._words, self._passed, self._ended = words, passed, ended
        self._lines: dict[str, Line] = {}
        self._answers: list[Delivered] = []
        self._notify: NotifySettings | None = None
        self._look_after_at = NEVER
        self._added = False
        self.tally: dict[str, int] = {"sent": 0, "failed": 0, "refused": 0, "dropped": 0}

    # --- what the loop calls ------------------------------------------------------------------------------------------

    def arrange(self, channels: Mapping[str, Channel], notify: NotifySettings) -> None:
        """These are the ways to reach people, from now on."""
        used = {name: channel for name, channel in channels.items() if channel.enabled}
        before, self._lines, self._notify = self._lines, {}, notify
        for name, channel in used.items():
            line = before.get(name)
            same = line is not None and line.channel == channel
            self._lines[name] = line if line is not None and same else Line(channel, line.hand if line else {})
        for line in self._lines.values():
            line.look_at = 0.0
        self._delivery.rearrange(used)

    def put(self, notices: Iterable[Outgoing]) -> None:
        """New ones; they leave once the batch that they are in was saved."""
        for one in notices:
            self._unsaved().notices.append(one)
            self._added = True
            line = self._lines.get(one.channel)
            if line is not None:
                line.look_at = 0.0
                if line.failures:
                    line.pass_on_at = min(line.pass_on_at, 0.0)

    def clock_set(self, wall: float) -> None:
        """What was put off by a clock that has been set since is due; who rests goes on resting."""
        for name, line in self._lines.items():
            self._hasten(name, wall)
            line.look_at = 0.0

    def others_wrote(self) -> None:
        """An exercise may wait in the outbox, or have been taken back. It finds out now how each channel does."""
        self.outbox.changed()
        tried = self.outbox.exercised()
        for name, line in self._lines.items():
            line.look_again(at_once=name in tried)

    def _hasten(self, name: str, wall: float) -> None:
        self._keep(wall)
        self._keeper.ask(lambda store: store.hasten(name, wall), 0)

    def answered(self, delivered: Delivered) -> None:
        """What came of a notice; it takes effect with the next turn."""
        self._answers.append(delivered)

    def turn(self, now: float, wall: float) -> None:
        """Take in what came of those that left, save, and let others leave."""
        if now >= self._look_after_at:
            self._look_after_at = self._delivery.look_after(now)
        answers, self._answers = self._answers, []
        for one in answers:
            self._take(one, now, wall)
        for name, line in self._lines.items():
            if line.failures and now >= line.pass_on_at:
                self._pass_on(name, line, now, wall)
        self._keep(wall)
        for name, line in self._lines.items():
            if line.fresh:
                line.fresh = False
                self._hasten(name, wall)
            if now >= line.look_at:
                self._hand_out(name, line, now, wall)

    def wait(self, now: float) -> float:
        """Seconds until the next turn has something to do."""
        if self._answers:
            return 0.0
        moments = [self._look_after_at]
        for line in self._lines.values():
            moments += (line.look_at, line.pass_on_at if line.failures else NEVER)
        return max(0.0, min(moments) - now)

    def problems(self) -> list[str]:
        """Which channels do not work, in one sentence each."""
        troubles = [
            f"channel {name} does not work: {line.trouble}" for name, line in self._lines.items() if line.trouble
        ]
        stranded = [name for name in self.outbox.waiting() if name not in self._lines]
        troubles += [f"notices wait for channel {name}, which is not configured or switched off" for name in stranded]
        return troubles

    def in_hand(self) -> list[Outgoing]:
        """Those that are being sent."""
        return [one for line in self._lines.values() for one in line.hand.values()]

    # --- what came of them --------------------------------------------------------------------------------------------

    def _take(self, delivered: Delivered, now: float, wall: float) -> None:
        line = self._lines.get(delivered.channel)
        one = line.hand.pop((delivered.key, delivered.channel), None) if line else None
        outcome = delivered.outcome
        if line is not None:
            line.look_at = min(line.look_at, max(now + (outcome is None), line.rests_until))
        if outcome is None:
            return
        if one is None or line is None:  # it was given up, or its channel reconfigured, and now it ended after all
            if outcome.ok:
                self._note(
                    Fate(key=delivered.key, channel=delivered.channel, state="sent", due=wall, attempts=1, at=wall)
                )
            return
        if outcome.ok:
            self._sent(one, line, outcome, wall)
        elif outcome.permanent:
            self._refused(one, line, outcome, wall)
        else:
            self._failed(one, line, outcome, now, wall)

    def _sent(self, one: Outgoing, line: Line, outcome: Outcome, wall: float) -> None:
        if line.failures >= REVIVED:
            self._hasten(one.channel, wall)
        line.failures, line.trouble, line.rests_until, line.pass_on_at = 0, "", 0.0, NEVER
        line.look_at = 0.0
        self._note(fate_of(one, "sent", wall, wall, outcome))
        self._say(Priority.INFO, "notice.sent", one, outcome, late_s=round(wall - one.at))

    def _refused(self, one: Outgoing, line: Line, outcome: Outcome, wall: float) -> None:
        line.mark(outcome, wall)
        line.look_at = 0.0
        self._stand_in(one, line, wall)
        self._note(fate_of(one, "refused", wall, wall, outcome))
        self._say(Priority.ERROR, "notice.refused", one, outcome)

    def _failed(self, one: Outgoing, line: Line, outcome: Outcome, now: float, wall: float) -> None:
        line.mark(outcome, wall)
        line.failures += 1
        draw = random.random()  # noqa: S311 -- no secret
        later = put_off(outcome, one.attempts + 1, draw)
        line.rests_until = now + (later if outcome.retry_after is not None else rest(line.failures, draw))
        line.look_at = line.rests_until
        if line.failures == 1:
            line.pass_on_at = now
        self._note(fate_of(one, "waiting", wall, wall + later, outcome))
        self._say(Priority.WARNING, "notice.failed", one, outcome, again_s=round(later))

    def _note(self, fate: Fate) -> None:
        self._unsaved().fates.append(fate)
        name = fate.state if fate.state != "waiting" else "failed"
        self.tally[name] = self.tally.get(name, 0) + 1

    def _say(self, priority: int, what: str, one: Outgoing, outcome: Outcome, **facts: int) -> None:
        self._journal.say(
            priority,
            what,
            incident=one.incident,
            notice=one.what,
            channel=one.channel,
            key=one.key,
            attempt=one.attempts + 1,
            took_s=round(outcome.took_s, 2),
            detail=outcome.detail or None,
            **facts,
        )

    # --- another channel instead --------------------------------------------------------------------------------------

    def _pass_on(self, name: str, line: Line, now: float, wall: float) -> None:
        line.pass_on_at = NEVER
        if line.channel.fallback not in self._lines or self._notify is None:
            return
        patience = float(self._notify.fallback_after)
        self._keep(wall)
        stale = self.outbox.stale(name, wall - patience)
        for one in stale:
            self._stand_in(one, line, wall)
            self._unsaved().fates.append(passed_on(one, wall))
            if one.id in line.hand:
                line.hand[one.id] = msgspec.structs.replace(line.hand[one.id], passed_on=True)
        oldest = self.outbox.oldest(name)
        if oldest is not None:
            line.pass_on_at = now + max(0.0 if stale else CATCH_UP_S, min(oldest + patience - wall, patience))

    def _stand_in(self, one: Outgoing, line: Line, wall: float) -> None:
        """Tell it through the fallback as well; of an exercise that has had one of its own."""
        other = line.channel.fallback
        if (
            one.passed_on
            or other is None
            or other not in self._lines
            or one.instead_of == other
            or one.what == EXERCISE
        ):
            return
        twin = twin_of(one, other, wall)
        message = self._words(twin, wall)
        if message is not None:
            twin = msgspec.structs.replace(twin, message=encoded(message))
        self.put([twin])
        self._passed(twin)
        self._journal.say(
            Priority.WARNING, "notice.passed_on", incident=one.incident, key=one.key, channel=one.channel, to=other
        )

    # --- leaving ------------------------------------------------------------------------------------------------------

    def _keep(self, wall: float) -> None:
        """What is new reaches the disk before anybody is told of it. A disk that refuses stops nobody."""
        unsaved = self._unsaved()
        if unsaved.notices or unsaved.fates or unsaved.told:
            self.outbox.changed()
            self._save(bool(unsaved.notices or unsaved.told))
        if self._added and self._notify is not None:
            self._added = False
            quota = self._notify.quota
            if sum(self.outbox.waiting().values()) > quota:
                self._bring_down(quota, wall)

    def _bring_down(self, quota: int, wall: float) -> None:
        dropped = self._keeper.ask(lambda store: store.bring_down(quota, wall), 0)
        if dropped:
            self.outbox.changed()
            self.tally["dropped"] += dropped
            self._record(Event(wall, "notices.dropped", {"count": dropped, "quota": quota}))

    def _hand_out(self, name: str, line: Line, now: float, wall: float) -> None:
        if now < line.rests_until:
            line.look_at = line.rests_until
            return
        room = self._delivery.room(name)
        if line.failures:
            room = min(room, 1 - len(line.hand))  # one shall find out whether it works again
        for one in self.outbox.due(name, line.hand.values(), wall, room) if room > 0 else ():
            line.hand[one.id] = one
            self._give(one, wall)
            self._look_after_at = min(self._look_after_at, now + 1.0)
        line.look_at = NEVER if line.hand else now + self.outbox.next_in(name, wall)  # each answer looks again

    def _give(self, one: Outgoing, wall: float) -> None:
        from agent.telling.message import late

        message = decoded(one.message) or self._words(one, wall)
        if message is None:
            from agent.outcome import refused

            lost = refused("its words are lost, and so is what it was about")
            self._answers.append(Delivered(one.key, one.channel, lost))
        else:
            ended = self._ended(one.incident) if wall - one.at > LATE_S else None
            self._delivery.give(one.channel, late(message, wall, ended))
