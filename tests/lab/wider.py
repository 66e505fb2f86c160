"""Other addressing, other configurations, and faults that nobody asked for: enters more in FAULTS and VARIANTS.

Whoever wants every case imports both from here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.lab.faults import BOTH_A, FAULTS, OTHERS_LIVE, addresses, chain, fault, till_clock, to_hosts
from tests.lab.healthy import CAN_PAY, VARIANTS, Lan, _move, _second_link, variant
from tests.lab.store import ANCHORS, RESOLVER, TERMINAL, TILL, TIME, TMS, Store, address

__all__ = ["CAN_PAY", "FAULTS", "VARIANTS"]


def off(*probes: str) -> tuple[tuple[str, str], ...]:
    """Changes that switch probes of the till off."""
    return tuple((f"[probes.{name}]\n", f"[probes.{name}]\nenabled = false\n") for name in probes)


ONE_BANK, LITERALS, IPV6 = "till-one-bank.toml", "till-literals.toml", "till-ipv6.toml"
FROM_THE_LAN = 'iifname "lan"'


# --- firewalls --------------------------------------------------------------------------------------------------------


@fault(
    "port",
    "firewall.all_blocked",
    "down",
    alternatives=("isp.down",),
    seen={"tcp4 a 443": "EHOSTUNREACH", "tcp6 a 443": "EACCES", "ping4 gw": "ok"},
)
def router_prohibits_everything(store: Store) -> Iterator[None]:
    """The router lets nothing out and says so: administratively prohibited."""
    with store.rules("router", chain("forward", f"{FROM_THE_LAN} reject with icmpx type admin-prohibited")):
        yield


@fault(
    "port",
    "firewall.all_blocked",
    "down",
    seen={"tcp4 a 443": "ECONNREFUSED", "tcp4 anchor 443": "ECONNREFUSED", "ping4 a": "ok"},
)
def router_resets_all_tcp(store: Store) -> Iterator[None]:
    """The router resets every TCP connection; ping and DNS get out."""
    with store.rules("router", chain("forward", f"{FROM_THE_LAN} meta l4proto tcp reject with tcp reset")):
        yield


@fault(
    "port",
    "firewall.port_blocked",
    "at_risk",
    alternatives=("isp.poor",),
    seen={"tcp4 anchor 443": "timeout", "tls4 a 443": "ok", "tls4 b 443": "ok", "http tms": "timeout"},
)
def only_payment_hosts_allowed(store: Store) -> Iterator[None]:
    """The store's firewall lets payments through and drops everything else."""
    others = (*ANCHORS, TMS, TIME)
    with store.rules("router", chain("forward", to_hosts(others, "", "drop"))):
        yield


@fault(
    "port",
    "firewall.port_blocked",
    "at_risk",
    alternatives=("service.unreachable",),
    seen={"ntp time": "timeout", "tls4 a 443": "ok"},
)
def ntp_blocked(store: Store) -> Iterator[None]:
    """The store's firewall drops NTP."""
    with store.rules("router", chain("forward", f"{FROM_THE_LAN} udp dport 123 drop")):
        yield


@fault(
    "port",
    "firewall.port_blocked",
    "at_risk",
    alternatives=("isp.poor",),
    seen={"tcp4 anchor2 443": "timeout", "tls4 a 443": "ok"},
)
def two_anchors_dead(store: Store) -> Iterator[None]:
    """Two of three internet anchors do not answer; every payment host does."""
    with store.rules("internet", chain("prerouting", to_hosts(ANCHORS[1:], "", "drop"), -300)):
        yield


@fault(
    "tls",
    "firewall.tls_inspection",
    "down",
    alternatives=("acquirer.certificate_invalid",),
    seen={"tls4 a 443": "verify (19|20|21) Store Security Gateway CA", "tls4 b 443": "ok"},
)
def tls_inspection_of_one(store: Store) -> Iterator[None]:
    """The store's firewall opens the TLS connections of one acquirer only."""
    v4, v6 = addresses(*BOTH_A)
    turn = "tcp dport { 443, 8443 } redirect to :4443"
    rules = f"{FROM_THE_LAN} ip daddr {v4} {turn}\n{FROM_THE_LAN} ip6 daddr {v6} {turn}"
    with store.rules("router", f"chain n {{ type nat hook prerouting priority -100; {rules}\n}}"):
        yield


