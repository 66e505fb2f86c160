"""Which interfaces, addresses, routes and neighbours has this PC?

Live machines are asked over netlink where that knows more; a fixture tree, or a sandbox without netlink, through /sys
and /proc alone. Everything here is open to every user.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Callable
from typing import TypeVar

import msgspec

from probes.host import Host, files, netlink, proc_net
from probes.host.netlink import Assigned, Neighbour
from probes.host.proc_net import Route
from probes.model import OutOfTime

T = TypeVar("T")
UP, LOOPBACK, POINT_TO_POINT, NO_ARP = 0x1, 0x8, 0x10, 0x80  # /sys/class/net/*/flags, if.h
PRIVATE = tuple(
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)
_NAME = re.compile(r"[^/\s]{1,15}")
_ERRORS = ("rx_errors", "tx_errors")
_PACKETS = ("rx_packets", "tx_packets")


class Link(msgspec.Struct, frozen=True):
    """One network interface as /sys/class/net shows it; None where the driver does not say."""

    name: str
    index: int = 0
    kind: int = 1
    """ARPHRD type: 1 Ethernet, 772 loopback, 512 PPP, 65534 none."""
    flags: int = 0
    operstate: str = "unknown"
    carrier: bool | None = None
    speed: int | None = None
    duplex: str = ""
    driver: str = ""
    device: bool = False
    """Backed by hardware (or what a virtual machine has in its place)."""
    peer: bool = False
    """One end of a pair or a child of another interface, as containers have."""
    wireless: bool = False
    tunnel: bool = False
    """tun, tap, WireGuard, PPP: a speed or duplex it tells is made up."""
    serves: str = ""
    """The bridge, bond or VLAN on top, which has the addresses in its stead."""
    blocked: str = ""
    """Radio switched off: "by switch" or "by software"."""
    errors: int | None = None
    packets: int | None = None
    carrier_losses: int | None = None

    @property
    def up(self) -> bool:
        """Switched on by the administrator."""
        return bool(self.flags & UP)

    @property
    def broadcast(self) -> bool:
        """A LAN with neighbours to resolve, as opposed to the loopback, a tunnel or a dial-up line."""
        return not self.flags & (LOOPBACK | POINT_TO_POINT | NO_ARP)


class Hop(msgspec.Struct, frozen=True):
    """The first step towards an address: through which interface, which gateway (none on the LAN), from where."""

    interface: str
    gateway: str = ""
    source: str = ""


def links(host: Host) -> list[Link]:
    """Every interface, loopback included, in the order of their names."""
    return [found for name in files.names(host.path("/sys/class/net")) if (found := link(host, name))]


def link(host: Host, name: str) -> Link | None:
    """One interface; None where there is no such thing."""
    at = host.path("/sys/class/net") / name
    if not _NAME.fullmatch(name) or name in (".", "..") or not os.path.isdir(at):  # noqa: PTH112 -- Path.is_dir raises for a stale entry
        return None
    entries = files.names(at)
    speed, kind = files.read_number(at / "speed"), files.read_number(at / "type")
    carrier = files.read_number(at / "carrier")  # EINVAL while switched off: None
    return Link(
        name=name,
        index=files.read_number(at / "ifindex") or 0,
        kind=1 if kind is None else kind,
        flags=_hex(files.read_word(at / "flags")),
        operstate=files.read_word(at / "operstate") or "unknown",
        carrier=None if carrier is None else bool(carrier),
        speed=speed if speed and speed > 0 else None,
        duplex=(files.read_word(at / "duplex") or "").replace("unknown", ""),
        driver=(at / "device/driver").resolve().name if (at / "device/driver").exists() else "",
        device="device" in entries,
        peer=files.read_number(at / "iflink") != files.read_number(at / "ifindex"),
        wireless="wireless" in entries or "phy80211" in entries,
        tunnel="tun_flags" in entries or kind in (512, 65534),
        serves=_served(host, name, entries),
        blocked=_rfkill(host, name),
        errors=_sum(host, name, _ERRORS),
        packets=_sum(host, name, _PACKETS),
        carrier_losses=_carrier_losses(host, name),
    )


def signal(host: Host, of: Link) -> int | None:
    """Wi-Fi signal in dBm; None where it is no radio, is not associated, or nobody can tell."""
    if not of.wireless:
        return None
    with contextlib.suppress(OSError):
        for name, level in proc_net.parse_wireless(files.read_text(host.path("/proc/net/wireless"))):
            if name == of.name:
                return level
    if not host.is_this_machine:
        return None
    return _quietly(lambda: netlink.station_signal(host, of.index))


def addresses(host: Host, of: Link) -> list[Assigned]:
    """The addresses of one interface."""
    return [found for found in all_addresses(host) if found.index == of.index]


def all_addresses(host: Host) -> list[Assigned]:
    """The addresses of all interfaces, both families."""
    found = _quietly(lambda: netlink.addresses(host)) if host.is_this_machine else None
    return proc_net.addresses(host, _indexes(host)) if found is None else found


def neighbours(host: Host) -> list[Neighbour]:
    """ARP and neighbour-discovery caches; ARP alone where netlink is not to be had."""
    found = _quietly(lambda: netlink.neighbours(host)) if host.is_this_machine else None
    if found is not None:
        return found
    index = _indexes(host)
    return [
        Neighbour(address, index.get(interface, 0), "stale" if mac else "incomplete", mac)
        for address, interface, mac in proc_net.parse_arp(proc_net.content(host, "/proc/net/arp"))
    ]


def neighbour(host: Host, address: str, interface: str) -> Neighbour | None:
    """What the cache knows of one address (its `%zone` is left aside) on one interface."""
    here = link(host, interface)
    bare = address.partition("%")[0]
    return next((n for n in neighbours(host) if here and n.index == here.index and n.address == bare), None)


def routes(host: Host) -> list[Route]:
    """The default routes of both families, the one in use first within each: IPv4, then IPv6, by metric."""
    every = [each for each in proc_net.table(host) if each[0].prefixlen == 0]
    return sorted((route for _, route in every), key=lambda route: (route.family, route.metric))


def route_to(host: Host, address: str) -> Hop | None:
    """The first step towards a numeric address, as the kernel would take it; None when there is no way there."""
    if host.is_this_machine:
        try:
            way = netlink.way(host, address)
        except OutOfTime:
            raise
        except (OSError, ValueError):
            return _route_by_table(host, address, _source(address))
        if way.refused:
            return None
        zone = f"%{_name_of(way.index)}" if way.gateway.lower().startswith("fe8") else ""
        return Hop(_name_of(way.index), way.gateway + zone if way.gateway else "", way.source)
    return _route_by_table(host, address, "")


def is_lan(host: Host, address: str) -> bool:
    """Whether a numeric address is this PC's own or a neighbour's, reached through no gateway and no tunnel.

    With the cable out there is no route to judge by: private addresses (RFC 1918, 4193, link-local) count as LAN then.
    """
    hop = route_to(host, address)
    if hop is None:
        return _private(address)
    here = link(host, hop.interface)
    if hop.gateway or here is None:
        return False
    return bool(here.flags & LOOPBACK) or (here.broadcast and _is_near(host, here, address))


def _is_near(host: Host, here: Link, address: str) -> bool:
    """Within one of the interface's own networks: a route that calls the whole world a neighbour proves nothing."""
    own = [ipaddress.ip_interface(f"{each.address}/{each.prefix}").network for each in addresses(host, here)]
    return not own or any(ipaddress.ip_address(address.partition("%")[0]) in each for each in own)


