"""Does the fault lie behind the router: portal, provider, names, a firewall for all, large packets, IPv6?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.diagnosis.model import Confidence, Diagnosis
from agent.diagnosis.scene import (
    CONNECTING,
    DEGRADED,
    Scene,
    Test,
    fact,
    host_of,
    is_half,
    is_trouble,
    number,
    owner_of,
    text,
)
from agent.runner import Look
from probes.model import Role, Status

DNS_DEAD = ("dns.timeout", "dns.refused", "dns.servfail", "dns.no_resolver", "dns.slow")
DNS_FALSE = ("dns.wrong_answer", "dns.private_answer")
FORGED = ("tls.untrusted", "tls.intercepted", "tls.wrong_host", "tls.handshake_failed", "tls.closed")
UNANSWERED = ("port.timeout", "port.rejected", "port.no_route")
HALF = 50.0
"""Percent of pings lost beyond which whole connections fail for want of luck alone."""
STRAINED_MS = 300.0
"""A round trip that no sound line of a store has, not even by satellite to the far side of the country and back."""
EVERYTHING = 100.0
MANY = 3
OUTRIGHT = ("port.timeout", "internet.unreachable")
LOST = "SYN was lost"
HERE_POOR = (
    *("gateway.loss", "gateway.slow", "interface.weak_signal", "interface.slow"),
    *("interface.half_duplex", "interface.errors", "interface.flapping"),
)
PROHIBITED = ("EACCES", "prohibited")


def portal(scene: Scene) -> Iterator[Diagnosis]:
    """Somebody shows a sign-in page in place of the internet."""
    found = scene.bad("internet.captive_portal")
    if found:
        behind = scene.bad(*DNS_FALSE, *FORGED, "http.", "port.refused", where=scene.is_beyond)
        genuine = scene.good("tls", where=scene.is_beyond)
        yield scene.diagnose(
            "isp.captive_portal",
            found,
            [*scene.silent(scene.is_beyond), *behind],
            confidence="likely" if genuine else "certain",
            against=_lan_is_well(scene),
        )


def local_firewall(scene: Scene) -> Iterator[Diagnosis]:
    """This PC's own rules stop packets before they leave: the kernel itself said so."""
    here = scene.bad("port.blocked_here", "ping.blocked_here")
    here += [f for f in scene.unexplained() if fact(f, "blocked_here") and f not in here]
    if not here:
        return
    nameless = [f for f in here if f.probe.kind == "dns"]
    behind = [f for f in scene.bad("port.unresolved", "ping.unresolved", "clock.no_reply") if nameless]
    yield scene.diagnose("firewall.local_rule", here, behind)


def provider(scene: Scene) -> Iterator[Diagnosis]:
    """Nothing beyond the router answers. If pings, names or time still pass, somebody filters TCP."""
    dead = scene.bad("internet.unreachable")
    silent = scene.bad(*UNANSWERED, "port.refused", where=scene.is_beyond)
    unresolved = scene.bad("port.unresolved", where=scene.is_beyond)
    alive = [f for f in scene.answered_beyond() if f.observation.reason != "port.refused"]
    if alive or scene.good("internet") or _too_lossy(scene):
        return
    several = len({owner_of(host_of(found)) for found in silent}) > 1
    nameless = [*silent, *scene.bad("ping.no_reply", "ping.unreachable", where=scene.is_beyond)]
    if not (dead or several or (nameless and scene.bad(*DNS_DEAD))):
        return
    refused = [f for f in silent if f.observation.reason == "port.refused"]
    heard = [*scene.heard_beyond(), *refused]
    barred = [f for f in (*silent, *scene.bad("ping.", where=scene.is_beyond)) if _is_prohibited(f)]
    behind = scene.silent(lambda found: not scene.is_lan(found) or found.probe.kind in ("dns", "clock"))
    proof = [*dead, *(silent or unresolved)] if dead or several else nameless
    sure = [] if dead else ["firewall.port_blocked" if heard or barred else "acquirer.unreachable"]
    if heard or barred:
        unsure = sure + (["isp.down"] if not heard else [])
        against = [*_lan_is_well(scene), *(("isp.down", found) for found in heard)]
        cause, extra = "firewall.all_blocked", [f for f in (*heard, *barred) if f not in proof]
    else:
        unsure = ["firewall.all_blocked", *sure, *([] if dead or several else ["dns.down"])]
        against = _lan_is_well(scene)
        cause, extra = "isp.down", []
    if scene.any_bad(*HERE_POOR):
        unsure.append("lan.poor")
    yield scene.diagnose(
        cause,
        [*proof, *(f for f in extra if not is_trouble(f) or f in behind or f in silent)],
        behind,
        confidence="likely",
        alternatives=tuple(unsure),
        against=against,
    )


