"""Beats: every probe gets its turn, at its own phase, once per interval."""

from __future__ import annotations

import dataclasses
import itertools
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from agent.watching import scheduler
from agent.watching.scheduler import Beats, _Every
from probes.model import Probe, Seconds
from tests.agent.kinds import make_probe


class Turns:
    """Beats under test, and whose turn came when."""

    def __init__(self) -> None:
        self.came: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self.beats = Beats(self.note)

    def note(self, names: Sequence[str]) -> None:
        for name in names:
            self.came.put((name, time.monotonic()))

    def within(self, seconds: float) -> list[tuple[str, float]]:
        ends, found = time.monotonic() + seconds, []
        while (left := ends - time.monotonic()) > 0:
            try:
                found.append(self.came.get(timeout=left))
            except queue.Empty:
                break
        return found

    def names_within(self, seconds: float) -> list[str]:
        return [name for name, _ in self.within(seconds)]


@pytest.fixture
def turns() -> Iterator[Turns]:
    made = Turns()
    yield made
    made.beats.stop()


def probe(name: str, interval: float) -> Probe:
    return dataclasses.replace(make_probe(name, "any"), interval=Seconds(interval))


def many(count: int, interval: float) -> list[Probe]:
    return [probe(f"p{number}", interval) for number in range(count)]


def test_every_probe_has_its_first_turn_at_once_and_then_one_per_interval(turns: Turns) -> None:
    turns.beats.arrange(many(5, 1), now_first=True)
    turns.beats.start()
    first = turns.within(0.2)
    assert {name for name, _ in first} >= {"p0", "p1", "p2", "p3", "p4"}
    counted = Counter(turns.names_within(4.0))
    assert set(counted) == {"p0", "p1", "p2", "p3", "p4"}
    assert set(counted.values()) <= {3, 4, 5}


def test_no_turn_comes_twice_or_is_left_out(turns: Turns) -> None:
    turns.beats.arrange([probe("p", 0.3)], now_first=False)
    turns.beats.start()
    times = [at for _, at in turns.within(3.2)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) in (10, 11)
    assert min(gaps) > 0.2, "two beats are an interval apart, give or take a twentieth of it each"
    assert max(gaps) < 0.5


