"""A server on loopback that answers each TCP connection as a test likes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(talk: Talk) -> Iterator[int]:
    """Yield the port of a TCP server that runs `talk` on every connection, one thread each, and then closes it."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def handle(peer: socket.socket) -> None:
            with peer, contextlib.suppress(OSError):
                peer.settimeout(5)
                talk(peer)

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listening socket is shut down at the end
                while True:
                    thread = threading.Thread(target=handle, args=(server.accept()[0],))
                    thread.start()
                    threads.append(thread)

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


def says(*answers: bytes) -> Talk:
    """Wait for a question, then send these bytes one after the other."""

    def talk(peer: socket.socket) -> None:
        peer.recv(4096)
        for answer in answers:
            peer.sendall(answer)

    return talk


def hangs_up(_peer: socket.socket) -> None:
    """Accept and close."""


def stalls(peer: socket.socket) -> None:
    """Take everything and say nothing until the other side gives up."""
    while peer.recv(4096):
        pass


@contextlib.contextmanager
def closed() -> Iterator[int]:
    """Yield a TCP port on which nothing listens, and nothing will while the test runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
