"""Does the fault lie behind the router: portal, provider, names, a firewall for all, large packets, IPv6?"""

from __future__ import annotations

from collections.abc import Iterator

from agent.diagnosis.model import Confidence, Diagnosis
from agent.diagnosis.scene import DEGRADED, Scene, fact, host_of, is_half, owner_of
from agent.runner import Look
from probes.model import Status

DNS_DEAD = ("dns.timeout", "dns.refused", "dns.servfail", "dns.no_resolver", "dns.slow")
DNS_FALSE = ("dns.wrong_answer", "dns.private_answer")
FORGED = ("tls.untrusted", "tls.intercepted", "tls.wrong_host", "tls.handshake_failed", "tls.closed")
HALF = 50.0
"""Percent of pings lost beyond which whole connections fail for want of luck alone."""


def portal(scene: Scene) -> Iterator[Diagnosis]:
    """Somebody shows a sign-in page in place of the internet."""
    for found in scene.bad("internet.captive_portal"):
        behind = scene.bad(*DNS_FALSE, *FORGED, "http.", "port.refused", where=scene.is_beyond)
        yield scene.diagnose(
            "isp.captive_portal", [found], [*scene.silent(scene.is_beyond), *behind], against=_lan_is_well(scene)
        )


def local_firewall(scene: Scene) -> Iterator[Diagnosis]:
    """This PC's own rules stop packets before they leave: the kernel itself said so."""
    here = scene.bad("port.blocked_here", "ping.blocked_here")
    here += [f for f in scene.unexplained() if fact(f, "blocked_here") and f not in here]
    if here:
        yield scene.diagnose("firewall.local_rule", here)


def provider(scene: Scene) -> Iterator[Diagnosis]:
    """Nothing beyond the router answers. If pings, names or time still pass, somebody filters TCP."""
    dead = scene.bad("internet.unreachable")
    targets = [
        found
        for found in scene.bad("port.timeout", "port.rejected", "port.unresolved", "port.no_route")
        if scene.is_beyond(found)
    ]
    owners = {owner_of(host_of(found)) for found in targets if not is_half(found)}
    if scene.answered_beyond() or (not dead and (len(owners) < 2 or scene.good("internet"))):
        return
    if not dead and all(found.observation.reason == "port.unresolved" for found in targets):
        return  # no names, which need not mean: no line
    heard = [found for found in scene.heard_beyond() if not _from_the_lan(scene, found)]
    against = _lan_is_well(scene)
    behind = scene.silent(lambda found: not scene.is_lan(found) or found.probe.kind in ("dns", "clock"))
    if heard:
        yield scene.diagnose(
            "firewall.all_blocked",
            [*dead, *targets, *heard],
            behind,
            confidence="likely",
            against=[*against, *(("isp.down", found) for found in heard)],
        )
    else:
        yield scene.diagnose(
            "isp.down",
            dead or targets,
            behind,
            confidence="likely",
            alternatives=("firewall.all_blocked",),
            against=against,
        )


def line(scene: Scene) -> Iterator[Diagnosis]:
    """Loss and delay that begin behind the router, as pings measure them."""
    pings = [f for f in scene.bad("ping.loss", "ping.slow", "ping.jitter") if scene.is_beyond(f)]
    if not pings:
        return
    lost = max(float(fact(found, "loss_percent") or 0) for found in pings)
    hang = [
        found
        for found in scene.bad(*DEGRADED, "dns.servfail", "tls.closed")
        if scene.is_beyond(found) or found.probe.kind == "dns"
    ]
    if lost < HALF:  # too little to fail a whole connection: what fails outright has a cause of its own
        hang = [f for f in hang if f.observation.reason != "port.timeout" or f.observation.status is Status.WARN]
    yield scene.diagnose(
        "isp.poor",
        pings,
        hang,
        confidence="likely",
        against=[("lan.poor", found) for found in scene.good("gateway")],
    )


