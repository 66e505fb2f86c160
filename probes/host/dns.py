"""Which name servers is this PC told to use, and what does each of them answer?

Asked directly, packet by packet, because getaddrinfo says "temporary failure" for a resolver that crashed, one that is
silent and one that has no upstream alike. dnspython reads and writes the packets; sockets and deadlines are our own.
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from probes.endpoints import is_address, join
from probes.host import Host, files, udp
from probes.model import OutOfTime
from probes.redact import scrub

if TYPE_CHECKING:
    import dns.message

PORT = 53
GLIBC_LIMIT = 3  # the C library heeds no more `nameserver` lines than this
SEARCH_LIMIT = 3
STUBS = {
    "127.0.0.53": "/run/systemd/resolve/resolv.conf",
    "127.0.0.54": "/run/systemd/resolve/resolv.conf",
    "127.0.1.1": "/run/NetworkManager/no-stub-resolv.conf",
    "127.0.0.1": "/run/NetworkManager/no-stub-resolv.conf",
}
"""Local forwarders, and where they write down the resolvers they were given."""

TYPES = ("A", "AAAA")
CANARY = "canary"
OUTCOMES = ("refused", "servfail", "timeout", "no_such_name", "no_address")
"""What A and AAAA together come to when neither gives an address: the first of these that either said."""


class Resolvers(msgspec.Struct, frozen=True):
    """What resolv.conf (and the files behind a local stub) say."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    stub: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What one resolver said. `outcome` is "addresses" or one of OUTCOMES; `detail` is its raw reason."""

    server: str
    outcome: str
    detail: str = ""
    addresses: tuple[str, ...] = ()
    seconds: float = 0.0
    silent: tuple[str, ...] = ()
    canary: tuple[str, ...] = ()
    blocked_here: bool = False


class _Part(msgspec.Struct, frozen=True):
    outcome: str
    detail: str = ""
    addresses: tuple[str, ...] = ()


def configured(host: Host) -> Resolvers:
    """The resolvers of this PC: those of resolv.conf, and those behind a local stub."""
    here = parse(_text(host, "/etc/resolv.conf"))
    servers = here.servers[:GLIBC_LIMIT]
    stub = next((server for server in servers if server in STUBS), "")
    behind = parse(_text(host, STUBS[stub])).servers if stub else ()
    return Resolvers(tuple(dict.fromkeys(servers + behind)), here.search[:SEARCH_LIMIT], stub if behind else "")


