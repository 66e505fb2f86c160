"""interface: cable, address, speed, errors, flapping, signal; machines as fixture trees, the kernel of this one too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from probes.host import Host, net
from probes.host.net import Link
from probes.host.netlink import Assigned
from probes.interface import KIND, InterfaceSettings, Reading
from probes.model import NotFitted, Observation, Status

Tree = Callable[[dict[str, str]], Host]
NOON = 1_800_000_000.0
ETH = Link("eth0", index=2, flags=0x1003, operstate="up", carrier=True, speed=1000, duplex="full", device=True)
WLAN = msgspec.structs.replace(ETH, name="wlan0", wireless=True, speed=None, duplex="")
HOME = Assigned("192.0.2.7", 24, 2)
SELF = Assigned("169.254.8.9", 16, 2)
LOCAL = Assigned("fe80::1", 64, 2)


def eth(**changes: Any) -> Link:
    return msgspec.structs.replace(ETH, **changes)


def judge(
    link: Link | None,
    *addresses: Assigned,
    memory: dict[str, Any] | None = None,
    at: float = 0.0,
    signal: int | None = None,
    boot: str = "b1",
    **settings: Any,
) -> Observation:
    reading = Reading(NOON + at, boot, link, addresses, signal)
    return KIND.judge(InterfaceSettings(kind="interface", **settings), reading, memory or {})


WIREGUARD = Link("wg0", index=9, kind=65534, flags=0x10091, operstate="unknown", carrier=True, tunnel=True)
PPP = Link("ppp0", index=9, kind=512, flags=0x10D1, operstate="unknown", carrier=True, tunnel=True)
TUN = msgspec.structs.replace(WIREGUARD, name="tun0", speed=10, duplex="half")


@pytest.mark.parametrize(
    ("link", "addresses", "expected"),
    [
        pytest.param(ETH, [HOME, LOCAL], "ok", id="a healthy card"),
        pytest.param(None, [], "interface.absent", id="no such card"),
        pytest.param(eth(flags=0x1002, operstate="down", carrier=None), [], "interface.off", id="ip link set down"),
        pytest.param(eth(operstate="down", carrier=False), [HOME], "interface.no_carrier", id="cable out"),
        pytest.param(eth(operstate="dormant"), [HOME], "interface.no_carrier", id="802.1X has not let it in"),
        pytest.param(eth(operstate="lowerlayerdown"), [HOME], "interface.no_carrier", id="a VLAN on a dead card"),
        pytest.param(ETH, [], "interface.no_address", id="no address"),
        pytest.param(ETH, [LOCAL], "interface.no_address", id="fe80 alone is no address"),
        pytest.param(ETH, [SELF, LOCAL], "interface.self_assigned", id="169.254 is no address"),
        pytest.param(ETH, [SELF, HOME], "ok", id="169.254 beside a real one"),
        pytest.param(ETH, [Assigned("2001:db8::7", 64, 2)], "ok", id="IPv6 only"),
        pytest.param(
            ETH, [Assigned("2001:db8::7", 64, 2, False, True)], "interface.no_address", id="a duplicate IPv6 address"
        ),
        pytest.param(eth(serves="br0"), [], "ok", id="a bridge has the address in its stead"),
        pytest.param(eth(speed=10), [HOME], "interface.slow", id="10 Mbit/s"),
        pytest.param(eth(speed=100, duplex="half"), [HOME], "interface.half_duplex", id="half duplex"),
        pytest.param(eth(speed=None, duplex=""), [HOME], "ok", id="a virtual card tells no speed"),
        pytest.param(msgspec.structs.replace(WLAN, blocked="by switch"), [], "interface.off", id="radio switched off"),
        pytest.param(WIREGUARD, [Assigned("10.8.0.2", 32, 9)], "ok", id="WireGuard, operstate unknown"),
        pytest.param(PPP, [Assigned("198.51.100.9", 32, 9)], "ok", id="PPP, operstate unknown"),
        pytest.param(TUN, [Assigned("10.9.0.2", 24, 9)], "ok", id="the speed of a tunnel is made up"),
    ],
)
def test_each_state_of_an_interface_has_its_own_reason(
    link: Link | None, addresses: list[Assigned], expected: str
) -> None:
    seen = judge(link, *addresses)
    assert seen.reason == expected
    broken = {"absent", "off", "no_carrier", "no_address", "self_assigned"}
    short = expected.partition(".")[2]
    assert seen.status is (Status.OK if expected == "ok" else Status.FAIL if short in broken else Status.WARN)


def test_speed_and_duplex_that_nobody_tells_are_left_out() -> None:
    measured = judge(eth(speed=None, duplex="", carrier=None), HOME).measurements
    assert not {"speed_mbit", "duplex", "carrier", "signal_dbm"} & set(measured)
    assert judge(ETH, HOME).measurements["speed_mbit"] == 1000


@pytest.mark.parametrize(
    ("signal", "expected"), [(-60, "ok"), (-75, "ok"), (-76, "interface.weak_signal"), (None, "ok")]
)
def test_a_weak_radio_is_told_and_an_unknown_one_is_not_blamed(signal: int | None, expected: str) -> None:
    assert judge(WLAN, HOME, signal=signal).reason == expected


def test_a_wanted_speed_is_the_settings_to_choose() -> None:
    assert judge(eth(speed=100), HOME, min_speed=1000).reason == "interface.slow"
    assert judge(eth(speed=10), HOME, min_speed=0).reason == "ok"


class Watched:
    """One interface looked at again and again."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}
        self.at = 0.0

    def look(self, after: float = 30.0, boot: str = "b1", **changes: Any) -> Observation:
        self.at += after
        seen = judge(eth(**changes), HOME, memory=self.memory, at=self.at, boot=boot)
        self.memory = msgspec.json.decode(msgspec.json.encode(seen.memory))
        return seen


