"""Who looks at which probe, and when? Timers, kernel events and suspicion, each with its own haste.

beats ──────► pool ─► looks         every probe at its own interval
triggers ───► pool ─► looks         what the kernel speaks of, at once and again until it is confirmed
suspicion ──► examiner ─► findings  one coherent round, every `retry_interval`

A look that waits far longer than usual for an answer makes its probe suspect before it has timed out.
"""

from __future__ import annotations

import math
import queue
import time
from typing import TYPE_CHECKING, NamedTuple

from agent.diagnosis.scene import Scene
from agent.examination import Findings, Recent
from agent.places import places
from agent.runner import NOTHING, Look
from agent.telling.delivery import Delivered
from agent.watching.examiner import LONGEST_S, Examiner
from agent.watching.pool import Late, Pool
from agent.watching.scheduler import Beats
from agent.watching.triggers import FIRST, Triggers, concerned
from probes.model import OutOfTime, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.knowledge import Knowledge
    from agent.push import Pushed
    from agent.texts import Language
    from probes.model import Probe

HASTE_S, HASTES = 0.25, 8
"""After a kernel event a probe is looked at anew this often until what it sees is confirmed, at most so many times."""
BREATH_S = 5.0
"""The least time between two looks that kernel events bring upon a probe that only may feel them."""
AFRESH_S = 30.0
"""The least time between two looks at everything because the clocks leapt."""
FRESH_S = 15.0
"""So long an extra look need not be taken again."""
NEAR = frozenset().union(*FIRST.values()) - {"gateway"}
"""The kinds that ask the kernel alone: their looks cost nobody anything."""
REMOTE = frozenset({"gateway", "dns", "internet", "ping", "port", "tls", "http"})
"""The kinds that wait for an answer out of the network, which comes soon or not at all."""
LATE_S, LATE_TIMES = 1.0, 3.0
"""Such an answer is late after so long, and after so many times what it took when all was well. By then the kernel has
sent a lost SYN again: where that one is answered, no examination begins."""
AGAIN_S = 0.2
"""How long a worker may take to put down the look that it has just told of."""


class Wake(NamedTuple):
    """The kernel noticed something."""

    topics: frozenset[str]
    evidence: str


class _Haste(NamedTuple):
    """How often a probe may still be looked at in haste, and since when (Unix time)."""

    left: int
    since: float


class Call(NamedTuple):
    """Somebody wants something: `stop` or `reload`."""

    what: str


class Answer(NamedTuple):
    """What came of something for the centre."""

    pushed: Pushed


News = Look | Late | Findings | Exception | Wake | Call | Delivered | Answer
"""Whatever reaches the main loop: `Exception` is what became of an examination that failed."""


