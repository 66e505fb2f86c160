"""Which faults can be had, what is each one's true cause, and what does a program on the till see of it?

A fault is a function that breaks the store, yields, and mends it; `@fault` enters it in FAULTS with what diagnosis should
say. `alternatives` are causes that look the same from the till in principle: naming any of the set first is right, but
only if the others are listed as alternatives. `seen` is what look.py sees (look -> regular expression), and what proves
that the fault is real.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from signal import SIGKILL

from tests.lab import gear, terminal
from tests.lab.store import (
    A_AUTH,
    A_BATCH,
    B_AUTH,
    B_BATCH,
    HERE,
    NOBODY,
    RESOLVER,
    ROUTER,
    SQUATTER_MAC,
    TILL,
    TIME,
    TMS,
    WAN_MILE,
    WAN_MILE6,
    Store,
    address,
)

Make = Callable[[Store], AbstractContextManager[None]]

PARTIES = {
    "power": "it",
    "power.mains_lost": "store",
    "power.battery_exhausted": "store",
    "terminal": "it",
    "terminal.unplugged": "store",
    "terminal.cable_poor": "store",
    "terminal.unreachable": "store",
    "lan": "it",
    "lan.cable_unplugged": "store",
    "lan.router_down": "store",
    "isp": "isp",
    "dns": "it",
    "firewall": "it",
    "network": "it",
    "clock": "it",
    "acquirer": "acquirer",
    "service": "vendor",
    "host": "it",
    "software": "vendor",
    "settlement": "store",
    "unclassified": "it",
}


@dataclass(frozen=True)
class Expected:
    """One cause that diagnosis should name."""

    cause: str
    alternatives: tuple[str, ...] = ()

    @property
    def party(self) -> str:
        """Who mends it."""
        return PARTIES.get(self.cause) or PARTIES[self.cause.split(".")[0]]


@dataclass(frozen=True)
class Fault:
    """One way for a store to be broken, and what is true while it is."""

    name: str
    layer: str
    title: str
    expected: tuple[Expected, ...]
    payments: tuple[str, ...]
    """The verdicts that are right; more than one where it depends on luck or on taste."""
    make: Make
    seen: Mapping[str, str] = field(default_factory=dict)
    wait: float = 1.2
    """How long one look may take."""
    changes: tuple[tuple[str, str], ...] = ()
    template: str = "till.toml"

    @property
    def cause(self) -> str:
        """The cause that stops payments first."""
        return self.expected[0].cause

    @property
    def party(self) -> str:
        """Who mends that."""
        return self.expected[0].party

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The causes that look the same."""
        return self.expected[0].alternatives


FAULTS: dict[str, Fault] = {}


def fault(
    layer: str,
    cause: str,
    *payments: str,
    seen: Mapping[str, str],
    alternatives: tuple[str, ...] = (),
    wait: float = 1.2,
    changes: tuple[tuple[str, str], ...] = (),
    template: str = "till.toml",
) -> Callable[[Callable[[Store], Iterator[None]]], Make]:
    """Enter a function in FAULTS under its own name."""

    def enter(function: Callable[[Store], Iterator[None]]) -> Make:
        make = contextlib.contextmanager(function)
        name, title = function.__name__, (function.__doc__ or "").split("\n")[0]
        expected = (Expected(cause, alternatives),)
        FAULTS[name] = Fault(name, layer, title, expected, payments, make, seen, wait, changes, template)
        return make

    return enter


def addresses(*names: str) -> tuple[str, str]:
    """Return the nftables sets of the IPv4 and IPv6 addresses of hosts."""
    return f"{{ {', '.join(map(address, names))} }}", f"{{ {', '.join(address(n, 6) for n in names)} }}"


def to_hosts(names: tuple[str, ...], match: str, verdict: str) -> str:
    """Return one rule per family for what goes to these hosts."""
    v4, v6 = addresses(*names)
    return f"ip daddr {v4} {match} {verdict}\nip6 daddr {v6} {match} {verdict}"


def chain(hook: str, rules: str, priority: int = 0) -> str:
    """Return a base chain with these rules."""
    return f"chain c {{ type filter hook {hook} priority {priority}\n{rules}\n}}"


NOT_NEIGHBOUR_DISCOVERY = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
BOTH_A = (A_AUTH, A_BATCH)
BOTH_B = (B_AUTH, B_BATCH)

# --- interface and address --------------------------------------------------------------------------------------------


@fault(
    "interface",
    "lan.cable_unplugged",
    "down",
    seen={"carrier": "0", "tcp4 a 443": "timeout|EHOSTUNREACH", "tcp4 terminal 8443": "timeout|EHOSTUNREACH"},
)
def cable_out(store: Store) -> Iterator[None]:
    """The till's network cable is out."""
    store.ip("switch", "link set till down")
    try:
        yield
    finally:
        store.ip("switch", "link set till up")
        store.dress_till()