# --- names ------------------------------------------------------------------------------------------------------------


@fault(
    "name",
    "dns.down",
    "down",
    alternatives=("firewall.port_blocked",),
    seen={"dns a": ".*", "tcp4 a 443": "ok", "resolve a": "EAI_AGAIN"},
)
def resolver_on_the_internet_filtered(store: Store) -> Iterator[None]:
    """The till asks a resolver on the internet, and the store's firewall drops DNS."""
    store.write_resolver(address(RESOLVER))
    try:
        with store.rules("router", chain("forward", f"{FROM_THE_LAN} meta l4proto {{ tcp, udp }} th dport 53 drop")):
            yield
    finally:
        store.write_resolver()


@fault("name", "dns.down", "at_risk", "down", seen={"tcp4 a 443": "ok"}, wait=4)
def resolver_slow(store: Store) -> Iterator[None]:
    """The resolver takes two seconds for every answer."""
    with store.mood(RESOLVER, mood="slow:2"):
        yield


@fault(
    "name",
    "acquirer.certificate_invalid",
    "down",
    alternatives=("dns.tampered",),
    seen={"dns a": r"NOERROR 203\.0\.113\.31", "dns b": r"NOERROR 203\.0\.113\.21", "tls4 b 443": "ok"},
)
def name_leads_to_a_stranger(store: Store) -> Iterator[None]:
    """One acquirer's names lead to somebody else's server."""
    with store.mood(RESOLVER, mood=f"lie:{address(ANCHORS[0])},{BOTH_A[0]},{BOTH_A[1]}"):
        yield


@fault(
    "name",
    "dns.tampered",
    "down",
    alternatives=("firewall.tls_inspection",),
    changes=off("dns", "internet", "clock", "tms"),
    seen={"dns a": r"NOERROR 192\.0\.2\.1", "dns b": r"NOERROR 192\.0\.2\.1"},
)
def every_bank_is_the_router(store: Store) -> Iterator[None]:
    """Every name is answered with the router's address, and nobody looks at names themselves."""
    with store.mood(RESOLVER, mood=f"all:{store.lan.host(1)}"):
        yield


# --- one acquirer -----------------------------------------------------------------------------------------------------


@fault(
    "host",
    "acquirer.unreachable",
    "at_risk",
    alternatives=("firewall.port_blocked",),
    seen={"tcp4 a 443": "timeout", "tcp6 a 443": "ok", "tls4 b 443": "ok"},
)
def acquirer_ipv4_dead(store: Store) -> Iterator[None]:
    """Acquirer A answers by IPv6 only."""
    v4, _ = addresses(*BOTH_A)
    with store.rules("internet", chain("prerouting", f"ip daddr {v4} drop", -300)):
        yield


@fault(
    "host",
    "acquirer.unreachable",
    "at_risk",
    alternatives=("firewall.port_blocked",),
    seen={"tcp4 a 443": "ok", "tcp6 a 443": "timeout", "tls6 b 443": "ok"},
)
def acquirer_ipv6_dead(store: Store) -> Iterator[None]:
    """Acquirer A answers by IPv4 only, though its names have IPv6 addresses; others have both."""
    _, v6 = addresses(*BOTH_A)
    with store.rules("internet", chain("prerouting", f"ip6 daddr {v6} drop", -300)):
        yield


@fault(
    "host",
    "acquirer.unreachable",
    "down",
    alternatives=("firewall.port_blocked",),
    seen={"tcp4 a 443": "EHOSTUNREACH", "tls4 b 443": "ok"},
)
def acquirer_gone_says_its_router(store: Store) -> Iterator[None]:
    """A router far away says that acquirer A's hosts are unreachable."""
    rules = to_hosts(BOTH_A, "", "reject with icmpx type host-unreachable")
    with store.rules("mile", chain("forward", rules)):
        yield


# --- lines ------------------------------------------------------------------------------------------------------------


