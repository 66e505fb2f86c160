"""What came in place of an echo: who refused, and why?

Pure: from errno, or from what the kernel put into the error queue of a socket (IP_RECVERR), to a kind of refusal and a
text.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

BLOCKED_HERE, NO_ROUTE, UNREACHABLE = "blocked_here", "no_route", "unreachable"
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
SHORTEST = _EXTENDED_ERROR.size
"""Bytes that a note of the error queue has at least."""
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


def of_sending(error: OSError) -> tuple[str, str]:
    """The kind of refusal and the text, where this PC itself would not send."""
    return _LOCAL_REFUSALS.get(error.errno or 0, ("", f"sending failed ({error.strerror or error})"))


def of_queue(note: bytes, family: int) -> tuple[str, str, str]:
    """The kind of refusal, the text and who told it ("" where nobody did); `note` has SHORTEST bytes or more."""
    code, origin, kind, detail, *_ = _EXTENDED_ERROR.unpack_from(note)
    if origin not in _FROM_ICMP:
        return *_LOCAL_REFUSALS.get(code, ("", os.strerror(code))), ""
    version = 6 if family == socket.AF_INET6 else 4
    meaning = _CODES.get((version, kind, detail), f"ICMP type {kind} code {detail}")
    return UNREACHABLE, meaning, _teller(version, note[SHORTEST:])


def _teller(version: int, offender: bytes) -> str:
    if version == 4 and len(offender) >= 8:
        return socket.inet_ntoa(offender[4:8])
    if version == 6 and len(offender) >= 24:
        return socket.inet_ntop(socket.AF_INET6, offender[8:24])
    return ""
