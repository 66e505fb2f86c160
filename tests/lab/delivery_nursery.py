"""Raises daemons' escalators and kills them: `python -m tests.lab.delivery_nursery DIRECTORY URL KILLS SEED`.

One thread and one process at a time, so that a new life costs a fork and no start of Python. Each life tells of faults
that come and go, through a real webhook, until SIGKILL. The last one is let live until nothing waits any more.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import sys
import time
from pathlib import Path

import msgspec

from agent import channels  # noqa: F401 -- once, before the forks
from agent.config import parse
from agent.config.read import Source
from agent.incidents import Book, Change, Incident
from agent.journal import Journal
from agent.keeper import Keeper
from agent.knowledge import Knowledge
from agent.plan import Plan
from agent.store import Batch, Event
from agent.telling import message  # noqa: F401
from agent.telling.delivery import Delivered
from agent.telling.escalator import Escalator, Ways
from probes.host import http  # noqa: F401

CONFIG = """
[site]
store = "0042"
[channels.centre]
kind = "webhook"
url = "{url}centre"
timeout = "5s"
[channels.staff]
kind = "webhook"
url = "{url}staff"
timeout = "5s"
[[escalation]]
name = "all"
channels = ["centre", "staff"]
remind_every = 0
"""


class Life:
    """What a daemon's loop does about people, and nothing else."""

    def __init__(self, place: Path, url: str, name: str) -> None:
        env = {"STATE_DIRECTORY": str(place)}
        plan = Plan(parse(Source("config.toml", CONFIG.format(url=url).encode())), [], "en")
        self.name, self.count = name, 0
        self.news: queue.SimpleQueue[Delivered] = queue.SimpleQueue()
        self.known = Knowledge({}, lambda _found: ("", ""), lambda _now: "")
        self.keeper = Keeper(None, env)
        self.keeper.open()
        self.known.book = self.keeper.book(time.time() - 300)
        ways = Ways(self.news.put, self.save, self.record)
        journal = Journal(Path("/dev/null").open("w"))  # noqa: SIM115
        self.escalator = Escalator(plan, self.known, self.keeper, journal, ways, env)
        self.escalator.restore(time.time())

    def save(self, durable: bool) -> None:
        batch, self.known.unsaved = self.known.unsaved, Batch()
        self.keeper.save(batch, durable=durable)

    def record(self, event: Event) -> None:
        self.known.unsaved.events.append(event)

    def turn(self, wait: float) -> None:
        try:
            self.escalator.answered(self.news.get(timeout=wait))
            while True:
                self.escalator.answered(self.news.get_nowait())
        except queue.Empty:
            pass
        self.escalator.turn(time.monotonic(), time.time())
        if not self.known.unsaved.empty:
            self.save(True)

    def change(self, luck: random.Random) -> None:
        """A fault comes, or one goes."""
        now, book = time.time(), self.known.book
        if book.open and luck.random() < 0.5:
            over = msgspec.structs.replace(luck.choice(book.open), resolved_at=now)
            self.known.book = Book(open=tuple(each for each in book.open if each.id != over.id))
            self._changed(Change("resolved", over))
            return
        self.count += 1
        name = f"{self.name}-{self.count}"
        facts = {"party": "isp", "category": "network", "confidence": "certain", "impact": "stop"}
        incident = Incident(id=name, cause="isp.down", fingerprint=name, began_at=now, opened_at=now, **facts)
        self.known.book = Book(open=(*book.open, incident))
        self._changed(Change("opened", incident))

    def _changed(self, change: Change) -> None:
        self.known.unsaved.incidents.append(change.incident)
        self.escalator.changed([change])


def live(place: Path, url: str, name: str, seed: int) -> None:
    """Until somebody kills it."""
    luck, life = random.Random(seed), Life(place, url, name)
    while True:
        if life.escalator.counts()["waiting"] < 12:
            life.change(luck)
        life.turn(0.002)


def last(place: Path, url: str) -> None:
    """Until nothing waits."""
    life, ends = Life(place, url, "last"), time.monotonic() + 60
    for incident in life.known.book.open:
        over = msgspec.structs.replace(incident, resolved_at=time.time())
        life._changed(Change("resolved", over))
    life.known.book = Book()
    while time.monotonic() < ends:
        life.turn(0.05)
        if life.escalator.counts()["waiting"] == 0:
            break
    life.escalator.stop(1.0)


def main(place: Path, url: str, kills: int, seed: int) -> None:
    """`kills` short lives, and one whole one."""
    luck = random.Random(seed)
    for number in range(kills):
        child = os.fork()
        if child == 0:
            try:
                live(place, url, str(number), seed * 1000 + number)
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
