"""Who answers a datagram? A connected socket: strangers are not heard, and the kernel passes on refusals (ICMP)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from probes.host import Host

K = TypeVar("K")

AGAIN = 1.0  # seconds after which unanswered questions are sent once more: one lost packet is no verdict
GRACE = 0.15  # seconds that optional answers may come after the last wanted one


@dataclass(frozen=True)
class Reply:
    """One accepted datagram, and the seconds from the first question to it."""

    data: bytes
    seconds: float


def exchange(
    host: Host,
    server: tuple[str, int],
    questions: Mapping[K, bytes],
    which: Callable[[bytes], K | None],
    optional: frozenset[K] = frozenset(),
) -> dict[K, Reply]:
    """Send all questions at once, return the replies that came before the deadline.

    `which` says which question a datagram answers; None is ignored and waited past. `server` is a numeric address and
    port. Raises OSError (ECONNREFUSED, EHOSTUNREACH, EPERM …) when the network says no before anything was answered.
    """
    replies: dict[K, Reply] = {}
    ends = time.monotonic() + host.left()
    with connected(server) as sock:
        began = due = time.monotonic()
        while (now := time.monotonic()) < ends and questions.keys() - replies.keys():
            try:
                if now >= due:
                    due = now + AGAIN
                    for key in questions.keys() - replies.keys():
                        sock.send(questions[key])
                sock.settimeout(max(0.001, min(due, ends) - now))
                data = sock.recv(65535)
            except TimeoutError:
                continue
            except OSError:
                if replies:
                    break
                raise
            key_or_none = which(data)
            if key_or_none is not None and key_or_none not in replies:
                replies[key_or_none] = Reply(data, time.monotonic() - began)
                if not questions.keys() - replies.keys() - optional:
                    ends = min(ends, time.monotonic() + GRACE)
    return replies


def connected(server: tuple[str, int]) -> socket.socket:
    """A socket that hears this numeric address and port only. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        *server, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock
