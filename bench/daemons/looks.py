"""When was each target looked at? The wire tells, alike for every daemon: connections that were begun."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import itertools
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

SO_ATTACH_FILTER, ETH_P_IP = 26, 0x0800
TCP_SYNS = (
    (0x30, 0, 0, 9),  # the protocol
    (0x15, 0, 4, 6),  # is TCP
    (0xB1, 0, 0, 0),  # X: length of the IP header
    (0x50, 0, 0, 13),  # the flags
    (0x54, 0, 0, 0x12),
    (0x15, 1, 0, 0x02),  # SYN without ACK
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 64),
)
"""For the kernel's packet filter, so that nothing but first packets of connections reaches this process."""


@dataclass(frozen=True)
class Regularity:
    """How evenly targets were looked at."""

    looks: int
    missed: int
    longest_gap_s: float
    never: int
    """Targets that nobody looked at in the whole time; their gap is the whole time, or longer."""


class Looks:
    """Counts from the moment it is made."""

    def __init__(self, interface: str) -> None:
        self._seen: dict[int, list[float]] = defaultdict(list)
        self._numbers: dict[int, bytes] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        program = b"".join(struct.pack("HBBI", *line) for line in TCP_SYNS)
        buffer = ctypes.create_string_buffer(program)
        self._socket.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(TCP_SYNS), ctypes.addressof(buffer))
        )
        self._socket.bind((interface, ETH_P_IP))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                packet = self._socket.recv(128)
                header = (packet[0] & 15) * 4
                target, number = int.from_bytes(packet[16:20], "big"), packet[header + 4 : header + 8]
                if self._numbers.get(target) != number:  # the same sequence number is the kernel trying again
                    self._numbers[target] = number
                    self._seen[target].append(time.monotonic())

    def regularity(self, addresses: Iterable[str], interval: float, since: float, till: float) -> Regularity:
        """What `since`..`till` was like for these targets. A look is missed when a gap is half an interval too long."""
        looks = missed = never = 0
        longest = 0.0
        for address in addresses:
            seen = [at for at in self._seen.get(int(ipaddress.ip_address(address)), ()) if since <= at <= till]
            gaps = gaps_of(seen, since, till)
            looks += len(seen)
            never += not seen
            missed += missed_in(gaps, interval)
            longest = max(longest, *gaps)
        return Regularity(looks, missed, longest, never)


def gaps_of(seen: list[float], since: float, till: float) -> list[float]:
    """Return the waits between looks, those at both ends of the time too."""
    marks = [since, *seen, till]
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def missed_in(gaps: Iterable[float], interval: float) -> int:
    """Return how many looks should have been in these gaps."""
    return sum(max(round(gap / interval) - 1, 0) for gap in gaps)
