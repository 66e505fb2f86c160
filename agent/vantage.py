"""Where else must one stand to tell two causes apart? A few extra looks, taken only when the first round leaves doubt.

Each costs a sick till a moment, all of them together at most EXTRA_S; a healthy one is never asked. They ping hosts
that are configured or on the way, and read this PC's own firewall rules; no port is tried that is not configured.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent import runner, texts
from agent.diagnosis import Diagnosis, Explanation, explain, is_trouble
from agent.diagnosis.early import CONCLUSIVE
from agent.diagnosis.model import Against
from agent.diagnosis.scene import CONNECTING, DEGRADED, Scene, fact, host_of
from agent.places import places
from agent.runner import Look
from probes import registry
from probes.host import Host, net, nftables
from probes.host.nftables import Packet
from probes.model import CannotAnswer, Impact, Observation, Probe, Role, Seconds, Settings, Status, ok

if TYPE_CHECKING:
    from agent.texts import Language

EXTRA_S, LEAST_S = 1.5, 0.5
"""What all extra looks together may take, and the time below which none is begun."""
PING_S, RULES_S = 1.3, 0.4
MOST, HOSTS = 8, 4
MANY, FEW = 20, 3
"""Packets that tell a quarter lost from none, and packets that tell alive from dead."""
SETTLED = CONCLUSIVE | {"lan.address_conflict", "lan.poor", "isp.captive_portal", "dns.tampered", "firewall.local_rule"}
"""Nothing seen from elsewhere would change these."""
DEAD = ("acquirer.unreachable", "isp.down")
FILTERED = frozenset(
    {
        *("acquirer.unreachable", "acquirer.refusing", "firewall.port_blocked", "firewall.all_blocked", "isp.down"),
        *("service.unreachable", "terminal.unreachable"),
    }
)
STOPPED = ("port.timeout", "port.refused", "port.rejected")
ROUTER, LINE, TARGET = "router", "line", "target"
TELLING = {ROUTER: ("ok", "ping.loss"), LINE: ("ok", "ping.loss"), TARGET: ("ok", "ping.no_reply", "ping.unreachable")}
"""What an extra look may say; anything else (no right, no name) says nothing and is forgotten."""


class Wish(NamedTuple):
    """A host to ping, and to learn what."""

    host: str
    purpose: str


class Foreseen(NamedTuple):
    """An extra look that is likely to be wished for, and the reasons with which it says something."""

    probe: Probe
    telling: tuple[str, ...]


def explained(looks: Sequence[Look], language: Language, ends: float | None) -> tuple[list[Look], Explanation]:
    """Explain; where that leaves doubt, look further and explain again. Returns the extra looks and the explanation."""
    known = places(looks)
    first = explain(looks, known)
    unsure = [found for found in first.diagnoses if found.cause not in SETTLED]
    began = time.monotonic()
    until = min(began + EXTRA_S, ends if ends is not None else began + EXTRA_S)
    if not unsure or CONCLUSIVE & {found.cause for found in first.diagnoses} or until - began < LEAST_S:
        return [], first
    judged, passed = _by_own_rules(looks, unsure, until)
    if judged:
        looks = [judged.get(found.probe.name, found) for found in looks]
        extra = list[Look]()
    else:
        extra = _further(Scene(looks, known), unsure, language, until)
    again = _explain(looks, extra)
    firm = {found.probe.name for found in looks}
    kept = [found for found in extra if found.probe.name in firm or again.of(found.probe.name) != "unclassified"]
    if len(kept) < len(extra):
        again = _explain(looks, kept)
    if passed:
        kept.append(_rules_look(passed, language))
    return [*judged.values(), *kept], _without_own_rules(again, passed)


def foreseen(looks: Sequence[Look], silent: Collection[str], language: Language) -> dict[str, Foreseen]:
    """Whom to ping already while connections wait in vain, as it seems. By name."""
    imagined = [_unanswered(f) if f.probe.name in silent and f.probe.kind in CONNECTING else f for f in looks]
    known = places(looks)
    unsure = [found for found in explain(imagined, known).diagnoses if found.cause not in SETTLED]
    scene = Scene(imagined, known)
    return {
        f"ping/{wish.host}": Foreseen(_ping(wish, language, time.monotonic() + PING_S), TELLING[wish.purpose])
        for wish in _wishes_left(scene, unsure)
    }


def _unanswered(last: Look) -> Look:
    """What the look after this one will be if no answer comes."""
    facts = dict.fromkeys({"ipv4", "ipv6"} & last.observation.measurements.keys(), "timeout")
    seen = Observation(
        status=Status.FAIL, reason="port.timeout", measurements={**last.observation.measurements, **facts}
    )
    return replace(last, observation=seen)


def telling(pings: Iterable[Look], foreseen: Mapping[str, Foreseen]) -> list[Look]:
    """Those of the foreseen that say something."""
    return [_marked(found) for found in pings if found.observation.reason in foreseen[found.probe.name].telling]


def merged(looks: Sequence[Look], extra: Iterable[Look]) -> list[Look]:
    """All looks; an extra one of the same name takes the place of the first."""
    newer = {found.probe.name: found for found in extra}
    return [newer.pop(found.probe.name, found) for found in looks] + list(newer.values())


def _explain(looks: Sequence[Look], extra: Sequence[Look]) -> Explanation:
    every = merged(looks, extra)
    return explain(every, places(every))


# --- pings ------------------------------------------------------------------------------------------------------------


def _wishes(scene: Scene, unsure: Sequence[Diagnosis]) -> list[Wish]:
    """Whom to ping: targets of which nothing is heard, and the router and the line where answers are late or lost."""
    named = {name for found in unsure for name in found.explains}
    shaky = [f for f in scene.looks if f.probe.name in named and is_trouble(f) and f.observation.reason in DEGRADED]
    wishes = [Wish(host, TARGET) for host in _silent_hosts(scene, unsure)[:HOSTS]]
    if shaky and not any(found.cause in ("isp.down", "firewall.all_blocked") for found in unsure):
        wishes += [Wish(address, ROUTER) for address in _routers(scene)]
        wishes += [Wish(address, LINE) for address in _answering_beyond(scene)]
    return wishes


def _wishes_left(scene: Scene, unsure: Sequence[Diagnosis]) -> list[Wish]:
    """Those that nobody has pinged yet, as many as may be."""
    taken = {found.probe.name for found in scene.looks}
    return [wish for wish in _wishes(scene, unsure) if f"ping/{wish.host}" not in taken][:MOST]


def _silent_hosts(scene: Scene, unsure: Sequence[Diagnosis]) -> list[str]:
    """Hosts of which no port answers; with the line in doubt two of them will do, none if one was pinged."""
    pinged = {host_of(found) for found in scene.looks if found.probe.kind == "ping"}
    heard = any(scene.is_beyond(found) for found in scene.looks if found.probe.kind == "ping")
    hosts: dict[str, None] = {}
    for diagnosis in unsure:
        if diagnosis.cause not in DEAD or (diagnosis.cause == "isp.down" and heard):
            continue
        silent = [f for f in scene.looks if f.probe.name in diagnosis.explains and f.probe.kind in CONNECTING]
        found = [host_of(f) for f in silent if f.observation.reason == "port.timeout" and scene.is_beyond(f)]
        hosts |= dict.fromkeys(found[:2] if diagnosis.cause == "isp.down" else found)
    return [host for host in hosts if host not in pinged]


def _routers(scene: Scene) -> list[str]:
    """The gateways that answered pings just now, one per family."""
    return [address for found in scene.good("gateway") for address in fact(found, "answering") or []]


def _answering_beyond(scene: Scene) -> list[str]:
    """Two hosts out there that lived just now; who answers pings is preferred."""
    alive = [*scene.good("ping", where=scene.is_beyond), *scene.good(*CONNECTING, where=scene.is_beyond)]
    addresses = dict.fromkeys(str(address) for found in alive if (address := fact(found, "address")))
    return list(addresses)[:2]


def _further(scene: Scene, unsure: Sequence[Diagnosis], language: Language, until: float) -> list[Look]:
    """All extra looks at once; what says nothing is left out."""
    wishes = _wishes_left(scene, unsure)
    probes = {f"ping/{wish.host}": _ping(wish, language, until) for wish in reversed(wishes)}
    telling = {f"ping/{wish.host}": TELLING[wish.purpose] for wish in reversed(wishes)}
    if any(wish.purpose != TARGET for wish in wishes) or scene.any_bad("ping.loss"):
        probes |= {again.name: again for again in _once_more(scene, unsure, until)[: MOST - len(probes)]}
    answers = runner.look_at_all(list(probes.values()), {}, max(0.0, until - time.monotonic()))
    return [_marked(found) for found in answers if found.observation.reason in telling.get(found.probe.name, ("ok",))]


def _once_more(scene: Scene, unsure: Sequence[Diagnosis], until: float) -> list[Probe]:
    """Ports that were silent: three SYNs in a row may get lost on a poor line. Only good news will count."""
    named = {name for found in unsure for name in found.explains}
    silent = [f for f in scene.any_bad("port.timeout") if f.probe.name in named and scene.is_beyond(f)]
    left = Seconds(max(0.01, min(PING_S, until - time.monotonic())))
    return [replace(f.probe, timeout=left) for f in silent if f.observation.status is Status.FAIL]


def _ping(wish: Wish, language: Language, until: float) -> Probe:
    """Loss alone is judged: of what is slow or uneven the first round has told."""
    long = Seconds(60)
    settings = registry.find("ping").settings(
        kind="ping",
        host=wish.host,
        count=FEW if wish.purpose == TARGET else MANY,
        max_loss={ROUTER: 5, LINE: 10, TARGET: 99}[wish.purpose],
        max_rtt=long,
        max_jitter=long,
        role=Role.SERVICE,
    )
    return _probe(f"ping/{wish.host}", settings, wish.host, language, min(PING_S, until - time.monotonic()))


def _probe(name: str, settings: Settings, target: str, language: Language, timeout: float) -> Probe:
    kind = name.partition("/")[0]
    return Probe(
        name=name,
        kind=kind,
        settings=settings,
        label=texts.phrase("vantage.label", language, what=f"{texts.kind_name(kind, language)} {target}".strip()),
        target=target,
        impact=Impact.NONE,
        interval=Seconds(30),
        timeout=Seconds(max(timeout, 0.01)),
        fail_after=1,
        recover_after=1,
        needs=None,
        role=Role.SERVICE,
    )


def _marked(found: Look) -> Look:
    """An extra look says so, and leaves no memory: it may never be taken again."""
    evidence = ("an extra look, taken to tell causes apart", *found.observation.evidence)
    return replace(found, observation=msgspec.structs.replace(found.observation, evidence=evidence, memory={}))


# --- this PC's own rules ----------------------------------------------------------------------------------------------


def _by_own_rules(
    looks: Sequence[Look], unsure: Sequence[Diagnosis], until: float
) -> tuple[dict[str, Look], list[Look]]:
    """Looks that this PC's own nftables rules stopped (told so now), and looks that these rules let pass."""
    names = {name for found in unsure if found.cause in FILTERED for name in found.explains}
    stopped = [f for f in looks if f.probe.name in names and f.observation.reason in STOPPED]
    stopped = [found for found in stopped if found.observation.status is Status.FAIL]
    host = Host(ends=min(until, time.monotonic() + RULES_S))
    blocked, passed = dict[str, Look](), list[Look]()
    try:
        rules = nftables.read(host) if stopped else ()
        for found in stopped:
            rulings = [nftables.ruling(rules, packet) for packet in _packets(host, found)]
            words = {ruling.word for ruling in rulings}
            if words == {"blocked"}:
                blocked[found.probe.name] = _blocked(found, rulings[0].rule)
            elif words == {"passed"}:
                passed.append(found)
    except (CannotAnswer, OSError):  # not root, no nft, no time: nothing is claimed
        return {}, []
    return blocked, passed


