"""dns against real dnsmasq servers and the C library's own lookup, in a network namespace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.room import Room

NAME, PUBLIC, PUBLIC6 = "auth.acquirer.example", "203.0.113.11", "2001:db8:ff::11"
FIRST, SECOND = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room(tmp_path) as made:
        made.resolv_conf(f"nameserver {FIRST}")
        made.hosts("127.0.0.1 localhost")
        yield made


def dnsmasq(room: Room, address: str, *words: str, log: bool = False) -> None:
    """A resolver that knows what it is told and no more."""
    room.start(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--no-hosts"),
        *("--no-resolv", "--bind-interfaces", f"--listen-address={address}", "--log-facility=-", *words),
        listens=f"{address}:53",
    )


def honest(room: Room, address: str = FIRST) -> None:
    dnsmasq(room, address, f"--host-record={NAME},{PUBLIC},{PUBLIC6}", "--local=/example/", "--local=/invalid/")


def verdict(seen: dict[str, Any]) -> tuple[str, str]:
    return seen["status"], seen["reason"]


def test_an_honest_resolver_is_well_by_both_ways(room: Room) -> None:
    honest(room)
    seen = room.look("dns", name=NAME)
    assert verdict(seen) == ("ok", "ok")
    assert seen["measurements"]["addresses"] == [PUBLIC, PUBLIC6]
    assert 0 < seen["measurements"]["system_ms"] < 500


def test_nothing_listens(room: Room) -> None:
    seen = room.look("dns", name=NAME)
    assert verdict(seen) == ("fail", "dns.refused")
    assert any("ICMP port unreachable" in line for line in seen["evidence"])


def test_a_resolver_that_refuses_by_policy(room: Room) -> None:
    dnsmasq(room, FIRST)  # without an upstream, dnsmasq answers REFUSED
    seen = room.look("dns", name=NAME)
    assert verdict(seen) == ("fail", "dns.refused")
    assert any("answered REFUSED" in line for line in seen["evidence"])


def test_a_name_that_does_not_exist(room: Room) -> None:
    dnsmasq(room, FIRST, "--local=/#/")
    assert verdict(room.look("dns", name=NAME)) == ("fail", "dns.no_such_name")


def test_a_name_without_an_address(room: Room) -> None:
    dnsmasq(room, FIRST, f"--txt-record={NAME},hello", "--local=/example/")
    assert verdict(room.look("dns", name=NAME)) == ("fail", "dns.no_address")


def test_a_silent_resolver_costs_the_deadline_and_no_more(room: Room) -> None:
    honest(room)
    with room.rules("chain i { type filter hook input priority 0; meta l4proto { tcp, udp } th dport 53 drop; }"):
        seen = room.look("dns", timeout=1.5, name=NAME)
    assert verdict(seen) == ("fail", "dns.timeout")
    assert seen["seconds"] < 1.5


def test_a_dead_first_resolver_is_a_warning_while_the_second_answers(room: Room) -> None:
    honest(room, FIRST)
    honest(room, SECOND)
    room.resolv_conf(f"nameserver {FIRST}", f"nameserver {SECOND}")
    drop = f"chain i {{ type filter hook input priority 0; ip daddr {FIRST} udp dport 53 drop; }}"
    with room.rules(drop):
        seen = room.look("dns", timeout=2, name=NAME)
    assert verdict(seen) == ("warn", "dns.timeout")
    assert seen["measurements"]["server"] == FIRST
    assert seen["seconds"] < 2


def test_a_crashed_first_resolver_is_a_warning_while_the_second_answers(room: Room) -> None:
    honest(room, SECOND)
    room.resolv_conf(f"nameserver {FIRST}", f"nameserver {SECOND}")
    seen = room.look("dns", name=NAME)
    assert verdict(seen) == ("warn", "dns.refused")


def test_a_portal_that_answers_every_name_with_itself(room: Room) -> None:
    dnsmasq(room, FIRST, "--address=/#/203.0.113.80")
    seen = room.look("dns", name=NAME)
    assert verdict(seen) == ("fail", "dns.wrong_answer")


def test_a_portal_that_answers_every_name_with_a_private_address(room: Room) -> None:
    dnsmasq(room, FIRST, "--address=/#/192.168.8.1")
    assert verdict(room.look("dns", name=NAME)) == ("fail", "dns.private_answer")
    assert verdict(room.look("dns", name=NAME, expect=["192.168.8.0/24"])) == ("ok", "ok")


def test_a_name_of_the_stores_own_may_be_private(room: Room) -> None:
    dnsmasq(room, FIRST, "--address=/pos-server.shop.lan/192.168.8.9", "--local=/#/")
    room.resolv_conf(f"nameserver {FIRST}", "search shop.lan")
    for name in ("pos-server.shop.lan", "pos-server"):
        assert verdict(room.look("dns", name=name)) == ("ok", "ok"), name


def test_a_name_from_the_hosts_file_is_well_while_the_resolver_lives(room: Room) -> None:
    dnsmasq(room, FIRST, "--local=/#/")
    room.hosts("127.0.0.1 localhost", f"{PUBLIC} {NAME}")
    assert verdict(room.look("dns", name=NAME)) == ("ok", "ok")


def test_no_resolver_at_all(room: Room) -> None:
    room.resolv_conf("search shop.lan")
    assert verdict(room.look("dns", name=NAME)) == ("fail", "dns.no_resolver")


def test_this_pcs_own_firewall_is_told_from_a_dead_resolver(room: Room) -> None:
    honest(room)
    with room.rules("chain o { type filter hook output priority 0; udp dport 53 drop; }"):
        seen = room.look("dns", timeout=2, name=NAME)
    assert verdict(seen) == ("fail", "dns.refused")
    assert seen["measurements"]["blocked_here"] is True
    assert any("EPERM" in line for line in seen["evidence"])


def test_aaaa_dropped_on_the_way_makes_programs_wait(room: Room) -> None:
    honest(room)
    # the question's type is the last byte but two of the packet: 28 is AAAA
    drop = "chain i { type filter hook input priority 0; udp dport 53 @th,448,16 28 drop; }"
    name = NAME.encode()
    assert 12 + len(name) + 2 == 35
    with room.rules(drop.replace("448", str((8 + 35) * 8))):
        seen = room.look("dns", timeout=2, name=NAME)
    assert verdict(seen) == ("warn", "dns.slow")


def test_many_addresses_come_over_tcp(room: Room) -> None:
    many = [f"203.0.113.{number}" for number in range(1, 61)]
    dnsmasq(
        room,
        FIRST,
        *(f"--host-record={NAME},{address}" for address in many),
        "--local=/example/",
        "--edns-packet-max=512",
    )
    seen = room.look("dns", name=NAME)
    assert verdict(seen) == ("ok", "ok")
    assert sorted(seen["measurements"]["addresses"]) == sorted(many)
