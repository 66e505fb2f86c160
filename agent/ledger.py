"""For how long was each probe well today? Counts while the daemon runs, in days of the store and its opening hours."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.availability import Row, Tally, accrue, rows

if TYPE_CHECKING:
    from agent.config.hours import Hours
    from agent.state import Track


class Ledger:
    """Adds up what is confirmed of each probe, by the monotonic clock: a sleeping PC watched nothing."""

    def __init__(self, hours: Hours) -> None:
        self.hours = hours
        self._tally = Tally()
        self._counted_at = time.monotonic()

    @property
    def yesterday(self) -> str:
        """The first day whose totals can still change."""
        return str((datetime.now(self.hours.zone) - timedelta(days=1)).date())

    def restore(self, stored: Sequence[Row]) -> None:
        """Go on from the totals that were saved."""
        self._tally = Tally(stored)
        self._counted_at = time.monotonic()

    def count(self, tracks: Mapping[str, Track], now: float, wall: float) -> None:
        """Add the time since the last call."""
        passed, self._counted_at = now - self._counted_at, now
        for name, track in tracks.items():
            accrue(self._tally, name, track.status, wall - passed, wall, self.hours)

    def totals(self) -> list[Row]:
        """Seconds per day and probe, and forget the days that can change no more."""
        found = rows(self._tally)
        self._tally.forget(self.yesterday)
        return found
