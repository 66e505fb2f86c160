"""Does another host on the LAN have one of this PC's own IPv4 addresses?

Asked as a PC asks before it takes an address (RFC 5227): ARP requests from the sender 0.0.0.0. They announce nothing,
enter nobody's cache, and a proxy that answers for other hosts leaves them alone. IPv6 needs none of this, the kernel
tells of its own duplicates; for IPv4 it keeps no sign that an ordinary user could read, so CAP_NET_RAW is needed.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable

import msgspec

from probes.host import Host, files, net
from probes.host.net import Link
from probes.model import Denied

ETHERNET = 1  # ARPHRD_ETHER: cables, Wi-Fi, bridges, bonds and VLANs alike
ETHERTYPE = 0x0806
REQUEST, REPLY = 1, 2
BROADCAST = b"\xff" * 6
OUTGOING = 4  # PACKET_OUTGOING: our own frame, seen on its way out
PATIENCE_S = 0.3
AGAIN_S = 0.1  # a second request: the first may be lost
FRESH_S = 5.0  # whoever asks again within this time gets the same answer: `check` looks twice, and need not wait twice
ADDRESSES = 8
FRAMES = 500  # a storm of broadcasts holds us no longer than this
DENIED = "to see whether another host has the same address needs the capability CAP_NET_RAW"
_HEAD = struct.Struct("!HHBBH6s4s6s4s")
_answers: dict[tuple[str, int, tuple[str, ...]], tuple[float, dict[str, str]]] = {}


class Packet(msgspec.Struct, frozen=True):
    """An ARP packet for IPv4 over Ethernet."""

    operation: int
    mac: str
    sender: str
    target: str


def conflicts(host: Host, link: Link, addresses: Iterable[str]) -> dict[str, str]:
    """The addresses that somebody else on this link has too, each with the other's MAC. Takes 0.3 s.

    Raises Denied where this user may not ask, OSError where the link is no more.
    """
    wanted = tuple(address for address in addresses if ":" not in address)[:ADDRESSES]
    if not wanted or not host.is_this_machine or not speaks_arp(link):
        return {}
    key = (link.name, link.index, wanted)
    known = _answers.get(key)
    if known is None or time.monotonic() - known[0] > FRESH_S:
        heard = _ask(host, link, wanted)
        _answers[key] = known = (time.monotonic(), heard)
    return known[1]


def speaks_arp(link: Link) -> bool:
    """Whether neighbours could answer on it at all."""
    return link.kind == ETHERNET and link.up and link.carrier is True and link.broadcast and not link.tunnel


def question(mac: bytes, address: str) -> bytes:
    """An RFC 5227 probe: who has this address? Asked by nobody (0.0.0.0), so that nobody learns anything from it."""
    return _HEAD.pack(ETHERNET, 0x0800, 6, 4, REQUEST, mac, bytes(4), bytes(6), socket.inet_aton(address))


def parse(data: bytes) -> Packet | None:
    """An ARP packet; None for what is no such thing. Padding behind it is left aside."""
    if len(data) < _HEAD.size:
        return None
    hardware, protocol, hardware_size, protocol_size, operation, mac, sender, _, target = _HEAD.unpack_from(data)
    if (hardware, protocol, hardware_size, protocol_size) != (ETHERNET, 0x0800, 6, 4):
        return None
    if operation not in (REQUEST, REPLY):
        return None
    return Packet(operation, mac.hex(":"), socket.inet_ntoa(sender), socket.inet_ntoa(target))


def foreign(packet: Packet | None, addresses: Iterable[str], own: Iterable[str]) -> bool:
    """Whether somebody else says in this packet that one of the addresses is his."""
    return packet is not None and packet.sender in addresses and packet.mac not in own


def _ask(host: Host, link: Link, addresses: tuple[str, ...]) -> dict[str, str]:
    """Ask twice and listen. A frame that another host sends of its own accord counts as well."""
    ends = time.monotonic() + min(PATIENCE_S, host.left() / 2)
    own, routers = _own(host), _routers(host, link)
    found: dict[str, str] = {}
    with _socket(link) as wire:
        mac = wire.getsockname()[4]
        for pause in (AGAIN_S, PATIENCE_S):
            for address in addresses:
                wire.sendto(question(mac, address), (link.name, ETHERTYPE, 0, 0, BROADCAST))
            _listen(wire, min(ends, time.monotonic() + pause), addresses, own | routers, found)
            if len(found) == len(addresses):
                break
    return found


def _listen(
    wire: socket.socket, until: float, addresses: tuple[str, ...], known: frozenset[str], found: dict[str, str]
) -> None:
    for _ in range(FRAMES):
        left = until - time.monotonic()
        if left <= 0 or len(found) == len(addresses):
            return
        wire.settimeout(left)
        try:
            data, (_, _, direction, *_) = wire.recvfrom(128)
        except TimeoutError:
            return
        packet = parse(data)
        if direction != OUTGOING and packet is not None and foreign(packet, addresses, known):
            found[packet.sender] = packet.mac


def _socket(link: Link) -> socket.socket:
    try:
        # SOCK_DGRAM: the kernel writes the frame's header, VLAN tag included.
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise Denied(DENIED) from error
    try:
        wire.bind((link.name, ETHERTYPE))
    except OSError:
        wire.close()
        raise
    return wire


def _own(host: Host) -> frozenset[str]:
    """Every MAC of this PC: with two cards on one LAN, Linux answers for either's address through both."""
    at = host.path("/sys/class/net")
    return frozenset(word.lower() for name in files.names(at) if (word := files.read_word(at / name / "address")))


def _routers(host: Host, link: Link) -> frozenset[str]:
    """MACs of the gateways on this link. Some answer in everybody's stead, to keep guests apart: it proves nothing."""
    gateways = {route.gateway for route in net.routes(host) if route.gateway}
    with contextlib.suppress(OSError):
        return frozenset(n.mac for n in net.neighbours(host) if n.index == link.index and n.address in gateways)
    return frozenset()
