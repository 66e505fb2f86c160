"""How long may one connection take, how much may it have at a time, and with which TLS? waitress' channel, held short.

One request at a time: who sends more before it has its answer gets that answer and is closed, so that what waits to be
sent is never more than one answer to each.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask

from agent.web.app import STATUS, dress, text

if TYPE_CHECKING:
    import socket
    import ssl

    from waitress.adjustments import Adjustments
    from waitress.server import TcpWSGIServer

SHAKE_S, READ_S, IDLE_S, SEND_S = 5.0, 10.0, 15.0, 20.0
"""How long a connection may shake hands, take to say what it wants, wait between two requests, take its answer in."""


class _Refusal(ErrorTask):  # type: ignore[misc]  # waitress brings no types
    """What is no HTTP, or too much of it, is told so in our words: waitress would repeat what was sent."""

    def execute(self) -> None:
        code = self.request.error.code
        line = STATUS.get(code, STATUS[400])
        self.status, headers, body = dress(text(code if code in STATUS else 400, line[4:].lower() + "\n"), {})
        self.response_headers.extend(each for each in headers if each[0] != "Content-Length")
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """One request. What its reader sends behind it, before it has the answer, is dropped, and so is the connection."""

    def received(self, data: bytes) -> int:
        """How much of it was taken."""
        taken = int(super().received(data))
        if self.completed and not self.empty and taken < len(data):
            if data[taken:].strip():  # an empty line is what some old readers end with
                self.headers["CONNECTION"] = "close"
            return len(data)
        return taken


class Connection(HTTPChannel):  # type: ignore[misc]
    """One reader. It has to get on with it."""

    parser_class = _Request
    error_task_class = _Refusal

    def __init__(self, server: TcpWSGIServer, sock: socket.socket, addr: Any, adj: Adjustments, map: Any) -> None:
        self._answered = 0
        self._doing: tuple[str, Any, int] = ("", None, 0)
        self.since = time.monotonic()
        super().__init__(server, sock, addr, adj, map)

    def service(self) -> None:
        """One more request is answered, in a thread of the server."""
        self._answered += 1
        super().service()

    def phase(self) -> tuple[str, float]:
        """What it is about, and how long that may take."""
        if self.total_outbufs_len:
            return "send", SEND_S  # also while a thread of ours is not through with it
        if self.requests:
            return "answer", math.inf  # ours to get on with
        return ("read", READ_S) if self.request is not None else ("idle", READ_S if not self._answered else IDLE_S)

    def deadline(self, now: float) -> float:
        """By when it has to get on."""
        phase, limit = self.phase()
        doing = (phase, self.request, self._answered)
        if doing != self._doing:
            self._doing, self.since = doing, now
        return self.since + limit


class Secured(Connection):
    """One reader, behind TLS. SSL objects are not for two threads at once."""

    def __init__(self, server: TcpWSGIServer, sock: ssl.SSLSocket, addr: Any, adj: Adjustments, map: Any) -> None:
        self._tls = threading.Lock()
        self._shaking, self._must_write = True, False
        super().__init__(server, sock, addr, adj, map)

    def phase(self) -> tuple[str, float]:
        """What it is about: before all, it shakes hands."""
        return ("shake", SHAKE_S) if self._shaking else super().phase()

    def readable(self) -> bool:
        """Whether what comes is wanted."""
        return not self._must_write if self._shaking else bool(super().readable())

    def writable(self) -> bool:
        """Whether it has something to send."""
        return self._must_write or self.will_close if self._shaking else bool(super().writable())

    def handle_write(self) -> None:
        """It takes something."""
        if self._shaking and not self.will_close:
            self._shake()
        else:
            super().handle_write()

    def handle_read(self) -> None:
        """Something came."""
        if self._shaking:
            self._shake()
            return
        while self.connected and not self.will_close and not self.requests:
            try:
                super().handle_read()
            except _NothingYet:
                return
            with self._tls:
                if self.socket is None or not self.socket.pending():
                    return

    def _shake(self) -> None:
        import ssl

        self._must_write = False
        try:
            with self._tls:
                self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._must_write = True
        except OSError:
            self.handle_close()  # not TLS, or none that will do: nothing to say to that
        else:
            self._shaking = False

    def recv(self, size: int) -> bytes:
        """What one record brought. Raises _NothingYet."""
        import ssl

        try:
            with self._tls:
                data: bytes = self.socket.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise _NothingYet from None
        if not data:
            self.handle_close()
        return data

    def send(self, data: bytes, do_close: bool = True) -> int:
        """How much of it went out."""
        import ssl

        try:
            with self._tls:
                return int(self.socket.send(data))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0


class _NothingYet(Exception):
    """The record is not complete."""
