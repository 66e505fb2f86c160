"""interface, gateway and ping against the kernel's own network: a till, a switch and a router in namespaces.

Every test has a LAN of its own, so that nothing one kernel remembers (ARP, error limits) reaches the next test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.lab

V4, V6, ROUTER6 = "192.0.2.1", "2001:db8:1::1", "fe80::1"
FAR, FAR6 = "203.0.113.9", "2001:db8:9::9"
NOBODY = 65534

LOOK = """
import json, os, sys, time
import encodings.idna, ping3  # before the rights to read root's files are given up
from probes import registry
from probes.host import Host
from probes.model import CannotAnswer
asked = json.load(sys.stdin)
kind = registry.find(asked["kind"])
if asked["user"]:
    os.setgroups([]); os.setgid(asked["user"]); os.setuid(asked["user"])
began = time.monotonic()
settings = kind.settings(kind=asked["kind"], **asked["settings"])
try:
    seen = kind.judge(settings, kind.read(settings, Host(ends=began + asked["timeout"])), asked["memory"])
    told = {key: getattr(seen, key) for key in ("status", "reason", "measurements", "evidence", "memory")}
except CannotAnswer as error:
    told = {"status": error.status, "reason": error.reason, "detail": str(error), "memory": {}}
json.dump(told | {"seconds": time.monotonic() - began}, sys.stdout)
"""


class Lan:
    """till:eth0 - switch:till, bridge br0, switch:router - router:eth0; the world beyond hangs on the router."""

    def __init__(self) -> None:
        self.till, self.switch, self.router = (
            f"posagent-{os.getpid()}-{name}" for name in ("till", "switch", "router")
        )
        self.memory: dict[str, Any] = {}

    def __enter__(self) -> Lan:
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def build(self) -> None:
        for name in (self.till, self.switch, self.router):
            run("ip", "netns", "add", name)
        for name in (self.till, self.switch, self.router):
            for key, value in SYSCTL.items():
                run("ip", "netns", "exec", name, "sysctl", "-qw", f"{key}={value}")
        run(
            "ip",
            "netns",
            "exec",
            self.router,
            "sysctl",
            "-qw",
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
        )
        self.ip(
            self.switch,
            "link add br0 type bridge mcast_snooping 0 forward_delay 0",
            f"link add till type veth peer name eth0 netns {self.till}",
            f"link add router type veth peer name eth0 netns {self.router}",
            "link set till master br0 up",
            "link set router master br0 up",
            "link set br0 up",
        )
        self.ip(
            self.router,
            "link set lo up",
            "link add world type bridge",
            "link set world up",
            "addr add 203.0.113.1/24 dev world",
            "addr add 2001:db8:9::1/64 dev world nodad",
            "link set eth0 address 02:00:5e:00:53:01 addrgenmode none",
            "link set eth0 up",
            f"addr add {V4}/24 dev eth0",
            f"addr add {V6}/64 dev eth0 nodad",
            f"addr add {ROUTER6}/64 dev eth0 nodad",
        )
        self.ip(self.till, "link set lo up", "link set eth0 up")
        self.dress()

    def dress(self) -> None:
        """The till's addresses and routes, as a lease would give them."""
        self.ip(
            self.till,
            "addr replace 192.0.2.10/24 dev eth0",
            "addr replace 2001:db8:1::10/64 dev eth0 nodad",
            f"route replace default via {V4}",
            f"-6 route replace default via {ROUTER6} dev eth0",
        )

    def __exit__(self, *_: object) -> None:
        for name in (self.till, self.switch, self.router):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30, check=False)

    def ip(self, where: str, *lines: str) -> None:
        for line in lines:
            run("ip", "-n", where, *line.split())

    def nft(self, where: str, hook: str, *rules: str) -> None:
        lines = "\n".join((f"type filter hook {hook} priority 0;", *rules))
        chain = f"table inet lab {{\nchain {hook} {{\n{lines}\n}}\n}}\n"
        run("ip", "netns", "exec", where, "nft", "-f", "-", text=chain)

    def look(self, kind: str, user: int = 0, timeout: float = 3.0, **settings: object) -> dict[str, Any]:
        """One look from the till in a process of its own; what the kind remembers is carried to the next look."""
        asked = {"kind": kind, "user": user, "timeout": timeout, "settings": settings, "memory": self.memory}
        child = ["ip", "netns", "exec", self.till, sys.executable, "-c", LOOK]
        told = json.loads(run(*child, text=json.dumps(asked)))
        self.memory = told["memory"]
        assert told["seconds"] < timeout + 0.1
        return dict(told)

    def reason(self, kind: str, **settings: Any) -> str:
        return str(self.look(kind, **settings)["reason"])