def test_old_errors_are_no_news_and_new_ones_are() -> None:
    card = Watched()
    assert card.look(errors=5000, packets=10_000).reason == "ok"
    assert card.look(errors=5009, packets=11_000).reason == "ok", "nine bad frames are the odd ones"
    dirty = card.look(errors=5012, packets=11_500)
    assert (dirty.status, dirty.reason) == (Status.WARN, "interface.errors")
    assert dirty.measurements["errors"] == 12
    assert dirty.measurements["errors_per_hour"] == 720.0
    assert card.look(after=660, errors=5012, packets=12_000).reason == "ok", "a new cable: quiet for ten minutes"


def test_a_few_errors_among_a_million_packets_are_not_trouble() -> None:
    card = Watched()
    card.look(errors=0, packets=0)
    assert card.look(errors=50, packets=1_000_000).reason == "ok"


@pytest.mark.parametrize(
    ("boot", "changes"),
    [
        pytest.param("b2", {"errors": 900, "packets": 2000}, id="after a reboot"),
        pytest.param("b1", {"errors": 900, "packets": 2000, "index": 7}, id="after the adapter was plugged in again"),
        pytest.param("b1", {"errors": 40, "packets": 50}, id="after the driver reset its counters"),
    ],
)
def test_counters_that_began_anew_have_not_grown(boot: str, changes: dict[str, int]) -> None:
    card = Watched()
    card.look(errors=100, packets=1000, carrier_losses=3)
    card.look(errors=101, packets=1100, carrier_losses=3)
    seen = card.look(boot=boot, **{"carrier_losses": 9 if boot == "b2" else 3, **changes})
    assert seen.reason == "ok"
    assert seen.measurements["errors"] == 0


def test_a_link_that_comes_and_goes_is_flapping_until_it_has_calmed_down() -> None:
    card = Watched()
    assert card.look(carrier_losses=7).reason == "ok"
    assert card.look(carrier_losses=8).reason == "ok", "a cable pulled once is no flapping"
    assert card.look(carrier_losses=9).reason == "ok"
    seen = card.look(carrier_losses=10)
    assert (seen.status, seen.reason) == (Status.WARN, "interface.flapping")
    assert seen.measurements["carrier_losses"] == 3
    assert card.look(after=600, carrier_losses=10).reason == "interface.flapping"
    assert card.look(after=600, carrier_losses=10).reason == "ok"


def test_a_clock_that_jumps_makes_no_trouble_and_no_endless_memory() -> None:
    card = Watched()
    for step in (0.0, -86_400.0, 3e8, 1.0, -3e8):
        assert card.look(after=step, errors=5, packets=100, carrier_losses=1).reason == "ok"
    for count in range(200):
        card.look(after=20, errors=5, packets=100 + count, carrier_losses=1)
    assert len(card.memory["growth"]) <= 60


