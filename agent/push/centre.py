"""What the daemon's loop owns of the push: what waits for the centre, and when the next of it may leave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.push.dispatch import Dispatch
from agent.push.line import NEVER, Line, gap_from
from agent.push.order import Waiting
from agent.push.runner import Runner
from agent.push.sender import WAYS, Pushed, Till
from agent.push.stock import Stock
from agent.push.telling import incident_body
from agent.store import Batch, Event

if TYPE_CHECKING:
    from agent.config import Config
    from agent.config.push import Centre as Settings
    from agent.incidents import Change
    from agent.journal import Journal
    from agent.keeper import Keeper
    from agent.push.sender import Sender, WayName
    from agent.store import Note

RESTORE_S = 5.0
"""How soon a state file that could not be read at the start is asked again."""
LOOK_AFTER_S = 5.0
"""How often it is seen to that no attempt hangs."""
TILL = "push.till"
"""The mark in the state file that says which till what waits there is of."""


class HasConfig(Protocol):
    """A plan; only `config.push` and `config.site` are looked at."""

    @property
    def config(self) -> Config:
        """The configuration."""


MakeSender = Callable[["WayName", "Settings", Till, Mapping[str, str]], "Sender"]


@dataclass
class Ways:
    """What a Centre gets from whoever owns it."""

    answer: Callable[[Pushed], None]
    """Called from other threads; what it is given is to reach `Centre.answered` in the loop's own."""
    unsaved: Callable[[], Batch]
    """The batch that is saved next."""
    save: Callable[[bool], None]
    """Write what is unsaved, for good where it says so."""
    record: Callable[[Event], None]
    make: MakeSender | None = None


