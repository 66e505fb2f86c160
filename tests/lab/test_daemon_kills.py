"""Is anything lost, doubled or half written when the daemon is killed at any moment? A real one, more than 200 times.

Five tills live side by side, each with faults that come and go, whether their daemon lives or not; one of them is an
address that is taken away and given back, so that kernel events and examinations are under way when SIGKILL comes.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.incidents import Incident
from tests.lab.daemon import Till, incident_of, probe_of
from tests.lab.room import Room

pytestmark = pytest.mark.lab
TILLS, LIVES = 5, 41
SEED = 20261122
REPO = Path(__file__).parents[2]
STEADY, ADDRESS = "steady", "address"
FICKLE = ("fickle-1", "fickle-2", "fickle-3", ADDRESS)
VALID = jsonschema.Draft202012Validator(json.loads((REPO / "docs/report.schema.json").read_text()))


class Witness:
    """What a till's reports and its state file said so far, held against what was really the matter."""

    def __init__(self, till: Till, room: Room, chance: random.Random) -> None:
        self.till, self.room, self.chance = till, room, chance
        self.broken = dict.fromkeys((STEADY, *FICKLE), False)
        self.times = Counter[str]()
        """How often each fault came."""
        self.seq = 0
        self.content = b""
        self.known: dict[str, tuple[str, ...]] = {}
        """Every incident that a report or the state file ever showed: its probes."""
        self.was_open: dict[str, tuple[str, int]] = {}
        """Those open in the state file after the last kill: their probe, and how often its fault had come by then."""
        self.counts = Counter[str]()

    def switch(self, name: str, broken: bool) -> None:
        """Make or mend a fault."""
        if self.broken[name] == broken:
            return
        self.broken[name] = broken
        self.times[name] += broken
        self.counts["switches"] += 1
        if name == ADDRESS:
            Room.sh("ip", "-n", self.room.name, "addr", "del" if broken else "add", "192.0.2.9/24", "dev", "v0")
        else:
            self.till.tell(name, "fail" if broken else "ok")

    def live(self, seconds: float) -> None:
        """One life of that length, watched at every turn; then SIGKILL. Now and then the first news is its death."""
        self.till.start()
        hasty = self.chance.random() < 0.4
        ends = time.monotonic() + seconds
        change = time.monotonic() + self.chance.uniform(0, 1.5)
        while (now := time.monotonic()) < ends:
            if now >= change:
                self.switch(name := self.chance.choice(FICKLE), not self.broken[name])
                change = now + self.chance.uniform(0.05, 1.5)
            if self.read() and hasty:
                self.counts["killed as they told of an incident"] += 1
                break
            time.sleep(0.002 if hasty else 0.02)
        assert self.till.process is not None and self.till.process.poll() is None, self.till.said()
        self.till.kill()
        self.counts["kills"] += 1
        self.read(validate=True)
        self.look_into_memory()
        if self.chance.random() < 0.3:  # while nobody looks
            self.switch(name := self.chance.choice(FICKLE), not self.broken[name])

    def read(self, *, validate: bool = False) -> bool:
        """The report is whole, and its number goes up. Whether it tells of an incident that it did not tell of before."""
        try:
            content = self.till.report_path.read_bytes()
        except FileNotFoundError:
            assert self.seq == 0, "the report is gone"
            return False
        if content == self.content and not validate:
            return False
        said = json.loads(content)
        known = len(self.known)
        if content != self.content:
            assert said["seq"] > self.seq, f"number {said['seq']} after {self.seq}"
            self.seq, self.content = said["seq"], content
            self.counts["reports"] += 1
            for name in self.broken:
                if found := incident_of(said, name):
                    self.known[found["id"]] = tuple(found["probes"])
        if validate:
            VALID.validate(said)
            assert not said["agent"]["problems"]
        return len(self.known) > known

    def look_into_memory(self) -> None:
        """What the kill left: whole, nothing lost that was told, nothing twice."""
        if not (self.till.state / "state.sqlite").exists():
            assert not self.known
            return
        with self.till.memory() as memory:
            stored = {each.id: each for each in memory.incidents(limit=10_000)}
            tracks = memory.tracks()
        lost = {name: probes for name, probes in self.known.items() if name not in stored}
        assert not lost, f"told and lost: {lost}"
        now_open = [each for each in stored.values() if each.resolved_at is None]
        for name in self.broken:
            assert sum(name in each.probes for each in now_open) <= 1, f"open twice: {now_open}"
        for identity, (name, times) in self.was_open.items():
            if self.broken[name] and self.times[name] == times:
                assert stored[identity].resolved_at is None, f"{name} is broken still, its incident was closed"
        if any(STEADY in each.probes for each in now_open):
            assert tracks[STEADY].status == "fail"
        self.was_open = {each.id: (self.of(each), self.times[self.of(each)]) for each in now_open}
        self.known |= {each.id: each.probes for each in stored.values()}

    @staticmethod
    def of(incident: Incident) -> str:
        """The fault that it is about."""
        (name,) = incident.probes
        return name

    def judge(self) -> list[Incident]:
        """At the end, with all mended and a daemon that lives: every incident is over, and none was one too many."""
        for name in (STEADY, *FICKLE):
            self.switch(name, False)
        for left in self.till.state.glob(".health.json.*"):
            self.counts["half-written files left"] += 1
            os.utime(left, (0, 0))
        self.till.begin()
        self.till.until(lambda report: not report["incidents"], "all well", 30)
        assert self.till.stop() < 5
        assert not list(self.till.state.glob(".health.json.*")), "what a killed writer left is removed"
        self.read(validate=True)
        self.look_into_memory()
        with self.till.memory() as memory:
            stored = memory.incidents(limit=10_000)
            self.counts["starts on record"] = sum(e.what == "agent.started" for e in memory.events(limit=10_000))
        assert all(each.resolved_at is not None for each in stored)
        of_each = Counter(self.of(each) for each in stored)
        assert of_each[STEADY] == 1, "one fault that never went away was told anew"
        for name in FICKLE:
            assert of_each[name] <= self.times[name], (
                f"{name} broke {self.times[name]} times: {of_each[name]} incidents"
            )
            mine = sorted((each for each in stored if self.of(each) == name), key=lambda each: each.opened_at)
            for before, after in pairwise(mine):
                assert (before.resolved_at or 0) <= after.opened_at
        self.counts["incidents"] = len(stored)
        return stored


