"""Is it one host, one port, one certificate? Compared with the host's other ports, with other hosts, with the clock."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from agent.diagnosis.model import Confidence, Diagnosis
from agent.diagnosis.scene import CONNECTING, Scene, host_of, number, owner_of, text
from agent.runner import Look
from probes.model import Status

FOREIGN = ("tls.untrusted", "tls.intercepted")
DATED = ("tls.expired", "tls.not_yet_valid")
OWN_FAULT = (*DATED, "tls.expiring", "tls.wrong_host", "tls.old_version")
STALLED = ("tls.handshake_timeout", "http.timeout", "http.slow", "port.slow")
BROKEN_OFF = ("tls.closed", "tls.handshake_failed", "http.status", "http.body")
UNREACHED = ("port.timeout", "port.no_route", "port.unresolved", "port.rejected")
AGED = ("settlement.overdue", "settlement.no_record", "age.old", "age.absent")
HOUR_S = 3600.0


def clock(scene: Scene) -> Iterator[Diagnosis]:
    """A wrong clock makes every certificate look wrong in the same direction; a lying time server makes none."""
    skewed, unsure = scene.bad("clock.skewed"), scene.bad("clock.unsynchronised", "clock.bad_server")
    dated = scene.bad(*DATED, where=scene.is_beyond)
    valid = [f for f in scene.looks if f.probe.kind == "tls" and f.observation.reason in ("ok", "tls.expiring")]
    if skewed:
        offset = max((number(found, "offset_s") or 0.0 for found in skewed), key=abs)
        liars = [found for found in valid if _contradicts(found, offset)]
        if liars:
            against = [("acquirer.certificate_expired", liars[0])]
            yield scene.diagnose(
                "clock.wrong", skewed, unsure, confidence="possible", alternatives=("unclassified",), against=against
            )
            return
        aged = scene.bad(*AGED) if abs(offset) > HOUR_S else []
        moved = [found for found in dated if _would_be_valid(found, offset, otherwise=not valid)]
        yield scene.diagnose("clock.wrong", [*skewed, *moved], [*unsure, *aged])
    elif dated and not valid and not scene.good("clock") and _is_the_clocks(dated):
        early = dated[0].observation.reason == "tls.not_yet_valid"
        other = "acquirer.certificate_invalid" if early else "acquirer.certificate_expired"
        yield scene.diagnose("clock.wrong", dated, unsure, confidence="likely", alternatives=(other,))
    elif unsure:
        yield scene.diagnose("clock.wrong", unsure, confidence="possible")


def certificates(scene: Scene) -> Iterator[Diagnosis]:
    """One foreign issuer in front of several owners' hosts is an inspecting firewall; one bad one is its owner's."""
    foreign = scene.bad(*FOREIGN, where=scene.is_beyond)
    for issuer in sorted({text(found, "issuer") for found in foreign}):
        yield _foreign(scene, [found for found in foreign if text(found, "issuer") == issuer])
    for owner, of_owner in _by_owner(scene.bad(*OWN_FAULT, where=lambda found: not scene.is_service(found))):
        if any(found.observation.reason == "tls.wrong_host" for found in of_owner):
            yield _stranger(scene, of_owner)
            continue
        expired = [found for found in of_owner if found.observation.reason in ("tls.expired", "tls.expiring")]
        cause = "acquirer.certificate_expired" if expired else "acquirer.certificate_invalid"
        witnesses = [*_other_good(scene, owner, "tls")[:2], *scene.good("clock")]
        dated = [found for found in of_owner if found.observation.reason in DATED]
        unsure = ("clock.wrong",) if dated and not witnesses else ()
        yield scene.diagnose(
            cause,
            of_owner,
            subjects=_targets(of_owner),
            confidence="likely" if unsure else "certain",
            alternatives=unsure,
            against=[("clock.wrong", found) for found in witnesses],
        )


def services(scene: Scene) -> Iterator[Diagnosis]:
    """Servers that take no payments: terminal management, loyalty, the time."""
    for _, here in _by_owner(scene.bad("port.", "tls.", "http.", where=scene.is_service)):
        spoke = [found for found in here if _speaks(found)]
        if spoke:
            yield scene.diagnose("service.error", spoke, subjects=_targets(spoke))
        silent = [found for found in here if found not in spoke]
        if silent:
            yield scene.diagnose(
                "service.unreachable",
                silent,
                subjects=_targets(silent),
                confidence="likely",
                alternatives=("firewall.port_blocked",),
            )
    mute = scene.bad("clock.no_reply")
    if mute:
        servers = tuple(sorted({text(found, "server") or found.probe.target for found in mute}))
        yield scene.diagnose(
            "firewall.port_blocked",
            mute,
            subjects=servers,
            confidence="possible",
            alternatives=("service.unreachable",),
            against=_others(scene, ""),
        )


def payment_hosts(scene: Scene) -> Iterator[Diagnosis]:
    """A port that differs from its neighbours is filtered; a host that differs from the others is ill."""
    for owner, here in _by_owner(scene.bad("port.", "tls.", "http.")):
        against = _others(scene, owner)
        yield from _no_answer(scene, here, against)
        yield from _refused(scene, here, against)
        yield from _ill(scene, here, against)


Ruled = list[tuple[str, Look]]


def _no_answer(scene: Scene, here: list[Look], against: Ruled) -> Iterator[Diagnosis]:
    """Another of its ports lives, or its pings come back, or a router says so: a filter. All dead: host, or filter."""
    silent = [found for found in here if found.observation.reason in UNREACHED]
    filtered = [found for found in silent if _alive_at(scene, found) or _is_forbidden(found)]
    dead = [found for found in silent if found not in filtered]
    if filtered:
        alive = [one for found in filtered[:1] for one in _alive_at(scene, found)[:1]]
        yield scene.diagnose(
            "firewall.port_blocked",
            filtered,
            subjects=_targets(filtered),
            confidence="likely",
            alternatives=("acquirer.unreachable",),
            against=[*against, *(("isp.down", one) for one in alive)],
        )
    if dead:
        hosts = {host_of(found) for found in dead}
        known = bool(against or scene.answered_beyond() or scene.heard_beyond())
        yield scene.diagnose(
            "acquirer.unreachable",
            dead,
            [found for found in scene.bad("ping.") if host_of(found) in hosts],
            subjects=_targets(dead),
            confidence="likely" if known else "possible",
            alternatives=("firewall.port_blocked",) if known else ("firewall.port_blocked", "isp.down"),
            against=against,
        )


def _refused(scene: Scene, here: list[Look], against: Ruled) -> Iterator[Diagnosis]:
    """A reset comes from the host or from a firewall in its name: both are named, the likelier first."""
    refused = [found for found in here if found.observation.reason == "port.refused"]
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
                against=against,
            )


def _ill(scene: Scene, here: list[Look], against: Ruled) -> Iterator[Diagnosis]:
    """It accepts the connection, and then stalls or breaks off."""
    stalled = [found for found in here if found.observation.reason in STALLED]
    if stalled:
        yield scene.diagnose(
            "acquirer.silent",
            stalled,
            subjects=_targets(stalled),
            confidence="likely",
            alternatives=() if scene.shook_hands() else ("network.mtu",),
            against=against,
        )
    off = [found for found in here if found.observation.reason in BROKEN_OFF]
    if off:
        yield scene.diagnose(
            "acquirer.refusing",
            off,
            subjects=_targets(off),
            confidence="likely",
            alternatives=("firewall.port_blocked",),
            against=against,
        )


def _stranger(scene: Scene, shown: list[Look]) -> Diagnosis:
    """A certificate for another name: a slip of the bank's, or the name led to somebody who never was the bank.

    Then its other ports are not the bank's either.
    """
    hosts = {host_of(found) for found in shown if found.observation.reason == "tls.wrong_host"}
    beside = scene.bad(*UNREACHED, "port.refused", where=lambda found: host_of(found) in hosts)
    likely, other = "acquirer.certificate_invalid", "dns.tampered"
    if beside:
        likely, other = other, likely
    return scene.diagnose(
        likely,
        [*shown, *beside],
        subjects=_targets([*shown, *beside]),
        confidence="likely",
        alternatives=(other,),
        against=[("clock.wrong", found) for found in scene.good("clock")],
    )


def _foreign(scene: Scene, shown: list[Look]) -> Diagnosis:
    verified = scene.good("tls", where=scene.is_beyond)
    several = len(_by_owner(shown)) > 1
    changed = [found for found in shown if found.observation.reason == "tls.intercepted"]
    if several or changed:
        confidence: Confidence = "certain" if several and not verified else "likely" if several else "possible"
        unsure = () if confidence == "certain" else ("acquirer.certificate_invalid",)
        return scene.diagnose("firewall.tls_inspection", shown, confidence=confidence, alternatives=unsure)
    service = all(scene.is_service(found) for found in shown)
    return scene.diagnose(
        "service.error" if service else "acquirer.certificate_invalid",
        shown,
        subjects=_targets(shown),
        confidence="likely",
        alternatives=("firewall.tls_inspection",),
        against=[("clock.wrong", found) for found in verified[:2]],
    )


def _is_the_clocks(dated: list[Look]) -> bool:
    """Two owners do not let their certificates run out on one day; and nobody installs one before its time."""
    reasons = {found.observation.reason for found in dated}
    return len(reasons) == 1 and (len(_by_owner(dated)) > 1 or reasons == {"tls.not_yet_valid"})


def _contradicts(valid: Look, offset: float) -> bool:
    """If the time server were right, this good certificate would be out of date, and no bank shows such a one."""
    return not _would_be_valid(valid, offset, otherwise=abs(offset) < 24 * HOUR_S)


def _would_be_valid(found: Look, offset: float, *, otherwise: bool) -> bool:
    """Whether a certificate holds at the time that the clock would show without its offset."""
    begins, ends = _moment(text(found, "not_before")), _moment(text(found, "not_after"))
    return otherwise if begins is None or ends is None else begins <= found.checked_at - offset <= ends


def _moment(told: str) -> float | None:
    try:
        return datetime.datetime.strptime(told.replace("UTC", "+0000"), "%Y-%m-%d %H:%M %z").timestamp()
    except (ValueError, OverflowError):
        return None


def _speaks(found: Look) -> bool:
    """It answered, in its own protocol, but not as it should."""
    reason = found.observation.reason
    if reason in ("tls.handshake_timeout", "tls.closed"):
        return False
    return reason.startswith("tls.") or reason in ("http.status", "http.body", "http.slow", "port.slow")


def _is_forbidden(found: Look) -> bool:
    """A router on the way said that this may not pass; "unreachable" would leave it open who is at fault."""
    return any(word in line for line in found.observation.evidence for word in ("EACCES", "prohibited"))


def _alive_at(scene: Scene, silent: Look) -> list[Look]:
    """Looks at the same host that somebody answered."""
    host, name = host_of(silent), silent.probe.name
    there = (found for found in scene.looks if found.probe.kind in (*CONNECTING, "ping") and _lives(found))
    return [found for found in there if found.probe.name != name and host_of(found) == host]


def _lives(found: Look) -> bool:
    if found.observation.status not in (Status.OK, Status.WARN, Status.FAIL):
        return False
    heard = ("tls.", "http.", "ping.loss", "ping.slow", "ping.jitter")
    return found.observation.status is Status.OK or found.observation.reason.startswith(heard)


def _by_owner(looks: Iterable[Look]) -> list[tuple[str, list[Look]]]:
    owners: dict[str, list[Look]] = {}
    for found in looks:
        owners.setdefault(owner_of(host_of(found)), []).append(found)
    return sorted(owners.items())


def _targets(looks: Iterable[Look]) -> tuple[str, ...]:
    return tuple(sorted({found.probe.target for found in looks}))


def _other_good(scene: Scene, owner: str, *kinds: str) -> list[Look]:
    def elsewhere(found: Look) -> bool:
        return owner_of(host_of(found)) != owner and scene.is_beyond(found)

    return scene.good(*(kinds or CONNECTING), where=elsewhere)


def _others(scene: Scene, owner: str) -> Ruled:
    return [("isp.down", found) for found in (*_other_good(scene, owner)[:2], *scene.good("internet"))]
