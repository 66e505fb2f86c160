"""Beats in a process whose wall clock is really set while it runs: dead battery, NTP's answer, and back again."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

YEARS_26 = 26 * 365 * 86400
WATCHED_S = 3.5
STEPS = (3600, 0, -3600, 0, -YEARS_26, 0, 7200)
CHILD = """
import dataclasses, sys, time
from agent.watching.scheduler import Beats
from probes.model import Seconds
from tests.agent.kinds import make_probe

def tell(name):
    print(name, time.monotonic(), time.time(), flush=True)

beats = Beats(lambda names: [tell(name) for name in names])
probes = [dataclasses.replace(make_probe(f"p{number}", "any"), interval=Seconds(1)) for number in range(3)]
slow = dataclasses.replace(make_probe("slow", "any"), interval=Seconds(6))
beats.arrange([*probes, slow], now_first=True)
beats.every("heartbeat", 1, lambda: tell("heartbeat"))
beats.start()
sys.stdin.read()
beats.stop()
print("stopped", flush=True)
"""


class Till:
    """A process with Beats in it, and the file that says how wrong its wall clock is."""

    def __init__(self, room: Path, library: Path, zone: str) -> None:
        self.skew, self.told = room / "skew", room / "told"
        self.set_clock(0)
        env = {**os.environ, "LD_PRELOAD": str(library), "POSAGENT_LAB_SKEW": str(self.skew), "TZ": zone}
        with self.told.open("wb") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", CHILD], stdin=subprocess.PIPE, stdout=told, env=env
            )

    def set_clock(self, seconds: int) -> None:
        """In one go, so that no half-written number is ever read."""
        fresh = self.skew.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self.skew)

    def turns(self) -> list[tuple[str, float, float]]:
        lines = [line.split() for line in self.told.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [(line[0], float(line[1]), float(line[2])) for line in lines if len(line) == 3]

    def watched(self, seconds: float = WATCHED_S) -> list[tuple[str, float, float]]:
        """The turns of the next seconds."""
        began = time.monotonic()
        time.sleep(seconds)
        return [turn for turn in self.turns() if turn[1] >= began]

    def megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("skew") / "skewclock.so"
    source = Path(__file__).with_name("skewclock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(built), str(source), "-ldl"], check=True, timeout=60)
    return built


@pytest.fixture
def till(zone: str, tmp_path: Path, library: Path) -> Iterator[Till]:
    made = Till(tmp_path, library, zone)
    ends = time.monotonic() + 20
    while not made.turns() and time.monotonic() < ends:
        time.sleep(0.05)
    yield made
    made.end()


@pytest.mark.parametrize(("zone", "steps"), [("CST-8", STEPS), ("No/Such_Zone", STEPS[-1:])])
def test_whatever_the_clock_does_every_probe_keeps_its_turns_and_memory_stays_flat(
    till: Till, steps: tuple[int, ...]
) -> None:
    names = ("p0", "p1", "p2", "heartbeat")
    before, at_first = till.watched(), till.megabytes()
    assert {name for name, *_ in before} >= set(names)
    for wrong_by in steps:
        till.set_clock(wrong_by)
        used = till.cpu_seconds()
        seen = till.watched()
        step = f"after the clock was made {wrong_by} s wrong"
        assert abs(seen[-1][2] - time.time() - wrong_by) < WATCHED_S, f"{step}: the child believes in it"
        for name in names:
            times = [at for called, at, _ in seen if called == name]
            assert 2 <= len(times) <= 5, f"{step}, {name} had its turn at {times}"
            assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 1.5, step
        assert till.cpu_seconds() - used < 0.5, f"{step}: no wild running"
    slow = [at for name, at, _ in till.turns() if name == "slow"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(slow[1:])]  # the first turn came out of phase
    assert all(4.5 < gap < 7.5 for gap in gaps), slow
    assert till.megabytes() < at_first + 2
    till.process.communicate(timeout=5)
    assert till.told.read_text().endswith("stopped\n")
    assert till.process.returncode == 0
