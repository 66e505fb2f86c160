"""What does the kernel say about neighbours, addresses, routes and radio stations when asked over netlink?

Four questions of rtnetlink(7) and one of nl80211, each open to every user. Anything that cannot be parsed is left out;
a sandbox without AF_NETLINK raises OSError and the caller falls back on /proc.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import msgspec

from probes.host import Host

ROUTE, GENERIC = 0, 16  # netlink families
REQUEST, DUMP = 0x1, 0x300
ERROR, DONE = 2, 3
NEW_ADDRESS, GET_ADDRESS, NEW_ROUTE, GET_ROUTE, NEW_NEIGHBOUR, GET_NEIGHBOUR = 20, 22, 24, 26, 28, 30
STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
REFUSALS = {6: "blackhole", 7: "unreachable", 8: "prohibit"}  # route types that lead nowhere on purpose
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
Attributes = dict[int, bytes]


class Neighbour(msgspec.Struct, frozen=True):
    """One entry of the ARP or neighbour-discovery cache. `confirmed` is how many seconds ago it last proved alive."""

    address: str
    index: int
    state: str
    mac: str = ""
    confirmed: float | None = None


class Assigned(msgspec.Struct, frozen=True):
    """One address of an interface. `usable` is false while it is tentative or when another host has it too."""

    address: str
    prefix: int
    index: int
    usable: bool = True
    duplicate: bool = False


class Way(msgspec.Struct, frozen=True):
    """The kernel's own answer to "how would you reach this address?". `refused` names a route that leads nowhere."""

    index: int = 0
    gateway: str = ""
    source: str = ""
    refused: str = ""


def neighbours(host: Host) -> list[Neighbour]:
    """Both families' caches. Raises OSError."""
    replies = _ask(host, ROUTE, GET_NEIGHBOUR, struct.pack("=BBHiHBB", 0, 0, 0, 0, 0, 0, 0), DUMP)
    return [entry for kind, body in replies if kind == NEW_NEIGHBOUR and (entry := parse_neighbour(body))]


def addresses(host: Host) -> list[Assigned]:
    """Every address of every interface. Raises OSError."""
    replies = _ask(host, ROUTE, GET_ADDRESS, struct.pack("=BBBBI", 0, 0, 0, 0, 0), DUMP)
    return [entry for kind, body in replies if kind == NEW_ADDRESS and (entry := parse_address(body))]


def way(host: Host, address: str) -> Way:
    """How the kernel would send to a numeric address, policy routing included. Raises OSError when it would not."""
    bare, _, zone = address.partition("%")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    packed = socket.inet_pton(family, bare)
    attributes = _attribute(1, packed)
    if zone:
        index = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
        attributes += _attribute(4, struct.pack("=I", index))
    head = struct.pack("=BBBBBBBBI", family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    for kind, body in _ask(host, ROUTE, GET_ROUTE, head + attributes):
        if kind == NEW_ROUTE and (found := parse_route(body)):
            return found
    raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))


def station_signal(host: Host, index: int) -> int | None:
    """Signal of the access point this radio is associated with, in dBm; None when it is with none. Raises OSError."""
    family = _generic_family(host, b"nl80211")
    request = struct.pack("=BBH", 17, 0, 0) + _attribute(3, struct.pack("=I", index))  # NL80211_CMD_GET_STATION
    signals = [parse_station(body) for kind, body in _ask(host, GENERIC, family, request, DUMP) if kind == family]
    return next((signal for signal in signals if signal is not None), None)


def parse_neighbour(body: bytes) -> Neighbour | None:
    """struct ndmsg and its attributes; None for what is no such thing."""
    if len(body) < 12:
        return None
    family, _, _, index, state, _, _ = struct.unpack_from("=BBHiHBB", body)
    found = attributes(body[12:])
    address = _numeric(family, found.get(1, b""))
    if not address or state not in STATES:
        return None
    times = found.get(3, b"")
    confirmed = struct.unpack_from("=I", times)[0] / os.sysconf("SC_CLK_TCK") if len(times) >= 4 else None
    return Neighbour(address, index, STATES[state], found.get(2, b"").hex(":"), confirmed)


