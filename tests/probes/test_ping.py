"""ping: loss, delay, jitter, silence, refusal; the kernel's own loopback, and recorded answers."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, icmp, icmp_errors, icmp_socket
from probes.host.icmp import Echoes
from probes.model import Denied, Observation, Status
from probes.ping import KIND, PingSettings, Reading

NOON = 1_800_000_000.0


def may_ping() -> bool:
    try:
        icmp_socket.create(socket.AF_INET).close()
    except Denied:
        return False
    return True


needs_ping = pytest.mark.skipif(not may_ping(), reason="this user may not ping (see net.ipv4.ping_group_range)")


def answers(*trips_ms: float | None, address: str = "192.0.2.1", refusal: str = "", said: str = "") -> Echoes:
    rtts = tuple(None if trip is None else trip / 1000 for trip in trips_ms)
    return Echoes(address, rtts, refusal, (said,) if said else ())


def judge(*echoes: Echoes, memory: dict[str, Any] | None = None, at: float = 0.0, **settings: Any) -> Observation:
    return KIND.judge(PingSettings(kind="ping", host="h.example", **settings), Reading(NOON + at, echoes), memory or {})


GOOD = answers(9, 10, 11, 10, 9)
SILENT = answers(None, None, None, None, None)


@pytest.mark.parametrize(
    ("echoes", "expected"),
    [
        pytest.param([GOOD], (Status.OK, "ok"), id="all well"),
        pytest.param([answers(9, None, 11, 10, 9)], (Status.OK, "ok"), id="one of five lost"),
        pytest.param([answers(9, None, 11, None, 9)], (Status.WARN, "ping.loss"), id="two of five lost"),
        pytest.param([answers(9, None, None, None, 9)], (Status.FAIL, "ping.loss"), id="more than half lost"),
        pytest.param([SILENT], (Status.FAIL, "ping.no_reply"), id="silence"),
        pytest.param([answers(600, 610, 590, 605, 600)], (Status.WARN, "ping.slow"), id="slow"),
        pytest.param([answers(20, 20, 2900, 20, 20)], (Status.WARN, "ping.jitter"), id="one packet very late"),
        pytest.param([answers(2900, 20, 20, 20, 20)], (Status.OK, "ok"), id="only the first, which woke the radio"),
        pytest.param([answers(10, 250, 20, 300, 15)], (Status.WARN, "ping.jitter"), id="uneven"),
        pytest.param(
            [answers(None, None, refusal="unreachable", said="host unreachable, says 192.0.2.9")],
            (Status.FAIL, "ping.unreachable"),
            id="a router says no",
        ),
        pytest.param([answers(None, refusal="no_route")], (Status.FAIL, "ping.unreachable"), id="no route"),
        pytest.param([answers(None, refusal="blocked_here")], (Status.FAIL, "ping.blocked_here"), id="own firewall"),
        pytest.param([], (Status.FAIL, "ping.unresolved"), id="no address"),
        pytest.param([GOOD, answers(None, address="2001:db8::1", refusal="no_route")], (Status.OK, "ok"), id="v4 only"),
        pytest.param([SILENT, answers(9, 9, 9, 9, 9, address="2001:db8::1")], (Status.OK, "ok"), id="v6 alone lives"),
        pytest.param(
            [SILENT, answers(None, address="2001:db8::1", refusal="no_route")],
            (Status.FAIL, "ping.no_reply"),
            id="the family with a route decides why",
        ),
    ],
)
def test_each_kind_of_answer_has_its_own_reason(echoes: list[Echoes], expected: tuple[Status, str]) -> None:
    seen = judge(*echoes)
    assert (seen.status, seen.reason) == expected


def test_the_family_that_answered_is_told_and_the_silent_one_is_evidence() -> None:
    seen = judge(GOOD, answers(None, None, address="2001:db8::1"))
    assert seen.measurements["answering"] == ["IPv4"]
    assert seen.measurements["rtt_ms"] == 10.0
    assert seen.evidence == ("192.0.2.1: 5 of 5 answered: 9 10 11 10 9 ms", "2001:db8::1: 0 of 2 answered")


def test_what_was_not_measured_is_left_out() -> None:
    assert not {"rtt_ms", "jitter_ms"} & set(judge(SILENT).measurements)
    assert "jitter_ms" not in judge(answers(5, 6)).measurements


class Line:
    """A line that loses packets by chance, looked at again and again."""

    def __init__(self, loss: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.memory: dict[str, Any] = {}

    def looks(self, count: int) -> list[str]:
        return [self.look(number) for number in range(count)]

    def look(self, number: int) -> str:
        trips = [None if self.random.random() < self.loss else 10.0 for _ in range(5)]
        seen = judge(answers(*trips), memory=self.memory, at=30.0 * number)
        self.memory = msgspec.json.decode(msgspec.json.encode(seen.memory))
        return seen.reason


def confirmed(reasons: list[str]) -> bool:
    """Three looks in a row, as `fail_after` has it."""
    return any(set(reasons[at : at + 3]) == {"ping.loss"} for at in range(len(reasons) - 2))


def test_a_line_that_loses_a_twentieth_is_not_called_bad() -> None:
    assert sum(confirmed(Line(0.05, seed).looks(100)) for seed in range(30)) == 0


def test_a_line_that_loses_a_third_is_found_within_minutes() -> None:
    assert sum(confirmed(Line(0.34, seed).looks(12)) for seed in range(30)) >= 27


def test_one_bad_look_is_not_held_against_a_line_that_is_well_again() -> None:
    bad = judge(answers(None, None, None, 9, 9))
    assert bad.reason == "ping.loss"
    assert judge(GOOD, memory=bad.memory, at=30).reason == "ok"


def test_loss_of_an_hour_ago_is_forgotten() -> None:
    bad = judge(answers(None, None, None, 9, 9))
    assert judge(answers(9, None, 9, 9, 9), memory=bad.memory, at=3600).reason == "ok"
    assert judge(answers(9, None, 9, 9, 9), memory=bad.memory, at=30).reason == "ping.loss"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1"])
def test_an_address_that_always_answers_is_no_host_to_ask(address: str) -> None:
    assert [key for key, _ in KIND.problems(PingSettings(kind="ping", host=address))] == ["host"]
    assert not list(KIND.problems(PingSettings(kind="ping", host="h.example")))


@needs_ping
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_this_machine_answers_itself(address: str, host: Host) -> None:
    settings = PingSettings(kind="ping", host=address, count=3)
    seen = KIND.judge(settings, KIND.read(settings, host), {})
    assert seen.reason == "ok"
    assert seen.measurements["received"] == 3
    assert 0 < float(str(seen.measurements["rtt_ms"])) < 100


@needs_ping
def test_both_families_fly_at_once(host: Host) -> None:
    began = time.monotonic()
    both = icmp.echo(host, ("127.0.0.1", "::1"), count=3)
    assert [len(each.answers) for each in both] == [3, 3]
    assert time.monotonic() - began < 1.0


@needs_ping
def test_a_deadline_holds_and_few_packets_fit_into_little_time() -> None:
    began = time.monotonic()
    (answer,) = icmp.echo(Host(ends=began + 0.4), ("127.0.0.1",), count=5)
    assert len(answer.answers) == 5
    assert time.monotonic() - began < 0.45


def test_a_name_without_address_is_unresolved(host: Host) -> None:
    reading = KIND.read(PingSettings(kind="ping", host="no-such-host.invalid."), host)
    assert reading.unresolved
    assert KIND.judge(PingSettings(kind="ping", host="x"), reading, {}).reason == "ping.unresolved"


@needs_ping
def test_an_interface_that_does_not_exist_is_no_crash(host: Host) -> None:
    (answer,) = icmp.echo(host, ("fe80::1%nosuch0",), count=2)
    assert answer.refusal == icmp_errors.NO_ROUTE


@needs_ping
def test_a_reply_from_somebody_else_or_of_another_number_never_counts() -> None:
    with icmp._Line("127.0.0.1") as line:
        line.sent[7] = time.monotonic(), time.time()
        line.identity = 77
        raw = line.socket.type == socket.SOCK_RAW
        head = b"\x45" + bytes(19) if raw else b""

        def reply(kind: int, identity: int, number: int) -> None:
            line._reply(head + struct.pack("!BBHHH", kind, 0, 0, identity, number) + bytes(56), None)

        reply(0, 77, 8)
        reply(8, 77, 7)
        if raw:
            reply(0, 78, 7)
        assert not line.rtts
        reply(0, 77, 7)
        assert list(line.rtts) == [7]


@needs_ping
def test_a_wall_clock_that_was_set_does_not_change_the_round_trip() -> None:
    with icmp._Line("127.0.0.1") as line:
        raw = line.socket.type == socket.SOCK_RAW
        line.sent[7] = time.monotonic(), time.time() - 3600
        head = b"\x45" + bytes(19) if raw else b""
        line._reply(head + struct.pack("!BBHHH", 0, 0, 0, line.identity, 7), time.time())
        assert 0 <= line.rtts[7] < 1


@needs_ping
@given(st.binary(max_size=200))
def test_no_bytes_from_the_network_break_the_reader(data: bytes) -> None:
    with icmp._Line("127.0.0.1") as line:
        line.sent[7] = time.monotonic(), time.time()
        line._reply(data, None)
        line._error(data, data)
        assert line.result().sent == 1


def test_sequence_numbers_are_not_used_twice() -> None:
    drawn = [next(icmp._sequence) & 0xFFFF for _ in range(1000)]
    assert len(set(drawn)) == 1000


def test_being_forbidden_to_ping_names_what_would_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(icmp_socket.socket, "socket", refuse)
    with pytest.raises(Denied, match=r"ping_group_range.*CAP_NET_RAW"):
        icmp_socket.create(socket.AF_INET)