class Centre:
    """The centre as the loop sees it. Everything here happens in the loop's thread; nothing waits, nothing raises."""

    def __init__(
        self, plan: HasConfig, keeper: Keeper, journal: Journal, ways: Ways, env: Mapping[str, str] = os.environ
    ) -> None:
        self._keeper, self._journal, self._ways, self._env = keeper, journal, ways, env
        self._make = ways.make or make_sender
        self._stock = Stock(keeper, ways.unsaved, ways.save)
        self._lines: dict[str, Line] = {}
        self._left: list[Runner] = []
        self._answers: list[Pushed] = []
        self._generation = 0
        self._dispatch = Dispatch(self._stock, journal, ways.unsaved, ways.record)
        self._restore_at = self._look_after_at = NEVER
        self._stopping = False
        self._arrange(plan)

    # --- what the loop calls ------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take up what waited in an earlier life: once the keeper is open, before the first report."""
        if not self._lines or self._stock.restored:
            return
        mark, own = self._keeper.mark, set(self._stock.waiting)
        if not self._stock.restore(self._lines, lambda way: _number(mark(f"push.seq.{way}"))):
            self._restore_at = time.monotonic() + RESTORE_S
            return
        self._restore_at = NEVER
        for line in self._lines.values():
            lost = gap_from(mark(f"push.gap.{line.way}"))
            if lost is not None:
                line.gap = lost if line.gap is None else lost.merged(line.gap)
            line.queue.clear()
            line.look_at = 0.0
        for one in self._stock.waiting.values():
            self._queue(one)
        till, now_called = mark(TILL), self._dispatch.till.mark()
        if till != now_called:
            if till is not None:
                self._dispatch.forsake(self._lines.values(), set(self._stock.waiting) - own, time.time())
            self._ways.unsaved().marks[TILL] = now_called
        for line in self._lines.values():
            line.spread()

    def about_to_report(self) -> None:
        """A new report is about to replace the file with the last one: what is there alone is kept first."""
        if self._stock.only_in_file:
            self._stock.keep_all()
            self._stock.flush(time.monotonic())

    def reported(self, encoded: bytes, seq: int, at: float, *, changed: bool) -> None:
        """There is a new report, as it was written to its file. `changed`: it is more than a heartbeat."""
        if self._lines:
            self._enter(self._stock.report(encoded, seq, at, tuple(self._lines), changed=changed))
            if any(line.failures for line in self._lines.values()):
                self._stock.keep_all()

    def incident(self, change: Change, at: float, note: Note | None = None) -> None:
        """Something happened to an incident; with `note`, somebody took charge of it.

        Call it before the batch with the incident is saved.
        """
        takers = tuple(way for way, line in self._lines.items() if "incident" in line.runner.sender.sorts)
        if takers:
            self._enter(self._stock.incident(incident_body(change, at, note, self._dispatch.till), at, takers))

    def answered(self, news: Pushed) -> None:
        """What came of a parcel; it takes effect with the next turn."""
        self._answers.append(news)

    def turn(self, now: float, wall: float) -> None:
        """Keep what is to be kept, and let the next parcels leave. `now` is monotonic, `wall` Unix time."""
        if now >= self._restore_at:
            self.restore()
        self._take_in(now, wall)
        for line in self._lines.values():
            self._dispatch.bring_down(line, wall)
        if self._stopping:
            self._stock.keep_all()
        self._stock.flush(now)
        for line in self._lines.values():
            if now >= line.look_at and not self._stopping:
                self._dispatch.hand_out(line, now, wall)
            if line.busy:
                self._look_after_at = min(self._look_after_at, now + LOOK_AFTER_S)

    def _take_in(self, now: float, wall: float) -> None:
        if now >= self._look_after_at:
            for line in self._lines.values():
                line.runner.look_after(now)
            self._look_after_at = NEVER
        answers, self._answers = self._answers, []
        for news in answers:
            if news.way in self._lines:
                self._dispatch.take(self._lines[news.way], news, now, wall)

    def wait(self, now: float) -> float:
        """Seconds until the next turn has something to do."""
        if self._answers:
            return 0.0
        moments = [self._stock.wait_until(), self._restore_at, self._look_after_at]
        moments += [line.look_at for line in self._lines.values()]
        return max(0.0, min(moments) - now)

    def problems(self) -> list[str]:
        """What keeps the centre from hearing of this till, in one sentence each."""
        return [text for line in self._lines.values() if (text := line.problem()) is not None]

    def counts(self) -> dict[str, int]:
        """`reports_waiting`, `reports_pushed` and `reports_dropped` (of this life)."""
        waiting = max((line.queue.reports for line in self._lines.values()), default=0)
        return {
            "reports_waiting": waiting,
            "reports_pushed": self._dispatch.pushed,
            "reports_dropped": self._dispatch.dropped,
        }

    def reload(self, plan: HasConfig) -> None:
        """A new configuration; what waits goes on waiting."""
        self._arrange(plan)
        self.restore()

    def clock_set(self, wall: float) -> None:
        """The wall clock was set: certificates that were not valid may be now."""
        for line in self._lines.values():
            if line.failures:
                line.begin(time.monotonic())

    def stop(self, grace: float) -> None:
        """Let the newest report leave if it can, say goodbye, and begin nothing any more: within `grace` seconds.

        The answers come through `answer`: take them in with `answered` and one more `turn`, then save.
        """
        now = time.monotonic()
        ends = now + grace
        for line in self._lines.values():
            if not line.failures and not self._stopping:
                line.rests_until = 0.0
                self._dispatch.hand_out(line, now, time.time(), only="report")
        self._stopping = True
        runners = [line.runner for line in self._lines.values()]
        for runner in runners:
            runner.quiet.wait(max(0.0, ends - grace / 3 - time.monotonic()))
        for runner in runners:
            runner.take_leave(max(0.0, ends - time.monotonic()))
        for runner in (*runners, *self._left):
            runner.gone.wait(max(0.0, ends - time.monotonic()))

    def everything(self) -> Batch:
        """What a new state file must hold of this."""
        batch = self._stock.everything(line.hand for line in self._lines.values() if line.hand is not None)
        batch.marks.update({f"push.gap.{line.way}": mark for line in self._lines.values() if (mark := line.gap_mark())})
        if self._stock.restored:
            batch.marks[TILL] = self._dispatch.till.mark()
        return batch

    # --- configuration ------------------------------------------------------------------------------------------------

    def _arrange(self, plan: HasConfig) -> None:
        push, site = plan.config.push, plan.config.site
        till, now = Till(site.store, site.terminal), time.monotonic()
        wanted: dict[WayName, Settings | None] = {"https": push.https, "mqtt": push.mqtt}
        self._left = [runner for runner in self._left if not runner.gone.is_set()]
        for way in WAYS:
            settings, line = wanted[way], self._lines.get(way)
            if line is not None and (settings != line.settings or till != self._dispatch.till):
                line.runner.take_leave(float(line.settings.timeout))
                self._left.append(line.runner)
            if settings is None:
                if line is not None:
                    del self._lines[way]
                    for one in list(line.queue):
                        self._stock.done(one, way)
            elif line is None or settings != line.settings or till != self._dispatch.till:
                self._lines[way] = self._new_line(way, settings, till, line)
            if way in self._lines:
                self._lines[way].begin(now)
        if till != self._dispatch.till:
            self._dispatch.till = till
            self._dispatch.forsake(self._lines.values(), set(self._stock.waiting), time.time())
            if self._stock.restored:
                self._ways.unsaved().marks[TILL] = till.mark()

    def _new_line(self, way: WayName, settings: Settings, till: Till, before: Line | None) -> Line:
        self._generation += 1
        runner = Runner(
            way,
            lambda: self._make(way, settings, till, self._env),
            self._ways.answer,
            float(settings.timeout),
            generation=self._generation,
            after=before.runner.gone if before is not None else None,
        )
        made = Line(way, settings, runner, self._generation)
        if before is not None:
            made.queue, made.gap = before.queue, before.all_lost()
        else:
            for one in self._stock.waiting.values():
                if way in one.ways:
                    made.queue.add(one)
        return made

    # --- what waits ---------------------------------------------------------------------------------------------------

    def _enter(self, one: Waiting | None) -> None:
        if one is not None:
            self._queue(one)

    def _queue(self, one: Waiting) -> None:
        for way in one.ways:
            self._lines[way].queue.add(one)
            self._lines[way].look_at = 0.0


def _number(mark: str | None) -> int:
    return int(mark) if mark and mark.isascii() and mark.isdecimal() else 0


def make_sender(way: WayName, settings: Settings, till: Till, env: Mapping[str, str]) -> Sender:
    """The one that speaks this way's protocol; only that is imported."""
    if way == "https":
        from agent.push.https import HttpsSender

        return HttpsSender(settings, till, env)  # type: ignore[arg-type]  # as the section says
    from agent.push.mqtt import MqttSender

    return MqttSender(settings, till, env)  # type: ignore[arg-type]  # likewise
