"""A cable in userspace: late, lossy or slow, for a kernel that has no netem.

    python -I wire.py NEAR FAR [--delay MS] [--jitter MS] [--loss PERCENT] [--rate BITS_PER_S] [--queue FRAMES] [--seed N]

Copies every Ethernet frame between two interfaces of its namespace. A frame waits for its turn on the line (`rate`), then
travels (`delay`, give or take `jitter`), unless it is lost on the way or finds `queue` frames before it.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import random
import selectors
import signal
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_MR_PROMISC = 1
PACKET_IGNORE_OUTGOING = 23
FRAME_BYTES = 65536


def tap(interface: str) -> socket.socket:
    """Open a socket that sees every frame arriving at an interface, and none that leaves it."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    promiscuous = struct.pack("IHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
    made.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)
    made.bind((interface, ETH_P_ALL))
    return made


class Line:
    """One direction: when does a frame that starts now arrive?"""

    def __init__(self, shape: argparse.Namespace, chance: random.Random) -> None:
        """Start empty."""
        self.shape = shape
        self.chance = chance
        self.free_at = 0.0
        self.waiting = 0

    def arrival(self, now: float, size: int) -> float | None:
        """Return the arrival time of a frame of `size` bytes, or None if it never arrives."""
        if self.waiting >= self.shape.queue or self.chance.random() * 100 < self.shape.loss:
            return None
        if self.shape.rate:
            now = self.free_at = max(now, self.free_at) + size * 8 / self.shape.rate
        wobble = self.chance.uniform(-1, 1) * self.shape.jitter
        return float(now + max(0.0, self.shape.delay + wobble) / 1000)


def carry(near: str, far: str, shape: argparse.Namespace) -> None:
    """Carry frames for ever."""
    chance = random.Random(shape.seed)
    ends = (tap(near), tap(far))
    lines = (Line(shape, chance), Line(shape, chance))
    watch = selectors.DefaultSelector()
    for end, direction in zip(ends, (0, 1), strict=True):
        watch.register(end, selectors.EVENT_READ, direction)
    under_way: list[tuple[float, int, int, bytes]] = []
    order = itertools.count()
    print("carrying", flush=True)
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for key, _ in watch.select(wait):
            direction = key.data
            frame = ends[direction].recv(FRAME_BYTES)
            at = lines[direction].arrival(time.monotonic(), len(frame))
            if at is not None:
                heapq.heappush(under_way, (at, next(order), direction, frame))
                lines[direction].waiting += 1
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, direction, frame = heapq.heappop(under_way)
            lines[direction].waiting -= 1
            with contextlib.suppress(OSError):  # an interface that went down meanwhile: the frame is lost
                ends[1 - direction].send(frame)


def main() -> None:
    """Read the shape of the cable, then be it until told to stop."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("near")
    words.add_argument("far")
    for name in ("delay", "jitter", "loss", "rate"):
        words.add_argument(f"--{name}", type=float, default=0.0)
    words.add_argument("--queue", type=int, default=200)
    words.add_argument("--seed", type=int, default=1)
    shape = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    carry(shape.near, shape.far, shape)


if __name__ == "__main__":
    main()
