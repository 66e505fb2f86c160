"""Does a TCP connection come about, over each address family, and if not, what came back instead?

Both families are tried at once, so that a broken IPv6 beside a good IPv4 is seen. One selector loop, no threads, and
nothing is ever sent over a connection: it is made and closed.

What only the kernel knows comes from TCP_INFO of the waiting socket: a SYN that was sent again counts as under way
(`retrans`) only if it got out. One that did not was either dropped by this PC's own firewall, or - when not even the
attempt is counted - is still waiting for the next hop to answer ARP or neighbour discovery.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from probes.host import Host, outgoing
from probes.host.resolve import Unresolved, is_literal, resolve
from probes.host.sockets import begin, close, family_of

MARGIN_S = 0.12  # kept back from the deadline, to say so in time
ADDRESSES = 4  # tried per family
PROOF_S = 1.6  # by then a SYN was sent again after 1 s, and a mere lack of buffers would have tried twice

OK, TIMEOUT, REFUSED, REJECTED = "ok", "timeout", "refused", "rejected"
BLOCKED_HERE, NO_ROUTE = "blocked_here", "no_route"

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETDOWN}
_FORBIDDEN = {errno.EPERM, errno.EACCES}  # from connect() itself: a security policy or a `prohibit` route of this PC
_NO_FAMILY = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}


class Attempt(msgspec.Struct, frozen=True):
    """One address and what became of it. `stuck`: no neighbour answered for the next hop. `resent`: SYNs sent again."""

    address: str
    family: str
    outcome: str
    seconds: float = 0.0
    error: str = ""
    stuck: bool = False
    resent: int = 0


class Reach(msgspec.Struct, frozen=True):
    """How far one look got: the name's resolution, then every attempt in the order they ended."""

    host: str
    port: int
    literal: bool = False
    resolve_seconds: float = 0.0
    unresolved: str = ""
    unresolved_text: str = ""
    attempts: tuple[Attempt, ...] = ()
    seconds: float = 0.0


@contextlib.contextmanager
def reaching(host: Host, name: str, port: int) -> Iterator[tuple[Reach, socket.socket | None]]:
    """Resolve and connect. Yields what was seen and the open socket, if there is one; closes it politely afterwards."""
    began = time.monotonic()
    try:
        found = resolve(host, name)
    except Unresolved as error:
        seconds = time.monotonic() - began
        yield (
            Reach(name, port, resolve_seconds=seconds, unresolved=error.reason, unresolved_text=str(error)),
            None,
        )
        return
    attempts, connection = connect(host, found.addresses, port)
    reach = Reach(
        name,
        port,
        literal=is_literal(name),
        resolve_seconds=found.seconds,
        attempts=tuple(attempts),
        seconds=time.monotonic() - began - found.seconds,
    )
    try:
        yield reach, connection
    finally:
        if connection is not None:
            close(connection)


def connect(host: Host, addresses: Sequence[str], port: int) -> tuple[list[Attempt], socket.socket | None]:
    """Try the addresses of both families. The connection that stood first comes back open, blocking no longer."""
    with _Race(host, addresses, port) as race:
        race.run()
        return race.attempts, race.first


class _Info(NamedTuple):
    """The part of the kernel's struct tcp_info that tells what became of a SYN."""

    timeouts: int = 0
    under_way: int = 0
    resent: int = 0

    @property
    def never_left(self) -> bool:
        """It was sent again, and that one did not get out either: something on this PC dropped it."""
        return self.resent > 0 and self.under_way == 0

    @property
    def is_stuck(self) -> bool:
        """It should have been sent again, but the first one still waits for the next hop to say where it is."""
        return self.timeouts > 0 and self.resent == 0


def _info(connection: socket.socket) -> _Info:
    try:
        raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return _Info(raw[2], *struct.unpack_from("=I", raw, 36), *struct.unpack_from("=I", raw, 100))
    except (OSError, struct.error):  # a kernel that tells less
        return _Info()


