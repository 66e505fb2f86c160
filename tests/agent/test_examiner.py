"""When examinations come: at once, then every retry_interval, ever less often where nothing is decided."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import Any

import pytest

from agent.examination import Findings, Recent
from agent.watching.examiner import GATHER_S, HURRIED_S, PATIENT_AFTER, SLOWEST_S, Examiner
from probes.host import Host
from probes.model import Settings
from tests.agent.kinds import make_kind, make_probe, sleep_for, teach

RETRY = 5.0
Answers = queue.SimpleQueue[Findings | Exception]


class Idle(Examiner):
    """Takes no examination, so that only its times are seen."""

    def begin(self, *_: Any, now: float = 0.0, took: float = 0.0) -> None:
        self._note_begin(now)
        self._took = took


def idle(retry: float = RETRY) -> Idle:
    return Idle(lambda _answer: None, "en", retry)


def times(examiner: Idle, count: int, now: float = 1000.0) -> list[float]:
    """When the next examinations begin while the doubt lasts; each takes no time."""
    found = []
    for _ in range(count):
        examiner.wish(now)
        wait = examiner.wait(now)
        assert wait is not None
        now += wait
        found.append(now)
        examiner.begin(now=now)
        examiner.done()
    return found


def test_the_first_examination_comes_at_once_and_the_next_ones_every_retry_interval() -> None:
    found = times(idle(), PATIENT_AFTER, 1000.0)
    assert found[0] == 1000.0 + GATHER_S
    assert [b - a for a, b in itertools.pairwise(found)] == [RETRY] * (PATIENT_AFTER - 1)


def test_what_stays_in_doubt_is_examined_less_and_less_often() -> None:
    found = times(idle(), 30)
    apart = [round(b - a, 6) for a, b in itertools.pairwise(found)]
    assert apart == sorted(apart)
    assert apart[-1] == SLOWEST_S
    assert len([each for each in apart if each < SLOWEST_S]) < 12


@pytest.mark.parametrize("retry", [0.5, 90.0])
def test_no_examination_comes_sooner_than_retry_interval_after_another(retry: float) -> None:
    found = times(idle(retry), 12)
    assert min(b - a for a, b in itertools.pairwise(found)) == retry


def test_a_doubt_that_comes_and_goes_all_the_time_does_not_keep_it_running() -> None:
    examiner, now, begun = idle(), 1000.0, 0
    for _ in range(600):  # a minute of a new doubt every 0.1 s, each settled at once by an examination
        examiner.wish(now)
        if examiner.wait(now) == 0.0:
            examiner.begin(now=now)
            examiner.done()
            examiner.settle()
            begun += 1
        now = round(now + 0.1, 6)
    assert 10 <= begun <= 30


def test_nothing_in_doubt_is_nothing_to_wait_for() -> None:
    examiner = idle()
    assert examiner.wait(1000.0) is None
    examiner.wish(1000.0)
    examiner.settle()
    assert examiner.wait(1000.0) is None


def test_while_one_runs_no_other_begins() -> None:
    examiner = idle()
    examiner.begin(now=1000.0)
    examiner.wish(1000.1)
    assert examiner.wait(2000.0) is None
    examiner.done()
    examiner.wish(2000.0)
    assert examiner.wait(2000.0) == 0.0


def test_a_kernel_event_ends_the_patience() -> None:
    examiner = idle()
    last = times(examiner, 20)[-1]
    examiner.wish(last)
    assert examiner.wait(last) == SLOWEST_S
    examiner.hurry(last + 10)
    assert examiner.wait(last + 10) == pytest.approx(GATHER_S)


def test_a_flood_of_kernel_events_neither_puts_an_examination_off_nor_keeps_it_running() -> None:
    examiner, now, begun = idle(), 1000.0, []
    for _ in range(100):  # twenty seconds
        examiner.hurry(now)
        examiner.wish(now)
        if examiner.wait(now) == 0.0:
            examiner.begin(now=now)
            examiner.done()
            begun.append(now)
        now = round(now + 0.2, 6)
    assert begun[0] <= 1000.0 + 2 * GATHER_S
    assert min(b - a for a, b in itertools.pairwise(begun)) >= HURRIED_S
    assert len(begun) >= 14


def test_an_examination_that_a_new_configuration_overtook_explains_nothing() -> None:
    examiner = idle()
    examiner.begin(now=1.0)
    assert examiner.done() is True
    examiner.void()
    Examiner.begin(examiner, [], {}, Recent(), 2.0)
    assert examiner.done() is True, "one that began afterwards does"
    Examiner.begin(examiner, [], {}, Recent(), 3.0)
    examiner.void()
    assert examiner.done() is False


def second(examiner: Idle, *, doubted: float, began: float, took: float) -> float:
    """When the second examination begins, after a first one of these times."""
    examiner.doubt(doubted)
    examiner.begin(now=began, took=took)
    examiner.done()
    examiner.wish(began + took)
    wait = examiner.wait(began + took)
    assert wait is not None
    return began + took + wait


def test_the_first_pause_is_counted_from_the_look_that_raised_the_doubt() -> None:
    assert second(idle(), doubted=1000.0, began=1000.2, took=0.0) == 1000.0 + RETRY


def test_the_second_examination_ends_when_the_first_pause_is_over() -> None:
    assert second(idle(), doubted=1000.0, began=1000.2, took=0.8) == pytest.approx(1000.0 + RETRY - 0.8)


def test_however_long_the_first_one_took_the_second_begins_four_fifths_of_the_pause_after_the_first_look() -> None:
    assert second(idle(), doubted=1000.0, began=1000.2, took=2.5) == pytest.approx(1000.0 + 0.8 * RETRY)
    assert second(idle(60.0), doubted=1000.0, began=1000.2, took=3.0) == pytest.approx(1057.0)


def test_after_a_black_hole_the_second_follows_the_first_at_once() -> None:
    assert second(idle(), doubted=1000.0, began=1001.2, took=2.9) == pytest.approx(1004.1)


def test_a_doubt_of_long_ago_does_not_bring_the_second_one_forward_beyond_that() -> None:
    assert second(idle(), doubted=900.0, began=1000.0, took=0.1) == 1000.1, "one pause has gone by since"
    examiner = idle()
    examiner.doubt(900.0)
    examiner.settle()
    assert second(examiner, doubted=1000.0, began=1000.2, took=0.0) == 1000.0 + RETRY


def test_from_the_second_on_examinations_begin_a_whole_retry_interval_apart() -> None:
    examiner = idle()
    again = second(examiner, doubted=1000.0, began=1000.2, took=0.8)
    examiner.begin(now=again, took=0.8)
    examiner.done()
    examiner.wish(again + 0.8)
    assert examiner.wait(again + 0.8) == pytest.approx(RETRY - 0.8)


# --- with its thread --------------------------------------------------------------------------------------------------


def examined(*, timeout: float = 3.0) -> tuple[Answers, Findings | Exception]:
    answers: Answers = queue.SimpleQueue()
    examiner = Examiner(answers.put, "en", RETRY)
    examiner.begin([make_probe("a", "odd", timeout=timeout), make_probe("b", "well")], {"a": {"n": 1}}, Recent(), 0.0)
    return answers, answers.get(timeout=10)


def test_the_findings_come_from_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def read(_settings: Settings, _host: Host) -> str:
        threads.append(threading.current_thread())
        return "seen"

    teach(monkeypatch, make_kind("odd", read), make_kind("well", lambda _settings, _host: "well"))
    answers, found = examined()
    assert isinstance(found, Findings)
    assert {look.probe.name for look in found.looks} == {"a", "b"}
    assert threads[0] is not threading.main_thread()
    assert answers.empty()


def test_a_probe_that_hangs_costs_an_examination_its_time_out_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("odd", sleep_for(2)), make_kind("well", lambda _settings, _host: "well"))
    _answers, found = examined(timeout=0.2)
    assert isinstance(found, Findings)
    assert {look.probe.name: look.observation.measurements.get("why") for look in found.looks} == {
        "a": "left_behind",
        "b": None,
    }


def test_what_fails_in_an_examination_is_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a rule of diagnosis is wrong")

    monkeypatch.setattr("agent.watching.examiner.examine", fails)
    _answers, found = examined()
    assert isinstance(found, ZeroDivisionError)


def test_a_thread_that_the_system_refuses_is_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    _answers, found = examined()
    assert str(found) == "can't start new thread"