@fault("gateway", "lan.poor", "down", "at_risk", seen={"loss gw 60": r"[4-7][0-9]"}, wait=4)
def heavy_loss_on_lan(store: Store) -> Iterator[None]:
    """Sixty percent of the IP packets that the till sends are lost before the router.

    ARP is spared: with three questions lost in a row nobody could tell this router from a dead one within two seconds.
    """
    lost = 'iifname "till" ether type { ip, ip6 } numgen random mod 100 < 60 drop'
    with store.rules("switch", chain("forward", lost), "bridge"):
        yield


@fault("path", "isp.poor", "down", "at_risk", seen={"loss gw 20": "0", "loss anchor 60": r"[3-6][0-9]"}, wait=4)
def heavy_loss_beyond_lan(store: Store) -> Iterator[None]:
    """Half of the IP packets that the provider sends are lost."""
    with store.rules(
        "line", chain("forward", 'iifname "isp" ether type { ip, ip6 } numgen random mod 100 < 50 drop'), "bridge"
    ):
        yield


@fault(
    "path",
    "isp.poor",
    "at_risk",
    alternatives=(),
    seen={"tcp4 a 443": "timeout", "tcp6 a 443": "ok", "ping4 gw": "ok"},
)
def ipv4_dead(store: Store) -> Iterator[None]:
    """IPv4 goes nowhere beyond the router; IPv6 is well, and the router asks for names by it."""
    store.stop("dnsmasq")
    store.start_dnsmasq("--all-servers", f"--server={address(RESOLVER, 6)}")
    try:
        with store.rules("mile", chain("prerouting", 'iifname "store" meta nfproto ipv4 drop', -300)):
            yield
    finally:
        store.stop("dnsmasq")
        store.start_dnsmasq()


# --- the same faults, seen by tills that know less --------------------------------------------------------------------


def _dead(store: Store) -> Iterator[None]:
    rules = 'iifname "store" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\niifname "store" drop'
    with store.rules("mile", chain("prerouting", rules, -300)):
        yield


@fault(
    "path",
    "dns.down",
    "down",
    alternatives=("isp.down",),
    template=ONE_BANK,
    seen={"ping4 gw": "ok", "tcp4 a 443": "timeout", "dns a": "timeout"},
)
def one_bank_line_dead(store: Store) -> Iterator[None]:
    """The line is dead, and the till knows one payment host and nothing else."""
    yield from _dead(store)


@fault(
    "path",
    "isp.down",
    "down",
    alternatives=("firewall.all_blocked",),
    template=LITERALS,
    seen={"ping4 gw": "ok", "tcp4 a 443": "timeout"},
)
def literals_line_dead(store: Store) -> Iterator[None]:
    """The line is dead, and the till knows its payment hosts by address only."""
    yield from _dead(store)


@fault(
    "host",
    "acquirer.unreachable",
    "down",
    alternatives=("firewall.port_blocked",),
    template=LITERALS,
    seen={"tcp4 a 443": "timeout", "tls4 b 443": "ok"},
)
def literals_acquirer_dead(store: Store) -> Iterator[None]:
    """Acquirer A is dead, and the till knows its payment hosts by address only."""
    with store.rules("internet", chain("prerouting", to_hosts(BOTH_A, "", "drop"), -300)):
        yield


@fault(
    "port",
    "firewall.port_blocked",
    "down",
    alternatives=("acquirer.unreachable",),
    template=LITERALS,
    seen={"tcp4 a 8443": "timeout", **OTHERS_LIVE},
)
def literals_port_dropped(store: Store) -> Iterator[None]:
    """One port is dropped, and the till knows its payment hosts by address only."""
    with store.rules("router", chain("forward", to_hosts(BOTH_A[:1], "tcp dport 8443", "drop"))):
        yield


@fault(
    "clock",
    "clock.wrong",
    "down",
    alternatives=("acquirer.certificate_invalid",),
    template=ONE_BANK,
    seen={"tls4 a 443": "verify 9 expected issuer"},
)
def one_bank_clock_behind(store: Store) -> Iterator[None]:
    """The till's clock is 400 days behind, and it knows one payment host and no time server."""
    with till_clock(store, -400):
        yield


