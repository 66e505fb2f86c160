"""What answers beyond the till: TLS, plain TCP, HTTP, DNS and SNTP servers, honest until told otherwise.

Runs inside a namespace as `python -I servers.py PLAN`; only the standard library. PLAN is a JSON file:

    {"control": path, "certificates": directory, "zone": {name: [addresses]},
     "hosts": [{"name": …, "addresses": […], "tcp": {"443": "tls", …}, "udp": {"123": "ntp"}}]}

The control file is JSON too and read at every connection and every datagram, so that a fault is one rename away:
`{"auth.acquirer-a.example": "stall"}`. Moods:

    tls   ok · stall (accepts, says nothing) · half (half a ServerHello, then nothing) · close · reset · cert:NAME · tls12
    tcp   ok · stall · close · reset
    http  ok · stall · close · reset · status:NNN · body:TEXT
    ntp   ok · silent · offset:SECONDS · stratum16 · kiss · babble
    dns   ok · silent · servfail · refused · all:ADDRESS · missing:NAME,NAME · lie:ADDRESS,NAME,NAME · slow:SECONDS
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STALL_SECONDS = 60.0
NTP_EPOCH = 2208988800
SO_ORIGINAL_DST = 80
LINGER_ZERO = struct.pack("ii", 1, 0)


class Plan:
    """What this process serves, and how it feels about it just now."""

    def __init__(self, path: str) -> None:
        """Read the plan; certificates are loaded once."""
        plan: dict[str, Any] = json.loads(Path(path).read_text())
        self.hosts: list[dict[str, Any]] = plan["hosts"]
        self.zone: dict[str, list[str]] = plan.get("zone", {})
        self._control = Path(plan["control"])
        self._contexts = {pem.stem: context(pem) for pem in Path(plan["certificates"]).glob("*.pem")}

    def mood(self, name: str) -> str:
        """Return how `name` behaves at this moment."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(self._control.read_text()).get(name, "ok"))
        return "ok"

    def certificate(self, name: str, sni_prefix: str = "") -> ssl.SSLContext:
        """Return the context that shows certificate `name`, or, with a prefix, one chosen by the client's SNI."""
        chosen = self._contexts[name]
        if sni_prefix:

            def by_name(tls: ssl.SSLObject | ssl.SSLSocket, asked: str, _context: ssl.SSLContext) -> None:
                tls.context = self._contexts.get(f"{sni_prefix}{asked}", chosen)

            chosen.sni_callback = by_name
        return chosen


def context(pem: Path) -> ssl.SSLContext:
    """Load one server certificate with its chain and key."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem)
    return made


def stall(peer: socket.socket) -> None:
    """Take whatever comes and never answer, until the other side gives up."""
    peer.settimeout(STALL_SECONDS)
    while peer.recv(4096):
        pass


def reset(peer: socket.socket) -> None:
    """Hang up rudely."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)


def half_a_handshake(peer: socket.socket) -> None:
    """Begin a ServerHello and fall silent in the middle of the record."""
    peer.recv(4096)
    peer.sendall(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(40))
    stall(peer)


def serve_tcp(_plan: Plan, _name: str, peer: socket.socket, _mood: str) -> None:
    """A host protocol that waits for the terminal to speak first."""
    stall(peer)


def serve_http(_plan: Plan, name: str, peer: socket.socket, mood: str) -> None:
    """One small answer to one request; a portal check gets its 204."""
    request = b""
    while b"\r\n\r\n" not in request and len(request) < 8192:
        if not (more := peer.recv(4096)):
            return
        request += more
    kind, _, value = mood.partition(":")
    status, body = ("204 No Content", "") if name.startswith("portal") else ("200 OK", "alive\n")
    extra = ""
    if kind == "status":
        status, body = f"{value} Broken", "broken\n"
    elif kind == "body":
        status, body = "200 OK", value
    elif kind == "redirect":
        status, body, extra = "302 Found", "please sign in\n", f"Location: {value}\r\n"
    head = f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    peer.sendall((head + body).encode())


def serve_tls(plan: Plan, name: str, peer: socket.socket, mood: str) -> None:
    """A payment host: finishes the handshake, then waits."""
    if mood == "half":
        half_a_handshake(peer)
        return
    shown = mood.removeprefix("cert:") if mood.startswith("cert:") else name
    tls = plan.certificate("tls12" if mood == "tls12" else shown)
    with tls.wrap_socket(peer, server_side=True) as wrapped:
        stall(wrapped)


def serve_https(plan: Plan, name: str, peer: socket.socket, mood: str) -> None:
    """HTTP inside TLS."""
    with plan.certificate(name).wrap_socket(peer, server_side=True) as wrapped:
        serve_http(plan, name, wrapped, mood)


def original_destination(peer: socket.socket) -> tuple[str, int]:
    """Return whom the client wanted before the firewall turned the connection here."""
    local = peer.getsockname()[0]
    if ":" in local and not local.startswith("::ffff:"):
        raw = peer.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")
    raw = peer.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntoa(raw[4:8]), int.from_bytes(raw[2:4], "big")


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way until either side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(16384):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def serve_inspection(plan: Plan, _name: str, peer: socket.socket, _mood: str) -> None:
    """A store firewall that reads TLS: shows its own certificate for the name asked, and passes the rest on."""
    wanted = original_destination(peer)
    outward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outward.check_hostname = False
    outward.verify_mode = ssl.CERT_NONE
    inward = plan.certificate("resigned", sni_prefix="resigned-")
    with inward.wrap_socket(peer, server_side=True) as inner, socket.create_connection(wanted, 5) as bare:
        bare.settimeout(STALL_SECONDS)
        with outward.wrap_socket(bare) as outer:
            back = threading.Thread(target=pump, args=(outer, inner), daemon=True)
            back.start()
            pump(inner, outer)
            back.join()