def span_of_life(chance: random.Random, start: float) -> float:
    """Some die while they start, which takes `start` seconds here and now, most while they work."""
    return chance.uniform(0.02, start) if chance.random() < 0.25 else start + chance.uniform(0, 2)


def lives_of(number: int, place: Path) -> dict[str, Any]:
    """All lives of one till."""
    chance = random.Random(SEED + number)
    with Room(place) as room:
        Room.sh(*room.inside("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"))
        for line in (
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "a add 192.0.2.9/24 dev v0",
        ):
            Room.sh("ip", "-n", room.name, *line.split())
        with Till(place / "till", inside=room.inside()) as till:
            till.watch(ADDRESS, "interface", name="v0", min_speed=0)
            for name in (STEADY, *FICKLE[:-1], *(f"good-{each}" for each in range(4))):
                till.watch(name)
            witness = Witness(till, room, chance)
            witness.switch(STEADY, True)
            began = time.monotonic()
            till.begin()
            start = time.monotonic() - began
            till.until_incident(STEADY)
            till.kill()
            for _ in range(LIVES):
                witness.live(span_of_life(chance, start))
            witness.judge()
            return dict(witness.counts)


@pytest.mark.timeout(400)
def test_killed_205_times_it_loses_doubles_and_garbles_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(TILLS) as together:
        counts = list(together.map(lives_of, range(TILLS), [tmp_path / f"{number}" for number in range(TILLS)]))
    total = sum((Counter(each) for each in counts), Counter[str]())
    print(f"seed {SEED}: " + ", ".join(f"{number} {what}" for what, number in total.items()))
    assert total["kills"] >= 200
    assert total["incidents"] > TILLS * 5, "too little happened to prove anything"


def test_since_when_it_is_so_is_known_after_a_kill(tmp_path: Path) -> None:
    with Till(tmp_path / "till") as till:
        till.watch("bad", impact="stop")
        till.begin()
        till.tell("bad", "fail")
        before = till.until(lambda said: said["verdict"]["payments"] == "down")
        till.kill()
        time.sleep(1)
        after = till.begin()
        assert after["verdict"]["since"] == before["verdict"]["since"]
        assert probe_of(after, "bad")["since"] == probe_of(before, "bad")["since"]
