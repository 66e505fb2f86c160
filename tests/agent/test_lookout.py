"""Who is looked at, and when: kernel events, suspicion, probes that hang, a configuration that changes."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from agent.examination import Findings
from agent.knowledge import Rules
from agent.runner import Began, Look
from agent.watching.lookout import BREATH_S, HASTE_S, HASTES, LATE_S, Lookout, News
from agent.watching.pool import Late
from probes.model import Memory, NetworkSettings, Probe, Role
from tests.agent.kinds import make_kind, make_probe, sleep_for, teach
from tests.agent.tills import NOON, Till


class Watch:
    """A lookout whose pool and timers only note what they are asked."""

    def __init__(self, till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
        self.till = till
        self.lookout = Lookout(till.known, "en", 5.0)
        self.asked: list[str] = []
        self.patience: dict[str, float] = {}
        self.soon: list[str] = []
        self.begun: list[list[str]] = []
        monkeypatch.setattr(self.lookout.pool, "ask", self.ask)
        monkeypatch.setattr(self.lookout.beats, "soon", lambda name, _delay: self.soon.append(name))
        monkeypatch.setattr(self.lookout.beats, "arrange", lambda _probes, now_first: None)
        monkeypatch.setattr("agent.watching.examiner.threading.Thread.start", lambda _thread: None)
        begin = self.lookout.examiner.begin

        def note(probes: list[Probe], *more: object) -> None:
            self.begun.append(sorted(probe.name for probe in probes))
            begin(probes, *more)  # type: ignore[arg-type]

        monkeypatch.setattr(self.lookout.examiner, "begin", note)

    def ask(self, wanted: list[tuple[Probe, Memory, float]]) -> int:
        for probe, _memory, patience in wanted:
            self.asked.append(probe.name)
            self.patience[probe.name] = patience
        return len(wanted)

    def answer(self, name: str, status: str = "ok", reason: str = "ok", at: float | None = None) -> bool:
        """A look of the pool comes in."""
        found = replace(self.till.look(name, status, reason), checked_at=time.time() if at is None else at)
        self.till.known.take(found)
        return self.lookout.seen(found)

    def take(self, seconds: float) -> list[str]:
        """What is asked in haste in that time."""
        before, now, ends = len(self.asked), time.monotonic(), time.monotonic() + seconds
        while now < ends:
            self.lookout.hasten(now)
            now += 0.05
        return self.asked[before:]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    till = Till("terminal usb", "link interface", "auth port", "disk disk")
    for name in till.probes:
        till.see(name)
    return Watch(till, monkeypatch)


def test_what_the_kernel_speaks_of_is_looked_at_at_once_and_again_until_it_is_confirmed(watch: Watch) -> None:
    now = time.monotonic()
    watch.lookout.wake(frozenset({"usb"}), now)
    assert watch.asked == ["terminal"]
    watch.lookout.examine(now, ready=True)  # nothing is in doubt yet
    assert watch.lookout.wait(now) == pytest.approx(HASTE_S)
    assert not watch.answer("terminal", "fail", "usb.absent")
    assert watch.take(0.6) == ["terminal"] * 2
    assert not watch.answer("terminal", "fail", "usb.absent")
    assert watch.answer("terminal", "fail", "usb.absent")
    assert watch.take(1.0) == []
    assert watch.lookout._haste_at == float("inf")


def test_haste_ends_where_nothing_gets_confirmed(watch: Watch) -> None:
    watch.lookout.wake(frozenset({"usb"}), time.monotonic())
    watch.answer("terminal", "fail", "usb.absent")
    assert len(watch.take(10.0)) == HASTES - 1


def test_a_look_that_began_before_the_event_confirms_nothing(watch: Watch) -> None:
    watch.lookout.wake(frozenset({"usb"}), time.monotonic())
    assert not watch.answer("terminal", at=time.time() - 1)
    assert watch.take(0.3) == ["terminal"]
    assert watch.answer("terminal")


def test_after_a_change_of_the_network_the_far_ones_are_looked_at_soon_and_not_over_and_over(watch: Watch) -> None:
    now = time.monotonic()
    watch.till.known.probes["auth"] = replace(watch.till.probes["auth"], settings=NetworkSettings(kind="port"))
    for turn in range(10):
        watch.lookout.wake(frozenset({"link"}), now + turn * 0.2)
    assert watch.soon == ["auth"]
    assert set(watch.asked) == {"link"}
    watch.lookout.wake(frozenset({"link"}), now + BREATH_S)
    assert watch.soon == ["auth", "auth"]


def test_a_suspect_is_examined_at_once_and_then_every_retry_interval(watch: Watch) -> None:
    now = 1000.0
    watch.lookout.examine(now, ready=True)
    assert watch.lookout.wait(now) == float("inf")
    watch.answer("auth", "fail", "port.timeout")
    watch.lookout.examine(now, ready=True)
    assert 0 < watch.lookout.wait(now) < 0.3
    watch.lookout.examine(now + 0.3, ready=True)
    assert watch.begun == [["auth", "link", "terminal"]]
    watch.lookout.examine(now + 1, ready=True)
    assert watch.lookout.wait(now + 9) == float("inf"), "one at a time"
    assert watch.lookout.examined(Findings([], [], watch.till.known.explanation))
    watch.lookout.examine(now + 5.0, ready=True)
    assert len(watch.begun) == 1
    watch.lookout.examine(now + 5.3, ready=True)
    assert len(watch.begun) == 2


def test_before_everything_was_looked_at_once_nothing_is_examined_and_nobody_waits_for_it(watch: Watch) -> None:
    watch.answer("auth", "fail", "port.timeout")
    for now in (1000.0, 1001.0, 1002.0):
        watch.lookout.examine(now, ready=False)
        assert watch.lookout.wait(now) > 0, "the loop must not spin"
    assert watch.begun == []


def test_a_probe_that_hung_in_an_examination_is_spared_until_the_pool_saw_it_well(watch: Watch) -> None:
    watch.answer("auth", "fail", "port.timeout")
    watch.answer("disk", "fail", "disk.full")

    def examine(now: float) -> None:
        watch.lookout.examine(now, ready=True)
        watch.lookout.examine(now + 1, ready=True)

    examine(1000.0)
    hung = watch.till.look("auth", "unknown", "probe.timeout", why="left_behind", timeout_s=3.0)
    watch.lookout.examined(Findings([hung], [], watch.till.known.explanation))
    assert watch.soon == ["auth"], "it may only have been slow"
    watch.lookout.examined(Findings([hung], [], watch.till.known.explanation))
    assert watch.soon == ["auth"], "but it is not hurried over and over"
    examine(1010.0)
    assert "auth" in watch.begun[0]
    assert "auth" not in watch.begun[1]
    watch.answer("auth", "unknown", "probe.timeout")
    watch.lookout.examined(Findings([], [], watch.till.known.explanation))
    examine(1020.0)
    assert "auth" not in watch.begun[2]
    watch.answer("auth", "fail", "port.refused")
    watch.lookout.examined(Findings([], [], watch.till.known.explanation))
    examine(1030.0)
    assert "auth" in watch.begun[3]


def late(watch: Watch, name: str = "auth", *, wall: float | None = None) -> None:
    """The pool tells that an answer of this probe is overdue."""
    now = time.monotonic()
    began = Began(now - 1.0, now + 2.0, time.time() - 1.0 if wall is None else wall)
    watch.lookout.late(Late(watch.till.probes[name], began))


def test_an_answer_that_is_late_makes_its_probe_suspect_before_it_has_timed_out(watch: Watch) -> None:
    now = time.monotonic()
    late(watch)
    watch.lookout.examine(now, ready=True)
    assert 0 < watch.lookout.wait(now) < 0.3
    assert not watch.till.known.suspects, "nothing counts yet"
    watch.lookout.examine(now + 0.3, ready=True)
    assert watch.begun == [["auth", "link", "terminal"]]
    watch.answer("auth", "fail", "port.timeout")
    watch.lookout.examine(now + 2.0, ready=True)
    watch.lookout.examined(Findings([], [], watch.till.known.explanation))
    watch.lookout.examine(now + 3.9, ready=True)
    assert len(watch.begun) == 1
    watch.lookout.examine(now + 4.1, ready=True)
    assert len(watch.begun) == 2, "five seconds after that look began"


def test_one_that_comes_after_all_settles_it(watch: Watch) -> None:
    now = time.monotonic()
    late(watch)
    watch.lookout.examine(now, ready=True)
    watch.answer("auth")
    watch.lookout.examine(now + 0.3, ready=True)
    assert watch.begun == []
    assert watch.lookout.wait(now + 0.3) == math.inf


def test_one_that_was_answered_meanwhile_or_belongs_to_another_till_is_not_late(watch: Watch) -> None:
    now = time.monotonic()
    late(watch, wall=NOON)
    watch.till.known.rearrange({"disk": watch.till.probes["disk"]}, Rules())
    late(watch)
    watch.lookout.examine(now + 1, ready=True)
    assert watch.begun == []
    assert watch.lookout.wait(now + 1) == math.inf


def test_only_what_comes_out_of_the_network_and_was_well_can_be_late(watch: Watch) -> None:
    probes = watch.till.known.probes
    watch.lookout.afresh(1000.0)
    assert watch.patience == {"auth": LATE_S, "terminal": math.inf, "link": math.inf, "disk": math.inf}
    watch.till.known.looks["auth"] = replace(watch.till.known.looks["auth"], duration=0.5)
    watch.lookout.afresh(1100.0)
    assert watch.patience["auth"] == 1.5, "what is always slow has more time"
    watch.till.known.looks["auth"] = replace(watch.till.known.looks["auth"], duration=1.1)
    watch.lookout.afresh(1200.0)
    assert watch.patience["auth"] == math.inf, "it times out before"
    watch.till.see("auth", "fail", "port.timeout")
    watch.lookout.afresh(1300.0)
    assert watch.patience["auth"] == math.inf, "it is suspect already"
    watch.till.see("auth")
    watch.lookout.afresh(1400.0)
    assert watch.patience["auth"] == LATE_S
    probes["auth"] = replace(probes["auth"], role=Role.TERMINAL)
    watch.lookout.afresh(1500.0)
    assert watch.patience["auth"] == math.inf, "a terminal is never asked twice at a time"


def test_a_terminal_on_the_lan_that_nobody_named_is_not_asked_twice_either(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.watching.lookout.places", lambda looks: {found.probe.name: "lan" for found in looks})
    late(watch)
    watch.lookout.examine(time.monotonic() + 1, ready=True)
    assert watch.begun == []


def test_a_probe_that_changed_while_it_was_looked_at_gets_its_turn_all_the_same(watch: Watch) -> None:
    old = watch.till.look("auth")
    moved = replace(watch.till.probes["auth"], target="elsewhere")
    probes = {**watch.till.probes, "auth": moved}
    watch.till.known.rearrange(probes, Rules())
    watch.lookout.arrange(list(probes.values()), "en", 5.0)
    watch.till.known.take(old)
    assert not watch.lookout.seen(old)
    assert watch.soon == ["auth"]
    assert "auth" not in watch.till.known.looks


def test_nothing_is_remembered_of_probes_that_are_gone(watch: Watch) -> None:
    now = time.monotonic()
    watch.lookout.wake(frozenset({"usb", "link"}), now)
    hung = watch.till.look("auth", "unknown", "probe.timeout", why="left_behind", timeout_s=3.0)
    watch.lookout.examined(Findings([hung], [], watch.till.known.explanation))
    watch.till.known.rearrange({"disk": watch.till.probes["disk"]}, Rules())
    watch.lookout.arrange([watch.till.probes["disk"]], "en", 5.0)
    watch.take(0.3)
    assert (watch.lookout._hasty, watch.lookout._woken, watch.lookout._lost) == ({}, {}, set())


def test_when_the_clocks_leapt_everything_is_looked_at_once_and_not_over_and_over(watch: Watch) -> None:
    for now in (1000.0, 1001.0, 1029.0):
        watch.lookout.afresh(now)
    assert sorted(watch.asked) == ["auth", "disk", "link", "terminal"]
    watch.lookout.afresh(1030.0)
    assert len(watch.asked) == 8


# --- with a real pool and real timers -----------------------------------------------------------------------------------


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Lookout]]:
    """A lookout that runs."""
    running: list[Lookout] = []

    def begin(**seconds: float) -> Lookout:
        teach(monkeypatch, make_kind("well", lambda _settings, _host: "seen"), make_kind("hangs", sleep_for(3)))
        probes = [make_probe(name, "hangs" if each else "well", timeout=0.2) for name, each in seconds.items()]
        till = Till()
        till.known.rearrange({probe.name: probe for probe in probes}, Rules())
        running.append(Lookout(till.known, "en", 5.0))
        running[-1].start(probes)
        return running[-1]

    yield begin
    for each in running:
        each.stop(0.1)


def news(lookout: Lookout, count: int) -> list[News]:
    found: list[News] = []
    while len(found) < count:
        try:
            found.append(lookout.news.get(timeout=5))
        except queue.Empty:
            raise AssertionError(f"only {found}") from None
    return found


def test_everything_is_looked_at_once_at_the_start_and_one_that_hangs_delays_nobody(
    start: Callable[..., Lookout],
) -> None:
    began = time.monotonic()
    lookout = start(stuck=1, a=0, b=0, c=0)
    order: dict[str, Look] = {}
    while len(order) < 4:  # a probe's own phase may bring it a second turn at once
        (each,) = news(lookout, 1)
        if isinstance(each, Look):
            order.setdefault(each.probe.name, each)
    assert time.monotonic() - began < 2
    assert list(order)[3] == "stuck"
    assert order["stuck"].observation.measurements["why"] == "left_behind"
    assert lookout.pool.hanging() == {"stuck"}


def test_a_parked_probe_is_told_of_and_is_not_examined(start: Callable[..., Lookout]) -> None:
    lookout = start(stuck=1, a=0)
    known = lookout.known

    def until_seen(name: str) -> None:
        while True:
            (each,) = news(lookout, 1)
            if isinstance(each, Look):
                known.take(each)
                if each.probe.name == name:
                    return

    until_seen("stuck")
    lookout.beats.soon("stuck", 0.0)
    until_seen("stuck")
    (said,) = [each for each in lookout.problems() if "stuck" in each]
    assert said.startswith("probe stuck hangs: ")
    assert known.doubtful
    now = time.monotonic()
    lookout.examine(now, ready=True)
    lookout.examine(now + 1, ready=True)
    findings = next(each for each in iter(lambda: news(lookout, 1)[0], None) if isinstance(each, Findings))
    assert [found.probe.name for found in findings.looks if found.probe.name == "stuck"] == []


def test_who_took_longest_the_last_time_comes_last(watch: Watch) -> None:
    for name, seconds in (("auth", 0.02), ("disk", 0.8), ("link", 0.001), ("terminal", 0.0)):
        watch.till.known.take(replace(watch.till.look(name), duration=seconds))
    watch.lookout._due(["terminal", "disk", "auth", "gone", "link"])
    assert watch.asked == ["terminal", "link", "auth", "disk"]
