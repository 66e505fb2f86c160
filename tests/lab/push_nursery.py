"""Raises tills that push, and kills them: `python -m tests.lab.push_nursery DIRECTORY URL KILLS SEED`.

One thread and one process at a time, so that a new life costs a fork and no start of Python. Each life reports, through
the real sender, until SIGKILL. The last one is let live until nothing waits any more.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from agent.config.push import HttpsPush, Push
from agent.push import https, line, order  # noqa: F401 -- once, before the forks
from probes.host import http
from probes.model import Seconds
from tests.agent.pushing import Pusher

http._spare_guessing()
line.START_S, order.FIRST_S, order.PAUSE_S = 0.02, 0.05, 0.002


def till(place: Path, url: str) -> Pusher:
    clock = SimpleNamespace(wall=time.time(), now=time.monotonic())
    return Pusher(place, {}, clock, Push(https=HttpsPush(url=url, timeout=Seconds(5), splay=Seconds(1))))  # type: ignore[arg-type]


def turn(one: Pusher, wait: float) -> None:
    time.sleep(wait)
    while not one.news.empty():
        one.centre.answered(one.news.get())
    one.centre.turn(time.monotonic(), time.time())


def live(place: Path, url: str, seed: int) -> None:
    """Until somebody kills it."""
    luck, one = random.Random(seed), till(place, url)
    written = (place / "written").open("a", buffering=1)
    while True:
        if one.centre.counts()["reports_waiting"] < 40:
            one.clock.wall = time.time()  # type: ignore[misc]
            written.write(f"{one.report(changed=luck.random() < 0.6, size=luck.randrange(2000))}\n")
        turn(one, luck.choice((0.0, 0.001, 0.004)))


def last(place: Path, url: str) -> None:
    """Until nothing waits."""
    one, ends = till(place, url), time.monotonic() + 60
    while time.monotonic() < ends and one.centre.counts()["reports_waiting"]:
        turn(one, 0.005)
    one.stop()


def main(place: Path, url: str, kills: int, seed: int) -> None:
    """`kills` short lives, and one whole one."""
    luck = random.Random(seed)
    for number in range(kills):
        child = os.fork()
        if child == 0:
            try:
                live(place, url, seed * 1000 + number)
            finally:
                os._exit(1)
        time.sleep(luck.uniform(0.005, 0.24))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"life {number} ended by itself: {status}")
    last(place, url)
    print(kills)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
