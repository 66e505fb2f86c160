"""Does this PC have a live, clean network connection of its own?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, arp, files, net
from probes.host.net import Link
from probes.host.netlink import Assigned
from probes.model import Denied, Impact, Kind, Measurement, Memory, NotFitted, Observation, Settings, fail, ok, warn
from probes.recall import keep, recall

MINUTE = 60
ERROR_WINDOW, ERRORS, ERROR_SHARE = 10, 10, 0.001  # minutes; errors; of the packets: less is the odd bad frame
FLAP_WINDOW, FLAPS, FLAP_QUIET = 60, 3, 15  # minutes; losses of carrier; minutes after which it has calmed down
InterfaceName = Annotated[str, Meta(pattern=r"^[^/\s]{1,15}$", title="an interface name such as eth0")]


class InterfaceSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network interface of this PC."""

    name: Annotated[
        InterfaceName | None,
        Meta(description="such as eth0; default: that of the default route, else the physical one with a cable in"),
    ] = None
    min_speed: Annotated[
        Annotated[int, Meta(ge=0)], Meta(description="Mbit/s that a cable must have negotiated; 0: any")
    ] = 100
    min_signal: Annotated[
        Annotated[int, Meta(ge=-120, le=0)], Meta(description="dBm that a Wi-Fi signal must have")
    ] = -75


class Reading(msgspec.Struct, frozen=True):
    """The interface and its addresses; `link` is None where there is none of that name."""

    now: float
    boot: str = ""
    link: Link | None = None
    addresses: tuple[Assigned, ...] = ()
    signal: int | None = None
    rivals: Mapping[str, str] = {}
    """IPv4 addresses that another host has too, each with that host's MAC."""


class Growth(msgspec.Struct):
    """What was counted within one minute."""

    minute: int
    errors: int = 0
    packets: int = 0
    losses: int = 0


class Past(msgspec.Struct):
    """The counters at the last look, and their growth minute by minute for the last hour."""

    boot: str = ""
    index: int = 0
    errors: int | None = None
    packets: int | None = None
    losses: int | None = None
    since: float = 0.0
    growth: list[Growth] = []


def read(settings: InterfaceSettings, host: Host) -> Reading:
    """/sys, /proc and netlink; and, where this user may, an ARP probe for each own IPv4 address."""
    now = time.time()
    name = settings.name or _usual(host)
    link = net.link(host, name)
    if link is None:
        return Reading(now)
    boot = files.read_word(host.path("/proc/sys/kernel/random/boot_id")) or ""
    addresses = tuple(net.addresses(host, link))
    return Reading(now, boot, link, addresses, net.signal(host, link), _rivals(host, link, addresses))


def judge(settings: InterfaceSettings, reading: Reading, memory: Memory) -> Observation:
    """From the cable upwards: what is broken below explains what is missing above."""
    link = reading.link
    if link is None:
        return fail("interface.absent", {"name": settings.name or ""}, memory=memory)
    past = _advance(recall(memory, Past), link, reading)
    facts = _facts(settings, reading, link, past)
    evidence = _evidence(link, reading)
    broken = _broken(link, reading)
    if broken:
        return fail(broken, facts, *evidence, memory=keep(past))
    poor = _poor(settings, reading, link, past)
    if poor:
        return warn(poor, facts, *evidence, memory=keep(past))
    return ok(facts, *evidence, memory=keep(past))


def _broken(link: Link, reading: Reading) -> str:
    if not link.up or link.blocked:
        return "interface.off"
    if link.carrier is False or link.operstate in ("down", "lowerlayerdown", "dormant", "notpresent"):
        return "interface.no_carrier"
    if reading.rivals:
        return "interface.no_address"
    if link.serves or any(_reaches_far(each) for each in reading.addresses):
        return ""
    alone = [each for each in reading.addresses if each.address.startswith("169.254.")]
    return "interface.self_assigned" if alone else "interface.no_address"


def _poor(settings: InterfaceSettings, reading: Reading, link: Link, past: Past) -> str:
    if _flapping(past, reading.now):
        return "interface.flapping"
    if _dirty(past, reading.now):
        return "interface.errors"
    if not link.tunnel and not link.wireless:
        if link.duplex == "half":
            return "interface.half_duplex"
        if link.speed is not None and link.speed < settings.min_speed:
            return "interface.slow"
    weak = reading.signal is not None and reading.signal < settings.min_signal
    return "interface.weak_signal" if weak else ""


def _rivals(host: Host, link: Link, addresses: Iterable[Assigned]) -> dict[str, str]:
    """Who else has one of these addresses; nothing is claimed where this user may not ask."""
    try:
        return arp.conflicts(host, link, [each.address for each in addresses if _reaches_far(each)])
    except (Denied, OSError):  # no right to, or the card went away just now, which the next look will see
        return {}


def _reaches_far(each: Assigned) -> bool:
    """Neither self-assigned (169.254.0.0/16, fe80::/10) nor in conflict with another host."""
    address = ipaddress.ip_address(each.address)
    return each.usable and not address.is_link_local and not address.is_loopback