SYSCTL = {
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv6.icmp.ratelimit": "0",
    "net.ipv4.ping_group_range": "1 0",
    "net.ipv6.conf.default.accept_dad": "0",
}


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command[:8])}: {done.stderr}{done.stdout}"
    return done.stdout


@pytest.fixture
def lan() -> Iterator[Lan]:
    with Lan() as built:
        yield built


# ---------------------------------------------------------------- a healthy LAN


def test_on_a_healthy_lan_all_three_are_well(lan: Lan) -> None:
    interface = lan.look("interface")
    assert (interface["reason"], interface["measurements"]["name"]) == ("ok", "eth0")
    assert {"192.0.2.10/24", "2001:db8:1::10/64"} <= set(interface["measurements"]["addresses"])
    lan.memory = {}
    gateway = lan.look("gateway")
    assert gateway["reason"] == "ok"
    assert gateway["measurements"]["answering"] == [V4, f"{ROUTER6}%eth0"]
    assert gateway["measurements"]["neighbour"] in ("reachable", "delay", "stale")
    assert gateway["seconds"] < 1.2
    lan.memory = {}
    for address in (V4, V6, f"{ROUTER6}%eth0"):
        ping = lan.look("ping", host=address, count=2)
        assert (ping["reason"], ping["measurements"]["received"]) == ("ok", 2)


# ---------------------------------------------------------------- interface


def test_a_pulled_cable_is_no_carrier_and_a_pull_is_remembered(lan: Lan) -> None:
    assert lan.reason("interface", name="eth0") == "ok"
    lan.ip(lan.switch, "link set till down")
    pulled = lan.look("interface", name="eth0")
    assert (pulled["status"], pulled["reason"]) == ("fail", "interface.no_carrier")
    assert pulled["measurements"]["carrier"] is False
    lan.ip(lan.switch, "link set till up")
    back = lan.look("interface", name="eth0")
    assert (back["reason"], back["measurements"]["carrier_losses"]) == ("ok", 1)


def test_a_link_that_comes_and_goes_is_flapping(lan: Lan) -> None:
    lan.look("interface", name="eth0")
    for _ in range(3):
        lan.ip(lan.switch, "link set till down")
        lan.ip(lan.switch, "link set till up")
        settle(lan)
    seen = lan.look("interface", name="eth0")
    assert (seen["status"], seen["reason"]) == ("warn", "interface.flapping")
    assert seen["measurements"]["carrier_losses"] == 3


def settle(lan: Lan) -> None:
    """The kernel takes a moment to notice a carrier, and joins what follows too quickly."""
    for _ in range(40):
        if "LOWER_UP" in run("ip", "-n", lan.till, "link", "show", "eth0"):
            return
        time.sleep(0.05)


def test_an_interface_switched_off_and_one_that_does_not_exist(lan: Lan) -> None:
    lan.ip(lan.till, "link set eth0 down")
    off = lan.look("interface", name="eth0")
    assert off["reason"] == "interface.off"
    assert "carrier" not in off["measurements"]
    assert lan.reason("interface") == "interface.off", "found without a route, too"
    assert lan.reason("interface", name="eth7") == "interface.absent"


def test_without_a_lease_there_is_no_address_or_a_self_assigned_one(lan: Lan) -> None:
    lan.ip(lan.till, "addr flush dev eth0")
    assert lan.reason("interface", name="eth0") == "interface.no_address"
    lan.ip(lan.till, "addr add fe80::10/64 dev eth0 nodad", "addr add 169.254.7.7/16 dev eth0")
    assert lan.reason("interface", name="eth0") == "interface.self_assigned"


def test_a_port_of_a_bridge_needs_no_address_of_its_own(lan: Lan) -> None:
    lan.ip(lan.till, "addr flush dev eth0", "link add br9 type bridge", "link set eth0 master br9", "link set br9 up")
    assert lan.reason("interface", name="eth0") == "ok"


HOLD = """
import fcntl, struct, sys
tun = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun9", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
print("held", flush=True)
sys.stdin.read()
"""


