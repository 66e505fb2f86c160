"""Did every probe answer in its time, whatever it did?

The one place that runs, times, catches and cleans: a probe that hangs is left behind in its daemon thread and counted,
one that raises anything is `unknown`, and nothing with card data in it becomes an observation.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from probes import registry
from probes.host import Host
from probes.model import CannotAnswer, Denied, Measurement, Memory, Observation, OutOfTime, Probe
from probes.redact import scrub

AT_ONCE = 128
"""Probes looking at the same moment: threads are cheap, but a till's memory is small."""
GRACE_S = 0.15
"""How long past its deadline a probe may take to say so itself before it is given up."""
NOTHING: Memory = {}


@dataclass(frozen=True)
class Look:
    """One finished look: what was seen, when (Unix time) and how long it took (seconds)."""

    probe: Probe
    observation: Observation
    checked_at: float
    duration: float


def look(probe: Probe, memory: Memory, ends: float) -> Look:
    """Look once, in this thread. `ends` is the monotonic instant by which the probe must have answered."""
    checked_at, began = time.time(), time.monotonic()
    observation = _observe(probe, memory, ends)
    return Look(probe, _clean(observation), checked_at, time.monotonic() - began)


def look_at_all(
    probes: Sequence[Probe], memories: Mapping[str, Memory], timeout: float | None = None
) -> Iterator[Look]:
    """Look at all probes at once and yield each answer as it comes, every probe exactly once.

    `timeout` (seconds) bounds the whole run. Never raises for what a probe does, never waits for one that overran.
    """
    run = _Run(probes, memories, timeout)
    run.start()
    return run.answers()


def _observe(probe: Probe, memory: Memory, ends: float) -> Observation:
    try:
        kind = registry.find(probe.kind)
        reading = kind.read(probe.settings, Host(ends=ends))
        return kind.judge(probe.settings, reading, memory)
    except CannotAnswer as error:
        return _unanswered(error, probe)
    except PermissionError as error:
        return _unanswered(Denied(f"{error.strerror}: {error.filename or probe.target}"), probe)
    except TimeoutError as error:
        return _unanswered(OutOfTime(str(error) or "timed out"), probe)
    except Exception as error:  # noqa: BLE001 -- a probe of a third party may raise anything; none may stop the others
        return _unanswered(_crash(error), probe)


def _crash(error: Exception) -> CannotAnswer:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return CannotAnswer(f"{type(error).__name__}: {error}{where}")


def _unanswered(error: CannotAnswer, probe: Probe) -> Observation:
    detail = str(error)
    facts: dict[str, Measurement] = {"detail": detail, "timeout_s": float(probe.timeout)}
    return Observation(status=error.status, reason=error.reason, detail=detail, measurements=facts)


def _clean(observation: Observation) -> Observation:
    """The last gate against card data, for kinds that did not scrub what they read."""
    return msgspec.structs.replace(
        observation,
        measurements={key: _clean_value(value) for key, value in observation.measurements.items()},
        evidence=tuple(scrub(line) for line in observation.evidence),
        detail=scrub(observation.detail),
    )


def _clean_value(value: Measurement) -> Measurement:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [scrub(str(item)) for item in value]
    return value


class _Started(NamedTuple):
    """When a probe began: monotonic instant, monotonic deadline, Unix time."""

    at: float
    ends: float
    wall: float


class _Run:
    """One round over all probes. Workers take probes from a queue; one that overruns is replaced by a new worker."""

    def __init__(self, probes: Sequence[Probe], memories: Mapping[str, Memory], timeout: float | None) -> None:
        self.waiting = deque(probes)
        self.memories = memories
        self.run_ends = time.monotonic() + timeout if timeout is not None else float("inf")
        self.started: dict[str, _Started] = {}
        self.left_behind: set[str] = set()
        self.done: queue.SimpleQueue[Look] = queue.SimpleQueue()
        self.owed = {probe.name: probe for probe in probes}

    def start(self) -> None:
        """Set everybody to work; the caller may do other things before it asks for answers."""
        for _ in range(min(AT_ONCE, len(self.owed))):
            self._hire()

    def answers(self) -> Iterator[Look]:
        """Each probe's look once, as it comes."""
        while self.owed:
            with contextlib.suppress(queue.Empty):
                found = self.done.get(timeout=self._patience())
                if self.owed.pop(found.probe.name, None):
                    yield found
                continue
            yield from self._overdue()

    def _hire(self) -> None:
        threading.Thread(target=self._work, name="posagent-probe", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                probe = self.waiting.popleft()
            except IndexError:
                return
            began = _Started(time.monotonic(), min(time.monotonic() + probe.timeout, self.run_ends), time.time())
            self.started[probe.name] = began
            self.done.put(look(probe, self.memories.get(probe.name, NOTHING), began.ends))
            if probe.name in self.left_behind:  # somebody else was hired in this one's place
                return

    def _patience(self) -> float:
        ends = [self.started[name].ends for name in self.owed if name in self.started]
        soonest = min([*ends, self.run_ends], default=self.run_ends)
        return max(0.0, min(soonest + GRACE_S - time.monotonic(), 1.0))

    def _overdue(self) -> Iterator[Look]:
        now = time.monotonic()
        for name, probe in list(self.owed.items()):
            began = self.started.get(name, _Started(now, self.run_ends, time.time()))
            if began.ends + GRACE_S > now:
                continue
            del self.owed[name]
            text = "the time for the whole run was over"
            if name in self.started:
                text = "it hangs and was left behind"
                self.left_behind.add(name)
                self._hire()
            yield Look(probe, _unanswered(OutOfTime(text), probe), began.wall, now - began.at)


def not_awaited(probe: Probe, cause: str) -> Look:
    """The look of a probe that nobody waited for, because `cause` explains already what it would see."""
    seen = _unanswered(OutOfTime(f"not waited for, {cause} explains it"), probe)
    seen.measurements["explained_by"] = cause
    return Look(probe, seen, time.time(), 0.0)
