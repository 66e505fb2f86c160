"""Does the fault lie behind the router: portal, provider, names, a firewall for all, large packets, IPv6?"""

from __future__ import annotations

from collections.abc import Iterator

from agent.diagnosis.model import Confidence, Diagnosis
from agent.diagnosis.scene import DEGRADED, Scene, fact, host_of, is_half
from agent.runner import Look

DNS_DEAD = ("dns.timeout", "dns.refused", "dns.servfail", "dns.no_resolver", "dns.slow")
DNS_FALSE = ("dns.wrong_answer", "dns.private_answer")
FORGED = ("tls.untrusted", "tls.intercepted", "tls.wrong_host", "tls.handshake_failed", "tls.closed")


def portal(scene: Scene) -> Iterator[Diagnosis]:
    """Somebody shows a sign-in page in place of the internet."""
    for found in scene.bad("internet.captive_portal"):
        behind = [*scene.silent(scene.is_beyond), *scene.bad(*DNS_FALSE, *FORGED, "http.", "port.refused")]
        yield scene.diagnose("isp.captive_portal", [found], behind, against=_lan_is_well(scene))


def local_firewall(scene: Scene) -> Iterator[Diagnosis]:
    """This PC's own rules stop packets before they leave: the kernel itself said so."""
    here = scene.bad("port.blocked_here")
    here += [f for f in scene.unexplained() if fact(f, "blocked_here") and f not in here]
    if here:
        yield scene.diagnose("firewall.local_rule", here)


def provider(scene: Scene) -> Iterator[Diagnosis]:
    """Nothing beyond the router answers. If pings, names or time still pass, somebody filters TCP."""
    dead = scene.bad("internet.unreachable")
    targets = [
        f for f in scene.bad("port.timeout", "port.rejected", "port.unresolved", "port.no_route") if scene.is_beyond(f)
    ]
    hosts = {host_of(found) for found in targets}
    if scene.answered_beyond() or (not dead and (len(hosts) < 2 or scene.good("internet"))):
        return
    heard = [f for f in scene.heard_beyond() if not _from_the_lan(scene, f)]
    against = _lan_is_well(scene)
    behind = scene.silent(lambda found: not scene.is_lan(found))
    if heard:
        yield scene.diagnose(
            "firewall.all_blocked",
            [*dead, *targets, *heard],
            behind,
            confidence="likely",
            against=[*against, *(("isp.down", found) for found in heard)],
        )
    elif dead or targets:
        yield scene.diagnose(
            "isp.down",
            dead or targets,
            behind,
            confidence="likely",
            alternatives=("firewall.all_blocked",),
            against=against,
        )


def names(scene: Scene) -> Iterator[Diagnosis]:
    """Names: nobody answers, the answer is false, or just this name is missing."""
    false = scene.bad(*DNS_FALSE)
    if false:
        behind = [*scene.bad(*FORGED, "port.", "http."), *scene.bad("clock.no_reply", "clock.bad_server", "ping.")]
        yield scene.diagnose("dns.tampered", false, [f for f in behind if _goes_by_name(f)])
    dead = scene.bad(*DNS_DEAD)
    unresolved = scene.bad("port.unresolved", "ping.unresolved", "clock.no_reply", "version.manifest_unreachable")
    unresolved = [found for found in unresolved if _goes_by_name(found)]
    if dead:
        confidence: Confidence = "certain" if scene.answered_beyond() else "likely"
        yield scene.diagnose(
            "dns.down",
            dead,
            unresolved,
            confidence=confidence,
            against=[("isp.down", found) for found in scene.answered_beyond()],
        )
    missing = scene.bad("dns.no_such_name", "dns.no_address")
    lost = scene.bad("port.unresolved", "ping.unresolved")
    if missing or (lost and scene.good("dns")):
        yield scene.diagnose(
            "dns.name_missing", missing or lost, lost, against=[("dns.down", found) for found in scene.good("dns")]
        )
    elif lost:
        yield scene.diagnose("dns.down", lost, confidence="likely", alternatives=("dns.name_missing",))


def large_packets(scene: Scene) -> Iterator[Diagnosis]:
    """Connections are made, but no handshake ends, to several hosts at once: what is larger than a SYN vanishes."""
    stalled = [f for f in scene.bad("tls.handshake_timeout") if scene.is_beyond(f)]
    finished = [
        f
        for f in scene.looks
        if f.probe.kind == "tls"
        and scene.is_beyond(f)
        and f not in stalled
        and f.observation.reason.startswith(("ok", "tls."))
    ]
    if len({host_of(found) for found in stalled}) < 2 or finished:
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
    half = [f for f in scene.bad("port.", "tls.", "http.") if is_half(f) and fact(f, "ipv4") == "ok"]
    if half:
        yield scene.diagnose(
            "network.ipv6_broken",
            half,
            confidence="certain" if len(half) > 1 else "likely",
            against=[("isp.down", found) for found in half[:1]],
        )


def line(scene: Scene) -> Iterator[Diagnosis]:
    """Loss and delay that begin behind the router."""
    poor = [
        f
        for f in scene.bad(
            "ping.loss", "ping.slow", "ping.jitter", "port.slow", "http.slow", "dns.slow", "internet.partial"
        )
        if scene.is_beyond(f)
    ]
    hosts = {host_of(found) for found in poor}
    pings = [found for found in poor if found.probe.kind == "ping"]
    if not pings and len(hosts) < 2:
        return
    hang = [f for f in scene.bad(*DEGRADED) if scene.is_beyond(f) and len(hosts) > 1]
    yield scene.diagnose(
        "isp.poor", poor, hang, confidence="likely", against=[("lan.poor", found) for found in scene.good("gateway")]
    )


def _lan_is_well(scene: Scene) -> list[tuple[str, Look]]:
    well = [("lan.router_down", found) for found in scene.good("gateway")]
    return well + [("lan.cable_unplugged", found) for found in scene.good("interface")]


def _from_the_lan(scene: Scene, found: Look) -> bool:
    """A resolver in the router may answer from its memory: no word from beyond."""
    return found.probe.kind == "dns" and scene.is_lan(found)


def _goes_by_name(found: Look) -> bool:
    host = host_of(found)
    return not host.replace(".", "").isdigit() and ":" not in host.removesuffix(f":{fact(found, 'port')}")
