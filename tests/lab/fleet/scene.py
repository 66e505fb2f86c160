"""What happens to every till of a fleet, and when: decided beforehand, from a seed. Seconds from the start."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, NamedTuple

What = Literal["beat", "opened", "acknowledged", "resolved", "change"]
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
    """All up, all healthy; then both receivers are gone, and come back. A tenth of a second is a long time here."""

    tills: int = 2000
    processes: int = 4
    splay_s: float = 20.0
    boot_s: float = 24.0
    """Over how long the tills begin: they do not all have one power switch."""
    healthy_s: float = 12.0
    outage_s: float = 45.0
    drain_s: float = 90.0
    """How long it may take until the last till has told all."""
    beat_s: float = 12.0
    keepalive_s: float = 30.0
    seed: int = 6
    killed: int | None = 1
    """Which process of tills loses its power during the outage and begins again."""

    @property
    def out_at(self) -> float:
        return self.boot_s + self.healthy_s

    @property
    def back_at(self) -> float:
        return self.out_at + self.outage_s

    @property
    def quiet_until(self) -> float:
        """Nothing new happens after the outage until every till had the time to come back."""
        return self.back_at + 1.5 * self.splay_s

    @property
    def over_at(self) -> float:
        """The last step of all is before it."""
        return self.quiet_until + self.beat_s

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
        return random.Random(f"{self.seed} start {till}").uniform(0.0, self.boot_s)

    def steps(self, till: int) -> list[Step]:
        """All of a till's, in order. Its first report, when it starts, is not among them."""
        draw = random.Random(f"{self.seed} steps {till}")
        beats = [
            Step(at, "beat") for at in every(self.beat_s, self.boot_s + draw.uniform(0, self.beat_s), self.out_at - 1)
        ]
        beats.append(Step(draw.uniform(self.quiet_until, self.over_at), "beat"))
        if self.has_nothing(till):
            return sorted(beats)
        begin, end = self.out_at + 1.0, self.back_at - 2.0
        beats += [Step(at, "beat") for at in every(self.beat_s, begin + draw.uniform(0, self.beat_s), end)]
        thirds = [begin + (end - begin) * part for part in (0.0, 0.3, 0.6, 0.99)]
        for what, low, high in zip(("opened", "acknowledged", "resolved"), thirds, thirds[1:], strict=False):
            beats.append(Step(draw.uniform(low, high), what))
        if self.has_much(till):
            beats += [Step(draw.uniform(begin, end), "change") for _ in range(20)]
        return sorted(beats)


def every(period: float, first: float, until: float) -> list[float]:
    """From `first` on."""
    return (
        [first + period * count for count in range(max(0, int((until - first) // period) + 1))] if first < until else []
    )


def names(till: int) -> tuple[str, str]:
    """Store and terminal: three tills a store."""
    return f"{till // 3:04}", f"T{till % 3 + 1:02}"
