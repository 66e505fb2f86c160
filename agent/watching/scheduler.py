"""Does every probe get its turn, whatever the clock does?

APScheduler decides whose turn it is; it knows only the wall clock, and a wall clock jumps: a till that starts in 2000
and learns that it is 2026 would list every run it missed until its memory is full, and one set back by an hour would
stand still for that hour. So every beat here lies on the monotonic clock, and is translated anew when the two drift
apart; between beats the thread sleeps on the monotonic clock and nothing polls.

Probes of the same interval share a job wherever their phases fall into the same slot: 1,000 probes cost 12 jobs,
and one look that follows another at once costs a third of one for which the machine must wake up.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

from agent.watching.bell import Bell
from probes.model import Probe


@contextlib.contextmanager
def _sparing() -> Iterator[None]:
    """Importing APScheduler brings asyncio and process pools along: 3 MB for one function and a default unused here."""
    spared: dict[str, dict[str, object]] = {
        "asyncio": {"iscoroutinefunction": inspect.iscoroutinefunction},
        "apscheduler.executors.pool": {"ThreadPoolExecutor": None},
    }
    stands_in = {name: ModuleType(name) for name in spared if name not in sys.modules}
    for name, module in stands_in.items():
        vars(module).update(spared[name])
    sys.modules.update(stands_in)
    try:
        yield
    finally:
        for name in stands_in:
            del sys.modules[name]


with _sparing():
    from apscheduler.executors.base import BaseExecutor
    from apscheduler.schedulers.base import BaseScheduler
    from apscheduler.triggers.base import BaseTrigger

SLOTS = 12
"""Phases within one interval, at least SLOT_S apart."""
SLOT_S = 1.0
FEW, SOME = 16, 64
"""Up to so many probes of one interval share one phase, or a few: a look that follows another costs half of one that
wakes a till that sleeps."""
CROWD = 4
"""So many times more probes may share the phases they had before a reload."""
JITTER = 0.05
"""Each beat comes up to this part of the interval early or late, so that stores do not knock in step."""
TOO_EARLY = 0.25
"""A beat that comes within this part of the interval is the one that is running now."""
STEP_S = 0.2
"""The wall clock was set, rather than nudged."""


class Beats:
    """Calls `due(names)`, from its own thread, whenever it is the turn of some probes.

    `due` must not take long, nor wait for a thread that calls any of these methods, nor call `arrange`.
    """

    def __init__(self, due: Callable[[Sequence[str]], None]) -> None:
        self._due = due
        self._lock = threading.Lock()
        self._salt = os.urandom(8)  # so that tills with the same probes do not look at the same moment
        self._probes: dict[str, Probe] = {}
        self._slots: dict[str, _Slot] = {}
        self._shared: dict[float, int] = {}
        self._soon: dict[str, float] = {}
        self._scheduler = _StepSafe(timezone=UTC, executors={"default": _Inline()})
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to call `due`. What was arranged before is due from now on."""
        self._scheduler.start()
        self._thread = threading.Thread(target=self._scheduler.run, name="posagent-beats", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; once this returns `due` is called no more."""
        if self._thread is not None:
            self._scheduler.end()
            self._thread.join()
            self._thread = None

    def arrange(self, probes: Sequence[Probe], now_first: bool) -> None:
        """From now on look after these probes and no others. Those already known and unchanged keep their phases.

        `now_first`: the new and the changed ones get a first turn at once, before their own phase comes.
        """
        with self._lock:
            fresh = [probe.name for probe in probes if self._probes.get(probe.name) != probe]
            self._probes = {probe.name: probe for probe in probes}
            self._arrange_slots()
            for name in [name for name in self._soon if name not in self._probes]:
                self._soon.pop(name, None)
        if now_first and fresh:
            at = time.monotonic()
            self._scheduler.put(f"first:{at!r}", _Once(at), self._first, fresh)

    def soon(self, name: str, delay_s: float) -> None:
        """One turn more, `delay_s` from now; an earlier one that was asked for already stands for both."""
        at = time.monotonic() + delay_s
        with self._lock:
            if name not in self._probes or self._soon.get(name, at) < at:
                return
            self._soon[name] = at
        self._scheduler.put(f"soon:{name}:{at!r}", _Once(at), self._once, name, at)

    def every(self, name: str, seconds: float, function: Callable[[], None]) -> None:
        """Also call `function` every `seconds`, first after that time. The same name again replaces it."""
        self._scheduler.put(f"every:{name}", _Every(seconds, time.monotonic(), 0.0), function)

    def next_at(self) -> Mapping[str, float]:
        """When each probe's turn comes next, Unix time."""
        now, wall = time.monotonic(), time.time()
        with self._lock:
            turns = {name: slot.beat.after(now) for slot in self._slots.values() for name in slot.names}
            soon = dict(self._soon)
        return {name: wall + max(0.0, min(at, soon.get(name, at)) - now) for name, at in turns.items()}

    def _arrange_slots(self) -> None:
        members: dict[tuple[float, int, int], list[str]] = {}
        together = Counter(float(probe.interval) for probe in self._probes.values())
        self._shared = {each: _phases(number, self._shared.get(each)) for each, number in together.items()}
        for probe in self._probes.values():
            interval = max(float(probe.interval), 0.001)
            slots = max(1, min(SLOTS, int(interval / SLOT_S), self._shared[float(probe.interval)]))
            place = zlib.crc32(probe.name.encode("utf-8", "replace") + self._salt) % slots
            members.setdefault((interval, place, slots), []).append(probe.name)
        wanted = {f"slot:{interval!r}:{place}": (interval, place / slots) for interval, place, slots in members}
        for name in [name for name in self._slots if name not in wanted]:
            del self._slots[name]
            self._scheduler.drop(name)
        for (name, (interval, phase)), names in zip(wanted.items(), members.values(), strict=True):
            known = self._slots.get(name)
            if known is not None:
                known.names = tuple(names)
                continue
            beat = _Every(interval, interval * phase, JITTER, zlib.crc32(name.encode() + self._salt))
            self._slots[name] = slot = _Slot(beat, tuple(names), self._due)
            self._scheduler.put(name, beat, slot)

    def _first(self, names: list[str]) -> None:
        self._due([name for name in names if name in self._probes])

    def _once(self, name: str, at: float) -> None:
        # No lock: this is called under APScheduler's own, which `arrange` takes while it holds ours.
        if self._soon.get(name) == at:
            self._soon.pop(name, None)
            self._due((name,))


def _phases(probes: int, before: int | None) -> int:
    """How many phases so many probes share. `before`: how many they shared so far, which holds as long as it can, so
    that a reload leaves the phases of what is unchanged alone."""
    if before is not None and probes <= CROWD * {1: FEW, SLOTS // 4: SOME}.get(before, math.inf):
        return before
    return 1 if probes <= FEW else SLOTS // 4 if probes <= SOME else SLOTS


class _Slot:
    """The probes whose turn comes at the same moment."""

    def __init__(self, beat: _Every, names: Iterable[str], due: Callable[[Sequence[str]], None]) -> None:
        self.beat, self.names, self.due = beat, tuple(names), due

    def __call__(self) -> None:
        self.due(self.names)


class _Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """A beat every `interval` seconds of the monotonic clock, `phase` after its zero."""

    __slots__ = ("interval", "jitter", "key", "phase")

    def __init__(self, interval: float, phase: float, jitter: float, key: int = 0) -> None:
        self.interval, self.phase, self.jitter, self.key = interval, phase, jitter * interval, key

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Translated to the wall clock's `now`. Beats that were missed are gone: the next one lies always ahead."""
        here = time.monotonic()
        early = 0.0 if previous is None else TOO_EARLY * self.interval
        return now + timedelta(seconds=self.after(here, early) - here)

    def after(self, here: float, at_least: float = 0.0) -> float:
        """The monotonic instant of the first beat more than `at_least` seconds from `here`."""
        number = int((here - self.phase) // self.interval)
        while (at := self._beat(number)) <= here + at_least:
            number += 1
        return at

    def _beat(self, number: int) -> float:
        part = zlib.crc32(number.to_bytes(8, "big", signed=True), self.key) / 0x80000000 - 1  # -1..1
        return self.phase + number * self.interval + part * self.jitter


class _Once(BaseTrigger):  # type: ignore[misc]  # as above
    """One beat at one monotonic instant."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """Once; a moment that is over already is now."""
        return None if previous is not None else now + timedelta(seconds=max(0.0, self.at - time.monotonic()))

    def after(self, _here: float) -> float:
        """Whenever one asks: the one instant."""
        return self.at


class _Inline(BaseExecutor):  # type: ignore[misc]  # as above
    """Runs a job in the scheduler's own thread: all that ours do is to put a name into a queue."""

    def submit_job(self, job: Any, run_times: list[datetime]) -> None:
        """At once. What it raises, the scheduler logs, and goes on."""
        job.func(*job.args)

    _do_submit_job = submit_job


class _StepSafe(BaseScheduler):  # type: ignore[misc]  # as above
    """A scheduler that notices when the wall clock was set, before it looks which jobs are due."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._bell = Bell()
        self._ends = False
        self._passed = time.monotonic()
        self._offset = time.time() - self._passed

    def put(self, name: str, trigger: BaseTrigger, function: Callable[..., None], *args: object) -> None:
        """Add a job, or replace the one of that name."""
        self.add_job(function, trigger, args, id=name, replace_existing=True, misfire_grace_time=None)

    def drop(self, name: str) -> None:
        """Remove a job, if it is there still."""
        if self.get_job(name) is not None:
            self.remove_job(name)

    def run(self) -> None:
        """The thread's whole life. It ends itself: a scheduler that is shut down while it looks at jobs stumbles."""
        while not self._ends:
            wait = self._process_jobs()
            if not self._ends:
                self._bell.wait(math.inf if wait is None else wait)
        self.shutdown()

    def end(self) -> None:
        """Let `run` end."""
        self._ends = True
        self.wakeup()

    def shutdown(self, wait: bool = False) -> None:
        """Whoever calls this is in no job, and no job runs elsewhere."""
        super().shutdown(wait)

    def wakeup(self) -> None:
        """Something was added or changed: look again."""
        self._bell.ring()

    def _process_jobs(self) -> float | None:
        if self._was_set():
            self._arm_anew()
        self._passed = time.monotonic()
        seconds: float | None = super()._process_jobs()
        return 0.0 if self._was_set() else seconds  # set meanwhile: these seconds may be years

    def _was_set(self) -> bool:
        return abs(time.time() - time.monotonic() - self._offset) > STEP_S

    def _arm_anew(self) -> None:
        """Every job's next beat after those that were served, as the wall clock now calls that moment."""
        self._offset = time.time() - time.monotonic()
        with self._jobstores_lock:
            for job in self.get_jobs():
                ahead = job.trigger.after(self._passed) - time.monotonic()
                job.modify(next_run_time=datetime.now(UTC) + timedelta(seconds=ahead))
