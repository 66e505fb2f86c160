"""gateway: no route, dead, deaf to pings, lossy, slow; recorded looks one after the other, and this machine's own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from probes.gateway import KIND, GatewaySettings, Reading, Side
from probes.host import Host, icmp, icmp_socket
from probes.host.icmp import Echoes
from probes.host.proc_net import Route
from probes.model import Denied, Observation, Status

Tree = Callable[[dict[str, str]], Host]
NOON = 1_800_000_000.0
V4, V6 = "192.0.2.1", "fe80::1%eth0"


def pings(*trips_ms: float | None, address: str = V4, refusal: str = "") -> Echoes:
    return Echoes(address, tuple(None if trip is None else trip / 1000 for trip in trips_ms), refusal)


ALIVE, MUTE = pings(1, 1, 1, 1, 1), pings(None, None, None, None, None)
ALIVE6 = pings(1, 1, 1, 1, 1, address=V6)
MUTE6 = pings(None, None, address=V6)


def side(echoes: Echoes | None = ALIVE, neighbour: str = "reachable", **more: Any) -> Side:
    return Side(**{"family": 4, "interface": "eth0", "gateway": V4, "echoes": echoes, "neighbour": neighbour} | more)


def side6(echoes: Echoes) -> Side:
    return side(echoes, family=6, gateway=V6)


def judge(*sides: Side, memory: dict[str, Any] | None = None, at: float = 0.0, **more: Any) -> Observation:
    """One look that took two seconds."""
    reading = Reading(NOON + at, NOON + at + 2, sides, **more)
    return KIND.judge(GatewaySettings(kind="gateway"), reading, memory or {})


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        pytest.param([side()], (Status.OK, "ok"), id="alive"),
        pytest.param([], (Status.FAIL, "gateway.no_route"), id="no default route"),
        pytest.param([side(MUTE, "failed")], (Status.FAIL, "gateway.no_reply"), id="no ARP answer"),
        pytest.param([side(MUTE, "incomplete")], (Status.FAIL, "gateway.no_reply"), id="ARP still asking"),
        pytest.param([side(MUTE, "")], (Status.FAIL, "gateway.no_reply"), id="not even in the cache"),
        pytest.param(
            [side(MUTE, "reachable", confirmed=NOON + 1)], (Status.OK, "ok"), id="deaf to pings, ARP answers now"
        ),
        pytest.param(
            [side(MUTE, "stale", confirmed=NOON - 90)], (Status.WARN, "gateway.no_reply"), id="nobody knows yet"
        ),
        pytest.param([side(pings(1, None, 1, 1, 1))], (Status.OK, "ok"), id="one packet lost"),
        pytest.param([side(pings(1, None, 1, None, 1))], (Status.WARN, "gateway.loss"), id="two packets lost"),
        pytest.param([side(pings(1, None, None, None, 1))], (Status.FAIL, "gateway.loss"), id="most packets lost"),
        pytest.param([side(pings(150, 160, 155, 150, 150))], (Status.WARN, "gateway.slow"), id="slow"),
        pytest.param(
            [side(None, "", gateway="", interface="ppp0")], (Status.OK, "ok"), id="dial-up needs no gateway address"
        ),
        pytest.param([side(MUTE, "", lan=False, interface="tun0")], (Status.OK, "ok"), id="a mute tunnel end"),
        pytest.param([side(), side6(MUTE6)], (Status.OK, "ok"), id="IPv6 dead beside good IPv4"),
        pytest.param([side(MUTE, "failed"), side6(ALIVE6)], (Status.FAIL, "gateway.no_reply"), id="IPv4 dead"),
        pytest.param([side6(ALIVE6)], (Status.OK, "ok"), id="IPv6 alone"),
    ],
)
def test_each_state_of_a_gateway_has_its_own_reason(sides: list[Side], expected: tuple[Status, str]) -> None:
    seen = judge(*sides)
    assert (seen.status, seen.reason) == expected


def test_the_dead_family_beside_a_good_one_is_evidence() -> None:
    seen = judge(side(), side6(msgspec.structs.replace(MUTE6)))
    assert seen.measurements["answering"] == [V4]
    assert any(line.startswith(f"{V6}: 0 of 2 answered") for line in seen.evidence)


def test_waiting_and_refusing_routes_are_evidence() -> None:
    others = (Route(4, "wlan0", "192.168.1.1", 600), Route(6, "lo", "", 10, True))
    told = "\n".join(judge(side(), others=others).evidence)
    assert "192.168.1.1 on wlan0, metric 600" in told
    assert "no gateway on lo, leads nowhere" in told


class Watched:
    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}
        self.at = 0.0

    def look(self, *sides: Side, after: float = 30.0, **more: Any) -> Observation:
        self.at += after
        seen = judge(*sides, memory=self.memory, at=self.at, **more)
        self.memory = msgspec.json.decode(msgspec.json.encode(seen.memory))
        return seen

    def mute(self, neighbour: str, confirmed_ago: float, **more: Any) -> Observation:
        after = more.pop("after", 30.0)
        return self.look(side(MUTE, neighbour, confirmed=NOON + self.at + after + 2 - confirmed_ago), after=after)


def test_a_gateway_that_answered_pings_and_stops_is_dead_though_arp_still_remembers_it() -> None:
    router = Watched()
    assert router.look(side()).reason == "ok"
    seen = router.mute("reachable", confirmed_ago=20)
    assert (seen.status, seen.reason) == (Status.FAIL, "gateway.no_reply")
    assert router.mute("reachable", confirmed_ago=25, after=5).status is Status.FAIL


def test_a_gateway_that_begins_to_ignore_pings_is_proven_alive_by_the_next_arp_answer() -> None:
    router = Watched()
    router.look(side())
    assert router.mute("delay", confirmed_ago=40).status is Status.FAIL
    alive = router.mute("reachable", confirmed_ago=3, after=8)
    assert (alive.status, alive.measurements["answers_ping"]) == (Status.OK, False)
    assert router.mute("stale", confirmed_ago=25).status is Status.OK, "its silence is known now"
    assert router.mute("failed", confirmed_ago=55).status is Status.FAIL, "but its death is not overlooked"


def test_a_gateway_that_always_ignored_pings_is_trusted_for_what_arp_said_since_the_last_look() -> None:
    router = Watched()
    assert router.mute("delay", confirmed_ago=90).status is Status.WARN
    assert router.mute("reachable", confirmed_ago=3, after=8).status is Status.OK
    assert router.mute("stale", confirmed_ago=290, after=300).status is Status.OK
    assert router.mute("stale", confirmed_ago=700, after=300).status is Status.WARN


def test_another_gateway_begins_a_new_history() -> None:
    router = Watched()
    router.look(side())
    other = side(Echoes("192.0.2.254", (None, None)), "stale", gateway="192.0.2.254", confirmed=NOON)
    assert router.look(other).status is Status.WARN


def test_another_device_under_the_gateways_address_is_told() -> None:
    router = Watched()
    router.look(side(mac="02:00:5e:00:53:01"))
    told = router.look(side(mac="02:00:5e:00:53:99")).evidence
    assert "the gateway's hardware address changed from 02:00:5e:00:53:01 to 02:00:5e:00:53:99" in told


def test_a_memory_of_another_version_is_forgotten_not_a_crash() -> None:
    assert judge(side(), memory={"gateway": 7}).reason == "ok"


def test_only_a_numeric_address_can_be_the_gateway() -> None:
    for address, keys in (("router.example", ["address"]), ("0.0.0.0", ["address"]), (V4, []), ("fe80::1%eth0", [])):
        assert [key for key, _ in KIND.problems(GatewaySettings(kind="gateway", address=address))] == keys


def test_a_machine_without_routes_has_no_route(tree: Tree) -> None:
    settings = GatewaySettings(kind="gateway")
    seen = KIND.judge(settings, KIND.read(settings, tree({"/proc/net/route": "Iface\n"})), {})
    assert seen.reason == "gateway.no_route"


def test_a_live_address_answers_for_a_gateway(host: Host) -> None:
    """Or nothing does, where this user may not ping: the loopback has no neighbours that could be asked instead."""
    settings = GatewaySettings(kind="gateway", address="127.0.0.1", count=2)
    if not may_ping():
        with pytest.raises(Denied, match="ping_group_range"):
            KIND.read(settings, host)
        return
    seen = KIND.judge(settings, KIND.read(settings, host), {})
    assert (seen.reason, seen.measurements["interface"]) == ("ok", "lo")


def may_ping() -> bool:
    for form in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with contextlib.suppress(PermissionError), socket.socket(socket.AF_INET, form, socket.IPPROTO_ICMP):
            return True
    return False


@pytest.mark.parametrize("flags", ["0x9", "0x10d1"], ids=["loopback", "tunnel"])
def test_where_nobody_may_ping_the_loopback_and_a_tunnel_are_not_called_well(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, flags: str
) -> None:
    def refuse(*_asked: object) -> list[Echoes]:
        raise icmp_socket.denied()

    monkeypatch.setattr(icmp, "echo", refuse)
    route = "Iface Destination Gateway Flags RefCnt Use Metric Mask\nx0 00000000 010200C0 0003 0 0 0 00000000\n"
    there = tree({"/proc/net/route": route, "/sys/class/net/x0/flags": flags})
    with pytest.raises(Denied, match="ping_group_range"):
        KIND.read(GatewaySettings(kind="gateway"), there)