STREAMS: dict[str, Callable[[Plan, str, socket.socket, str], None]] = {
    "tcp": serve_tcp,
    "tls": serve_tls,
    "http": serve_http,
    "https": serve_https,
    "inspection": serve_inspection,
}


def converse(plan: Plan, name: str, service: str, peer: socket.socket) -> None:
    """Serve one connection in the mood of the moment."""
    mood = plan.mood(name)
    with contextlib.suppress(OSError, ssl.SSLError), peer:
        peer.settimeout(STALL_SECONDS)
        if mood == "stall":
            stall(peer)
        elif mood == "close":
            peer.recv(4096)
        elif mood == "reset":
            peer.recv(4096)
            reset(peer)
        else:
            STREAMS[service](plan, name, peer, mood)


def answer_ntp(plan: Plan, name: str, request: bytes) -> bytes | None:
    """An SNTP server by RFC 4330, or a liar."""
    mood, _, value = plan.mood(name).partition(":")
    if mood == "silent" or len(request) < 48:
        return None
    if mood == "babble":
        return b"\xff" * 20
    now = time.time() + NTP_EPOCH + (float(value) if mood == "offset" else 0.0)
    stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
    stratum, leap, name_tag = {"stratum16": (16, 3, b"INIT"), "kiss": (0, 3, b"RATE")}.get(mood, (2, 0, b"LAB\0"))
    head = struct.pack("!BBbbII4s", leap << 6 | 4 << 3 | 4, stratum, 6, -20, 0x80, 0x80, name_tag)
    return head + stamp + request[40:48] + stamp + stamp


def question_of(query: bytes) -> tuple[str, int, int]:
    """Return the name and type asked for, and where the question ends."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels).lower(), int.from_bytes(query[at + 1 : at + 3], "big"), at + 5


def records(addresses: list[str], asked: int) -> list[bytes]:
    """Encode the addresses of the wanted family as answer records that point back at the question."""
    wanted = {1: 4, 28: 6}.get(asked)
    packed = [ipaddress.ip_address(text) for text in addresses]
    return [
        struct.pack("!HHHIH", 0xC00C, asked, 1, 5, len(one.packed)) + one.packed
        for one in packed
        if one.version == wanted
    ]


def answer_dns(plan: Plan, name: str, query: bytes) -> bytes | None:
    """An authoritative server for the lab's names, or a broken one."""
    mood, _, value = plan.mood(name).partition(":")
    if mood == "silent" or len(query) < 17:
        return None
    asked_name, asked_type, end = question_of(query)
    code, found = 0, plan.zone.get(asked_name)
    if mood in ("servfail", "refused"):
        code, found = {"servfail": 2, "refused": 5}[mood], []
    elif mood == "all":
        found = [value]
    elif mood == "lie" and asked_name in value.split(",")[1:]:
        found = value.split(",")[:1]
    elif found is None or (mood == "missing" and asked_name in value.split(",")):
        code, found = 3, []
    answers = records(found or [], asked_type)
    flags = 0x8580 | code
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
    return head + query[12:end] + b"".join(answers)


DATAGRAMS: dict[str, Callable[[Plan, str, bytes], bytes | None]] = {"ntp": answer_ntp, "dns": answer_dns}


def bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    """Open a server socket on one address; "*" takes both families."""
    family = socket.AF_INET6 if ":" in address or address == "*" else socket.AF_INET
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "*"))
    made.bind(("::" if address == "*" else address, port))
    if kind == socket.SOCK_STREAM:
        made.listen(128)
    return made


def take_connection(plan: Plan, name: str, service: str, listener: socket.socket) -> None:
    """Accept, and let a thread do the talking."""
    peer, _ = listener.accept()
    threading.Thread(target=converse, args=(plan, name, service, peer), daemon=True).start()


def take_datagram(plan: Plan, name: str, service: str, listener: socket.socket) -> None:
    """Answer one datagram; nonsense gets no answer."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        data, sender = listener.recvfrom(4096)
        if (reply := DATAGRAMS[service](plan, name, data)) is not None:
            mood, _, value = plan.mood(name).partition(":")
            if mood == "slow":
                threading.Timer(float(value), listener.sendto, (reply, sender)).start()
            else:
                listener.sendto(reply, sender)


def main(path: str) -> None:
    """Open everything, say so, serve until killed."""
    plan = Plan(path)
    watch = selectors.DefaultSelector()
    for host in plan.hosts:
        for address in host["addresses"]:
            for port, service in host.get("tcp", {}).items():
                stream = bound(socket.SOCK_STREAM, address, int(port))
                watch.register(stream, selectors.EVENT_READ, (take_connection, host["name"], service))
            for port, service in host.get("udp", {}).items():
                packet = bound(socket.SOCK_DGRAM, address, int(port))
                watch.register(packet, selectors.EVENT_READ, (take_datagram, host["name"], service))
    print("serving", flush=True)
    while True:
        for key, _ in watch.select():
            take, name, service = key.data
            take(plan, name, service, key.fileobj)


if __name__ == "__main__":
    main(sys.argv[1])