def test_a_tunnel_is_well_without_knowing_its_state_and_dead_without_its_program(lan: Lan) -> None:
    lan.ip(lan.till, "tuntap add tun9 mode tun", "link set tun9 up", "addr add 10.9.0.2/24 dev tun9")
    assert lan.reason("interface", name="tun9") == "interface.no_carrier", "no program holds its other end"
    command = ["ip", "netns", "exec", lan.till, sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as vpn:
        assert vpn.stdout is not None
        assert vpn.stdout.readline() == "held\n"
        lan.memory = {}
        seen = lan.look("interface", name="tun9")
        vpn.communicate("")
    assert seen["reason"] == "ok"
    assert "speed_mbit" not in seen["measurements"]


def test_ten_megabits_are_slow_where_the_kernel_tells_the_speed(lan: Lan) -> None:
    assert lan.reason("interface", name="eth0", min_speed=10_000) == "ok"
    assert lan.reason("interface", name="eth0", min_speed=25_000) == "interface.slow"


# ---------------------------------------------------------------- gateway


def test_no_default_route_and_one_that_leads_nowhere(lan: Lan) -> None:
    lan.ip(lan.till, "route del default", "-6 route del default")
    assert lan.reason("gateway") == "gateway.no_route"
    lan.ip(lan.till, "route add blackhole default", "-6 route add unreachable default")
    seen = lan.look("gateway")
    assert seen["reason"] == "gateway.no_route"
    assert "leads nowhere" in " ".join(seen["evidence"])


def test_a_dead_router_behind_a_live_switch(lan: Lan) -> None:
    lan.ip(lan.switch, "link set router down")
    assert lan.reason("interface", name="eth0") == "ok"
    lan.memory = {}
    dead = lan.look("gateway")
    assert (dead["status"], dead["reason"]) == ("fail", "gateway.no_reply")
    assert dead["measurements"]["neighbour"] in ("incomplete", "failed")


def test_a_router_that_dies_after_it_was_seen_alive(lan: Lan) -> None:
    """ARP remembers it for half a minute, but it had answered pings."""
    assert lan.reason("gateway") == "ok"
    lan.ip(lan.switch, "link set router down")
    dead = lan.look("gateway")
    assert (dead["status"], dead["reason"]) == ("fail", "gateway.no_reply")
    lan.ip(lan.switch, "link set router up")
    assert lan.reason("gateway") == "ok"


def test_a_router_that_ignores_pings_but_answers_arp_is_well(lan: Lan) -> None:
    lan.nft(lan.router, "input", "icmp type echo-request drop", "icmpv6 type echo-request drop")
    deaf = lan.look("gateway")
    assert deaf["reason"] == "ok"
    assert deaf["measurements"]["answers_ping"] is False
    assert deaf["measurements"]["answering"] == []
    assert lan.reason("gateway") == "ok", "and stays so, though ARP is not asked anew"


def test_a_known_deaf_router_that_dies_is_found_once_arp_has_given_it_up(lan: Lan) -> None:
    lan.nft(lan.router, "input", "icmp type echo-request drop")
    run("ip", "netns", "exec", lan.till, "sysctl", "-qw", *FAST_NEIGHBOURS)
    assert lan.reason("gateway") == "ok"
    lan.ip(lan.switch, "link set router down")
    seen = [lan.look("gateway") for _ in range(3)]
    assert (seen[-1]["status"], seen[-1]["reason"]) == ("fail", "gateway.no_reply")


FAST_NEIGHBOURS = (
    "net.ipv4.neigh.eth0.base_reachable_time_ms=1000",
    "net.ipv4.neigh.eth0.delay_first_probe_time=1",
    "net.ipv4.neigh.eth0.retrans_time_ms=200",
)


def test_a_dead_ipv6_gateway_beside_a_good_ipv4_one_is_evidence(lan: Lan) -> None:
    lan.ip(lan.till, "-6 route replace default via fe80::dead dev eth0")
    seen = lan.look("gateway")
    assert seen["reason"] == "ok"
    assert seen["measurements"]["answering"] == [V4]
    assert any("fe80::dead%eth0: 0 of 5 answered" in line for line in seen["evidence"])


def test_a_wrong_ipv4_gateway_beside_a_good_ipv6_one_fails(lan: Lan) -> None:
    lan.ip(lan.till, "route replace default via 192.0.2.254")
    seen = lan.look("gateway")
    assert (seen["status"], seen["reason"]) == ("fail", "gateway.no_reply")
    assert seen["measurements"]["answering"] == [f"{ROUTER6}%eth0"]


def test_ipv6_alone_is_enough(lan: Lan) -> None:
    lan.ip(lan.till, "addr del 192.0.2.10/24 dev eth0")
    seen = lan.look("gateway")
    assert (seen["reason"], seen["measurements"]["gateway"]) == ("ok", f"{ROUTER6}%eth0")


def test_the_route_in_use_is_judged_and_the_waiting_one_is_told(lan: Lan) -> None:
    lan.ip(lan.till, "route add default via 192.0.2.254 metric 600")
    seen = lan.look("gateway")
    assert seen["reason"] == "ok"
    assert any("192.0.2.254 on eth0, metric 600" in line for line in seen["evidence"])


def test_a_default_route_without_gateway_is_a_point_to_point_line(lan: Lan) -> None:
    lan.ip(lan.till, "-6 route del default", "route replace default dev eth0")
    assert lan.reason("gateway") == "ok"


def test_a_quarter_of_the_packets_lost_is_found_within_a_few_looks(lan: Lan) -> None:
    lan.nft(lan.router, "input", "icmp type echo-request numgen random mod 100 < 25 drop")
    seen = [lan.look("gateway", count=20, max_loss=10, timeout=6.0) for _ in range(3)]
    assert "gateway.loss" in [each["reason"] for each in seen]
    assert 8 < seen[-1]["measurements"]["recent_loss_percent"] < 45


# ---------------------------------------------------------------- ping


def test_silence_is_told_from_unreachable(lan: Lan) -> None:
    lan.nft(lan.router, "forward", f"ip daddr {FAR} drop", f"ip6 daddr {FAR6} drop")
    for address in (FAR, FAR6):
        silent = lan.look("ping", host=address, count=3)
        assert (silent["status"], silent["reason"]) == ("fail", "ping.no_reply")
        assert silent["seconds"] > 2.5, "all the time there is was waited"


def test_a_router_that_prohibits_by_icmp_is_heard_at_once(lan: Lan) -> None:
    lan.nft(lan.router, "forward", "reject with icmpx type admin-prohibited")
    for address, teller in ((FAR, V4), (FAR6, V6)):
        seen = lan.look("ping", host=address)
        assert (seen["status"], seen["reason"]) == ("fail", "ping.unreachable")
        assert f"administratively prohibited, says {teller}" in " ".join(seen["evidence"])
        assert seen["seconds"] < 1.5


@pytest.mark.parametrize("kind", ["blackhole", "prohibit", "unreachable"])
def test_a_route_of_this_pc_that_leads_nowhere_is_unreachable(kind: str, lan: Lan) -> None:
    lan.ip(lan.till, f"route add {kind} {FAR}", f"-6 route add {kind} {FAR6}")
    for address in (FAR, FAR6):
        seen = lan.look("ping", host=address)
        assert seen["reason"] == "ping.unreachable"
        assert seen["seconds"] < 1.5


def test_without_a_route_nothing_is_waited_for(lan: Lan) -> None:
    lan.ip(lan.till, "route del default")
    seen = lan.look("ping", host=FAR)
    assert seen["reason"] == "ping.unreachable"
    assert "no route" in " ".join(seen["evidence"])
    assert seen["seconds"] < 0.5


def test_a_neighbour_that_is_not_there_does_not_answer_arp(lan: Lan) -> None:
    seen = lan.look("ping", host="192.0.2.200", timeout=5.0)
    assert seen["reason"] == "ping.unreachable"
    assert "does not answer on the LAN" in " ".join(seen["evidence"])


def test_the_tills_own_firewall_is_named(lan: Lan) -> None:
    lan.nft(lan.till, "output", "icmp type echo-request drop", "icmpv6 type echo-request drop")
    for address in (V4, V6):
        seen = lan.look("ping", host=address, count=2)
        assert (seen["status"], seen["reason"]) == ("fail", "ping.blocked_here")
    lan.memory = {}
    gateway = lan.look("gateway")
    assert gateway["reason"] != "ok" or gateway["measurements"]["answers_ping"] is False


def test_loss_is_counted_by_packet(lan: Lan) -> None:
    lan.nft(lan.router, "input", "icmp type echo-request numgen inc mod 4 == 0 drop")
    seen = lan.look("ping", host=V4, count=20, timeout=6.0)
    assert (seen["reason"], seen["measurements"]["loss_percent"]) == ("ping.loss", 25.0)
    lan.memory = {}
    assert lan.look("ping", host=V4, count=4, timeout=4.0, max_loss=30)["reason"] == "ok"


@pytest.mark.parametrize("user", [0, NOBODY])
def test_an_answer_from_somebody_else_does_not_count(user: int, lan: Lan) -> None:
    """Identity and number are right, the sender is not: one who does not look would call a dead host alive."""
    lan.nft(lan.router, "output", "icmp type echo-reply ip saddr set 192.0.2.66")
    allow_ping_sockets(lan, user)
    seen = lan.look("ping", host=V4, count=3, user=user)
    assert seen["reason"] == "ping.no_reply"
    assert seen["measurements"]["received"] == 0


def allow_ping_sockets(lan: Lan, group: int) -> None:
    run("ip", "netns", "exec", lan.till, "sysctl", "-qw", f"net.ipv4.ping_group_range={group or 1} {group}")


SLOW_HOST = """
import fcntl, os, struct, sys, threading, time
from probes.host import Host, icmp
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun9", 0x1001))
os.system("ip addr add 198.51.100.1/24 dev tun9; ip link set tun9 up")
sent = []

def answer(packet):
    turned = bytes(packet[:12]) + packet[16:20] + packet[12:16] + b"\\0" + packet[21:]
    total = int.from_bytes(turned[22:24], "big") + 0x0800  # the type fell from 8 to 0
    os.write(tun, turned[:22] + ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big") + turned[24:])
    sent.append(time.monotonic())

def serve():
    while True:
        packet = os.read(tun, 2048)
        if packet[0] == 0x45 and packet[9] == 1 and packet[19] == 9:
            threading.Timer(float(sys.argv[1]), answer, [packet]).start()

threading.Thread(target=serve, daemon=True).start()
for address in ("198.51.100.9", "198.51.100.9", "198.51.100.8"):
    (seen,) = icmp.echo(Host(ends=time.monotonic() + 1), (address,), count=2)
    print(len(seen.answers), flush=True)
print(len(sent), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("delay", "expected"), [("0.2", [2, 2, 0]), ("1.2", [0, 0, 0])], ids=["within the time", "after the time"]
)
def test_a_late_answer_is_nobodys(delay: str, expected: list[int], lan: Lan) -> None:
    """It comes while the next look, at the same host and then at a dead one, is waiting for its own."""
    told = run("ip", "netns", "exec", lan.till, sys.executable, "-c", SLOW_HOST, delay).split()
    assert [int(count) for count in told[:3]] == expected
    assert int(told[3]) >= 3, "the late answers did come"


# ---------------------------------------------------------------- an ordinary user


def test_an_ordinary_user_without_the_right_is_denied_and_told_what_is_missing(lan: Lan) -> None:
    denied = lan.look("ping", user=NOBODY, host=V4)
    assert (denied["status"], denied["reason"]) == ("unknown", "probe.denied")
    assert "net.ipv4.ping_group_range" in denied["detail"]
    assert "CAP_NET_RAW" in denied["detail"]


def test_an_ordinary_user_within_the_group_range_pings_like_root(lan: Lan) -> None:
    allow_ping_sockets(lan, NOBODY)
    for address in (V4, V6, f"{ROUTER6}%eth0"):
        assert lan.reason("ping", user=NOBODY, host=address, count=2) == "ok"
    lan.nft(lan.router, "forward", "reject with icmpx type admin-prohibited")
    for address in (FAR, FAR6):
        seen = lan.look("ping", user=NOBODY, host=address)
        assert seen["reason"] == "ping.unreachable"
        assert "administratively prohibited, says" in " ".join(seen["evidence"])
    assert lan.reason("gateway", user=NOBODY) == "ok"
    assert lan.reason("interface", user=NOBODY) == "ok"


def test_without_the_right_to_ping_the_gateway_is_judged_by_arp(lan: Lan) -> None:
    alive = lan.look("gateway", user=NOBODY)
    assert alive["reason"] == "ok"
    lan.ip(lan.switch, "link set router down")
    lan.ip(lan.till, "neigh flush dev eth0")
    dead = lan.look("gateway", user=NOBODY)
    assert (dead["status"], dead["reason"]) == ("fail", "gateway.no_reply")