def slow_everywhere(scene: Scene) -> Iterator[Diagnosis]:
    """No pings to go by, but several hosts are slow at once."""
    slow = [f for f in scene.bad("port.slow", "http.slow", "dns.slow", "internet.partial") if scene.is_beyond(f)]
    if len({owner_of(host_of(found)) for found in slow}) > 1:
        yield scene.diagnose(
            "isp.poor",
            slow,
            confidence="possible",
            alternatives=("lan.poor",) if not scene.good("gateway") else (),
            against=[("lan.poor", found) for found in scene.good("gateway")],
        )


def false_names(scene: Scene) -> Iterator[Diagnosis]:
    """Names lead to wrong addresses, and whoever goes by them ends at a stranger's door."""
    false = scene.bad(*DNS_FALSE)
    if not false:
        return
    behind = [*scene.bad(*FORGED, "port.", "http."), *scene.bad("clock.no_reply", "clock.bad_server", "ping.")]
    yield scene.diagnose("dns.tampered", false, [found for found in behind if _goes_by_name(found)])


def names(scene: Scene) -> Iterator[Diagnosis]:
    """Names: nobody answers, or just this name is missing."""
    dead = scene.bad(*DNS_DEAD)
    unresolved = scene.bad("port.unresolved", "ping.unresolved", "clock.no_reply", "version.manifest_unreachable")
    unresolved = [found for found in unresolved if _goes_by_name(found)]
    if dead:
        confidence: Confidence = "certain" if scene.answered_beyond() else "likely"
        against = [("isp.down", found) for found in scene.answered_beyond()[:2]]
        yield scene.diagnose("dns.down", dead, unresolved, confidence=confidence, against=against)
    missing = scene.bad("dns.no_such_name", "dns.no_address")
    lost = scene.bad("port.unresolved", "ping.unresolved")
    if missing or (lost and scene.good("dns")):
        against = [("dns.down", found) for found in scene.good("dns")]
        yield scene.diagnose("dns.name_missing", missing or lost, lost, against=against)
    elif lost:
        yield scene.diagnose("dns.down", lost, confidence="likely", alternatives=("dns.name_missing",))


def large_packets(scene: Scene) -> Iterator[Diagnosis]:
    """Connections are made, but no handshake ends, to several hosts at once: what is larger than a SYN vanishes."""
    stalled = [found for found in scene.bad("tls.handshake_timeout") if scene.is_beyond(found)]
    finished = [
        found
        for found in scene.looks
        if found.probe.kind == "tls" and scene.is_beyond(found) and found not in stalled and _shook_hands(found)
    ]
    if len({owner_of(host_of(found)) for found in stalled}) < 2 or finished:
        return
    yield scene.diagnose(
        "network.mtu",
        stalled,
        scene.bad("http.timeout", "http.slow"),
        confidence="likely",
        alternatives=("acquirer.silent",),
        against=[("isp.down", found) for found in scene.good("port", "internet")],
    )


def one_family(scene: Scene) -> Iterator[Diagnosis]:
    """IPv4 works and IPv6 does not, for everybody who has both."""
    half = [f for f in scene.bad("port.") if is_half(f) and fact(f, "ipv4") == "ok" and scene.is_beyond(f)]
    if half:
        yield scene.diagnose("network.ipv6_broken", half, confidence="certain" if len(half) > 1 else "likely")


def _shook_hands(found: Look) -> bool:
    return found.observation.reason == "ok" or found.observation.reason.startswith("tls.") or is_half(found)


def _lan_is_well(scene: Scene) -> list[tuple[str, Look]]:
    well = [("lan.router_down", found) for found in scene.good("gateway")]
    return well + [("lan.cable_unplugged", found) for found in scene.good("interface")]


def _from_the_lan(scene: Scene, found: Look) -> bool:
    """A resolver in the router may answer from its memory: no word from beyond."""
    return found.probe.kind == "dns" and scene.is_lan(found)


def _goes_by_name(found: Look) -> bool:
    host = host_of(found)
    return not host.replace(".", "").isdigit() and ":" not in host.removesuffix(f":{fact(found, 'port')}")
