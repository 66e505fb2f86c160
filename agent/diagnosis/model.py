"""What can be wrong with a till, who mends it, and what does a diagnosis say? The words of CONTRACT.md section 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from agent.causes import CAUSES, Category, Kin, Party

__all__ = ["CAUSES", "Against", "Category", "Clue", "Confidence", "Diagnosis", "Kin", "Party", "Place"]

Confidence = Literal["certain", "likely", "possible"]
Place = Literal["here", "lan", "beyond", "unknown"]
"""Where a probe's target lies: on this PC, on its LAN, behind the gateway, or nobody could tell."""


class Clue(NamedTuple):
    """An observation that speaks for a cause."""

    probe: str
    reason: str


class Against(NamedTuple):
    """A cause that an observation speaks against."""

    cause: str
    probe: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """One fault: its first broken link, and all that hangs from it. `subjects` are the outside targets concerned."""

    cause: str
    explains: tuple[str, ...]
    evidence: tuple[Clue, ...]
    confidence: Confidence = "certain"
    alternatives: tuple[str, ...] = ()
    ruled_out: tuple[Against, ...] = ()
    subjects: tuple[str, ...] = ()

    @property
    def party(self) -> Party:
        """Who can mend it."""
        return CAUSES[self.cause].party

    @property
    def category(self) -> Category:
        """Which of the five categories."""
        return CAUSES[self.cause].category