def _no_ipv4(store: Store) -> Iterator[None]:
    """Take IPv4 from the till."""
    store.ip("till", "route del default", f"addr del {store.lan.with_mask(TILL)} dev eth0")
    store.write_resolver(store.lan.host(1, 6))
    try:
        yield
    finally:
        store.write_resolver()
        store.dress_till()


@fault(
    "path",
    "isp.down",
    "down",
    alternatives=("firewall.all_blocked",),
    template=IPV6,
    seen={"tcp6 a 443": "timeout", "ping6 gw": "ok", "addresses": "2001:db8:1::a/64"},
)
def ipv6_only_line_dead(store: Store) -> Iterator[None]:
    """The store has IPv6 only, and its line is dead."""
    for _ in _no_ipv4(store):
        yield from _dead(store)


@fault(
    "gateway",
    "lan.router_down",
    "down",
    template=IPV6,
    seen={"tcp6 a 443": "timeout|EHOSTUNREACH", "addresses": "2001:db8:1::a/64"},
)
def ipv6_only_router_dead(store: Store) -> Iterator[None]:
    """The store has IPv6 only, and its router is dead."""
    for _ in _no_ipv4(store):
        store.ip("switch", "link set router down")
        try:
            yield
        finally:
            store.ip("switch", "link set router up")


# --- odd but healthy --------------------------------------------------------------------------------------------------


@variant(seen={"addresses": r"10\.8\.0\.10/16 2001:db8:cafe::a/64"})
def big_private_subnet(store: Store) -> Iterator[None]:
    """The LAN is 10.8.0.0/16."""
    yield from _move(store, Lan("10.8.0.0/16", "2001:db8:cafe::/64"))


@variant(template=ONE_BANK)
def one_bank(_store: Store) -> Iterator[None]:
    """The till knows one payment host and nothing else."""
    yield


@variant(template=LITERALS)
def literals(_store: Store) -> Iterator[None]:
    """The till knows its payment hosts by address only."""
    yield


@variant(
    template=IPV6,
    seen={
        "addresses": "2001:db8:1::a/64",
        "tls4 a 443": ".*",
        "tls4 a 8443": ".*",
        "tls4 b 443": ".*",
        "tcp4 a2 9000": ".*",
        "tcp4 terminal 8443": ".*",
        "dns a": ".*",
        "http portal": ".*",
        "ntp time": ".*",
        "tls6 a 443": "ok",
        "tls6 b 8443": "ok",
    },
)
def ipv6_only(store: Store) -> Iterator[None]:
    """The store has IPv6 only."""
    yield from _no_ipv4(store)


@variant(seen={"route4": "default via 198.51.100.129 dev eth1", "ping4 gw": "ok"})
def second_card_leads_out(store: Store) -> Iterator[None]:
    """The terminal is on one card; everything else leaves through the other."""
    with _second_link(store, "eth1", "198.51.100.130/28", "198.51.100.129/28"):
        store.ip("till", "route replace default via 198.51.100.129 dev eth1", "route del ::/0")
        try:
            yield
        finally:
            store.ip("till", "route del default")
            store.dress_till()


@variant(('host = "192.0.2.20"', 'host = "pinpad.store.example"'))
def terminal_by_name(store: Store) -> Iterator[None]:
    """The card terminal is configured by its name on the LAN."""
    store.stop("dnsmasq")
    store.start_dnsmasq(f"--host-record=pinpad.store.example,{store.lan.host(TERMINAL)}")
    try:
        yield
    finally:
        store.stop("dnsmasq")
        store.start_dnsmasq()


@variant()
def resolver_on_the_internet(store: Store) -> Iterator[None]:
    """The till asks a resolver on the internet, not the router's."""
    store.write_resolver(address(RESOLVER))
    try:
        yield
    finally:
        store.write_resolver()


@variant(seen={"route4": "default dev eth0 .*"})
def proxy_arp(store: Store) -> Iterator[None]:
    """The till believes the whole world is on its LAN; the router answers ARP for everybody."""
    store.sh("router", "echo 1 >/proc/sys/net/ipv4/conf/lan/proxy_arp")
    store.ip("till", "route replace default dev eth0", "route del ::/0")
    try:
        yield
    finally:
        store.sh("router", "echo 0 >/proc/sys/net/ipv4/conf/lan/proxy_arp")
        store.dress_till()
