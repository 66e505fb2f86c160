"""May this user ping, and through which kind of socket?

A ping socket (SOCK_DGRAM) needs no right but the group range `net.ipv4.ping_group_range`; a raw one needs CAP_NET_RAW.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from probes.model import Denied

RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
"""The option that has ICMP errors queued (IP_RECVERR, IPV6_RECVERR), by family."""
_TIMESTAMP = 35  # SO_TIMESTAMPNS
_RAW = 255  # SOL_RAW


def create(family: socket.AddressFamily) -> socket.socket:
    """A ping socket, or a raw one. Raises Denied, or OSError."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with contextlib.suppress(PermissionError):
            return socket.socket(family, kind, protocol)
    raise denied()


def denied() -> Denied:
    """What to say where this user may not ping."""
    return Denied(
        "ping needs a ping socket (sysctl net.ipv4.ping_group_range must include this user's group, for example "
        '"0 2147483647") or the capability CAP_NET_RAW',
        why="no_ping_socket",
    )


def prepare(opened: socket.socket, family: socket.AddressFamily, address: str) -> None:
    """Let it tell errors and the kernel's own stamps, hear echoes alone, and speak with one address."""
    opened.setblocking(False)
    opened.setsockopt(*RECVERR[family], 1)
    opened.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
    if opened.type == socket.SOCK_RAW:  # else every ICMP packet of this PC lands here
        if family == socket.AF_INET:
            opened.setsockopt(_RAW, 1, struct.pack("=I", ~1 & 0xFFFFFFFF))
        else:
            passing = [0xFFFFFFFF] * 8
            passing[129 >> 5] &= ~(1 << (129 & 31)) & 0xFFFFFFFF
            opened.setsockopt(socket.IPPROTO_ICMPV6, 1, struct.pack("=8I", *passing))
    opened.connect(socket.getaddrinfo(address, 0, family, flags=socket.AI_NUMERICHOST)[0][4])


def kernel_time(notes: list[tuple[int, int, bytes]]) -> float | None:
    """Wall time at which the kernel took the packet from the network card."""
    for level, kind, note in notes:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMP and len(note) == struct.calcsize("@ll"):
            seconds, nanoseconds = struct.unpack("@ll", note)
            return float(seconds + nanoseconds / 1e9)
    return None
