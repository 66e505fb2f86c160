"""What does the kernel tell of its own accord when a plug, a cable, an address or a route changes?

Two netlink sockets, open to every user: the kernel's device events (and udevd's, which come once links and rights in
/dev are made), and rtnetlink's links, addresses and routes. Each message is compared with what was known before, as the
kernel repeats itself for counters, lease times and radio statistics; neighbours are not subscribed to at all.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from probes.host import netlink

OF_DEVICES: Final = ("usb", "tty", "power_supply")
OF_NETWORK: Final = ("link", "address", "route")
TOPICS: Final = OF_DEVICES + OF_NETWORK
OVERRUN: Final = "more events than fit, some are lost"
MOST = 2000
"""Messages taken in one go; a socket holds a few hundred."""
KNOWN = 4096
"""Things whose last state is kept: beyond that all is forgotten, which costs a needless wake each."""
LARGEST = 1 << 15
ROOM = 1 << 20
"""Asked for in the kernel, which gives what its net.core.rmem_max allows, and takes it only while events wait."""

UEVENT = 15  # NETLINK_KOBJECT_UEVENT
FROM_KERNEL, FROM_UDEVD = 1, 2
LINKS, ADDRESSES, ROUTES = 0x1, 0x10 | 0x100, 0x40 | 0x400  # RTMGRP_*, both families
_LIBUDEV = struct.Struct("=8x4xIII")  # "libudev", magic, header's length, where the properties are, how long
_SUBSYSTEM = re.compile(rb"\0SUBSYSTEM=(usb|tty|power_supply)\0")
_SUPPLY = ("ONLINE", "STATUS", "PRESENT", "CAPACITY", "CAPACITY_LEVEL", "HEALTH")

NEW_LINK, GONE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, GONE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, GONE_ROUTE = 24, 25
_STEADY_FLAGS = 0x1 | 0x40 | 0x10000 | 0x20000  # up, running, cable in, dormant; not promiscuous, which tcpdump flips
_OPERATION = ("unknown", "not present", "down", "lower layer down", "testing", "dormant", "up")
_INITIAL_USER_NAMESPACE, _WHOSE_NAMESPACE = 0xEFFFFFFD, 0xB701  # PROC_USER_INIT_INO, NS_GET_USERNS


class Event(NamedTuple):
    """Something changed: one of TOPICS, and what it was in a few words."""

    topic: str
    what: str


class Source(abc.ABC):
    """A socket that becomes readable when the kernel has something to tell."""

    topics: tuple[str, ...]

    def __init__(self, protocol: int, groups: int) -> None:
        self._socket = _subscribe(protocol, groups)
        self._known = _Known()

    def fileno(self) -> int:
        """For poll()."""
        return self._socket.fileno()

    def take(self) -> tuple[list[Event], int]:
        """All that changed since last time, and how many messages were read for it. Never waits. Raises OSError."""
        events: list[Event] = []
        for count in range(MOST):
            try:
                data, (_, groups) = self._socket.recvfrom(LARGEST)
            except BlockingIOError:
                return events, count
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._known.forget()
                events += (Event(topic, OVERRUN) for topic in self.topics)
                continue
            if groups:  # not a word to us alone: only the kernel and root speak to everybody
                events += self._read(data)
        return events, MOST

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    @abc.abstractmethod
    def _read(self, data: bytes) -> list[Event]:
        """What changed by one datagram."""


class Devices(Source):
    """USB devices, serial ports and power supplies coming, going and changing. Raises OSError where it is refused."""

    topics = OF_DEVICES

    def __init__(self) -> None:
        if why := _deaf():
            raise OSError(errno.EOPNOTSUPP, why)
        super().__init__(UEVENT, FROM_KERNEL | FROM_UDEVD)

    def _read(self, data: bytes) -> list[Event]:
        fields = parse_device(data)
        if fields is None:
            return []
        topic, action = fields["SUBSYSTEM"], fields.get("ACTION", "change")
        name = fields.get("DEVPATH", "").rpartition("/")[2]
        if topic == "power_supply" and action == "change":
            state = tuple(fields.get(f"POWER_SUPPLY_{each}") for each in _SUPPLY)
            if any(state) and not self._known.changed(fields.get("DEVPATH"), state):
                return []
        return [Event(topic, f"{action} {name}")]


class Network(Source):
    """Links, addresses and routes coming, going and changing. Raises OSError where it is refused."""

    topics = OF_NETWORK

    def __init__(self) -> None:
        super().__init__(netlink.ROUTE, LINKS | ADDRESSES | ROUTES)
        with contextlib.suppress(OSError):  # it costs a needless wake later
            self._learn(GET_LINK, struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0))
            self._learn(GET_ADDRESS, struct.pack("=BBBBI", 0, 0, 0, 0, 0))
        self._socket.setblocking(False)

    def _learn(self, question: int, body: bytes) -> None:
        """How things are to begin with: what is told again and is the same is no event."""
        self._socket.settimeout(2)
        head = struct.pack("=IHHII", 16 + len(body), question, netlink.REQUEST | netlink.DUMP, 1, 0)
        self._socket.send(head + body)
        for _ in range(MOST):
            data = self._socket.recv(LARGEST)
            self._read(data)
            if any(kind in (netlink.DONE, netlink.ERROR) for kind, _, _ in netlink.messages(data)):
                return

    def _read(self, data: bytes) -> list[Event]:
        told = ((kind, body) for kind, _, body in netlink.messages(data))
        return [event for kind, body in told if (parse := _PARSERS.get(kind)) and (event := self._compare(parse(body)))]

    def _compare(self, change: Change | None) -> Event | None:
        if change is None or not self._known.changed(change.of, change.state):
            return None
        return change.event


class Change(NamedTuple):
    """What rtnetlink says of one thing. `state` is None when it is gone."""

    of: Hashable
    state: Hashable
    event: Event


class _Known:
    """The last state of each thing, bounded."""

    def __init__(self) -> None:
        self._states: dict[Hashable, Hashable] = {}

    def changed(self, thing: Hashable, state: Hashable) -> bool:
        """Remember it; whether it is another than before. What is gone (None) always is."""
        if state is None:
            self._states.pop(thing, None)
            return True
        if self._states.get(thing) == state:
            return False
        if len(self._states) >= KNOWN:
            self.forget()
        self._states[thing] = state
        return True

    def forget(self) -> None:
        """After lost messages nothing is known: a state told next may have changed twice."""
        self._states.clear()


def parse_device(data: bytes) -> dict[str, str] | None:
    """The properties of one device event of a subsystem that counts, the kernel's or udevd's; None for all else."""
    if data.startswith(b"libudev\0"):
        if len(data) < _LIBUDEV.size or data[8:12] != b"\xfe\xed\xca\xfe":
            return None
        _, at, length = _LIBUDEV.unpack_from(data)
        lines = b"\0" + data[at : at + length]
    else:
        head, _, rest = data.partition(b"\0")
        if b"@" not in head:
            return None
        lines = b"\0" + rest
    if not _SUBSYSTEM.search(lines):
        return None
    pairs = (line.partition("=") for line in lines.decode("utf-8", "replace").split("\0"))
    return {key: value for key, equals, value in pairs if equals}


def parse_link(body: bytes, *, gone: bool = False) -> Change | None:
    """struct ifinfomsg and its attributes; None for what is no such thing, or a bridge's word about its ports."""
    if len(body) < 16:
        return None
    family, _, _, index, flags, _ = struct.unpack_from("=BBHiII", body)
    if family:
        return None
    found = netlink.attributes(body[16:])
    name = found.get(3, b"").rstrip(b"\0").decode("utf-8", "replace") or str(index)
    operation, carrier = found.get(16, b"\0")[:1], found.get(33, b"")[:1]
    words = _OPERATION[operation[0]] if operation and operation[0] < len(_OPERATION) else "unknown"
    if carrier == b"\0" and flags & 0x1:
        words += ", no carrier"
    event = Event("link", f"{name} {'gone' if gone else words}")
    return Change(("link", index), None if gone else (name, flags & _STEADY_FLAGS, operation, carrier), event)


