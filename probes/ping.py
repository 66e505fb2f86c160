"""Does a host answer pings, without loss, in time and evenly?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from probes import echoes, endpoints
from probes.echoes import Limits, Look
from probes.host import Host, icmp, resolve
from probes.host.icmp import Echoes
from probes.host.icmp_errors import BLOCKED_HERE, NO_ROUTE
from probes.model import (
    HostName,
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    Percent,
    Seconds,
    fail,
    ok,
    warn,
)
from probes.recall import keep, recall

FAMILY = {4: "IPv4", 6: "IPv6"}


class PingSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host that is meant to answer pings. Payment hosts often do not: ask them with `port` or `tls`."""

    host: Annotated[HostName, Meta(description="name or address; of a name one address of each family is asked")]
    count: Annotated[Annotated[int, Meta(ge=1, le=20)], Meta(description="packets per look")] = 5
    max_loss: Annotated[Percent, Meta(description="percent of the packets of the last looks that may get lost")] = 20
    max_rtt: Annotated[Seconds, Meta(description="longest median round trip that is still well")] = Seconds(0.5)
    max_jitter: Annotated[Seconds, Meta(description="largest mean change between round trips that is still well")] = (
        Seconds(0.1)
    )


class Reading(msgspec.Struct, frozen=True):
    """What each address answered, or why the name has none."""

    now: float
    answers: tuple[Echoes, ...] = ()
    unresolved: str = ""


class Past(msgspec.Struct):
    """Loss of the last looks."""

    recent: tuple[Look, ...] = ()


def read(settings: PingSettings, host: Host) -> Reading:
    """Resolve, then ping one address of each family at once."""
    try:
        addresses = resolve.resolve(host, settings.host).addresses
    except resolve.Unresolved as error:
        return Reading(now=time.time(), unresolved=str(error))
    answers = icmp.echo(host, tuple(icmp.spread(addresses)), settings.count)
    return Reading(now=time.time(), answers=tuple(answers))


def judge(settings: PingSettings, reading: Reading, memory: Memory) -> Observation:
    """By the family that answers best; a silent other family is told, not blamed."""
    if reading.unresolved or not reading.answers:
        return fail("ping.unresolved", {"host": settings.host}, reading.unresolved, memory=memory)
    limits = Limits(settings.max_loss, settings.max_rtt, settings.max_jitter)
    best = _best(reading.answers)
    recent = echoes.add(recall(memory, Past).recent, best, reading.now)
    lively = [each for each in reading.answers if each.answers]
    facts: dict[str, Measurement] = {
        "host": settings.host,
        "address": best.address,
        "answering": [FAMILY[each.family] for each in lively],
        **echoes.facts(best, recent, limits),
    }
    evidence = [echoes.story(each) for each in reading.answers]
    kept = keep(Past(recent))
    if not lively:
        return fail(_refusal(best), facts, *evidence, memory=kept)
    trouble = echoes.trouble(best, recent, limits)
    if not trouble:
        return ok(facts, *evidence, memory=kept)
    heavy = trouble == "loss" and echoes.loss_percent(recent) >= echoes.HALF
    return (fail if heavy else warn)(f"ping.{trouble}", facts, *evidence, memory=kept)


def problems(settings: PingSettings) -> Iterable[tuple[str, str]]:
    """The kernel takes 0.0.0.0 for this PC itself, and it always answers."""
    try:
        address = ipaddress.ip_address(settings.host)
    except ValueError:
        return
    if address.is_unspecified or address.is_multicast:
        yield "host", "expected the address of one host"
    yield from endpoints.without_zone("host", settings.host)


def _best(answers: tuple[Echoes, ...]) -> Echoes:
    """Most answers, then quickest. Where none answers: the family that has a route, IPv4 first."""

    def rank(each: Echoes) -> tuple[int, bool, float]:
        return -len(each.answers), each.refusal == NO_ROUTE, echoes.median_ms(each) or each.family

    return min(answers, key=rank)


def _refusal(best: Echoes) -> str:
    if best.refusal == BLOCKED_HERE:
        return "ping.blocked_here"
    return "ping.unreachable" if best.refusal else "ping.no_reply"


KIND = Kind(
    name="ping",
    summary="answers to ICMP echo: loss, round trip and jitter of both address families",
    settings=PingSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.host,
    impact=Impact.DEGRADE,
    reasons={
        "ping.no_reply": "no echo came within the deadline, and nobody said why",
        "ping.loss": "this look lost packets, and the last looks together lost more than `max_loss`",
        "ping.slow": "the median round trip is longer than `max_rtt`",
        "ping.jitter": "round trips differ by more than `max_jitter` from one to the next",
        "ping.unreachable": "a router, or this PC itself, says that the host cannot be reached",
        "ping.blocked_here": "this PC's own firewall forbids sending pings there",
        "ping.unresolved": "the name has no address",
    },
    problems=problems,
    example={"host": "host.example"},
)
