"""Who gets a connection? waitress, held short.

waitress gives an idle or dripping connection as long as it likes to drip, counts time by the wall clock, wakes every
second and speaks no TLS. Here whoever does not get on is closed, newcomers take the place of whoever waits longest,
nothing wakes while nobody looks, and TLS is spoken in the same thread (`agent.web.reader`).
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from agent.web.reader import SEND_S, Connection, Secured

if TYPE_CHECKING:
    import ssl

THREADS = 2
CONNECTIONS = 100
BACKLOG = 128
HELD_BYTES = 16 << 20
"""What may wait for readers who do not take it in: all of them together. One alone may have more."""
PAUSE_S = 1.0
"""Where this process has no file to spare."""
JOIN_S = 1.0
"""How long the thread has to leave that does nothing but wait."""
HEADER_BYTES = 8192
RECORD = 16384
"""Bytes of a TLS record: what one read takes."""
WATERMARK = 2 << 20
"""Bytes that wait for one reader, with which a thread adds no more. An answer is added whole, whatever its size."""
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Answering(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress brings no types
    """The threads that answer. waitress would count one that could not be started, and wait for its end."""

    def start_new_thread(self, target: Any, thread_no: int) -> None:
        """Raises RuntimeError where there is none to be had."""
        try:
            super().start_new_thread(target, thread_no)
        except BaseException:
            self.threads.discard(thread_no)
            raise


class Server(TcpWSGIServer):  # type: ignore[misc]
    """The listening socket, its thread, and two threads that answer."""

    def __init__(self, application: Any, address: str, port: int, context: ssl.SSLContext | None) -> None:
        """Opens the port. Raises OSError, and RuntimeError where no thread can be had; nothing is left behind then."""
        self.context = context
        self._deaf_until = 0.0
        self.died = ""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        dispatcher, places = _Answering(), dict[int, Any]()
        sock = _listening(address, port)
        try:
            info = (sock.family, sock.type, sock.proto, sock.getsockname())
            adj = _adjustments(sock, "http" if context is None else "https")
            super().__init__(
                application, places, True, sock, dispatcher=dispatcher, adj=adj, sockinfo=info, bind_socket=False
            )
            dispatcher.set_thread_count(THREADS)
            self._thread.start()
        except BaseException:
            dispatcher.shutdown(timeout=JOIN_S)
            for each in list(places.values()):  # the trigger's pipe, and the socket
                each.close()
            sock.close()
            raise

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
        self._hold_less()
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
            Connection(self, conn, addr, self.adj, map=self._map)
        else:
            secured = self.context.wrap_socket(conn, server_side=True, do_handshake_on_connect=False)
            Secured(self, secured, addr, self.adj, map=self._map)

    def _hold_less(self) -> None:
        """Whoever has taken longest over its answer goes without, where too much waits to be taken."""
        large = HELD_BYTES // CONNECTIONS  # with less than that nobody is the one alone who may have more
        waiting = sorted((each for each in self.active_channels.values() if each.total_outbufs_len > large), key=_since)
        held = sum(each.total_outbufs_len for each in self.active_channels.values())
        for connection in waiting[:-1]:
            if held <= HELD_BYTES:
                break
            held -= connection.total_outbufs_len
            connection.handle_close()

    def _make_room(self) -> bool:
        waiting = [each for each in self.active_channels.values() if each.phase()[0] != "answer"]
        if not waiting:
            return False
        min(waiting, key=_since).handle_close()
        return True


def _since(connection: Connection) -> float:
    return connection.since


def _adjustments(sock: socket.socket, scheme: str) -> Adjustments:
    return Adjustments(
        threads=THREADS,
        ident=None,
        expose_tracebacks=False,
        clear_untrusted_proxy_headers=False,  # they are not looked at
        log_socket_errors=False,
        connection_limit=1 << 20,  # counted here
        max_request_header_size=HEADER_BYTES,
        max_request_body_size=1,
        recv_bytes=RECORD,
        outbuf_high_watermark=WATERMARK,
        backlog=BACKLOG,
        url_scheme=scheme,
        sockets=[sock],
    )


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