def test_without_a_first_turn_each_waits_for_its_phase_and_phases_are_spread(turns: Turns) -> None:
    turns.beats.arrange(many(300, 60), now_first=False)
    ahead = [at - time.time() for at in turns.beats.next_at().values()]
    assert len(ahead) == 300
    assert all(0 <= seconds <= 66 for seconds in ahead)
    tenths = Counter(int(seconds // 6) for seconds in ahead)
    assert len(tenths) >= 8, "turns lie all over the interval"
    assert max(tenths.values()) < 100, "and nowhere in a heap"


def test_two_tills_with_the_same_probes_do_not_look_at_the_same_moments() -> None:
    first, second = Turns().beats, Turns().beats
    for beats in (first, second):
        beats.arrange(many(40, 60), now_first=False)
    ours, theirs = first.next_at(), second.next_at()
    assert sum(abs(ours[name] - theirs[name]) > 1 for name in ours) > 20


def test_a_reload_keeps_the_phases_of_what_is_unchanged_and_looks_at_once_at_what_is_new(turns: Turns) -> None:
    turns.beats.arrange(many(20, 60), now_first=False)
    turns.beats.start()
    before = turns.beats.next_at()
    turns.beats.arrange([*many(10, 60), probe("p10", 90), probe("new", 60)], now_first=True)
    after = turns.beats.next_at()
    assert set(after) == {*(f"p{number}" for number in range(11)), "new"}
    for number in range(10):
        assert abs(after[f"p{number}"] - before[f"p{number}"]) < 0.05
    assert {"p10", "new"} <= set(turns.names_within(0.3))


def test_a_probe_that_was_taken_away_has_no_turn_any_more(turns: Turns) -> None:
    turns.beats.arrange([probe("gone", 0.2), probe("stays", 0.2)], now_first=False)
    turns.beats.soon("gone", 0.5)
    turns.beats.start()
    turns.beats.arrange([probe("stays", 0.2)], now_first=False)
    turns.within(0.1)
    assert set(turns.names_within(0.8)) == {"stays"}


def test_soon_brings_one_turn_more_at_its_moment(turns: Turns) -> None:
    turns.beats.arrange([probe("p", 600)], now_first=False)
    turns.beats.start()
    asked = time.monotonic()
    turns.beats.soon("p", 0.3)
    (name, came), *more = turns.within(0.8)
    assert (name, more) == ("p", [])
    assert 0.29 < came - asked < 0.45


def test_of_two_wishes_the_sooner_one_stands_for_both(turns: Turns) -> None:
    turns.beats.arrange([probe("p", 600)], now_first=False)
    turns.beats.start()
    turns.beats.soon("p", 0.5)
    turns.beats.soon("p", 0.1)
    turns.beats.soon("p", 0.4)
    assert turns.names_within(0.9) == ["p"]


def test_soon_shows_in_what_comes_next(turns: Turns) -> None:
    turns.beats.arrange([probe("p", 600)], now_first=False)
    turns.beats.soon("p", 2)
    turns.beats.soon("never heard of", 2)
    assert turns.beats.next_at()["p"] - time.time() < 2.01
    assert set(turns.beats.next_at()) == {"p"}


def test_due_may_ask_for_another_turn_of_the_same_probe() -> None:
    came: queue.SimpleQueue[str] = queue.SimpleQueue()

    def again(names: Sequence[str]) -> None:
        for name in names:
            came.put(name)
            beats.soon(name, 0.05)

    beats = Beats(again)
    beats.arrange([probe("p", 600)], now_first=True)
    beats.start()
    for _ in range(5):
        assert came.get(timeout=2) == "p"
    beats.stop()


def test_a_function_is_called_every_so_often_and_a_second_of_that_name_replaces_it(turns: Turns) -> None:
    counted: Counter[str] = Counter()
    turns.beats.start()
    turns.beats.every("heartbeat", 0.1, lambda: counted.update(["old"]))
    turns.beats.every("heartbeat", 0.2, lambda: counted.update(["new"]))
    turns.within(1.1)
    assert counted["old"] == 0
    assert counted["new"] in (4, 5)


def test_a_function_that_raises_stops_nothing(turns: Turns, caplog: pytest.LogCaptureFixture) -> None:
    def bad() -> None:
        raise ValueError("boom")

    turns.beats.every("bad", 0.1, bad)
    turns.beats.arrange([probe("p", 0.2)], now_first=True)
    turns.beats.start()
    assert turns.names_within(1.0).count("p") >= 4
    assert "boom" in caplog.text


def test_after_stop_nobody_has_a_turn(turns: Turns) -> None:
    turns.beats.arrange(many(3, 0.1), now_first=True)
    turns.beats.start()
    turns.within(0.3)
    turns.beats.stop()
    turns.within(0.05)
    assert turns.within(0.4) == []
    turns.beats.stop()


def test_a_month_between_two_looks_is_no_trouble(turns: Turns) -> None:
    turns.beats.arrange([probe("rare", 40 * 86400)], now_first=True)
    turns.beats.start()
    assert turns.names_within(0.3) == ["rare"]


def test_nothing_is_done_between_two_beats(turns: Turns) -> None:
    turns.beats.arrange([probe("p", 600)], now_first=True)
    turns.beats.start()
    turns.within(0.3)
    began = time.process_time()
    time.sleep(1.5)
    assert time.process_time() - began < 0.02


def test_a_thousand_probes_come_to_a_dozen_jobs(turns: Turns) -> None:
    turns.beats.arrange(many(1000, 30), now_first=False)
    assert len(turns.beats._slots) <= 12


@pytest.mark.parametrize("step", [-3600.0, 3600.0, 26 * 365 * 86400.0, -26 * 365 * 86400.0, 1.0, -1.0])
def test_when_the_wall_clock_is_set_beats_go_on_as_if_nothing_had_happened(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """The lab does the same with a real clock, as far as a process can tell; here each step is quick to try."""
    shift = 0.0

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(seconds=shift)

    class Time:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return time.time() + shift

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Clock)
    monkeypatch.setattr(scheduler, "datetime", Clock)
    monkeypatch.setattr(scheduler, "time", Time)
    turns.beats.arrange([probe("p", 0.4)], now_first=False)
    turns.beats.start()
    turns.within(1)
    shift = step
    times = [at for _, at in turns.within(2.1)]
    assert len(times) in (5, 6, 7)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 0.7


@pytest.mark.parametrize("interval", [0.5, 1.0, 30.0, 3600.0])
def test_beats_are_one_interval_apart_give_or_take_the_jitter(interval: float) -> None:
    beat = _Every(interval, interval / 3, scheduler.JITTER, key=12345)
    here, seen = 1000.0, []
    for _ in range(50):
        here = beat.after(here, scheduler.TOO_EARLY * interval)
        seen.append(here)
    for earlier, later in itertools.pairwise(seen):
        assert 0.89 * interval < later - earlier < 1.11 * interval
    assert len({round((later - earlier) / interval, 4) for earlier, later in itertools.pairwise(seen)}) > 5


def test_many_threads_may_wish_at_once(turns: Turns) -> None:
    turns.beats.arrange(many(50, 600), now_first=False)
    turns.beats.start()

    def wish() -> None:
        for number in range(50):
            turns.beats.soon(f"p{number}", 0.3)
            turns.beats.next_at()
            turns.beats.arrange(many(50, 600), now_first=True)

    threads = [threading.Thread(target=wish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert set(turns.names_within(0.8)) == {f"p{number}" for number in range(50)}


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["agent.__main__", "agent.cli", "agent.oneshot", "agent.watching.pool"])
def test_who_looks_once_does_not_pay_for_the_scheduler(module: str) -> None:
    assert "apscheduler" not in imported_by(f"import {module}")


def test_the_scheduler_brings_neither_asyncio_nor_process_pools_along() -> None:
    known = imported_by("import agent.watching.scheduler")
    assert "apscheduler.schedulers.base" in known
    assert not known & {"asyncio", "multiprocessing", "concurrent.futures.process", "apscheduler.executors.pool"}


def test_whoever_wants_asyncio_afterwards_gets_the_real_one() -> None:
    assert "asyncio.events" in imported_by("import agent.watching.scheduler, asyncio; asyncio.run")
    assert "apscheduler.executors.pool" in imported_by(
        "import agent.watching.scheduler, apscheduler.executors.pool as p; p.ThreadPoolExecutor(1)"
    )
