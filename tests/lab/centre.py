"""A daemon's loop as far as the centre is concerned, with clocks that can be turned forward."""

from __future__ import annotations

import json
import queue
import time
from pathlib import Path

from agent.config import parse
from agent.config.read import Source
from agent.incidents import Change, Incident
from agent.journal import Journal
from agent.keeper import Keeper
from agent.plan import Plan
from agent.push import Centre, Pushed, Ways
from agent.store import Batch, Event

HEAD = '[site]\nstore = "0042"\nterminal = "T01"\n'


class Loop:
    """Tells a centre of reports and incidents. A context manager; `forward` turns both clocks."""

    def __init__(self, place: Path, config: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        env = {"STATE_DIRECTORY": str(place)}
        plan = Plan(parse(Source("config.toml", (HEAD + config).encode())), [], "en")
        self.log = (place / "log").open("w")
        self.keeper = Keeper(None, env)
        self.keeper.open()
        self.batch, self.events = Batch(), list[Event]()
        self.news: queue.SimpleQueue[Pushed] = queue.SimpleQueue()
        self.offset = 0.0
        self.seq = 0
        ways = Ways(self.news.put, lambda: self.batch, self._save, self.events.append)
        self.centre = Centre(plan, self.keeper, Journal(self.log), ways, env)
        self.centre.restore()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self.centre.stop(2.0)
        self.turns(0.1)
        self.keeper.close()
        self.log.close()

    @property
    def wall(self) -> float:
        return time.time() + self.offset

    def _save(self, durable: bool) -> None:
        batch, self.batch = self.batch, Batch()
        self.keeper.save(batch, durable=durable, everything=self.centre.everything)

    def forward(self, seconds: float) -> None:
        """So much later."""
        self.offset += seconds

    def report(self, *, changed: bool = False, size: int = 2000) -> int:
        """One more report; its number."""
        self.seq += 1
        body = {"schema": "posagent.report/1", "seq": self.seq, "filler": "x" * size}
        self.centre.reported(json.dumps(body).encode(), self.seq, self.wall, changed=changed)
        return self.seq

    def incident(self, name: str, *, over: bool = False) -> None:
        """An incident opens, or ends."""
        facts = {"party": "isp", "category": "network", "confidence": "certain", "impact": "stop"}
        one = Incident(
            id=name,
            cause="isp.down",
            fingerprint=name,
            began_at=self.wall,
            opened_at=self.wall,
            resolved_at=self.wall if over else None,
            **facts,  # type: ignore[arg-type]
        )
        self.batch.incidents.append(one)
        self.centre.incident(Change("resolved" if over else "opened", one), self.wall)

    def turns(self, seconds: float = 0.0) -> None:
        """Turn the loop for so many real seconds, at least once."""
        ends = time.monotonic() + seconds
        while True:
            self.centre.turn(time.monotonic() + self.offset, self.wall)
            if not self.batch.empty:
                self._save(True)
            left = ends - time.monotonic()
            if left <= 0:
                return
            try:
                self.centre.answered(self.news.get(timeout=min(left, 0.05)))
            except queue.Empty:
                self._skip(0.5)

    def until_empty(self, seconds: float = 20.0) -> None:
        """Until nothing waits any more, however long that would take by the clock."""
        ends = time.monotonic() + seconds
        while self.centre.counts()["reports_waiting"]:
            assert time.monotonic() < ends, (self.centre.counts(), self.centre.problems())
            self.turns()
            self._skip(30.0)
            try:
                self.centre.answered(self.news.get(timeout=0.05))
            except queue.Empty:
                continue

    @property
    def busy(self) -> bool:
        """Something is under way."""
        return any(line.busy for line in self.centre._lines.values())

    def settle(self) -> None:
        """Until nothing is under way."""
        self.turns(0.02)
        ends = time.monotonic() + 10
        while self.busy:
            assert time.monotonic() < ends, "an attempt takes too long"
            self.turns(0.02)

    def _skip(self, most: float) -> None:
        """To when the centre has something to do; not while something is under way, which would seem to hang."""
        if not self.busy:
            self.forward(min(most, self.centre.wait(time.monotonic() + self.offset)))
