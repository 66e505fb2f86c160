"""Can a probe that hangs stop the others? Never.

Looks are taken by a few workers; more are woken or hired as soon as those at work stand still, and idle ones leave. A
look that is unusually late is told of while it still waits. One that overruns is answered for, and its worker is left
behind: Python cannot end a thread. So hung ones are
counted: a probe that hangs twice in a row is parked until its thread ends by itself, and so is one that hangs once
while many others do. A parked probe still answers each time that it is asked: with `probe.timeout`, at once.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from agent import runner
from agent.runner import Began, Look
from agent.watching.bell import Bell
from probes.model import CannotAnswer, Memory, OutOfTime, Probe

BRISK = 1
"""Workers that take looks as they come. More would only wait for one another: Python runs one at a time."""
STALL_S = 0.02
"""A worker that is at one look for longer than this waits for something; somebody else takes the next look."""
FEW, IDLE_S = 4, 30.0
"""So many workers stay, whoever else had nothing to do for this long leaves."""
TWICE = 2
MANY_HUNG, MOST_HUNG = 32, 64
"""From the first on nobody may hang a second time, from the second on no look is begun until one of them ended."""


class Late(NamedTuple):
    """A look that is still under way though it usually takes far less time."""

    probe: Probe
    began: Began


class Pool:
    """Takes looks and gives each to `report`, which is called from many threads and must return at once."""

    def __init__(self, report: Callable[[Look | Late], None], most: int = 64) -> None:
        self._report, self._most = report, most
        self._lock = threading.Lock()
        self._waiting: deque[_Ask] = deque()
        self._owed: set[str] = set()
        self._running: dict[str, _Ask] = {}
        self._idle: list[_Worker] = []
        self._workers = 0
        self._taken = 0
        self._help = 1
        self._hung: Counter[str] = Counter()
        self._overran: Counter[str] = Counter()
        self._parked: dict[str, float] = {}
        self._missed: dict[str, _Ask] = {}
        self._stopping = False
        self._quiet = threading.Event()
        self._least_idle = 0
        self._review_at = math.inf
        self._alarm = math.inf
        self._bell = Bell()
        self._guard = threading.Thread(target=self._watch_over, name="posagent-pool", daemon=True)

    def ask(self, wanted: Iterable[tuple[Probe, Memory, float]]) -> int:
        """Look at these probes soon; workers wake when all are known. Returns how many of them are looked at.

        Nothing happens to one while an earlier look at it is due or under way. The number that each comes with are its
        seconds without an answer after which it is reported `Late`, once.
        """
        refused: list[tuple[_Ask, CannotAnswer]] = []
        with self._lock:
            if self._stopping:
                return 0
            fresh = list({each[0].name: _Ask(*each) for each in wanted if each[0].name not in self._owed}.values())
            causes = [(one, self._refusal(one)) for one in fresh]
            admitted = [one for one, cause in causes if cause is None]
            refused += [(one, cause) for one, cause in causes if cause is not None]
            refusal = self._admit(admitted) if admitted else None
            if refusal is not None:
                refused += [(one, refusal) for one in admitted]
        for one, cause in refused:
            self._report(runner.not_begun(one.probe, cause))
        return len(fresh)

    def parked(self) -> dict[str, float]:
        """The probes that hang and are not begun anew, and since when: Unix time."""
        with self._lock:
            return dict(self._parked)

    def hanging(self) -> frozenset[str]:
        """The probes of which a look was left behind that has not ended: whoever begins another may lose it too."""
        with self._lock:
            return frozenset(self._hung)

    def stop(self, grace: float) -> None:
        """Begin no look any more, give those under way `grace` seconds, then report no more. Waits for no hung one."""
        with self._lock:
            self._stopping = True
            self._waiting.clear()
            self._dismiss(len(self._idle))
            if not self._running:
                self._quiet.set()
        self._quiet.wait(max(0.0, grace))
        with self._lock:
            for one in self._running.values():
                one.over = True
            self._running.clear()
        self._bell.ring()

    # What follows is called with the lock held, unless it says otherwise.

    def _refusal(self, one: _Ask) -> CannotAnswer | None:
        name, hanging = one.probe.name, self._hung.total()
        if name in self._hung and hanging >= MANY_HUNG:
            self._parked.setdefault(name, time.time())
        if name in self._parked:
            self._missed[name] = one
            return OutOfTime("an earlier look hangs still; the next one comes as soon as that ends", why="parked")
        if hanging < MOST_HUNG:
            return None
        return OutOfTime(f"not begun, because {hanging} looks hang already", why="too_many_hang", hanging=hanging)

    def _admit(self, every: Sequence[_Ask]) -> CannotAnswer | None:
        if self._guard.ident is None:
            try:
                self._guard.start()
            except RuntimeError as error:
                self._guard = threading.Thread(target=self._watch_over, name="posagent-pool", daemon=True)
                return runner.without_thread(str(error))
        asked, roused = every[0].asked, False
        if self._brisk(asked) < BRISK:
            refusal, roused = self._rouse(), True
            if refusal and not self._workers:
                return runner.without_thread(refusal)
        self._owed.update(one.probe.name for one in every)
        self._waiting.extend(every)
        if len(every) > 1 or not roused:
            self._expect(asked + STALL_S)
        return None

    def _brisk(self, now: float) -> int:
        """Workers who will soon take the next look: awake, and not at one look for long."""
        slow = sum(one.began.at < now - STALL_S for one in self._running.values())
        return self._workers - len(self._idle) - slow

    def _rouse(self) -> str:
        """One worker more. Returns the system's words when it refuses a thread."""
        if self._idle:
            self._idle.pop().gate.release()
            self._least_idle = min(self._least_idle, len(self._idle))
        elif self._workers < self._most:
            try:
                threading.Thread(target=self._work, args=(_Worker(),), name="posagent-probe", daemon=True).start()
            except RuntimeError as error:  # a limit on processes: whoever is at work goes on alone
                return str(error)
            self._workers += 1
            if self._workers > FEW and self._review_at == math.inf:
                self._least_idle, self._review_at = 0, time.monotonic() + IDLE_S
                self._expect(self._review_at)
        return ""

    def _dismiss(self, number: int) -> None:
        for worker in self._idle[:number]:  # those that had nothing to do for longest
            worker.leaves = True
            worker.gate.release()
            self._workers -= 1
        del self._idle[:number]

    def _work(self, worker: _Worker) -> None:
        """One worker's life. Takes the lock itself."""
        one: _Ask | None = None
        while (one := self._next(worker, one)) is not None:
            found = runner.look(one.probe, one.memory, one.began.ends)
            with self._lock:
                if one.over:
                    self._came_back(one)
                    return
                one.done = True
                if self._overran:
                    self._overran.pop(one.probe.name, None)
            self._report(found)

    def _next(self, worker: _Worker, before: _Ask | None) -> _Ask | None:
        """The next look to take; sleeps until there is one. None: leave. Takes the lock itself."""
        while True:
            with self._lock:
                if before is not None:
                    self._settle(before)
                    before = None
                if self._stopping or worker.leaves:
                    return None
                if self._waiting:
                    return self._begin(self._waiting.popleft())
                self._idle.append(worker)
            worker.gate.acquire()

    def _begin(self, one: _Ask) -> _Ask:
        now = time.monotonic()
        one.began = Began(now, now + one.probe.timeout, time.time())
        self._running[one.probe.name] = one
        one.late_at = now + one.patience
        self._taken += 1
        self._expect(one.alarm())
        return one

    def _settle(self, one: _Ask) -> None:
        if self._running.pop(one.probe.name, None) is not None:
            self._owed.discard(one.probe.name)
        if self._stopping and not self._running:
            self._quiet.set()

    def _came_back(self, one: _Ask) -> None:
        """A look that was left behind ended after all: its probe may be looked at again, and is if it was asked for."""
        name = one.probe.name
        self._hung[name] -= 1
        if self._hung[name] <= 0:
            del self._hung[name]
            self._overran.pop(name, None)
            self._parked.pop(name, None)
            missed = self._missed.pop(name, None)
            if missed is not None and not self._stopping:
                self._admit([_Ask(missed.probe, missed.memory)])

    def _give_up(self, one: _Ask) -> None:
        name = one.probe.name
        one.over = True
        del self._running[name]
        self._owed.discard(name)
        self._workers -= 1
        self._hung[name] += 1
        self._overran[name] += 1
        if self._overran[name] >= TWICE:
            self._parked.setdefault(name, time.time())

    def _overdue(self, now: float) -> list[_Ask]:
        late = [one for one in self._running.values() if not one.done and one.began.ends + runner.GRACE_S <= now]
        for one in late:
            self._give_up(one)
        return late

    def _late(self, now: float) -> list[Late]:
        late = [one for one in self._running.values() if not one.done and one.late_at <= now]
        for one in late:
            one.late_at = math.inf
        return [Late(one.probe, one.began) for one in late]

    def _relieve(self, now: float) -> Iterator[Look]:
        """Where those at work stand still one comes to help, then two, four, until there is nothing left to begin."""
        taken, self._taken = self._taken, 0
        if not self._waiting:
            self._help = 1
        if not self._waiting or self._waiting[0].asked + STALL_S > now or taken > self._brisk(now) > 0:
            return
        refusal = ""
        for _ in range(min(len(self._waiting), self._help)):
            refusal = refusal or self._rouse()
        self._help *= 2
        while refusal and not self._workers and self._waiting:
            one = self._waiting.popleft()
            self._owed.discard(one.probe.name)
            yield runner.not_begun(one.probe, runner.without_thread(refusal))

    def _review(self, now: float) -> None:
        """Who had nothing to do since the last review leaves."""
        if now < self._review_at:
            return
        self._dismiss(max(0, min(self._least_idle, self._workers - FEW)))
        self._least_idle = len(self._idle)
        self._review_at = now + IDLE_S if self._workers > FEW else math.inf

    def _next_alarm(self, now: float) -> float:
        alarms = [one.alarm() for one in self._running.values() if not one.done]
        if self._waiting:
            alarms.append(now + STALL_S)
        return min([*alarms, self._review_at])

    def _expect(self, at: float) -> None:
        """The guard is to be awake by then."""
        if at < self._alarm:
            self._alarm = at
            self._bell.ring()

    def _watch_over(self) -> None:
        """The guard's life: it sleeps until the first deadline of those under way. Takes the lock itself."""
        while True:
            now = time.monotonic()
            with self._lock:
                if self._stopping and not self._running:
                    return
                news: list[Look | Late] = [*self._late(now)]
                news += [runner.left_behind(one.probe, one.began) for one in self._overdue(now)]
                news += self._relieve(now)
                self._review(now)
                self._alarm = self._next_alarm(now)
            for each in news:
                self._report(each)
            self._bell.wait(self._alarm - time.monotonic())


class _Ask:
    """One look that is wanted. `done`: it was answered; `over`: somebody else answered for it."""

    __slots__ = ("asked", "began", "done", "late_at", "memory", "over", "patience", "probe")

    def __init__(self, probe: Probe, memory: Memory, patience: float = math.inf) -> None:
        self.probe, self.memory, self.patience = probe, memory, patience
        self.asked = time.monotonic()
        self.began = Began(math.inf, math.inf, 0.0)
        self.late_at = math.inf
        self.done = self.over = False

    def alarm(self) -> float:
        """When it is to be told of, answered or not."""
        return min(self.late_at, self.began.ends + runner.GRACE_S)


class _Worker:
    """One thread. It sleeps at its gate."""

    __slots__ = ("gate", "leaves")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.leaves = False