def parse(text: str) -> Resolvers:
    """The `nameserver` and the last `search` or `domain` line of a resolv.conf; everything else is passed over."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver" and is_address(words[1]):
            servers.append(words[1])
        elif words[0] in {"search", "domain"}:
            search = tuple(word.strip(".") for word in words[1:] if word.strip("."))
    return Resolvers(tuple(dict.fromkeys(servers)), search)


def ask_all(
    host: Host, servers: tuple[tuple[str, int], ...], names: tuple[str, ...], canary: bool
) -> tuple[Answer, ...]:
    """Ask every server for A and AAAA of the names, all at the same time. `names` are tried in the order given."""
    if len(servers) < 2:  # most tills have one resolver, and no thread is started for it
        return tuple(ask(host, server, names, canary) for server in servers)
    with ThreadPoolExecutor(len(servers), "dns") as pool:  # every worker ends at the deadline of `host`
        return tuple(pool.map(lambda server: ask(host, server, names, canary), servers))


def ask(host: Host, server: tuple[str, int], names: tuple[str, ...], canary: bool = False) -> Answer:
    """Ask one server. Never raises for what a server does; OutOfTime only when there is no time to begin with."""
    label = server[0] if server[1] == PORT else join(*server)
    try:
        queries = _queries(names, canary)
    except ValueError as error:
        return Answer(label, "no_such_name", f"cannot be a name: {error}")
    wires = {key: query.to_wire() for key, query in queries.items()}
    unreadable: list[str] = []

    def which(data: bytes) -> tuple[str, str] | None:
        return _question_of(data, queries, unreadable)

    try:
        replies = udp.exchange(host, server, wires, which, frozenset(key for key in queries if key[0] == CANARY))
    except OSError as error:
        return _unreachable(label, error)
    parts = {key: _part(host, server, queries[key], reply.data) for key, reply in replies.items()}
    asked = _first_name(names, parts)
    pair = {kind: parts.get((asked, kind)) for kind in TYPES}
    seconds = max((replies[asked, kind].seconds for kind in TYPES if (asked, kind) in replies), default=0.0)
    fooled = next((part.addresses for key, part in parts.items() if key[0] == CANARY), ())
    return _together(label, pair, seconds, fooled, unreadable)


def _queries(names: tuple[str, ...], canary: bool) -> dict[tuple[str, str], dns.message.Message]:
    """One query per name and type, each with an id of its own. Raises ValueError for what cannot be a name."""
    import dns.exception
    import dns.message

    keys = [(name, kind) for name in names for kind in TYPES]
    if canary:
        keys.append((CANARY, "A"))
    ids = secrets.SystemRandom().sample(range(1 << 16), len(keys))
    made: dict[tuple[str, str], dns.message.Message] = {}
    for number, (name, kind) in zip(ids, keys, strict=True):
        # RFC 6761: nothing exists under .invalid, and a sound resolver says so without asking anybody
        asked = f"posagent-{secrets.token_hex(4)}.invalid." if name == CANARY else name.rstrip(".") + "."
        try:
            made[name, kind] = dns.message.make_query(asked, kind, id=number)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise ValueError(str(error) or type(error).__name__) from error
    return made


def _question_of(
    data: bytes, queries: dict[tuple[str, str], dns.message.Message], unreadable: list[str]
) -> tuple[str, str] | None:
    """Which query a datagram answers; None for strays, forgeries and damage (which is noted)."""
    if len(data) < 12 or not data[2] & 0x80:
        return None
    number = int.from_bytes(data[:2], "big")
    for key, query in queries.items():
        if query.id == number:
            try:
                answer = _read(data)
            except ValueError as error:
                unreadable.append(scrub(f"unreadable answer: {error}"))
                return None
            return key if query.is_response(answer) else None
    return None


def _read(data: bytes) -> dns.message.Message:
    """Parse one packet. Raises ValueError for whatever is wrong with it."""
    import dns.exception
    import dns.message

    try:
        return dns.message.from_wire(data, ignore_trailing=True, one_rr_per_rrset=False)
    except (dns.exception.DNSException, ValueError, struct.error, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__} {error}".strip()[:120]) from error


def _part(host: Host, server: tuple[str, int], query: dns.message.Message, data: bytes) -> _Part:
    """What one answer says; a truncated one is asked for again over TCP."""
    import dns.flags
    import dns.rcode

    answer = _read(data)
    if answer.flags & dns.flags.TC:
        try:
            answer = _over_tcp(host, server, query)
        except (OSError, OutOfTime) as error:
            return _Part("timeout", f"truncated over UDP, and TCP failed: {error}")
        except ValueError as error:
            return _Part("servfail", f"truncated over UDP, and over TCP: {error}")
    rcode = answer.rcode()
    if rcode != dns.rcode.NOERROR:
        outcome = {dns.rcode.REFUSED: "refused", dns.rcode.NXDOMAIN: "no_such_name"}.get(rcode, "servfail")
        return _Part(outcome, f"answered {dns.rcode.to_text(rcode)}")
    addresses = _addresses(answer)
    return _Part("addresses", "", addresses) if addresses else _Part("no_address", "answered with no address")


def _addresses(answer: dns.message.Message) -> tuple[str, ...]:
    import dns.rdataclass
    import dns.rdatatype

    wanted = {(dns.rdataclass.IN, dns.rdatatype.A), (dns.rdataclass.IN, dns.rdatatype.AAAA)}
    found = [record.address for rrset in answer.answer if (rrset.rdclass, rrset.rdtype) in wanted for record in rrset]
    return tuple(str(ipaddress.ip_address(address)) for address in dict.fromkeys(found))


def _over_tcp(host: Host, server: tuple[str, int], query: dns.message.Message) -> dns.message.Message:
    """The same question over TCP. Raises OSError or ValueError."""
    wire = query.to_wire()
    with socket.create_connection(server, timeout=host.left()) as sock:
        sock.settimeout(host.left())
        sock.sendall(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", _exactly(host, sock, 2))
        answer = _read(_exactly(host, sock, length))
    if not query.is_response(answer):
        raise ValueError("the answer is to another question")
    return answer


def _exactly(host: Host, sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        sock.settimeout(host.left())
        more = sock.recv(count - len(data))
        if not more:
            raise ValueError("the connection was closed in the middle of the answer")
        data += more
    return data


def _first_name(names: tuple[str, ...], parts: dict[tuple[str, str], _Part]) -> str:
    """The name whose answer counts: the first with addresses, else the last (the name as it was given)."""
    for name in names:
        if any(parts[name, kind].addresses for kind in TYPES if (name, kind) in parts):
            return name
    return names[-1]


def _together(
    label: str, pair: dict[str, _Part | None], seconds: float, canary: tuple[str, ...], unreadable: list[str]
) -> Answer:
    """A and AAAA as one answer."""
    silent = tuple(kind for kind, part in pair.items() if part is None)
    addresses = tuple(address for part in pair.values() if part for address in part.addresses)
    if addresses:
        return Answer(label, "addresses", "", addresses, seconds, silent, canary)
    detail = unreadable[-1] if unreadable else "no answer"
    said = [part or _Part("timeout", detail) for part in pair.values()]
    worst = min(said, key=lambda part: OUTCOMES.index(part.outcome))
    return Answer(label, worst.outcome, worst.detail, (), seconds, silent, canary)


def _unreachable(label: str, error: OSError) -> Answer:
    """The network itself said no."""
    code = errno.errorcode.get(error.errno or 0, str(error))
    if isinstance(error, ConnectionRefusedError):
        return Answer(label, "refused", "nothing listens there (ICMP port unreachable)")
    if isinstance(error, PermissionError):
        return Answer(label, "refused", f"forbidden by this PC's own firewall ({code})", blocked_here=True)
    return Answer(label, "timeout", f"cannot be reached ({code})")


def _text(host: Host, path: str) -> str:
    try:
        return files.read_text(host.path(path), 1 << 16)
    except OSError:
        return ""
