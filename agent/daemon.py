"""Is somebody always watching this till? The daemon: one loop that owns what is known, and threads that bring it news.

beats ─► pool ─► looks ─┐
triggers (the kernel) ──┼─► loop ─► knowledge ─► report, state file, log
examiner ───────────────┘
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import queue
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent import __version__, absence, homes, rendering, state, systemd
from agent.availability import Tally, accrue, rows
from agent.diagnosis import Diagnosis, explain
from agent.examination import Findings
from agent.examiner import Examiner
from agent.journal import Journal, Priority
from agent.keeper import Keeper, all_of
from agent.knowledge import CERTAIN, Knowledge, Rules
from agent.places import places
from agent.pool import Pool
from agent.reporter import Facts, Reporter
from agent.runner import NOTHING, Look
from agent.scheduler import Beats
from agent.store import Batch, Event
from agent.triggers import Triggers, concerned

if TYPE_CHECKING:
    from agent.config import Config
    from agent.incidents import Change
    from agent.texts import Language
    from probes.model import Probe

TURN_S = 5.0
"""The loop comes round at least this often: the watchdog counts on it."""
AT_A_TIME = 256
"""News taken in before the loop looks at what is due."""
HASTE_S, HASTES = 0.25, 8
"""After a kernel event a probe is looked at anew this often until what it sees is confirmed, at most so many times."""
FIRST_LOOKS_S = 8.0
"""How long the first report waits for a first look at everything."""
FLUSH_S, TALLY_S, TRIM_S, OTHERS_S = 1800.0, 60.0, 3600.0, 2.0
"""How often what may be lost is saved, availability counted, the past trimmed, other processes listened to."""


class Plan(NamedTuple):
    """What a configuration asks for."""

    config: Config
    probes: Sequence[Probe]
    language: Language


class Wake(NamedTuple):
    """The kernel noticed something."""

    topics: frozenset[str]
    evidence: str


class Call(NamedTuple):
    """Somebody wants something: `stop` or `reload`."""

    what: str


News = Look | Findings | Exception | Wake | Call


class AlreadyRunning(Exception):
    """Another daemon has this state directory."""


def run(load: Callable[[], Plan], journal: Journal, env: Mapping[str, str] = os.environ) -> int:
    """Watch until SIGTERM or SIGINT; SIGHUP calls `load` again. Returns 0.

    Raises whatever the first `load` raises, and AlreadyRunning.
    """
    plan = load()
    with _lock(env):
        daemon = Daemon(plan, load, journal, env)
        daemon.listen_to_signals()
        daemon.watch()
    return 0


@contextlib.contextmanager
def _lock(env: Mapping[str, str]):  # type: ignore[no-untyped-def]
    """Held for as long as the daemon lives; the file says which process it is. No directory, no lock."""
    place = homes.state(env)
    handle = -1
    if place is not None:
        with contextlib.suppress(OSError):
            Path(place).mkdir(parents=True, exist_ok=True, mode=0o750)
            handle = os.open(f"{place}/daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        if handle >= 0:
            _claim(handle, place or "")
        yield
    finally:
        if handle >= 0:
            os.close(handle)


def _claim(handle: int, place: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
        raise AlreadyRunning(
            f"cannot start: the daemon with process id {holder} keeps its state in {place}; "
            "stop it first (`systemctl stop posagent`), or set $STATE_DIRECTORY"
        ) from None
    with contextlib.suppress(OSError):  # a full or read-only disk
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


class Daemon:
    """The loop and all it owns. Everything in it happens in the thread that calls `watch`, but for `self.news.put`."""

    def __init__(
        self, plan: Plan, load: Callable[[], Plan], journal: Journal, env: Mapping[str, str] = os.environ
    ) -> None:
        self.plan, self.load, self.journal, self.env = plan, load, journal, env
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.started_at = time.time()
        self.problems: dict[str, str] = {}
        self.stopping = False
        self.clocks = absence.Clockwork()
        self.keeper = Keeper(self._report_path(), env)
        self.pool = Pool(self.news.put)
        self.beats = Beats(self._due)
        self.triggers = Triggers(lambda topics, evidence: self.news.put(Wake(topics, evidence)))
        self.watchdog = systemd.Watchdog()
        self.known = Knowledge({p.name: p for p in plan.probes}, self._describe, _incident_id, self._rules())
        self.examiner = Examiner(self.news.put, plan.language, float(plan.config.schedule.retry_interval))
        self.reporter = Reporter(self.keeper, self._about(), float(plan.config.report.heartbeat))
        self.hasty: dict[str, int] = {}
        self.tally = Tally()
        self._facts = Facts((), {}, {}, None)
        self._next = dict.fromkeys(("haste", "flush", "tally", "trim", "others"), float("inf"))
        self._tallied_at = self._reported_until = 0.0
        self._hours = _hours(plan.config)
        self._warm = False

    # --- life ---------------------------------------------------------------------------------------------------------

    def listen_to_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reads the configuration anew."""
        for number, what in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")):
            signal.signal(number, functools.partial(self._call, what))

    def _call(self, what: str, _number: int, _frame: object) -> None:
        self.news.put(Call(what))

    def watch(self) -> None:
        """From the first look to the clean stop."""
        self._wake_up()
        try:
            while not self.stopping:
                self._take_in()
                self._turn()
        finally:
            self._lie_down()

    def _wake_up(self) -> None:
        self.keeper.open()
        self._restore()
        self._tell_of_absence()
        now = time.monotonic()
        for what, after in (("flush", FLUSH_S), ("tally", TALLY_S), ("trim", TALLY_S), ("others", OTHERS_S)):
            self._next[what] = now + after
        self._tallied_at, self._warm_at = now, now + FIRST_LOOKS_S
        self._read_notes()
        self.watchdog.start()
        self.triggers.start()
        if self.triggers.problem:
            self.problems["triggers"] = self.triggers.problem
        self.beats.start()
        self.beats.arrange(self.plan.probes, now_first=True)
        self.journal.say(Priority.NOTICE, "agent.started", version=__version__, probes=len(self.plan.probes))
        systemd.ready(f"watching {len(self.plan.probes)} probes")

    def _restore(self) -> None:
        known = self.known
        known.tracks = {
            name: state.resumed(track) for name, track in self.keeper.tracks().items() if name in known.probes
        }
        known.suspects = {name for name, track in known.tracks.items() if state.suspect(track)}
        known.memories = dict(self.keeper.memories())
        known.book = self.keeper.book(time.time() - known.rules.reopen_within)
        yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86400))
        for day, probe, *seconds in self.keeper.availability(yesterday):
            self.tally.seconds[day, probe] = list(seconds)
        self.reporter.restore_verdict(self.keeper.mark("verdict"))
        self.reporter.events = list(self.keeper.events(5))

    def _tell_of_absence(self) -> None:
        gap = absence.explain_gap(
            absence.trace_from(self.keeper.mark), absence.boot_id(), absence.booted_at(), self.started_at
        )
        if gap is not None:
            self._record(gap)
        self._record(Event(at=self.started_at, what="agent.started", facts={"version": __version__}))
        self._mark_life()
        self._save(durable=True)

    def _lie_down(self) -> None:
        systemd.stopping()
        self.beats.stop()
        self.triggers.stop()
        self.pool.stop(1.0)
        self._count_availability()
        self._keep_availability()
        stopped = time.time()
        going_down = absence.is_shutting_down()
        self._record(Event(at=stopped, what="agent.stopped", facts={"shutting_down": going_down}))
        self.known.unsaved.marks.update(absence.clean_stop(stopped, going_down))
        self._save(durable=True)
        if self._warm:
            self._write_report(time.monotonic(), self._face())
        self.journal.say(Priority.NOTICE, "agent.stopped")
        self.watchdog.stop()
        self.keeper.close()

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        with contextlib.suppress(queue.Empty):
            news = self.news.get(timeout=self._patience())
            for _ in range(AT_A_TIME):
                self._take(news)
                news = self.news.get_nowait()

    def _take(self, news: News) -> None:
        if isinstance(news, Look):
            self._look(news)
        elif isinstance(news, Findings):
            self.examiner.done()
            self.problems.pop("examination", None)
            self._changes(self.known.examined(news, time.time()))
        elif isinstance(news, Wake):
            self._wake(news)
        elif isinstance(news, Call):
            self.stopping = self.stopping or news.what == "stop"
            if news.what == "reload":
                self._reload()
        else:
            self.examiner.done()
            self.problems["examination"] = f"an examination failed: {type(news).__name__}: {news}; please report this"
            self.journal.say(Priority.ERROR, "examination.failed", error=news)

    def _turn(self) -> None:
        now = time.monotonic()
        self.watchdog.beat()
        for event in self.clocks.compare(*absence.read_clocks()):
            self._record(event)
        self._hasten(now)
        self._examine(now)
        self._keep_house(now)
        self._report(now)
        if self.known.unsaved.incidents or self.known.unsaved.transitions or self.known.unsaved.events:
            self._save(durable=bool(self.known.unsaved.incidents))

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [TURN_S, *(at - now for at in self._next.values()), self._reported_until - now]
        examining = self.examiner.wait(now)
        if examining is not None:
            waits.append(examining)
        return max(0.0, min(waits))

    # --- looking ------------------------------------------------------------------------------------------------------

    def _due(self, name: str) -> None:
        """A probe's turn has come. Called from the scheduler's thread."""
        probe = self.known.probes.get(name)
        if probe is not None:
            self.pool.ask(probe, self.known.memories.get(name, NOTHING))

    def _look(self, found: Look) -> None:
        transition = self.known.take(found)
        if transition is not None and not (transition.old is None and state.is_good(transition.new)):
            self.journal.say(
                Priority.NOTICE,
                "probe.changed",
                probe=transition.probe,
                old=transition.old,
                new=transition.new,
                reason=transition.reason,
            )
        if found.probe.name in self.hasty and found.probe.name not in self.known.suspects:
            del self.hasty[found.probe.name]
            self._conclude_at_once()

    def _wake(self, wake: Wake) -> None:
        """Look at once at what the kernel speaks of, then at what may feel it."""
        self.journal.say(Priority.INFO, "kernel.event", topics=sorted(wake.topics), evidence=wake.evidence)
        now = time.monotonic()
        for probe in concerned(wake.topics, self.known.probes.values()):
            if probe.kind in ("interface", "usb", "serial", "power"):
                self.hasty[probe.name] = HASTES
                self.pool.ask(probe, self.known.memories.get(probe.name, NOTHING))
                self._next["haste"] = min(self._next["haste"], now + HASTE_S)
            else:
                self.beats.soon(probe.name, 2 * HASTE_S)
        self.examiner.hurry(now)

    def _hasten(self, now: float) -> None:
        if now < self._next["haste"]:
            return
        for name in list(self.hasty):
            probe = self.known.probes.get(name)
            self.hasty[name] -= 1
            if probe is None or self.hasty[name] <= 0:
                del self.hasty[name]
            else:
                self.pool.ask(probe, self.known.memories.get(name, NOTHING))
        self._next["haste"] = now + HASTE_S if self.hasty else float("inf")

    def _conclude_at_once(self) -> None:
        """What the kernel itself says is certain before any examination."""
        looks = self.known.all_looks()
        found = explain(looks, places(looks))
        if any(each.cause in CERTAIN for each in found.diagnoses):
            self._changes(self.known.explained_at_once(found, time.time()))

    def _examine(self, now: float) -> None:
        known = self.known
        if not known.doubtful:
            self.examiner.settle()
            if known.book.open and not known.troubled and self._warm:
                self._changes(known.all_well(time.time()))
            return
        self.examiner.wish(now)
        if self.examiner.wait(now) == 0.0 and self._warm_enough(now):
            probes = known.to_examine()
            self.examiner.begin(probes, dict(known.memories), known.beside(probes), now)

    def _warm_enough(self, now: float) -> bool:
        """Whether everything was looked at once, or had its time to be."""
        self._warm = self._warm or now >= self._warm_at or len(self.known.looks) >= len(self.known.probes)
        return self._warm

    def _changes(self, changes: Sequence[Change]) -> None:
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
        if not self._warm_enough(now):
            self._reported_until = min(self._warm_at, now + HASTE_S)
            return
        face = self._face()
        wait = self.reporter.wait(now, face)
        if wait <= 0.0:
            self._write_report(now, face)
            wait = self.reporter.wait(now, face)
        self._reported_until = now + wait

    def _face(self) -> object:
        """Whatever changes this is worth a new report."""
        known = self.known
        diagnoses = [(d.cause, d.confidence, d.explains) for d in known.confirmed().diagnoses]
        unusual = {
            name: (found.observation.status, found.observation.reason, name in known.suspects)
            for name, found in known.looks.items()
            if found.observation.reason != "ok" or name in known.suspects
        }
        return (
            unusual,
            len(known.looks),
            diagnoses,
            known.book.open,
            self._all_problems(),
            len(self.reporter.events),
            sorted(self._facts.notes),
            self._facts.silenced_until,
        )

    def _write_report(self, now: float, face: object) -> None:
        facts = Facts(self._all_problems(), self.beats.next_at(), self._facts.notes, self._facts.silenced_until)
        self._mark_life()
        found = self.reporter.write(self.known, facts, now, face)
        self.known.unsaved.marks["verdict"] = self.reporter.verdict_mark
        systemd.status(found.verdict.headline)
        self._save()

    def _all_problems(self) -> list[str]:
        parked = [
            f"probe {name} hangs and is parked since {absence.clock_time(since)}"
            for name, since in sorted(self.pool.parked().items())
        ]
        return [*self.problems.values(), *self.keeper.problems.values(), *parked]

    def _describe(self, found: Diagnosis) -> tuple[str, str]:
        about = rendering.Circumstances(seq=0, mode="run", now=0.0, **self.reporter.about)
        said = rendering.advice_on(found, about)
        contact = said.contact or about.contacts.get(found.party)
        return said.title, rendering.fingerprint(found, contact, about.store)

    def _about(self) -> dict[str, object]:
        from agent.advice import site_of

        config = self.plan.config
        machine = rendering.circumstances_of_this_machine()
        return {
            "started_at": self.started_at,
            "boot_id": machine["boot_id"],
            "host": machine["host"],
            "config_sha256": config.sha256,
            "store": config.site.store,
            "terminal": config.site.terminal,
            "tags": config.site.tags,
            "contacts": {str(party): contact for party, contact in config.contacts.items()},
            "site_advice": site_of(config),
            "language": self.plan.language,
        }

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _keep_house(self, now: float) -> None:
        if now >= self._next["tally"]:
            self._next["tally"] = now + TALLY_S
            self._count_availability()
        if now >= self._next["others"]:
            self._next["others"] = now + OTHERS_S
            if self.keeper.changed_by_others() or self._facts.silenced_until:
                self._read_notes()
        if now >= self._next["flush"]:
            self._next["flush"] = now + FLUSH_S
            self._keep_availability()
            self._save()
        if now >= self._next["trim"]:
            self._next["trim"] = now + TRIM_S
            history = self.plan.config.history
            self.keeper.trim(float(history.keep), history.max_size_mb << 20)

    def _count_availability(self) -> None:
        now, wall = time.monotonic(), time.time()
        passed, self._tallied_at = now - self._tallied_at, now
        for name, track in self.known.tracks.items():
            accrue(self.tally, name, track.status, wall - passed, wall, self._hours)

    def _keep_availability(self) -> None:
        """The days' totals; of the days before yesterday nothing can change any more."""
        found = rows(self.tally)
        self.known.unsaved.availability.extend(found)
        days = sorted({row[0] for row in found})
        for key in [key for key in self.tally.seconds if key[0] not in days[-2:]]:
            del self.tally.seconds[key]

    def _save(self, *, durable: bool = False) -> None:
        known = self.known
        batch, known.unsaved = known.unsaved, Batch()
        for event in self.keeper.news:
            batch.events.append(event)
            self.reporter.events.append(event)
        self.keeper.news.clear()
        self.keeper.save(
            batch,
            durable=durable,
            everything=lambda: all_of(known.tracks, known.memories, (*known.book.recent, *known.book.open)),
        )

    def _mark_life(self) -> None:
        self.known.unsaved.marks.update(absence.alive(time.time(), absence.boot_id()))

    def _record(self, event: Event) -> None:
        self.known.unsaved.events.append(event)
        self.reporter.events.append(event)
        if not event.what.startswith("agent."):
            self.journal.say(Priority.NOTICE, event.what, **event.facts)

    def _read_notes(self) -> None:
        notes = {}
        for incident in self.known.book.open:
            for note in self.keeper.notes(incident.id):
                notes[incident.id] = note
        silences = self.keeper.silences(time.time())
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
            self.journal.say(Priority.ERROR, "reload.refused", cause="; ".join(lines))
            self._record(Event(at=time.time(), what="reload.refused", facts={"cause": "; ".join(lines[:3])}))
        else:
            self.problems.pop("reload", None)
            self._take_plan()
            self.journal.say(Priority.NOTICE, "reloaded", probes=len(self.plan.probes))
            self._record(Event(at=time.time(), what="reloaded", facts={"probes": len(self.plan.probes)}))
        systemd.ready(f"watching {len(self.known.probes)} probes")

    def _take_plan(self) -> None:
        config = self.plan.config
        self.known.rearrange({probe.name: probe for probe in self.plan.probes}, self._rules())
        self.examiner.language = self.plan.language
        self.examiner.retry = float(config.schedule.retry_interval)
        self.keeper.report_path = self._report_path()
        self.reporter.about = self._about()
        self.reporter.heartbeat = float(config.report.heartbeat)
        self._count_availability()
        self._hours = _hours(config)
        self.beats.arrange(self.plan.probes, now_first=False)

    def _rules(self) -> Rules:
        schedule = self.plan.config.schedule
        return Rules(window=schedule.window, reopen_within=float(schedule.reopen_within))

    def _report_path(self) -> Path | None:
        configured = self.plan.config.report.path
        place = homes.state(self.env)
        return Path(configured) if configured else Path(place) / "health.json" if place else None


def _hours(config: Config):  # type: ignore[no-untyped-def]
    from agent.config import opening_hours

    return opening_hours(config)


def _incident_id(now: float) -> str:
    """Short enough to be read out over the telephone: the day, and four letters."""
    letters = "".join(secrets.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(4))
    return f"{time.strftime('%y%m%d', time.gmtime(now))}-{letters}"