def line(scene: Scene) -> Iterator[Diagnosis]:
    """Loss and delay that begin behind the router: as pings measure them, or as every connection feels them."""
    pings = scene.bad("ping.loss", "ping.slow", "ping.jitter", where=scene.is_beyond)
    hang = scene.bad(
        *DEGRADED, "dns.servfail", "tls.closed", where=lambda f: scene.is_beyond(f) or f.probe.kind == "dns"
    )
    if not _too_lossy(scene):  # too little to fail a whole connection: what fails outright has a cause of its own
        hang = [f for f in hang if f.observation.reason not in OUTRIGHT or f.observation.status is Status.WARN]
    strained = [found for found in scene.looks if scene.is_beyond(found) and _is_strained(found)]
    if not pings and not (hang and len({owner_of(host_of(found)) for found in strained}) > 1):
        return
    near = [found for found in scene.looks if not scene.is_beyond(found) or found.probe.kind == "gateway"]
    near = [found for found in near if _has_lost(found)]
    well = [("lan.poor", found) for found in scene.good("gateway") if not near]
    yield scene.diagnose(
        "lan.poor" if near else "isp.poor",
        [*pings, *(near or ())] or strained,
        hang,
        confidence="likely",
        alternatives=("isp.poor",) if near else () if well else ("lan.poor",),
        against=well,
    )


def slow_everywhere(scene: Scene) -> Iterator[Diagnosis]:
    """No pings to go by, but several hosts are slow at once."""
    slow = scene.bad("port.slow", "http.slow", "dns.slow", "internet.partial", where=scene.is_beyond)
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
    if false:
        reached = scene.bad(*FORGED, "port.", "http.", "clock.no_reply", "clock.bad_server", "ping.")
        misled = _misled(scene, false)
        yield scene.diagnose("dns.tampered", false, [f for f in reached if _goes_by_name(f) and misled(f)])
        return
    crowd = _one_door_for_all(scene)
    if crowd:
        yield scene.diagnose("dns.tampered", crowd, confidence="likely", alternatives=("firewall.tls_inspection",))


def names(scene: Scene) -> Iterator[Diagnosis]:
    """Names: nobody answers, or just this name is missing."""
    dead = scene.bad(*DNS_DEAD)
    unresolved = scene.bad("port.unresolved", "ping.unresolved", "clock.no_reply", "version.manifest_unreachable")
    unresolved = [found for found in unresolved if _goes_by_name(found)]
    alive = [*scene.answered_beyond(), *scene.heard_beyond()]
    if dead:
        only_slow = all(found.observation.reason == "dns.slow" for found in dead)
        confidence: Confidence = "certain" if alive and not only_slow else "likely"
        unsure: tuple[str, ...] = () if alive else ("isp.down",)
        filtered = [f for f in dead if f.observation.reason == "dns.timeout" and scene.place(f) == "beyond"]
        against = [("isp.down", found) for found in alive[:2]]
        yield scene.diagnose(
            "dns.down",
            dead,
            unresolved,
            confidence="likely" if filtered else confidence,
            alternatives=(*unsure, *(("firewall.port_blocked",) if filtered else ())),
            against=against,
        )
    missing = scene.bad("dns.no_such_name", "dns.no_address")
    lost = scene.bad("port.unresolved", "ping.unresolved")
    if missing or (lost and scene.good("dns")):
        against = [("dns.down", found) for found in scene.good("dns")]
        subjects = tuple(sorted({text(f, "name") or host_of(f) for f in missing or lost}))
        yield scene.diagnose("dns.name_missing", missing or lost, lost, against=against, subjects=subjects)
    elif lost:
        unsure = ("dns.name_missing", *(() if alive else ("isp.down",)))
        yield scene.diagnose("dns.down", lost, confidence="likely", alternatives=unsure)


