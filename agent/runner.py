"""Did every probe answer in its time, whatever it did?

The one place that runs, times, catches and cleans: a probe that hangs is left behind in its daemon thread and counted,
one that raises anything is `unknown`, and nothing with card data in it becomes an observation.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from probes import registry
from probes.host import Host
from probes.model import CannotAnswer, Denied, Measurement, Memory, Observation, OutOfTime, Probe, Status
from probes.redact import scrub

AT_ONCE = 128
"""Probes looking at the same moment: threads are cheap, but a till's memory is small."""
GRACE_S = 0.15
"""How long past its deadline a probe may take to say so itself before it is given up."""
PULSE_S = 0.25
NOTHING: Memory = {}
TOO_LARGE = 2**63
"""From here on a number is told as text: a reader of JSON would round it or refuse it."""
WORD, WORDS = 40, 1024
"""So many words of such a length, found to be without card data, need no second look: most texts are keys and names."""
_known: set[str] = set()
_SCALARS = frozenset((bool, int, float, str, type(None)))


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
    return Look(probe, observation, checked_at, time.monotonic() - began)


def look_at_all(
    probes: Sequence[Probe],
    memories: Mapping[str, Memory],
    timeout: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Look]:
    """Look at all probes at once and yield each answer as it comes, every probe exactly once.

    `timeout` (seconds) bounds the whole run; `stop` is asked after each answer and every PULSE_S, and ends it early.
    Never raises for what a probe does, never waits for one that overran.
    """
    run = _Run(probes, memories, timeout)
    run.start()
    return run.answers(stop)


def _observe(probe: Probe, memory: Memory, ends: float) -> Observation:
    began = time.monotonic()
    try:
        kind = registry.find(probe.kind)
        reading = kind.read(probe.settings, Host(ends=ends))
        return _clean(kind.judge(probe.settings, reading, memory))
    except CannotAnswer as error:
        cause = error
    except PermissionError as error:
        cause = _denied(error, probe)
    except TimeoutError as error:
        cause = OutOfTime(str(error) or "timed out")
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a third party's may raise anything; none stops the others
        cause = _crash(error)
    return _clean(_unanswered(cause, probe, ends - began))


def _denied(error: PermissionError, probe: Probe) -> Denied:
    path = str(error.filename or probe.target)
    if error.errno is not None and error.strerror == os.strerror(error.errno):
        return Denied(f"Permission denied: {path}", why="not_permitted", path=path)
    return Denied(f"{error.strerror}: {path}" if error.strerror else str(error))


def _crash(error: BaseException) -> CannotAnswer:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return CannotAnswer(f"{type(error).__name__}: {error}{where}")


def _unanswered(error: CannotAnswer, probe: Probe, allowed: float = float("inf")) -> Observation:
    """`allowed` seconds it had, where the whole run gave it less than its own time."""
    timeout = min(float(probe.timeout), round(max(allowed, 0.0), 3))
    facts: dict[str, Measurement] = {
        key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in error.because.items()
    }
    facts["timeout_s"] = timeout
    return Observation(status=error.status, reason=error.reason, detail=str(error), measurements=facts)


def _clean(observation: Observation) -> Observation:
    """The last gate: against card data that a kind did not scrub, and against what no report could hold.

    Raises TypeError or ValueError for what only looks like an observation.
    """
    seen = observation
    if not _is_plain(seen):
        seen = msgspec.convert(msgspec.to_builtins(observation), Observation)
        json.dumps(seen.memory)
    return Observation(
        status=seen.status,
        reason=seen.reason,
        measurements={_text(key): _clean_value(value) for key, value in seen.measurements.items()},
        evidence=tuple([_text(line) for line in seen.evidence]),
        memory=seen.memory,
        detail=_text(seen.detail),
    )


def _is_plain(seen: Observation) -> bool:
    """Exactly an observation, of exactly the types that JSON has, so that it need not be taken apart to make sure."""
    return (
        type(seen) is Observation
        and type(seen.status) is Status
        and type(seen.reason) is str
        and type(seen.detail) is str
        and type(seen.evidence) is tuple
        and type(seen.measurements) is dict
        and type(seen.memory) is dict
        and not seen.memory
        and all(type(line) is str for line in seen.evidence)
        and all(type(key) is str and type(value) in _SCALARS for key, value in seen.measurements.items())
    )


def _clean_value(value: Measurement) -> Measurement:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [_text(item) for item in value]
    if isinstance(value, int) and abs(value) >= TOO_LARGE:
        return _text(str(value))
    return value


