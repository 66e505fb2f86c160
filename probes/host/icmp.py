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
import time
from collections.abc import Iterator

import msgspec

from probes.host import Host, icmp_errors, icmp_socket
from probes.host.icmp_errors import BLOCKED_HERE, NO_ROUTE, UNREACHABLE

COUNT = 5
SPACING = 0.2  # the shortest distance that older kernels and small routers allow an ordinary user
ANSWER_MARGIN = 0.15  # of the deadline, kept for whoever asked
PAYLOAD = 56
PATIENCE = 1.0
_ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
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
                _rest(lines, begin + (number + 1) * spacing)
        last = time.monotonic()
        for line in lines:
            line.patience(min(ends, last + patience) if patience is not None else ends, last)
        if any(line.all_answered for line in lines):  # a silent family beside a lively one is not worth the deadline
            for line in lines:
                line.ends = min(line.ends, last + PATIENCE)
        _listen(lines, ends, early=True)
        return [line.result() for line in lines]


def _rest(lines: list[_Line], until: float) -> None:
    """Between two packets. Once the kernel's stamps are seen to be good nobody wakes up for each echo."""
    if not all(line.stamped or line.closed for line in lines):
        _listen(lines, until, early=False)
        return
    time.sleep(max(0.0, until - time.monotonic()))
    for line in lines:
        if not line.closed:
            line.take()


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
        self.stamped = False
        """The kernel's stamps and this process's clock agree."""
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
            send = getattr(ping3.send_one_ping, "__wrapped__", ping3.send_one_ping)  # spare what it would log
            send(self.socket, self.address, self.identity, number, PAYLOAD)
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
                self._reply(data, icmp_socket.kernel_time(notes))

    def result(self) -> Echoes:
        rtts = tuple(self.rtts.get(number) for number in self.sent)
        kinds = set(self.refused.values())
        refusal = next((kind for kind in (BLOCKED_HERE, UNREACHABLE, NO_ROUTE) if kind in kinds), "")
        return Echoes(self.address, rtts, "" if self.rtts else refusal, tuple(self.said))

    def _open(self) -> socket.socket:
        try:
            opened = icmp_socket.create(self.family)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            self._refuse(error)
            return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)  # never used: this line is closed
        try:
            icmp_socket.prepare(opened, self.family, self.address)
        except OSError as error:
            self._refuse(error)
        return opened

    def _refuse(self, error: OSError, number: int | None = None) -> None:
        """Remember why this PC would not send. Without a packet to blame, the whole line is dead."""
        kind, text = icmp_errors.of_sending(error)
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
            rtt, self.stamped = stamped - wall, True
        elif self.stamped:  # set just now, and nobody was awake to see when it came: about when the others did
            rtt, self.stamped = max(self.rtts.values(), default=rtt), False
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
                if (level, kind) == icmp_socket.RECVERR[self.family]:
                    self._error(data, note)
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # reading it clears it

    def _error(self, original: bytes, note: bytes) -> None:
        if len(note) < icmp_errors.SHORTEST:
            return
        _, identity, number = _header(original)
        if not self._ours(identity, number) or number in self.rtts:
            return
        refusal, text, teller = icmp_errors.of_queue(note, self.family)
        if teller and teller == str(self.socket.getsockname()[0]).partition("%")[0]:
            text = f"{text}: it does not answer on the LAN (no ARP or neighbour reply)"
        elif teller:
            text = f"{text}, says {teller}"
        self.said[text] = None
        self.refused[number] = refusal


def _header(data: bytes) -> tuple[int, int, int]:
    """Type, identity and sequence number of an ICMP echo; a type of -1 for what is too short to be one."""
    import ping3

    if len(data) < 8:
        return -1, 0, -1
    fields = ping3.read_icmp_header(data[:8])
    return fields["type"], fields["id"], fields["seq"]


def spread(addresses: tuple[str, ...]) -> Iterator[str]:
    """The first address of each family."""
    for is_v6 in (False, True):
        yield from itertools.islice((address for address in addresses if (":" in address) is is_v6), 1)