@fault("interface", "lan.interface_off", "down", seen={"carrier": "EINVAL", "tcp4 a 443": "ENETUNREACH"})
def interface_off(store: Store) -> Iterator[None]:
    """The till's interface is switched off."""
    store.ip("till", "link set eth0 down")
    try:
        yield
    finally:
        store.dress_till()


@fault(
    "address",
    "lan.no_address",
    "down",
    seen={"carrier": "1", "addresses": r"169\.254\.33\.7/16", "tcp4 a 443": "ENETUNREACH|EHOSTUNREACH|timeout"},
)
def no_dhcp_lease(store: Store) -> Iterator[None]:
    """No DHCP server answered, and the till gave itself a 169.254 address."""
    store.ip(
        "till",
        "addr flush dev eth0 scope global",
        "addr add 169.254.33.7/16 brd + dev eth0 scope link",
    )
    try:
        yield
    finally:
        store.dress_till()


@fault("address", "lan.no_address", "down", seen={"carrier": "1", "addresses": "", "tcp4 a 443": "ENETUNREACH"})
def no_address(store: Store) -> Iterator[None]:
    """The till still waits for an address."""
    store.ip("till", "addr flush dev eth0 scope global")
    try:
        yield
    finally:
        store.dress_till()


@fault(
    "address",
    "lan.address_conflict",
    "down",
    "at_risk",
    seen={"carrier": "1", "taken till": "taken", "tcp6 a 443": "ok"},
)
def address_conflict(store: Store) -> Iterator[None]:
    """Another device on the LAN took the till's address."""
    shout = [sys.executable, "-I", "-S", str(HERE / "squatter.py"), "eth0", store.lan.host(TILL)]
    believes = f"ip neigh | grep -q {SQUATTER_MAC} && exit 0; ping -c1 -W1 {store.lan.host(TILL)} >/dev/null || true"
    try:
        store.ip("squatter", f"addr add {store.lan.with_mask(TILL)} dev eth0")
        store.ip("switch", "link set squatter up")
        store.await_link("squatter")
        store.start("squatter", store.in_room("squatter", *shout))
        store.sh("router", f"for i in $(seq 50); do {believes}; sleep 0.1; done; exit 1")
        yield
    finally:
        store.stop("squatter")
        store.ip("switch", "link set squatter down")
        store.ip("squatter", "addr flush dev eth0 scope global")


# --- gateway ----------------------------------------------------------------------------------------------------------


@fault(
    "gateway",
    "lan.no_route",
    "down",
    seen={"neighbour nobody": "FAILED|INCOMPLETE", "tcp4 a 443": "timeout|EHOSTUNREACH", "tcp4 terminal 8443": "ok"},
)
def wrong_gateway(store: Store) -> Iterator[None]:
    """The default route leads to an address where nobody lives."""
    store.ip(
        "till",
        f"route replace default via {store.lan.host(NOBODY)} dev eth0",
        f"route replace ::/0 via {store.lan.host(NOBODY, 6)} dev eth0",
    )
    try:
        yield
    finally:
        store.dress_till()


@fault(
    "gateway",
    "lan.no_route",
    "down",
    seen={"route4": "", "route6": "", "tcp4 a 443": "ENETUNREACH", "tcp4 terminal 8443": "ok"},
)
def no_default_route(store: Store) -> Iterator[None]:
    """The till has an address but no default route."""
    store.ip("till", "route del default", "route del ::/0")
    try:
        yield
    finally:
        store.dress_till()


@fault(
    "gateway",
    "lan.router_down",
    "down",
    seen={"neighbour gw": "FAILED|INCOMPLETE", "tcp4 a 443": "timeout|EHOSTUNREACH", "tcp4 terminal 8443": "ok"},
)
def router_dead(store: Store) -> Iterator[None]:
    """The router is dead; the switch in front of it lives."""
    store.ip("switch", "link set router down")
    try:
        yield
    finally:
        store.ip("switch", "link set router up")


@fault("gateway", "lan.poor", "at_risk", "down", seen={"loss gw 60": r"1[0-9]|2[0-9]|3[0-9]|4[0-5]"}, wait=4)
def loss_on_lan(store: Store) -> Iterator[None]:
    """A quarter of what the till sends is lost before the router."""
    with store.rules("switch", chain("forward", 'iifname "till" numgen random mod 100 < 25 drop'), "bridge"):
        yield


@fault("gateway", "lan.poor", "at_risk", "down", seen={"connect_ms a 443": r"[34]\d\d"}, wait=4)
def delay_on_lan(store: Store) -> Iterator[None]:
    """Every answer of the LAN, the router's too, comes 300 ms late."""
    with store.cable("switch", "till", delay=150):
        yield


