"""Does the router of this store live?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from probes import echoes, endpoints
from probes.echoes import Limits, Look
from probes.host import Host, icmp, icmp_socket, net
from probes.host.icmp import Echoes
from probes.host.proc_net import Route
from probes.model import (
    Denied,
    HostName,
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    Percent,
    Seconds,
    Status,
    fail,
    ok,
    warn,
)
from probes.recall import keep, recall

DEAD = ("incomplete", "failed", "")
FRESH = 60.0  # seconds: each look makes the kernel ask again, so a living neighbour was confirmed this recently
MOMENT = 0.2
PATIENCE = 1.0


class GatewaySettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next hop of the default routes. One that ignores pings but answers ARP is well."""

    address: Annotated[
        HostName | None, Meta(description="the router's numeric address; default: that of each default route")
    ] = None
    count: Annotated[Annotated[int, Meta(ge=1, le=20)], Meta(description="packets per look")] = 5
    max_loss: Annotated[Percent, Meta(description="percent of the packets of the last looks that may get lost")] = 20
    max_rtt: Annotated[Seconds, Meta(description="longest median round trip that is still well")] = Seconds(0.1)


class Side(msgspec.Struct, frozen=True):
    """The default route of one family, and how its gateway answered."""

    family: int
    interface: str
    gateway: str = ""
    lan: bool = True
    echoes: Echoes | None = None
    """None where there is nobody to ping, or this user may not."""
    neighbour: str = ""
    mac: str = ""
    confirmed: float | None = None
    """Wall time at which the kernel last saw the neighbour alive."""


class Reading(msgspec.Struct, frozen=True):
    """The route in use of each family, IPv4 first; `others` are routes that wait behind it or lead nowhere."""

    began: float
    now: float
    sides: tuple[Side, ...] = ()
    others: tuple[Route, ...] = ()
    may_ping: bool = True


class Past(msgspec.Struct):
    """What is known of the gateway named here; forgotten when another one takes its place."""

    gateway: str = ""
    mac: str = ""
    answered: bool = False
    ignores: bool = False
    silent_since: float | None = None
    looked: float | None = None
    recent: tuple[Look, ...] = ()


def read(settings: GatewaySettings, host: Host) -> Reading:
    """Ping the gateways; where the first stays silent, wait for the kernel's own question to be answered."""
    began = time.time()
    chosen, others = _routes(settings, host)
    targets = tuple(route.gateway for route in chosen if route.gateway)
    may_ping = True
    answers: dict[str, Echoes] = {}
    try:
        if targets:
            answers = {each.address: each for each in icmp.echo(host, targets, settings.count, PATIENCE)}
    except Denied:
        may_ping = False
        net.nudge(targets)
    sides = [_side(host, route, answers.get(route.gateway)) for route in chosen]
    since = began if may_ping else began - FRESH
    while sides and not _decided(sides[0], since, began) and host.left() > 2 * MOMENT:
        time.sleep(MOMENT)
        sides[0] = _side(host, chosen[0], answers.get(chosen[0].gateway))
    if not may_ping and not _told(sides[0], since):
        raise icmp_socket.denied()
    return Reading(began, time.time(), tuple(sides), tuple(others), may_ping)


def judge(settings: GatewaySettings, reading: Reading, memory: Memory) -> Observation:
    """By IPv4 where it has a default route, else by IPv6; the other family is told, not blamed."""
    if not reading.sides:
        return fail("gateway.no_route", {}, *_beside(reading), memory=memory)
    side = reading.sides[0]
    past = recall(memory, Past)
    if past.gateway != side.gateway:
        past = Past(gateway=side.gateway)
    facts: dict[str, Measurement] = {
        "gateway": side.gateway or side.interface,
        "interface": side.interface,
        "answering": [each.gateway for each in reading.sides if each.echoes and each.echoes.answers],
    }
    if side.neighbour:
        facts["neighbour"] = side.neighbour
    evidence = [*_beside(reading), *_stranger(side, past)]
    if not side.gateway:
        return ok(facts, "a point-to-point line: there is no gateway to ask", *evidence, memory=memory)
    if side.echoes and side.echoes.answers:
        return _lively(settings, side.echoes, reading, past, (facts, evidence))
    return _silent(side, reading, past, (facts, evidence))


def problems(settings: GatewaySettings) -> Iterable[tuple[str, str]]:
    """A name would need the very gateway to be resolved."""
    try:
        if settings.address is None or not ipaddress.ip_address(settings.address).is_unspecified:
            yield from endpoints.without_zone("address", settings.address)
            return
    except ValueError:
        pass
    yield "address", 'expected a numeric address such as "192.0.2.1"'


Told = tuple[dict[str, Measurement], list[str]]


def _lively(settings: GatewaySettings, answer: Echoes, reading: Reading, past: Past, told: Told) -> Observation:
    facts, evidence = told
    limits = Limits(settings.max_loss, settings.max_rtt)
    recent = echoes.add(past.recent, answer, reading.now)
    facts |= echoes.facts(answer, recent, limits)
    mac = reading.sides[0].mac or past.mac
    kept = keep(Past(past.gateway, mac, answered=True, looked=reading.began, recent=recent))
    trouble = echoes.trouble(answer, recent, limits)
    if not trouble:
        return ok(facts, *evidence, memory=kept)
    heavy = trouble == "loss" and echoes.loss_percent(recent) >= echoes.HALF
    return (fail if heavy else warn)(f"gateway.{trouble}", facts, *evidence, memory=kept)


