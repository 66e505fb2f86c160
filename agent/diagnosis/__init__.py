"""What is the first broken link? Pure: from one round of looks to diagnoses, the one that stops payments first.

The rules are asked along the chain, from the cord to the bank. Each sees everything (for comparison), takes what it
explains off the table, and leaves the rest to those after it; what nobody explains is `unclassified`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.diagnosis import hosts, lan, onsite, outside
from agent.diagnosis.model import CAUSES, Diagnosis, Place
from agent.diagnosis.scene import CONNECTING, Rule, Scene, host_of, is_trouble
from agent.runner import Look
from probes.model import Impact, Status

RULES: tuple[Rule, ...] = (
    onsite.power,
    onsite.terminal,
    lan.interface,
    lan.route,
    outside.portal,
    outside.local_firewall,
    outside.false_names,
    outside.provider,
    lan.quality,
    outside.line,
    lan.terminal_on_lan,
    outside.names,
    hosts.clock,
    outside.large_packets,
    outside.one_family,
    hosts.certificates,
    outside.slow_everywhere,
    outside.allow_list,
    hosts.services,
    hosts.payment_hosts,
    outside.leftovers,
    onsite.host,
    onsite.software,
    onsite.settlement,
)


ORDER = {cause: place for place, cause in enumerate(CAUSES)}


@dataclass(frozen=True)
class Explanation:
    """All diagnoses of one round, and the trouble that another look proved harmless (its name -> the proof's name)."""

    diagnoses: tuple[Diagnosis, ...] = ()
    harmless: Mapping[str, str] = field(default_factory=dict)

    def of(self, probe: str) -> str | None:
        """The cause that explains this probe's trouble."""
        return next((found.cause for found in self.diagnoses if probe in found.explains), None)


def explain(looks: Sequence[Look], places: Mapping[str, Place]) -> Explanation:
    """Explain every trouble in these looks, whatever their order."""
    scene = Scene(looks, places)
    harmless = dict(_harmless(scene))
    scene.taken.update(harmless)
    found = [diagnosis for rule in RULES for diagnosis in rule(scene)]
    found += [scene.diagnose("unclassified", [left], confidence="possible") for left in scene.unexplained()]
    found = [diagnosis for diagnosis in found if diagnosis.explains]
    impact = {look.probe.name: look for look in looks}
    return Explanation(tuple(sorted(found, key=lambda each: _weight(each, impact))), harmless)


def _harmless(scene: Scene) -> Iterator[tuple[str, str]]:
    """Who answers connections needs not answer pings: a silent router or host that TCP passes is well."""
    passed = scene.answered_beyond()
    for found in scene.bad("gateway.no_reply"):
        if passed:
            yield found.probe.name, passed[0].probe.name
    for found in scene.bad("ping.no_reply", "ping.unreachable"):
        of_host = [look for look in scene.good(*CONNECTING) if host_of(look) == host_of(found)]
        filtered = [] if scene.good("ping", where=scene.is_beyond) or not scene.is_beyond(found) else passed
        proof = of_host or filtered
        if proof:
            yield found.probe.name, proof[0].probe.name


def _weight(diagnosis: Diagnosis, looks: Mapping[str, Look]) -> tuple[int, int, tuple[str, ...], tuple[str, ...]]:
    explained = [looks[name] for name in diagnosis.explains]
    stops = any(look.probe.impact is Impact.STOP and look.observation.status is Status.FAIL for look in explained)
    matters = any(look.probe.impact is not Impact.NONE for look in explained)
    return (
        0 if stops else 1 if matters else 2,
        ORDER[diagnosis.cause],
        diagnosis.subjects,
        diagnosis.explains,
    )


__all__ = ["CAUSES", "Diagnosis", "Explanation", "explain", "is_trouble"]
