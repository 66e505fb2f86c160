"""Which probes must be looked at together to tell causes apart? Pure: from who is in doubt to one examination."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from agent.diagnosis.scene import CONNECTING, NETWORK, host_of
from agent.runner import Look
from probes.model import Probe

ON_SITE = frozenset({"power", "ups", "usb", "serial", "interface"})
CHAIN = ON_SITE | NETWORK
"""What can explain one another; whatever else is suspect is looked at alone."""
AT_ONCE, COMPARED = 48, 24
"""Probes up to which an examination looks at the whole chain, and how many others it takes to compare of more."""


def select(
    probes: Mapping[str, Probe], looks: Mapping[str, Look], doubtful: Collection[str], told: Collection[str]
) -> list[Probe]:
    """The doubtful ones, those that incidents tell of already, their ancestors, and what tells causes apart."""
    concerned = [*_longest_unseen(doubtful, looks), *_longest_unseen(set(told).difference(doubtful), looks)]
    named = [probes[name] for name in concerned if name in probes]
    if not any(probe.kind in CHAIN for probe in named):
        return named[:AT_ONCE]
    chain = [probe for probe in probes.values() if probe.kind in CHAIN]
    if len(chain) > AT_ONCE:
        chain = _sample(chain, named[:AT_ONCE], looks)
    return list({probe.name: probe for probe in [*chain, *named[:AT_ONCE]]}.values())


def _longest_unseen(names: Iterable[str], looks: Mapping[str, Look]) -> list[str]:
    """Where there are more than one examination can hold, each has its turn."""
    return sorted(names, key=lambda name: (looks[name].checked_at if name in looks else 0.0, name))


def _sample(chain: Sequence[Probe], named: Sequence[Probe], looks: Mapping[str, Look]) -> list[Probe]:
    """Of a thousand: all that is no mere target, and targets of as many hosts as possible."""
    taken = {probe.name for probe in named}
    stems = [probe for probe in chain if probe.kind not in CONNECTING and probe.kind != "ping"][:AT_ONCE]
    others = [probe for probe in chain if probe.kind in CONNECTING and probe.name not in taken]
    hosts: dict[str, Probe] = {}
    for probe in others:
        found = looks.get(probe.name)
        hosts.setdefault(host_of(found) if found else probe.target, probe)
    return [*stems, *list(hosts.values())[:COMPARED]]
