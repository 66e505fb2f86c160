"""What does a till say? Reports with 16 probes, made by the agent's own hands, each with its own numbers."""

from __future__ import annotations

import functools
import random
import time

import msgspec

from agent import report
from agent.incidents import Incident
from agent.report import Report, SitePart, stamp
from tests.lab import sights

TROUBLE = "isp"
"""What is wrong when something is: eight probes of sixteen."""
VALID_S = 1260.0


@functools.cache
def _sight(name: str) -> Report:
    return sights.report(name)


def encoded(sight: str, seq: int, site: tuple[str, str], now: float, draw: random.Random) -> bytes:
    """A report of now, as it is written to its file."""
    made = _sight(sight)
    probes = [
        msgspec.structs.replace(
            each,
            checked_at=stamp(now - draw.uniform(0, 60)),
            next_check_at=stamp(now + draw.uniform(0, 60)),
            duration_ms=round(draw.uniform(0.4, 90.0), 1),
            measurements={
                key: round(value * draw.uniform(0.8, 1.2), 1) if isinstance(value, float) else value
                for key, value in each.measurements.items()
            },
        )
        for each in made.probes
    ]
    store, terminal = site
    return report.encode(
        msgspec.structs.replace(
            made,
            seq=seq,
            generated_at=stamp(now),
            valid_until=stamp(now + VALID_S),
            site=SitePart(store=store, terminal=terminal, host=f"till-{store}-{terminal}", tags={}),
            probes=probes,
        )
    )


def incident(till: int) -> Incident:
    """What is the matter there."""
    told = _sight(TROUBLE)
    worst, now = told.diagnosis[0], time.time()
    return Incident(
        id=f"i{till}-{now:.3f}",
        cause=worst.cause,
        party=worst.party,
        category=worst.category,
        confidence=worst.confidence,
        fingerprint=worst.fingerprint,
        impact="stop",
        began_at=now - 40,
        opened_at=now,
        probes=tuple(worst.explains),
        headline=worst.title,
    )
