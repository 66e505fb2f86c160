"""In which words does one speak of HTTP? Where it leads, what is asked, what comes back, and how far it got."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from probes.host.tcp import Reach
from probes.host.tls import Handshake

CAP = 1 << 20


class Site(msgspec.Struct, frozen=True):
    """Where a URL leads."""

    scheme: str
    host: str
    port: int


class Request(msgspec.Struct, frozen=True):
    """What is asked for. Its `repr` says where, and nothing else: the rest may be secret."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    most: int = CAP
    """How much of the answer's body is of use."""

    def __repr__(self) -> str:
        return f"{self.method} {urlsplit(self.url).hostname}"


class Answer(msgspec.Struct, frozen=True):
    """What came back. `status` 0: no valid HTTP. The body is for looking into, not for keeping."""

    status: int = 0
    phrase: str = ""
    location: str = ""
    retry_after: str = ""
    date: str = ""
    body: bytes = b""
    cut: bool = False
    timed_out: bool = False
    error: str = ""
    odd_head: str = ""
    """What is wrong with the headers: they may have broken off, which http.client takes for their end."""


class Exchange(msgspec.Struct, frozen=True):
    """How far one request got: a connection, a handshake, an answer. Seconds are of the whole."""

    reach: Reach
    handshake: Handshake | None = None
    proxy_answer: Answer | None = None
    answer: Answer | None = None
    seconds: float = 0.0


def site(url: str) -> Site:
    """Host and port of a URL. Raises ValueError for one that leads nowhere."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL with a host")
    return Site(
        parts.scheme,
        parts.hostname.encode("idna").decode("ascii"),
        parts.port or (443 if parts.scheme == "https" else 80),
    )
