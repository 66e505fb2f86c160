"""A whole store on one machine: what stands where, and how does it come up in a second?

    till ──┐                                              ┌─ acquirer A (auth, batch)
    terminal ─┤ switch ├─ router ─┤ line ├─ mile ── internet ├─ acquirer B (auth, batch)
                            (NAT, DNS, DHCP)  (ISP)       └─ anchors, portal, time, tms, resolver

Every name is a network namespace; `switch` and `line` are bridges, where cables can be pulled or made bad. Addresses are
documentation addresses. The till also has a mount namespace of its own (its /etc/resolv.conf, its /sys, its disk), so a
program run by `Store.run_in_till` sees this till and nothing of the machine around it.

Names carry the number of the process that owns the store. What a dead owner left behind is removed by the next store.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import itertools
import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab import gear, terminal

if TYPE_CHECKING:
    from tests.lab.faults import Fault
    from tests.lab.healthy import Variant

HERE = Path(__file__).parent
RUN = Path("/run/posagent-lab")
NAMESPACES = ("till", "terminal", "squatter", "switch", "router", "line", "mile", "internet")
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""Nothing outlives the owner of the store, however it ends."""


@dataclass(frozen=True)
class Lan:
    """The store's own network: the router is host 1, the till 10, the card terminal 20."""

    v4: str = "192.0.2.0/24"
    v6: str = "2001:db8:1::/64"

    def host(self, number: int, version: int = 4) -> str:
        """Return the address of host `number`."""
        return str(ipaddress.ip_network(self.v4 if version == 4 else self.v6)[number])

    def with_mask(self, number: int, version: int = 4) -> str:
        """Return the address of host `number` as `ip address` wants it."""
        return f"{self.host(number, version)}/{ipaddress.ip_network(self.v4 if version == 4 else self.v6).prefixlen}"


ROUTER, TILL, TERMINAL = 1, 10, 20
NOBODY = 254
SQUATTER_MAC = "02:00:00:00:00:66"
WAN_ROUTER, WAN_MILE = "198.51.100.2", "198.51.100.1"
WAN_ROUTER6, WAN_MILE6 = "2001:db8:2::2", "2001:db8:2::1"
CORE_MILE, CORE_NET = "198.51.100.5", "198.51.100.6"
CORE_MILE6, CORE_NET6 = "2001:db8:3::1", "2001:db8:3::2"

A_AUTH, A_BATCH = "auth.acquirer-a.example", "batch.acquirer-a.example"
B_AUTH, B_BATCH = "auth.acquirer-b.example", "batch.acquirer-b.example"
ANCHORS = ("anchor-1.example", "anchor-2.example", "anchor-3.example")
PORTAL, TIME, TMS, RESOLVER = "portal.example", "time.example", "tms.vendor.example", "resolver.example"
HOSTS = {
    A_AUTH: 11,
    A_BATCH: 12,
    B_AUTH: 21,
    B_BATCH: 22,
    ANCHORS[0]: 31,
    ANCHORS[1]: 32,
    ANCHORS[2]: 33,
    PORTAL: 41,
    TIME: 51,
    RESOLVER: 53,
    TMS: 61,
}
PAYMENT_PORTS = {"443": "tls", "8443": "tls", "9000": "tcp"}
STREAMS = {
    **dict.fromkeys((A_AUTH, A_BATCH, B_AUTH, B_BATCH), PAYMENT_PORTS),
    **{name: {"443": "tls", "53": "tcp"} for name in ANCHORS},
    PORTAL: {"80": "http"},
    TMS: {"80": "http", "443": "https"},
    RESOLVER: {"53": "tcp"},
}
DATAGRAMS = {TIME: {"123": "ntp"}, RESOLVER: {"53": "dns"}}


def address(name: str, version: int = 4) -> str:
    """Return the address of a host of the internet."""
    number = HOSTS[name]
    return f"203.0.113.{number}" if version == 4 else f"2001:db8:ff::{number:x}"


class LabError(RuntimeError):
    """The lab itself is at fault, not what is tested in it."""


