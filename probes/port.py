"""Does the target's port answer, and if not, who is in the way?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from probes import endpoints
from probes import reach as reaching
from probes.host import Host, tcp
from probes.host.tcp import Reach
from probes.model import HostName, Impact, Kind, Memory, NetworkSettings, Observation, Port, Seconds, Text


class PortSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TCP port of a host. `targets` stands for several in one table."""

    host: Annotated[HostName | None, Meta(description="host name or address")] = None
    port: Annotated[Port | None, Meta(description="TCP port")] = None
    targets: Annotated[
        tuple[Text, ...], Meta(description='several at once, each "host:port" or "[2001:db8::1]:443"; one probe each')
    ] = ()
    max_connect: Annotated[Seconds, Meta(description="a connection that takes longer is slow")] = Seconds(1)


class Reading(msgspec.Struct, frozen=True):
    """How far the look got."""

    reach: Reach


def read(settings: PortSettings, host: Host) -> Reading:
    """Resolve, connect over both families, close. Nothing is sent."""
    with tcp.reaching(host, settings.host or "", settings.port or 0) as (reach, _connection):
        return Reading(reach)


def judge(settings: PortSettings, reading: Reading, _memory: Memory) -> Observation:
    """What probes.reach says of the connection."""
    status, reason, facts = reaching.judge(reading.reach, settings.max_connect)
    return Observation(
        status=status,
        reason=reason,
        measurements={**reaching.facts(reading.reach), **facts},
        evidence=tuple(reaching.evidence(reading.reach)),
    )


def problems(settings: PortSettings) -> Iterable[tuple[str, str]]:
    """Either a host with its port, or targets."""
    if settings.targets:
        for key in ("host", "port"):
            if getattr(settings, key) is not None:
                yield key, "expected nothing here beside `targets`"
    elif settings.host is None:
        yield "host", "expected a host name or address, or `targets`, got nothing"
    elif settings.port is None:
        yield "port", "expected 1..65535, got nothing"
    yield from endpoints.without_zone("host", settings.host)


KIND = Kind(
    name="port",
    summary="a TCP port: answers, refuses, is rejected, dropped or blocked by this PC; over IPv4 and IPv6",
    settings=PortSettings,
    read=read,
    judge=judge,
    target=lambda settings: f"{settings.host}:{settings.port}",
    impact=Impact.STOP,
    interval=Seconds(60),
    problems=problems,
    example={"host": "auth.acquirer.example", "port": 443},
    reasons=reaching.REASONS,
)
