"""A day in the lab: does the daemon make exactly one incident, of the right cause, of every fault? (as root)

    python -m tests.lab.soak [--minutes N] [--seed S] [--only REGEX] [--once] [--log FILE]

`posagent run` lives in the till for all of that time while a seeded script breaks and mends the store. After every fault
the state file is asked what became of it; every report is held against the schema; the daemon's memory and files are
counted. Ends with 1 where anything was wrong. `--once` has every fault once, in the order of the seed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from agent.incidents import Incident
from agent.state import is_bad
from agent.store import Store as StateFile
from agent.store import StoreError
from tests.lab import gear
from tests.lab.conftest import SYSTEM_PATH
from tests.lab.faults import Expected, Fault
from tests.lab.store import WITH_PARENT, LabError, Store
from tests.lab.wider import FAULTS

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "agent", "run")
AS_A_SERVICE = {"MALLOC_ARENA_MAX": "2"}
"""What systemd/posagent.service sets."""
INTERVAL_S, RETRY_S = 5, 1
SCHEDULE = f"""[schedule]
interval = "{INTERVAL_S}s"
retry_interval = "{RETRY_S}s"
reopen_within = "0s"
"""
"""A day in minutes: every time is a sixth of what a till has; how often something must be seen stays."""
PATIENCE_S = 60.0
"""A fault must be an incident by then, and a repair have closed it."""
STAYS_S, RESTS_S = (3.0, 8.0), (3.0, 8.0)
"""How long a fault stays once it is known, and the store well afterwards."""
PAIR_SHARE = 0.12
SAMPLE_S = 1.0
JOINED_AT_MOST = 0.05
GROWTH_AT_MOST, GROWTH_AT_FIRST, WARM_AFTER = 0.05, 0.15, 40
"""In a day of fewer faults than this much is still needed for the first time at its end: Requests alone is a tenth."""
FILES_AT_MOST = 2

UNFIT = ("usb_reenumerating", "settlement_overdue", "line_32kbit")
"""A reconnection is spoken of for an hour; a close once seen stays seen; and looks that come six times as often as in a
store fill such a line alone.
"""
CABLES, LOSSES, HOUR_S = (("cable_out", "interface_off"), ("usb_gone",)), 2, 3600.0
"""A cable that is out for a third time within the hour is a poor one; so is a USB plug."""
SINGLE = tuple(
    name
    for name, fault in FAULTS.items()
    if fault.layer != "two" and fault.template == "till.toml" and not fault.changes and name not in UNFIT
)
"""Every fault that the till's own configuration can see."""
PAIRS = tuple(n for n, f in FAULTS.items() if f.layer == "two" and all(part in SINGLE for part in n.split("+")))


def fitted(store: Store) -> None:
    """Write the till's configuration with the day's schedule, the same for every probe."""
    names = re.findall(r"^\[probes\.([\w-]+)\]$", (Path(__file__).with_name("till.toml")).read_text(), re.MULTILINE)
    each = [(f"[probes.{name}]\n", f'[probes.{name}]\ninterval = "{INTERVAL_S}s"\n') for name in names]
    unhurt = (f'name = "{store.pos_name}"\n', f'name = "{store.pos_name}"\nmax_restarts = 1000\n')
    store.write_config(("[report]\n", f"{SCHEDULE}\n[report]\n"), unhurt, *each)


@contextlib.contextmanager
def broken(store: Store, fault: Fault) -> Iterator[None]:
    """Have a fault for a while, as `Store.fault`, but beside a daemon that remembers all of it."""
    try:
        with fault.make(store):
            store.sh("till", "ip neigh flush all; ip -6 neigh flush all")
            yield
    finally:
        skew(store).write_text("0")
        store.await_link("till")
        store.forget()


def skew(store: Store) -> Path:
    """By how many seconds the till's wall clock is wrong."""
    return store.run / "skew"


# --- the daemon and whoever watches it --------------------------------------------------------------------------------


class Sample(NamedTuple):
    """What the daemon holds at one moment."""

    at: float
    pss_kb: int
    fds: int
    own_kb: int = 1
    """Of the PSS, all but files: what is mapped from libraries is shared with whatever else runs just then."""


