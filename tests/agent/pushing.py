"""A till that pushes to a centre of the test's own, in time of the test's own: real loop code, real state file."""

from __future__ import annotations

import io
import json
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.config.push import Centre as Settings
from agent.config.push import HttpsPush, MqttPush, Push
from agent.journal import Journal
from agent.keeper import Keeper
from agent.outcome import Outcome, delivered, failed
from agent.push import Centre, Parcel, Pushed, Till, Ways
from agent.push import centre as centres
from agent.push import stock as stocks
from agent.push.sender import Sender, WayName
from agent.store import Batch, Event

NOON = 1_760_000_000.0
HTTPS = HttpsPush(url="https://centre.example/v1/reports")
MQTT = MqttPush(host="mqtt.centre.example")
BOTH = Push(https=HTTPS, mqtt=MQTT)
BOUND_S = 5.0
SORTS: Mapping[str, frozenset[Any]] = {
    "https": frozenset({"report", "history", "gap"}),
    "mqtt": frozenset({"report", "history", "gap", "incident"}),
}


class Clock:
    """Monotonic seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    @property
    def wall(self) -> float:
        return NOON + self.now


@dataclass
class Hub:
    """The centre as the test has it: what it answers, and what it got, when."""

    clock: Clock
    answer: Callable[[Parcel], Outcome] = lambda _parcel: delivered()
    standing: Callable[[], Outcome] = delivered
    tried: list[tuple[float, Parcel]] = field(default_factory=list)
    got: list[tuple[float, Parcel]] = field(default_factory=list)
    attended: list[float] = field(default_factory=list)
    made: int = 0
    closed: int = 0

    def down(self, detail: str = "refused; is it up?", retry_after: float | None = None) -> None:
        self.answer, self.standing = lambda _parcel: failed(detail, retry_after), lambda: failed(detail)

    def up(self) -> None:
        self.answer, self.standing = lambda _parcel: delivered(), delivered

    @property
    def seqs(self) -> list[int]:
        """Of the reports that arrived, in that order."""
        return [parcel.seq for _, parcel in self.got if parcel.kind in ("report", "history")]

    @property
    def kinds(self) -> list[str]:
        return [parcel.kind for _, parcel in self.got]

    def bodies(self, kind: str) -> list[Any]:
        return [json.loads(parcel.body) for _, parcel in self.got if parcel.kind == kind]


class Double:
    """A sender that hands everything to the hub."""

    def __init__(self, hub: Hub, way: str) -> None:
        self.hub, self.where = hub, f"{way}://hub"
        self.sorts, self.attends = SORTS[way], way == "mqtt"
        hub.made += 1

    def send(self, parcel: Parcel) -> Outcome:
        self.hub.tried.append((self.hub.clock.now, parcel))
        outcome = self.hub.answer(parcel)
        if outcome.ok:
            self.hub.got.append((self.hub.clock.now, parcel))
        return outcome

    def attend(self) -> Outcome:
        self.hub.attended.append(self.hub.clock.now)
        return self.hub.standing()

    def close(self, grace: float) -> None:
        self.hub.closed += 1


class Pusher:
    """What the daemon does around a Centre."""

    def __init__(self, path: Path, hubs: Mapping[str, Hub], clock: Clock, push: Push, terminal: str = "T01") -> None:
        self.path, self.hubs, self.clock, self.push = path, hubs, clock, push
        self.keeper = Keeper(path / "health.json", {"STATE_DIRECTORY": str(path)})
        self.keeper.open()
        self.unsaved, self.saves = Batch(), 0
        self.news: queue.SimpleQueue[Pushed] = queue.SimpleQueue()
        self.events: list[Event] = []
        self.tills: list[Till] = []
        self.log = io.StringIO()
        journal = Journal(self.log, env={})
        ways = Ways(self.news.put, lambda: self.unsaved, self.save, self.events.append, self._make)
        self.terminal = terminal
        self.centre = Centre(self.plan(push), self.keeper, journal, ways, {})
        self.centre.restore()

    def plan(self, push: Push) -> Any:
        site = SimpleNamespace(store="0042", terminal=self.terminal)
        return SimpleNamespace(config=SimpleNamespace(push=push, site=site))

    def _make(self, way: WayName, settings: Settings, till: Till, env: Mapping[str, str]) -> Sender:
        hub = self.hubs.get(way)
        self.tills.append(till)
        return Double(hub, way) if hub is not None else centres.make_sender(way, settings, till, env)

    def save(self, durable: bool = False) -> None:
        batch, self.unsaved = self.unsaved, Batch()
        self.saves += not batch.empty
        self.keeper.save(batch, durable=durable, everything=self.centre.everything)

    def report(self, *, changed: bool = True, size: int = 0) -> int:
        """One more report; its number."""
        seq, at = self.keeper.next_seq(), self.clock.wall
        stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        encoded = json.dumps({"seq": seq, "generated_at": stamp, "boot_id": "b", "more": "x" * size}).encode()
        self.centre.about_to_report()
        self.keeper.write(encoded)
        self.centre.reported(encoded, seq, at, changed=changed)
        return seq

    def settle(self) -> None:
        """Turns of the loop until nothing happens any more at this moment."""
        deadline = time.monotonic() + BOUND_S
        while time.monotonic() < deadline:
            self.centre.turn(self.clock.now, self.clock.wall)
            busy = [line for line in self.centre._lines.values() if line.busy]
            if not busy and self.centre.wait(self.clock.now) > 0:
                return
            if busy:
                self.centre.answered(self.news.get(timeout=BOUND_S))
            while not self.news.empty():
                self.centre.answered(self.news.get())
        raise AssertionError("it does not come to rest")

    def run(self, seconds: float, each: Callable[[], object] | None = None, every: float = 60.0) -> None:
        """Let time pass; `each` happens every so often."""
        ends, next_at = self.clock.now + seconds, self.clock.now + every
        self.settle()
        while self.clock.now < ends:
            wait = max(0.001, min(self.centre.wait(self.clock.now), ends - self.clock.now))
            if each is not None:
                wait = min(wait, max(0.001, next_at - self.clock.now))
            self.clock.now += wait
            if each is not None and self.clock.now >= next_at:
                next_at += every
                each()
            self.settle()

    def rows(self) -> list[str]:
        """What waits in the state file."""
        return [one.key for one in self.keeper.ask(lambda store: store.parcels.index(), [])]

    def stop(self, grace: float = 1.0) -> None:
        self.centre.stop(grace)
        while not self.news.empty():
            self.centre.answered(self.news.get())
        self.centre.turn(self.clock.now, self.clock.wall)
        self.save()

    def die(self) -> None:
        """As after SIGKILL: nothing more is saved."""
        for line in self.centre._lines.values():
            line.runner.leave()
        self.keeper.close()


@dataclass
class Street:
    """Where tills of a test are."""

    path: Path
    clock: Clock
    hubs: dict[str, Hub]
    tills: list[Pusher] = field(default_factory=list)

    @property
    def hub(self) -> Hub:
        return self.hubs["https"]

    def till(self, push: Push | None = None, terminal: str = "T01", **settings: Any) -> Pusher:
        """A till, or the next life of it."""
        chosen = push or Push(https=msgspec.structs.replace(HTTPS, **settings))
        self.tills.append(Pusher(self.path, self.hubs, self.clock, chosen, terminal))
        return self.tills[-1]

    def again(self, till: Pusher, terminal: str = "") -> Pusher:
        till.die()
        return self.till(till.push, terminal or till.terminal)


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time stands still but for what the test lets pass."""
    clock = Clock()
    for module in (stocks, centres):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, time=lambda: clock.wall))
    made = Street(tmp_path, clock, {"https": Hub(clock), "mqtt": Hub(clock)})
    yield made
    for till in made.tills:
        till.die()