def test_a_memory_of_another_version_is_forgotten_not_a_crash() -> None:
    assert judge(ETH, HOME, memory={"growth": "?", "boot": 5, "new": [1]}).reason == "ok"


def card(name: str, **attributes: str) -> dict[str, str]:
    shown = {"type": "1", "flags": "0x1003", "operstate": "up", "carrier": "1", "ifindex": "2", "iflink": "2"}
    return {f"/sys/class/net/{name}/{key}": value + "\n" for key, value in {**shown, **attributes}.items()}


HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth1\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth1\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
TRIE = "Main:\n  +-- 192.0.2.0/24 2 0 2\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n"


def test_with_no_name_the_interface_of_the_default_route_is_meant(tree: Tree) -> None:
    files = card("eth0", ifindex="2", iflink="2") | card("eth1", ifindex="3", iflink="3", speed="1000", duplex="full")
    machine = tree(files | {"/proc/net/route": HEAD + DEFAULT, "/proc/net/fib_trie": TRIE})
    settings = InterfaceSettings(kind="interface")
    seen = KIND.judge(settings, KIND.read(settings, machine), {})
    assert (seen.reason, seen.measurements["name"]) == ("ok", "eth1")
    assert seen.measurements["addresses"] == ["192.0.2.7/24"]
    assert seen.measurements["speed_mbit"] == 1000


def test_with_no_route_either_the_physical_one_with_a_cable_is_meant(tree: Tree) -> None:
    machine = tree(
        card("docker0", ifindex="5", iflink="5")
        | card("eth0", carrier="0", operstate="down", **{"device/vendor": "0x8086"})
        | card("eth1", ifindex="3", iflink="3", **{"device/vendor": "0x8086"})
    )
    reading = KIND.read(InterfaceSettings(kind="interface"), machine)
    assert reading.link is not None
    assert reading.link.name == "eth1"


def test_a_pc_without_any_card_is_not_fitted_with_one(tree: Tree) -> None:
    machine = tree(card("lo", type="772", flags="0x9", ifindex="1", iflink="1"))
    with pytest.raises(NotFitted, match="no network interface"):
        KIND.read(InterfaceSettings(kind="interface"), machine)


def test_an_interface_that_is_switched_off_does_not_tell_its_carrier(tree: Tree) -> None:
    files = card("eth0", flags="0x1002", operstate="down")
    del files["/sys/class/net/eth0/carrier"]  # the kernel answers EINVAL, which reads like absence
    seen = KIND.judge(InterfaceSettings(kind="interface", name="eth0"), net_reading(tree(files)), {})
    assert seen.reason == "interface.off"
    assert "carrier" not in seen.measurements


def net_reading(machine: Host) -> Reading:
    return KIND.read(InterfaceSettings(kind="interface", name="eth0"), machine)


def test_the_signal_of_a_radio_is_read(tree: Tree) -> None:
    wireless = (
        "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
        " face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
        "wlan0: 0000   38.  -72.  -256        0      0      0      0     12        0\n"
    )
    machine = tree(card("wlan0", **{"wireless/x": ""}) | {"/proc/net/wireless": wireless})
    link = net.link(machine, "wlan0")
    assert link is not None
    assert link.wireless
    assert net.signal(machine, link) == -72


def test_a_radio_switched_off_by_its_switch_is_seen(tree: Tree) -> None:
    files = card("wlan0", flags="0x1002", **{"phy80211/rfkill0/hard": "1", "phy80211/rfkill0/soft": "0"})
    link = net.link(tree(files), "wlan0")
    assert link is not None
    assert link.blocked == "by switch"


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "x" * 16])
def test_a_name_never_leads_out_of_the_directory(name: str, tree: Tree) -> None:
    assert net.link(tree(card("eth0")), name) is None


def test_this_machines_loopback_is_read(host: Host) -> None:
    reading = KIND.read(InterfaceSettings(kind="interface", name="lo"), host)
    assert reading.link is not None
    assert reading.link.flags & net.LOOPBACK
    assert "127.0.0.1" in [each.address for each in reading.addresses]
    assert reading.boot


@pytest.mark.parametrize("name", ["..", "."])
def test_names_that_cannot_be_interfaces_are_refused(name: str) -> None:
    assert [key for key, _ in KIND.problems(InterfaceSettings(kind="interface", name=name))] == ["name"]