# --- last mile --------------------------------------------------------------------------------------------------------


@fault(
    "path",
    "isp.down",
    "down",
    seen={"ping4 gw": "ok", "tcp4 a 443": "timeout", "tcp6 a 443": "timeout", "dns a": "timeout"},
)
def last_mile_dead(store: Store) -> Iterator[None]:
    """Nothing comes back from beyond the router, not even an error."""
    rules = chain("prerouting", f'iifname "store" {NOT_NEIGHBOUR_DISCOVERY}\niifname "store" drop', -300)
    with store.rules("mile", rules):
        yield


@fault(
    "path",
    "isp.down",
    "down",
    seen={"ping4 gw": "ok", "tcp4 a 443": "ENETUNREACH|EHOSTUNREACH", "tcp6 a 443": "ENETUNREACH|EHOSTUNREACH"},
)
def line_session_lost(store: Store) -> Iterator[None]:
    """The router lost its line to the provider, and says so."""
    store.ip("router", "route del default", "route del ::/0")
    try:
        yield
    finally:
        store.ip("router", f"route replace default via {WAN_MILE}", f"route replace ::/0 via {WAN_MILE6}")


@fault(
    "path",
    "isp.poor",
    "at_risk",
    "down",
    seen={"loss gw 20": "0", "loss anchor 60": r"1[0-9]|2[0-9]|3[0-9]|4[0-5]"},
    wait=4,
)
def loss_beyond_lan(store: Store) -> Iterator[None]:
    """A quarter of what the provider sends is lost."""
    with store.rules("line", chain("forward", 'iifname "isp" numgen random mod 100 < 25 drop'), "bridge"):
        yield


@fault("path", "isp.poor", "at_risk", "down", seen={"ping4 gw": "ok", "connect_ms a 443": r"(8|9)\d\d"}, wait=4)
def latency_800ms(store: Store) -> Iterator[None]:
    """Every answer from outside takes 800 ms."""
    with store.cable("line", "isp", delay=400):
        yield


@fault("path", "isp.poor", "at_risk", "down", seen={"ping4 gw": "ok", "ping4 a 1400": "lost"}, wait=0.6)
def line_32kbit(store: Store) -> Iterator[None]:
    """The line carries 32 kbit/s."""
    with store.cable("line", "isp", rate=32_000):
        yield


@fault(
    "path",
    "isp.captive_portal",
    "down",
    seen={"http portal": r"302 http://login\.isp\.example/", "tcp4 a 443": "timeout", "dns a": "NOERROR .*"},
)
def captive_portal(store: Store) -> Iterator[None]:
    """The provider shows its sign-in page in place of everything."""
    turn = 'chain n { type nat hook prerouting priority -100; iifname "store" tcp dport 80 redirect to :80; }'
    resolver4, resolver6 = addresses(RESOLVER)
    close = chain(
        "forward",
        f'iifname "store" ip daddr {resolver4} udp dport 53 accept\n'
        f'iifname "store" ip6 daddr {resolver6} udp dport 53 accept\niifname "store" drop',
    )
    with store.rules("mile", f"{turn}\n{close}"):
        yield


@fault(
    "path",
    "network.ipv6_broken",
    "at_risk",
    "ready",
    seen={"tcp4 a 443": "ok", "tcp6 a 443": "timeout", "tls4 a 443": "ok", "ping6 gw": "ok"},
)
def ipv6_dead(store: Store) -> Iterator[None]:
    """IPv6 goes nowhere beyond the router; IPv4 is well."""
    rules = f'iifname "store" {NOT_NEIGHBOUR_DISCOVERY}\niifname "store" meta nfproto ipv6 drop'
    with store.rules("mile", chain("prerouting", rules, -300)):
        yield


@fault(
    "path",
    "network.mtu",
    "down",
    seen={
        "tcp4 a 443": "ok",
        "tls4 a 443": "handshake timeout",
        "tls4 b 443": "handshake timeout",
        "ping4 a": "ok",
        "ping4 a 1400": "lost",
    },
)
def large_packets_vanish(store: Store) -> Iterator[None]:
    """Packets over 1200 bytes vanish on the way, without a word."""
    with store.rules("mile", chain("forward", "meta length > 1200 drop")):
        yield


# --- name -------------------------------------------------------------------------------------------------------------


@fault(
    "name",
    "dns.down",
    "down",
    seen={"dns a": "timeout", "tcp4 a 443": "ok", "ping4 gw": "ok", "resolve a": "EAI_AGAIN"},
)
def resolver_silent(store: Store) -> Iterator[None]:
    """The resolver takes questions and never answers."""
    with store.rules("router", chain("input", 'iifname "lan" meta l4proto { tcp, udp } th dport 53 drop')):
        yield


