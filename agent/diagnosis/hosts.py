"""Is it one host, one port, one certificate? Compared with the host's other ports, with other hosts, with the clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.diagnosis.model import Confidence, Diagnosis
from agent.diagnosis.scene import CONNECTING, Scene, Test, fact, host_of
from agent.runner import Look

FOREIGN = ("tls.untrusted", "tls.intercepted")
DATED = ("tls.expired", "tls.not_yet_valid")


def clock(scene: Scene) -> Iterator[Diagnosis]:
    """A wrong clock makes every certificate look wrong in the same direction; a lying time server makes none."""
    skewed, unsure = scene.bad("clock.skewed"), scene.bad("clock.unsynchronised", "clock.bad_server", "clock.no_reply")
    dated = scene.bad(*DATED)
    valid = [
        f
        for f in scene.looks
        if f.probe.kind == "tls" and scene.is_beyond(f) and f.observation.reason in ("ok", "tls.expiring")
    ]
    everywhere = len({host_of(f) for f in dated}) > 1 and not valid and len({f.observation.reason for f in dated}) == 1
    if skewed and not valid:
        yield scene.diagnose("clock.wrong", [*skewed, *dated], unsure)
    elif skewed:
        yield scene.diagnose("clock.wrong", skewed, unsure, confidence="possible", alternatives=("unclassified",))
    elif everywhere:
        yield scene.diagnose(
            "clock.wrong", dated, unsure, confidence="likely", alternatives=("acquirer.certificate_expired",)
        )
    elif unsure:
        yield scene.diagnose("clock.wrong", unsure, confidence="possible")


def certificates(scene: Scene) -> Iterator[Diagnosis]:
    """One foreign issuer in front of several hosts is an inspecting firewall; a single bad one is its owner's."""
    foreign = [f for f in scene.bad(*FOREIGN) if scene.is_beyond(f)]
    for issuer in sorted({str(fact(found, "issuer")) for found in foreign}):
        yield from _foreign(scene, [f for f in foreign if str(fact(f, "issuer")) == issuer])
    for host in _hosts(scene.bad(*DATED, "tls.expiring", "tls.wrong_host", "tls.old_version")):
        of_host = scene.bad(*DATED, "tls.expiring", "tls.wrong_host", "tls.old_version", where=_at(host))
        expired = [f for f in of_host if f.observation.reason in ("tls.expired", "tls.expiring")]
        cause = "acquirer.certificate_expired" if expired else "acquirer.certificate_invalid"
        yield scene.diagnose(
            cause, of_host, subject=host, against=[("clock.wrong", found) for found in _other_good(scene, host)]
        )


def services(scene: Scene) -> Iterator[Diagnosis]:
    """Servers that take no payments: terminal management, loyalty."""
    for host in _hosts(scene.bad("port.", "tls.", "http.", where=scene.is_service)):
        here = [found for found in scene.bad("port.", "tls.", "http.", where=_at(host)) if scene.is_service(found)]
        spoke = [f for f in here if f.observation.reason in ("http.status", "http.body", "http.slow")]
        alternatives = () if spoke else ("firewall.port_blocked",)
        yield scene.diagnose(
            "service.error" if spoke else "service.unreachable",
            here,
            subject=host,
            confidence="certain" if spoke else "likely",
            alternatives=alternatives,
        )


def payment_hosts(scene: Scene) -> Iterator[Diagnosis]:
    """Host by host: a port that differs from its neighbours is filtered; a host that differs from the others is ill."""
    for host in _hosts(scene.bad("port.", "tls.", "http.")):
        rejected = scene.bad("port.rejected", where=_at(host))
        if rejected:
            yield scene.diagnose(
                "firewall.port_blocked",
                rejected,
                subject=host,
                confidence="likely",
                alternatives=("acquirer.unreachable",),
                against=_others(scene, host),
            )
        silent = scene.bad("port.timeout", "port.no_route", "port.unresolved", where=_at(host))
        if silent:
            yield _no_answer(scene, host, silent)
        refused = scene.bad("port.refused", where=_at(host))
        if refused:
            yield _refused(scene, host, refused)
        stalled = scene.bad(
            "tls.handshake_timeout",
            "http.timeout",
            "tls.closed",
            "tls.handshake_failed",
            "http.status",
            "http.body",
            "http.slow",
            "port.slow",
            where=_at(host),
        )
        if stalled:
            yield _ill(scene, host, stalled)


