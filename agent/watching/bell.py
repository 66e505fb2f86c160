"""How does a thread sleep until its next deadline, or until it is called, and not a moment longer?

Waits are the kernel's own relative ones: a step of the wall clock neither shortens nor stretches them.
"""

from __future__ import annotations

import math
import os
import select

LONGEST_S = 86400.0
"""The kernel counts these waits in milliseconds that must fit into an int."""


class Bell:
    """Rung by any thread, waited for by one. A ring before the wait is not lost."""

    def __init__(self) -> None:
        self._file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)

    def ring(self) -> None:
        """Wake who waits."""
        os.eventfd_write(self._file, 1)

    def wait(self, seconds: float = math.inf) -> bool:
        """Until it rings, at most `seconds`. Whether it rang; a wait of days may end early without."""
        rang = bool(self._poll.poll(None if seconds == math.inf else max(0.0, min(seconds, LONGEST_S)) * 1000))
        if rang:
            os.eventfd_read(self._file)
        return rang

    def __del__(self) -> None:
        os.close(self._file)