@fault("name", "dns.down", "down", seen={"dns a": "ECONNREFUSED", "tcp4 a 443": "ok", "resolve a": "EAI_AGAIN"})
def resolver_gone(store: Store) -> Iterator[None]:
    """The resolver's program is gone: port unreachable."""
    store.stop("dnsmasq", SIGKILL)
    try:
        yield
    finally:
        store.start_dnsmasq()


@fault("name", "dns.down", "down", seen={"dns a": "SERVFAIL", "tcp4 a 443": "ok", "resolve a": "EAI_AGAIN"})
def resolver_servfail(store: Store) -> Iterator[None]:
    """The resolver answers every question with SERVFAIL."""
    with store.mood(RESOLVER, mood="servfail"):
        yield


@fault("name", "dns.down", "down", seen={"dns a": "timeout", "tcp4 a 443": "ok"})
def resolver_without_upstream(store: Store) -> Iterator[None]:
    """The router's resolver lives, but the one it asks is silent."""
    with store.mood(RESOLVER, mood="silent"):
        yield


@fault(
    "name",
    "dns.name_missing",
    "down",
    seen={"dns a": "NXDOMAIN", "dns b": "NOERROR .*", "resolve a": "EAI_NONAME", "tcp4 a 443": "ok"},
)
def acquirer_name_missing(store: Store) -> Iterator[None]:
    """The acquirer's names, and only they, do not exist any more."""
    with store.mood(RESOLVER, mood=f"missing:{A_AUTH},{A_BATCH}"):
        yield


@fault(
    "name",
    "dns.tampered",
    "down",
    seen={"dns a": r"NOERROR 192\.0\.2\.1", "dns b": r"NOERROR 192\.0\.2\.1", "tcp4 a 443": "ok"},
)
def every_name_is_the_router(store: Store) -> Iterator[None]:
    """Every name is answered with the router's address."""
    with store.mood(RESOLVER, mood=f"all:{store.lan.host(ROUTER)}"):
        yield


# --- port -------------------------------------------------------------------------------------------------------------

ONE_PORT = ((A_AUTH,), "tcp dport 8443")
OTHERS_LIVE = {"tls4 a 443": "ok", "tls4 b 443": "ok", "ping4 a": "ok"}


@fault(
    "port",
    "firewall.port_blocked",
    "down",
    alternatives=("acquirer.unreachable",),
    seen={"tcp4 a 8443": "timeout", "tcp6 a 8443": "timeout", **OTHERS_LIVE},
)
def port_dropped(store: Store) -> Iterator[None]:
    """The store's firewall silently drops one port of one payment host."""
    with store.rules("router", chain("forward", to_hosts(*ONE_PORT, "drop"))):
        yield


@fault(
    "port",
    "firewall.port_blocked",
    "down",
    alternatives=("acquirer.refusing",),
    seen={"tcp4 a 8443": "ECONNREFUSED", "tcp6 a 8443": "ECONNREFUSED", **OTHERS_LIVE},
)
def port_reset(store: Store) -> Iterator[None]:
    """The store's firewall resets one port of one payment host."""
    with store.rules("router", chain("forward", to_hosts(*ONE_PORT, "reject with tcp reset"))):
        yield


@fault(
    "port",
    "firewall.port_blocked",
    "down",
    seen={"tcp4 a 8443": "EHOSTUNREACH", "tcp6 a 8443": "EACCES", **OTHERS_LIVE},
)
def port_prohibited(store: Store) -> Iterator[None]:
    """The store's firewall forbids one port of one payment host, and says so by ICMP."""
    with store.rules("router", chain("forward", to_hosts(*ONE_PORT, "reject with icmpx type admin-prohibited"))):
        yield


@fault(
    "port",
    "firewall.port_blocked",
    "down",
    alternatives=("acquirer.refusing",),
    seen={"tcp4 a 8443": "ECONNREFUSED", "tcp6 a 8443": "ECONNREFUSED", **OTHERS_LIVE},
)
def port_unreachable(store: Store) -> Iterator[None]:
    """The store's firewall answers one port of one payment host with ICMP port unreachable."""
    with store.rules("router", chain("forward", to_hosts(*ONE_PORT, "reject with icmpx type port-unreachable"))):
        yield


@fault(
    "port",
    "firewall.all_blocked",
    "down",
    seen={
        "tcp4 a 443": "timeout",
        "tcp4 anchor 443": "timeout",
        "tcp6 b 443": "timeout",
        "ping4 a": "ok",
        "dns a": "NOERROR .*",
    },
)
def all_tcp_dropped(store: Store) -> Iterator[None]:
    """No TCP gets out of the store; ping and DNS do."""
    with store.rules("router", chain("forward", 'iifname "lan" meta l4proto tcp drop')):
        yield


