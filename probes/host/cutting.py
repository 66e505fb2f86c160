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
from probes.host.spare import Errand
from probes.host.tcp import MARGIN_S


@contextlib.contextmanager
def cut_at_the_end(host: Host, connection: socket.socket) -> Iterator[threading.Event]:
    """Cut the connection at the deadline; the event says that it was."""
    fired, over = threading.Event(), threading.Event()

    def cut() -> None:
        if over.wait(max(0.0, host.ends - MARGIN_S - time.monotonic())):
            return
        fired.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, whose own state the reader is using

    Errand(cut, "posagent cuts")
    try:
        yield fired
    finally:
        over.set()