class Store:
    """The store of this process. A context manager: up on entry, gone on exit."""

    def __init__(self, owner: int | None = None) -> None:
        """Name everything after its owner; nothing is built yet."""
        self.owner = owner or os.getpid()
        self.run = RUN / str(self.owner)
        self.lan = Lan()
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._tables = itertools.count(1)
        self._seeds = itertools.count(1)

    def __enter__(self) -> Store:
        """Build it, or leave nothing behind."""
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take it down."""
        self.down()

    # --- rooms ----------------------------------------------------------------------------------------------------

    def ns(self, room: str) -> str:
        """Return the name of a namespace as `ip netns` knows it."""
        return f"pl{self.owner}-{room}"

    @property
    def control_file(self) -> Path:
        """Where the servers read their mood."""
        return self.run / "control.json"

    @property
    def config(self) -> Path:
        """The till's own configuration."""
        return self.run / "till.toml"

    @property
    def state(self) -> Path:
        """What posagent remembers of this till."""
        return self.run / "state"

    @property
    def till_env(self) -> dict[str, str]:
        """What every program of the till finds in its environment: a memory of its own, and perhaps a wrong clock."""
        file = self.run / "till.env"
        return {
            "STATE_DIRECTORY": str(self.state),
            "POSAGENT_CONFIG": str(self.config),
            **(json.loads(file.read_text()) if file.exists() else {}),
        }

    @till_env.setter
    def till_env(self, environment: Mapping[str, str]) -> None:
        (self.run / "till.env").write_text(json.dumps(dict(environment)))

    @property
    def anchor(self) -> int:
        """The process that holds the till's namespaces open."""
        return int((self.run / "anchor.pid").read_text())

    @property
    def root(self) -> Path:
        """The till's file system, seen from outside."""
        return Path(f"/proc/{self.anchor}/root")

    # --- doing things in rooms ------------------------------------------------------------------------------------

    def sh(self, room: str, script: str) -> str:
        """Run a shell script in a namespace; anything that fails is a fault of the lab."""
        return check(["ip", "netns", "exec", self.ns(room), "sh", "-e"], script)

    def ip(self, room: str, *lines: str) -> None:
        """Run `ip` commands in a namespace, all in one process."""
        check(["ip", "-n", self.ns(room), "-batch", "-"], "\n".join(lines) + "\n")

    def nft(self, room: str, rules: str) -> None:
        """Load nftables rules in a namespace."""
        check(["ip", "netns", "exec", self.ns(room), "nft", "-f", "-"], rules)

    @contextlib.contextmanager
    def rules(self, room: str, body: str, family: str = "inet") -> Iterator[None]:
        """Keep a table of nftables rules in a namespace for a while."""
        table = f"{family} lab_{next(self._tables)}"
        self.nft(room, f"table {table} {{\n{body}\n}}\n")
        try:
            yield
        finally:
            self.nft(room, f"delete table {table}\n")

    @contextlib.contextmanager
    def mood(self, *names: str, mood: str) -> Iterator[None]:
        """Put servers into a mood for a while; see servers.py for the words."""
        self._control(dict.fromkeys(names, mood))
        try:
            yield
        finally:
            self._control(dict.fromkeys(names, "ok"))

    def _control(self, moods: Mapping[str, str]) -> None:
        known = json.loads(self.control_file.read_text()) if self.control_file.exists() else {}
        fresh = self.control_file.with_suffix(".new")
        fresh.write_text(json.dumps({**known, **moods}))
        fresh.rename(self.control_file)

    @contextlib.contextmanager
    def cable(self, room: str, port: str, **shape: float) -> Iterator[None]:
        """Put a bad cable between a bridge and one of its ports for a while; see wire.py for its properties."""
        words = [word for key, value in shape.items() for word in (f"--{key}", str(value))]
        program = [
            sys.executable,
            "-I",
            "-S",
            str(HERE / "wire.py"),
            port,
            "w0",
            "--seed",
            str(next(self._seeds)),
            *words,
        ]
        self.ip(room, "link add w0 type veth peer name w1")
        try:
            self.sh(room, "for i in w0 w1; do ethtool -K $i tso off gso off gro off tx off rx off >/dev/null; done")
            self.ip(room, f"link set {port} nomaster", "link set w0 up", "link set w1 master br0 up")
            self.start("wire", self.in_room(room, *program), ready="carrying")
            yield
        finally:
            self.stop("wire")
            self.ip(room, "link del w0", f"link set {port} master br0")

    def in_room(self, room: str, *command: str) -> list[str]:
        """Return the command line that runs `command` in a namespace (the till: with its own files, too)."""
        if room == "till":
            return ["nsenter", "-t", str(self.anchor), "-m", "-n", f"--wd={Path.cwd()}", "--", *command]
        return ["ip", "netns", "exec", self.ns(room), *command]

    def run_in_till(
        self, command: Sequence[str], timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the till would, and return what it said."""
        return subprocess.run(
            self.in_room("till", *command),
            env={**os.environ, **self.till_env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, name: str, command: Sequence[str], ready: str = "") -> subprocess.Popen[str]:
        """Start something that lives as long as the store, and wait until it says it is `ready`."""
        log = self.run / f"{name}.log"
        with log.open("w") as sink:
            self.processes[name] = made = subprocess.Popen(
                [*WITH_PARENT, *command], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, text=True
            )
        until = time.monotonic() + 10
        while ready and ready not in log.read_text():
            if made.poll() is not None or time.monotonic() > until:
                raise LabError(f"{name} did not start: {log.read_text()}")
            time.sleep(0.01)
        return made

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End something that was started, and wait until it is gone."""
        made = self.processes.pop(name, None)
        if made is None:
            return
        made.send_signal(how)
        try:
            made.wait(5)
        except subprocess.TimeoutExpired:
            made.kill()
            made.wait()

    # --- faults ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def fault(self, fault: Fault | Variant) -> Iterator[None]:
        """Have a fault (or a healthy variant) for a while; nothing remembers what was before, or afterwards this one."""
        try:
            self.forget_state()
            with fault.make(self):
                self.write_config(*fault.changes, template=fault.template)
                self.sh("till", "ip neigh flush all; ip -6 neigh flush all")
                yield
        finally:
            self.write_config()
            self.forget_state()
            self.await_link("till")
            self.forget()

    def forget_state(self) -> None:
        """Let posagent forget everything about this till, so that no case colours the next one."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()

    def await_link(self, room: str) -> None:
        """Wait until a room's cable carries again: the kernel takes up to a second to believe it."""
        check_state = "grep -q up /sys/class/net/eth0/operstate"
        self.sh(room, f"for i in $(seq 100); do ! {check_state} || exit 0; sleep 0.02; done")

    def forget(self) -> None:
        """Empty every cache that outlives a fault: neighbours, path MTUs, TCP metrics, connection tracking."""
        flush = "ip neigh flush all; ip -6 neigh flush all; ip route flush cache; ip -6 route flush cache"
        in_parallel(
            {
                self.ns("till"): f"{flush}; ip tcp_metrics flush all >/dev/null 2>&1 || true",
                self.ns("router"): f"{flush}; conntrack -F >/dev/null 2>&1 || true",
                self.ns("mile"): f"{flush}; conntrack -F >/dev/null 2>&1 || true",
                self.ns("terminal"): flush,
            }
        )

    def dress_till(self) -> None:
        """Give the till its addresses and routes, whatever it had before."""
        self.ip(
            "till",
            "link set eth0 up",
            "addr flush dev eth0 scope global",
            "addr flush dev eth0 scope link",
            f"addr add {self.lan.with_mask(TILL)} dev eth0",
            f"addr add {self.lan.with_mask(TILL, 6)} dev eth0 nodad",
            "addr add fe80::10/64 dev eth0 nodad",
            f"route replace default via {self.lan.host(ROUTER)} dev eth0",
            f"route replace ::/0 via {self.lan.host(ROUTER, 6)} dev eth0",
        )

    def write_config(self, *changes: tuple[str, str], template: str = "till.toml") -> None:
        """Write the till's configuration from a template; each change is (text, other text)."""
        text = string.Template((HERE / template).read_text()).substitute(
            run=self.run,
            terminal=self.lan.host(TERMINAL),
            terminal6=self.lan.host(TERMINAL, 6),
            pos=self.pos_name,
        )
        for old, new in changes:
            if old not in text:
                raise LabError(f"the till's configuration has no {old!r}")
            text = text.replace(old, new)
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.config)

    @property
    def pos_name(self) -> str:
        """The till's fake POS software, as the process list names it."""
        return f"posw{self.owner}"

    # --- building -------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Build everything; about a second."""
        remove_leftovers()
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(parents=True)
        self._control({})
        self.write_resolver()
        certificates(self.run / "certificates")
        self._lay_cables()
        in_parallel({self.ns(room): self._room(room) for room in NAMESPACES})
        self.dress_till()
        terminal.start_port(self)
        self._open_till()
        gear.start_ups(self)
        terminal.plug(self)
        self._start_servers()
        gear.start_upsd(self)
        self.start_pos()
        self._open_books()
        self.forget_state()
        self.write_config()
        gear.await_ups(self)

    def down(self) -> None:
        """End every process and remove every trace."""
        for name in reversed(list(self.processes)):
            self.stop(name)
        remove(self.owner)

    def _open_books(self) -> None:
        (self.run / "pos-version").write_text("4.2.0\n")
        close = {"time": gear.moment(-0.2), "status": "ok", "amount": 1250.5, "type": "batch close", "pending": 0}
        (self.run / "settlement.json").write_text(json.dumps(close))

    def write_resolver(self, *servers: str) -> None:
        """Write the till's resolv.conf; by default the router is its only resolver."""
        home = Path("/etc/netns") / self.ns("till")
        home.mkdir(parents=True, exist_ok=True)
        lines = [f"nameserver {server}\n" for server in servers or (self.lan.host(ROUTER),)]
        (home / "resolv.conf").write_text("".join(lines) + "options timeout:1 attempts:2\n")  # in place: it is mounted

    def _lay_cables(self) -> None:
        rooms = {room: self.ns(room) for room in NAMESPACES}
        check(["ip", "-batch", "-"], "".join(f"netns add {name}\n" for name in rooms.values()))
        no_dad = "for d in all default; do echo 0 >/proc/sys/net/ipv6/conf/$d/accept_dad; done"
        in_parallel(dict.fromkeys(rooms.values(), no_dad))
        ends = (
            ("till eth0", "switch till"),
            ("terminal eth0", "switch terminal"),
            ("squatter eth0", "switch squatter"),
            ("router lan", "switch router"),
            ("router wan", "line store"),
            ("mile store", "line isp"),
            ("mile core", "internet core"),
        )
        lines = []
        for near, far in ends:
            (room, name), (other_room, other_name) = near.split(), far.split()
            lines.append(
                f"link add {name} netns {rooms[room]} type veth peer name {other_name} netns {rooms[other_room]}\n"
            )
        check(["ip", "-batch", "-"], "".join(lines))

    def _room(self, room: str) -> str:
        """Return the shell script that furnishes one namespace."""
        lan = self.lan
        furnish = {
            "till": "",
            "terminal": f"""
                ip addr add {lan.with_mask(TERMINAL)} dev eth0
                ip addr add {lan.with_mask(TERMINAL, 6)} dev eth0 nodad
                ip route add default via {lan.host(ROUTER)}""",
            "squatter": f"ip link set eth0 address {SQUATTER_MAC}",
            "switch": bridge("till", "terminal", "router", "squatter") + "ip link set squatter down\n",
            "router": f"""
                ip addr add {lan.with_mask(ROUTER)} dev lan
                ip addr add {lan.with_mask(ROUTER, 6)} dev lan nodad
                ip addr add {WAN_ROUTER}/30 dev wan
                ip addr add {WAN_ROUTER6}/64 dev wan nodad
                ip route add default via {WAN_MILE}
                ip -6 route add default via {WAN_MILE6}
                {FORWARD}
                nft -f - <<'E'
                table inet base {{
                  chain nat {{ type nat hook postrouting priority 100; oifname "wan" meta nfproto ipv4 masquerade; }}
                }}
E""",
            "line": bridge("store", "isp"),
            "mile": f"""
                ip addr add {WAN_MILE}/30 dev store
                ip addr add {WAN_MILE6}/64 dev store nodad
                ip addr add {CORE_MILE}/30 dev core
                ip addr add {CORE_MILE6}/64 dev core nodad
                ip route add 203.0.113.0/24 via {CORE_NET}
                ip -6 route add 2001:db8:ff::/48 via {CORE_NET6}
                ip -6 route add {lan.v6} via {WAN_ROUTER6}
                {FORWARD}""",
            "internet": f"""
                ip addr add {CORE_NET}/30 dev core
                ip addr add {CORE_NET6}/64 dev core nodad
                ip route add default via {CORE_MILE}
                ip -6 route add default via {CORE_MILE6}
                {"".join(f"ip addr add {address(n)}/32 dev lo; ip addr add {address(n, 6)}/128 dev lo nodad;" for n in HOSTS)}""",
        }
        return BASICS + furnish[room]

    def _open_till(self) -> None:
        """Start the process that holds the till's namespaces, and wait until its file system stands."""
        script = (HERE / "till.sh").read_text()
        command = ["nsenter", f"--net=/run/netns/{self.ns('till')}", "unshare", "-m", "sh", "-e", "-c", script, "till"]
        resolver = f"/etc/netns/{self.ns('till')}/resolv.conf"
        made = self.start("anchor", [*command, str(self.run), resolver], ready="ready")
        (self.run / "anchor.pid").write_text(str(made.pid))

    def _start_servers(self) -> None:
        zone = {name: [address(name), address(name, 6)] for name in HOSTS}
        world = [
            {
                "name": name,
                "addresses": [address(name), address(name, 6)],
                "tcp": STREAMS.get(name, {}),
                "udp": DATAGRAMS.get(name, {}),
            }
            for name in HOSTS
        ]
        everywhere = ["0.0.0.0", "::"]
        plans: dict[str, list[dict[str, Any]]] = {
            "internet": world,
            "mile": [{"name": "gate", "addresses": everywhere, "tcp": {"80": "http"}}],
            "router": [{"name": "inspection", "addresses": everywhere, "tcp": {"4443": "inspection"}}],
            "terminal": [{"name": "terminal", "addresses": everywhere, "tcp": {"8443": "tcp", "9100": "tcp"}}],
        }
        self._control({"gate": "redirect:http://login.isp.example/"})
        for room, hosts in plans.items():
            plan = self.run / f"{room}.json"
            certificates_at = str(self.run / "certificates")
            plan.write_text(
                json.dumps(
                    {"control": str(self.control_file), "certificates": certificates_at, "zone": zone, "hosts": hosts}
                )
            )
            program = [sys.executable, "-I", "-S", str(HERE / "servers.py"), str(plan)]
            self.start(f"servers-{room}", self.in_room(room, *program))
        self.start_dnsmasq()
        for room in plans:
            self._await_log(f"servers-{room}", "serving")

    def _await_log(self, name: str, word: str) -> None:
        until = time.monotonic() + 10
        log = self.run / f"{name}.log"
        while word not in log.read_text():
            if time.monotonic() > until or self.processes[name].poll() is not None:
                raise LabError(f"{name} did not start: {log.read_text()}")
            time.sleep(0.01)

    def start_dnsmasq(self, *more: str) -> None:
        """Start the router's DNS forwarder and DHCP server. It keeps nothing, so that no fault outlives itself."""
        lan = self.lan
        words = f"""--keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --log-facility=- --interface=lan
            --no-hosts --no-resolv --cache-size=0 --server={address(RESOLVER)} --no-ping
            --dhcp-range={lan.host(100)},{lan.host(200)},1h --dhcp-leasefile={self.run}/leases"""
        self.start("dnsmasq", self.in_room("router", "dnsmasq", *words.split(), *more), ready="started")

    def start_pos(self, user: str = "root") -> None:
        """Start the fake POS software: a process with a name of its own that holds the terminal's port."""
        program = self.run / self.pos_name
        if not program.exists():
            shutil.copy("/bin/sleep", program)
        hold = f"[ ! -r /dev/{terminal.NODE} ] || exec 3<>/dev/{terminal.NODE}; exec {program} infinity"
        as_user = [] if user == "root" else ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
        self.start("pos", self.in_room("till", *as_user, "sh", "-c", hold))
        self.await_name("pos", self.pos_name)

    def restart_pos(self) -> None:
        """Start the POS software again, with the port as it is now."""
        self.stop("pos", signal.SIGKILL)
        self.start_pos()

    def await_name(self, process: str, name: str) -> None:
        """Wait until a started process has become the program it is to be."""
        until = time.monotonic() + 10
        while Path(f"/proc/{self.processes[process].pid}/comm").read_text().strip() != name:
            if time.monotonic() > until:
                raise LabError(f"{process} did not become {name}")
            time.sleep(0.005)


