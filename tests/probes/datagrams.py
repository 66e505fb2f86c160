"""A server on loopback that answers each datagram as a test likes, and a machine whose resolvers are such servers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

Reply = Callable[[bytes], Iterable[bytes]]


@contextlib.contextmanager
def answering(reply: Reply, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Yield the port of a UDP server that sends back whatever `reply(question)` yields."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        sock.settimeout(5)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    question, peer = sock.recvfrom(65535)
                except TimeoutError:
                    continue
                except OSError:  # a peer that hung up early: its ICMP refusal comes back to us
                    continue
                for answer in () if done.is_set() else reply(question):
                    with contextlib.suppress(OSError):
                        sock.sendto(answer, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            done.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bell:
                bell.sendto(b"", sock.getsockname())
            thread.join()


def silent(_question: bytes) -> Iterable[bytes]:
    """Take every question and never answer."""
    return ()


@contextlib.contextmanager
def nobody() -> Iterator[int]:
    """Yield a UDP port on which nothing listens, and nothing will while the test runs."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        number = udp.getsockname()[1]
        udp.close()
        yield number
