"""Is it one host, one port, one certificate? Compared with the host's other ports, with other hosts, with the clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.diagnosis.model import Confidence, Diagnosis
from agent.diagnosis.scene import CONNECTING, Scene, Test, fact, host_of, owner_of
from agent.runner import Look

FOREIGN = ("tls.untrusted", "tls.intercepted")
DATED = ("tls.expired", "tls.not_yet_valid")
OWN_FAULT = (*DATED, "tls.expiring", "tls.wrong_host", "tls.old_version")
STALLED = ("tls.handshake_timeout", "http.timeout", "http.slow", "port.slow")
BROKEN_OFF = ("tls.closed", "tls.handshake_failed", "http.status", "http.body")
AGED = ("settlement.overdue", "settlement.no_record", "age.old", "age.absent")
HOUR_S = 3600.0


def clock(scene: Scene) -> Iterator[Diagnosis]:
    """A wrong clock makes every certificate look wrong in the same direction; a lying time server makes none."""
    skewed, unsure = scene.bad("clock.skewed"), scene.bad("clock.unsynchronised", "clock.bad_server", "clock.no_reply")
    dated = [found for found in scene.bad(*DATED) if scene.is_beyond(found)]
    valid = [f for f in scene.looks if f.probe.kind == "tls" and f.observation.reason in ("ok", "tls.expiring")]
    far = [found for found in skewed if abs(float(fact(found, "offset_s") or 0)) > HOUR_S]
    if skewed and not valid:
        aged = scene.bad(*AGED) if far else []
        yield scene.diagnose("clock.wrong", [*skewed, *dated], [*unsure, *aged])
    elif skewed:
        yield scene.diagnose("clock.wrong", skewed, unsure, confidence="possible", alternatives=("unclassified",))
    elif len(_owners(dated)) > 1 and not valid and len({found.observation.reason for found in dated}) == 1:
        other = ("acquirer.certificate_expired",)
        yield scene.diagnose("clock.wrong", dated, unsure, confidence="likely", alternatives=other)
    elif unsure:
        yield scene.diagnose("clock.wrong", unsure, confidence="possible")


def certificates(scene: Scene) -> Iterator[Diagnosis]:
    """One foreign issuer in front of several owners' hosts is an inspecting firewall; one bad one is its owner's."""
    foreign = [found for found in scene.bad(*FOREIGN) if scene.is_beyond(found)]
    for issuer in sorted({str(fact(found, "issuer")) for found in foreign}):
        yield _foreign(scene, [found for found in foreign if str(fact(found, "issuer")) == issuer])
    for owner in _owners(scene.bad(*OWN_FAULT)):
        of_owner = scene.bad(*OWN_FAULT, where=_of(owner))
        expired = [found for found in of_owner if found.observation.reason in ("tls.expired", "tls.expiring")]
        cause = "acquirer.certificate_expired" if expired else "acquirer.certificate_invalid"
        against = [("clock.wrong", found) for found in _other_good(scene, owner)[:2]]
        yield scene.diagnose(cause, of_owner, subjects=_targets(of_owner), against=against)


def services(scene: Scene) -> Iterator[Diagnosis]:
    """Servers that take no payments: terminal management, loyalty."""
    for owner in _owners(scene.bad("port.", "tls.", "http.", where=scene.is_service)):
        here = [found for found in scene.bad("port.", "tls.", "http.", where=_of(owner)) if scene.is_service(found)]
        spoke = [f for f in here if f.observation.reason in ("http.status", "http.body", "http.slow")]
        yield scene.diagnose(
            "service.error" if spoke else "service.unreachable",
            here,
            subjects=_targets(here),
            confidence="certain" if spoke else "likely",
            alternatives=() if spoke else ("firewall.port_blocked",),
        )


def payment_hosts(scene: Scene) -> Iterator[Diagnosis]:
    """A port that differs from its neighbours is filtered; a host that differs from the others is ill."""
    for owner in _owners(scene.bad("port.", "tls.", "http.")):
        rejected = scene.bad("port.rejected", where=_of(owner))
        if rejected:
            yield scene.diagnose(
                "firewall.port_blocked",
                rejected,
                subjects=_targets(rejected),
                confidence="likely",
                alternatives=("acquirer.unreachable",),
                against=_others(scene, owner),
            )
        yield from _no_answer(scene, owner)
        yield from _refused(scene, owner)
        yield from _ill(scene, owner)


def _no_answer(scene: Scene, owner: str) -> Iterator[Diagnosis]:
    """Another of its ports lives, or its pings come back: a filter. All dead: the host, or a filter."""
    silent = scene.bad("port.timeout", "port.no_route", "port.unresolved", where=_of(owner))
    filtered = [found for found in silent if _alive_at(scene, found)]
    dead = [found for found in silent if found not in filtered]
    against = _others(scene, owner)
    if filtered:
        yield scene.diagnose(
            "firewall.port_blocked",
            filtered,
            subjects=_targets(filtered),
            confidence="likely",
            alternatives=("acquirer.unreachable",),
            against=[
                *against,
                *(("isp.down", alive) for found in filtered[:1] for alive in _alive_at(scene, found)[:1]),
            ],
        )
    if dead:
        yield scene.diagnose(
            "acquirer.unreachable",
            dead,
            scene.bad("ping.", where=_of(owner)),
            subjects=_targets(dead),
            confidence="likely",
            alternatives=("firewall.port_blocked",),
            against=against,
        )


def _refused(scene: Scene, owner: str) -> Iterator[Diagnosis]:
    """A reset comes from the host or from a firewall in its name: both are named, the likelier first."""
    refused = scene.bad("port.refused", where=_of(owner))
    filtered = [found for found in refused if [f for f in _alive_at(scene, found) if f.probe.kind != "ping"]]
    for cause, other, some in (
        ("firewall.port_blocked", "acquirer.refusing", filtered),
        ("acquirer.refusing", "firewall.port_blocked", [found for found in refused if found not in filtered]),
    ):
        if some:
            yield scene.diagnose(
                cause,
                some,
                subjects=_targets(some),
                confidence="possible",
                alternatives=(other,),
                against=_others(scene, owner),
            )


def _ill(scene: Scene, owner: str) -> Iterator[Diagnosis]:
    """It accepts the connection, and then stalls or breaks off."""
    against = _others(scene, owner)
    stalled = scene.bad(*STALLED, where=_of(owner))
    if stalled:
        unsure = () if _other_good(scene, owner) else ("network.mtu",)
        yield scene.diagnose(
            "acquirer.silent",
            stalled,
            subjects=_targets(stalled),
            confidence="likely",
            alternatives=unsure,
            against=against,
        )
    off = scene.bad(*BROKEN_OFF, where=_of(owner))
    if off:
        yield scene.diagnose(
            "acquirer.refusing",
            off,
            subjects=_targets(off),
            confidence="likely",
            alternatives=("firewall.port_blocked",),
            against=against,
        )


def _foreign(scene: Scene, shown: list[Look]) -> Diagnosis:
    verified = scene.good("tls", where=scene.is_beyond)
    several = len(_owners(shown)) > 1
    changed = [found for found in shown if found.observation.reason == "tls.intercepted"]
    if several or (changed and not verified):
        confidence: Confidence = "certain" if several and not verified else "likely"
        unsure = () if confidence == "certain" else ("acquirer.certificate_invalid",)
        return scene.diagnose("firewall.tls_inspection", shown, confidence=confidence, alternatives=unsure)
    return scene.diagnose(
        "acquirer.certificate_invalid",
        shown,
        subjects=_targets(shown),
        confidence="likely",
        alternatives=("firewall.tls_inspection",),
        against=[("clock.wrong", found) for found in verified[:2]],
    )


def _alive_at(scene: Scene, silent: Look) -> list[Look]:
    """Looks at the same host that somebody answered."""
    here = [f for f in scene.looks if host_of(f) == host_of(silent) and f.probe.name != silent.probe.name]
    return [found for found in here if found.probe.kind in (*CONNECTING, "ping") and _lives(found)]


def _lives(found: Look) -> bool:
    return found.observation.reason == "ok" or found.observation.reason.startswith(("tls.", "http."))


def _owners(looks: Iterable[Look]) -> list[str]:
    return sorted({owner_of(host_of(found)) for found in looks})


def _targets(looks: Iterable[Look]) -> tuple[str, ...]:
    return tuple(sorted({found.probe.target for found in looks}))


def _of(owner: str) -> Test:
    return lambda found: owner_of(host_of(found)) == owner


def _other_good(scene: Scene, owner: str) -> list[Look]:
    return scene.good(*CONNECTING, where=lambda found: owner_of(host_of(found)) != owner and scene.is_beyond(found))


def _others(scene: Scene, owner: str) -> list[tuple[str, Look]]:
    return [("isp.down", found) for found in (*_other_good(scene, owner)[:2], *scene.good("internet"))]