def _text(text: str) -> str:
    """Without card data, and with the bytes of a strange file name that are no letters replaced: JSON takes none."""
    if not text or text in _known:
        return text
    clean = scrub(text if text.isascii() else text.encode("utf-8", "replace").decode())
    if clean == text and len(text) <= WORD and len(_known) < WORDS:
        _known.add(text)
    return clean


class Began(NamedTuple):
    """When a look began: monotonic instant, monotonic deadline, Unix time."""

    at: float
    ends: float
    wall: float


def left_behind(probe: Probe, began: Began, cause: OutOfTime | None = None) -> Look:
    """The look of a probe whose time is over and that has not come back."""
    cause = cause or OutOfTime("it hangs and was left behind", why="left_behind")
    return Look(probe, _unanswered(cause, probe, began.ends - began.at), began.wall, time.monotonic() - began.at)


def not_begun(probe: Probe, cause: CannotAnswer) -> Look:
    """The look of a probe that was not even begun."""
    return Look(probe, _unanswered(cause, probe), time.time(), 0.0)


def without_thread(refusal: str) -> CannotAnswer:
    """Why nobody looks: the system refused a thread."""
    return CannotAnswer(
        f"cannot start the look: {refusal}; is this user's process limit reached?", why="cannot_start", refusal=refusal
    )


class _Run:
    """One round over all probes. Workers take probes from a queue; one that overruns is replaced by a new worker."""

    def __init__(self, probes: Sequence[Probe], memories: Mapping[str, Memory], timeout: float | None) -> None:
        self.waiting = deque(probes)
        self.memories = memories
        self.run_ends = time.monotonic() + timeout if timeout is not None else float("inf")
        self.started: dict[str, Began] = {}
        self.left_behind: set[str] = set()
        self.done: queue.SimpleQueue[Look] = queue.SimpleQueue()
        self.owed = {probe.name: probe for probe in probes}
        self.workers = 0
        self.refusal = ""

    def start(self) -> None:
        """Set everybody to work; the caller may do other things before it asks for answers."""
        for _ in range(min(AT_ONCE, len(self.owed))):
            self._hire()

    def answers(self, stop: Callable[[], bool]) -> Iterator[Look]:
        """Each probe's look once, as it comes."""
        while self.owed and not stop():
            with contextlib.suppress(queue.Empty):
                found = self.done.get(timeout=self._patience())
                if self.owed.pop(found.probe.name, None):
                    yield found
                continue
            yield from self._overdue()
            if not self.workers:
                yield from self._unstarted()

    def _hire(self) -> None:
        try:
            threading.Thread(target=self._work, name="posagent-probe", daemon=True).start()
        except RuntimeError as error:  # a limit on processes: whoever is at work goes on alone
            self.refusal = str(error)
        else:
            self.workers += 1

    def _unstarted(self) -> Iterator[Look]:
        """Those that nobody is left to look at, because the system refuses a thread."""
        while self.waiting:
            probe = self.waiting.popleft()
            if self.owed.pop(probe.name, None):
                yield not_begun(probe, without_thread(self.refusal))

    def _work(self) -> None:
        while True:
            try:
                probe = self.waiting.popleft()
            except IndexError:
                return
            began = Began(time.monotonic(), min(time.monotonic() + probe.timeout, self.run_ends), time.time())
            self.started[probe.name] = began
            self.done.put(look(probe, self.memories.get(probe.name, NOTHING), began.ends))
            if probe.name in self.left_behind:  # somebody else was hired in this one's place
                return

    def _patience(self) -> float:
        ends = [self.started[name].ends for name in self.owed if name in self.started]
        soonest = min([*ends, self.run_ends], default=self.run_ends)
        return max(0.0, min(soonest + GRACE_S - time.monotonic(), PULSE_S))

    def _overdue(self) -> Iterator[Look]:
        now = time.monotonic()
        for name, probe in list(self.owed.items()):
            began = self.started.get(name, Began(now, self.run_ends, time.time()))
            if began.ends + GRACE_S > now:
                continue
            del self.owed[name]
            if name not in self.started:
                yield left_behind(probe, began, OutOfTime("the time for the whole run was over", why="run_over"))
                continue
            self.left_behind.add(name)
            self.workers -= 1
            self._hire()
            yield left_behind(probe, began)


def not_awaited(probe: Probe, cause: str) -> Look:
    """The look of a probe that nobody waited for, because `cause` explains already what it would see."""
    return not_begun(probe, OutOfTime(f"not waited for, {cause} explains it", why="not_awaited", explained_by=cause))
