"""Which stores look odd and are well? None of these may be given a diagnosis."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.faults import BOTH_A, BOTH_B, addresses, chain, till_clock, to_hosts
from tests.lab.store import ANCHORS, ROUTER, TERMINAL, TILL, WAN_ROUTER6, Lan, Store

CAN_PAY = {
    "tls4 a 443": "ok",
    "tls4 a 8443": "ok",
    "tls4 b 443": "ok",
    "tcp4 a2 9000": "ok",
    "tcp4 terminal 8443": "ok",
    "dns a": r"NOERROR 203\.0\.113\.11",
    "http portal": "204",
    "ntp time": "stratum 2 offset 0",
}


@dataclass(frozen=True)
class Variant:
    """One way for a store to be different and healthy. `changes` are (text, other text) of the till's configuration."""

    name: str
    title: str
    make: Callable[[Store], AbstractContextManager[None]]
    seen: Mapping[str, str] = field(default_factory=dict)
    wait: float = 1.2
    changes: tuple[tuple[str, str], ...] = ()
    template: str = "till.toml"


VARIANTS: dict[str, Variant] = {}


def variant(
    *changes: tuple[str, str],
    seen: Mapping[str, str] | None = None,
    wait: float = 1.2,
    template: str = "till.toml",
) -> Callable[[Callable[[Store], Iterator[None]]], Callable[[Store], AbstractContextManager[None]]]:
    """Enter a function in VARIANTS; `seen` are the looks that differ from a plain store's."""

    def enter(function: Callable[[Store], Iterator[None]]) -> Callable[[Store], AbstractContextManager[None]]:
        make = contextlib.contextmanager(function)
        name, title = function.__name__, (function.__doc__ or "").split("\n")[0]
        VARIANTS[name] = Variant(name, title, make, {**CAN_PAY, **(seen or {})}, wait, changes, template)
        return make

    return enter


@variant()
def plain(_store: Store) -> Iterator[None]:
    """The store as it was built."""
    yield


@variant(seen={"ping4 a": "lost", "ping4 anchor": "lost", "ping4 gw": "lost", "ping6 gw": "lost"})
def icmp_filtered_everywhere(store: Store) -> Iterator[None]:
    """Nobody answers ping, near or far; all else is well."""
    echo = "icmp type { echo-request, echo-reply } drop\nicmpv6 type { echo-request, echo-reply } drop"
    with store.rules("router", f"{chain('prerouting', echo, -300)}"), store.rules("terminal", chain("input", echo)):
        yield


@variant(seen={"ping4 gw": "lost", "ping6 gw": "lost", "ping4 a": "ok"})
def gateway_ignores_ping(store: Store) -> Iterator[None]:
    """The router forwards and answers ARP, but not ping."""
    echo = 'iifname "lan" icmp type echo-request drop\niifname "lan" icmpv6 type echo-request drop'
    with store.rules("router", chain("input", echo)):
        yield


@variant(seen={"ping4 a": "lost", "ping4 anchor": "ok"})
def acquirers_ignore_ping(store: Store) -> Iterator[None]:
    """The payment hosts do not answer ping, as most do not."""
    v4, v6 = addresses(*BOTH_A, *BOTH_B)
    rules = f"ip daddr {v4} icmp type echo-request drop\nip6 daddr {v6} icmpv6 type echo-request drop"
    with store.rules("internet", chain("input", rules)):
        yield


@variant(seen={"addresses": r"192\.0\.2\.10/24", "route6": ""})
def no_ipv6(store: Store) -> Iterator[None]:
    """The till has no IPv6 at all; the acquirers' names still have AAAA records."""
    store.ip("till", "addr del " + store.lan.with_mask(TILL, 6) + " dev eth0", "route del ::/0")
    try:
        yield
    finally:
        store.dress_till()


@variant(seen={"addresses": r"192\.0\.2\.10/24 2001:db8:1::a/64", "route6": "", "tcp6 a 443": "ENETUNREACH"})
def ipv6_on_the_lan_only(store: Store) -> Iterator[None]:
    """The till has an IPv6 address but no IPv6 route out, as in many stores."""
    store.ip("till", "route del ::/0")
    try:
        yield
    finally:
        store.dress_till()


def _move(store: Store, lan: Lan) -> Iterator[None]:
    """Move the whole LAN to other addresses, and back."""
    before = store.lan
    rooms = (("router", "lan", ROUTER), ("terminal", "eth0", TERMINAL))
    for room, device, number in rooms:
        store.ip(
            room,
            f"addr add {lan.with_mask(number)} dev {device}",
            f"addr add {lan.with_mask(number, 6)} dev {device} nodad",
        )
    store.ip("mile", f"route add {lan.v6} via {WAN_ROUTER6}")
    store.lan = lan
    store.write_resolver()
    store.dress_till()
    try:
        yield
    finally:
        for room, device, number in rooms:
            store.ip(
                room,
                f"addr del {lan.with_mask(number)} dev {device}",
                f"addr del {lan.with_mask(number, 6)} dev {device}",
            )
        store.ip("mile", f"route del {lan.v6}")
        store.lan = before
        store.write_resolver()
        store.dress_till()


