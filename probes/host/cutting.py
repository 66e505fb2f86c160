"""How does a connection end at the deadline, whatever its reader waits for?

Time-outs per read are no bound for a server that drips bytes: every byte begins a new one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from probes.host import Host
from probes.host.tcp import MARGIN_S


@contextlib.contextmanager
def cut_at_the_end(host: Host, connection: socket.socket) -> Iterator[threading.Event]:
    """Cut the connection at the deadline; the event says that it was."""
    fired = threading.Event()

    def cut() -> None:
        fired.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, whose own state the reader is using

    timer = threading.Timer(max(0.0, host.ends - MARGIN_S - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield fired
    finally:
        timer.cancel()
