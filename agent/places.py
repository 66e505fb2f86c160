"""Where does each probe's target lie: on this PC, on its LAN, or behind the router? Asked of the routing table."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable

from agent.diagnosis.model import Place
from agent.runner import Look
from probes.host import Host, net
from probes.model import OutOfTime, Role

PATIENCE_S = 0.5


def places(looks: Iterable[Look]) -> dict[str, Place]:
    """By the probe's name; names that no look resolved are `unknown`. Sends nothing."""
    host = Host(ends=time.monotonic() + PATIENCE_S)
    known: dict[str, Place] = {}
    return {found.probe.name: _place(host, _address(found), known) for found in looks}


def terminals(looks: Iterable[Look], known: dict[str, Place]) -> frozenset[str]:
    """The probes whose target is the card terminal on the LAN: named so, or connected to without another role.

    `known` keeps what the routing table said of each address, for whoever asks again. Sends nothing.
    """
    host = Host(ends=time.monotonic() + PATIENCE_S)
    return frozenset(found.probe.name for found in looks if _is_terminal(found, host, known))


def _is_terminal(found: Look, host: Host, known: dict[str, Place]) -> bool:
    probe = found.probe
    if probe.role is not None or probe.kind not in ("port", "tls"):
        return probe.role is Role.TERMINAL
    address = _address(found)
    return bool(address) and ipaddress.ip_address(address).is_private and _place(host, address, known) == "lan"


def _address(found: Look) -> str:
    """The numeric address that a look was about: as measured, else as configured."""
    settings, facts = found.probe.settings, found.observation.measurements
    for candidate in (facts.get("address"), facts.get("server"), getattr(settings, "host", None), found.probe.target):
        literal = _literal(str(candidate or ""))
        if literal:
            return literal
    return ""


def _literal(text: str) -> str:
    for form in (text, text.rpartition(":")[0].strip("[]")):
        try:
            return str(ipaddress.ip_address(form))
        except ValueError:
            continue
    return ""


def _place(host: Host, address: str, known: dict[str, Place]) -> Place:
    if not address:
        return "unknown"
    if address not in known:
        if ipaddress.ip_address(address).is_loopback:
            known[address] = "here"
        else:
            known[address] = _side(host, address)
    return known[address]


def _side(host: Host, address: str) -> Place:
    try:
        return "lan" if net.is_lan(host, address) else "beyond"
    except (OSError, OutOfTime):  # an interface that went away just now; a kernel that is busy
        return "unknown"