def _silent(side: Side, reading: Reading, past: Past, told: Told) -> Observation:
    facts, evidence = told
    status, why = _verdict(side, reading, past)
    if side.echoes:
        evidence.append(echoes.story(side.echoes))
    evidence.append(why)
    kept = Past(
        past.gateway, side.mac or past.mac, past.answered, past.ignores, past.silent_since, reading.began, past.recent
    )
    if status is Status.OK:
        if reading.may_ping:
            kept = msgspec.structs.replace(kept, ignores=True, answered=False)
        return ok(facts | {"answers_ping": False}, *evidence, memory=keep(kept))
    kept.silent_since = past.silent_since or reading.began
    if status is Status.FAIL:
        return fail("gateway.no_reply", facts, *evidence, memory=keep(kept))
    return warn("gateway.no_reply", facts, *evidence, memory=keep(kept))


def _verdict(side: Side, reading: Reading, past: Past) -> tuple[Status, str]:
    """No ping came back. Is the gateway dead, or does it merely ignore pings?

    ARP and neighbour discovery cannot be ignored, but the kernel asks seldom: it takes an old answer for good for half
    a minute and longer. Only an answer newer than the silence proves life; no answer at all proves death.
    """
    if side.neighbour in DEAD and side.lan:
        return Status.FAIL, "it does not answer on the LAN either (ARP or neighbour discovery)"
    if not side.lan:
        return Status.OK, "it ignores pings; a tunnel has no neighbours that could be asked otherwise"
    since = past.silent_since or reading.began
    if past.ignores or not reading.may_ping:
        since = min(past.looked or reading.began, reading.now - FRESH)
    if side.confirmed is not None and side.confirmed >= since:
        return Status.OK, f"no pings answered, but alive on the LAN {max(reading.now - side.confirmed, 0.0):.0f} s ago"
    if past.answered:
        return Status.FAIL, f"it answered pings before; its neighbour entry is {side.neighbour} and not yet confirmed"
    return Status.WARN, f"its neighbour entry is {side.neighbour}: it may be gone, or only ignore pings"


def _routes(settings: GatewaySettings, host: Host) -> tuple[list[Route], list[Route]]:
    """The route in use of each family, and the rest."""
    if settings.address:
        hop = net.route_to(host, settings.address)
        family = 6 if ":" in settings.address else 4
        return ([Route(family, hop.interface, settings.address)] if hop else []), []
    every = net.routes(host)
    first = [next((route for route in every if route.family == family), None) for family in (4, 6)]
    chosen = [route for route in first if route and not route.refused]
    return chosen, [route for route in every if route not in chosen]


def _side(host: Host, route: Route, answer: Echoes | None) -> Side:
    here = net.link(host, route.interface)
    known = net.neighbour(host, route.gateway, route.interface) if route.gateway else None
    return Side(
        family=route.family,
        interface=route.interface,
        gateway=route.gateway,
        lan=here is None or here.broadcast,
        echoes=answer,
        neighbour=known.state if known else "",
        mac=known.mac if known else "",
        confirmed=None if known is None or known.confirmed is None else time.time() - known.confirmed,
    )


def _decided(side: Side, since: float, asked: float) -> bool:
    """Whether waiting would tell nothing more. The kernel asks for a neighbour once a second, so two go unanswered."""
    if not side.gateway or not side.lan or (side.echoes and side.echoes.answers):
        return True
    if side.neighbour in DEAD:
        return time.time() - asked >= PATIENCE + MOMENT
    return side.confirmed is not None and side.confirmed >= since


def _told(side: Side, since: float) -> bool:
    """Whether it can be judged without pings; the loopback and a tunnel have no neighbours that would tell instead."""
    return not side.gateway or (side.lan and _decided(side, since, 0.0))


def _beside(reading: Reading) -> list[str]:
    """The other family and the other routes, for whoever wonders."""
    lines = [echoes.story(side.echoes) for side in reading.sides if side.echoes and side.echoes.answers]
    lines += [
        f"{echoes.story(side.echoes)}; neighbour entry: {side.neighbour or 'none'}"
        for side in reading.sides[1:]
        if side.echoes and not side.echoes.answers
    ]
    for route in reading.others:
        way = "leads nowhere (blackhole, prohibit or unreachable)" if route.refused else f"metric {route.metric}"
        lines.append(f"further default route: {route.gateway or 'no gateway'} on {route.interface}, {way}")
    return lines


def _stranger(side: Side, past: Past) -> list[str]:
    if side.mac and past.mac and side.mac != past.mac:
        return [f"the gateway's hardware address changed from {past.mac} to {side.mac}"]
    return []


KIND = Kind(
    name="gateway",
    summary="the router: default route, ARP or neighbour state, loss and round trip",
    settings=GatewaySettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.address or "default route",
    impact=Impact.STOP,
    reasons={
        "gateway.no_route": "no default route of either family, or only ones that lead nowhere",
        "gateway.no_reply": "the gateway answers neither pings nor, as far as the kernel knows, ARP",
        "gateway.loss": "this look lost packets, and the last looks together lost more than `max_loss`",
        "gateway.slow": "the median round trip to the gateway is longer than `max_rtt`",
    },
    problems=problems,
    example={},
)