@fault(
    "port",
    "firewall.local_rule",
    "down",
    seen={
        "tcp4 a 443": "timeout",
        "tcp6 a 443": "timeout",
        "udp a": "EPERM",
        "ping4 a": "ok",
        "tcp4 terminal 8443": "timeout",
    },
)
def own_firewall_drops(store: Store) -> Iterator[None]:
    """A rule of this PC's own firewall drops the payment ports."""
    with store.rules("till", chain("output", "meta l4proto { tcp, udp } th dport { 443, 8443, 9000 } drop")):
        yield


@fault(
    "port",
    "firewall.local_rule",
    "down",
    seen={"tcp4 a 443": "ECONNREFUSED", "tcp6 a 443": "ECONNREFUSED", "ping4 a": "ok", "http tms": "200"},
)
def own_firewall_rejects(store: Store) -> Iterator[None]:
    """A rule of this PC's own firewall resets the payment ports."""
    with store.rules("till", chain("output", "tcp dport { 443, 8443, 9000 } reject with tcp reset")):
        yield


# --- TLS and clock ----------------------------------------------------------------------------------------------------


@fault(
    "tls",
    "firewall.tls_inspection",
    "down",
    seen={
        "tls4 a 443": "verify (19|20|21) Store Security Gateway CA",
        "tls6 b 443": "verify (19|20|21) Store Security Gateway CA",
        "tcp4 a 9000": "ok",
        "http tms": "200",
    },
)
def tls_inspection(store: Store) -> Iterator[None]:
    """The store's firewall opens every TLS connection and signs with a certificate of its own."""
    turn = 'iifname "lan" tcp dport { 443, 8443 } redirect to :4443'
    with store.rules("router", f"chain n {{ type nat hook prerouting priority -100; {turn}; }}"):
        yield


@contextlib.contextmanager
def a_shows(store: Store, certificate: str) -> Iterator[None]:
    """Acquirer A shows this certificate on both hosts."""
    with store.mood(*BOTH_A, mood=f"cert:{certificate}"):
        yield


@fault(
    "tls", "acquirer.certificate_expired", "down", seen={"tls4 a 443": "verify 10 expected issuer", "tls4 b 443": "ok"}
)
def certificate_expired(store: Store) -> Iterator[None]:
    """Acquirer A's certificate has expired."""
    with a_shows(store, "expired"):
        yield


@fault("tls", "acquirer.certificate_expired", "at_risk", "ready", seen={"tls4 a 443": "ok", "tls4 b 443": "ok"})
def certificate_expiring(store: Store) -> Iterator[None]:
    """Acquirer A's certificate expires in five days; it is still good."""
    with a_shows(store, "expiring"):
        yield


@fault(
    "tls", "acquirer.certificate_invalid", "down", seen={"tls4 a 443": "verify 9 expected issuer", "tls4 b 443": "ok"}
)
def certificate_early(store: Store) -> Iterator[None]:
    """Acquirer A's certificate is not valid yet."""
    with a_shows(store, "early"):
        yield


@fault(
    "tls", "acquirer.certificate_invalid", "down", seen={"tls4 a 443": "verify 62 expected issuer", "tls4 b 443": "ok"}
)
def certificate_for_another(store: Store) -> Iterator[None]:
    """Acquirer A's certificate is for another name."""
    with a_shows(store, "other-name"):
        yield


@fault(
    "tls",
    "acquirer.certificate_invalid",
    "down",
    alternatives=("firewall.tls_inspection",),
    seen={"tls4 a 443": "verify (19|20|21) Somebody Else's CA", "tls4 b 443": "ok"},
)
def certificate_of_unknown_ca(store: Store) -> Iterator[None]:
    """Acquirer A's certificate is signed by an authority that the till does not know."""
    with a_shows(store, "stranger"):
        yield


@contextlib.contextmanager
def till_clock(store: Store, days: float) -> Iterator[None]:
    """The till's wall clock is wrong by so many days; what runs in the till inherits it."""
    skew = store.run / "skew"
    skew.write_text(str(round(days * 86400)))
    before = store.till_env
    store.till_env = {**before, "LD_PRELOAD": str(gear.skewclock(store)), "POSAGENT_LAB_SKEW": str(skew)}
    try:
        yield
    finally:
        store.till_env = before


@fault(
    "clock",
    "clock.wrong",
    "down",
    seen={
        "tls4 a 443": "verify 9 expected issuer",
        "tls4 b 443": "verify 9 expected issuer",
        "ntp time": "stratum 2 offset [1-9]\\d{6,}",
    },
)
def clock_behind(store: Store) -> Iterator[None]:
    """The till's clock is 400 days behind."""
    with till_clock(store, -400):
        yield


