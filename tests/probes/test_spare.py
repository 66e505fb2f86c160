"""Are the threads that wait for what may hang used again, left behind when it hangs, and let go when idle?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from probes.host import spare
from probes.host.spare import Errand


@pytest.fixture(autouse=True)
def nobody_idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of other tests are not counted; those of this one leave at once."""
    monkeypatch.setattr(spare, "_idle", [])
    yield
    for helper in list(spare._idle):
        spare._idle.remove(helper)
        helper.gate.release()  # with no errand: it leaves


def who(found: list[int]) -> Errand:
    return Errand(lambda: found.append(threading.get_ident()), "test errand")


def until(hold: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        hold.wait(10)

    return wait


def idle(number: int) -> bool:
    ends = time.monotonic() + 2
    while len(spare._idle) != number and time.monotonic() < ends:
        time.sleep(0.005)
    return len(spare._idle) == number


def test_one_thread_does_errands_that_follow_one_another() -> None:
    found: list[int] = []
    for _ in range(20):
        assert who(found).wait(2)
        assert idle(1)
    assert len(found) == 20
    assert len(set(found)) == 1


def test_an_errand_that_hangs_delays_no_other() -> None:
    hold, found = threading.Event(), list[int]()
    stuck = Errand(until(hold), "stuck errand")
    assert not stuck.wait(0.05)
    assert "stuck errand" in [thread.name for thread in threading.enumerate()]
    assert who(found).wait(2)
    hold.set()
    assert stuck.wait(2)
    assert stuck.has_ended
    assert idle(2)
    assert "stuck errand" not in [thread.name for thread in threading.enumerate()]


def test_of_many_at_once_few_threads_are_kept() -> None:
    hold = threading.Event()
    many = [Errand(until(hold), "test errand") for _ in range(20)]
    hold.set()
    assert all(each.wait(2) for each in many)
    assert idle(spare.KEPT)


def test_who_has_nothing_to_do_for_long_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "IDLE_S", 0.05)
    found: list[int] = []
    assert who(found).wait(2)
    assert idle(1)
    assert idle(0)
    assert who(found).wait(2)


def test_no_errand_is_lost_that_comes_as_somebody_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "IDLE_S", 0.002)
    for number in range(300):
        found: list[int] = []
        assert who(found).wait(2)
        assert len(found) == 1
        time.sleep(0.0019 + number % 7 * 0.0001)


def test_an_errand_that_fails_has_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: said.append(str(told.exc_value)))

    def fail() -> None:
        raise ValueError("no good")

    assert Errand(fail, "failing errand").wait(2)
    found: list[int] = []
    assert who(found).wait(2)
    assert said == ["no good"]
