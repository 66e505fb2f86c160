"""What does a plain program on the till see? No part of posagent: sockets and Debian's own tools.

    python -I -S look.py '{"wait": 1.2, "hosts": {alias: {"name": …, "4": …, "6": …}}, "looks": ["tcp4 a 443", …]}'

Takes all looks at the same time and prints one JSON object, look -> answer. A look is a word and its arguments:

    carrier · addresses · route4 · route6 · neighbour HOST · taken ADDRESS · ping4|ping6 HOST [BYTES] · loss HOST COUNT
    tcp4|tcp6 HOST PORT · connect_ms HOST PORT · tls4|tls6 HOST PORT · dns HOST · resolve HOST · http HOST · ntp HOST
    udp HOST · clock · run WORD…
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

NTP_EPOCH = 2208988800
PLAN: dict[str, Any] = json.loads(sys.argv[1])
WAIT: float = PLAN["wait"]


def address(host: str, version: str = "4") -> str:
    """Return the address of an alias."""
    return str(PLAN["hosts"][host][version])


def said(error: OSError) -> str:
    """Name an error as the kernel does."""
    if isinstance(error, TimeoutError):
        return "timeout"
    return errno.errorcode.get(error.errno or 0, str(error))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Debian's tools."""
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def carrier() -> str:
    """The link, as /sys has it."""
    try:
        with open("/sys/class/net/eth0/carrier") as file:
            return file.read().strip()
    except OSError as error:
        return said(error)


def addresses() -> str:
    """Every address of the till's interface but the IPv6 link-local one."""
    words = run("ip", "-br", "addr", "show", "eth0").stdout.split()[2:]
    return " ".join(sorted(word for word in words if not word.startswith("fe80")))


def route(family: str) -> str:
    """Where the default route leads."""
    return run("ip", family, "route", "show", "default").stdout.strip()


def neighbour(host: str) -> str:
    """Try a neighbour, and say what the neighbour table then thinks of it."""
    run("ping", "-n", "-c1", "-W1", address(host))
    return (run("ip", "neigh", "show", address(host)).stdout.split() or ["none"])[-1]


def taken(host: str) -> str:
    """Ask the LAN who else has this address."""
    done = run("arping", "-D", "-I", "eth0", "-c2", "-w1", address(host))
    return "taken" if done.returncode else "free"


def ping(version: str, host: str, size: str = "56") -> str:
    """One echo request that may not be fragmented."""
    done = run("ping", f"-{version}", "-n", "-c1", f"-W{WAIT}", "-M", "do", "-s", size, address(host, version))
    if done.returncode == 0:
        return "ok"
    words = done.stdout + done.stderr
    for text, answer in (
        ("not permitted", "EPERM"),
        ("Unreachable", "unreachable"),
        ("unreachable", "unreachable"),
        ("prohibited", "prohibited"),
        ("too long", "too long"),
        ("Frag needed", "too long"),
    ):
        if text in words:
            return answer
    return "lost"


def loss(host: str, count: str) -> str:
    """Percent of echo requests without an answer."""
    done = run("ping", "-n", "-q", "-c", count, "-i", "0.02", "-W1", address(host))
    found = re.search(r"([\d.]+)% packet loss", done.stdout)
    return str(round(float(found[1]))) if found else "?"


def tcp(version: str, host: str, port: str) -> str:
    """Connect, and hang up."""
    try:
        socket.create_connection((address(host, version), int(port)), WAIT).close()
    except OSError as error:
        return said(error)
    return "ok"


def connect_ms(host: str, port: str) -> str:
    """How long a connect takes, once the neighbours know each other."""
    try:
        socket.create_connection((address(host), int(port)), 5).close()
        start = time.monotonic()
        socket.create_connection((address(host), int(port)), 5).close()
    except OSError as error:
        return said(error)
    return str(round((time.monotonic() - start) * 1000))


def issuer(certificate: bytes) -> str:
    """Who signed it, as far as a plain search in the DER tells."""
    for known in (b"Store Security Gateway CA", b"Somebody Else's CA"):
        if known in certificate:
            return known.decode()
    return "expected issuer"


def tls(version: str, host: str, port: str) -> str:
    """One verified handshake; nothing is sent after it."""
    trust = ssl.create_default_context(cafile=PLAN["roots"])
    try:
        with (
            socket.create_connection((address(host, version), int(port)), WAIT) as bare,
            trust.wrap_socket(bare, server_hostname=PLAN["hosts"][host]["name"]),
        ):
            return "ok"
    except ssl.SSLCertVerificationError as error:
        return f"verify {error.verify_code} {presented(version, host, port)}"
    except ssl.SSLError as error:
        return type(error).__name__
    except OSError as error:
        return f"handshake {said(error)}" if tcp(version, host, port) == "ok" else said(error)


