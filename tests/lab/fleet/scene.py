"""What happens to every till of a fleet, and when: decided beforehand, from a seed.

Only when a phase begins is decided while it runs: when the one before is over also on a machine that is busy.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, NamedTuple

What = Literal["beat", "opened", "acknowledged", "resolved", "change"]
Phase = Literal["healthy", "outage", "back"]
PHASES: tuple[Phase, ...] = ("healthy", "outage", "back")
INCIDENT: tuple[What, ...] = ("opened", "acknowledged", "resolved")
DAYS_SPLAY_S = 300.0
"""What `splay` is by default; the scene's is to this as its time is to a day's."""
MUCH, NOTHING = 20, 19
"""Of so many tills one has a bad day while nobody listens, and another has nothing to tell."""
SMALL_QUOTA = 10


class Step(NamedTuple):
    """A till has something to say."""

    at: float
    what: What


@dataclass(frozen=True)
class Scene:
    """All up, all healthy; then both receivers are gone, and come back."""

    tills: int = 2000
    processes: int = 4
    splay_s: float = 40.0
    boot_s: float = 36.0
    """Over how long the tills begin: they do not all have one power switch."""
    healthy_s: float = 10.0
    outage_s: float = 40.0
    drain_s: float = 240.0
    """How long it may take until the last till has told all."""
    beat_s: float = 20.0
    keepalive_s: float = 30.0
    seed: int = 6
    killed: int | None = 1
    """Which process of tills loses its power during the outage and begins again."""

    @property
    def quiet_s(self) -> float:
        """Nothing new happens after the outage until every till had the time to come back."""
        return 1.3 * self.splay_s

    def mine(self, process: int) -> range:
        """The tills of one process."""
        return range(process, self.tills, self.processes)

    def has_much(self, till: int) -> bool:
        return till % MUCH == 0

    def has_nothing(self, till: int) -> bool:
        return till % MUCH == NOTHING

    def quota(self, till: int) -> int:
        return SMALL_QUOTA if self.has_much(till) else 1000

    def starts_at(self, till: int) -> float:
        """As a part of the time over which all of them begin."""
        return random.Random(f"{self.seed} start {till}").random()

    def steps(self, till: int, phase: Phase) -> list[Step]:
        """What a till has to say, in order; seconds from the beginning of the phase, whenever that is."""
        draw = random.Random(f"{self.seed} {phase} {till}")
        if phase == "healthy":
            return [Step(at, "beat") for at in every(self.beat_s, draw.uniform(0, self.beat_s), self.healthy_s)]
        if phase == "back":
            return [Step(draw.uniform(self.quiet_s, self.quiet_s + self.beat_s), "beat")]
        if self.has_nothing(till):
            return []
        begin, end = 1.0, self.outage_s - 2.0
        found = [Step(at, "beat") for at in every(self.beat_s, begin + draw.uniform(0, self.beat_s), end)]
        thirds = [begin + (end - begin) * part for part in (0.0, 0.3, 0.6, 0.99)]
        for what, low, high in zip(INCIDENT, thirds, thirds[1:], strict=False):
            found.append(Step(draw.uniform(low, high), what))
        if self.has_much(till):
            found += [Step(draw.uniform(begin, end), "change") for _ in range(20)]
        return sorted(found)


def every(period: float, first: float, until: float) -> list[float]:
    """From `first` on."""
    return (
        [first + period * count for count in range(max(0, int((until - first) // period) + 1))] if first < until else []
    )


def names(till: int) -> tuple[str, str]:
    """Store and terminal: three tills a store."""
    return f"{till // 3:04}", f"T{till % 3 + 1:02}"