FORWARD = """
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
"""

BASICS = """
cd /proc/sys/net
for d in ipv6/conf/*; do echo 0 >$d/accept_dad; echo 0 >$d/accept_ra; echo 0 >$d/dad_transmits; echo 1 >$d/keep_addr_on_down; done
echo 0 >ipv4/icmp_ratelimit
echo 0 >ipv4/icmp_ratemask
echo 0 >ipv6/icmp/ratelimit
[ ! -w ipv4/icmp_msgs_per_sec ] || echo 100000 >ipv4/icmp_msgs_per_sec
for f in bridge/bridge-nf-call-iptables bridge/bridge-nf-call-ip6tables bridge/bridge-nf-call-arptables; do
  [ ! -w $f ] || echo 0 >$f
done
cd /
for i in $(ls /sys/class/net); do
  case $i in lo) ip link set lo up; continue;; bonding_masters|tunl0|ifb*) continue;; esac
  ethtool -K $i tso off gso off gro off tx off rx off >/dev/null
  ip link set $i up
done
"""


def bridge(*ports: str) -> str:
    """Return the script that makes a switch of these ports."""
    made = "ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nip link set br0 up\n"
    return made + "".join(f"ip link set {port} master br0\n" for port in ports)


def check(command: Sequence[str], feed: str = "") -> str:
    """Run a command of the lab's own; anything but success is an error with its words."""
    done = subprocess.run(command, input=feed, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}\n{feed}")
    return done.stdout


