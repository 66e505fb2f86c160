"""The pool: whatever hangs, the others keep their times, and nobody is forgotten."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.runner import Look
from agent.watching import pool as pools
from agent.watching.pool import Late, Pool
from probes.host import Host
from probes.model import Memory, Observation, Probe, Settings, Status, ok
from tests.agent.kinds import make_kind, make_probe, raising, sleep_for, teach

BOUND_S = 10
"""For what must come, but whose moment is not the point."""


class Held:
    """A kind that hangs until it is let go, and counts who hangs."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.began: queue.SimpleQueue[float] = queue.SimpleQueue()

    def read(self, _settings: Any, _host: Host) -> str:
        self.began.put(time.monotonic())
        self.gate.wait(30)
        return "let go"


class Asked:
    """A pool under test, and what it reported."""

    def __init__(self, most: int = 64) -> None:
        self.looks: queue.SimpleQueue[tuple[Look, float]] = queue.SimpleQueue()
        self.pool = Pool(self._note, most)

    def _note(self, found: Look | Late) -> None:
        assert isinstance(found, Look), "nobody asked to be told of late ones"
        self.looks.put((found, time.monotonic()))

    def one(self, seconds: float = BOUND_S) -> Look:
        return self.looks.get(timeout=seconds)[0]

    def several(self, count: int, seconds: float = BOUND_S) -> list[tuple[Look, float]]:
        ends = time.monotonic() + seconds
        return [self.looks.get(timeout=max(0.001, ends - time.monotonic())) for _ in range(count)]

    def nothing_within(self, seconds: float) -> bool:
        try:
            self.looks.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.pool.stop(0)


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.gate.set()


def ask(pool: Pool, probe: Probe, memory: Memory, patience: float = math.inf) -> bool:
    return pool.ask([(probe, memory, patience)]) == 1


def eventually(true: Callable[[], bool]) -> bool:
    ends = time.monotonic() + BOUND_S
    while not (seen := true()) and time.monotonic() < ends:
        threading.Event().wait(0.01)
    return seen


def why(found: Look) -> object:
    return found.observation.measurements.get("why")


def test_a_look_that_was_asked_for_comes_with_the_memory_that_was_given(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    def judge(_settings: Settings, _reading: object, memory: Memory) -> Observation:
        return ok({"before": memory["count"]})

    teach(monkeypatch, make_kind("counts", sleep_for(0), judge))
    assert ask(asked.pool, make_probe("c", "counts"), {"count": 7})
    found = asked.one()
    assert (found.probe.name, found.observation.measurements) == ("c", {"before": 7})
    assert abs(found.checked_at - time.time()) < 5


def test_of_many_that_are_asked_together_one_that_hangs_keeps_no_other(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, held: Held
) -> None:
    teach(monkeypatch, make_kind("held", held.read))
    teach(monkeypatch, make_kind("quick", sleep_for(0)))
    hangs = make_probe("h", "held", timeout=5)
    others = [make_probe(f"q{number}", "quick") for number in range(5)]
    together = [(probe, {}, math.inf) for probe in (hangs, *others)]
    assert asked.pool.ask(together) == 6
    assert sorted(asked.one().probe.name for _ in others) == ["q0", "q1", "q2", "q3", "q4"]
    assert eventually(lambda: asked.pool._owed == {"h"})
    assert asked.pool.ask([*together, *together]) == 5, "all but the one under way, each once"
    assert sorted(asked.one().probe.name for _ in others) == ["q0", "q1", "q2", "q3", "q4"]


def test_who_is_being_looked_at_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, asked: Asked, held: Held) -> None:
    teach(monkeypatch, make_kind("held", held.read))
    probe = make_probe("h", "held", timeout=5)
    assert ask(asked.pool, probe, {})
    assert not ask(asked.pool, probe, {})
    held.began.get(timeout=BOUND_S)
    assert not ask(asked.pool, probe, {})
    held.gate.set()
    assert asked.one().observation.status is Status.OK
    assert eventually(lambda: ask(asked.pool, probe, {}))
    assert asked.one().observation.status is Status.OK


def test_who_waits_for_a_worker_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, held: Held) -> None:
    asked = Asked(most=1)
    teach(monkeypatch, make_kind("held", held.read), make_kind("quick", sleep_for(0)))
    ask(asked.pool, make_probe("h", "held", timeout=5), {})
    assert ask(asked.pool, make_probe("q", "quick"), {})
    assert not ask(asked.pool, make_probe("q", "quick"), {})
    held.gate.set()
    assert {found.probe.name for found, _ in asked.several(2)} == {"h", "q"}
    asked.pool.stop(1)


def test_a_look_that_overruns_is_answered_for_in_time_and_once(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, held: Held
) -> None:
    teach(monkeypatch, make_kind("held", held.read))
    began = time.monotonic()
    ask(asked.pool, make_probe("h", "held", timeout=0.3), {})
    found = asked.one()
    assert 0.3 < time.monotonic() - began < 1.0
    assert (found.observation.status, found.observation.reason) == (Status.UNKNOWN, "probe.timeout")
    assert (why(found), found.observation.measurements["timeout_s"]) == ("left_behind", 0.3)
    assert asked.pool.hanging() == {"h"}
    held.gate.set()
    assert eventually(lambda: not asked.pool.hanging())
    assert asked.nothing_within(0.2), "what it says in the end comes too late"


