"""Who waits for what may never answer? A thread that can be left behind, and is not made anew for each question.

A till looks at twenty names a minute, day and night: threads that come and go for each cost more than the questions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

KEPT = 4
"""So many that have nothing to do are kept …"""
IDLE_S = 90.0
"""… for this long."""


class Errand:
    """One piece of work, in a thread of its own. `name` is the thread's as long as it is at it."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        """Begin. Raises RuntimeError where the system refuses a thread."""
        self.work, self.name = work, name
        self._done = threading.Event()
        with _lock:
            helper = _idle.pop() if _idle else None
        if helper is None:
            helper = _Helper()
            helper.errand = self
            threading.Thread(target=helper.live, name=name, daemon=True).start()
        else:
            helper.errand = self
            helper.gate.release()

    def wait(self, seconds: float) -> bool:
        """Until it has ended, at most so long. Whether it has."""
        return self._done.wait(seconds)

    @property
    def has_ended(self) -> bool:
        """However it ended."""
        return self._done.is_set()

    def do(self) -> None:
        """In the helper's thread. What it raises ends that thread, as it would any other."""
        try:
            self.work()
        finally:
            self._done.set()


class _Helper:
    """One thread. It sleeps at its gate."""

    def __init__(self) -> None:
        self.errand: Errand | None = None
        self.gate = threading.Lock()
        self.gate.acquire()

    def live(self) -> None:
        thread = threading.current_thread()
        while self.errand is not None:
            thread.name = self.errand.name
            self.errand.do()
            self.errand = None
            thread.name = "posagent-spare"
            with _lock:
                if len(_idle) >= KEPT:
                    return
                _idle.append(self)
            if not self.gate.acquire(timeout=IDLE_S):
                self._leave()

    def _leave(self) -> None:
        """Nobody came. Unless somebody comes just now: then the gate opens in a moment."""
        with _lock:
            if self in _idle:
                _idle.remove(self)
                return
        self.gate.acquire()


_lock = threading.Lock()
_idle: list[_Helper] = []
