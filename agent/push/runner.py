"""Can a centre that hangs hold up anything else? No: each way has a thread of its own, which owns its connection.

A sender that hangs is left behind with its thread, and a new one begins anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.hands import Hand
from agent.outcome import Outcome, failed
from agent.push.sender import Parcel, Pushed, Sender, WayName

if TYPE_CHECKING:
    import threading

GOODBYE_S = 1.0
"""What a connection gets to end in order."""
PREDECESSOR_S = 5.0
"""How long a new configuration waits for the old one's goodbye: a broker knows both by one name."""


class Runner(Hand["Parcel | None"]):
    """One way's thread: it sends a parcel, or, for None, looks after the connection."""

    def __init__(
        self,
        way: WayName,
        make: Callable[[], Sender],
        answer: Callable[[Pushed], None],
        timeout: float,
        *,
        generation: int = 0,
        after: threading.Event | None = None,
    ) -> None:
        def told(job: Parcel | None, outcome: Outcome | None) -> None:
            answer(Pushed(way, job.key if job is not None else "", outcome, generation))

        super().__init__(way, self._attempt, told, timeout + (PREDECESSOR_S if after is not None else 0.0))
        self.sender = make()
        self._make, self._after = make, after
        self._grace = GOODBYE_S

    def take_leave(self, grace: float) -> None:
        """Begin nothing any more and say goodbye; `gone` tells when that is done. Does not wait."""
        self._grace = grace
        for job in self.leave():
            self._answer(job, None)

    def given_up(self) -> None:
        """The one that hangs keeps its connection."""
        self.sender = self._make()

    def farewell(self) -> None:
        """End the connection: nothing leaves for a while, or ever."""
        with contextlib.suppress(Exception):  # a fault of ours while leaving hurts nobody
            self.sender.close(self._grace)

    def _attempt(self, job: Parcel | None) -> Outcome:
        if self._after is not None:
            self._after.wait(PREDECESSOR_S)
            self._after = None
        sender = self.sender
        try:
            return sender.attend() if job is None else sender.send(job)
        except Exception as error:  # noqa: BLE001 -- a fault of ours must not end this thread for good
            return failed(f"posagent's own fault: {type(error).__name__}; please report this")