class Lookout:
    """Brings news to the main loop. Its methods are called from that loop's thread; times are monotonic seconds."""

    def __init__(self, known: Knowledge, language: Language, retry: float) -> None:
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.known = known
        self.pool = Pool(self.news.put)
        self.examiner = Examiner(self.news.put, language, retry)
        self.beats = Beats(self._due)
        self.triggers = Triggers(lambda topics, evidence: self.news.put(Wake(topics, evidence)))
        self._hasty: dict[str, _Haste] = {}
        self._haste_at = float("inf")
        self._woken: dict[str, float] = {}
        self._afresh_at = float("-inf")
        self._late: dict[str, float] = {}
        """Of which probes an answer is late, and when that look began."""
        self._lost: set[str] = set()
        """Probes of which an examination left a look behind: until a look of the pool comes back they are spared."""

    def start(self, probes: Sequence[Probe]) -> None:
        """Look at everything once, then at each in its turn."""
        self.triggers.start()  # before the first looks: it learns what is there now
        self.beats.start()
        self.beats.arrange(probes, now_first=True)

    def stop(self, grace: float) -> None:
        """No more looks; those under way have `grace` seconds."""
        self.beats.stop()
        self.triggers.stop()
        self.pool.stop(grace)

    def arrange(self, probes: Sequence[Probe], language: Language, retry: float) -> None:
        """Look after these from now on."""
        self.examiner.language, self.examiner.retry = language, retry
        self.examiner.void()
        self.beats.arrange(probes, now_first=True)
        names = {probe.name for probe in probes}
        self._lost &= names
        self._late = {name: at for name, at in self._late.items() if name in names}
        self._woken = {name: at for name, at in self._woken.items() if name in names}

    def wait(self, now: float) -> float:
        """Seconds until there is something to do."""
        examining = self.examiner.wait(now)
        return max(0.0, min(self._haste_at - now, float("inf") if examining is None else examining))

    def _due(self, names: Sequence[str]) -> None:
        """The turn of these probes has come. Called from the scheduler's thread."""
        probes = [probe for probe in map(self.known.probes.get, names) if probe is not None]
        # Whoever waits for packets comes last: one worker serves all the others, and nobody wakes to help.
        self._ask(*sorted(probes, key=self._took))

    def _took(self, probe: Probe) -> float:
        last = self.known.looks.get(probe.name)
        return 0.0 if last is None else last.duration

    def _ask(self, *probes: Probe) -> None:
        memories = self.known.memories
        self.pool.ask([(each, memories.get(each.name, NOTHING), self._patience(each)) for each in probes])

    def _patience(self, probe: Probe) -> float:
        """Seconds after which a look at this probe is late, if it was well and nobody doubts that."""
        if probe.kind not in REMOTE or probe.role is Role.TERMINAL:  # a terminal may be able to talk to one at a time
            return math.inf
        usual = self.known.usual_s(probe.name)
        patience = math.inf if usual is None else max(LATE_S, LATE_TIMES * usual)
        return patience if patience < probe.timeout else math.inf

    # --- the kernel ---------------------------------------------------------------------------------------------------

    def wake(self, topics: frozenset[str], now: float) -> None:
        """Look at once at what the kernel speaks of, and soon at what may feel it."""
        for probe in concerned(topics, self.known.probes.values()):
            if probe.kind in NEAR:
                self._hasty[probe.name] = _Haste(HASTES, time.time())
                self._ask(probe)
                self._haste_at = min(self._haste_at, now + HASTE_S)
            elif now - self._woken.get(probe.name, float("-inf")) >= BREATH_S:
                self._woken[probe.name] = now
                self.beats.soon(probe.name, 2 * HASTE_S)
        self.examiner.hurry(now)

    def afresh(self, now: float) -> None:
        """The PC has slept, or its clock was set: what was seen before tells little. Look at everything."""
        if now - self._afresh_at < AFRESH_S:
            return
        self._afresh_at = now
        self._ask(*self.known.probes.values())

    def seen(self, found: Look) -> bool:
        """A look was taken in: whether it confirmed what a kernel event told of."""
        name = found.probe.name
        self._late.pop(name, None)
        if name in self.known.suspects:
            self.examiner.doubt(time.monotonic() - found.duration)
        if self._lost and found.observation.reason != OutOfTime.reason:
            self._lost.discard(name)
        if self.known.probes.get(name, found.probe) != found.probe:  # changed while it was looked at: its turn was lost
            self.beats.soon(name, AGAIN_S)
        if name not in self._hasty or name in self.known.suspects or found.checked_at < self._hasty[name].since:
            return False
        del self._hasty[name]
        return True

    def hasten(self, now: float) -> None:
        """Look again at what is not yet confirmed after a kernel event."""
        if now < self._haste_at:
            return
        for name, haste in list(self._hasty.items()):
            probe = self.known.probes.get(name)
            if probe is None or haste.left <= 1:
                del self._hasty[name]
            else:
                self._hasty[name] = haste._replace(left=haste.left - 1)
                self._ask(probe)
        self._haste_at = now + HASTE_S if self._hasty else float("inf")

    # --- suspicion ----------------------------------------------------------------------------------------------------

    def late(self, news: Late) -> None:
        """An answer is late: reason enough to look around, though not yet to count."""
        name, last = news.probe.name, self.known.looks.get(news.probe.name)
        if self.known.probes.get(name) != news.probe or last is None or last.checked_at >= news.began.wall:
            return  # changed, or answered meanwhile
        if not Scene([last], places([last])).is_terminal(last):
            self._late[name] = news.began.at
            self.examiner.doubt(news.began.at)

    def examine(self, now: float, *, ready: bool) -> None:
        """Begin an examination when one is due; `ready`: everything was looked at once."""
        if not self.known.doubtful and not self._late:
            self.examiner.settle()
            return
        if not ready:
            return
        self.examiner.wish(now)
        if self.examiner.wait(now) == 0.0:
            spared = self.pool.hanging() | self._lost
            probes = [p for p in self.known.to_examine(self._late) if p.name not in spared and p.timeout <= LONGEST_S]
            self.examiner.begin(
                probes,
                dict(self.known.memories),
                Recent(
                    self.known.beside(probes),
                    self.known.extra_since(time.time() - FRESH_S),
                    [self.known.looks[probe.name] for probe in probes if probe.name in self.known.looks],
                    frozenset(self._late.keys() | self.known.silent()),
                ),
                now,
            )

    def examined(self, findings: Findings) -> bool:
        """An examination has ended. Whether what it explains is still asked for."""
        lost = {
            found.probe.name for found in findings.looks if found.observation.measurements.get("why") == "left_behind"
        }
        for name in lost - self._lost:  # it may only have been slow, on a PC that is busy: its turn need not be awaited
            self.beats.soon(name, AGAIN_S)
        self._lost |= lost
        return self.examiner.done()

    def problems(self) -> list[str]:
        """What keeps it from looking as it should."""
        parked = [
            f"probe {name} hangs: it was not looked at since {_clock(since)} and is left alone until it comes back"
            for name, since in sorted(self.pool.parked().items())
        ]
        return [*([self.triggers.problem] if self.triggers.problem else []), *parked]


def _clock(since: float) -> str:
    return time.strftime("%H:%M", time.localtime(since))
