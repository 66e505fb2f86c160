"""Where do the daemons run? In a network namespace like a till's: one cable to a router that answers for an internet.

The process that enters a shop becomes the router and the internet; daemons are started behind the cable. Everything
goes when the process ends.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

import trustme

from bench.daemons.checks import HTTP_PORT, NAME, NAMED, PLAIN_PORT, ROUTER, TARGETS, TLS_PORT, Check
from bench.world import Accept, Hello, Server, unshare

TILL, TILL_ADDRESS = "till", "192.0.2.10"
SETUP = (
    "mount --make-rprivate /",
    "mkdir -p /run/netns",
    "mount -t tmpfs namespaces /run/netns",
    "mount --bind {directory}/resolv.conf /etc/resolv.conf",
    f"ip netns add {TILL}",
    f"ip link add far0 type veth peer name eth0 netns {TILL}",
    "ip link set lo up",
    f"ip address add {ROUTER}/24 dev far0",
    "ip link set far0 up",
    f"ip route add local {TARGETS} dev lo",
    f"ip -n {TILL} link set lo up",
    f"ip -n {TILL} address add {TILL_ADDRESS}/24 dev eth0",
    f"ip -n {TILL} link set eth0 up",
    f"ip -n {TILL} route add default via {ROUTER}",
    f"ip netns exec {TILL} sysctl -qw net.ipv4.ping_group_range=0~2147483647",
    "nft add table ip h",
    "nft add set ip h dead {{ type ipv4_addr; }}",
    "nft add chain ip h in {{ type filter hook input priority 0; }}",
    "nft add rule ip h in ip daddr @dead drop",
)


class Shop(contextlib.AbstractContextManager["Shop"]):
    """The shop of this process; needs root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._servers: list[socketserver.BaseServer] = []
        self._doors = Doors()

    def __enter__(self) -> Shop:
        """Leave the machine's network behind and open the shop."""
        if os.geteuid():
            raise SystemExit("cannot make a network namespace: run the benchmarks as root")
        unshare()
        (self.directory / "resolv.conf").write_text(f"nameserver {ROUTER}\n")
        for line in SETUP:
            words = [word.replace("~", " ") for word in line.format(directory=self.directory).split()]
            subprocess.run(words, check=True, timeout=10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started here, and only that."""
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            self.end(process)
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def serve(self, checks: Iterable[Check]) -> None:
        """Put a server behind every check that goes out to the network."""
        for check in checks:
            if check.kind == "port":
                self._doors.open(check.address)
            elif check.kind == "tls":
                self._serve(self._secure(check.address))
            elif check.kind == "http":
                self._serve(ThreadingHTTPServer((check.address, HTTP_PORT), Hello))
            elif check.kind == "dns":
                self._names()

    def serve_all(self) -> None:
        """One listener for the plain port of every address."""
        self._doors.open("0.0.0.0")

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a daemon at the till. Its process is the program itself, no wrapper's."""
        path = self.directory / f"{len(self.processes)}.log"
        with path.open("wb") as sink:
            process = subprocess.Popen(
                ["ip", "netns", "exec", TILL, *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **(env or {})},
            )
        self.processes.append(process)
        return process

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        """End one process, by force if need be."""
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    def log(self, process: subprocess.Popen[bytes]) -> Path:
        """Return the file with what a daemon of `start` said."""
        return self.directory / f"{self.processes.index(process)}.log"

    def stop_listening(self, address: str) -> None:
        """The service at this address dies: the kernel answers with a reset."""
        self._doors.close(address)

    def swallow(self, addresses: Iterable[str]) -> None:
        """A firewall drops all that goes to these."""
        subprocess.run(["nft", "add", "element", "ip", "h", "dead", f"{{ {', '.join(addresses)} }}"], check=True)

    def repair(self, address: str) -> None:
        """Whatever was wrong with the address is not any more."""
        self._doors.open(address)
        subprocess.run(["nft", "flush", "set", "ip", "h", "dead"], check=True)

    def _serve(self, server: socketserver.BaseServer) -> None:
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def _secure(self, address: str) -> Server:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME, address).configure_cert(context)
        server = Server((address, TLS_PORT), Accept)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        return server

    def _names(self) -> None:
        process = subprocess.Popen(
            ["dnsmasq", "--keep-in-foreground", "--no-hosts", "--no-resolv", "--conf-file=/dev/null", "--user=root",
             "--pid-file=", f"--address=/{NAME}/{NAMED}"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.processes.append(process)


class Doors:
    """Listeners that let everybody in and out again; one thread for all of them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: dict[str, socket.socket] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._greet, daemon=True).start()

    def open(self, address: str) -> None:
        """Listen at the plain port of this address, if nobody does."""
        if address in self._open:
            return
        door = socket.create_server((address, PLAIN_PORT), backlog=4096)
        door.setblocking(False)
        with self._lock:
            self._open[address] = door
            self._selector.register(door, selectors.EVENT_READ)

    def close(self, address: str) -> None:
        """Listen no more."""
        with self._lock:
            door = self._open.pop(address)
            self._selector.unregister(door)
            door.close()

    def _greet(self) -> None:
        while True:
            for key, _ in self._selector.select(1.0):
                with self._lock, contextlib.suppress(OSError):
                    assert isinstance(key.fileobj, socket.socket)
                    key.fileobj.accept()[0].close()


def until(what: str, seconds: float, true: object) -> float:
    """Wait until `true()` is; return the moment it was seen, on the monotonic clock, or end the benchmark."""
    assert callable(true)
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            print(f"gave up waiting for {what} after {seconds:g} s", file=sys.stderr)
            raise SystemExit(2)
        threading.Event().wait(0.05)
    return time.monotonic()
