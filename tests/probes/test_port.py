"""port: reachable, and everything that is not. Drops, ICMP and firewalls need namespaces: tests/lab/test_port_kind.py."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import pytest

from probes.host import Host, resolve, tcp
from probes.host.resolve import Unresolved
from probes.host.tcp import Attempt, Reach
from probes.model import Observation, Status
from probes.port import KIND, PortSettings, Reading
from tests.probes import talk


def look(host: Host, name: str, port: int) -> Observation:
    settings = PortSettings(kind="port", host=name, port=port)
    return KIND.judge(settings, KIND.read(settings, host), {})


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probing:
        probing.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(tcp, "resolve", lambda _host, _name: resolve.Resolution(addresses, 0.002))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_an_open_port_is_reached_and_nothing_is_said(host: Host) -> None:
    with talk.serving(talk.quiet) as (port, left):
        seen = look(host, "127.0.0.1", port)
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["address"] == "127.0.0.1"
    assert seen.measurements["ipv4"] == "ok"
    assert 0 < float(str(seen.measurements["connect_ms"])) < 1000
    assert "resolve_ms" not in seen.measurements  # a literal is not asked for
    assert left == [b""]


def test_a_server_that_greets_is_not_reset(host: Host) -> None:
    with talk.serving(talk.say(b"SSH-2.0-OpenSSH_9.2\r\n")) as (port, left):
        assert look(host, "127.0.0.1", port).status is Status.OK
    assert left == [b""]


def test_a_closed_port_is_refused_and_no_firewall_is_blamed_for_it(host: Host) -> None:
    seen = look(host, "127.0.0.1", free_port())
    assert (seen.status, seen.reason) == (Status.FAIL, "port.refused")
    assert seen.measurements["families"] == "IPv4"


def test_a_name_is_resolved_and_both_times_are_told(host: Host) -> None:
    with talk.serving(talk.quiet) as (port, _):
        seen = look(host, "localhost", port)
    assert seen.measurements["ipv4"] == "ok"
    assert {"resolve_ms", "connect_ms"} <= seen.measurements.keys()


def test_an_unresolved_name_says_why(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_host: Host, name: str) -> resolve.Resolution:
        raise Unresolved("timeout", f"no answer for {name}")

    monkeypatch.setattr(tcp, "resolve", silent)
    seen = look(host, "pay.example", 443)
    assert (seen.status, seen.reason) == (Status.FAIL, "port.unresolved")
    assert seen.measurements["resolve_error"] == "timeout"
    assert seen.evidence == ("no answer for pay.example",)


@needs_ipv6
def test_one_refusing_family_beside_a_good_one_is_a_warning(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "::1", "127.0.0.1")
    with talk.serving(talk.quiet) as (port, _):
        seen = look(host, "pay.example", port)
    assert (seen.status, seen.reason) == (Status.WARN, "port.refused")
    assert seen.measurements["families"] == "IPv6"
    assert (seen.measurements["ipv4"], seen.measurements["ipv6"]) == ("ok", "refused")


def test_one_dead_address_of_several_is_not_a_dead_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "127.0.0.2", "127.0.0.1")
    with talk.serving(talk.quiet) as (port, _):
        seen = look(host, "pay.example", port)
    assert seen.status is Status.OK
    assert seen.measurements["address"] == "127.0.0.1"
    assert seen.evidence[0].startswith("127.0.0.2: refused")


def test_a_full_backlog_is_a_timeout_within_the_deadline() -> None:
    """A listener whose queue is full ignores SYNs: the nearest thing to a drop without a firewall."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        began = time.monotonic()
        seen = look(Host(ends=began + 0.4), "127.0.0.1", address[1])
        assert (seen.status, seen.reason) == (Status.FAIL, "port.timeout")
        assert time.monotonic() - began < 0.6


def attempt(family: str, outcome: str, seconds: float = 0.02, **more: Any) -> Attempt:
    address = "192.0.2.1" if family == "ipv4" else "2001:db8::1"
    return Attempt(address, family, outcome, seconds, **more)


@pytest.mark.parametrize(
    ("attempts", "status", "reason"),
    [
        pytest.param([attempt("ipv4", "ok")], "ok", "ok", id="well"),
        pytest.param([attempt("ipv4", "ok", 1.2)], "warn", "port.slow", id="slow"),
        pytest.param([attempt("ipv4", "timeout")], "fail", "port.timeout", id="dropped"),
        pytest.param([attempt("ipv4", "rejected")], "fail", "port.rejected", id="rejected"),
        pytest.param([attempt("ipv4", "blocked_here")], "fail", "port.blocked_here", id="own firewall"),
        pytest.param([attempt("ipv4", "no_route"), attempt("ipv6", "no_route")], "fail", "port.no_route", id="no way"),
        pytest.param([attempt("ipv4", "timeout"), attempt("ipv6", "no_route")], "fail", "port.timeout", id="only IPv4"),
        pytest.param([attempt("ipv6", "no_route"), attempt("ipv4", "ok")], "ok", "ok", id="a PC without IPv6"),
        pytest.param([attempt("ipv4", "ok"), attempt("ipv6", "timeout")], "warn", "port.timeout", id="IPv6 dead"),
        pytest.param([attempt("ipv6", "ok"), attempt("ipv4", "rejected")], "warn", "port.rejected", id="IPv4 rejected"),
        pytest.param([attempt("ipv4", "timeout"), attempt("ipv6", "refused")], "fail", "port.refused", id="both broken"),
        pytest.param([attempt("ipv4", "refused"), attempt("ipv4", "ok")], "ok", "ok", id="the second address answers"),
        pytest.param(
            [attempt("ipv4", "rejected", 0.1), attempt("ipv4", "timeout", 2.8, stuck=True)],
            "fail",
            "port.timeout",
            id="it was only the kernel, missing a neighbour",
        ),
        pytest.param(
            [attempt("ipv4", "rejected", 0.1), attempt("ipv4", "timeout", 2.8)],
            "fail",
            "port.rejected",
            id="a router that says so once a second",
        ),
    ],
)  # fmt: skip
def test_each_outcome_has_its_reason(attempts: list[Attempt], status: str, reason: str) -> None:
    reading = Reading(Reach("pay.example", 443, attempts=tuple(attempts), seconds=3.0))
    seen = KIND.judge(PortSettings(kind="port", host="pay.example", port=443), reading, {})
    assert (seen.status, seen.reason) == (status, reason)


def test_a_lost_syn_is_told_from_a_slow_line() -> None:
    reading = Reading(Reach("192.0.2.1", 443, literal=True, attempts=(attempt("ipv4", "ok", 1.02, resent=1),)))
    seen = KIND.judge(PortSettings(kind="port", host="192.0.2.1", port=443), reading, {})
    assert seen.reason == "port.slow"
    assert seen.evidence == ("192.0.2.1: connected in 1.020 s; the first SYN was lost, 1 sent again",)


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"host": "a", "port": 1}, []),
        ({"targets": ("a:1",)}, []),
        ({}, ["host"]),
        ({"host": "a"}, ["port"]),
        ({"targets": ("a:1",), "host": "a", "port": 1}, ["host", "port"]),
    ],
)
def test_a_host_needs_its_port_or_targets(settings: dict[str, Any], keys: list[str]) -> None:
    assert [key for key, _ in KIND.problems(PortSettings(kind="port", **settings))] == keys
