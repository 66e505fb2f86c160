"""Many tills in one process: each has a real Centre, a state file, a certificate and threads of its own.

One loop stands for the loops of all their daemons: it makes reports when the scene says so, brings answers to whom they
belong, and otherwise sleeps until a Centre asks for a turn.
"""

from __future__ import annotations

import gc
import heapq
import io
import json
import os
import queue
import random
import resource
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from agent import thrift
from agent.config.model import Site
from agent.config.push import HttpsPush, MqttPush, Push
from agent.incidents import Change, Incident
from agent.journal import Journal
from agent.keeper import Keeper
from agent.push import Centre, Pushed, Ways
from agent.store import Batch, Event, Note
from probes.model import Seconds
from tests.lab.fleet import reports
from tests.lab.fleet.scene import PHASES, Phase, Scene, Step, names

STACK_BYTES = 512 * 1024
FILES = 20_000
LEAVING_S = 3.0


@dataclass(frozen=True)
class Orders:
    """What a process of tills has to know."""

    scene: Scene
    process: int
    began: float
    """The monotonic second at which the first till begins."""
    phases: dict[Phase, float]
    """When those began that have begun."""
    boot_s: float
    home: Path
    ca_file: Path
    https_port: int
    mqtt_port: int
    address: str = "127.0.0.1"
    ways: tuple[str, ...] = ("https", "mqtt")


class SimTill:
    """One till. All of it in the loop's thread, but for its Centre's own threads."""

    def __init__(self, orders: Orders, number: int, answers: queue.SimpleQueue[Any], book: Book) -> None:
        scene, self.number, self.book = orders.scene, number, book
        self.site = names(number)
        self.draw = random.Random(f"{scene.seed} numbers {number}")
        self.sight = "healthy"
        self.open: Incident | None = None
        self.scene, self.steps = scene, list[Step]()
        for phase, moment in orders.phases.items():
            self.enter(phase, moment)
        home = orders.home / "tills" / f"{number:05}"
        home.mkdir(parents=True, exist_ok=True)
        self.unsaved = Batch()
        self.keeper = Keeper(home / "health.json", {"STATE_DIRECTORY": str(home)})
        self.keeper.open()
        ways = Ways(
            answer=lambda pushed: answers.put((number, pushed)),
            unsaved=lambda: self.unsaved,
            save=lambda durable: self.save(durable=durable),
            record=self._record,
        )
        self.centre = Centre(_plan(orders, number), self.keeper, Journal(book.journal), ways, {})
        self.centre.restore()

    def enter(self, phase: Phase, moment: float) -> None:
        """A phase began at that monotonic second; what lies in the past does not happen."""
        fresh = [Step(moment + at, what) for at, what in self.scene.steps(self.number, phase)]
        self.steps = sorted([*self.steps, *(each for each in fresh if each.at >= time.monotonic())], reverse=True)

    def save(self, *, durable: bool = False) -> None:
        """As the daemon's."""
        batch, self.unsaved = self.unsaved, Batch()
        self.keeper.save(batch, durable=durable, everything=self.centre.everything)

    def _record(self, event: Event) -> None:
        self.unsaved.events.append(event)

    def begin(self) -> None:
        """The first report of this life."""
        self.report(changed=True)

    def step(self, step: Step) -> None:
        """Something is to be told."""
        if step.what in ("opened", "acknowledged", "resolved"):
            self._incident(step.what)
        self.report(changed=step.what != "beat")

    def _incident(self, what: str) -> None:
        now, note = time.time(), None
        if what == "opened" or self.open is None:
            self.open, self.sight, what = reports.incident(self.number), reports.TROUBLE, "opened"
        if what == "acknowledged":
            note = Note(self.open.id, now, "Li Wei", "on my way with a new cable", now + 3600)
        elif what == "resolved":
            self.open, self.sight = msgspec.structs.replace(self.open, resolved_at=now), "healthy"
        self.unsaved.incidents.append(self.open)
        self.centre.incident(
            Change("resolved" if what == "resolved" else "opened" if note is None else "changed", self.open), now, note
        )
        self.book.told(self.number, what, self.open.id)
        self.save(durable=True)
        if what == "resolved":
            self.open = None

    def report(self, *, changed: bool) -> None:
        seq, now = self.keeper.next_seq(), time.time()
        content = reports.encoded(self.sight, seq, self.site, now, self.draw)
        self.centre.about_to_report()
        if not self.keeper.write(content):
            raise RuntimeError(str(self.keeper.problems))
        self.book.made(self.number, seq, len(content), changed=changed)
        self.save()
        self.centre.reported(content, seq, now, changed=changed)

    def turn(self) -> float:
        """Returns when the next is due."""
        while self.steps and self.steps[-1].at <= time.monotonic():
            self.step(self.steps.pop())
        now = time.monotonic()
        self.centre.turn(now, time.time())
        next_step = self.steps[-1].at if self.steps else float("inf")
        return min(next_step, now + self.centre.wait(now), now + 60.0)