def _no_answer(scene: Scene, host: str, silent: list[Look]) -> Diagnosis:
    """Some of its ports live, or its pings come back: a filter. All dead: the host, or a filter."""
    alive = [f for f in _all_at(scene, host) if f not in silent and _lives(f)]
    against = _others(scene, host)
    if alive:
        return scene.diagnose(
            "firewall.port_blocked",
            silent,
            subject=host,
            confidence="likely",
            alternatives=("acquirer.unreachable",),
            against=[*against, *(("acquirer.unreachable", found) for found in alive[:1])],
        )
    return scene.diagnose(
        "acquirer.unreachable",
        silent,
        scene.bad("ping.", where=_at(host)),
        subject=host,
        confidence="likely",
        alternatives=("firewall.port_blocked",),
        against=against,
    )


def _refused(scene: Scene, host: str, refused: list[Look]) -> Diagnosis:
    """A reset comes from the host or from a firewall in its name: both are named, the likelier first."""
    open_ports = [f for f in _all_at(scene, host) if f not in refused and _lives(f) and f.probe.kind in CONNECTING]
    cause, other = "acquirer.refusing", "firewall.port_blocked"
    if open_ports:
        cause, other = other, cause
    return scene.diagnose(
        cause, refused, subject=host, confidence="possible", alternatives=(other,), against=_others(scene, host)
    )


def _ill(scene: Scene, host: str, stalled: list[Look]) -> Diagnosis:
    reasons = {found.observation.reason for found in stalled}
    if reasons & {"tls.handshake_timeout", "http.timeout", "http.slow", "port.slow"}:
        return scene.diagnose(
            "acquirer.silent",
            stalled,
            subject=host,
            confidence="likely",
            alternatives=() if _others(scene, host) else ("network.mtu",),
            against=_others(scene, host),
        )
    return scene.diagnose(
        "acquirer.refusing",
        stalled,
        subject=host,
        confidence="likely",
        alternatives=("firewall.port_blocked",),
        against=_others(scene, host),
    )


def _foreign(scene: Scene, shown: list[Look]) -> Iterator[Diagnosis]:
    hosts = _hosts(shown)
    verified = scene.good("tls", where=scene.is_beyond)
    changed = [f for f in shown if f.observation.reason == "tls.intercepted"]
    subject = ", ".join(hosts)
    if len(hosts) > 1 or (not verified and changed):
        confidence: Confidence = "certain" if len(hosts) > 1 and not verified else "likely"
        yield scene.diagnose(
            "firewall.tls_inspection",
            shown,
            scene.bad("http.status", "http.body"),
            confidence=confidence,
            alternatives=() if confidence == "certain" else ("acquirer.certificate_invalid",),
        )
    else:
        yield scene.diagnose(
            "acquirer.certificate_invalid",
            shown,
            subject=subject,
            confidence="likely",
            alternatives=("firewall.tls_inspection",),
            against=[("clock.wrong", found) for found in verified],
        )


def _hosts(looks: Iterable[Look]) -> list[str]:
    return sorted({host_of(found) for found in looks})


def _at(host: str) -> Test:
    return lambda found: host_of(found) == host


def _all_at(scene: Scene, host: str) -> list[Look]:
    return [found for found in scene.looks if host_of(found) == host]


def _lives(found: Look) -> bool:
    return found.observation.reason == "ok" or found.observation.reason.startswith(("tls.", "http.", "port.refused"))


def _other_good(scene: Scene, host: str) -> list[Look]:
    return scene.good("tls", "port", "http", where=lambda found: host_of(found) != host and scene.is_beyond(found))


def _others(scene: Scene, host: str) -> list[tuple[str, Look]]:
    return [("isp.down", found) for found in (*_other_good(scene, host)[:2], *scene.good("internet"))]