@variant(seen={"addresses": r"192\.168\.8\.10/24 fd00:8::a/64"})
def home_router_subnet(store: Store) -> Iterator[None]:
    """The LAN is 192.168.8.0/24 with unique local IPv6 addresses."""
    yield from _move(store, Lan("192.168.8.0/24", "fd00:8::/64"))


@variant(seen={"addresses": r"10\.12\.3\.74/29 2001:db8:abcd::a/64", "tcp6 a 443": "ok"})
def chain_store_subnet(store: Store) -> Iterator[None]:
    """The LAN is a /29 out of a chain's 10.0.0.0/8, where the till is one of four."""
    yield from _move(store, SmallLan("10.12.3.72/29", "2001:db8:abcd::/64"))


@dataclass(frozen=True)
class SmallLan(Lan):
    """A LAN with room for six: the till is host 2, the terminal 3, nobody is 6."""

    def host(self, number: int, version: int = 4) -> str:
        """Return the address of host `number`, squeezed."""
        squeezed = {TILL: 2, TERMINAL: 3, 254: 6, 100: 4, 200: 5}
        return super().host(squeezed.get(number, number) if version == 4 else number, version)


@contextlib.contextmanager
def _second_link(store: Store, device: str, till_side: str, router_side: str) -> Iterator[None]:
    store.ip("till", f"link add {device} type veth peer name x0 netns {store.ns('router')}", f"link set {device} up")
    store.ip("till", f"addr add {till_side} dev {device}")
    store.ip("router", "link set x0 up", f"addr add {router_side} dev x0")
    try:
        yield
    finally:
        store.ip("till", f"link del {device}")
        # the till's /sys is an overlay, which would take the next device of this name for the one that is gone
        Path("/proc/sys/vm/drop_caches").write_text("2")


@variant(seen={"ping4 gw": "ok"})
def two_interfaces(store: Store) -> Iterator[None]:
    """A second card leads to a scale and a printer, without a way out."""
    with _second_link(store, "eth1", "198.51.100.130/28", "198.51.100.129/28"):
        yield


@variant(seen={"ping4 gw": "ok"})
def second_card_unplugged(store: Store) -> Iterator[None]:
    """A second card is there and up, with nothing plugged in."""
    with _second_link(store, "eth1", "198.51.100.130/28", "198.51.100.129/28"):
        store.ip("router", "link set x0 down")
        yield


@variant(seen={"route4": "default dev tun0 .*", "ping4 gw": "ok"})
def vpn_default_route(store: Store) -> Iterator[None]:
    """Everything leaves through a VPN's point-to-point interface, which has no gateway address."""
    with _second_link(store, "tun0", "198.51.100.130/32", "198.51.100.129/32"):
        # two ends with one hardware address and no ARP: as near to point-to-point as an Ethernet cable gets
        for room, device, route in (("till", "tun0", "default dev tun0"), ("router", "x0", "198.51.100.130/32 dev x0")):
            store.ip(room, f"link set {device} down", f"link set {device} address 02:00:00:00:00:77 arp off")
            store.ip(room, f"link set {device} up", f"route replace {route}")
        store.ip("till", "route del ::/0")
        try:
            yield
        finally:
            store.dress_till()


@variant(seen={"connect_ms a 443": r"1[0-9]\d"}, wait=3)
def slow_but_sound_line(store: Store) -> Iterator[None]:
    """A rural line: 120 ms and 2 Mbit/s, but nothing is lost."""
    with store.cable("line", "isp", delay=60, jitter=5, rate=2_000_000):
        yield


@variant(seen={"ping4 a 1400": "too long|lost", "tls6 a 443": "ok"})
def line_of_1400_bytes(store: Store) -> Iterator[None]:
    """A tunnel on the way carries only 1400 bytes, and says so as it should."""
    store.ip("mile", "link set core mtu 1400")
    store.ip("internet", "link set core mtu 1400")
    try:
        yield
    finally:
        store.ip("mile", "link set core mtu 1500")
        store.ip("internet", "link set core mtu 1500")
        store.sh(
            "internet",
            "ip route flush cache; ip -6 route flush cache; ip tcp_metrics flush all >/dev/null 2>&1 || true",
        )


@variant(seen={"tcp4 anchor2 443": "timeout"})
def one_anchor_dead(store: Store) -> Iterator[None]:
    """One of three internet anchors is dead; the internet is not."""
    with store.rules("internet", chain("prerouting", to_hosts((ANCHORS[1],), "", "drop"), -300)):
        yield


@variant()
def one_packet_in_fifty_lost(store: Store) -> Iterator[None]:
    """Now and then a packet is lost, as on every line."""
    with store.rules("line", chain("forward", 'iifname "isp" numgen inc mod 50 == 7 drop'), "bridge"):
        yield


@variant(seen={"ntp time": "stratum 2 offset 10"})
def clock_eight_seconds_behind(store: Store) -> Iterator[None]:
    """The till's clock is eight seconds behind: allowed."""
    with till_clock(store, -8 / 86400):
        yield


@variant()
def two_resolvers(store: Store) -> Iterator[None]:
    """Two resolvers are configured, and both are good."""
    yield from _resolvers(store, store.lan.host(ROUTER), "203.0.113.53")


def _resolvers(store: Store, *servers: str) -> Iterator[None]:
    store.write_resolver(*servers)
    try:
        yield
    finally:
        store.write_resolver()