@fault(
    "clock",
    "clock.wrong",
    "down",
    seen={
        "tls4 a 443": "verify 10 expected issuer",
        "tls4 b 443": "verify 10 expected issuer",
        "ntp time": "stratum 2 offset -[1-9]\\d{6,}",
    },
)
def clock_ahead(store: Store) -> Iterator[None]:
    """The till's clock is two years ahead."""
    with till_clock(store, 730):
        yield


@fault("clock", "clock.wrong", "down", "at_risk", seen={"tls4 a 443": "ok", "ntp time": "stratum 2 offset 600"})
def clock_ten_minutes_behind(store: Store) -> Iterator[None]:
    """The till's clock is ten minutes behind: every certificate is good, every transaction is stamped wrong."""
    with till_clock(store, -600 / 86400):
        yield


@fault(
    "clock",
    "clock.wrong",
    "at_risk",
    "ready",
    "down",
    alternatives=("unclassified",),
    seen={"tls4 a 443": "ok", "tls4 b 443": "ok", "ntp time": "stratum 2 offset 6\\d{7}"},
)
def time_server_lies(store: Store) -> Iterator[None]:
    """The time server is two years ahead; the certificates prove the till's own clock right."""
    with store.mood(TIME, mood="offset:63072000"):
        yield


# --- host -------------------------------------------------------------------------------------------------------------


@fault(
    "host",
    "acquirer.unreachable",
    "down",
    alternatives=("firewall.port_blocked",),
    seen={"tcp4 a 443": "timeout", "tcp4 a2 9000": "timeout", "ping4 a": "lost", "tls4 b 443": "ok"},
)
def acquirer_dead(store: Store) -> Iterator[None]:
    """Acquirer A's hosts are dead, to ping as well."""
    with store.rules("internet", chain("prerouting", to_hosts(BOTH_A, "", "drop"), -300)):
        yield


@fault(
    "host",
    "acquirer.refusing",
    "down",
    alternatives=("firewall.port_blocked",),
    seen={"tcp4 a 443": "ECONNREFUSED", "tcp4 a2 9000": "ECONNREFUSED", "ping4 a": "ok", "tls4 b 443": "ok"},
)
def acquirer_resets(store: Store) -> Iterator[None]:
    """Acquirer A's hosts live, but reset every connection."""
    with store.rules("internet", chain("input", to_hosts(BOTH_A, "meta l4proto tcp", "reject with tcp reset"))):
        yield


@fault(
    "host",
    "acquirer.silent",
    "down",
    seen={"tcp4 a 443": "ok", "tls4 a 443": "handshake timeout", "tls4 b 443": "ok", "ping4 a 1400": "ok"},
)
def acquirer_stalls(store: Store) -> Iterator[None]:
    """Acquirer A accepts connections and then says nothing."""
    with store.mood(*BOTH_A, mood="stall"):
        yield


@fault(
    "host",
    "acquirer.silent",
    "down",
    seen={"tcp4 a 443": "ok", "tls4 a 443": "handshake timeout", "tls4 b 443": "ok", "ping4 a 1400": "ok"},
)
def handshake_stalls(store: Store) -> Iterator[None]:
    """Acquirer A begins the TLS handshake and falls silent in the middle."""
    with store.mood(*BOTH_A, mood="half"):
        yield


@fault(
    "host",
    "acquirer.unreachable",
    "down",
    alternatives=("firewall.port_blocked",),
    seen={"tcp4 b 443": "timeout", "ping4 b": "lost", "tls4 a 443": "ok"},
)
def other_acquirer_dead(store: Store) -> Iterator[None]:
    """Acquirer B's hosts are dead; A's live."""
    with store.rules("internet", chain("prerouting", to_hosts(BOTH_B, "", "drop"), -300)):
        yield


@fault("host", "service.unreachable", "at_risk", seen={"http tms": "timeout", "tls4 a 443": "ok"})
def service_dead(store: Store) -> Iterator[None]:
    """The terminal vendor's management server is dead."""
    with store.rules("internet", chain("prerouting", to_hosts((TMS,), "", "drop"), -300)):
        yield


@fault("host", "service.error", "at_risk", seen={"http tms": "500", "tls4 a 443": "ok"})
def service_error(store: Store) -> Iterator[None]:
    """The terminal vendor's management server answers with an error."""
    with store.mood(TMS, mood="status:500"):
        yield


# --- device and power -------------------------------------------------------------------------------------------------