@dataclass
class _Try:
    address: str
    family: str
    socket: socket.socket
    began: float
    again: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class _Race:
    """The addresses of a name, racing. Use as a context: sockets that lost are closed at its end."""

    def __init__(self, host: Host, addresses: Sequence[str], port: int) -> None:
        self.host, self.port = host, port
        self.began = time.monotonic()
        self.ends = max(host.ends - MARGIN_S, self.began)
        self.waiting: dict[str, deque[str]] = {}
        for address in addresses:
            line = self.waiting.setdefault(family_of(address), deque())
            if len(line) < ADDRESSES:
                line.append(address)
        self.running: list[_Try] = []
        self.started: dict[str, float] = {}
        self.connected: set[str] = set()
        self.attempts: list[Attempt] = []
        self.first: socket.socket | None = None
        self.selector = selectors.PollSelector()  # for a few sockets once: nothing to set up in the kernel

    def __enter__(self) -> _Race:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for attempt in self.running:
            attempt.socket.close()
        if kind is not None and self.first is not None:
            self.first.close()
        self.selector.close()

    @property
    def limit(self) -> float:
        """Once one family stands, the other gets half of the time: enough for one lost SYN at the usual 3 s."""
        return self.began + (self.ends - self.began) / 2 if self.connected else self.ends

    def run(self) -> None:
        """Until every family is decided or the time is up."""
        for family in self.waiting:
            self._next(family)
        while self.running and (now := time.monotonic()) < self.limit:
            patience = (self.limit - self.began) / 2
            step = min((self.started[family] + patience for family in self._restless()), default=self.limit)
            for key, _ in self.selector.select(max(0.0, min(step, self.limit) - now)):
                self._answered(key.data)
            for family in self._restless():
                if time.monotonic() >= self.started[family] + patience:
                    self._next(family)
        for attempt in list(self.running):
            self._unanswered(attempt)

    def _restless(self) -> list[str]:
        return [family for family, line in self.waiting.items() if line and family not in self.connected]

    def _next(self, family: str) -> None:
        """Start with the family's next address, and the one after it where that fails at once."""
        while self.waiting[family]:
            if self._start(self.waiting[family].popleft(), family):
                return

    def _start(self, address: str, family: str, again: bool = False) -> bool:
        """Begin with one address; False where it failed before anything was under way."""
        self.started[family] = time.monotonic()
        try:
            connection, error = begin(address, self.port)
        except OSError as failed:
            if failed.errno not in _NO_FAMILY:
                raise
            self.attempts.append(Attempt(address, family, NO_ROUTE, error=_name(failed.errno)))
            return False
        if error not in (0, errno.EINPROGRESS):
            connection.close()
            self.attempts.append(Attempt(address, family, _at_once(error), error=_name(error)))
            return False
        attempt = _Try(address, family, connection, self.started[family], again)
        self.running.append(attempt)
        self.selector.register(connection, selectors.EVENT_WRITE, attempt)
        if any(key.data is attempt for key, _ in self.selector.select(0)):
            self._answered(attempt, at_once=True)
        return True

    def _answered(self, attempt: _Try, at_once: bool = False) -> None:
        if attempt not in self.running:
            return
        error = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        info = _info(attempt.socket)
        if error:
            self._failed(attempt, error, info, at_once)
            return
        self.selector.unregister(attempt.socket)
        self.running.remove(attempt)
        self.attempts.append(Attempt(attempt.address, attempt.family, OK, attempt.seconds, resent=info.resent))
        self.connected.add(attempt.family)
        for slower in [other for other in self.running if other.family == attempt.family]:
            self._unanswered(slower)
        if self.first is None:
            self.first = attempt.socket
        else:
            close(attempt.socket)

    def _failed(self, attempt: _Try, error: int, info: _Info, at_once: bool) -> None:
        seconds, outcome = attempt.seconds, _outcome(error)
        self._drop(attempt)
        stuck = error == errno.EHOSTUNREACH and info.is_stuck
        if stuck:
            outcome = TIMEOUT
        elif outcome != TIMEOUT and (at_once or info.never_left) and self._is_turned_back(attempt):
            outcome = BLOCKED_HERE
        ended = Attempt(attempt.address, attempt.family, outcome, seconds, _name(error), stuck, info.resent)
        self.attempts.append(ended)
        # EHOSTUNREACH is an ICMP answer, or a neighbour that another program's try found dead a moment ago. A second
        # try of our own, which outlives the first retransmission, tells them apart.
        in_doubt = outcome == REJECTED and error == errno.EHOSTUNREACH and not info.timeouts and not attempt.again
        if not (in_doubt and self._start(attempt.address, attempt.family, again=True)):
            self._next(attempt.family)

    def _unanswered(self, attempt: _Try) -> None:
        info, seconds = _info(attempt.socket), attempt.seconds
        never_left = info.never_left and seconds >= PROOF_S and info.timeouts <= seconds
        silent = never_left and outgoing.is_silent(self.host, attempt.address, self.port)
        outcome = BLOCKED_HERE if silent else TIMEOUT
        self._drop(attempt)
        ended = Attempt(attempt.address, attempt.family, outcome, seconds, "", info.is_stuck, info.resent)
        self.attempts.append(ended)

    def _drop(self, attempt: _Try) -> None:
        self.selector.unregister(attempt.socket)
        self.running.remove(attempt)
        attempt.socket.close()

    def _is_turned_back(self, attempt: _Try) -> bool:
        """Two independent signs are wanted before this PC's own firewall is blamed."""
        return outgoing.is_turned_back(self.host, attempt.address, self.port)


def _at_once(error: int) -> str:
    """What connect() itself said: nothing has been sent, so this PC is speaking."""
    if error in _FORBIDDEN:
        return BLOCKED_HERE
    if error in _NO_ROUTE:
        return NO_ROUTE
    if error == errno.ECONNREFUSED:
        return REFUSED
    raise OSError(error, os.strerror(error))


def _outcome(error: int) -> str:
    """What came back from outside."""
    if error in (errno.ECONNREFUSED, errno.ECONNRESET):
        return REFUSED
    return TIMEOUT if error == errno.ETIMEDOUT else REJECTED


def _name(error: int) -> str:
    return errno.errorcode.get(error, str(error))
