"""Did a packet leave this PC at all? The proof needed before its own firewall is blamed.

A till's agent may not read firewall rules, but it may read the interface counters. A SYN that lives for one hop is sent
while they are watched: it cannot get as far as a payment host, yet this PC's own firewall treats it like any other. If
no interface sent, lost or refused a packet meanwhile, it was stopped inside; if the loopback carried an answer as well,
it was turned back inside. Other programs' traffic spoils a round, never the verdict: then another round is made.
"""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from probes.host import Host, files, net
from probes.host.sockets import begin, socket_address
from probes.model import OutOfTime

ROUNDS = 20
TURNED_BACK = 3  # rounds that must agree; traffic of others on the loopback could fake one
_COLUMNS = 16


class _Counters(NamedTuple):
    loopback_in: int
    out: int  # packets sent, refused and lost by every other interface


def is_turned_back(host: Host, address: str, port: int) -> bool:
    """Whether this PC itself answers in the target's stead. Never for an address of this PC."""
    if not _could_leave(host, address):
        return False
    agreed = 0
    for _ in range(ROUNDS):
        change = _watch(host, address, port)
        if change is None or change.loopback_in == 0:
            return False
        agreed += change.out == 0
        if agreed == TURNED_BACK:
            return True
    return False


def is_silent(host: Host, address: str, port: int) -> bool:
    """Whether a SYN vanishes inside this PC, without a trace on any interface."""
    if not _could_leave(host, address):
        return False
    for _ in range(ROUNDS):
        change = _watch(host, address, port)
        if change is None:
            return False
        if change.out == 0:
            return True
    return False


def is_own(address: str) -> bool:
    """Whether an address is one of this PC's own: the kernel would use it to speak to itself. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect(socket_address(address, 9))
            return bool(asking.getsockname()[0] == address.partition("%")[0])
    except OSError:
        return False


def _could_leave(host: Host, address: str) -> bool:
    """Whether the way leads out and is open: a pulled cable swallows packets without counting them, too."""
    try:
        hop = net.route_to(host, address)
    except OutOfTime:
        return False
    way = net.link(host, hop.interface) if hop is not None else None
    return way is not None and bool(way.carrier) and not way.flags & net.LOOPBACK and not is_own(address)


def _watch(host: Host, address: str, port: int) -> _Counters | None:
    """How the counters moved while a one-hop SYN set out; None where it cannot be told."""
    before = _counters(host)
    try:
        connection, error = begin(address, port, hops=1)
    except OSError:
        return None
    after = _counters(host)
    connection.close()
    if before is None or after is None or error not in (0, errno.EINPROGRESS):
        return None
    return _Counters(after.loopback_in - before.loopback_in, after.out - before.out)


def _counters(host: Host) -> _Counters | None:
    """The counters of this thread's own network namespace."""
    try:
        text = files.read_bytes(host.path("/proc/thread-self/net/dev")).decode("ascii", "replace")
    except OSError:
        return None
    loopback_in = out = 0
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        numbers = [int(word) for word in rest.split() if word.isdecimal()]
        if not colon or len(numbers) < _COLUMNS:
            continue
        if name.strip() == "lo":
            loopback_in = numbers[1]
        else:
            out += sum(numbers[9:12])
    return _Counters(loopback_in, out)