@fault(
    "device",
    "terminal.unreachable",
    "down",
    seen={"tcp4 terminal 8443": "timeout|EHOSTUNREACH", "neighbour terminal": "FAILED|INCOMPLETE", "tls4 a 443": "ok"},
)
def terminal_off(store: Store) -> Iterator[None]:
    """The card terminal on the LAN is off."""
    store.ip("switch", "link set terminal down")
    try:
        yield
    finally:
        store.ip("switch", "link set terminal up")


@fault(
    "device",
    "terminal.unreachable",
    "down",
    seen={"tcp4 terminal 8443": "ECONNREFUSED", "ping4 terminal": "ok", "tls4 a 443": "ok"},
)
def terminal_refuses(store: Store) -> Iterator[None]:
    """The card terminal is on the LAN, but its payment program does not listen."""
    with store.rules("terminal", chain("input", "meta l4proto tcp reject with tcp reset")):
        yield


USB = "run cat /sys/bus/usb/devices/1-1/idVendor"


@fault(
    "device",
    "terminal.unplugged",
    "down",
    seen={USB: r"(?s) ?\[1\].*", "run ls /dev/ttyACM0": r"(?s) ?\[2\].*", "tls4 a 443": "ok"},
)
def usb_gone(store: Store) -> Iterator[None]:
    """The terminal's USB plug is out."""
    with terminal.replugged(store, present=False):
        yield


@fault(
    "device",
    "terminal.cable_poor",
    "down",
    "at_risk",
    seen={USB: "0b00", "run cat /sys/bus/usb/devices/1-1/devnum": r"\d+"},
)
def usb_reenumerating(store: Store) -> Iterator[None]:
    """The terminal drops off the USB and comes back, twice a second."""
    with terminal.reenumerating(store):
        yield


@fault("device", "terminal.cable_poor", "at_risk", "down", seen={"run cat /sys/bus/usb/devices/1-1/speed": "12"})
def usb_slow(store: Store) -> Iterator[None]:
    """The terminal came up at 12 Mbit/s in place of 480."""
    with terminal.replugged(store, speed="12"):
        yield


@fault("device", "terminal.driver_missing", "down", seen={USB: "0b00", "run ls /dev/ttyACM0": r"(?s) ?\[2\].*"})
def usb_no_driver(store: Store) -> Iterator[None]:
    """The terminal is on the USB, but no driver took it."""
    with terminal.replugged(store, driven=False):
        yield


@fault("device", "terminal.autosuspend", "at_risk", seen={"run cat /sys/bus/usb/devices/1-1/power/control": "auto"})
def usb_autosuspend(store: Store) -> Iterator[None]:
    """The kernel may put the terminal to sleep."""
    with terminal.replugged(store, control="auto"):
        yield


@fault("device", "terminal.port_taken", "down", "at_risk", seen={"run pgrep -x ModemManager": r"\d+"})
def port_taken_by_modemmanager(store: Store) -> Iterator[None]:
    """ModemManager opened the terminal's port and reads its answers."""
    with terminal.taken(store):
        yield


@fault(
    "device", "terminal.port_denied", "down", seen={"run stat -c %a /dev/ttyACM0": "600", "run pgrep -x {pos}": r"\d+"}
)
def port_denied(store: Store) -> Iterator[None]:
    """The POS software runs as a user who may not open the terminal's port."""
    port = "/dev/ttyACM0"
    before = store.run_in_till(["stat", "-c", "%a", port]).stdout.strip()
    store.stop("pos", SIGKILL)
    try:
        store.run_in_till(["chmod", "600", port]).check_returncode()
        store.start_pos(user="65534")
        yield
    finally:
        store.run_in_till(["chmod", before, port]).check_returncode()
        store.restart_pos()


def ups(state: str, cause: str, *payments: str, title: str, seen: str) -> None:
    """Enter one state of the UPS."""

    @contextlib.contextmanager
    def make(store: Store) -> Iterator[None]:
        with gear.ups_state(store, state):
            yield

    name = f"ups_{state}"
    FAULTS[name] = Fault(
        name, "power", title, (Expected(cause),), payments, make, {gear.UPSC: seen, "tls4 a 443": "ok"}
    )


ups(
    "on_battery",
    "power.mains_lost",
    "at_risk",
    title="The mains are lost; the UPS carries the till.",
    seen=r"OB DISCHRG",
)
ups(
    "low", "power.battery_exhausted", "at_risk", "down", title="The UPS battery is nearly empty.", seen=r"OB LB DISCHRG"
)
ups("worn", "power.ups_battery_worn", "at_risk", title="The UPS asks for a new battery.", seen=r"OL RB")
ups("overload", "power.ups_overloaded", "at_risk", title="The UPS carries more than it can.", seen=r"OL OVER")
ups(
    "dead",
    "power.ups_unmonitored",
    "at_risk",
    title="The UPS is well, but its monitor upsd is gone.",
    seen=r"(?s).*\[1\].*",
)
ups(
    "stale",
    "power.ups_unmonitored",
    "at_risk",
    title="upsd lives, but its driver no longer speaks.",
    seen=r"(?s).*\[1\].*",
)