def test_a_look_that_is_late_is_told_of_once_while_it_waits_and_answers_all_the_same(
    monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    teach(monkeypatch, make_kind("held", held.read))
    told: queue.SimpleQueue[tuple[Look | Late, float]] = queue.SimpleQueue()
    pool = Pool(lambda each: told.put((each, time.monotonic())))
    probe = make_probe("h", "held", timeout=20)
    assert ask(pool, probe, {}, 0.3)
    began = held.began.get(timeout=BOUND_S)
    first, at = told.get(timeout=BOUND_S)
    assert isinstance(first, Late)
    assert first.probe is probe
    assert first.began.at == pytest.approx(began, abs=0.2)
    assert 0.29 <= at - first.began.at < 2
    with pytest.raises(queue.Empty):
        told.get(timeout=0.4)
    held.gate.set()
    second, _at = told.get(timeout=BOUND_S)
    assert isinstance(second, Look)
    assert second.observation.status is Status.OK
    pool.stop(1)


def test_who_answers_in_time_is_never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("quick", lambda _settings, _host: "seen"))
    told: queue.SimpleQueue[Look | Late] = queue.SimpleQueue()
    pool = Pool(told.put)
    ask(pool, make_probe("q", "quick"), {}, 0.2)
    assert isinstance(told.get(timeout=BOUND_S), Look)
    with pytest.raises(queue.Empty):
        told.get(timeout=0.5)
    pool.stop(1)


def test_who_hangs_twice_is_parked_answers_at_once_and_is_back_as_soon_as_its_thread_ends(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, held: Held
) -> None:
    teach(monkeypatch, make_kind("held", held.read))
    probe = make_probe("h", "held", timeout=0.1)
    for _ in range(2):
        assert asked.pool.parked() == {}
        ask(asked.pool, probe, {})
        assert why(asked.one()) == "left_behind"
    assert abs(asked.pool.parked()["h"] - time.time()) < 5
    threads = threading.active_count()
    for _ in range(20):
        assert ask(asked.pool, probe, {})
        found = asked.one(0.5)
        assert (found.observation.reason, why(found)) == ("probe.timeout", "parked")
    assert threading.active_count() <= threads
    held.gate.set()
    assert asked.one().observation.status is Status.OK, "nobody had to ask again"
    assert asked.pool.parked() == {}


