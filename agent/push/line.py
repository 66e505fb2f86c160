"""How does it stand with one way to the centre: may it send now, what is the matter with it, what did it lose?"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from agent.push import order
from agent.push.order import Gap, Queue, Waiting
from agent.push.sender import Parcel, WayName

if TYPE_CHECKING:
    from agent.config.push import Centre as Settings
    from agent.outcome import Outcome
    from agent.push.runner import Runner

START_S = 10.0
"""Over how long the first attempts of tills spread that begin together, as after a power cut."""
ATTEND_S = 5.0
SHOWN_FROM = 2
"""One attempt that failed is no news."""
AGAIN_S = 1.0
NEVER = float("inf")


@dataclass
class Line:
    """One way. Monotonic seconds. Belongs to the loop's thread."""

    way: WayName
    settings: Settings
    runner: Runner
    generation: int
    queue: Queue = field(default_factory=Queue)
    hand: Parcel | None = None
    """Given to its thread and not answered; the connection is being looked after where `attending`."""
    attending: bool = False
    standing: bool = False
    """The connection stood when it was last looked after."""
    attend_failed: bool = False
    """It was the connection itself that failed last."""
    attend_at: float = 0.0
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0
    paused_until: float = 0.0
    """Older reports wait until then."""
    pause: float = 0.0
    failed_since: set[str] = field(default_factory=set)
    """Older ones that failed since anything arrived: others are tried before them."""
    look_at: float = 0.0
    """When the next turn has something to do for it."""
    trouble: str = ""
    other_trouble: str = ""
    """What went wrong last, where that is something else."""
    refused: bool = False
    gap: Gap | None = None
    gap_in_hand: Gap | None = None
    losing: bool = False
    """It was said that reports are lost."""

    @property
    def splay(self) -> float:
        """Over how long tills spread."""
        return float(self.settings.splay)

    @property
    def where(self) -> str:
        """For people."""
        return self.runner.sender.where

    @property
    def busy(self) -> bool:
        """Something is in its hands."""
        return self.hand is not None or self.attending

    def begin(self, now: float) -> None:
        """At the start, with a new configuration, or when the clock was set: try soon, but not all tills at once."""
        soon = now + _draw() * min(self.splay, START_S)
        self.rests_until = min(self.rests_until, soon) if self.rests_until > now else soon
        self.look_at = self.attend_at = 0.0
        self.spread()

    def spread(self) -> None:
        """What waits from before leaves at a pace of its own: nobody knows yet whether the centre comes back itself."""
        if len(self.queue) and not self.pause:
            self.pause = order.pause(len(self.queue), self.splay, _draw())

    # --- what came of an attempt --------------------------------------------------------------------------------------

    def worked(self, *, report: bool) -> None:
        """Something arrived. Only a `report` shows that reports are not refused any more."""
        if self.failures:
            self.pause = order.pause(len(self.queue), self.splay, _draw())
        self.failures, self.rests_until, self.look_at = 0, 0.0, 0.0
        if report or not self.refused:
            self.trouble = self.other_trouble = ""
            self.refused = False
        self.standing = True

    def emptied(self) -> None:
        """All has left: whatever comes now is news, and need not be spread."""
        self.pause = 0.0

    def failed(self, outcome: Outcome, now: float) -> None:
        """It did not, and may later."""
        self.failures += 1
        self.attend_failed = not self.standing
        self._mark(outcome.detail or "no reason was given")
        if outcome.retry_after is not None:
            wait = order.put_off(outcome.retry_after, self.splay, _draw())
        else:
            wait = order.rest(self.failures, self.splay, _draw())
        self.rests_until = self.look_at = now + wait

    def _mark(self, detail: str) -> None:
        """What was said first stays until something else is the matter twice: each change is worth a new report."""
        if not self.trouble or detail == self.other_trouble:
            self.trouble, self.other_trouble = detail, ""
        elif detail != self.trouble:
            self.other_trouble = detail

    def take_breath(self, now: float) -> None:
        """After one more of many older reports has left."""
        self.paused_until = now + self.pause * (0.5 + _draw())

    def problem(self) -> str | None:
        """In one sentence."""
        if not self.trouble or (self.failures < SHOWN_FROM and not self.refused):
            return None
        return f"cannot push to the centre {self.where}: {self.trouble}"

    # --- what is lost -------------------------------------------------------------------------------------------------

    def lose(self, lost: list[Waiting], cause: str) -> None:
        """These will never come."""
        self.gap = self.gap.and_also(lost, cause) if self.gap is not None else order.gap_of(lost, cause)

    def all_lost(self) -> Gap | None:
        """What the centre has not been told of yet."""
        if self.gap is None or self.gap_in_hand is None:
            return self.gap or self.gap_in_hand
        return self.gap_in_hand.merged(self.gap)

    def gap_mark(self) -> str:
        """For the state file."""
        lost = self.all_lost()
        return msgspec.json.encode(lost).decode() if lost is not None else ""


def gap_from(mark: str | None) -> Gap | None:
    """From the state file."""
    try:
        return msgspec.json.decode(mark or "null", type=Gap | None)
    except msgspec.DecodeError:
        return None


def _draw() -> float:
    return random.random()  # noqa: S311 -- no secret
