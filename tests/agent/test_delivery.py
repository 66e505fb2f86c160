"""Delivery: one thread per channel; slow and dead ones delay nobody."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import hands
from agent.config.channels import CommandChannel
from agent.config.model import Channel
from agent.outcome import Outcome, delivered, failed
from agent.telling.delivery import Delivered, Delivery, put_off, rest
from agent.telling.message import Message
from probes.model import Seconds


def message(key: str) -> Message:
    return Message(key=key, what="opened", severity="info", subject=key, text=key, markdown=key, data={})


def channel(name: str, timeout: float = 15) -> Channel:
    return CommandChannel(kind="command", command=("/bin/tell", name), timeout=Seconds(timeout))


Bench = Callable[..., Delivery]


class Room:
    """Answers as they come, and what each channel does."""

    def __init__(self) -> None:
        self.answers: queue.SimpleQueue[Delivered] = queue.SimpleQueue()
        self.does: dict[str, Callable[[Message], Outcome]] = {}
        self.made: list[Delivery] = []

    def delivery(self, *names: str, timeout: float = 15) -> Delivery:
        made = Delivery({name: channel(name, timeout) for name in names}, self.answers.put, self.send)
        self.made.append(made)
        return made

    def send(self, one: Channel, said: Message, _env: Mapping[str, str]) -> Outcome:
        return self.does.get(one.command[1], lambda _message: delivered())(said)  # type: ignore[attr-defined]

    def next(self) -> tuple[str, str, bool | None]:
        one = self.answers.get(timeout=5)
        return one.channel, one.key, None if one.outcome is None else one.outcome.ok


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    for each in made.made:
        each.stop(2.0)


# How long to wait


@pytest.mark.parametrize(
    ("failures", "draw", "expected"),
    [
        (1, 0.5, 5.0),
        (1, 0.0, 5.0),
        (1, 1.0, 6.0),
        (2, 0.5, 10.0),
        (3, 0.5, 20.0),
        (9, 0.5, 1280.0),
        (10, 0.5, 1800.0),
        (10_000, 1.0, 1800.0),
        (10_000, 0.0, 1440.0),
    ],
)
def test_the_waits_double_from_five_seconds_to_half_an_hour(failures: int, draw: float, expected: float) -> None:
    assert rest(failures, draw) == pytest.approx(expected)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_no_wait_is_out_of_bounds(failures: int, draw: float) -> None:
    assert 5.0 <= rest(failures, draw) <= 1800.0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(0.0, 1.0), (-5.0, 1.0), (30.0, 30.0), (21600.0, 21600.0), (10**9, 21600.0), (float("nan"), 1.0)],
)
def test_a_service_is_heeded_within_bounds(asked: float, expected: float) -> None:
    assert put_off(failed("busy", retry_after=asked), 7, 0.5) == expected


def test_a_service_that_asks_for_nothing_gets_the_usual_wait() -> None:
    assert put_off(failed("busy"), 3, 0.5) == pytest.approx(20.0)


# Threads


def test_one_channel_sends_in_order_and_one_at_a_time(room: Room) -> None:
    busy, most, order = [0], [0], []

    def send(said: Message) -> Outcome:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        time.sleep(0.002)
        order.append(said.key)
        busy[0] -= 1
        return delivered()

    room.does["staff"] = send
    made = room.delivery("staff")
    for number in range(8):
        made.give("staff", message(str(number)))
    assert [room.next()[1] for _ in range(8)] == [str(number) for number in range(8)]
    assert (most, order) == ([1], [str(number) for number in range(8)])


def test_a_channel_that_hangs_delays_no_other(room: Room) -> None:
    gate = threading.Event()
    room.does["slow"] = lambda _message: delivered() if gate.wait(10) else failed("never")
    made = room.delivery("slow", "quick")
    made.give("slow", message("a"))
    began = time.monotonic()
    for number in range(5):
        made.give("quick", message(str(number)))
    assert [room.next()[:2] for _ in range(5)] == [("quick", str(number)) for number in range(5)]
    assert time.monotonic() - began < 1.0
    gate.set()
    assert room.next() == ("slow", "a", True)


def test_after_a_failure_the_rest_is_given_back_untried(room: Room) -> None:
    gate = threading.Event()

    def send(_message: Message) -> Outcome:
        gate.wait(5)
        return failed("busy")

    room.does["staff"] = send
    made = room.delivery("staff")
    for key in "abc":
        made.give("staff", message(key))
    gate.set()
    assert [room.next() for _ in range(3)] == [("staff", "a", False), ("staff", "b", None), ("staff", "c", None)]
    assert made.room("staff") == hands.DEPTH


def test_what_does_not_fit_is_given_back_at_once(room: Room) -> None:
    gate = threading.Event()
    room.does["staff"] = lambda _message: delivered() if gate.wait(5) else failed("never")
    made = room.delivery("staff")
    for number in range(hands.DEPTH + 1):
        made.give("staff", message(str(number)))
    made.give("nowhere", message("x"))
    while made.room("staff"):
        made.give("staff", message("more"))
    made.give("staff", message("too many"))
    seen = {room.next(), room.next()}
    assert ("nowhere", "x", None) in seen
    assert {key for _, key, ok in seen if ok is None} <= {"x", "too many", "more", str(hands.DEPTH)}
    gate.set()


def test_an_attempt_that_overruns_is_given_up_and_its_channel_goes_on(room: Room) -> None:
    gate = threading.Event()
    hanging = iter([True])
    room.does["staff"] = lambda _message: delivered() if not next(hanging, False) or gate.wait(10) else failed("never")
    made = room.delivery("staff", timeout=1)
    for key in "ab":
        made.give("staff", message(key))
    while not made._runs["staff"]._running:
        time.sleep(0.001)
    ends = made.look_after(time.monotonic())
    assert 30 < ends - time.monotonic() <= 31
    assert made.look_after(ends + 0.001) == float("inf")
    assert [room.next() for _ in range(2)] == [("staff", "a", False), ("staff", "b", None)]
    made.give("staff", message("b"))
    assert room.next() == ("staff", "b", True)
    gate.set()
    assert room.next() == ("staff", "a", True), "that it arrived after all is worth knowing"


def test_a_channel_whose_every_attempt_hangs_keeps_two_threads_and_no_more(room: Room) -> None:
    gate = threading.Event()
    room.does["staff"] = lambda _message: delivered() if gate.wait(10) else failed("never")
    made = room.delivery("staff", timeout=1)
    for key in "ab":
        made.give("staff", message(key))
        while not made._runs["staff"]._running:
            time.sleep(0.001)
        made.look_after(time.monotonic() + 100)
        assert room.next() == ("staff", key, False)
    assert made.room("staff") == 0
    made.give("staff", message("c"))
    assert room.next() == ("staff", "c", None)
    gate.set()
    assert {room.next()[1], room.next()[1]} == {"a", "b"}
    deadline = time.monotonic() + 5
    while made.room("staff") == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert made.room("staff") == hands.DEPTH


def test_a_fault_of_ours_in_one_channel_is_a_failure_like_others(room: Room) -> None:
    def broken(_message: Message) -> Outcome:
        raise ZeroDivisionError("oops")

    room.does["staff"] = broken
    made = room.delivery("staff")
    made.give("staff", message("a"))
    one = room.answers.get(timeout=5)
    assert one.outcome is not None
    assert (one.outcome.ok, one.outcome.permanent) == (False, False)
    assert "ZeroDivisionError" in one.outcome.detail
    room.does.clear()
    made.give("staff", message("b"))
    assert room.next() == ("staff", "b", True)


def test_a_stop_waits_for_who_is_nearly_done_and_for_nobody_who_hangs(room: Room) -> None:
    gate = threading.Event()
    room.does["hangs"] = lambda _message: delivered() if gate.wait(10) else failed("never")
    room.does["slow"] = lambda _message: time.sleep(0.2) or delivered()
    made = room.delivery("hangs", "slow")
    for name in ("hangs", "slow", "slow"):
        made.give(name, message(name))
    while not (made._runs["hangs"]._running and made._runs["slow"]._running):
        time.sleep(0.001)
    began = time.monotonic()
    made.stop(0.6)
    assert 0.1 < time.monotonic() - began < 1.0
    answers = [room.next(), room.next()]
    assert ("slow", "slow", True) in answers
    assert ("slow", "slow", None) in answers
    made.give("slow", message("late"))
    assert room.next() == ("slow", "late", None)
    gate.set()


def test_a_new_configuration_lets_finish_what_is_under_way(room: Room) -> None:
    gate = threading.Event()
    room.does["staff"] = lambda _message: delivered() if gate.wait(5) else failed("never")
    made = room.delivery("staff", "other")
    kept = made._runs["other"]
    for key in "ab":
        made.give("staff", message(key))
    while not made._runs["staff"]._running:
        time.sleep(0.001)
    made.rearrange({"staff": channel("staff", 20), "other": channel("other")})
    assert room.next() == ("staff", "b", None)
    assert made._runs["other"] is kept
    gate.set()
    assert room.next() == ("staff", "a", True)
    made.give("staff", message("b"))
    assert room.next() == ("staff", "b", True)


def test_a_thread_with_nothing_to_do_leaves_and_comes_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "IDLE_S", 0.01)
    made = room.delivery("idle")
    assert made._runs["idle"]._alive is False, "nobody waits for a channel that is never used"
    for _ in range(3):
        made.give("idle", message("a"))
        assert room.next() == ("idle", "a", True)
        deadline = time.monotonic() + 5
        while made._runs["idle"]._alive and time.monotonic() < deadline:
            time.sleep(0.002)
        assert made._runs["idle"]._alive is False
