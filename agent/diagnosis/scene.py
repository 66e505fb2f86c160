"""What is known at this moment, and what is still unexplained? The rules ask here and take what they explain."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.diagnosis.model import Against, Clue, Confidence, Diagnosis, Place
from agent.runner import Look
from probes.model import Role, Status

NETWORK = frozenset({"gateway", "dns", "internet", "ping", "port", "tls", "http", "clock", "ups", "version"})
CONNECTING = ("port", "tls", "http")
SILENCE = frozenset(
    {
        *("port.timeout", "port.no_route", "port.rejected", "port.unresolved", "port.slow"),
        *("tls.handshake_timeout", "tls.closed", "http.timeout", "http.slow"),
        *("dns.timeout", "dns.servfail", "dns.refused", "dns.slow", "dns.no_resolver", "dns.no_address"),
        *("clock.no_reply", "clock.unsynchronised", "clock.bad_server"),
        *("ping.no_reply", "ping.loss", "ping.slow", "ping.jitter", "ping.unreachable", "ping.unresolved"),
        *("internet.unreachable", "internet.partial", "gateway.no_route", "gateway.no_reply", "gateway.loss"),
        *("gateway.slow", "ups.unreachable", "version.manifest_unreachable", "version.unreadable"),
    }
)
"""What a broken network does to whoever looks through it. A refusal or a certificate comes from somebody alive."""
DEGRADED = frozenset(
    {
        *("gateway.loss", "gateway.slow", "ping.loss", "ping.slow", "ping.jitter", "port.slow", "port.timeout"),
        *("http.slow", "http.timeout", "dns.slow", "dns.timeout", "tls.handshake_timeout", "internet.partial"),
        "internet.unreachable",
        *("clock.no_reply", "ping.no_reply", "port.unresolved"),
    }
)
"""What loss and delay do."""
PRESENT = ("port.refused", "port.slow", "tls.", "http.status", "http.body", "http.slow", "http.timeout")
"""Reasons that only a target (or somebody in its place) that answered can cause."""

Test = Callable[[Look], bool]


class Scene:
    """All looks of one round. `places` says where each probe's target lies; `taken` are explained already."""

    def __init__(self, looks: Sequence[Look], places: Mapping[str, Place]) -> None:
        self.looks = sorted(looks, key=lambda found: found.probe.name)
        self.places = places
        self.taken: set[str] = set()
        self._troubles = [found for found in self.looks if is_trouble(found)]
        self._well = [found for found in self.looks if found.observation.status is Status.OK]

    def bad(self, *reasons: str, where: Test = lambda _found: True) -> list[Look]:
        """Unexplained trouble with one of these reasons (a reason ending in "." stands for all of its kind)."""
        return [f for f in self._troubles if f.probe.name not in self.taken and _is(f, reasons) and where(f)]

    def any_bad(self, *reasons: str) -> list[Look]:
        """The same, explained or not: for comparison."""
        return [f for f in self._troubles if _is(f, reasons)]

    def good(self, *kinds: str, where: Test = lambda _found: True) -> list[Look]:
        """Looks of these kinds that found all well."""
        return [f for f in self._well if f.probe.kind in kinds and where(f)]

    def unexplained(self) -> list[Look]:
        """Whatever trouble is left."""
        return self.bad("")

    def silent(self, where: Test = lambda _found: True) -> list[Look]:
        """Unexplained network trouble that a broken network can cause."""
        return [f for f in self.bad(*SILENCE) if f.probe.kind in NETWORK and where(f)]

    def place(self, found: Look) -> Place:
        """Where this look's target lies."""
        return self.places.get(found.probe.name, "unknown")

    def is_beyond(self, found: Look) -> bool:
        """Behind the gateway, as far as is known."""
        return self.place(found) in ("beyond", "unknown") and not self.is_terminal(found)

    def is_lan(self, found: Look) -> bool:
        """On this PC's own network."""
        return self.place(found) == "lan"

    def is_terminal(self, found: Look) -> bool:
        """The card terminal itself: named so, or a connection into the LAN without another role."""
        role = found.probe.role
        if found.probe.kind not in (*CONNECTING, "ping"):
            return False
        return role is Role.TERMINAL or (role is None and self.place(found) == "lan" and found.probe.kind != "http")

    def is_service(self, found: Look) -> bool:
        """Neither payment host nor terminal."""
        return found.probe.role is Role.SERVICE or (found.probe.role is None and found.probe.kind == "http")

    def answered_beyond(self) -> list[Look]:
        """Connections that somebody behind the gateway answered, well or not."""
        there = [f for f in self.looks if f.probe.kind in CONNECTING and self.is_beyond(f)]
        well = [
            f for f in there if f.observation.status is Status.OK or is_half(f) or (is_trouble(f) and _is(f, PRESENT))
        ]
        return well + [f for f in self.looks if f.probe.kind == "internet" and (number(f, "anchors_alive") or 0) > 0]

    def heard_beyond(self) -> list[Look]:
        """Anything but TCP that came back from behind the gateway: pings, time, names from a resolver out there."""
        heard = self.good("ping", where=self.is_beyond)
        heard += [f for f in self.any_bad("ping.loss", "ping.slow", "ping.jitter") if self.is_beyond(f)]
        heard += [f for f in self.looks if f.probe.kind == "clock" and number(f, "rtt_ms") is not None]
        # a resolver in the router may answer from its memory: no word from beyond
        return [f for f in heard + self.good("dns") if self.place(f) not in ("here", "lan")]

    def shook_hands(self) -> list[Look]:
        """TLS looks whose handshake brought a certificate, good or not: large packets passed."""
        there = [f for f in self.looks if f.probe.kind in ("tls", "http") and self.is_beyond(f)]
        return [
            f
            for f in there
            if text(f, "tls_version") or text(f, "issuer") or (f.observation.status is Status.OK and _is_tls(f))
        ]

    def diagnose(  # noqa: PLR0913 -- one keyword for each thing a diagnosis says
        self,
        cause: str,
        proof: Iterable[Look],
        explains: Iterable[Look] = (),
        *,
        confidence: Confidence = "certain",
        alternatives: tuple[str, ...] = (),
        against: Iterable[tuple[str, Look]] = (),
        subjects: tuple[str, ...] = (),
    ) -> Diagnosis:
        """A diagnosis; what it explains is taken off the table."""
        clues = list(proof)
        names = sorted({found.probe.name for found in (*clues, *explains) if is_trouble(found)} - self.taken)
        self.taken.update(names)
        return Diagnosis(
            cause=cause,
            explains=tuple(names),
            evidence=tuple(Clue(found.probe.name, found.observation.reason) for found in clues),
            confidence=confidence,
            alternatives=alternatives,
            ruled_out=tuple(Against(name, f.probe.name, f.observation.reason) for name, f in against if name != cause),
            subjects=subjects,
        )


