"""Names: found within a deadline, or a reason why not."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, resolve
from probes.host.resolve import Unresolved


def soon(seconds: float) -> Host:
    return Host(ends=time.monotonic() + seconds)


def answer(*addresses: str) -> list[Any]:
    return [
        (socket.AF_INET6, 1, 6, "", (address, 0, 0, 0)) if ":" in address else (socket.AF_INET, 1, 6, "", (address, 0))
        for address in addresses
    ]


@pytest.mark.parametrize("literal", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"])
def test_literals_pass_without_asking(literal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked"))
    assert resolve.resolve(soon(1), literal).addresses == (literal,)


NUMERIC = st.one_of(
    st.text("0123456789.", max_size=16),
    st.text("0123456789abcdef:.%", max_size=30),
    st.ip_addresses().map(str),
    st.text(max_size=20),
)


@given(NUMERIC)
def test_a_literal_is_what_pythons_own_address_is(text: str) -> None:
    try:
        ipaddress.ip_address(text)
        expected = True
    except ValueError:
        expected = False
    assert resolve.is_literal(text) is expected


@pytest.mark.parametrize("text", ["", "1", "1.2.3", "01.2.3.4", "1.2.3.4 ", "１.2.3.4", "1.2.3.4\0", "fe80::1%", "a"])
def test_what_only_resembles_an_address_is_a_name(text: str) -> None:
    assert not resolve.is_literal(text)


def test_the_hosts_file_is_part_of_the_systems_path(host: Host) -> None:
    assert "127.0.0.1" in resolve.resolve(host, "localhost").addresses


def test_both_families_stay_in_the_systems_order_each_address_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    found = answer("2001:db8::1", "192.0.2.1", "2001:db8::1", "192.0.2.2")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert resolve.resolve(host, "pay.example").addresses == ("2001:db8::1", "192.0.2.1", "192.0.2.2")


def test_a_link_local_address_keeps_its_interface(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback = socket.if_nametoindex("lo")
    found = [(socket.AF_INET6, 1, 6, "", ("fe80::5", 0, 0, loopback))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert resolve.resolve(host, "terminal.local").addresses == ("fe80::5%lo",)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no_such_name"),
        (socket.gaierror(-5, "No address associated with hostname"), "no_address"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "failed"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "failed"),
        (OSError(24, "Too many open files"), "failed"),
    ],
)
def test_each_way_of_having_no_address_has_its_reason(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Unresolved) as raised:
        resolve.resolve(host, "pay.example")
    assert raised.value.reason == reason


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "..", "a..b"])
def test_a_text_that_can_be_no_name_is_no_such_name(host: Host, name: str) -> None:
    with pytest.raises(Unresolved) as raised:
        resolve.resolve(host, name)
    assert raised.value.reason == "no_such_name"


def test_a_silent_resolver_costs_the_deadline_and_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        released.wait(10)
        return answer("192.0.2.1")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    for _ in range(10):
        began = time.monotonic()
        with pytest.raises(Unresolved) as raised:
            resolve.resolve(soon(0.05), "pay.example")
        assert raised.value.reason == "timeout"
        assert time.monotonic() - began < 0.5
    assert [thread.name for thread in threading.enumerate()].count("resolve pay.example") == 4
    released.set()
    assert resolve.resolve(soon(2), "pay.example").addresses == ("192.0.2.1",)


@given(st.text(max_size=80))
def test_whatever_the_name_there_is_an_answer(name: str) -> None:
    real = socket.getaddrinfo

    def local(name: str, *_: Any, **__: Any) -> list[Any]:
        return real(name, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", local)
        try:
            assert resolve.resolve(soon(2), name).addresses
        except Unresolved as error:
            assert error.reason in {"no_such_name", "no_address", "failed"}
