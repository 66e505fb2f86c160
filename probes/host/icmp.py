"""Does an address answer pings, how fast, and if not: who says what instead?

Our own connected socket with ping3's packet functions. A ping socket (SOCK_DGRAM) needs no right but the group range
`net.ipv4.ping_group_range`; a raw one needs CAP_NET_RAW. Echoes of all addresses fly at once, from one thread.

What makes an answer count: it came from the address asked, carries the identity of this socket and a sequence number
that was never used before in this process, and came before the look ended. Replies that are later meet a closed socket.
IP_RECVERR brings what came back in place of an echo, so "unreachable" is told from "timed out".
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

import msgspec

from probes.host import Host
from probes.model import Denied

COUNT = 5
SPACING = 0.2  # the shortest distance that older kernels and small routers allow an ordinary user
ANSWER_MARGIN = 0.15  # of the deadline, kept for whoever asked
PAYLOAD = 56
PATIENCE = 1.0
BLOCKED_HERE, NO_ROUTE, UNREACHABLE = "blocked_here", "no_route", "unreachable"
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_TIMESTAMP = 35  # SO_TIMESTAMPNS
_RAW = 255  # SOL_RAW
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_FROM_ICMP = (2, 3)  # ee_origin: ICMP, ICMPv6
_LOCAL_REFUSALS = {
    errno.EPERM: (BLOCKED_HERE, "sending was forbidden by this PC's own firewall (EPERM)"),
    errno.EACCES: (UNREACHABLE, "sending is prohibited by a route of this PC, or the address is a broadcast (EACCES)"),
    errno.ENETUNREACH: (NO_ROUTE, "this PC has no route there (ENETUNREACH)"),
    errno.EADDRNOTAVAIL: (NO_ROUTE, "this PC has no address of that family (EADDRNOTAVAIL)"),
    errno.EAFNOSUPPORT: (NO_ROUTE, "this PC does not speak that family (EAFNOSUPPORT)"),
    errno.ENETDOWN: (NO_ROUTE, "the interface is down (ENETDOWN)"),
    int(socket.EAI_NONAME): (NO_ROUTE, "the interface that the address names does not exist"),
    errno.ENODEV: (NO_ROUTE, "the interface is gone (ENODEV)"),
    errno.EHOSTUNREACH: (UNREACHABLE, "this PC finds no way to the host (EHOSTUNREACH)"),
    errno.EINVAL: (UNREACHABLE, "a blackhole route of this PC swallows it (EINVAL)"),
}
_CODES = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 9): "network prohibited",
    (4, 3, 10): "host prohibited",
    (4, 3, 13): "administratively prohibited",
    (4, 11, 0): "time to live exceeded",
    (6, 1, 0): "no route",
    (6, 1, 1): "administratively prohibited",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 1, 5): "source address refused",
    (6, 1, 6): "route rejected",
    (6, 3, 0): "hop limit exceeded",
}
_sequence = itertools.count(int.from_bytes(os.urandom(2), "big"))


class Echoes(msgspec.Struct, frozen=True):
    """What one address did with the pings of one look."""

    address: str
    rtts: tuple[float | None, ...] = ()
    """Seconds per packet in the order of sending; None where no echo came."""
    refusal: str = ""
    """Why there was none at all: `blocked_here`, `no_route`, `unreachable`; empty where there was only silence."""
    said: tuple[str, ...] = ()
    """What came in place of echoes, each once."""

    @property
    def sent(self) -> int:
        """Packets sent, those included that this PC itself refused to send."""
        return len(self.rtts)

    @property
    def answers(self) -> tuple[float, ...]:
        """Seconds of each echo that came."""
        return tuple(rtt for rtt in self.rtts if rtt is not None)

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


def echo(host: Host, addresses: tuple[str, ...], count: int = COUNT, patience: float | None = None) -> list[Echoes]:
    """Ping numeric addresses all at once, `count` times each. Raises Denied, or OutOfTime.

    An address that stays silent is waited for until the deadline, or `patience` seconds after the last packet.
    """
    begin = time.monotonic()
    ends = begin + max(host.left() - ANSWER_MARGIN, 0.05)
    spacing = min(SPACING, (ends - begin) / (2 * count))
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(_Line(address)) for address in addresses]
        for number in range(count):
            for line in lines:
                line.send()
            if all(line.closed for line in lines):
                break
            if number < count - 1:
                _listen(lines, begin + (number + 1) * spacing, early=False)
        last = time.monotonic()
        for line in lines:
            line.patience(min(ends, last + patience) if patience is not None else ends, last)
        if any(line.all_answered for line in lines):  # a silent family beside a lively one is not worth the deadline
            for line in lines:
                line.ends = min(line.ends, last + PATIENCE)
        _listen(lines, ends, early=True)
        return [line.result() for line in lines]


def _listen(lines: list[_Line], until: float, early: bool) -> None:
    """Take in what comes until an instant, or (early) until nobody is worth waiting for."""
    poll = select.poll()
    by_number = {line.socket.fileno(): line for line in lines if not line.closed}
    for number in by_number:
        poll.register(number, select.POLLIN)
    while True:
        now = time.monotonic()
        waiting = [line.ends for line in by_number.values() if not line.complete and line.ends > now]
        limit = min(until, max(waiting, default=now)) if early else until
        if limit <= now:
            return
        for number, _ in poll.poll((limit - now) * 1000):
            by_number[number].take()


class _Line:
    """The socket to one address, and which packets are still in the air."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.packed = ipaddress.ip_address(address.partition("%")[0]).packed
        self.identity = int.from_bytes(os.urandom(2), "big") or 1
        self.sent: dict[int, tuple[float, float]] = {}  # sequence number: monotonic and wall instants
        self.rtts: dict[int, float] = {}
        self.refused: dict[int, str] = {}
        self.said: dict[str, None] = {}
        self.closed = False
        self.ends = float("inf")
        self.socket = self._open()

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def complete(self) -> bool:
        return self.closed or len(self.rtts) + len(self.refused) >= len(self.sent)

    @property
    def all_answered(self) -> bool:
        return bool(self.sent) and len(self.rtts) == len(self.sent)

    def patience(self, ends: float, last: float) -> None:
        """Until when to wait for what is still in the air: four times the longest round trip, if there was any."""
        if self.rtts:
            ends = min(ends, last + max(PATIENCE, 4 * max(self.rtts.values())))
        elif self.refused:  # routers tell only about once a second that a host cannot be reached
            ends = min(ends, last + PATIENCE)
        self.ends = ends

    def send(self) -> None:
        """One packet; a refusal by this PC itself is an answer too."""
        import ping3

        if self.closed:
            return
        self._errors()  # what earlier packets caused must not be taken for this one's fate
        number = next(_sequence) & 0xFFFF
        self.sent[number] = time.monotonic(), time.time()
        try:
            ping3.send_one_ping(self.socket, self.address, self.identity, number, PAYLOAD)
        except OSError as error:
            self._refuse(error, number)

    def take(self) -> None:
        """All that waits on the socket, errors first; bounded, so that a flood cannot hold us."""
        self._errors()
        for _ in range(64):
            try:
                data, notes, _, sender = self.socket.recvmsg(2048, 256)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error arriving just now; the error queue tells it in full
                self._errors()
                continue
            if ipaddress.ip_address(str(sender[0]).partition("%")[0]).packed == self.packed:
                self._reply(data, _kernel_time(notes))

    def result(self) -> Echoes:
        rtts = tuple(self.rtts.get(number) for number in self.sent)
        kinds = set(self.refused.values())
        refusal = next((kind for kind in (BLOCKED_HERE, UNREACHABLE, NO_ROUTE) if kind in kinds), "")
        return Echoes(self.address, rtts, "" if self.rtts else refusal, tuple(self.said))

    def _open(self) -> socket.socket:
        try:
            opened = _socket(self.family)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            self._refuse(error)
            return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)  # never used: this line is closed
        try:
            self._prepare(opened)
        except OSError as error:
            self._refuse(error)
        return opened

    def _prepare(self, opened: socket.socket) -> None:
        opened.setblocking(False)
        opened.setsockopt(*_RECVERR[self.family], 1)
        opened.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        if opened.type == socket.SOCK_RAW:  # else every ICMP packet of this PC lands here
            if self.family == socket.AF_INET:
                opened.setsockopt(_RAW, 1, struct.pack("=I", ~1 & 0xFFFFFFFF))
            else:
                passing = [0xFFFFFFFF] * 8
                passing[129 >> 5] &= ~(1 << (129 & 31)) & 0xFFFFFFFF
                opened.setsockopt(socket.IPPROTO_ICMPV6, 1, struct.pack("=8I", *passing))
        opened.connect(socket.getaddrinfo(self.address, 0, self.family, flags=socket.AI_NUMERICHOST)[0][4])

    def _refuse(self, error: OSError, number: int | None = None) -> None:
        """Remember why this PC would not send. Without a packet to blame, the whole line is dead."""
        kind, text = _LOCAL_REFUSALS.get(error.errno or 0, ("", f"sending failed ({error.strerror or error})"))
        self.said[text] = None
        if number is None:
            self.closed = True
            number = next(_sequence) & 0xFFFF
            self.sent[number] = time.monotonic(), time.time()
        self.refused[number] = kind

    def _reply(self, data: bytes, stamped: float | None) -> None:
        if self.socket.type == socket.SOCK_RAW and self.family == socket.AF_INET:
            data = data[(data[0] & 0xF) * 4 :] if data else b""  # the IP header, options included
        kind, identity, number = _header(data)
        if kind != _ECHO_REPLY[self.family] or not self._ours(identity, number) or number in self.rtts:
            return
        monotonic, wall = self.sent[number]
        rtt = time.monotonic() - monotonic
        # The kernel's stamp is taken before this thread had to wait for its turn; useless if the wall clock was set.
        if stamped is not None and 0 <= stamped - wall <= rtt:
            rtt = stamped - wall
        self.rtts[number] = rtt
        self.refused.pop(number, None)

    def _ours(self, identity: int, number: int) -> bool:
        # The kernel gives ping sockets an identity of its own and delivers nobody else's packets.
        return number in self.sent and (self.socket.type == socket.SOCK_DGRAM or identity == self.identity)

    def _errors(self) -> None:
        """Empty the error queue: which packet met what, told by whom."""
        if self.closed:
            return
        for _ in range(64):
            try:
                data, notes, _, _ = self.socket.recvmsg(512, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            for level, kind, note in notes:
                if (level, kind) == _RECVERR[self.family]:
                    self._error(data, note)
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # reading it clears it

    def _error(self, original: bytes, note: bytes) -> None:
        if len(note) < _EXTENDED_ERROR.size:
            return
        code, origin, kind, detail, *_ = _EXTENDED_ERROR.unpack_from(note)
        _, identity, number = _header(original)
        if not self._ours(identity, number) or number in self.rtts:
            return
        if origin not in _FROM_ICMP:
            refusal, text = _LOCAL_REFUSALS.get(code, ("", os.strerror(code)))
        else:
            refusal, text = UNREACHABLE, self._told(kind, detail, note[_EXTENDED_ERROR.size :])
        self.said[text] = None
        self.refused[number] = refusal

    def _told(self, kind: int, detail: int, offender: bytes) -> str:
        version = 6 if self.family == socket.AF_INET6 else 4
        meaning = _CODES.get((version, kind, detail), f"ICMP type {kind} code {detail}")
        teller = ""
        if version == 4 and len(offender) >= 8:
            teller = socket.inet_ntoa(offender[4:8])
        elif version == 6 and len(offender) >= 24:
            teller = socket.inet_ntop(socket.AF_INET6, offender[8:24])
        if teller and teller == str(self.socket.getsockname()[0]).partition("%")[0]:
            return f"{meaning}: it does not answer on the LAN (no ARP or neighbour reply)"
        return f"{meaning}, says {teller}" if teller else meaning


def _socket(family: int) -> socket.socket:
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


def _header(data: bytes) -> tuple[int, int, int]:
    """Type, identity and sequence number of an ICMP echo; a type of -1 for what is too short to be one."""
    import ping3

    if len(data) < 8:
        return -1, 0, -1
    fields = ping3.read_icmp_header(data[:8])
    return fields["type"], fields["id"], fields["seq"]


def _kernel_time(notes: list[tuple[int, int, bytes]]) -> float | None:
    """Wall time at which the kernel took the packet from the network card."""
    for level, kind, note in notes:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMP and len(note) == struct.calcsize("@ll"):
            seconds, nanoseconds = struct.unpack("@ll", note)
            return float(seconds + nanoseconds / 1e9)
    return None


def spread(addresses: tuple[str, ...]) -> Iterator[str]:
    """The first address of each family."""
    for is_v6 in (False, True):
        yield from itertools.islice((address for address in addresses if (":" in address) is is_v6), 1)