def _route_by_table(host: Host, address: str, source: str) -> Hop | None:
    """Longest prefix, then lowest metric; knows no policy routing."""
    try:
        bare = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if bare.is_loopback:
        return Hop("lo", "", source)
    able = [(net, route) for net, route in proc_net.table(host) if bare.version == route.family and bare in net]
    if not able:
        return None
    _, best = min(able, key=lambda entry: (-entry[0].prefixlen, entry[1].metric))
    return None if best.refused else Hop(best.interface, best.gateway, source)


def _indexes(host: Host) -> dict[str, int]:
    return {each.name: each.index for each in links(host)}


def _source(address: str) -> str:
    """The address the kernel would send from, asked with a connected datagram socket that sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _quietly(ask: Callable[[], T]) -> T | None:
    """Netlink's answer, or None where a sandbox or an old kernel has no such door."""
    try:
        return ask()
    except OSError:
        return None


def _private(address: str) -> bool:
    try:
        bare = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(bare.version == each.version and bare in each for each in PRIVATE)


def _name_of(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except (OSError, OverflowError):
        return ""


def _hex(word: str | None) -> int:
    try:
        return int(word or "0", 16)
    except ValueError:
        return 0


def _served(host: Host, name: str, entries: list[str]) -> str:
    at = host.path("/sys/class/net") / name
    if "master" in entries:
        return (at / "master").resolve().name
    return next((entry.removeprefix("upper_") for entry in entries if entry.startswith("upper_")), "")


def _rfkill(host: Host, name: str) -> str:
    at = host.path("/sys/class/net") / name / "phy80211"
    switches = [at / entry for entry in files.names(at) if entry.startswith("rfkill")]
    if any(files.read_number(switch / "hard") for switch in switches):
        return "by switch"
    return "by software" if any(files.read_number(switch / "soft") for switch in switches) else ""


def _sum(host: Host, name: str, counters: tuple[str, ...]) -> int | None:
    at = host.path("/sys/class/net") / name / "statistics"
    values = [files.read_number(at / counter) for counter in counters]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _carrier_losses(host: Host, name: str) -> int | None:
    at = host.path("/sys/class/net") / name
    down = files.read_number(at / "carrier_down_count")
    if down is not None:
        return down
    changes = files.read_number(at / "carrier_changes")
    return None if changes is None else changes // 2


def nudge(targets: tuple[str, ...]) -> None:
    """Make the kernel ask for neighbours without the right to ping: an empty datagram to the discard port of each."""
    for address in targets:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            where = socket.getaddrinfo(address, 9, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4]
            probe.setblocking(False)
            probe.sendto(b"", where)
