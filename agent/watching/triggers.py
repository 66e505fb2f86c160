"""What did the kernel just notice, and whose business is it?

A thread that sleeps until a plug, a cable, an address or a route changes, and then says so once per burst. Idle it
costs nothing at all; in a flood it reads every BREATH_S and speaks every APART_S at most.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from probes.host import events
from probes.host.events import OVERRUN, TOPICS, Event, Source
from probes.model import NetworkSettings, Probe
from probes.redact import scrub

__all__ = ["TOPICS", "Triggers", "concerned"]

Wake = Callable[[frozenset[str], str], None]
SOURCES: Final[Sequence[Callable[[], Source]]] = (events.Devices, events.Network)
QUIET_S = 0.05
"""How long a first event waits for its companions: one plug is a dozen events, one cable five."""
APART_S = 0.2
BREATH_S = 0.02
MANY = 64
"""Messages in one go that make it a flood, whatever they are about: then they are left to gather for BREATH_S."""

NETWORK = frozenset({"link", "address", "route"})
FIRST: Final[Mapping[str, frozenset[str]]] = {
    "usb": frozenset({"usb", "serial"}),
    "tty": frozenset({"usb", "serial"}),
    "power_supply": frozenset({"power"}),
    **dict.fromkeys(NETWORK, frozenset({"interface", "gateway"})),
}
"""The kinds that look at the very thing that changed."""
THEN: Final[Mapping[str, frozenset[str]]] = {"usb": frozenset({"ups"}), "power_supply": frozenset({"ups"})}
"""The kinds that may feel it; after a change of the network that is every kind that speaks to another host."""


def concerned(topics: Collection[str], probes: Iterable[Probe]) -> list[Probe]:
    """The probes an event wakes: first those that look at the thing itself, then those that may feel it."""
    near = frozenset().union(*(FIRST.get(topic, frozenset()) for topic in topics))
    far = frozenset().union(*(THEN.get(topic, frozenset()) for topic in topics))
    network = not NETWORK.isdisjoint(topics)
    first, then = [], []
    for probe in probes:
        if probe.kind in near:
            first.append(probe)
        elif probe.kind in far or (network and isinstance(probe.settings, NetworkSettings)):
            then.append(probe)
    return first + then


class Debounce:
    """When is it time to speak, and of what? Pure: the time (monotonic) is handed in."""

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._evidence = ""
        self._others = 0
        self._due: float | None = None
        self._spoke = float("-inf")

    def note(self, seen: Sequence[Event], now: float) -> None:
        """Something changed; the first of a burst sets the time and is the one that is quoted."""
        if not seen:
            return
        if self._due is None:
            self._due = max(now + QUIET_S, self._spoke + APART_S)
            self._evidence = OVERRUN if seen[0].what == OVERRUN else f"{seen[0].topic}: {seen[0].what}"
            self._others = -1
        self._others += len(seen)
        self._topics.update(event.topic for event in seen)

    def wait(self, now: float) -> float | None:
        """Seconds until there is something to say; None when there is nothing."""
        return None if self._due is None else max(0.0, self._due - now)

    def take(self, now: float) -> tuple[frozenset[str], str] | None:
        """What to say now, once."""
        if self._due is None or now < self._due:
            return None
        others = f" (and {self._others} more)" if self._others and self._evidence != OVERRUN else ""
        said = frozenset(self._topics), scrub(self._evidence) + others
        self._topics.clear()
        self._due, self._spoke = None, now
        return said


class Triggers:
    """Calls `wake(topics, evidence)`, from its own thread, within 100 ms of the first event of a burst."""

    def __init__(self, wake: Wake, sources: Sequence[Callable[[], Source]] = SOURCES) -> None:
        self._wake = wake
        self._openers = sources
        self._open: dict[int, Source] = {}
        self._refusals: list[str] = []
        self._debounce = Debounce()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="triggers", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why not everything is watched, for people; None when all is."""
        if not self._refusals:
            return None
        return f"cannot watch kernel events: {', '.join(self._refusals)}; posagent looks at its usual intervals instead"

    def start(self) -> None:
        """Open the sockets and begin. What is refused is told in `problem`; never raises for it."""
        for opener in self._openers:
            try:
                source = opener()
            except OSError as error:
                self._refused(error)
            else:
                self._open[source.fileno()] = source
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the sockets. A second call does nothing."""
        if self._bell < 0:
            return
        if self._thread.is_alive():
            os.eventfd_write(self._bell, 1)
            self._thread.join(2)
        if self._thread.is_alive():  # caught in `wake`: its sockets are left to it
            return
        os.close(self._bell)
        self._bell = -1
        for source in self._open.values():
            source.close()

    def _run(self) -> None:
        rest: float | None = None
        while not self._rung(rest):
            count = self._read()
            now = time.monotonic()
            if (said := self._debounce.take(now)) is not None:
                self._wake(*said)
            rest = self._debounce.wait(now)
            if rest is None and count >= MANY:
                rest = BREATH_S

    def _rung(self, rest: float | None) -> bool:
        """Sleep: `rest` seconds whatever comes, or else until something comes. Whether it is time to stop."""
        poller = select.poll()
        poller.register(self._bell, select.POLLIN)
        if rest is None:
            for number in self._open:
                poller.register(number, select.POLLIN)
        ready = poller.poll(None if rest is None else rest * 1000)
        return any(number == self._bell for number, _ in ready)

    def _read(self) -> int:
        total = 0
        for number, source in list(self._open.items()):
            try:
                seen, count = source.take()
            except OSError as error:
                del self._open[number]
                source.close()
                self._refused(error)
                continue
            self._debounce.note(seen, time.monotonic())
            total += count
        return total

    def _refused(self, error: OSError) -> None:
        why = error.strerror or str(error)
        if why not in self._refusals:
            self._refusals = [*self._refusals, why]