Rule = Callable[[Scene], Iterator[Diagnosis]]


def is_trouble(found: Look) -> bool:
    """Whether this look found something wrong."""
    return found.observation.status in (Status.WARN, Status.FAIL)


def is_half(found: Look) -> bool:
    """One address family works and the other does not."""
    outcomes = {text(found, "ipv4"), text(found, "ipv6")} - {"", "no_route"}
    return found.observation.reason.startswith("port.") and "ok" in outcomes and len(outcomes) > 1


def fact(found: Look, name: str) -> Any:
    """A measurement as it is, None where it was not taken. A third party's may be of any type."""
    return found.observation.measurements.get(name)


def text(found: Look, name: str) -> str:
    """A measurement that is a text; empty where it is none."""
    value = found.observation.measurements.get(name)
    return value if isinstance(value, str) else ""


def number(found: Look, name: str) -> float | None:
    """A measurement that is a finite number; None where it is none."""
    value = found.observation.measurements.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < math.inf:
        return None
    return float(value)


def host_of(found: Look) -> str:
    """The host that a network probe is about."""
    return text(found, "host") or str(getattr(found.probe.settings, "host", None) or found.probe.target)


def owner_of(host: str) -> str:
    """Who runs a host, as far as its name tells: the last two labels, three under a country's com, co, org …"""
    return _owner(host)


@functools.lru_cache(1024)
def _owner(host: str) -> str:
    labels = host.rstrip(".").lower().split(".")
    if ":" in host or labels[-1].isdigit():
        return host
    short = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if short else labels[-2:])


def _is_tls(found: Look) -> bool:
    return found.probe.kind == "tls" or text(found, "url").startswith("https:")


def _is(found: Look, reasons: Iterable[str]) -> bool:
    reason = found.observation.reason
    return any(not one or reason == one or (one.endswith(".") and reason.startswith(one)) for one in reasons)
