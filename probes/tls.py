"""Does the payment host open a trustworthy connection, and if not, whose certificate is wrong?"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from probes import endpoints, trust
from probes import reach as reaching
from probes.host import Host, tcp, tls
from probes.host.tcp import Reach
from probes.host.tls import Handshake
from probes.model import (
    HostName,
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    PathText,
    Port,
    Seconds,
    Status,
    Text,
)


class TlsSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TLS port of a host. `targets` stands for several in one table."""

    host: Annotated[HostName | None, Meta(description="host name or address")] = None
    port: Annotated[Port, Meta(description="TCP port")] = 443
    server_name: Annotated[
        HostName | None, Meta(description="name to ask for (SNI) and to find in the certificate; default: `host`")
    ] = None
    targets: Annotated[
        tuple[Text, ...], Meta(description='several at once, each "host", "host:port" or "[2001:db8::1]:443"')
    ] = ()
    ca_file: Annotated[
        PathText | None, Meta(description="file with the certificates to trust (PEM); default: the system's")
    ] = None
    issuer: Annotated[
        Text | None,
        Meta(description="part of the name of the authority that must have signed; default: the one remembered"),
    ] = None
    min_version: Annotated[Literal["1.2", "1.3"], Meta(description="oldest TLS version that will do")] = "1.2"
    warn_before: Annotated[Seconds, Meta(description="a certificate that runs out sooner is a warning")] = Seconds(
        30 * 86400
    )
    max_connect: Annotated[Seconds, Meta(description="a connection that takes longer is slow")] = Seconds(1)


class Reading(msgspec.Struct, frozen=True):
    """How far the look got: a connection, then a handshake. `now` is Unix time by this PC's clock."""

    reach: Reach
    handshake: Handshake | None = None
    now: float = 0.0


def read(settings: TlsSettings, host: Host) -> Reading:
    """Connect, shake hands, close. Nothing is sent after the handshake."""
    with tcp.reaching(host, settings.host or "", settings.port) as (reach, connection):
        if connection is None:
            return Reading(reach, now=time.time())
        with tls.shaking(host, connection, settings.server_name or reach.host, settings.ca_file) as (handshake, _):
            return Reading(reach, handshake, time.time())


def judge(settings: TlsSettings, reading: Reading, memory: Memory) -> Observation:
    """First the connection, then the handshake; of two warnings, interception before a lame connection before dates."""
    expected = trust.Expected(
        target=f"{settings.host}:{settings.port}",
        name=settings.server_name or settings.host or "",
        issuer=settings.issuer,
        min_version=settings.min_version,
        warn_before=settings.warn_before,
    )
    reached = reaching.judge(reading.reach, settings.max_connect)
    found, handshake = reached, reading.handshake
    facts: dict[str, Measurement] = reaching.facts(reading.reach)
    evidence = reaching.evidence(reading.reach)
    if handshake is not None:
        shaken = trust.judge(expected, handshake, reading.now, memory)
        found = shaken if reached.status is Status.OK or _is_graver(shaken) else reached
        facts |= trust.facts(expected, handshake, reading.now)
        evidence += trust.evidence(handshake, reading.now)
    return Observation(
        status=found.status,
        reason=found.reason,
        measurements={**facts, **found.facts},
        evidence=tuple(evidence),
        memory=trust.remember(expected, handshake, found, memory),
    )


def _is_graver(shaken: reaching.Finding) -> bool:
    return shaken.status is Status.FAIL or shaken.reason == "tls.intercepted"


def problems(settings: TlsSettings) -> Iterable[tuple[str, str]]:
    """Either a host or targets; and a server name that can be asked for."""
    if settings.targets and settings.host is not None:
        yield "host", "expected nothing here beside `targets`"
    if not settings.targets and settings.host is None:
        yield "host", "expected a host name or address, or `targets`, got nothing"
    if settings.server_name is not None and not _is_name(settings.server_name):
        yield "server_name", "expected a host name"
    yield from endpoints.without_zone("host", settings.host)


def _is_name(text: str) -> bool:
    try:
        return not text.startswith(".") and bool(text.encode("idna"))
    except UnicodeError:
        return False


KIND = Kind(
    name="tls",
    summary="a TLS handshake: the certificate's dates, name and issuer, version, and who broke it off",
    settings=TlsSettings,
    read=read,
    judge=judge,
    target=lambda settings: f"{settings.host}:{settings.port}",
    impact=Impact.STOP,
    interval=Seconds(60),
    problems=problems,
    example={"host": "auth.acquirer.example", "port": 443},
    reasons=trust.REASONS,
)