def parse_address(body: bytes, *, gone: bool = False) -> Change | None:
    """One address of one interface; lifetimes, which each lease and router advertisement renews, do not count."""
    found = netlink.parse_address(body)
    if found is None:
        return None
    words = "gone" if gone else "duplicate" if found.duplicate else "usable" if found.usable else "tentative"
    event = Event("address", f"{found.address}/{found.prefix} {words}")
    return Change(("address", found.index, found.address, found.prefix), None if gone else found, event)


def parse_route(body: bytes, *, gone: bool = False) -> Change | None:
    """One way to somewhere else; own addresses, broadcasts and what was learnt in passing do not count."""
    if len(body) < 12:
        return None
    family, length, _, service, table, _, _, kind, flags = struct.unpack_from("=BBBBBBBBI", body)
    if kind in (2, 3, 4, 5) or flags & 0x200:  # local, broadcast, anycast, multicast; RTM_F_CLONED
        return None
    found = netlink.attributes(body[12:])
    of = ("route", family, length, service, found.get(15, table), found.get(1), found.get(6))
    state = (kind, flags & 0x11, *(found.get(each) for each in (4, 5, 7, 9, 18)))
    event = Event("route", f"{_where(family, length, found)} {'gone' if gone else 'set'}")
    return Change(of, None if gone else state, event)


def _where(family: int, length: int, found: netlink.Attributes) -> str:
    size = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(socket.AddressFamily(family)) if family in (2, 10) else None
    to = found.get(1, b"")
    words = f"{socket.inet_ntop(family, to)}/{length}" if len(to) == size else "default"
    via = found.get(5, b"")
    return f"{words} via {socket.inet_ntop(family, via)}" if len(via) == size else words


def _gone(parse: Callable[..., Change | None]) -> Callable[[bytes], Change | None]:
    return lambda body: parse(body, gone=True)


_PARSERS: dict[int, Callable[[bytes], Change | None]] = {
    NEW_LINK: parse_link,
    GONE_LINK: _gone(parse_link),
    NEW_ADDRESS: parse_address,
    GONE_ADDRESS: _gone(parse_address),
    NEW_ROUTE: parse_route,
    GONE_ROUTE: _gone(parse_route),
}


def _subscribe(protocol: int, groups: int) -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        channel.bind((0, groups))
    except BaseException:
        channel.close()
        raise
    return channel


def _deaf() -> str:
    """Why no device event would ever come, though the socket opens: they go to the namespaces of the real root only."""
    try:
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        owner = fcntl.ioctl(here, _WHOSE_NAMESPACE)
    except OSError:  # an owner above our own namespace, as under PrivateUsers=, or an old kernel
        return ""
    finally:
        os.close(here)
    initial = os.fstat(owner).st_ino == _INITIAL_USER_NAMESPACE
    os.close(owner)
    return "" if initial else "device events do not reach this container"