def test_who_overran_and_came_back_is_looked_at_as_before(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    teach(monkeypatch, make_kind("slow", sleep_for(0.4)))
    probe = make_probe("s", "slow", timeout=0.1)
    for _ in range(3):
        ask(asked.pool, probe, {})
        assert why(asked.one()) == "left_behind"
        assert eventually(lambda: not asked.pool.hanging())
    assert asked.pool.parked() == {}


def test_sixteen_good_probes_keep_their_times_beside_fifty_that_hang(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, held: Held
) -> None:
    teach(monkeypatch, make_kind("held", held.read), make_kind("quick", sleep_for(0.002)))
    hung = [make_probe(f"h{number}", "held", timeout=0.5) for number in range(50)]
    good = [make_probe(f"g{number}", "quick", timeout=0.5) for number in range(16)]
    late = []
    for _ in range(6):
        began = time.monotonic()
        for probe in [*hung, *good]:
            ask(asked.pool, probe, {})
        answers = asked.several(66)
        late += [at - began for found, at in answers if found.observation.status is Status.OK]
        assert Counter(found.observation.reason for found, _ in answers) == {"ok": 16, "probe.timeout": 50}
    assert len(late) == 6 * 16
    assert max(late) < 0.5, "before the first hung one was even given up"
    assert len(asked.pool.hanging()) == 50
    assert sum(thread.name == "posagent-probe" for thread in threading.enumerate()) <= 50 + 64
    assert len(asked.pool.parked()) == 50


def test_more_hung_probes_than_workers_delay_the_good_ones_by_one_timeout_at_most(
    monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    asked = Asked(most=4)
    teach(monkeypatch, make_kind("held", held.read), make_kind("quick", sleep_for(0)))
    for number in range(8):
        ask(asked.pool, make_probe(f"h{number}", "held", timeout=0.2), {})
    began = time.monotonic()
    for number in range(20):
        ask(asked.pool, make_probe(f"q{number}", "quick", timeout=0.2), {})
    good = [at - began for found, at in asked.several(28) if found.observation.status is Status.OK]
    assert len(good) == 20
    assert max(good) < 2
    asked.pool.stop(0)


def test_where_ever_more_looks_hang_no_thread_is_lost_any_more(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, held: Held
) -> None:
    teach(monkeypatch, make_kind("held", held.read), make_kind("quick", sleep_for(0)))
    for number in range(64):
        ask(asked.pool, make_probe(f"h{number}", "held", timeout=0.2), {})
    asked.several(64)
    threads = threading.active_count()
    for number in range(64, 200):
        ask(asked.pool, make_probe(f"h{number}", "held", timeout=0.2), {})
        found = asked.one(0.5)
        assert (found.observation.reason, why(found)) == ("probe.timeout", "too_many_hang")
    assert threading.active_count() <= threads
    held.gate.set()
    assert eventually(lambda: not asked.pool.hanging())
    ask(asked.pool, make_probe("q", "quick"), {})
    assert asked.one().observation.status is Status.OK


def test_a_thousand_quick_probes_take_few_threads(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    teach(monkeypatch, make_kind("quick", sleep_for(0)))
    for number in range(1000):
        assert ask(asked.pool, make_probe(f"q{number}", "quick", timeout=5), {})
    names = {found.probe.name for found, _ in asked.several(1000)}
    assert len(names) == 1000
    assert asked.pool._workers <= 16


def test_probes_that_wait_for_something_do_not_wait_for_one_another(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    teach(monkeypatch, make_kind("slow", sleep_for(0.5)))
    began = time.monotonic()
    for number in range(32):
        ask(asked.pool, make_probe(f"s{number}", "slow", timeout=5), {})
    asked.several(32)
    assert time.monotonic() - began < 2, "16 s, one after the other"


def test_workers_that_have_nothing_to_do_leave(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    monkeypatch.setattr(pools, "IDLE_S", 0.3)
    teach(monkeypatch, make_kind("slow", sleep_for(0.2)), make_kind("quick", sleep_for(0)))
    for number in range(20):
        ask(asked.pool, make_probe(f"s{number}", "slow", timeout=5), {})
    asked.several(20)
    assert asked.pool._workers > pools.FEW
    assert eventually(lambda: asked.pool._workers == pools.FEW)
    ask(asked.pool, make_probe("q", "quick"), {})
    assert asked.one().observation.status is Status.OK


def test_whatever_a_probe_raises_its_worker_goes_on(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    teach(monkeypatch, make_kind("bad", raising(SystemExit(1))), make_kind("quick", sleep_for(0)))
    for number in range(20):
        ask(asked.pool, make_probe(f"b{number}", "bad"), {})
        ask(asked.pool, make_probe(f"q{number}", "quick"), {})
    reasons = Counter(found.observation.reason for found, _ in asked.several(40))
    assert reasons == {"probe.crashed": 20, "ok": 20}


def test_a_system_that_refuses_threads_is_said_at_once_and_forgiven(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    teach(monkeypatch, make_kind("quick", sleep_for(0)))
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        ask(asked.pool, make_probe("q", "quick"), {})
        found = asked.one(0.5)
        assert (found.observation.reason, why(found)) == ("probe.crashed", "cannot_start")
    ask(asked.pool, make_probe("q", "quick"), {})
    assert asked.one().observation.status is Status.OK


def test_stopping_waits_for_nobody_who_hangs_and_reports_no_more(monkeypatch: pytest.MonkeyPatch, held: Held) -> None:
    asked = Asked()
    teach(monkeypatch, make_kind("held", held.read))
    for number in range(10):
        ask(asked.pool, make_probe(f"h{number}", "held", timeout=20), {})
    held.began.get(timeout=BOUND_S)
    began = time.monotonic()
    asked.pool.stop(0.3)
    assert 0.25 < time.monotonic() - began < 1
    held.gate.set()
    assert asked.nothing_within(0.3)
    assert not ask(asked.pool, make_probe("late", "held"), {})


def test_stopping_awaits_what_will_be_done_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    teach(monkeypatch, make_kind("slow", sleep_for(0.3)))
    ask(asked.pool, make_probe("s", "slow", timeout=5), {})
    assert eventually(lambda: bool(asked.pool._running))
    began = time.monotonic()
    asked.pool.stop(5)
    assert time.monotonic() - began < 2
    assert asked.one(0.01).observation.status is Status.OK


def test_a_pool_that_was_never_used_stops_at_once() -> None:
    began = time.monotonic()
    Pool(lambda _found: None).stop(5)
    assert time.monotonic() - began < 1


def test_an_idle_pool_does_nothing(monkeypatch: pytest.MonkeyPatch, asked: Asked) -> None:
    teach(monkeypatch, make_kind("quick", sleep_for(0)))
    ask(asked.pool, make_probe("q", "quick", timeout=0.2), {})
    asked.one()
    began = time.process_time()
    time.sleep(1.5)
    assert time.process_time() - began < 0.02


def test_many_threads_ask_at_once_and_each_probe_answers_as_often_as_it_was_taken(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    teach(monkeypatch, make_kind("quick", sleep_for(0)))
    probes: list[Probe] = [make_probe(f"q{number}", "quick", timeout=5) for number in range(30)]
    taken: queue.SimpleQueue[str] = queue.SimpleQueue()

    def press() -> None:
        for _ in range(20):
            for probe in probes:
                if ask(asked.pool, probe, {}):
                    taken.put(probe.name)

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    count = taken.qsize()
    expected = Counter(taken.get() for _ in range(count))
    assert Counter(found.probe.name for found, _ in asked.several(count)) == expected
    assert asked.nothing_within(0.1)
