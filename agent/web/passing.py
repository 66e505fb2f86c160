"""Is what went wrong still news? Something that failed once and went on is told for a while, not for ever."""

from __future__ import annotations

import time

TOLD_S = 600.0


class Passing:
    """What happened last. Said by any thread, read by any other."""

    def __init__(self) -> None:
        self._last = ("", 0.0)

    def say(self, what: str) -> None:
        """It happened just now."""
        self._last = what, time.monotonic()

    def forget(self) -> None:
        """Whoever is in charge of this PC has seen to it."""
        self._last = "", 0.0

    @property
    def told(self) -> str:
        """What happened, empty: nothing lately."""
        what, at = self._last
        return what if time.monotonic() - at < TOLD_S else ""