class Watched:
    """`posagent run` in the till, and a thread that reads its report whenever that changes."""

    def __init__(self, store: Store, log: Path) -> None:
        """Start it, and wait for its first report."""
        self.store, self.log = store, log
        self.report: dict[str, Any] = {}
        self.reports = 0
        self.problems: list[str] = []
        self.samples: list[Sample] = []
        self._checker = jsonschema.Draft202012Validator(
            json.loads((ROOT / "docs" / "report.schema.json").read_text()),
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        skew(store).write_text("0")
        clock = {"LD_PRELOAD": str(gear.skewclock(store)), "POSAGENT_LAB_SKEW": str(skew(store))}
        with log.open("w") as sink:
            self.process = subprocess.Popen(
                [*WITH_PARENT, *store.in_room("till", *COMMAND)],
                env={**os.environ, **store.till_env, **clock, **AS_A_SERVICE},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        if not until(lambda: bool(self.report), 20):
            raise LabError(f"posagent run wrote no report: {log.read_text()}")
        self.state = StateFile(store.state / "state.sqlite", read_only=True)

    def _watch(self) -> None:
        seen, next_sample = None, 0.0
        path = self.store.run / "health.json"
        while not self._done.wait(0.1):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                status = os.fstat(file.fileno())  # of what is read, whatever has the name by then
                mark = (status.st_ino, status.st_mtime_ns)
                if mark != seen:
                    seen = mark
                    self._take(file.read())
            if time.monotonic() >= next_sample:
                next_sample = time.monotonic() + SAMPLE_S
                with contextlib.suppress(OSError):
                    self.samples.append(sample(self.process.pid))

    def _take(self, written: bytes) -> None:
        try:
            report = json.loads(written)
        except ValueError as error:
            self.problems.append(f"a report is not whole: {error}")
            return
        self.problems += [
            f"a report is not valid: {wrong.message[:200]}" for wrong in self._checker.iter_errors(report)
        ]
        if self.report and report["seq"] <= self.report["seq"]:
            self.problems.append(f"seq {report['seq']} follows {self.report['seq']}")
        self.problems += [f"agent.problems: {words}" for words in report["agent"]["problems"]]
        self.reports += 1
        self.report = report

    def incidents(self) -> list[Incident]:
        """All that ever were, oldest first."""
        return list(reversed(self.state.incidents(limit=100_000)))

    def open(self) -> list[Incident]:
        """Those that are open."""
        return [each for each in self.state.open_incidents() if each.resolved_at is None]

    def troubled(self) -> list[str]:
        """Probes whose confirmed status is bad."""
        return [name for name, track in self.state.tracks().items() if is_bad(track.status)]

    def says_ready(self) -> bool:
        """Whether the newest report knows of nothing."""
        report = self.report
        return report["verdict"]["payments"] == "ready" and not report["incidents"] and not report["diagnosis"]

    def at_rest(self) -> Sample:
        """What it holds now; of the files, the fewest of the last seconds, for a look may be under way."""
        now = sample(self.process.pid)
        return now._replace(fds=min(each.fds for each in (*self.samples[-3:], now)))

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def end(self) -> int | None:
        """Stop it as systemd would, and return its exit code."""
        self.state.close()
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.problems.append("SIGTERM did not end it within 5 s")
            self.process.kill()
            code = self.process.wait()
        time.sleep(0.3)  # its last report
        self._done.set()
        self._watcher.join()
        said = self.log.read_text()
        self.problems += [
            f"log: {line}" for line in said.splitlines() if re.search("Traceback|Error|examination.failed", line)
        ]
        return code


def sample(pid: int) -> Sample:
    """Memory (PSS) and files of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.MULTILINE))
    pss, own = int(told.get("Pss", 0)), int(told.get("Pss_Anon", 0))
    return Sample(time.monotonic(), pss, len(os.listdir(f"/proc/{pid}/fd")), own)


def until(condition: Callable[[], bool], limit: float, pause: float = 0.1) -> float | None:
    """Seconds until the condition holds; None where it does not within the limit."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            return None
        time.sleep(pause)
    return time.monotonic() - began


# --- one fault --------------------------------------------------------------------------------------------------------


@dataclass
class Episode:
    """One fault, from the breaking to the last incident closed."""

    fault: Fault
    began: float
    opened: float | None = None
    closed: float | None = None
    incidents: list[Incident] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def joined(self) -> list[Incident]:
        """Steps on the way to the right one."""
        return [each for each in self.incidents if each.joined_to is not None]

    @property
    def own(self) -> list[Incident]:
        """What a store manager would count."""
        return [each for each in self.incidents if each.joined_to is None]

    def judge(self) -> None:
        """One incident for each cause that was made, and no other."""
        left = list(self.own)
        for one in self.fault.expected:
            found = [each for each in left if fits(each, one)]
            if not found:
                named = ", ".join(each.cause for each in left) or "no incident"
                self.problems.append(f"{one.cause} has none of its own: {named}")
                continue
            left.remove(found[0])
        self.problems += [f"one too many: {each.cause} ({', '.join(each.probes)})" for each in left]
        for each in self.joined:
            if not any(each.joined_to == home.id for home in self.incidents):
                self.problems.append(f"{each.cause} was joined to an incident of another fault")

    def line(self) -> str:
        """For whoever watches."""
        causes = " + ".join(each.cause for each in self.own) or "nothing"
        steps = "".join(f", after {each.cause}" for each in self.joined)
        words = f"WRONG {'; '.join(self.problems)}" if self.problems else "right"
        return f"{self.fault.name:44} {_s(self.opened)} {_s(self.closed)}  {words}: {causes}{steps}"


def _s(seconds: float | None) -> str:
    return "  never" if seconds is None else f"{seconds:5.1f} s"


def fits(incident: Incident, expected: Expected) -> bool:
    """Whether this is the incident of that cause, or of one that looks the same."""
    return incident.cause in {expected.cause, *expected.alternatives}


# --- the day ----------------------------------------------------------------------------------------------------------


@dataclass
class Day:
    """All that happened."""

    episodes: list[Episode] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    rests: list[Sample] = field(default_factory=list)
    """What was held while all was well: before each fault and after the last."""
    reports: int = 0
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be."""
        found = [f"{each.fault.name}: {words}" for each in self.episodes for words in each.problems]
        joined = sum(bool(each.joined) for each in self.episodes)
        if joined > max(1, JOINED_AT_MOST * len(self.episodes)):
            found.append(f"{joined} of {len(self.episodes)} faults had a wrong name first")
        return [*found, *dict.fromkeys(self.problems), *self.grown]

    def growth(self, of: Callable[[Sample], float]) -> float:
        """By which part the last quarter of the day's rests lies above the second: in the first, much is loaded that was
        never needed before.
        """
        kept = self.rests or [Sample(0.0, 1, 1)]
        quarter = max(1, len(kept) // 4)
        second, last = (
            statistics.median(map(of, part)) for part in (kept[quarter : 2 * quarter] or kept, kept[-quarter:])
        )
        return last / second - 1

    @property
    def grown(self) -> list[str]:
        """What the daemon holds more of than it should."""
        if not self.rests:
            return ["it was never at rest"]
        allowed = GROWTH_AT_MOST if len(self.rests) > WARM_AFTER else GROWTH_AT_FIRST
        found = [f"memory grew by {self.growth(memory):.1%}"] if self.growth(memory) > allowed else []
        more_files = self.rests[-1].fds - self.rests[0].fds
        return found + ([f"{more_files} files more are open at the end"] if more_files > FILES_AT_MOST else [])

    def summary(self) -> str:
        """The counts."""
        incidents = [each for episode in self.episodes for each in episode.own]
        joined = [each for episode in self.episodes for each in episode.joined]
        right = sum(not each.problems for each in self.episodes)
        opened = sorted(each.opened for each in self.episodes if each.opened is not None)
        closed = sorted(each.closed for each in self.episodes if each.closed is not None)
        nothing = Sample(0.0, 1, 0)
        first, last = (self.rests or [nothing])[0], (self.rests or [nothing])[-1]
        most = [max(each[place] for each in (self.samples or [nothing])) for place in (1, 2)]
        return "\n".join(
            (
                (
                    f"{len(self.episodes)} faults in {self.seconds / 60:.1f} minutes, {right} right: "
                    f"{len(incidents)} incidents, {len(joined)} joined to another"
                ),
                f"seconds to the incident: {spread(opened)}; from the repair to its end: {spread(closed)}",
                f"{self.reports} reports read, all held against the schema",
                (
                    f"memory at rest {first.pss_kb / 1024:.1f} MB at first, {last.pss_kb / 1024:.1f} MB at last "
                    f"(its own {self.growth(memory):+.1%} since the second quarter), at most {most[0] / 1024:.1f} MB"
                ),
                f"files at rest {first.fds} at first, {last.fds} at last, at most {most[1]}",
                *(f"WRONG {words}" for words in self.wrong),
            )
        )


def memory(held: Sample) -> float:
    """In which the growth of memory is counted."""
    return held.own_kb


def spread(seconds: Sequence[float]) -> str:
    """Median and worst."""
    return f"median {statistics.median(seconds):.1f}, at most {seconds[-1]:.1f}" if seconds else "none"


def script(chance: random.Random, only: str = "", *, once: bool = False) -> Iterator[str]:
    """The faults of the day, as a till with a sound cable has them."""
    losses: dict[tuple[str, ...], list[float]] = {cable: [] for cable in CABLES}
    for name in _shuffled(chance, only, once=once):
        out = [cable for cable in CABLES if any(part in cable for part in name.split("+"))]
        for cable in out:
            losses[cable] = [at for at in losses[cable] if time.monotonic() - at < HOUR_S]
        if any(len(losses[cable]) >= LOSSES for cable in out):
            continue
        for cable in out:
            losses[cable].append(time.monotonic())
        yield name


def _shuffled(chance: random.Random, only: str, *, once: bool) -> Iterator[str]:
    """Every single one in random order before any comes again, now and then two at once."""
    single = [name for name in SINGLE if re.search(only, name)]
    pairs = [name for name in PAIRS if re.search(only, name)]
    if once:
        yield from chance.sample(single, len(single))
        yield from chance.sample(pairs, len(pairs))
        return
    both = _again(chance, pairs)
    for name in _again(chance, single or pairs):
        yield name
        if pairs and chance.random() < PAIR_SHARE:
            yield next(both)


def _again(chance: random.Random, names: Sequence[str]) -> Iterator[str]:
    while names:
        yield from chance.sample(names, len(names))


def live_through(
    store: Store,
    seconds: float,
    seed: int,
    *,
    only: str = "",
    once: bool = False,
    log: Path | None = None,
    tell: Callable[[str], None] = print,
) -> Day:
    """Break and mend the store for so long; with `once` until every fault was had."""
    chance, day, began = random.Random(seed), Day(), time.monotonic()
    store.forget_state()
    fitted(store)
    watched = Watched(store, log or store.run / "daemon.log")
    known: set[str] = set()
    try:
        time.sleep(chance.uniform(*RESTS_S))
        for name in script(chance, only, once=once):
            if not watched.alive() or (not once and time.monotonic() - began > seconds):
                break
            day.problems += strays(watched, known)
            day.rests.append(watched.at_rest())
            day.episodes.append(episode := one_fault(store, watched, FAULTS[name], chance, known))
            tell(f"{time.monotonic() - began:6.0f} s  {episode.line()}")
            time.sleep(chance.uniform(*RESTS_S))
        day.problems += strays(watched, known)
        if watched.alive():
            day.rests.append(watched.at_rest())
            if until(watched.says_ready, PATIENCE_S) is None:
                day.problems.append(f"all is well, but the last report says {watched.report['verdict']['headline']!r}")
        else:
            day.problems.append(f"the daemon ended: {watched.log.read_text()[-2000:]}")
    finally:
        code = watched.end()
        store.write_config()
        store.forget_state()
    if code != 0:
        day.problems.append(f"the daemon ended with {code}")
    day.problems += watched.problems
    day.samples, day.reports, day.seconds = watched.samples, watched.reports, time.monotonic() - began
    return day


def strays(watched: Watched, known: set[str]) -> list[str]:
    """Incidents that came while nothing was broken."""
    found = [each for each in watched.incidents() if each.id not in known]
    known.update(each.id for each in found)
    return [f"an incident while all was well: {each.cause} ({', '.join(each.probes)})" for each in found]


def one_fault(store: Store, watched: Watched, fault: Fault, chance: random.Random, known: set[str]) -> Episode:
    """Break, wait until it is known, stay a while, mend, wait until it is over, judge."""
    old, ill = {each.id for each in watched.open()}, set(watched.troubled())
    with broken(store, fault):
        episode = Episode(fault, time.monotonic())
        episode.opened = until(lambda: named(watched, fault), PATIENCE_S)
        time.sleep(chance.uniform(*STAYS_S))

    def left() -> list[str]:
        still = [f"{each.cause} ({', '.join(each.probes)})" for each in watched.open() if each.id not in old]
        return still or [name for name in watched.troubled() if name not in ill]

    episode.closed = until(lambda: not left(), PATIENCE_S)
    episode.incidents = [each for each in watched.incidents() if each.id not in known]
    known.update(each.id for each in episode.incidents)
    if episode.closed is None:
        episode.problems.append(f"not over {PATIENCE_S:.0f} s after the repair: {', '.join(left())}")
    episode.judge()
    return episode


def named(watched: Watched, fault: Fault) -> bool:
    """Whether each of its causes has an open incident."""
    with contextlib.suppress(StoreError):
        found = watched.open()
        return all(any(fits(each, one) for each in found) for one in fault.expected)
    return False


def main() -> int:
    """Live through a day and tell of it."""
    words = argparse.ArgumentParser(prog="python -m tests.lab.soak", description=__doc__)
    words.add_argument("--minutes", type=float, default=3.0)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--only", default="", metavar="REGEX", help="faults whose name matches")
    words.add_argument("--once", action="store_true", help="every fault once, the pairs last, however long that takes")
    words.add_argument("--log", type=Path, metavar="FILE", help="keep the daemon's log there")
    asked = words.parse_args()
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"

    def tell(line: str) -> None:
        print(line, flush=True)

    with Store() as store:
        day = live_through(
            store, 60 * asked.minutes, asked.seed, only=asked.only, once=asked.once, log=asked.log, tell=tell
        )
    print(day.summary())
    return 1 if day.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