# --- software and settlement ------------------------------------------------------------------------------------------


@fault("software", "software.not_running", "down", seen={"tls4 a 443": "ok"})
def pos_gone(store: Store) -> Iterator[None]:
    """The POS software is not running."""
    store.stop("pos", SIGKILL)
    try:
        yield
    finally:
        store.start_pos()


@fault("software", "software.outdated", "at_risk", seen={"tls4 a 443": "ok"})
def pos_outdated(store: Store) -> Iterator[None]:
    """The POS software is older than the acquirer requires."""
    version = store.run / "pos-version"
    version.write_text("4.1.9\n")
    try:
        yield
    finally:
        version.write_text("4.2.0\n")


@fault(
    "software",
    "host.disk_full",
    "at_risk",
    "down",
    seen={"run df --output=pcent {run}/disk": r"Use% 100%", "tls4 a 443": "ok"},
)
def disk_full(store: Store) -> Iterator[None]:
    """The disk that sales are recorded on is full."""
    filler = store.root / str(store.run).lstrip("/") / "disk" / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass
    try:
        yield
    finally:
        filler.unlink()


@fault(
    "software",
    "host.disk_read_only",
    "at_risk",
    "down",
    seen={"run touch {run}/disk/x": r"(?s) ?\[1\].*", "tls4 a 443": "ok"},
)
def disk_read_only(store: Store) -> Iterator[None]:
    """The disk that sales are recorded on became read-only."""
    disk = f"{store.run}/disk"
    store.run_in_till(["mount", "-o", "remount,ro", disk]).check_returncode()
    try:
        yield
    finally:
        store.run_in_till(["mount", "-o", "remount,rw", disk]).check_returncode()


@contextlib.contextmanager
def books(store: Store, **entries: object) -> Iterator[None]:
    """The POS software recorded this of its last settlement."""
    path = store.run / "settlement.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), **entries}))
    try:
        yield
    finally:
        path.write_text(before)


@fault("settlement", "settlement.failed", "ready", "at_risk", seen={"tls4 a 443": "ok"})
def settlement_failed(store: Store) -> Iterator[None]:
    """The last batch close failed."""
    with books(store, status="failed"):
        yield


@fault("settlement", "settlement.overdue", "ready", "at_risk", seen={"tls4 a 443": "ok"})
def settlement_overdue(store: Store) -> Iterator[None]:
    """No batch was closed for four days."""
    with books(store, time=gear.moment(-4)):
        yield


@fault("settlement", "settlement.unsent", "ready", "at_risk", seen={"tls4 a 443": "ok"})
def settlement_unsent(store: Store) -> Iterator[None]:
    """Forty transactions wait to be sent."""
    with books(store, pending=40):
        yield


# --- two at once ------------------------------------------------------------------------------------------------------


def together(first: str, second: str) -> None:
    """Enter two independent faults at the same time; both causes are to be named, the one that stops payments first."""
    pair = (FAULTS[first], FAULTS[second])

    @contextlib.contextmanager
    def make(store: Store) -> Iterator[None]:
        with ExitStack() as both:
            for one in pair:
                both.enter_context(one.make(store))
            yield

    name = f"{first}+{second}"
    payments = pair[0].payments if "down" in pair[0].payments else pair[1].payments
    expected = (*pair[0].expected, *pair[1].expected)
    title = f"{pair[0].title} {pair[1].title}"
    wrong = [{look: rule for look, rule in one.seen.items() if rule not in FINE} for one in pair]
    FAULTS[name] = Fault(
        name, "two", title, expected, payments, make, {**wrong[1], **wrong[0]}, max(one.wait for one in pair)
    )


FINE = ("ok", "200", "NOERROR .*")
"""What one fault leaves well, the other may break."""
SINGLE = tuple(FAULTS)
together("certificate_expired", "ups_on_battery")
together("port_dropped", "pos_gone")
together("last_mile_dead", "disk_full")
together("resolver_gone", "terminal_off")
together("acquirer_dead", "ups_worn")
together("cable_out", "ups_on_battery")
together("certificate_of_unknown_ca", "service_error")
together("certificate_for_another", "other_acquirer_dead")
together("acquirer_resets", "settlement_unsent")
together("all_tcp_dropped", "pos_gone")
together("handshake_stalls", "service_dead")
together("router_dead", "ups_low")
together("captive_portal", "terminal_refuses")
together("acquirer_stalls", "ipv6_dead")
together("usb_gone", "acquirer_dead")
together("usb_no_driver", "resolver_silent")