def in_parallel(scripts: Mapping[str, str]) -> None:
    """Run one shell script per namespace, all at the same time."""
    started = {
        name: subprocess.Popen(
            ["ip", "netns", "exec", name, "sh", "-e", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, script in scripts.items()
    }
    said = {name: (made.communicate(timeout=30)[0], made.returncode) for name, made in started.items()}
    wrong = [f"{name}: {words}" for name, (words, code) in said.items() if code]
    if wrong:
        raise LabError("\n".join(wrong))


def certificates(home: Path) -> None:
    """Make every certificate that a server may show: `NAME.pem`, the chain and its key. `roots.pem` is what a till trusts."""
    import trustme

    home.mkdir()
    now = datetime.datetime.now(datetime.UTC)

    def day(number: float) -> datetime.datetime:
        return now + datetime.timedelta(days=number)

    root = trustme.CA(organization_name="Acquirer Network Root CA", organization_unit_name="Lab")
    issuing = root.create_child_ca()
    foreign = trustme.CA(organization_name="Store Security Gateway CA", organization_unit_name="Web Filter")
    stranger = trustme.CA(organization_name="Somebody Else's CA", organization_unit_name="Lab")
    payment = (A_AUTH, A_BATCH, B_AUTH, B_BATCH)
    everyone = (*payment, TMS, *ANCHORS)
    made = {name: issuing.issue_cert(name, not_before=day(-30), not_after=day(365)) for name in everyone}
    made["expired"] = issuing.issue_cert(*payment, not_before=day(-400), not_after=day(-2))
    made["expiring"] = issuing.issue_cert(*payment, not_before=day(-360), not_after=day(5.5))
    made["early"] = issuing.issue_cert(*payment, not_before=day(3), not_after=day(400))
    made["other-name"] = issuing.issue_cert("www.other-bank.example", not_before=day(-30), not_after=day(365))
    made["stranger"] = stranger.issue_cert(*payment, not_before=day(-30), not_after=day(365))
    made["resigned"] = foreign.issue_cert("gateway.store.example", not_before=day(-30), not_after=day(365))
    for name in everyone:
        made[f"resigned-{name}"] = foreign.issue_cert(name, not_before=day(-1), not_after=day(90))
    for name, certificate in made.items():
        pem = b"".join(part.bytes() for part in certificate.cert_chain_pems) + certificate.private_key_pem.bytes()
        (home / f"{name}.pem").write_bytes(pem)
    (home.parent / "roots.pem").write_bytes(root.cert_pem.bytes())


def owners() -> Iterator[int]:
    """Every process number that has or had a store here."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    found = {int(number) for number in re.findall(r"^pl(\d+)-", listed, re.MULTILINE)}
    if RUN.exists():
        found |= {int(path.name) for path in RUN.iterdir() if path.name.isdigit()}
    yield from sorted(found)


def remove_leftovers() -> None:
    """Remove the stores whose owner is dead."""
    for owner in owners():
        if owner != os.getpid() and not Path(f"/proc/{owner}").exists():
            remove(owner)


def remove(owner: int) -> None:
    """Remove the namespaces and files of one store, and whatever still lives in them."""
    for room in NAMESPACES:
        name = f"pl{owner}-{room}"
        if not Path("/run/netns", name).exists():
            continue
        inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
        for pid in inside.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)
    shutil.rmtree(RUN / str(owner), ignore_errors=True)