class Book:
    """What the tills of one process made, written down at once: a power cut does not take it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.journal = io.StringIO()

    def made(self, till: int, seq: int, size: int, *, changed: bool) -> None:
        self._line(["report", till, seq, time.monotonic(), size, changed])

    def told(self, till: int, what: str, incident: str) -> None:
        self._line(["incident", till, what, time.monotonic(), incident])

    def _line(self, what: list[Any]) -> None:
        os.write(self._file, json.dumps(what).encode() + b"\n")


def _plan(orders: Orders, number: int) -> Any:
    scene, (store, terminal) = orders.scene, names(number)
    common: dict[str, Any] = {
        "ca_file": str(orders.ca_file),
        "certificate_file": str(orders.home / "papers" / f"{number:05}.pem"),
        "splay": Seconds(scene.splay_s),
        "quota": scene.quota(number),
    }
    https = HttpsPush(url=f"https://{orders.address}:{orders.https_port}/v1/reports", **common)
    mqtt = MqttPush(host=orders.address, port=orders.mqtt_port, keepalive=Seconds(scene.keepalive_s), **common)
    push = Push(https=https if "https" in orders.ways else None, mqtt=mqtt if "mqtt" in orders.ways else None)
    config = SimpleNamespace(push=push, site=Site(store=store, terminal=terminal))
    return SimpleNamespace(config=config)


class Crew:
    """The loop."""

    def __init__(self, orders: Orders, pipe: Connection) -> None:
        self._orders, self._pipe = orders, pipe
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._book = Book(orders.home / f"made-{orders.process}.jsonl")
        self._tills: dict[int, SimTill] = {}
        self._due: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []
        self._late = 0.0
        """The longest that a till's turn came after its time."""
        begin = max(orders.began, time.monotonic())
        for number in orders.scene.mine(orders.process):
            self._plan(number, begin + orders.boot_s * orders.scene.starts_at(number))

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            concerned = self._wait()
            if concerned is None:
                return
            for number in concerned:
                self._turn(number)

    def _listen(self) -> None:
        while True:
            try:
                self._inbox.put(self._pipe.recv())
            except (EOFError, OSError):
                os._exit(1)  # nobody is left who asked for this

    def _wait(self) -> list[int] | None:
        """Who is to have a turn now."""
        now, concerned = time.monotonic(), dict[int, None]()
        while self._heap and self._heap[0][0] <= now and len(concerned) < 50:
            due, number = heapq.heappop(self._heap)
            if self._due.get(number) == due:
                self._late = max(self._late, now - due)
                concerned[number] = None
        patience = 0.0 if concerned else min(1.0, self._heap[0][0] - now) if self._heap else 1.0
        while True:
            try:
                news = self._inbox.get(timeout=max(0.0, patience)) if patience > 0 else self._inbox.get_nowait()
            except queue.Empty:
                return list(concerned)
            patience = 0.0
            if isinstance(news, str):
                if not self._obey(news):
                    return None
                concerned.update(dict.fromkeys(self._tills if news in PHASES else ()))
                continue
            number, pushed = news
            assert isinstance(pushed, Pushed)
            if number in self._tills:
                self._tills[number].centre.answered(pushed)
                concerned[number] = None
            if len(concerned) >= 100:
                return list(concerned)

    def _turn(self, number: int) -> None:
        till = self._tills.get(number)
        if till is None:
            till = self._tills[number] = SimTill(self._orders, number, self._inbox, self._book)
            till.begin()
        self._plan(number, till.turn())

    def _plan(self, number: int, due: float) -> None:
        self._due[number] = due
        heapq.heappush(self._heap, (due, number))

    def _obey(self, order: str) -> bool:
        if order == "counts":
            self._pipe.send(self._counts())
        elif order == "leave":
            self._pipe.send(self._leave())
        elif order in PHASES:
            phase: Phase = order
            moment = self._orders.phases[phase] = time.monotonic()
            for till in self._tills.values():
                till.enter(phase, moment)
        return order != "end"

    def _counts(self) -> dict[str, Any]:
        counts = [till.centre.counts() for till in self._tills.values()]
        used = resource.getrusage(resource.RUSAGE_SELF)
        gc.collect()
        thrift.give_back()
        late, self._late = self._late, 0.0
        return {
            "tills": len(self._tills),
            "waiting": sum(each["reports_waiting"] for each in counts),
            "most_waiting": max((each["reports_waiting"] for each in counts), default=0),
            "dropped": sum(each["reports_dropped"] for each in counts),
            "problems": [text for till in self._tills.values() for text in till.centre.problems()],
            "cpu_s": used.ru_utime + used.ru_stime,
            "rss_kb": _rss_kb(),
            "threads": threading.active_count(),
            "late_s": late,
            "keeper": [text for till in self._tills.values() for text in till.keeper.problems.values()],
        }

    def _leave(self) -> list[int]:
        """Every second till stops in order; the others are in for a power cut."""
        leaving = [
            number for number in self._tills if number % (2 * self._orders.scene.processes) == self._orders.process
        ]
        for number in leaving:
            till = self._tills.pop(number)
            self._due.pop(number, None)
            till.centre.stop(LEAVING_S)
            till.save(durable=True)
            till.keeper.close()
        return leaving


def _rss_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def main(orders: Orders, pipe: Connection) -> None:
    """A process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    threading.stack_size(STACK_BYTES)
    thrift.begin()
    Crew(orders, pipe).run()
    os._exit(0)  # as a power cut: whoever has not left has not said goodbye