def large_packets(scene: Scene) -> Iterator[Diagnosis]:
    """Connections are made, but no handshake ends, to several hosts at once: what is larger than a SYN vanishes."""
    stalled = scene.bad("tls.handshake_timeout", where=scene.is_beyond)
    if len({owner_of(host_of(found)) for found in stalled}) < 2 or scene.shook_hands():
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
    """One address family works and the other does not, for everybody who has both."""
    half = [found for found in scene.bad("port.", where=scene.is_beyond) if is_half(found)]
    for lame, sound, cause in (("ipv6", "ipv4", "network.ipv6_broken"), ("ipv4", "ipv6", "isp.poor")):
        here = [found for found in half if text(found, sound) == "ok"]
        walks = [f for f in scene.looks if text(f, lame) == "ok" and scene.is_beyond(f)]
        several = len({owner_of(host_of(found)) for found in here}) > 1
        if not here or walks or (lame == "ipv4" and not several):
            continue  # others have both: it is this host's own, or its filter's
        by_it = [f for f in scene.silent(scene.is_beyond) if lame == "ipv4" and ":" not in text(f, "address")]
        yield scene.diagnose(
            cause,
            here,
            [*by_it, *(scene.bad("internet.unreachable", "internet.partial") if lame == "ipv4" else ())],
            confidence="certain" if several else "likely",
            alternatives=() if several else ("acquirer.unreachable", "firewall.port_blocked"),
        )


def allow_list(scene: Scene) -> Iterator[Diagnosis]:
    """Every payment host answers and nothing else does: somebody lets payments through and nothing else."""
    anchors = scene.bad("internet.unreachable")
    anchors += scene.bad("internet.partial", where=lambda found: number(found, "anchors_alive") == 0)
    paying = scene.good("port", "tls", where=lambda found: scene.is_beyond(found) and not scene.is_service(found))
    kept_out = scene.bad("port.", "tls.", where=lambda found: scene.is_beyond(found) and not scene.is_service(found))
    if not anchors or not paying or kept_out:
        return
    others = scene.bad(*UNANSWERED, "http.timeout", where=scene.is_service)
    others += scene.bad("clock.no_reply")
    others += scene.bad("ping.no_reply", "ping.unreachable", where=scene.is_beyond)
    yield scene.diagnose(
        "firewall.port_blocked",
        [*anchors, *others],
        subjects=tuple(sorted({*_dead_anchors(anchors), *(found.probe.target for found in others)})),
        confidence="likely" if others else "possible",
        alternatives=("isp.poor",),
        against=[("isp.down", found) for found in paying[:2]],
    )


