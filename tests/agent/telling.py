"""A daemon's escalator without the daemon: a real state file, real delivery threads, a clock that the test moves."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

import msgspec

from agent.config import parse
from agent.config.model import Channel
from agent.config.read import Source
from agent.incidents import Book, Change, Incident
from agent.journal import Journal
from agent.keeper import Keeper
from agent.knowledge import Knowledge
from agent.outcome import Outcome, delivered, failed
from agent.plan import Plan
from agent.store import Batch, Event
from agent.telling.delivery import Delivered
from agent.telling.escalator import Escalator, Ways
from agent.telling.message import Message

NOON = 1_795_348_800.0
"""2026-11-22 12:00 UTC, a Sunday."""
STAFF = """
    [channels.staff]
    kind = "command"
    command = ["/bin/tell", "staff"]
"""


def plan_of(text: str = STAFF) -> Plan:
    site = '[site]\nstore = "0042"\nterminal = "T01"\ntimezone = "UTC"\n'
    return Plan(parse(Source("config.toml", (site + text).encode())), [], "en")


def fault(name: str = "i-1", at: float = NOON, **other: object) -> Incident:
    made = Incident(
        id=name,
        cause="lan.router_down",
        party="store",
        category="network",
        confidence="certain",
        fingerprint="f" * 16,
        impact="stop",
        began_at=at - 10,
        opened_at=at,
        probes=("gateway",),
        evidence=("gateway: gateway.no_reply",),
        headline="Router down",
    )
    return msgspec.structs.replace(made, **other)


class World:
    """The other side: who gets what, and which channels work."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Message]] = []
        self.tried: Counter[str] = Counter()
        self.answers: dict[str, Callable[[Message], Outcome]] = {}

    def send(self, channel: Channel, message: Message, _env: Mapping[str, str]) -> Outcome:
        name = channel.command[1]  # type: ignore[attr-defined]
        self.tried[name] += 1
        outcome = self.answers.get(name, lambda _message: delivered())(message)
        if outcome.ok:
            self.got.append((name, message))
        return outcome

    def down(self, *names: str) -> None:
        for name in names:
            self.answers[name] = lambda _message: failed("no route to host")

    def up(self, *names: str) -> None:
        for name in names:
            self.answers.pop(name, None)

    def told(self, name: str = "staff") -> list[tuple[str, str]]:
        return [(message.incident, message.what) for channel, message in self.got if channel == name]


class Desk:
    """The loop's part of a daemon."""

    def __init__(self, place: Path, text: str = STAFF, world: World | None = None, wall: float = NOON) -> None:
        self.env = {"STATE_DIRECTORY": str(place)}
        self.world = world or World()
        self.now, self.wall = time.monotonic(), wall
        self.news: queue.SimpleQueue[Delivered] = queue.SimpleQueue()
        self.log = StringIO()
        self.known = Knowledge({}, lambda _found: ("", ""), lambda _now: "")
        self.keeper = Keeper(None, self.env)
        self.keeper.open()
        self.known.book = self.keeper.book(wall - 300)
        ways = Ways(self.news.put, self.save, self.record, send=self.world.send)
        journal = Journal(self.log, env={})
        self.saves = 0
        self.escalator = Escalator(plan_of(text), self.known, self.keeper, journal, ways, self.env)
        self.escalator.restore(wall)

    def save(self, durable: bool) -> None:
        self.saves += 1
        batch, self.known.unsaved = self.known.unsaved, Batch()
        self.keeper.save(batch, durable=durable, everything=self.everything)

    def record(self, event: Event) -> None:
        self.known.unsaved.events.append(event)

    def everything(self) -> Batch:
        batch = Batch(incidents=[*self.known.book.open, *self.known.book.recent])
        batch.merge(self.escalator.everything())
        return batch

    def opens(self, *incidents: Incident) -> None:
        self.known.book = msgspec.structs.replace(self.known.book, open=(*self.known.book.open, *incidents))
        self.known.unsaved.incidents.extend(incidents)
        self.escalator.changed([Change("opened", each) for each in incidents])

    def resolves(self, name: str, **other: object) -> None:
        (incident,) = (each for each in self.known.book.open if each.id == name)
        over = msgspec.structs.replace(incident, resolved_at=self.wall, **other)
        rest = tuple(each for each in self.known.book.open if each.id != name)
        self.known.book = Book(open=rest, recent=(*self.known.book.recent, over))
        self.known.unsaved.incidents.append(over)
        self.escalator.changed([Change("joined" if over.joined_to else "resolved", over)])

    def turn(self) -> None:
        """All that is to be done at this moment, to the end."""
        for _ in range(100_000):
            self.escalator.turn(self.now, self.wall)
            if self.escalator.post.in_hand():
                self.escalator.answered(self.news.get(timeout=10))
                while not self.news.empty():
                    self.escalator.answered(self.news.get())
            elif self.escalator.wait(self.now) > 0:
                return
        raise AssertionError("it never comes to rest")

    def go(self, seconds: float) -> int:
        """So much time passes. Returns how many turns it took."""
        ends, turns = self.now + seconds, 0
        while True:
            turns += 1
            self.turn()
            step = min(self.escalator.wait(self.now), ends - self.now)
            if step <= 0:
                return turns
            self.now += step
            self.wall += step

    def close(self) -> None:
        self.escalator.stop(1.0)
        self.keeper.close()
