"""arp: what counts as another host with this PC's address; packets by hand, then any bytes at all."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, arp
from probes.host.arp import Packet
from probes.host.net import Link

MINE, OTHER = "02:00:00:00:00:10", "02:00:00:00:00:66"
ETH = Link("eth0", index=2, flags=0x1003, operstate="up", carrier=True)
REPLY = bytes.fromhex("0001 0800 06 04 0002 020000000066 c000020a 020000000010 00000000")


def test_a_probe_is_what_rfc_5227_says_and_announces_nothing() -> None:
    asked = arp.question(bytes.fromhex("020000000010"), "192.0.2.10")
    assert asked == bytes.fromhex("0001 0800 06 04 0001 020000000010 00000000 000000000000 c000020a")


def test_an_answer_is_read_and_its_padding_left_aside() -> None:
    assert arp.parse(REPLY + bytes(18)) == Packet(2, OTHER, "192.0.2.10", "0.0.0.0")


def test_only_a_foreign_claim_to_the_very_address_counts() -> None:
    def counts(operation: int, mac: str, sender: str) -> bool:
        return arp.foreign(Packet(operation, mac, sender, "0.0.0.0"), ("192.0.2.10",), {MINE})

    assert counts(2, OTHER, "192.0.2.10"), "an answer"
    assert counts(1, OTHER, "192.0.2.10"), "an announcement"
    assert not counts(2, MINE, "192.0.2.10"), "this PC's other card, or our own frame sent back by a switch"
    assert not counts(2, OTHER, "192.0.2.11"), "somebody else's business"
    assert not counts(1, OTHER, "0.0.0.0"), "a switch that asks who is there, as device tracking does"
    assert not arp.foreign(None, ("192.0.2.10",), {MINE})


def test_what_is_no_arp_for_ipv4_over_ethernet_is_nothing() -> None:
    for at, value in ((0, b"\0\x06"), (2, b"\x86\xdd"), (4, b"\x08"), (5, b"\x10"), (6, b"\0\x03")):
        assert arp.parse(REPLY[:at] + value + REPLY[at + len(value) :]) is None
    assert arp.parse(REPLY[:-1]) is None


def test_only_links_with_neighbours_are_asked() -> None:
    def speaks(**changes: object) -> bool:
        return arp.speaks_arp(Link(**{"name": "x", "flags": 0x1003, "carrier": True, **changes}))  # type: ignore[arg-type]

    assert speaks()
    assert not speaks(kind=512), "PPP"
    assert not speaks(tunnel=True), "a VPN"
    assert not speaks(flags=0x1083), "NOARP"
    assert not speaks(flags=0x1002), "switched off"
    assert not speaks(carrier=False), "cable out"
    assert not speaks(carrier=None)


def test_a_fixture_tree_and_a_link_without_ipv4_are_never_asked(tmp_path: object) -> None:
    assert arp.conflicts(Host(root=tmp_path), ETH, ["192.0.2.10"]) == {}  # type: ignore[arg-type]
    assert arp.conflicts(Host(), ETH, ["2001:db8::1"]) == {}


@given(st.binary(max_size=64))
def test_any_bytes_are_a_packet_or_nothing(data: bytes) -> None:
    packet = arp.parse(data)
    assert packet is None or packet.operation in (1, 2)


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=4, max_size=4))
def test_what_is_written_is_read_back(mac: bytes, address: bytes) -> None:
    frame = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac, address, bytes(6), bytes(4))
    packet = arp.parse(frame)
    assert packet is not None
    assert bytes.fromhex(packet.mac.replace(":", "")) == mac
    assert bytes(int(part) for part in packet.sender.split(".")) == address