def leftovers(scene: Scene) -> Iterator[Diagnosis]:
    """What is filtered although payments pass: fixed points of the internet, the time server, pings."""
    anchors = scene.bad("internet.unreachable", "internet.partial")
    if anchors:
        yield scene.diagnose(
            "firewall.port_blocked",
            anchors,
            subjects=tuple(sorted(_dead_anchors(anchors))),
            confidence="possible",
            alternatives=("isp.poor",),
            against=[("isp.down", found) for found in scene.answered_beyond()[:2]],
        )
    for found in scene.bad("ping.no_reply", "ping.unreachable", where=scene.is_beyond):
        paid = {owner_of(host_of(f)) for f in scene.looks if f.probe.kind in ("port", "tls") and scene.is_beyond(f)}
        payment = found.probe.role is Role.PAYMENT or owner_of(host_of(found)) in paid
        yield scene.diagnose(
            "acquirer.unreachable" if payment else "service.unreachable",
            [found],
            subjects=(found.probe.target,),
            confidence="possible",
            alternatives=("firewall.port_blocked",),
        )
    near = scene.bad("ping.loss", "ping.slow", "ping.jitter", where=lambda found: not scene.is_beyond(found))
    if near:
        yield scene.diagnose("lan.poor", near, confidence="likely")


def _dead_anchors(anchors: Iterable[Look]) -> set[str]:
    return {one for found in anchors for one in _texts(fact(found, "dead"))}


def _misled(scene: Scene, false: list[Look]) -> Test:
    """Whom the false answers lead astray: whoever asked for such a name, or stands at such an address."""
    lies = {one for found in false for one in _texts(fact(found, "addresses"))}
    asked = {text(found, "name") for found in false}
    others = [f for f in scene.looks if f.probe.kind in CONNECTING and _goes_by_name(f) and host_of(f) not in asked]
    truthful = [f for f in others if text(f, "address") and text(f, "address") not in lies]

    def misled(found: Look) -> bool:
        address = text(found, "address")
        if host_of(found) in asked or address in lies:
            return True
        return not address and not truthful  # nobody knows where its name led; every other one was led astray

    return misled


def _one_door_for_all(scene: Scene) -> list[Look]:
    """Names of several owners that all lead to one address on the LAN: there is no bank in a store's own network."""
    doors: dict[str, list[Look]] = {}
    for found in scene.bad("port.", "tls.", "http."):
        if scene.is_lan(found) and _goes_by_name(found) and text(found, "address"):
            doors.setdefault(text(found, "address"), []).append(found)
    return [
        found for crowd in doors.values() if len({owner_of(host_of(each)) for each in crowd}) > 1 for found in crowd
    ]


def _is_strained(found: Look) -> bool:
    """Well or not, this look felt a loss or a delay."""
    if found.probe.kind not in (*CONNECTING, "ping", "clock", "internet"):
        return False
    return _has_lost(found) or max(number(found, key) or 0.0 for key in ("rtt_ms", "connect_ms")) > STRAINED_MS


def _has_lost(found: Look) -> bool:
    """Some of its packets did not come through, and others did."""
    lost = max(number(found, key) or 0.0 for key in ("loss_percent", "recent_loss_percent"))
    return 0 < lost < EVERYTHING or any(LOST in line for line in found.observation.evidence)


def _too_lossy(scene: Scene) -> bool:
    """So few packets come back that whole connections fail for want of luck."""
    pings = scene.any_bad("gateway.loss", "ping.loss")
    if any((number(found, "loss_percent") or 0.0) >= HALF for found in pings):
        return True
    alive = [f for f in scene.looks if f.probe.kind in CONNECTING and scene.is_beyond(f) and number(f, "connect_ms")]
    lost = [found for found in alive if _has_lost(found)]
    return len(lost) >= MANY and len(lost) * 3 >= len(alive) * 2


def _is_prohibited(found: Look) -> bool:
    return any(word in line for line in found.observation.evidence for word in PROHIBITED)


def _lan_is_well(scene: Scene) -> list[tuple[str, Look]]:
    well = [("lan.router_down", found) for found in scene.good("gateway")]
    return well + [("lan.cable_unplugged", found) for found in scene.good("interface")]


def _goes_by_name(found: Look) -> bool:
    host = host_of(found)
    return not host.replace(".", "").isdigit() and ":" not in host.removesuffix(f":{fact(found, 'port')}")


def _texts(value: object) -> Iterable[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else ()