def _packets(host: Host, found: Look) -> list[Packet]:
    """The first packet to each address that was tried in vain."""
    port = fact(found, "port")
    tried = [line.partition(": ")[0] for line in found.observation.evidence if ": connected" not in line]
    packets = list[Packet]()
    for address in dict.fromkeys(tried):
        hop = net.route_to(host, address) if ":" in address or address.replace(".", "").isdigit() else None
        if hop is not None and isinstance(port, int):
            packets.append(Packet(address, port, hop.interface))
    return packets


def _blocked(found: Look, rule: str) -> Look:
    seen = found.observation
    return replace(
        found,
        observation=msgspec.structs.replace(
            seen,
            measurements={**seen.measurements, "blocked_here": True},
            evidence=(*seen.evidence, f"an nftables rule of this PC stops it: {rule}"),
        ),
    )


def _rules_look(passed: Sequence[Look], language: Language) -> Look:
    """The look at the rules themselves, for whoever wonders why they were ruled out."""
    targets = ", ".join(sorted({found.probe.target for found in passed}))
    probe = _probe("nftables", Settings(kind="nftables"), "", language, RULES_S)
    seen: Observation = ok({"targets": targets}, "an extra look, taken to tell causes apart: nft -j list ruleset")
    return Look(probe, seen, time.time(), 0.0)


def _without_own_rules(explanation: Explanation, passed: Sequence[Look]) -> Explanation:
    """This PC's own rules are ruled out for whatever they let pass."""
    names = {found.probe.name for found in passed}
    against = Against("firewall.local_rule", "nftables", "ok")
    diagnoses = [
        replace(found, ruled_out=(*found.ruled_out, against)) if names.intersection(found.explains) else found
        for found in explanation.diagnoses
    ]
    return Explanation(tuple(diagnoses), explanation.harmless)
