"""The doors net and netlink: whatever the kernel's files hold, an answer comes; this machine's own are read right."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, net, netlink, proc_net
from probes.host.net import Hop
from probes.host.netlink import Assigned, Neighbour
from probes.host.proc_net import Route

Tree = Callable[[dict[str, str]], Host]

ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
wg0\t0000080A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
*\t006433C6\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
V6 = """20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""
ARP = """IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         02:00:5e:00:53:01     *        eth0
192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0
"""
IF_INET6 = """20010db8000000000000000000000007 02 40 00 80     eth0
fe800000000000000000000000000007 02 40 20 80     eth0
20010db8000000000000000000000008 02 40 00 08     eth0
"""
TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.7
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
Local:
        |-- 192.0.2.7
           /32 host LOCAL
"""


def machine(tree: Tree) -> Host:
    files = {
        "/proc/net/route": ROUTE,
        "/proc/net/ipv6_route": V6,
        "/proc/net/arp": ARP,
        "/proc/net/if_inet6": IF_INET6,
        "/proc/net/fib_trie": TRIE,
    }
    for index, (name, kind, flags) in enumerate(
        [("lo", "772", "0x9"), ("eth0", "1", "0x1003"), ("wg0", "65534", "0x91"), ("wlan0", "1", "0x1003")], 1
    ):
        files |= {
            f"/sys/class/net/{name}/ifindex": f"{index}\n",
            f"/sys/class/net/{name}/type": f"{kind}\n",
            f"/sys/class/net/{name}/flags": f"{flags}\n",
        }
    return tree(files)


def test_default_routes_come_by_family_then_metric(tree: Tree) -> None:
    assert net.routes(machine(tree)) == [
        Route(4, "eth0", "192.0.2.1", 100),
        Route(4, "wlan0", "192.168.1.1", 600),
        Route(6, "eth0", "fe80::1%eth0", 1024),
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("192.0.2.50", Hop("eth0"), id="a neighbour"),
        pytest.param("203.0.113.9", Hop("eth0", "192.0.2.1"), id="the internet"),
        pytest.param("10.8.0.5", Hop("wg0"), id="through the tunnel"),
        pytest.param("198.51.100.1", None, id="prohibited"),
        pytest.param("2001:db8::9", Hop("eth0"), id="an IPv6 neighbour"),
        pytest.param("2001:db8:1::9", Hop("eth0", "fe80::1%eth0"), id="the IPv6 internet"),
        pytest.param("127.0.0.1", Hop("lo"), id="this PC"),
        pytest.param("no address", None, id="nonsense"),
    ],
)
def test_the_first_step_to_an_address(address: str, expected: Hop | None, tree: Tree) -> None:
    assert net.route_to(machine(tree), address) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [("192.0.2.50", True), ("203.0.113.9", False), ("10.8.0.5", False), ("127.0.0.1", True), ("2001:db8::9", True)],
)
def test_the_lan_ends_at_the_gateway_and_at_the_tunnel(address: str, expected: bool, tree: Tree) -> None:
    assert net.is_lan(machine(tree), address) is expected


def test_a_default_route_without_a_gateway_makes_no_neighbour_of_the_whole_world(tree: Tree) -> None:
    whole = "\neth0\t00000000\t00000000\t0001\t0\t0\t5\t00000000\t0\t0\t0\n"
    host = machine(tree)
    (host.root / "proc/net/route").write_text(ROUTE.rstrip("\n") + whole)
    assert net.route_to(host, "203.0.113.9") == Hop("eth0")
    assert net.is_lan(host, "192.0.2.50")
    assert not net.is_lan(host, "203.0.113.9")


def test_without_any_route_private_addresses_are_taken_for_the_lan(tree: Tree) -> None:
    bare = tree({"/proc/net/route": ROUTE.splitlines()[0]})
    assert net.is_lan(bare, "192.168.1.50")
    assert not net.is_lan(bare, "8.8.8.8")


def test_neighbours_and_addresses_of_a_fixture_tree(tree: Tree) -> None:
    host = machine(tree)
    assert net.neighbour(host, "192.0.2.1", "eth0") == Neighbour("192.0.2.1", 2, "stale", "02:00:5e:00:53:01")
    assert net.neighbour(host, "192.0.2.9", "eth0") == Neighbour("192.0.2.9", 2, "incomplete")
    assert net.neighbour(host, "192.0.2.1", "wlan0") is None
    eth0 = net.link(host, "eth0")
    assert eth0 is not None
    assert net.addresses(host, eth0) == [
        Assigned("2001:db8::7", 64, 2),
        Assigned("fe80::7", 64, 2),
        Assigned("2001:db8::8", 64, 2, usable=False, duplicate=True),
        Assigned("192.0.2.7", 24, 2),
    ]


def test_this_machine_knows_the_way_to_itself(host: Host) -> None:
    assert net.route_to(host, "127.0.0.1") == Hop("lo", "", "127.0.0.1")
    assert net.is_lan(host, "127.0.0.1")


def test_netlink_and_proc_agree_about_this_machine(host: Host) -> None:
    """Two kernel interfaces, one truth; an interface with two networks on it is the one case where /proc cannot tell."""
    asked = {each.address for each in netlink.addresses(host) if ":" not in each.address}
    read = {str(address) for address in proc_net.parse_fib_trie(proc_net.content(host, "/proc/net/fib_trie"))}
    assert asked == read


@given(st.text(alphabet="0123456789abcdefABCDEF \t\n:.*|-+/xhostLOCAL", max_size=400))
def test_no_text_in_proc_net_breaks_its_parser(text: str) -> None:
    for parse in (
        proc_net.parse_route,
        proc_net.parse_ipv6_route,
        proc_net.parse_arp,
        proc_net.parse_wireless,
        proc_net.parse_if_inet6,
    ):
        assert isinstance(parse(text), list)
        assert isinstance(parse("head\nhead\n" + text), list)
    for address in proc_net.parse_fib_trie(text):
        ipaddress.IPv4Address(address)


FIELD = st.sampled_from(
    ["eth0", "00000000", "010200C0", "0003", "0", "FFFFFFFF", "-1", "1e9", "x", "g" * 9, "00FFFFFF"]
)


@given(st.lists(st.lists(FIELD, max_size=12), max_size=6))
def test_no_mixture_of_columns_breaks_the_route_tables(rows: list[list[str]]) -> None:
    text = "head\n" + "\n".join("\t".join(row) for row in rows)
    for network, route in proc_net.parse_route(text) + proc_net.parse_ipv6_route(text):
        assert network.version == route.family
    proc_net.parse_arp(text)
    proc_net.parse_if_inet6(text)


@given(st.binary(max_size=300))
def test_no_bytes_of_netlink_break_its_parsers(data: bytes) -> None:
    for parse in (netlink.parse_neighbour, netlink.parse_address, netlink.parse_route, netlink.parse_station):
        parse(data)
    for kind, _, body in netlink.messages(data):
        assert 0 <= kind < 65536
        assert len(body) < len(data)
    netlink.attributes(data)


def test_a_neighbour_message_is_read_whole() -> None:
    body = struct.pack("=BBHiHBB", socket.AF_INET, 0, 0, 2, 0x02, 0, 1)
    body += struct.pack("=HH", 8, 1) + bytes([192, 0, 2, 1])
    body += struct.pack("=HH", 10, 2) + bytes.fromhex("02005e005301") + b"\0\0"
    body += struct.pack("=HHIIII", 20, 3, 1250, 5, 5, 0)  # hundredths of a second
    assert netlink.parse_neighbour(body) == Neighbour("192.0.2.1", 2, "reachable", "02:00:5e:00:53:01", 12.5)


def test_a_radios_station_message_is_read() -> None:
    """Layout of nl80211.h: NL80211_ATTR_STA_INFO (21) holds NL80211_STA_INFO_SIGNAL (7) and SIGNAL_AVG (13), signed."""
    signal = struct.pack("=HHb3x", 5, 7, -71)
    average = struct.pack("=HHb3x", 5, 13, -68)
    head = struct.pack("=BBH", 19, 1, 0) + struct.pack("=HHI", 8, 3, 3)
    assert netlink.parse_station(head + struct.pack("=HH", 4 + 8, 21) + signal) == -71
    assert netlink.parse_station(head + struct.pack("=HH", 4 + 16, 21) + signal + average) == -68
    assert netlink.parse_station(head) is None


def test_asking_for_a_family_of_generic_netlink_works_on_this_kernel(host: Host) -> None:
    """nl80211 is not everywhere; the controller itself, whose number is fixed at 16, is asked the same way."""
    assert netlink._generic_family(host, b"nlctrl") == 16
    with pytest.raises(FileNotFoundError):
        netlink._generic_family(host, b"no-such-family")


@pytest.mark.parametrize("level", ["-30.", "226", "40", "0", "-300"])
def test_only_a_level_in_dbm_is_a_signal(level: str) -> None:
    text = f"a\nb\n wlan0: 0000   38.  {level}  -256 0 0 0 0 0 0\n"
    expected = {"-30.": [("wlan0", -30)], "226": [("wlan0", -30)]}.get(level, [])
    assert proc_net.parse_wireless(text) == expected
