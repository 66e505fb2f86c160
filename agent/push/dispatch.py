"""What leaves through one way now, and what is learnt from what came of the last?

A parcel leaves only once it is in the state file, or the disk refused it. One at a time: the next is chosen when the
last was answered, so that the newest report never waits behind older ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from agent.journal import Priority
from agent.push.line import AGAIN_S, ATTEND_S, NEVER, Line
from agent.push.order import SUSPECT, SUSPECT_NEWS, Waiting
from agent.push.sender import Parcel, Pushed, Sort, Till
from agent.push.telling import gap_parcel
from agent.store import Batch, Event

if TYPE_CHECKING:
    from agent.journal import Journal
    from agent.outcome import Outcome
    from agent.push.stock import Stock

POISON = 20
"""A parcel that failed so often, each time after others had arrived, will never be taken."""
LOST_AT_A_TIME = 50
"""Parcels whose bodies are gone that are passed over in one turn."""


class Dispatch:
    """Hands parcels to the lines and takes in their answers. For the loop's thread."""

    def __init__(
        self, stock: Stock, journal: Journal, unsaved: Callable[[], Batch], record: Callable[[Event], None]
    ) -> None:
        self._stock, self._journal, self._unsaved, self._record = stock, journal, unsaved, record
        self.till = Till("", "")
        self.pushed = self.dropped = 0

    # --- what came of it ----------------------------------------------------------------------------------------------

    def take(self, line: Line, news: Pushed, now: float, wall: float) -> None:
        """What came of a parcel, or of looking after the connection."""
        outcome = news.outcome
        if news.generation != line.generation:  # by an earlier configuration
            one = self._stock.waiting.get(news.key)
            if outcome is not None and outcome.ok and one is not None:
                self._done(line, one)
            return
        hand = line.hand
        if not news.key:
            line.attending = False
        elif hand is not None and hand.key == news.key:
            line.hand = None
        else:
            return
        if outcome is None:
            line.look_at = now + AGAIN_S
            self._take_back_gap(line)
        elif not news.key:
            self._attended(line, outcome, now)
        elif hand is not None:
            self._answered(line, hand, outcome, now, wall)

    def _attended(self, line: Line, outcome: Outcome, now: float) -> None:
        line.attend_at = now + ATTEND_S
        if not outcome.ok:
            line.standing = False
            line.failed(outcome, now)
        elif not line.standing:
            line.standing, line.look_at = True, now
            if line.attend_failed:
                self._worked(line, report=False)
        else:
            line.look_at = now

    def _answered(self, line: Line, hand: Parcel, outcome: Outcome, now: float, wall: float) -> None:
        one = self._stock.waiting.get(hand.key)
        if outcome.ok:
            self._worked(line, report=one is not None and one.kind == "report")
            line.attend_at = now + ATTEND_S
            if hand.kind == "gap":
                line.gap_in_hand = None
                self._note_gap(line)
            elif one is not None:
                self._arrived(line, one, hand, now)
            return
        self._take_back_gap(line)
        line.failed(outcome, now)
        line.look_at = now
        if outcome.permanent or (one is not None and one.tries >= POISON):
            self._refused(line, hand, one, outcome, wall)
        elif hand.kind != "report":
            line.failed_since.add(hand.key)
        self._stock.keep_all()

    def _take_back_gap(self, line: Line) -> None:
        line.gap, line.gap_in_hand = line.all_lost(), None

    def _worked(self, line: Line, *, report: bool) -> None:
        if line.failures:
            self._journal.say(Priority.NOTICE, "push.reached", way=line.way, to=line.where, waiting=len(line.queue))
        line.worked(report=report)

    def _arrived(self, line: Line, one: Waiting, hand: Parcel, now: float) -> None:
        self._done(line, one)
        for key in line.failed_since:
            other = self._stock.waiting.get(key)
            if other is not None:
                other.tries += 1
                if other.tries >= (SUSPECT if other.kind == "report" else SUSPECT_NEWS):
                    line.queue.put_behind(other)
        line.failed_since.clear()
        if one.kind == "report":
            line.losing = False
            self.pushed += 1
            if hand.key == self._stock.newest:
                self._unsaved().marks[f"push.seq.{line.way}"] = str(one.seq)
        if not len(line.queue):
            line.emptied()
        if hand.kind != "report":
            line.take_breath(now)

    def _refused(self, line: Line, hand: Parcel, one: Waiting | None, outcome: Outcome, wall: float) -> None:
        self._journal.say(
            Priority.ERROR, "push.refused", way=line.way, to=line.where, parcel=hand.kind, key=hand.key,
            detail=outcome.detail,
        )  # fmt: skip
        line.refused = True
        if one is not None:
            self.lose(line, [one], "refused", wall)
        elif hand.kind == "gap":
            line.gap = None  # it was said in the log
            self._note_gap(line)

    def _done(self, line: Line, one: Waiting) -> None:
        line.queue.remove(one)
        self._stock.done(one, line.way)

    # --- what is lost -------------------------------------------------------------------------------------------------

    def bring_down(self, line: Line, wall: float) -> None:
        """No more may wait than the quota says."""
        excess = line.queue.excess(line.settings.quota, self._stock.newest)
        hand = line.hand.key if line.hand is not None else ""
        self.lose(line, [one for one in excess if one.key != hand], "quota", wall)
        full = [one for one in self._stock.too_many_in_memory() if line.way in one.ways and one.key != hand]
        self.lose(line, full, "memory", wall)

    def lose(self, line: Line, lost: list[Waiting], cause: str, wall: float) -> None:
        """These will never come: forgotten here, and the centre is told so."""
        if not lost:
            return
        line.lose(lost, cause)
        for one in lost:
            self._done(line, one)
        self.dropped += sum(one.kind == "report" for one in lost)
        self._note_gap(line)
        if not line.losing:
            line.losing = True
            self._record(Event(wall, "reports.dropped", {"why": cause, "way": line.way, "quota": line.settings.quota}))

    def forsake(self, lines: Collection[Line], gone: Collection[str], wall: float) -> None:
        """This till has another name since: what it said under the old one is not said under the new."""
        for line in lines:
            self.lose(line, [one for one in line.queue if one.key in gone], "renamed", wall)
            if self._stock.newest in gone:  # it is still in the report file, from where it would be taken up again
                self._unsaved().marks[f"push.seq.{line.way}"] = str(self._stock.seq)

    def _note_gap(self, line: Line) -> None:
        self._unsaved().marks[f"push.gap.{line.way}"] = line.gap_mark()

    # --- leaving ------------------------------------------------------------------------------------------------------

    def hand_out(self, line: Line, now: float, wall: float, *, only: Sort | None = None) -> None:
        """Let the next parcel leave, if one may; else look after the connection, if it is time."""
        line.look_at = NEVER
        if line.hand is not None or (line.attending and only is None):
            return
        if line.runner.room() == 0:
            line.look_at = now + AGAIN_S
        elif now < line.rests_until:
            line.look_at = line.rests_until
            self._attend(line, now, resting=True)
        elif line.runner.sender.attends and not line.standing:
            self._attend(line, now, at_once=True)
        else:
            parcel = self._next(line, now, wall, only)
            if parcel is None:
                if only is None:
                    self._attend(line, now)
            elif line.runner.give(parcel):
                line.hand = parcel
            else:
                line.look_at = now + AGAIN_S

    def _attend(self, line: Line, now: float, *, resting: bool = False, at_once: bool = False) -> None:
        """A connection that stands is looked after also while parcels rest."""
        if not line.runner.sender.attends or (resting and not line.standing):
            return
        if now < line.attend_at and not at_once:
            line.look_at = min(line.look_at, line.attend_at)
        elif line.runner.give(None):
            line.attending, line.look_at = True, NEVER
        else:
            line.look_at = now + AGAIN_S

    def _next(self, line: Line, now: float, wall: float, only: Sort | None) -> Parcel | None:
        lost = False
        for _ in range(LOST_AT_A_TIME):
            chosen = line.queue.next(self._stock.newest, gap=line.gap is not None and not lost, skip=line.failed_since)
            if chosen is None or (only is not None and chosen[1] != only):
                line.look_at = now if lost else line.look_at
                return None
            one, sort = chosen
            if sort != "report" and now < line.paused_until:
                line.look_at = line.paused_until
                return None
            if one is None:
                return self._gap(line, wall)
            body = self._stock.body(one.key)
            if body:
                return Parcel(sort, one.key, one.seq, one.at, body)
            if body is not None:  # the state file cannot be asked now
                line.look_at = now + AGAIN_S
                return None
            self.lose(line, [one], "lost", wall)
            lost = True  # all of them are told of together
        line.look_at = now
        return None

    def _gap(self, line: Line, wall: float) -> Parcel | None:
        if line.gap is None:
            return None
        line.gap_in_hand, line.gap = line.gap, None
        return gap_parcel(line.gap_in_hand, self.till, wall)
