"""What does systemd have to know of this process: that it is ready, reloads, stops, and still makes progress?

Without systemd ($NOTIFY_SOCKET is not set) every word is dropped and nothing fails. Nothing here raises or waits long:
a service manager that does not listen must not harm the agent.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping

PATIENCE_S = 1.0  # a manager whose queue is full for longer is not waited for
STATUS_LENGTH = 200  # `systemctl status` shows one line


def notify(text: str) -> bool:
    """Send lines such as "READY=1" to the service manager; False where none listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):  # nothing; or a kind of socket that only virtual machines are given
        return False
    if address[0] == "@":  # a name in the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.settimeout(PATIENCE_S)
            line.sendto(text.encode("utf-8", "replace"), address)
    except OSError:
        return False
    return True


def ready(text: str = "") -> bool:
    """Say that all is up, or up again after `reloading`."""
    return notify("READY=1" + _status(text))


def reloading(text: str = "") -> bool:
    """Say that the configuration is being read anew; `ready` must follow."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}" + _status(text))


def stopping(text: str = "") -> bool:
    """Say that the end has begun."""
    return notify("STOPPING=1" + _status(text))


def status(text: str) -> bool:
    """Show one line in `systemctl status`; an empty one wipes it."""
    return notify(_status(text).lstrip("\n") or "STATUS=")


def _status(text: str) -> str:
    words = " ".join(text.split())  # a line break would begin another message
    return f"\nSTATUS={words[:STATUS_LENGTH]}" if words else ""


def watchdog_seconds(env: Mapping[str, str] = os.environ) -> float | None:
    """How long systemd waits for a sign of life before it kills this process; None where it does not watch."""
    period, watched = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if watched and watched != str(os.getpid()):  # meant for the program that started this one
        return None
    return int(period) / 1e6 if period.isascii() and period.isdigit() and int(period) else None


class Watchdog(threading.Thread):
    """Tells systemd that the agent lives, from its own thread, for as long as the main loop calls `beat`.

    Once the last beat is older than `limit` seconds (by default half of what systemd waits), systemd is told no more:
    if the loop does not come back in time, the process is killed and started anew. Where nobody watches, `start` does
    nothing.
    """

    def __init__(self, limit: float | None = None) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.period = watchdog_seconds()
        self.limit = limit if limit is not None else (self.period or 0.0) / 2
        self._beat = time.monotonic()
        self._over = threading.Event()

    @property
    def asks(self) -> float:
        """Seconds after which it wants to hear from the loop again, at the latest."""
        return 0.8 * self.limit if self.period is not None else float("inf")

    def start(self) -> None:
        """Begin to feed, if anybody watches."""
        self.beat()
        if self.period is not None:
            super().start()

    def beat(self) -> None:
        """The main loop has come round once more."""
        self._beat = time.monotonic()

    def stop(self) -> None:
        """Feed no more; the service is stopping."""
        self._over.set()

    def run(self) -> None:
        """Feed four times a period."""
        stalled = False
        while not self._over.is_set():
            silence = time.monotonic() - self._beat
            if silence <= self.limit:
                notify("WATCHDOG=1" + (_status("the main loop runs again") if stalled else ""))
            elif not stalled:
                status(f"the main loop has stood still for {silence:.0f} s; systemd will restart posagent")
            stalled = silence > self.limit
            self._over.wait((self.period or 1.0) / 4)
