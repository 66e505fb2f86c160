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
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent import __version__, absence, homes, rendering, state, systemd, thrift
from agent.config import opening_hours
from agent.diagnosis import Diagnosis, explain
from agent.examination import Findings
from agent.journal import Journal, Priority
from agent.keeper import Keeper, all_of
from agent.knowledge import CERTAIN, Knowledge
from agent.ledger import Ledger
from agent.lock import lock
from agent.places import places
from agent.reporter import EVENTS, Facts, Reporter
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
    from agent.state import Transition

TURN_S = 5.0
"""The loop comes round at least this often: the watchdog counts on it."""
AT_A_TIME = 256
"""News taken in before the loop looks at what is due."""
TOGETHER_S = 0.03
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
SOON_S = 300.0
"""When the first saving of availability comes: whoever has just installed it wants to see it."""
FLUSH_S, COUNT_S, TRIM_S, OTHERS_S = 1800.0, 60.0, 3600.0, 2.0
"""How often what may be lost is saved, availability counted, the past trimmed, other processes listened to where the
kernel does not tell of them."""
SPARE_S, SETTLED_S = 300.0, 3600.0
"""How often memory is given back, and how often all of it is looked through."""


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
        self.problems: dict[str, str] = {}
        self.stopping = False
        self.known = Knowledge({p.name: p for p in plan.probes}, self._describe, _incident_id, plan.rules)
        self.lookout = Lookout(self.known, plan.language, plan.retry)
        self.keeper = Keeper(plan.report_path(env), env)
        self.reporter = Reporter(self.keeper, plan.about(self.started_at), float(plan.config.report.heartbeat))
        self.ledger = Ledger(opening_hours(plan.config))
        ways = Ways(self.lookout.news.put, lambda durable: self._save(durable=durable), self._record, self._explained)
        self.escalator = Escalator(plan, self.known, self.keeper, journal, ways, env)
        self.seen = Seen(plan, self.keeper, journal, self._push_ways, env)
        self.ear = Ear("state.sqlite-wal", lambda: self.lookout.news.put(Call("heed")))
        self.clocks = absence.Clockwork()
        self.watchdog = systemd.Watchdog()
        self._facts = Facts((), {}, {}, None)
        self._at = dict.fromkeys(("flush", "count", "trim", "others", "spare", "report"), 0.0)
        self._at["discover"] = float("inf")
        self._well_at, self._settle_at = 0.0, 0.0
        self._concluded = -1
        self._due_at, self._stirred = 0.0, False
        self._logged: set[str] = set()
        self._verdict_mark = ""
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
        self._at.update(flush=now + SOON_S, count=now + COUNT_S, trim=now + COUNT_S, others=now + OTHERS_S)
        self._at["spare"] = now + 2 * FIRST_LOOKS_S
        self._warm_at = now + FIRST_LOOKS_S
        self._listen()
        self._read_notes()
        self.seen.start()
        self.watchdog.start()
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
            self._record(gap)
        self._record(Event(at=self.started_at, what="agent.started", facts={"version": __version__}))
        self.known.unsaved.marks.update(absence.alive(time.time(), boot_id))
        self._save(durable=True)

    def _lie_down(self) -> None:
        systemd.stopping()
        self.ear.stop()
        self.lookout.stop(GRACE_S)
        self.escalator.stop(GRACE_S)
        self._settle()
        command.stop_all()
        self._count()
        self.known.unsaved.availability.extend(self.ledger.totals())
        stopped, going_down = time.time(), absence.is_shutting_down()
        self._record(Event(at=stopped, what="agent.stopped", facts={"shutting_down": going_down}))
        if self._warm or self.reporter.last:
            self._write_report(time.monotonic(), self._face())
        self.seen.stop(GRACE_S)
        self._settle()
        self.known.unsaved.marks.update(absence.clean_stop(stopped, going_down))
        self._save(durable=True)
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
            self._save(durable=True)
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
            self.problems.pop("examination", None)
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
                self._at["others"] = 0.0
        else:
            self.lookout.examiner.done()
            self.problems["examination"] = f"an examination failed: {type(news).__name__}: {news}; please report this"
            self.journal.say(Priority.ERROR, "examination.failed", error=news)

    def _push_ways(self) -> PushWays:
        from agent.push import Ways as PushWays  # only where there is a centre

        return PushWays(
            answer=lambda pushed: self.lookout.news.put(Answer(pushed)),
            unsaved=lambda: self.known.unsaved,
            save=lambda durable: self._save(durable=durable),
            record=self._record,
        )

    def _turn(self) -> None:
        now = time.monotonic()
        self.watchdog.beat()
        for event in self.clocks.compare(*absence.read_clocks()):
            self._record(event)
            self.lookout.afresh(now)
            if event.what == "clock.jumped":
                self.escalator.clock_set(float(event.facts["seconds"]), time.time())
                self.seen.clock_set(time.time())
        self.lookout.hasten(now)
        self.lookout.examine(now, ready=self._is_warm(now))
        if now >= self._well_at and self.known.may_be_over and self._is_warm(now):
            self._well_at = now + WELL_S
            self._tell(self.known.all_well(time.time()))
        self._keep_house(now)
        self.escalator.turn(now, time.time(), ready=self._is_warm(now))  # saves notices with their incidents
        unsaved = self.known.unsaved
        if unsaved.incidents or unsaved.transitions or unsaved.events or self.keeper.wait(now) <= 0.0:
            self._save(durable=bool(unsaved.incidents))  # before the report: an incident's id is told once and kept
        self._log_problems()  # the report may be what fails
        self._report(now)
        self.seen.turn(now, time.time(), self.escalator.counts())
        self._due_at = time.monotonic() + self._patience()

    def _patience(self) -> float:
        now = time.monotonic()
        waits = (
            self.lookout.wait(now),
            self.keeper.wait(now),
            self.escalator.wait(now),
            self.seen.wait(now),
            *(at - now for at in self._at.values()),
        )
        return max(0.0, min(TURN_S, *waits))

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
            self._at["discover"] = min(self._at["discover"], now + SETTLE_S)

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

    # --- telling ------------------------------------------------------------------------------------------------------

    def _report(self, now: float) -> None:
        if not self._is_warm(now):
            self._at["report"] = min(self._warm_at, now + 0.1)
            return
        face, pressing = self._face(), self._pressing()
        wait = self.reporter.wait(now, face, pressing)
        if wait <= 0.0:
            if not self.reporter.again(now, face):
                self._write_report(now, face)
            wait = self.reporter.wait(now, self._face(), pressing)
        self._at["report"] = now + wait

    def _face(self) -> object:
        """Whatever changes this is worth a new report."""
        return (
            self.known.version,
            self._all_problems(),
            self.reporter.noted,
            sorted(self._facts.notes.items()),
            self._facts.silenced_until,
            sorted(self._levels().items()),
        )

    def _pressing(self) -> object:
        """What may not wait, however much else changes."""
        return tuple(incident.id for incident in self.known.book.open)

    def _levels(self) -> dict[str, int]:
        return {incident.id: self.escalator.level(incident.id) for incident in self.known.book.open}

    def _write_report(self, now: float, face: object) -> None:
        facts = Facts(
            self._all_problems(),
            self.lookout.beats.next_at(),
            self._facts.notes,
            self._facts.silenced_until,
            self._levels(),
            self.seen.waiting(),
        )
        self.seen.about_to_tell()
        found = self.reporter.write(self.known, facts, now, face, pressing=self._pressing(), last=self.stopping)
        if self.reporter.verdict_mark != self._verdict_mark:
            self._verdict_mark = self.known.unsaved.marks["verdict"] = self.reporter.verdict_mark
            self._save()
        if self.reporter.told is not None:
            self.seen.told(self.reporter.told, self.reporter.last, changed=self.reporter.changed)
        systemd.status(found.verdict.headline)

    def _log_problems(self) -> None:
        """What has no event of its own is said when it begins and when it is over."""
        found = {text for key, text in self.keeper.problems.items() if key != "state.corrupt"}
        found.update(self.lookout.problems(), self.escalator.problems(), self.seen.problems())
        if found == self._logged:
            return
        for text in sorted(found - self._logged):
            self.journal.say(Priority.WARNING, "agent.problem", text=text)
        for text in sorted(self._logged - found):
            self.journal.say(Priority.NOTICE, "agent.problem.over", text=text)
        self._logged = found

    def _all_problems(self) -> list[str]:
        others = (*self.lookout.problems(), *self.escalator.problems(), *self.seen.problems())
        return [*self.problems.values(), *self.keeper.problems.values(), *others]

    def _describe(self, found: Diagnosis) -> tuple[str, str]:
        about = rendering.Circumstances(seq=0, mode="run", now=0.0, **self.reporter.about)
        said = rendering.advice_on(found, about)
        contact = said.contact or about.contacts.get(found.party)
        return said.title, rendering.fingerprint(found, contact, about.store)

    def _explained(self, incident: Incident) -> DiagnosisPart | None:
        """All that is known of an incident just now, for whoever is told of it."""
        for found in self.known.explanation.diagnoses:
            if found.cause == incident.cause and not set(incident.probes).isdisjoint(found.explains):
                about = rendering.Circumstances(seq=0, mode="run", now=0.0, **self.reporter.about)
                return rendering.diagnosis_part(found, self.known.all_looks(), about)
        return None

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _keep_house(self, now: float) -> None:
        if now >= self._at["count"]:
            self._at["count"] = now + COUNT_S
            self._count()
            self._listen()
        if now >= self._at["spare"]:
            self._spare(now)
        if now >= self._at["others"]:
            wrote = self.keeper.changed_by_others()
            if wrote:
                self.escalator.people_wrote()
            if wrote or self._holds_for_a_while():
                self._read_notes()
            asks = self._holds_for_a_while() or not self.ear.hears
            self._at["others"] = now + (OTHERS_S if asks else COUNT_S)
        if now >= self._at["flush"]:
            self._at["flush"] = now + FLUSH_S
            self.known.unsaved.availability.extend(self.ledger.totals())
            self.known.unsaved.marks["last_seen"] = f"{time.time():.3f}"
            self._save()
        if now >= self._at["discover"]:
            self._at["discover"] = float("inf")
            self._look_around()
        if now >= self._at["trim"]:
            self._at["trim"] = now + TRIM_S
            history = self.plan.config.history
            self.keeper.trim(float(history.keep), history.max_size_mb << 20)

    def _spare(self, now: float) -> None:
        self._at["spare"] = now + SPARE_S
        if now >= self._settle_at:
            self._settle_at = now + SETTLED_S
            thrift.settle()
        else:
            thrift.give_back()

    def _listen(self) -> None:
        place = homes.state(self.env)
        if place is not None:
            self.ear.start(Path(place))

    def _holds_for_a_while(self) -> bool:
        """Whether what people said ends by itself."""
        return bool(self._facts.silenced_until or any(note.until for note in self._facts.notes.values()))

    def _count(self) -> None:
        self.ledger.count(self.known.tracks, time.monotonic(), time.time())

    def _save(self, *, durable: bool = False) -> None:
        batch, self.known.unsaved = self.known.unsaved, Batch()
        self._log(batch.transitions)
        self.keeper.save(batch, durable=durable, everything=self._everything)
        news, self.keeper.news = self.keeper.news, []
        for event in news:
            self._record(event, Priority.WARNING)  # that the state file was damaged; saved at the next turn

    def _everything(self) -> Batch:
        known = self.known
        batch = all_of(known.tracks, known.memories, (*known.book.recent, *known.book.open))
        batch.availability.extend(self.ledger.totals())
        batch.marks.update(absence.alive(time.time(), absence.boot_id()), verdict=self.reporter.verdict_mark)
        batch.merge(self.escalator.everything())
        batch.merge(self.seen.everything() or Batch())
        return batch

    def _log(self, transitions: Sequence[Transition]) -> None:
        for each in transitions:
            if each.old is not None or not state.is_good(each.new):
                self.journal.say(
                    Priority.NOTICE, "probe.changed", probe=each.probe, old=each.old, new=each.new, reason=each.reason
                )

    def _record(self, event: Event, priority: Priority = Priority.NOTICE) -> None:
        self.known.unsaved.events.append(event)
        self.reporter.note(event)
        if not event.what.startswith("agent."):
            self.journal.say(priority, event.what, **event.facts)

    def _read_notes(self) -> None:
        now, notes = time.time(), {}
        for incident in self.known.book.open:
            written = self.keeper.notes(incident.id)
            if written and (written[-1].until is None or written[-1].until > now):
                note = notes[incident.id] = written[-1]  # who took charge last has it, and may have had it long enough
                if note.at > self.started_at and note != self._facts.notes.get(incident.id):
                    self.seen.taken_charge(incident, note)
        silences = self.keeper.silences(now)
        until = max((each.until for each in silences), default=None)
        self._facts = Facts((), {}, notes, until)

    # --- a new configuration ------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """A good configuration takes effect and loses nothing; of a bad one only the news is kept."""
        systemd.reloading()
        try:
            self.plan = self.load()
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with a new file, the old configuration holds
            lines = str(error).splitlines()
            self.problems["reload"] = "cannot take the new configuration, the old one holds: " + "; ".join(lines)
            refused = Event(at=time.time(), what="reload.refused", facts={"cause": "; ".join(lines[:3])})
            self._record(refused, Priority.ERROR)
        else:
            self.problems.pop("reload", None)
            self._take_plan()
            self._record(Event(at=time.time(), what="reloaded", facts={"probes": len(self.plan.probes)}))
        systemd.ready(f"watching {len(self.known.probes)} probes")

    def _take_plan(self) -> None:
        plan = self.plan
        self._count()
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
