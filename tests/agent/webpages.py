"""A page that is really there: opened on a free port of loopback, asked over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from agent.config.web import Web
from agent.web import Page, Sight
from tests.agent import daemons


class Got(NamedTuple):
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def encoded(seq: int = 1, **more: Any) -> bytes:
    now = daemons.stamp(time.time())
    probe = daemons.probe("disk") | {"impact": "degrade", "confirmed": True, "since": now, "checked_at": now}
    return json.dumps(daemons.report(probe, seq=seq, **more)).encode()


class Shown:
    """A page and whoever asks it."""

    def __init__(self, page: Page, sight: Sight, port: int) -> None:
        self.page, self.sight, self.port = page, sight, port

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Got:
        """One request on a connection of its own."""
        if tls is None:
            caller = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        else:
            caller = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=tls)
        try:
            caller.request(method, path, body, {"Connection": "close", **(headers or {})})
            answer = caller.getresponse()
            return Got(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
        finally:
            caller.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, data: bytes, patience: float = 5.0) -> bytes:
        """What comes back for these bytes until it is closed, or nothing more comes."""
        with self.connect() as sock:
            sock.settimeout(patience)
            found = b""
            try:
                sock.sendall(data)
                while more := sock.recv(65536):
                    found += more
            except OSError:
                pass
            return found

    def again(self, sock: socket.socket, path: str, *headers: str) -> Got:
        """One more request on this connection."""
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers, "", ""]
        sock.sendall("\r\n".join(lines).encode())
        answer = http.client.HTTPResponse(sock, method="GET")
        answer.begin()
        return Got(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())

    @property
    def server(self) -> Any:
        return self.page._server


@contextmanager
def shown(state: str | None = None, *, env: Mapping[str, str] | None = None, **settings: Any) -> Iterator[Shown]:
    """A page with a report to show."""
    port = free_port()
    sight = Sight(lambda language: None)
    sight.put("en", encoded())
    settings.setdefault("listen", f"127.0.0.1:{port}")
    page = Page(Web(**settings), sight, state, env or {})
    page.start()
    try:
        yield Shown(page, sight, port)
    finally:
        page.stop(1.0)


def until(wish: Any, patience: float = 10.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + patience
    while not wish():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
