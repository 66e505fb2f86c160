"""What did the kernel notice, whose business is it, and how often is it said?"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.watching.triggers import TOPICS, Debounce, Triggers, concerned
from probes import registry
from probes.host.events import OVERRUN, Event
from probes.model import Probe

REFUSE_NETLINK = """
import ctypes, platform, struct, sys
number, machine = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 4), (0x15, 0, 5, machine), (0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16),
        (0x15, 0, 1, 16), (0x06, 0, 0, 0x50000 | 97), (0x06, 0, 0, 0x7FFF0000)]  # socket(AF_NETLINK): EAFNOSUPPORT
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
class Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Filter(len(code), ctypes.addressof(program)))) == 0  # PR_SET_SECCOMP
from agent.watching.triggers import Triggers
triggers = Triggers(print)
triggers.start()
print(triggers.problem)
triggers.stop()
"""


def probe(kind: str) -> Probe:
    found = registry.find(kind)
    settings = msgspec.convert({"kind": kind, **found.example}, found.settings)
    return Probe(kind, kind, settings, kind, "", found.impact, 30.0, 3.0, 2, 1, None)


PROBES = [probe(kind) for kind in ("port", "usb", "disk", "gateway", "serial", "dns", "interface", "power", "ups")]


def woken(*topics: str) -> list[str]:
    return [each.kind for each in concerned(frozenset(topics), PROBES)]


def test_a_plug_wakes_what_hangs_on_usb_and_serial_then_the_ups() -> None:
    assert woken("usb") == ["usb", "serial", "ups"]
    assert woken("tty") == ["usb", "serial"]


def test_a_charger_wakes_power_then_the_ups() -> None:
    assert woken("power_supply") == ["power", "ups"]


@pytest.mark.parametrize("topic", ["link", "address", "route"])
def test_a_cable_wakes_interface_and_gateway_then_all_that_speak_to_others(topic: str) -> None:
    assert woken(topic) == ["gateway", "interface", "port", "dns", "ups"]


def test_everything_at_once_wakes_each_probe_once_and_nothing_that_is_not_concerned() -> None:
    assert sorted(woken(*TOPICS)) == ["dns", "gateway", "interface", "port", "power", "serial", "ups", "usb"]


def test_a_topic_nobody_knows_wakes_nobody() -> None:
    assert woken("moon") == woken() == []


USB, LINK = Event("usb", "add 1-1"), Event("link", "eth0 down, no carrier")


def test_a_burst_is_said_once_after_50_ms_with_what_came_first() -> None:
    debounce = Debounce()
    debounce.note([USB], 100.0)
    debounce.note([USB, LINK], 100.02)
    assert debounce.take(100.04) is None
    assert debounce.take(100.05) == (frozenset({"usb", "link"}), "usb: add 1-1 (and 2 more)")
    assert debounce.take(100.06) is None
    assert debounce.wait(100.06) is None


def test_a_lone_event_is_quoted_alone() -> None:
    debounce = Debounce()
    debounce.note([LINK], 5.0)
    assert debounce.wait(5.01) == pytest.approx(0.04)
    assert debounce.take(5.05) == (frozenset({"link"}), "link: eth0 down, no carrier")


def test_lost_events_are_quoted_without_a_topic() -> None:
    debounce = Debounce()
    debounce.note([Event(topic, OVERRUN) for topic in TOPICS], 5.0)
    assert debounce.take(6.0) == (frozenset(TOPICS), OVERRUN)


def test_a_card_number_for_a_name_is_not_repeated() -> None:
    debounce = Debounce()
    debounce.note([Event("usb", "add 4111111111111111")], 5.0)
    said = debounce.take(6.0)
    assert said is not None
    assert "4111111111111111" not in said[1]


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=200))
def test_however_events_come_five_calls_a_second_at_most_and_none_is_late(gaps: list[float]) -> None:
    debounce, now = Debounce(), 50.0
    calls: list[float] = []
    waiting: list[float] = []

    def pass_time(until: float) -> None:
        wait = debounce.wait(now)
        if wait is not None and now + wait <= until:
            due = now + wait
            if debounce.take(due + 1e-9):
                calls.append(due)
                assert all(due - at <= 0.2 + 1e-6 for at in waiting)
                waiting.clear()

    for gap in gaps:
        pass_time(now + gap)
        now += gap
        debounce.note([USB], now)
        waiting.append(now)
    pass_time(now + 1)
    assert not waiting
    assert all(later - earlier >= 0.2 - 1e-6 for earlier, later in pairwise(calls))


class Made:
    """A source that a test speaks through."""

    def __init__(self) -> None:
        self.inside, self.outside = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.closed = False
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self.inside

    def take(self) -> tuple[list[Event], int]:
        if self.error:
            raise self.error
        try:
            told = os.read(self.inside, 1 << 16)
        except BlockingIOError:
            return [], 0
        return [USB] * told.count(b"u") + [LINK] * told.count(b"l"), len(told)

    def close(self) -> None:
        if not self.closed:
            os.close(self.inside)
            os.close(self.outside)
        self.closed = True

    def say(self, what: bytes) -> None:
        os.write(self.outside, what)


class Heard:
    """What was woken, and when."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, frozenset[str], str]] = []
        self._one = threading.Semaphore(0)

    def __call__(self, topics: frozenset[str], evidence: str) -> None:
        self.calls.append((time.monotonic(), topics, evidence))
        self._one.release()

    def next(self) -> tuple[float, frozenset[str], str]:
        assert self._one.acquire(timeout=5)
        return self.calls[-1]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def made() -> Iterator[Made]:
    source = Made()
    yield source
    source.close()


