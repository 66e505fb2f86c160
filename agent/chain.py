"""Where between the cord and the bank is it broken? The report's answer as eight links, for who would rather look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.report import LINKS, LinkPart
from probes.model import Impact, Status

if TYPE_CHECKING:
    from agent.report import DiagnosisPart, Link, ProbePart

_OF_CAUSE: dict[str, Link] = {
    "power": "power",
    "terminal": "terminal",
    "host": "terminal",
    "software": "terminal",
    "clock": "terminal",
    "lan": "router",
    "lan.cable_unplugged": "cable",
    "lan.interface_off": "cable",
    "lan.wifi_weak": "cable",
    "isp": "internet",
    "dns": "internet",
    "network": "internet",
    "firewall": "firewall",
    "acquirer": "bank",
    "service": "bank",
    "settlement": "settlement",
}
"""By cause, else by its family. The PC itself goes with the terminal beside it."""
_OF_KIND: dict[str, Link] = {
    "power": "power",
    "ups": "power",
    "interface": "cable",
    "gateway": "router",
    "dns": "internet",
    "internet": "internet",
    "ping": "internet",
    "port": "bank",
    "tls": "bank",
    "http": "bank",
    "settlement": "settlement",
}
"""Every other kind looks at the terminal or at this PC."""
_WORST_FIRST = (Status.FAIL, Status.WARN, Status.UNKNOWN, Status.OK)


def chain(probes: Sequence[ProbePart], diagnoses: Sequence[DiagnosisPart], terminals: frozenset[str]) -> list[LinkPart]:
    """All eight links, from the cord to the settlement. `terminals`: the probes whose target is the terminal itself."""
    by_name = {probe.name: probe for probe in probes}
    place = {probe.name: _place(probe, terminals) for probe in probes}
    broken: dict[Link, DiagnosisPart] = {}
    for each in diagnoses:
        broken.setdefault(_breaks(each, place), each)
    return [_link(link, broken, by_name, place) for link in LINKS]


def _place(probe: ProbePart, terminals: frozenset[str]) -> Link:
    return "terminal" if probe.name in terminals else _OF_KIND.get(probe.kind, "terminal")


def _breaks(diagnosis: DiagnosisPart, place: dict[str, Link]) -> Link:
    found = _OF_CAUSE.get(diagnosis.cause) or _OF_CAUSE.get(diagnosis.cause.partition(".")[0])
    if found is not None:
        return found
    concerned = {place[name] for name in diagnosis.explains if name in place}
    return next((link for link in LINKS if link in concerned), "terminal")


def _link(
    link: Link, broken: dict[Link, DiagnosisPart], by_name: dict[str, ProbePart], place: dict[str, Link]
) -> LinkPart:
    own = [name for name, at in place.items() if at == link]
    diagnosis = broken.get(link)
    if diagnosis is not None:
        seen = [by_name[name] for name in diagnosis.explains if name in by_name]
        names = list(dict.fromkeys([*diagnosis.explains, *own]))
        return LinkPart(link=link, status=_worst(seen, Status.WARN), cause=diagnosis.cause, probes=names)
    if link == "firewall":  # nothing looks at it alone: what reached the bank passed it
        passed = [
            by_name[name] for name, at in place.items() if at == "bank" and by_name[name].status is not Status.SKIPPED
        ]
        reached = any(probe.status in (Status.OK, Status.WARN) for probe in passed)
        status = Status.OK if reached else Status.UNKNOWN if passed else Status.SKIPPED
        return LinkPart(link=link, status=status, cause=None, probes=[])
    return LinkPart(link=link, status=_worst([_alone(by_name[name]) for name in own]), cause=None, probes=own)


def _alone(probe: ProbePart) -> ProbePart | None:
    """A probe that fails for the sake of another link says nothing of this one."""
    return None if probe.explained_by is not None and probe.status is not Status.OK else probe


def _worst(seen: Sequence[ProbePart | None], otherwise: Status = Status.SKIPPED) -> Status:
    found = {_weighed(probe) for probe in seen if probe is not None} - {Status.SKIPPED}
    if not found and None in seen:
        return Status.UNKNOWN
    return next((status for status in _WORST_FIRST if status in found), otherwise)


def _weighed(probe: ProbePart) -> Status:
    """What no payment stands on warns at most, and its silence is none."""
    if probe.impact is not Impact.NONE:
        return probe.status
    return {Status.FAIL: Status.WARN, Status.UNKNOWN: Status.SKIPPED}.get(probe.status, probe.status)