def _advance(past: Past, link: Link, reading: Reading) -> Past:
    """The counters' growth since the last look. After a reboot, a re-plugged adapter or a reset there is none."""
    now = Past(reading.boot, link.index, link.errors, link.packets, link.carrier_losses, reading.now)
    same = (past.boot, past.index) == (now.boot, now.index)
    grown = [_grown(past.errors, now.errors), _grown(past.packets, now.packets), _grown(past.losses, now.losses)]
    if not same or None in grown:
        return now
    minute = int(reading.now // MINUTE)
    now.since = past.since if past.since <= reading.now else reading.now
    now.growth = [each for each in past.growth if 0 <= minute - each.minute < FLAP_WINDOW]
    if not now.growth or now.growth[-1].minute != minute:
        now.growth.append(Growth(minute))
    last = now.growth[-1]
    last.errors += grown[0] or 0
    last.packets += grown[1] or 0
    last.losses += grown[2] or 0
    return now


def _grown(before: int | None, after: int | None) -> int | None:
    """How much a counter grew; None when it fell (was reset). One that the driver does not have never grows."""
    if before is None or after is None:
        return 0
    return after - before if after >= before else None


def _within(past: Past, now: float, minutes: int) -> Growth:
    minute = int(now // MINUTE)
    recent = [each for each in past.growth if minute - each.minute < minutes]
    return Growth(
        minute,
        errors=sum(each.errors for each in recent),
        packets=sum(each.packets for each in recent),
        losses=sum(each.losses for each in recent),
    )


def _dirty(past: Past, now: float) -> bool:
    recent = _within(past, now, ERROR_WINDOW)
    return recent.errors >= ERRORS and recent.errors >= ERROR_SHARE * recent.packets


def _flapping(past: Past, now: float) -> bool:
    return _within(past, now, FLAP_WINDOW).losses >= FLAPS and _within(past, now, FLAP_QUIET).losses > 0


def _facts(settings: InterfaceSettings, reading: Reading, link: Link, past: Past) -> dict[str, Measurement]:
    facts: dict[str, Measurement] = {
        "name": link.name,
        "operstate": link.operstate,
        "addresses": [f"{each.address}/{each.prefix}" for each in reading.addresses if each.usable],
        "min_speed_mbit": settings.min_speed,
        "min_signal_dbm": settings.min_signal,
        "carrier": link.carrier,
        "speed_mbit": None if link.tunnel else link.speed,
        "duplex": None if link.tunnel else link.duplex or None,
        "signal_dbm": reading.signal,
        "wireless": link.wireless,
        **_conflict(reading),
        **_counted(past, reading.now),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _conflict(reading: Reading) -> dict[str, Measurement]:
    """The first address that another host has too, and that host's MAC where it is known."""
    for address, mac in reading.rivals.items():
        return {"conflicting_address": address, "conflicting_mac": mac}
    duplicate = next((each.address for each in reading.addresses if each.duplicate), None)
    return {"conflicting_address": duplicate}


def _counted(past: Past, now: float) -> dict[str, Measurement]:
    """Errors and lost carriers within their windows, and per hour once an hour's worth can be told from a moment's."""
    recent, hour = _within(past, now, ERROR_WINDOW), _within(past, now, FLAP_WINDOW)
    found: dict[str, Measurement] = {"errors": recent.errors, "carrier_losses": hour.losses}
    watched = now - past.since
    if watched >= MINUTE:
        found["errors_per_hour"] = round(recent.errors * 3600 / min(watched, ERROR_WINDOW * MINUTE), 1)
        found["carrier_losses_per_hour"] = round(hour.losses * 3600 / min(watched, FLAP_WINDOW * MINUTE), 1)
    return found


def _evidence(link: Link, reading: Reading) -> list[str]:
    lines = [f"operstate {link.operstate}, flags {link.flags:#x}"]
    if link.driver:
        lines.append(f"driver {link.driver}")
    if link.blocked:
        lines.append(f"radio switched off {link.blocked} (rfkill)")
    if link.serves:
        lines.append(f"part of {link.serves}, which has the addresses")
    lines += [f"{each.address}: another host has this address too" for each in reading.addresses if each.duplicate]
    lines += [
        f"{address}: another host has this address too, {mac}, it says by ARP"
        for address, mac in reading.rivals.items()
    ]
    return lines


def _usual(host: Host) -> str:
    """The interface of the default route; with none, the likeliest physical one. Raises NotFitted."""
    for route in net.routes(host):
        if not route.refused:
            return route.interface
    every = [link for link in net.links(host) if not link.flags & net.LOOPBACK]
    able = [link for link in every if link.device] or [link for link in every if link.peer]
    if not able:
        raise NotFitted("this PC has no network interface but the loopback", why="no_interface")
    return min(able, key=lambda link: (not link.carrier, not link.up, link.wireless, link.name)).name


def problems(settings: InterfaceSettings) -> Iterable[tuple[str, str]]:
    """`.` and `..` are no interfaces."""
    if settings.name in (".", ".."):
        yield "name", "expected an interface name such as eth0"


KIND = Kind(
    name="interface",
    summary="a network interface: cable, address, speed, errors, Wi-Fi signal",
    settings=InterfaceSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.name or "default route",
    impact=Impact.STOP,
    reasons={
        "interface.absent": "there is no interface of that name",
        "interface.off": "switched off: administratively down, or its radio is blocked",
        "interface.no_carrier": "no cable, no Wi-Fi association, or nothing at the other end",
        "interface.no_address": "no usable address: none, only fe80::, or one that another host has too",
        "interface.self_assigned": "only a self-assigned address (169.254.x.x): no DHCP server answered",
        "interface.slow": "the cable negotiated less than `min_speed`",
        "interface.half_duplex": "the cable negotiated half duplex",
        "interface.errors": "10 or more bad frames, and one in a thousand packets, within ten minutes",
        "interface.flapping": "the carrier was lost three times or more within the hour",
        "interface.weak_signal": "the Wi-Fi signal is weaker than `min_signal`",
    },
    problems=problems,
    example={},
)
