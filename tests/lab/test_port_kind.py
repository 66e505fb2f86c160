"""port: drops, resets, ICMP, own firewall and dead routes, each made by a real kernel and seen by an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOUR, SIX = "198.51.100.2", "2001:db8:2::2"
OPEN, CLOSED = 443, 444
TIMEOUT = 2.2
"""Seconds: longer than the first retransmission of a SYN after 1 s, and the proof at 1.6 s."""

LOOK = """
import encodings.idna, json, os, sys, time
from probes import port
from probes.host import Host, net, netlink, outgoing
os.setgroups([]), os.setgid(65534), os.setuid(65534)  # an ordinary user, as the agent is
asked = port.PortSettings(kind="port", host=sys.argv[1], port=int(sys.argv[2]))
began = time.monotonic()
seen = port.KIND.judge(asked, port.KIND.read(asked, Host(ends=began + float(sys.argv[3]))), {})
print(json.dumps([seen.status, seen.reason, seen.measurements, seen.evidence, time.monotonic() - began]))
"""
SERVE = f"""
import socket
listeners = [socket.create_server(("::", {OPEN}), family=socket.AF_INET6, dualstack_ipv6=True)]
print("ready", flush=True)
input()
"""


class Seen:
    def __init__(self, text: str) -> None:
        self.status, self.reason, self.facts, self.evidence, self.took = json.loads(text)
        self.answer = f"{self.status} {self.reason}"


class Wires:
    """A till, a router and an acquirer, with a cable between each."""

    def __init__(self) -> None:
        self.till, self.router, self.acquirer = (f"pa{os.getpid()}{room}" for room in ("t", "r", "a"))
        self.rooms = (self.till, self.router, self.acquirer)

    def up(self) -> None:
        for room in self.rooms:
            run("ip", "netns", "add", room)
            self.sysctl(room, "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
            self.ip(room, "link set lo up")
        self.ip(self.till, f"link add t0 type veth peer name r0 netns {self.router}")
        self.ip(self.acquirer, f"link add a0 type veth peer name r1 netns {self.router}")
        self.ip(self.till, "addr add 192.0.2.2/24 dev t0", "addr add 2001:db8:1::2/64 dev t0", "link set t0 up")
        self.ip(self.router, "addr add 192.0.2.1/24 dev r0", "addr add 2001:db8:1::1/64 dev r0", "link set r0 up")
        self.ip(self.router, "addr add 198.51.100.1/24 dev r1", "addr add 2001:db8:2::1/64 dev r1", "link set r1 up")
        self.ip(self.acquirer, f"addr add {FOUR}/24 dev a0", f"addr add {SIX}/64 dev a0", "link set a0 up")
        self.ip(self.acquirer, "route add default via 198.51.100.1", "route add default via 2001:db8:2::1")
        self.give_routes()
        self.sysctl(self.router, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        # a real router answers about once a second, which would only make the tests wait
        self.sysctl(self.router, "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")

    def give_routes(self) -> None:
        self.ip(self.till, "route replace default via 192.0.2.1", "route replace default via 2001:db8:1::1")

    def take_routes(self) -> None:
        self.ip(self.till, "route del default", "-6 route del default")

    def down(self) -> None:
        for room in self.rooms:
            subprocess.run(["ip", "netns", "del", room], check=False, timeout=20)

    def ip(self, room: str, *commands: str) -> None:
        for command in commands:
            family = ["-6"] if "2001:" in command else []
            run("ip", *family, "-n", room, *command.split())

    def sysctl(self, room: str, *settings: str) -> None:
        run("ip", "netns", "exec", room, "sysctl", "-qw", *settings)

    @contextlib.contextmanager
    def rule(self, room: str, hook: str, rule: str) -> Iterator[None]:
        table = f"add table inet lab; add chain inet lab here {{ type filter hook {hook} priority 0; }}; "
        run("ip", "netns", "exec", room, "nft", table + f"add rule inet lab here {rule}")
        try:
            yield
        finally:
            run("ip", "netns", "exec", room, "nft", "delete table inet lab")

    def look(self, name: str = FOUR, port: int = OPEN, seconds: float = TIMEOUT) -> Seen:
        command = ("ip", "netns", "exec", self.till, sys.executable, "-c", LOOK, name, str(port), str(seconds))
        return Seen(run(*command))


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wires() -> Iterator[Wires]:
    built = Wires()
    hosts = Path("/etc/netns") / built.till
    try:
        built.up()
        hosts.mkdir(parents=True)
        (hosts / "hosts").write_text(f"{FOUR} pay.example\n{SIX} pay.example\n")
        server = ("ip", "netns", "exec", built.acquirer, sys.executable, "-c", SERVE)
        with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as serving:
            assert serving.stdout is not None
            assert serving.stdout.readline() == "ready\n"
            assert any(built.look(SIX).took < 0.5 for _ in range(10)), "the cables did not come to life"
            yield built
            serving.communicate("\n", timeout=10)
    finally:
        built.down()
        shutil.rmtree(hosts, ignore_errors=True)


def test_a_good_host_is_reached_over_both_families(wires: Wires) -> None:
    seen = wires.look("pay.example")
    assert seen.answer == "ok ok"
    assert (seen.facts["ipv4"], seen.facts["ipv6"]) == ("ok", "ok")
    assert seen.took < 1


@pytest.mark.parametrize(
    ("rule", "four", "six"),
    [
        ("drop", "port.timeout", "port.timeout"),
        ("reject with tcp reset", "port.refused", "port.refused"),
        ("reject with icmpx admin-prohibited", "port.rejected", "port.rejected"),
        ("reject with icmpx host-unreachable", "port.rejected", "port.rejected"),
        ("reject with icmpx no-route", "port.rejected", "port.rejected"),
        ("reject with icmpx port-unreachable", "port.refused", "port.refused"),  # the kernel does not tell them apart
    ],
)
def test_a_firewall_on_the_way(wires: Wires, rule: str, four: str, six: str) -> None:
    with wires.rule(wires.router, "forward", f"tcp dport {OPEN} {rule}"):
        assert wires.look(FOUR).answer == f"fail {four}"
        assert wires.look(SIX).answer == f"fail {six}"


@pytest.mark.parametrize("address", [FOUR, SIX])
@pytest.mark.parametrize(
    "rule",
    ["drop", "reject with tcp reset", "reject with icmpx admin-prohibited", "reject with icmpx port-unreachable"],
)
def test_this_pcs_own_firewall_is_named(wires: Wires, rule: str, address: str) -> None:
    with wires.rule(wires.till, "output", f"tcp dport {OPEN} {rule}"):
        seen = wires.look(address)
    assert seen.answer == "fail port.blocked_here"
    assert "no packet left this PC" in seen.evidence[0]


def test_a_closed_port_far_away_and_a_closed_port_of_this_pc_are_refused(wires: Wires) -> None:
    for address in (FOUR, SIX, "127.0.0.1", "127.0.0.2", "::1", "192.0.2.2", "2001:db8:1::2"):
        assert wires.look(address, CLOSED).answer == "fail port.refused", address


def test_an_answer_lost_at_our_own_door_is_not_proven_and_not_claimed(wires: Wires) -> None:
    with wires.rule(wires.till, "input", f"tcp sport {OPEN} drop"):
        assert wires.look().answer == "fail port.timeout"


def test_a_pc_without_a_route_knows_it_at_once(wires: Wires) -> None:
    wires.take_routes()
    try:
        seen = wires.look("pay.example")
        assert seen.answer == "fail port.no_route"
        assert seen.took < 1
        wires.ip(wires.till, f"route add unreachable {FOUR}")
        assert wires.look(FOUR).answer == "fail port.no_route"
        wires.ip(wires.till, f"route del unreachable {FOUR}")
    finally:
        wires.give_routes()


def test_a_pc_without_ipv6_is_well(wires: Wires) -> None:
    wires.ip(wires.till, "-6 route del default")
    try:
        seen = wires.look("pay.example")
    finally:
        wires.give_routes()
    assert seen.answer == "ok ok"
    assert (seen.facts["ipv4"], seen.facts["ipv6"]) == ("ok", "no_route")
    assert seen.took < 1


@pytest.mark.parametrize(
    ("rule", "reason"), [("drop", "port.timeout"), ("reject with icmpx admin-prohibited", "port.rejected")]
)
def test_a_broken_ipv6_beside_a_good_ipv4_is_seen(wires: Wires, rule: str, reason: str) -> None:
    with wires.rule(wires.router, "forward", f"meta nfproto ipv6 tcp dport {OPEN} {rule}"):
        seen = wires.look("pay.example", seconds=3)
    assert seen.answer == f"warn {reason}"
    assert seen.facts["families"] == "IPv6"
    assert seen.facts["ipv4"] == "ok"
    assert seen.took < 1.8  # half of the time, not all of it


def test_a_lost_syn_is_seen_in_a_good_connection(wires: Wires) -> None:
    with wires.rule(wires.router, "forward", f"tcp flags & (syn|ack) == syn tcp dport {OPEN} numgen inc mod 2 0 drop"):
        seen = wires.look(FOUR)
    assert seen.answer == "warn port.slow"
    assert seen.facts["syn_resent"] == 1
    assert 1000 <= seen.facts["connect_ms"] < 1500
    assert "the first SYN was lost" in seen.evidence[0]


def test_a_dead_neighbour_is_silence_whoever_says_unreachable(wires: Wires) -> None:
    """ARP gives up after about three seconds, so the second look gets its error early, the first one not at all."""
    for seconds in (2.2, 3.5):
        seen = wires.look("192.0.2.77", seconds=seconds)
        assert seen.answer == "fail port.timeout"
        assert "does not answer ARP" in " ".join(seen.evidence)


def test_a_pulled_cable_is_not_blamed_on_our_own_firewall(wires: Wires) -> None:
    assert wires.look().answer == "ok ok"  # the neighbour is known: packets go straight into the void
    wires.ip(wires.router, "link set r0 down")
    try:
        for _ in range(2):
            assert wires.look().answer == "fail port.timeout"
    finally:
        wires.ip(wires.router, "link set r0 up", "-6 addr replace 2001:db8:1::1/64 dev r0 nodad")


def test_other_traffic_does_not_fake_a_firewall(wires: Wires) -> None:
    """A busy loopback, and a remote that refuses as fast as a virtual cable can carry it."""
    busy = "import socket\na, b = socket.socket(type=2), socket.socket(type=2)\nb.bind(('127.0.0.1', 0))\n"
    busy += "for _ in range(300000): a.sendto(b'x', b.getsockname())\n"
    noise = subprocess.Popen(["ip", "netns", "exec", wires.till, sys.executable, "-c", busy])
    try:
        for _ in range(5):
            assert wires.look(FOUR, CLOSED).answer == "fail port.refused"
    finally:
        noise.kill()
        noise.wait(10)