def parse_address(body: bytes) -> Assigned | None:
    """struct ifaddrmsg and its attributes; None for what is no such thing."""
    if len(body) < 8:
        return None
    family, prefix, flags, _, index = struct.unpack_from("=BBBBI", body)
    found = attributes(body[8:])
    # On point-to-point links IFA_ADDRESS (1) is the far end and IFA_LOCAL (2) is ours.
    address = _numeric(family, found.get(2, found.get(1, b"")))
    if not address:
        return None
    if len(found.get(8, b"")) == 4:
        flags = struct.unpack("=I", found[8])[0]
    tentative, duplicate = bool(flags & 0x40) and not flags & 0x04, bool(flags & 0x08)
    return Assigned(address, prefix, index, not (tentative or duplicate), duplicate)


def parse_route(body: bytes) -> Way | None:
    """struct rtmsg and its attributes; None for what is no such thing."""
    if len(body) < 12:
        return None
    family, kind = body[0], body[7]
    found = attributes(body[12:])
    index = struct.unpack("=I", found[4])[0] if len(found.get(4, b"")) == 4 else 0
    via = found.get(18, b"")  # an IPv4 route through an IPv6 gateway
    gateway = _numeric(family, found.get(5, b"")) or (_numeric(via[0], via[2:]) if len(via) > 2 else "")
    return Way(index, gateway, _numeric(family, found.get(7, b"")), REFUSALS.get(kind, ""))


def parse_station(body: bytes) -> int | None:
    """Average, else last signal in dBm of an nl80211 station message."""
    station = attributes(attributes(body[4:]).get(21, b""))  # NL80211_ATTR_STA_INFO
    for signal in (station.get(13, b""), station.get(7, b"")):
        if len(signal) == 1:
            return int(struct.unpack("=b", signal)[0])
    return None


def attributes(data: bytes) -> Attributes:
    """Type to value of a chain of netlink attributes; stops at the first that does not fit."""
    found: Attributes = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > len(data):
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence number, body) of each whole message in a datagram."""
    at = 0
    while at + 16 <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if length < 16 or at + length > len(data):
            return
        yield kind, sequence, data[at + 16 : at + length]
        at += (length + 3) & ~3


def _generic_family(host: Host, name: bytes) -> int:
    request = struct.pack("=BBH", 3, 1, 0) + _attribute(2, name + b"\0")  # CTRL_CMD_GETFAMILY by name
    for kind, body in _ask(host, GENERIC, 16, request):
        identity = attributes(body[4:]).get(1, b"")
        if kind == 16 and len(identity) == 2:
            return int(struct.unpack("=H", identity)[0])
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _ask(host: Host, protocol: int, kind: int, payload: bytes, flags: int = 0) -> list[tuple[int, bytes]]:
    """Send one request and collect its answers. Raises OSError with the kernel's own errno, or when time is up."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as channel:
        channel.bind((0, 0))
        channel.settimeout(host.left())
        channel.send(_HEADER.pack(16 + len(payload), kind, REQUEST | flags, 1, 0) + payload)
        answers: list[tuple[int, bytes]] = []
        while True:
            channel.settimeout(host.left())
            for got, sequence, body in messages(channel.recv(1 << 16)):
                if sequence != 1:
                    continue
                if got == DONE:
                    return answers
                if got == ERROR:
                    _raise(body)
                    return answers
                answers.append((got, body))
            if flags != DUMP and answers:
                return answers


def _raise(body: bytes) -> None:
    code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else errno.EPROTO
    if code:
        raise OSError(code, os.strerror(code))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _numeric(family: int, packed: bytes) -> str:
    if (family, len(packed)) in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        return socket.inet_ntop(family, packed)
    return ""
