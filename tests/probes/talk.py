"""Servers on loopback that talk as they are told: real sockets, real TLS, every fault on order."""

from __future__ import annotations

import contextlib
import datetime
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import trustme

Talk = Callable[[socket.socket, threading.Event], None]
"""What a server does with one connection; the event says that the test is over."""
UTC = datetime.UTC


@contextlib.contextmanager
def serving(talk: Talk, family: socket.AddressFamily = socket.AF_INET) -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback: its port, and the bytes that each finished connection left over."""
    over, left, threads = threading.Event(), [], []
    listener = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            talk(connection, over)
            left.append(drain(connection))

    def accept() -> None:
        while not over.is_set():
            ready, _, _ = select.select([listener], [], [], 0.05)
            if ready:
                thread = threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True)
                thread.start()
                threads.append(thread)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1], left
    finally:
        over.set()
        accepting.join(5)
        for thread in threads:
            thread.join(5)
        listener.close()


def drain(connection: socket.socket) -> bytes:
    """Everything until the other side's end; a reset shows as b"RST"."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        return received + b"RST"
    except OSError:
        return received
    return received


def quiet(_connection: socket.socket, _over: threading.Event) -> None:
    """Say nothing, then read what is left."""


def stall(_connection: socket.socket, over: threading.Event) -> None:
    """Accept, and never say a word."""
    over.wait(10)


def say(data: bytes) -> Talk:
    """Say this, whatever is asked."""

    def talk(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(data)

    return talk


def close_at_once(connection: socket.socket, _over: threading.Event) -> None:
    connection.close()


def reset(connection: socket.socket, _over: threading.Event) -> None:
    """Read the ClientHello, then RST."""
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def tls(context: ssl.SSLContext, then: Talk = quiet) -> Talk:
    """Shake hands, then talk."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection.dup(), server_side=True) as wrapped:
            then(wrapped, over)
            leftover = wrapped.recv(65536)
            if leftover:
                raise AssertionError("application bytes were sent")

    return talk


def http(answer: bytes, drip: float = 0.0) -> Talk:
    """Read a request's head, then answer; with `drip`, one byte every so many seconds."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            byte = connection.recv(1)
            if not byte:
                return
            head += byte
        if not drip:
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            return
        for place in range(len(answer)):
            connection.sendall(answer[place : place + 1])
            if over.wait(drip):
                return

    return talk


def server_context(*leaf: trustme.LeafCert, bare: bool = False) -> ssl.SSLContext:
    """A server's context with this certificate; `bare` leaves out its intermediates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if bare:
        with leaf[0].private_key_pem.tempfile() as key, leaf[0].cert_chain_pems[0].tempfile() as chain:
            context.load_cert_chain(chain, key)
    else:
        leaf[0].configure_cert(context)
    return context


def days(number: float) -> datetime.datetime:
    """So many days from now."""
    return datetime.datetime.now(UTC) + datetime.timedelta(days=number)
