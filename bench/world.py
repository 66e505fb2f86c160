"""What do the benchmarks look at? Servers on loopback in a network namespace of their own, alike for every peer."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

TCP_PORTS = range(10001, 10011)
TLS_PORT, HTTP_PORT = 10443, 10080
NAMES = ("auth.acquirer.example", "batch.acquirer.example")
BLACK_HOLES = ("127.0.9.1", "127.0.9.2", "127.0.9.3", "127.0.9.4")


def enter(directory: Path) -> None:
    """Leave the machine's network and its resolv.conf behind; needs root."""
    if os.geteuid():
        raise SystemExit("cannot make a network namespace: run the benchmarks as root")
    unshare()
    resolv = directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    rule = f"add rule ip h in ip daddr {{ {', '.join(BLACK_HOLES)} }} drop"
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "--bind", str(resolv), "/etc/resolv.conf"],
        ["ip", "link", "set", "lo", "up"],
        ["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"],
        ["nft", f"add table ip h; add chain ip h in {{ type filter hook input priority 0; }}; {rule}"],
    ):
        subprocess.run(command, check=True, timeout=10)


def unshare() -> None:
    """Leave the machine's network and mounts, for good."""
    import ctypes

    CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000  # noqa: N806 -- the kernel's names, for Python before 3.12
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot unshare")


class Accept(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.settimeout(2)
            if isinstance(self.request, ssl.SSLSocket):
                self.request.do_handshake()
            self.request.recv(1)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"hello\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 -- http.server's name

    def log_message(self, *_words: object) -> None:
        pass


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[Path]:
    """Ten TCP listeners, TLS, HTTP and a name server; yields the file of the CA."""
    authority = trustme.CA()
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*NAMES).configure_cert(context)
    secure = Server(("127.0.0.1", TLS_PORT), Accept)
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    running: list[socketserver.BaseServer] = [secure, ThreadingHTTPServer(("127.0.0.1", HTTP_PORT), Hello)]
    running += [Server(("127.0.0.1", port), Accept) for port in TCP_PORTS]
    for server in running:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    dns = subprocess.Popen(
        ["dnsmasq", "--keep-in-foreground", "--no-hosts", "--no-resolv", "--conf-file=/dev/null", "--user=root",
         "--pid-file=", *(f"--address=/{name}/127.0.0.1" for name in NAMES)]
    )  # fmt: skip
    try:
        _wait_for_port(53)
        yield ca_file
    finally:
        dns.terminate()
        dns.wait(5)
        for server in running:
            server.shutdown()
            server.server_close()


def _wait_for_port(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
            return
        threading.Event().wait(0.05)
    raise SystemExit(f"nothing listens on port {port}")
