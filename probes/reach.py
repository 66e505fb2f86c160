"""Can the target be reached, and if not, whose word is it? What `port`, `tls` and `http` say about a connection."""

from __future__ import annotations

from typing import NamedTuple

from probes.host.tcp import BLOCKED_HERE, NO_ROUTE, OK, REFUSED, REJECTED, TIMEOUT, Attempt, Reach
from probes.model import Measurement, Status
from probes.redact import scrub

REASONS = {
    "port.timeout": "no answer at all: dropped by a firewall on the way, or the host is dead; "
    "a warning when only one of IPv4 and IPv6 is concerned",
    "port.refused": "the host, or a firewall in its name, refuses the connection (TCP reset)",
    "port.rejected": "a router or firewall on the way says that it may not or cannot pass (ICMP)",
    "port.blocked_here": "this PC's own firewall stops the connection: nothing left the machine",
    "port.no_route": "this PC has no route to the target",
    "port.unresolved": "the name has no address, or no resolver said so in time",
    "port.slow": "the connection took longer than `max_connect`",
}
NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}
_WEIGHT = (BLOCKED_HERE, REFUSED, REJECTED, TIMEOUT, NO_ROUTE)  # of two failures, the one that says more
_SAID = {
    TIMEOUT: "no answer within {:.1f} s",
    REFUSED: "refused after {:.3f} s",
    REJECTED: "rejected after {:.3f} s",
    BLOCKED_HERE: "stopped by this PC after {:.1f} s",
    NO_ROUTE: "no route from this PC",
    OK: "connected in {:.3f} s",
}


class Finding(NamedTuple):
    """A status with its reason, and the facts that its sentence needs."""

    status: Status
    reason: str
    facts: dict[str, Measurement] = {}  # noqa: RUF012 -- never changed


def judge(reach: Reach, max_connect: float) -> Finding:
    """One good family is enough to be reachable; one that is broken beside it is a warning, unless this PC has none."""
    if reach.unresolved:
        return Finding(Status.FAIL, "port.unresolved", {"resolve_error": reach.unresolved})
    outcomes = families(reach)
    broken = {name: outcome for name, outcome in outcomes.items() if outcome not in (OK, NO_ROUTE)}
    if OK not in outcomes.values():
        return _finding(Status.FAIL, broken or outcomes)
    if broken:
        return _finding(Status.WARN, broken)
    if _quickest(reach).seconds > max_connect:
        return Finding(Status.WARN, "port.slow", {"max_connect_ms": _ms(max_connect)})
    return Finding(Status.OK, "ok")


def families(reach: Reach) -> dict[str, str]:
    """What became of each address family that the name has."""
    found: dict[str, list[Attempt]] = {}
    for attempt in reach.attempts:
        found.setdefault(attempt.family, []).append(attempt)
    return {family: _together(attempts) for family, attempts in sorted(found.items())}


def facts(reach: Reach) -> dict[str, Measurement]:
    """What was measured on the way to a connection."""
    measured: dict[str, Measurement] = {
        "target": f"[{reach.host}]:{reach.port}" if ":" in reach.host else f"{reach.host}:{reach.port}",
        "host": reach.host,
        "port": reach.port,
        "waited_s": round(reach.seconds, 1),
        **families(reach),
    }
    if not reach.literal:
        measured["resolve_ms"] = _ms(reach.resolve_seconds)
    if any(attempt.outcome == OK for attempt in reach.attempts):
        best = _quickest(reach)
        measured |= {"address": best.address, "connect_ms": _ms(best.seconds), "syn_resent": best.resent}
    elif reach.attempts:
        measured["address"] = reach.attempts[0].address
    return measured


def evidence(reach: Reach) -> list[str]:
    """One line for each address, and what the kernel saw of it."""
    if reach.unresolved:
        return [scrub(reach.unresolved_text)]
    return [_line(attempt) for attempt in reach.attempts]


def _finding(status: Status, outcomes: dict[str, str]) -> Finding:
    worst = min(outcomes.values(), key=_WEIGHT.index)
    concerned = [NAMES[name] for name, outcome in outcomes.items() if outcome == worst]
    return Finding(status, f"port.{worst}", {"families": ", ".join(concerned)})


def _together(attempts: list[Attempt]) -> str:
    outcomes = {attempt.outcome for attempt in attempts}
    if OK in outcomes:
        return OK
    if BLOCKED_HERE not in outcomes and REFUSED not in outcomes and any(attempt.stuck for attempt in attempts):
        return TIMEOUT  # whoever rejected was this PC's kernel, for want of an answering neighbour
    return min(outcomes, key=_WEIGHT.index)


def _quickest(reach: Reach) -> Attempt:
    return min((attempt for attempt in reach.attempts if attempt.outcome == OK), key=lambda attempt: attempt.seconds)


def _line(attempt: Attempt) -> str:
    line = f"{attempt.address}: {_SAID[attempt.outcome].format(attempt.seconds)}"
    if attempt.error:
        line += f" ({attempt.error})"
    if attempt.stuck:
        line += "; the next hop does not answer ARP or neighbour discovery"
    elif attempt.outcome == OK and attempt.resent:
        line += f"; the first SYN was lost, {attempt.resent} sent again"
    elif attempt.outcome == BLOCKED_HERE:
        line += "; no packet left this PC"
    return line


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
