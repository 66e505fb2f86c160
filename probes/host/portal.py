"""What comes back for one plain HTTP request? In clear, without proxy, no redirect followed: as a portal alters it."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

import msgspec

from probes.host import Host, tcp
from probes.model import OutOfTime
from probes.redact import scrub

LIMIT = 1 << 16
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]{1,15})", re.IGNORECASE)
_LOCATION = re.compile(rb"\r?\nlocation:[ \t]*([^\r\n]*)", re.IGNORECASE)


class Page(msgspec.Struct, frozen=True):
    """One HTTP answer: its status, where it sends us, and the beginning of its body."""

    status: int
    location: str = ""
    body: str = ""


class NoPage(Exception):
    """No HTTP answer; the text says why."""


def get(host: Host, url: str) -> Page:
    """GET once. Raises NoPage."""
    parts = urlsplit(url)
    name, port = parts.hostname or "", parts.port or 80
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: posagent\r\nConnection: close\r\n\r\n"
    with tcp.reaching(host, name, port) as (reach, connection):
        if connection is None:
            why = reach.unresolved_text or ", ".join(attempt.outcome for attempt in reach.attempts)
            raise NoPage(f"no connection to {name}:{port}: {why}")
        try:
            return parse(_exchange(host, connection, request.encode()))
        except OSError as error:
            raise NoPage(f"{name}:{port}: {error}") from error


def parse(data: bytes) -> Page:
    """Read an answer, whole or cut off. Raises NoPage for what is no HTTP."""
    found = _STATUS.match(data)
    if found is None:
        raise NoPage(f"not an HTTP answer: {scrub(data[:60].decode('ascii', 'replace'))!r}")
    head, _, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    location = _LOCATION.search(head)
    where = scrub(location[1].decode("ascii", "replace")).strip() if location else ""
    return Page(int(found[1]), where, scrub(body.decode("utf-8", "replace")))


def _exchange(host: Host, connection: socket.socket, request: bytes) -> bytes:
    """The answer until it is whole, the limit is reached or the server closes; what there is when time is up."""
    connection.settimeout(host.left())
    connection.sendall(request)
    data = b""
    while len(data) < LIMIT and not _is_whole(data):
        try:
            connection.settimeout(host.left())
            more = connection.recv(8192)
        except (TimeoutError, OutOfTime) as error:
            if _STATUS.match(data):
                break
            raise TimeoutError("no answer in time") from error
        if not more:
            break
        data += more
    return data


def _is_whole(data: bytes) -> bool:
    """Whether nothing more that matters can come: no body, one that is irrelevant, or all of it."""
    head, gap, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    status = _STATUS.match(head)
    if not gap or status is None:
        return False
    length = _LENGTH.search(head)
    return status[1] == b"204" or status[1][:1] == b"3" or (length is not None and len(body) >= int(length[1]))
