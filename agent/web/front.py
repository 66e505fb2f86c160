"""Who gets a connection, for how long, and with which TLS? waitress, held short.

waitress gives an idle or dripping connection as long as it likes to drip, counts time by the wall clock, wakes every
second and speaks no TLS. Here whoever does not get on is closed, newcomers take the place of whoever waits longest,
nothing wakes while nobody looks, and TLS is spoken in the same thread.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher

from agent.web.app import STATUS, dress, text

if TYPE_CHECKING:
    import ssl

THREADS = 2
CONNECTIONS = 100
BACKLOG = 128
SHAKE_S, READ_S, IDLE_S, SEND_S = 5.0, 10.0, 15.0, 20.0
"""How long a connection may shake hands, take to say what it wants, wait between two requests, take its answer in."""
PAUSE_S = 1.0
"""Where this process has no file to spare."""
JOIN_S = 1.0
"""How long the thread has to leave that does nothing but wait."""
HEADER_BYTES = 8192
RECORD = 16384
"""Bytes of a TLS record: what one read takes."""
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


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


class _Connection(HTTPChannel):  # type: ignore[misc]
    """One reader. It has to get on with it."""

    error_task_class = _Refusal
    patience: Callable[[], float] | None = None

    def __init__(self, server: Server, sock: socket.socket, addr: Any, adj: Adjustments, map: Any) -> None:
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
        if self.requests:
            return "answer", math.inf  # ours to get on with
        if self.total_outbufs_len:
            return "send", SEND_S
        return ("read", READ_S) if self.request is not None else ("idle", READ_S if not self._answered else IDLE_S)

    def deadline(self, now: float) -> float:
        """By when it has to get on."""
        phase, limit = self.phase()
        doing = (phase, self.request, self._answered)
        if doing != self._doing:
            self._doing, self.since = doing, now
        return self.since + limit


class _Secured(_Connection):
    """One reader, behind TLS. SSL objects are not for two threads at once."""

    def __init__(self, server: Server, sock: ssl.SSLSocket, addr: Any, adj: Adjustments, map: Any) -> None:
        self._tls = threading.Lock()
        self._shaking, self._must_write = True, False
        super().__init__(server, sock, addr, adj, map)

    def phase(self) -> tuple[str, float]:
        return ("shake", SHAKE_S) if self._shaking else super().phase()

    def readable(self) -> bool:
        return not self._must_write if self._shaking else bool(super().readable())

    def writable(self) -> bool:
        return self._must_write or self.will_close if self._shaking else bool(super().writable())

    def handle_write(self) -> None:
        if self._shaking and not self.will_close:
            self._shake()
        else:
            super().handle_write()

    def handle_read(self) -> None:
        if self._shaking:
            self._shake()
            return
        while self.connected and not self.will_close:
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
        import ssl

        try:
            with self._tls:
                return int(self.socket.send(data))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0


class _NothingYet(Exception):
    """The record is not complete."""


class Server(TcpWSGIServer):  # type: ignore[misc]
    """The listening socket, its thread, and two threads that answer."""

    def __init__(self, application: Any, address: str, port: int, context: ssl.SSLContext | None) -> None:
        """Opens the port. Raises OSError."""
        self.context = context
        self._deaf_until = 0.0
        sock = _listening(address, port)
        try:
            adjustments = Adjustments(
                threads=THREADS,
                ident=None,
                expose_tracebacks=False,
                clear_untrusted_proxy_headers=False,  # they are not looked at
                log_socket_errors=False,
                connection_limit=1 << 20,  # counted here
                max_request_header_size=HEADER_BYTES,
                max_request_body_size=1,
                recv_bytes=RECORD,
                backlog=BACKLOG,
                url_scheme="http" if context is None else "https",
                sockets=[sock],
            )
            dispatcher = ThreadedTaskDispatcher()
            info = (sock.family, sock.type, sock.proto, sock.getsockname())
            super().__init__(
                application, {}, True, sock, dispatcher=dispatcher, adj=adjustments, sockinfo=info, bind_socket=False
            )
        except BaseException:
            sock.close()
            raise
        dispatcher.set_thread_count(THREADS)
        self.died = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether anybody is at home."""
        return self._thread.is_alive()

    def stop(self, grace: float) -> None:
        """Close the port, then the connections; what is being answered has `grace` seconds."""
        if self.alive:
            self.trigger.pull_trigger(lambda: wasyncore.dispatcher.close(self))
        self.task_dispatcher.shutdown(timeout=grace)
        if self.alive:
            self._stopping = True
            self.pull_trigger()
            self._thread.join(JOIN_S)
        if not self.task_dispatcher.threads and not self.alive:
            self.trigger.close()  # nobody is left who could write to a file that took its number

    # --- its thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                wasyncore.poll2(self._tend(time.monotonic()), self._map)
        except Exception as error:  # noqa: BLE001 -- the page may fail, the agent watches on and opens it again
            self.died = f"{type(error).__name__}: {error}"
        finally:
            self._close_all()

    def _close_all(self) -> None:
        wasyncore.dispatcher.close(self)
        for connection in list(self.active_channels.values()):
            connection.handle_close()

    def _tend(self, now: float) -> float | None:
        """Close whoever does not get on; returns seconds until the next one may be, None: nobody is here."""
        soonest = self._deaf_until if self._deaf_until > now else math.inf
        for connection in list(self.active_channels.values()):
            deadline = connection.deadline(now)
            if deadline <= now:
                connection.handle_close()
            else:
                soonest = min(soonest, deadline)
        return None if math.isinf(soonest) and not self.active_channels else min(SEND_S, soonest - now + 0.05)

    def readable(self) -> bool:
        """Whether newcomers are welcome; waitress would count its time here by the wall clock."""
        return bool(self.accepting) and time.monotonic() >= self._deaf_until

    def handle_accept(self) -> None:
        """A newcomer takes the place of whoever has waited longest, where there is none left."""
        if len(self.active_channels) >= CONNECTIONS and not self._make_room():
            self._deaf_until = time.monotonic() + PAUSE_S / 10
            return
        try:
            conn, addr = self.socket.accept()
        except OSError as error:
            if error.errno in OUT_OF_FILES and not self._make_room():
                self._deaf_until = time.monotonic() + PAUSE_S
            return
        try:
            self._welcome(conn, addr)
        except OSError:
            conn.close()  # gone already

    def _welcome(self, conn: socket.socket, addr: Any) -> None:
        conn.setblocking(False)
        self.set_socket_options(conn)
        if self.context is None:
            _Connection(self, conn, addr, self.adj, map=self._map)
        else:
            secured = self.context.wrap_socket(conn, server_side=True, do_handshake_on_connect=False)
            _Secured(self, secured, addr, self.adj, map=self._map)

    def _make_room(self) -> bool:
        waiting = [each for each in self.active_channels.values() if not each.requests]
        if not waiting:
            return False
        min(waiting, key=lambda each: each.since).handle_close()
        return True


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)  # here, where a port that is taken leaves nothing behind
    except BaseException:
        sock.close()
        raise
    return sock


def hush() -> None:
    """What waitress would log is told in our words, or is no news."""
    logger = logging.getLogger("waitress")
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