def presented(version: str, host: str, port: str) -> str:
    """Whose certificate a server shows, trusted or not."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((address(host, version), int(port)), WAIT) as bare,
        blind.wrap_socket(bare, server_hostname=PLAN["hosts"][host]["name"]) as wrapped,
    ):
        return issuer(wrapped.getpeercert(True) or b"")


def resolver() -> str:
    """The first server of /etc/resolv.conf."""
    with open("/etc/resolv.conf") as file:
        return next(line.split()[1] for line in file if line.startswith("nameserver"))


def dns(host: str) -> str:
    """Ask the resolver itself for an A record."""
    name = PLAN["hosts"][host]["name"].encode()
    labels = b"".join(bytes([len(part)]) + part for part in name.split(b".")) + b"\0"
    query = struct.pack("!6H", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(WAIT)
        try:
            asker.connect((resolver(), 53))
            asker.send(query)
            answer = asker.recv(1500)
        except OSError as error:
            return said(error)
    code = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}[answer[3] & 15]
    return f"{code} {socket.inet_ntoa(answer[-4:])}" if int.from_bytes(answer[6:8], "big") else code


def resolve(host: str) -> str:
    """Ask the system, as a naive program would."""
    try:
        socket.getaddrinfo(PLAN["hosts"][host]["name"], 443)
    except socket.gaierror as error:
        return {getattr(socket, word): word for word in ("EAI_AGAIN", "EAI_NONAME", "EAI_FAIL", "EAI_NODATA")}[
            error.errno
        ]
    return "ok"


def http(host: str) -> str:
    """One request; the status and where it leads."""
    try:
        with socket.create_connection((address(host), 80), WAIT) as peer:
            peer.sendall(f"GET / HTTP/1.1\r\nHost: {PLAN['hosts'][host]['name']}\r\n\r\n".encode())
            head = peer.recv(4096).decode()
    except OSError as error:
        return said(error)
    found = re.search(r"^Location: (\S+)", head, re.MULTILINE)
    return " ".join([head.split()[1], *([found[1]] if found else [])])


def ntp(host: str) -> str:
    """Stratum, and by how many seconds this clock is behind the server's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(WAIT)
        try:
            asker.connect((address(host), 123))
            asker.send(b"\x23" + bytes(47))
            answer = asker.recv(100)
        except OSError as error:
            return said(error)
    if len(answer) < 48:
        return "babble"
    theirs = int.from_bytes(answer[40:44], "big") - NTP_EPOCH
    return f"stratum {answer[1]} offset {round((theirs - time.time()) / 10) * 10}"


def udp(host: str) -> str:
    """Send one datagram: what does this PC itself say to that?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"x", (address(host), 443))
        except OSError as error:
            return said(error)
    return "sent"


def command(*words: str) -> str:
    """Whatever another program says, with its exit code when that is not 0."""
    done = run(*words)
    return " ".join(done.stdout.split()) + (
        f" [{done.returncode}] {done.stderr.strip()[-200:]}" if done.returncode else ""
    )


LOOKS = {
    "carrier": carrier,
    "addresses": addresses,
    "route4": lambda: route("-4"),
    "route6": lambda: route("-6"),
    "neighbour": neighbour,
    "taken": taken,
    "ping4": lambda *a: ping("4", *a),
    "ping6": lambda *a: ping("6", *a),
    "loss": loss,
    "tcp4": lambda *a: tcp("4", *a),
    "tcp6": lambda *a: tcp("6", *a),
    "connect_ms": connect_ms,
    "tls4": lambda *a: tls("4", *a),
    "tls6": lambda *a: tls("6", *a),
    "dns": dns,
    "resolve": resolve,
    "http": http,
    "ntp": ntp,
    "udp": udp,
    "clock": lambda: str(round(time.time() / 86400)),
    "run": command,
}


def take(look: str) -> str:
    """Take one look."""
    word, *arguments = look.split()
    try:
        return str(LOOKS[word](*arguments))  # type: ignore[operator]
    except OSError as error:
        return said(error)


with ThreadPoolExecutor(32) as pool:
    print(json.dumps(dict(zip(PLAN["looks"], pool.map(take, PLAN["looks"]), strict=True))))
