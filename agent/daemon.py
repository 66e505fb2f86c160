"""Is somebody always watching this till? The daemon: one loop that owns what is known.

lookout ─► looks, findings, kernel events ─► loop ─► knowledge ─► report, state file, log
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from agent import __version__, absence, homes, systemd, thrift
from agent.bulletin import Bulletin
from agent.config import opening_hours
from agent.diagnosis import explain
from agent.examination import Findings
from agent.housekeeping import House
from agent.journal import Journal, Priority
from agent.keeper import Keeper
from agent.knowledge import CERTAIN, Knowledge
from agent.ledger import Ledger
from agent.lock import lock
from agent.places import places
from agent.reporter import EVENTS, Reporter
from agent.runner import Look
from agent.seen import Seen
from agent.store import Batch, Event
from agent.telling.delivery import Delivered
from agent.telling.escalator import Escalator, Ways
from agent.watching.ear import Ear
from agent.watching.lookout import NEAR, Answer, Call, Lookout, News, Wake
from agent.watching.pool import Late
from probes.host import command

if TYPE_CHECKING:
    from agent.incidents import Change, Incident
    from agent.plan import Plan
    from agent.push import Ways as PushWays
    from agent.report import DiagnosisPart

TURN_S, CALM_S, SOON_S = 10.0, 2.0, 0.2
"""The loop comes round at least this often; while an incident may be over; after news of its own. Oftener where systemd
asks for it."""
AT_A_TIME = 256
"""News taken in before the loop looks at what is due."""
TOGETHER_S = 0.06
"""Looks come in bursts: after one that says what was known, those that follow so soon are taken in with one waking."""
FIRST_LOOKS_S = 8.0
"""How long the first report waits for a first look at everything."""
NEW_LOOKS_S = 1.0
"""How long the first one of a new configuration does."""
GRACE_S = 1.0
"""What the looks under way get when the daemon stops."""
SETTLE_S = 2.0
"""How long what was plugged in has to show all its parts before this PC is looked over anew."""
WELL_S = 0.5
"""How often it is asked whether an incident of which all is well again was quiet for long enough."""


def run(load: Callable[[], Plan], journal: Journal, env: Mapping[str, str] = os.environ) -> int:
    """Watch until SIGTERM or SIGINT; SIGHUP calls `load` again. Returns 0.

    Raises whatever the first `load` raises, and lock.AlreadyRunning.
    """
    thrift.begin()
    plan = load()
    with lock(homes.state(env)):
        daemon = Daemon(plan, load, journal, env)
        daemon.listen_to_signals()
        daemon.watch()
    return 0


class Daemon:
    """The loop and all it owns. Everything in it happens in the thread that calls `watch`."""

    def __init__(
        self, plan: Plan, load: Callable[[], Plan], journal: Journal, env: Mapping[str, str] = os.environ
    ) -> None:
        self.plan, self.load, self.journal, self.env = plan, load, journal, env
        self.started_at = time.time()
        self.stopping = False
        self.keeper = Keeper(plan.report_path(env), env)
        self.reporter = Reporter(self.keeper, plan.about(self.started_at), float(plan.config.report.heartbeat))
        self.known = Knowledge({p.name: p for p in plan.probes}, self.reporter.describe, _incident_id, plan.rules)
        self.lookout = Lookout(self.known, plan.language, plan.retry)
        self.ledger = Ledger(opening_hours(plan.config))
        self.house = House(self.known, self.keeper, self.ledger, self.reporter, journal)
        ways = Ways(self.lookout.news.put, self._save, self.house.record, self._explained)
        self.escalator = Escalator(plan, self.known, self.keeper, journal, ways, env)
        self.seen = Seen(plan, self.keeper, journal, self._push_ways, env)
        self.house.more = lambda: (self.escalator.everything(), self.seen.everything() or Batch())
        self.house.others_wrote, self.house.taken_charge = self.escalator.people_wrote, self.seen.taken_charge
        self.bulletin = Bulletin(self.reporter, self.house, self.lookout, self.escalator, self.seen)
        self.ear = Ear("state.sqlite-wal", lambda: self.lookout.news.put(Call("heed")))
        self.clocks = absence.Clockwork()
        self.watchdog = systemd.Watchdog()
        self._report_at, self._discover_at = 0.0, float("inf")
        self._well_at = 0.0
        self._concluded = -1
        self._due_at, self._stirred, self._turn_s = 0.0, False, TURN_S
        self._warm, self._warm_at = False, 0.0

    # --- life ---------------------------------------------------------------------------------------------------------

    def listen_to_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reads the configuration anew."""
        for number, what in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")):
            signal.signal(number, functools.partial(self._call, what))

    def _call(self, what: str, _number: int, _frame: object) -> None:
        self.lookout.news.put(Call(what))

    def watch(self) -> None:
        """From the first look to the clean stop."""
        self._wake_up()
        try:
            while not self.stopping:
                if self._take_in():
                    self._turn()
        except BaseException:
            self._fall()
            raise
        self._lie_down()

    def _wake_up(self) -> None:
        self.keeper.open()
        self._restore()
        self._tell_of_absence()
        now = time.monotonic()
        self._warm_at = now + FIRST_LOOKS_S
        self.house.open(now, self.ear, homes.state(self.env))
        self.seen.start()
        self.watchdog.start()
        self._turn_s = min(TURN_S, self.watchdog.asks)
        self.lookout.start(self.plan.probes)
        self.journal.say(Priority.NOTICE, "agent.started", version=__version__, probes=len(self.plan.probes))
        systemd.ready(f"watching {len(self.plan.probes)} probes")

    def _restore(self) -> None:
        keeper, known = self.keeper, self.known
        known.restore(keeper.tracks(), keeper.memories(), keeper.book(time.time() - known.rules.reopen_within))
        self.ledger.restore(self.keeper.availability(self.ledger.yesterday))
        self.reporter.restore_verdict(self.keeper.last_verdict())
        for event in self.keeper.events(EVENTS):
            self.reporter.note(event)
        self.escalator.restore(time.time())

    def _tell_of_absence(self) -> None:
        boot_id = absence.boot_id()
        _, reported_at, in_boot = self.keeper.last_report()
        trace = absence.trace_from(self.keeper.mark)
        if trace is not None and trace.boot_id == in_boot and trace.clean_stop is None:
            trace = msgspec.structs.replace(trace, last_seen=max(trace.last_seen, reported_at))
        gap = absence.explain_gap(trace, boot_id, absence.booted_at(), self.started_at)
        if gap is not None:
            self.house.record(gap)
        self.house.record(Event(at=self.started_at, what="agent.started", facts={"version": __version__}))
        self.known.unsaved.marks.update(absence.alive(time.time(), boot_id))
        self.house.save(durable=True)

    def _lie_down(self) -> None:
        systemd.stopping()
        self.ear.stop()
        self.lookout.stop(GRACE_S)
        self.escalator.stop(GRACE_S)
        self._settle()
        command.stop_all()
        self.house.count()
        self.known.unsaved.availability.extend(self.ledger.totals())
        stopped, going_down = time.time(), absence.is_shutting_down()
        self.house.record(Event(at=stopped, what="agent.stopped", facts={"shutting_down": going_down}))
        if self._warm or self.reporter.last:
            self.bulletin.last(time.monotonic())
        self.seen.stop(GRACE_S)
        self._settle()
        self.known.unsaved.marks.update(absence.clean_stop(stopped, going_down))
        self.house.save(durable=True)
        self.journal.say(Priority.NOTICE, "agent.stopped")
        self.watchdog.stop()
        self.keeper.close()

    def _settle(self) -> None:
        """Which notices arrived in the last moment is kept; what else came then is not."""
        with contextlib.suppress(queue.Empty):
            while True:
                news = self.lookout.news.get_nowait()
                if isinstance(news, Delivered):
                    self.escalator.answered(news)
                elif isinstance(news, Answer):
                    self.seen.answered(news.pushed)
        now, wall = time.monotonic(), time.time()
        self.escalator.turn(now, wall)
        self.seen.turn(now, wall, self.escalator.counts())

    def _fall(self) -> None:
        """Something in the loop failed: what is known is kept, without the mark of a clean stop."""
        with contextlib.suppress(Exception):
            self.house.save(durable=True)
            self.keeper.close()

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _take_in(self) -> bool:
        """Whether there is anything to do: most looks say what was known."""
        known_before, self._stirred = self.known.version, False
        with contextlib.suppress(queue.Empty):
            self._take(self.lookout.news.get(timeout=max(0.0, self._due_at - time.monotonic())))
            if not self._stirred and self.known.version == known_before:
                time.sleep(TOGETHER_S)
            for _ in range(AT_A_TIME):
                self._take(self.lookout.news.get_nowait())
        now = time.monotonic()
        if self._stirred or self.known.version != known_before or now >= self._due_at:
            return True
        return self.clocks.parted(time.time(), now)

    def _take(self, news: News) -> None:
        if isinstance(news, Look):
            self._look(news)
            return
        self._stirred = True
        if isinstance(news, Findings):
            self.bulletin.problems.pop("examination", None)
            self.house.busy = True
            self._tell(self.known.examined(news, time.time(), valid=self.lookout.examined(news)))
        elif isinstance(news, Delivered):
            self.escalator.answered(news)
        elif isinstance(news, Answer):
            self.seen.answered(news.pushed)
        elif isinstance(news, Late):
            self.lookout.late(news)
        elif isinstance(news, Wake):
            self._wake(news)
        elif isinstance(news, Call):
            self.stopping = self.stopping or news.what == "stop"
            if news.what == "reload":
                self._reload()
            elif news.what == "heed":
                self.house.heed()
        else:
            self.lookout.examiner.done()
            self.bulletin.problems["examination"] = (
                f"an examination failed: {type(news).__name__}: {news}; please report this"
            )
            self.journal.say(Priority.ERROR, "examination.failed", error=news)

    def _push_ways(self) -> PushWays:
        from agent.push import Ways as PushWays  # only where there is a centre

        return PushWays(
            answer=lambda pushed: self.lookout.news.put(Answer(pushed)),
            unsaved=lambda: self.known.unsaved,
            save=self._save,
            record=self.house.record,
        )

    def _save(self, durable: bool) -> None:
        self.house.save(durable=durable)

    def _explained(self, incident: Incident) -> DiagnosisPart | None:
        return self.reporter.explained(self.known, incident)

    def _turn(self) -> None:
        now = time.monotonic()
        self.watchdog.beat()
        for event in self.clocks.compare(*absence.read_clocks()):
            self.house.record(event)
            self.lookout.afresh(now)
            if event.what == "clock.jumped":
                self.escalator.clock_set(float(event.facts["seconds"]), time.time())
                self.seen.clock_set(time.time())
        self.lookout.hasten(now)
        self.lookout.examine(now, ready=self._is_warm(now))
        if now >= self._well_at and self.known.may_be_over and self._is_warm(now):
            self._well_at = now + WELL_S
            self._tell(self.known.all_well(time.time()))
        if now >= self._discover_at:
            self._look_around()
        self.house.turn(now, self.plan.config.history)
        self.escalator.turn(now, time.time(), ready=self._is_warm(now))  # saves notices with their incidents
        self.house.save_due(now)  # before the report
        self.bulletin.log_problems()  # the report may be what fails
        self._report_at = self.bulletin.turn(now) if self._is_warm(now) else min(self._warm_at, now + 0.1)
        self.seen.turn(now, time.time(), self.escalator.counts())
        self.watchdog.beat()
        self._due_at = time.monotonic() + self._patience()

    def _patience(self) -> float:
        now = time.monotonic()
        waits = (
            self.lookout.wait(now),
            self.keeper.wait(now),
            self.escalator.wait(now),
            self.seen.wait(now),
            self.house.wait(now),
            self._report_at - now,
            self._discover_at - now,
        )
        usual = CALM_S if self.known.may_be_over else TURN_S
        soon = SOON_S if self.known.unsaved.events else usual  # recorded since this turn saved and told what was new
        return max(0.0, min(self._turn_s, soon, usual, *waits))

    def _is_warm(self, now: float) -> bool:
        """Whether everything was looked at once, or had its time to be."""
        self._warm = self._warm or now >= self._warm_at or len(self.known.looks) >= len(self.known.probes)
        return self._warm

    # --- news ---------------------------------------------------------------------------------------------------------

    def _look(self, found: Look) -> None:
        self.known.take(found)
        if self.lookout.seen(found):
            self._conclude_at_once()

    def _wake(self, wake: Wake) -> None:
        self.journal.say(Priority.INFO, "kernel.event", topics=sorted(wake.topics), evidence=wake.evidence)
        now = time.monotonic()
        self.lookout.wake(wake.topics, now)
        if self.plan.config.discovered:
            self._discover_at = min(self._discover_at, now + SETTLE_S)

    def _conclude_at_once(self) -> None:
        """What the kernel itself says is certain before any examination."""
        if self.known.version == self._concluded or not self.known.is_near(NEAR | {"gateway"}):
            return
        self._concluded = self.known.version
        looks = self.known.all_looks()
        found = explain(looks, places(looks))
        if any(each.cause in CERTAIN for each in found.diagnoses):
            self._tell(self.known.explained_at_once(found, time.time()))

    def _tell(self, changes: Sequence[Change]) -> None:
        self.escalator.changed(changes)
        self.seen.changed(changes, time.time())
        for change in changes:
            incident = change.incident
            self.journal.say(
                Priority.INFO if change.what == "changed" else Priority.WARNING,
                f"incident.{change.what}",
                id=incident.id,
                cause=incident.cause,
                party=incident.party,
                confidence=incident.confidence,
                probes=list(incident.probes[:8]),
                joined_to=incident.joined_to,
            )

    # --- a new configuration ------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """A good configuration takes effect and loses nothing; of a bad one only the news is kept."""
        systemd.reloading()
        try:
            self.plan = self.load()
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with a new file, the old configuration holds
            lines = str(error).splitlines()
            self.bulletin.problems["reload"] = "cannot take the new configuration, the old one holds: " + "; ".join(
                lines
            )
            refused = Event(at=time.time(), what="reload.refused", facts={"cause": "; ".join(lines[:3])})
            self.house.record(refused, Priority.ERROR)
        else:
            self.bulletin.problems.pop("reload", None)
            self._take_plan()
            self.house.record(Event(at=time.time(), what="reloaded", facts={"probes": len(self.plan.probes)}))
        systemd.ready(f"watching {len(self.known.probes)} probes")

    def _take_plan(self) -> None:
        plan = self.plan
        self.house.count()
        self.known.rearrange({probe.name: probe for probe in plan.probes}, plan.rules)
        self.keeper.report_path = plan.report_path(self.env)
        self.reporter.about = plan.about(self.started_at)
        self.reporter.heartbeat = float(plan.config.report.heartbeat)
        self.ledger.hours = opening_hours(plan.config)
        self.lookout.arrange(plan.probes, plan.language, plan.retry)
        self.escalator.reload(plan)
        self.seen.reload(plan)
        self._warm, self._warm_at = False, time.monotonic() + NEW_LOOKS_S

    def _look_around(self) -> None:
        """Where nobody configured anything, what was plugged in since is watched too; what is gone stays watched."""
        self._discover_at = float("inf")
        try:
            plan = self.load()
        except Exception as error:  # noqa: BLE001 -- nobody asked: what was found at the start is still watched
            self.journal.say(Priority.WARNING, "discovery.failed", cause="; ".join(str(error).splitlines()))
            return
        known = {probe.name for probe in self.plan.probes}
        found = [probe for probe in plan.probes if probe.name not in known]
        if plan.config.discovered and found:
            self.journal.say(Priority.NOTICE, "probes.found", probes=[probe.name for probe in found])
            self.plan = plan._replace(probes=[*self.plan.probes, *found])
            self._take_plan()


def _incident_id(now: float) -> str:
    """Short enough to be read out over the telephone: the day, and four letters."""
    letters = "".join(secrets.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(4))
    return f"{time.strftime('%y%m%d', time.gmtime(now))}-{letters}"