def refused() -> Made:
    raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")


def running(heard: Heard, sources: Sequence[Made]) -> Triggers:
    triggers = Triggers(heard, [lambda each=each: each for each in sources])
    triggers.start()
    return triggers


def switches(name: str = "triggers") -> int:
    """How often the thread of this name went to sleep so far."""
    thread = next(each for each in threading.enumerate() if each.name == name)
    with open(f"/proc/self/task/{thread.native_id}/status", encoding="ascii") as status:
        return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)


def test_an_event_is_delivered_within_100_ms(heard: Heard, made: Made) -> None:
    triggers = running(heard, [made])
    late: list[float] = []
    for _ in range(5):
        began = time.monotonic()
        made.say(b"u")
        at, topics, evidence = heard.next()
        late.append(at - began)
        assert (topics, evidence) == (frozenset({"usb"}), "usb: add 1-1")
        time.sleep(0.2)  # the next is not of the same burst
    triggers.stop()
    assert sorted(late)[2] < 0.1


def test_idle_it_is_not_woken_once(heard: Heard, made: Made) -> None:
    triggers = running(heard, [made])
    time.sleep(0.1)
    before = switches()
    time.sleep(1)
    assert switches() == before
    triggers.stop()


def test_in_a_flood_it_speaks_five_times_a_second(heard: Heard, made: Made) -> None:
    triggers = running(heard, [made])
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends:
        made.say(b"u" * 50)
        time.sleep(0.005)
    triggers.stop()
    assert 3 <= len(heard.calls) <= 8


def test_a_flood_of_nothing_is_read_in_handfuls(heard: Heard, made: Made) -> None:
    triggers = running(heard, [made])
    time.sleep(0.05)
    before = switches()
    for _ in range(200):
        made.say(b"-" * 80)
        time.sleep(0.002)
    assert switches() - before < 60
    assert heard.calls == []
    triggers.stop()


def test_refused_it_says_so_and_the_other_socket_goes_on(heard: Heard, made: Made) -> None:
    triggers = Triggers(heard, [refused, lambda: made])
    assert triggers.problem is None
    triggers.start()
    assert triggers.problem == (
        "cannot watch kernel events: Address family not supported by protocol; "
        "posagent looks at its usual intervals instead"
    )
    made.say(b"l")
    assert heard.next()[1] == {"link"}
    triggers.stop()


def test_a_socket_that_breaks_later_is_told_too_and_left(heard: Heard, made: Made) -> None:
    other = Made()
    triggers = running(heard, [made, other])
    made.error = OSError(errno.EBADF, "Bad file descriptor")
    made.say(b"u")
    other.say(b"l")
    assert heard.next()[1] == {"link"}
    assert triggers.problem is not None
    assert "Bad file descriptor" in triggers.problem
    assert made.closed
    triggers.stop()
    assert other.closed


def test_stopping_is_quick_and_may_be_repeated(heard: Heard, made: Made) -> None:
    triggers = running(heard, [made])
    began = time.monotonic()
    triggers.stop()
    triggers.stop()
    assert time.monotonic() - began < 1
    assert made.closed
    assert not any(each.name == "triggers" for each in threading.enumerate())


def test_stopped_without_a_start_nothing_stays_open(heard: Heard) -> None:
    before = len(os.listdir("/proc/self/fd"))
    Triggers(heard).stop()
    assert len(os.listdir("/proc/self/fd")) == before


def test_started_and_stopped_the_real_sockets_leave_nothing_open(heard: Heard) -> None:
    before = len(os.listdir("/proc/self/fd"))
    triggers = Triggers(heard)
    triggers.start()
    triggers.stop()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="the filter is written for these two")
def test_where_the_kernel_refuses_netlink_it_says_so_and_lives() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", REFUSE_NETLINK], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.stdout.strip() == (
        "cannot watch kernel events: Address family not supported by protocol; "
        "posagent looks at its usual intervals instead"
    )
