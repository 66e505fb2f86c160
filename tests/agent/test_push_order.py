"""The newest first, then the past as it came; rests within bounds; a till that pushes nowhere pays nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.push import order
from agent.push.order import Gap, Queue, Waiting, gap_of


def waiting(seq: int, *, changed: bool = True, kind: str = "report", tries: int = 0) -> Waiting:
    return Waiting(f"{seq}-{kind}", kind, seq, float(seq), changed, {"https"}, tries)  # type: ignore[arg-type]


def queue_of(*all_of_them: Waiting) -> Queue:
    made = Queue()
    for one in all_of_them:
        made.add(one)
    return made


def leaves(queue: Queue, newest: str = "", *, gap: bool = False) -> list[tuple[int, str]]:
    """All of it, as it leaves."""
    found = []
    while (chosen := queue.next(newest, gap=gap)) is not None:
        one, sort = chosen
        found.append((one.seq if one is not None else 0, sort))
        if one is None:
            gap = False
        else:
            queue.remove(one)
    return found


def test_the_newest_then_the_gap_then_incidents_then_the_past() -> None:
    queue = queue_of(
        waiting(1, changed=False),
        waiting(2),
        waiting(2, kind="incident"),
        waiting(3, changed=False),
        waiting(3, kind="incident"),
        waiting(4),
    )
    assert leaves(queue, "4-report", gap=True) == [
        (4, "report"),
        (0, "gap"),
        (2, "incident"),
        (3, "incident"),
        (1, "history"),
        (2, "history"),
        (3, "history"),
    ]


def test_one_that_was_taken_already_is_not_the_newest_any_more() -> None:
    assert leaves(queue_of(waiting(1), waiting(2)), "3-report") == [(1, "history"), (2, "history")]


def test_what_failed_alone_comes_last_and_what_failed_just_now_after_the_others() -> None:
    poison = waiting(1, tries=2)
    queue = queue_of(poison, waiting(2), waiting(3), waiting(4, changed=False))
    queue.put_behind(poison)
    chosen = queue.next("", gap=False, skip={"2-report"})
    assert chosen is not None
    assert chosen[0] is not None
    assert chosen[0].seq == 3
    assert leaves(queue) == [(2, "history"), (3, "history"), (4, "history"), (1, "history")]
    assert queue_of(waiting(1)).next("", gap=False, skip={"1-report"}) is not None, "nothing else is there"


def test_news_of_incidents_do_not_overtake_one_that_failed_just_now() -> None:
    opened, resolved = waiting(2, kind="incident"), waiting(4, kind="incident")
    skip = {"2-incident"}
    assert queue_of(opened, resolved, waiting(1)).next("", gap=False, skip=skip) == (waiting(1), "history")
    assert queue_of(opened, resolved).next("", gap=False, skip=skip) == (opened, "incident")


def test_too_many() -> None:
    queue = queue_of(*(waiting(seq, changed=seq % 3 == 0) for seq in range(1, 13)))
    assert [one.seq for one in queue.excess(9, "12-report")] == [1, 2, 4]
    assert [one.seq for one in queue.excess(2, "12-report")] == [1, 2, 4, 5, 7, 8, 10, 11, 3, 6]
    assert [one.seq for one in queue.excess(0, "12-report")][-1] == 9, "the newest stays"
    assert queue.excess(12, "12-report") == []


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 40))
def test_no_more_than_the_quota_stay_and_no_change_goes_before_a_heartbeat(changes: list[bool], quota: int) -> None:
    queue = queue_of(*(waiting(seq, changed=changed) for seq, changed in enumerate(changes)))
    newest = f"{len(changes) - 1}-report"
    gone = queue.excess(quota, newest)
    for one in gone:
        queue.remove(one)
    assert len(queue) <= max(quota, 1)
    assert len(gone) == max(0, len(changes) - max(quota, 1 if changes else 0)) or quota == 0
    if any(one.changed for one in gone):
        assert all(one.changed or one.key == newest for one in queue)


def test_a_gap_grows_and_says_why() -> None:
    gap = gap_of([waiting(5), waiting(3, kind="incident")], "quota").and_also([waiting(9)], "memory")
    assert gap == Gap(3, 9, 2, 1, "quota memory")
    assert gap.and_also([], "lost") == gap
    assert gap.merged(Gap(1, 2, 2, 0, "memory")) == Gap(1, 9, 4, 1, "quota memory")


@given(st.integers(1, 10_000), st.floats(1, 3600), st.floats(0, 1))
def test_a_rest_is_never_longer_than_the_splay_nor_much_shorter_than_a_tenth(
    failures: int, splay: float, draw: float
) -> None:
    found = order.rest(failures, splay, draw)
    assert min(splay, 10) / 10 <= found <= splay
    if failures > 12:
        assert found >= splay / 10


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(1, 3600), st.floats(0, 1))
def test_what_the_centre_asks_for_is_heeded_within_bounds(asked: float, splay: float, draw: float) -> None:
    found = order.put_off(asked, splay, draw)
    assert 1 <= found <= 3600 * 1.1
    if 1 <= asked <= 3600:
        assert asked <= found <= asked * 1.1


@pytest.mark.parametrize(("waits", "least", "most"), [(1, 5, 5), (60, 2.5, 5), (1000, 0.15, 0.3)])
def test_a_queue_leaves_within_about_the_splay(waits: int, least: float, most: float) -> None:
    assert least <= order.pause(waits, 300, 0.0) <= order.pause(waits, 300, 1.0) <= most


def test_a_daemon_that_pushes_nowhere_imports_nothing_of_it() -> None:
    told = "import sys, agent.daemon; print([name for name in sys.modules if name.startswith('agent.push')])"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "[]\n"


def test_a_push_over_https_brings_no_channel_and_no_other_protocol() -> None:
    told = (
        "import sys; from agent.push import Centre; from agent.push.https import HttpsSender; "
        "print([n for n in sys.modules if n.startswith(('agent.channels', 'agent.telling', 'paho', 'agent.push.mqtt'))])"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "[]\n"
