"""Is the server who it should be? What `tls` and `http` say about a handshake.

The issuer is remembered from handshakes that OpenSSL found good. Certificates change, and within one authority so do
its intermediates; a different organisation is another matter: something on the way may be signing in the server's name.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

from probes.host.tls import CLOSED, FAILED, OK, OLD, STALLED, Handshake
from probes.model import Measurement, Memory, Status
from probes.reach import REASONS as REACH_REASONS
from probes.reach import Finding
from probes.x509 import Certificate, Name

REASONS = {
    **REACH_REASONS,
    "tls.expired": "a certificate of the server has run out; look at this PC's clock first",
    "tls.expiring": "a certificate runs out within `warn_before`",
    "tls.not_yet_valid": "a certificate is not valid yet: this PC's clock is probably behind",
    "tls.untrusted": "the certificate was signed by nobody this PC trusts, or an intermediate one is missing",
    "tls.intercepted": "the issuer is not the expected or remembered one: something on the way may read along; "
    "a warning while this PC trusts the new issuer and none was configured",
    "tls.wrong_host": "the certificate is for another name",
    "tls.handshake_timeout": "the server accepts the connection and then stalls",
    "tls.handshake_failed": "the server breaks off the handshake with an alert, or does not speak TLS",
    "tls.closed": "the connection was closed during the handshake",
    "tls.old_version": "the server offers only an older TLS version than `min_version`",
}
_UNFINISHED = {STALLED: "tls.handshake_timeout", CLOSED: "tls.closed", FAILED: "tls.handshake_failed"}
_VERIFY = {9: "tls.not_yet_valid", 10: "tls.expired", 62: "tls.wrong_host", 63: "tls.wrong_host", 64: "tls.wrong_host"}
_DAY = 86400


class Expected(NamedTuple):
    """What the settings want of a server; `name` is the one that its certificate must bear."""

    target: str
    name: str
    issuer: str | None = None
    min_version: str = "1.2"
    warn_before: float = 30 * _DAY


def judge(expected: Expected, handshake: Handshake, now: float, memory: Memory) -> Finding:
    """The gravest thing that one handshake shows."""
    return (
        _unfinished(expected, handshake)
        or _distrust(expected, handshake, now, memory)
        or _old(expected, handshake)
        or _foreign(expected, handshake, memory)
        or _expiring(expected, handshake, now)
        or Finding(Status.OK, "ok")
    )


def remember(expected: Expected, handshake: Handshake | None, found: Finding, memory: Memory) -> dict[str, Any]:
    """The issuers of the last good handshake with this target. A foreign one is never learnt by itself."""
    known = _remembered(expected, memory)
    if handshake is None or handshake.outcome != OK or not handshake.chain or found.reason == "tls.intercepted":
        return {"target": expected.target, "issuers": known} if known else {}
    return {"target": expected.target, "issuers": _issuers(handshake)}


def facts(expected: Expected, handshake: Handshake, now: float) -> dict[str, Measurement]:
    """What was measured in the handshake."""
    measured: dict[str, Measurement] = {
        "server_name": expected.name,
        "handshake_ms": round(handshake.seconds * 1000, 2),
        "min_version": expected.min_version,
        "checked_at": _date(now),
    }
    if handshake.version:
        measured["tls_version"] = handshake.version.replace("TLSv", "")
    if handshake.chain:
        concerned = _concerned(handshake, now)
        measured |= {
            "subject": str(concerned.subject),
            "issuer": str(handshake.chain[0].issuer),
            "top_issuer": str(handshake.chain[-1].issuer),
            "not_before": _date(concerned.not_before),
            "not_after": _date(concerned.not_after),
            "days_left": round((concerned.not_after - now) / _DAY, 1),
        }
    if handshake.verify_code:
        measured |= {"verify_code": handshake.verify_code, "verify_message": handshake.detail}
    return measured


def evidence(handshake: Handshake, now: float) -> list[str]:
    """The presented chain, and what OpenSSL said."""
    lines = [
        f"presented: {each.subject}, issued by {each.issuer}, valid {_date(each.not_before)} to {_date(each.not_after)}"
        for each in handshake.chain[:4]
    ]
    if handshake.detail:
        code = f" (verify code {handshake.verify_code})" if handshake.verify_code else ""
        lines.append(f"handshake: {handshake.detail}{code}")
    if handshake.wants_certificate:
        lines.append("the server asks for a client certificate")
    if handshake.verify_code in (9, 10):
        lines.append(f"checked at {_date(now)} by this PC's clock")
    return lines


def _unfinished(expected: Expected, handshake: Handshake) -> Finding | None:
    if handshake.outcome == OLD:
        return Finding(Status.FAIL, "tls.old_version", {"offered": "1.1 or older", "min_version": expected.min_version})
    reason = _UNFINISHED.get(handshake.outcome)
    return Finding(Status.FAIL, reason, {"detail": handshake.detail}) if reason else None


def _distrust(expected: Expected, handshake: Handshake, now: float, memory: Memory) -> Finding | None:
    """What OpenSSL would not accept. A foreign issuer explains whatever else is wrong with what it signed."""
    if handshake.outcome == OK:
        return None
    wanted = _wanted(expected, handshake, memory)
    if wanted:
        return Finding(Status.FAIL, "tls.intercepted", {"expected_issuer": wanted})
    return Finding(Status.FAIL, _VERIFY.get(handshake.verify_code, "tls.untrusted"))


def _old(expected: Expected, handshake: Handshake) -> Finding | None:
    offered = handshake.version.removeprefix("TLSv")
    if expected.min_version == "1.3" and offered == "1.2":
        return Finding(Status.FAIL, "tls.old_version", {"offered": offered, "min_version": expected.min_version})
    return None


def _foreign(expected: Expected, handshake: Handshake, memory: Memory) -> Finding | None:
    """This PC trusts the chain, yet its issuer is another one: certain trouble only where one was configured."""
    wanted = _wanted(expected, handshake, memory)
    if not wanted:
        return None
    status = Status.FAIL if expected.issuer else Status.WARN
    return Finding(status, "tls.intercepted", {"expected_issuer": wanted})


def _expiring(expected: Expected, handshake: Handshake, now: float) -> Finding | None:
    if handshake.chain and _concerned(handshake, now).not_after - now < expected.warn_before:
        return Finding(Status.WARN, "tls.expiring")
    return None


def _wanted(expected: Expected, handshake: Handshake, memory: Memory) -> str:
    """The issuer that should have been there, if another one was; nothing when all is well or nothing is known."""
    if not handshake.chain:
        return ""
    if expected.issuer:
        wanted = expected.issuer.casefold()
        names = (handshake.chain[0].issuer, handshake.chain[-1].issuer)
        parts = [part.casefold() for name in names for part in (name.organisation, name.common_name)]
        return "" if any(wanted in part for part in parts) else expected.issuer
    known = _remembered(expected, memory)
    return ", ".join(known) if known and not set(known) & set(_issuers(handshake)) else ""


def _remembered(expected: Expected, memory: Mapping[str, Any]) -> list[str]:
    """The issuers known of this target; a memory of another one is worth nothing."""
    issuers = memory.get("issuers")
    if memory.get("target") != expected.target or not isinstance(issuers, list):
        return []
    return [issuer for issuer in issuers if isinstance(issuer, str)]


def _issuers(handshake: Handshake) -> list[str]:
    """Who signed, from the leaf up: organisations, which outlive the names of their intermediates."""
    chain = handshake.trusted or handshake.chain
    return sorted({_party(certificate.issuer) for certificate in (chain[0], chain[-1])})


def _party(name: Name) -> str:
    return name.organisation or name.common_name or name.unit or "(no name)"


def _concerned(handshake: Handshake, now: float) -> Certificate:
    """The certificate that a date is about: the one out of its time, else the first of the chain to run out."""
    if handshake.trusted:
        return min(handshake.trusted, key=lambda each: each.not_after)
    wrong = [each for each in handshake.chain if not each.not_before <= now <= each.not_after]
    return (wrong if handshake.verify_code in (9, 10) and wrong else handshake.chain)[0]


def _date(moment: float) -> str:
    """Day and time in UTC; certificates live from 1950 to 9999."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
