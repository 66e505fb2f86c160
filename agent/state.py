"""Does this answer count yet? Pure: a probe's track and one more look give the next track, and what it confirms.

A status is confirmed when it held for `fail_after` looks (`recover_after` for the way back), or when trouble filled
`fail_after` of the last `window` looks: one lost packet never makes a verdict.
"""

from __future__ import annotations

import msgspec

from probes.model import Status


class Policy(msgspec.Struct, frozen=True):
    """How many looks it takes. `window`: of how many last looks `fail_after` bad ones are enough."""

    fail_after: int = 3
    recover_after: int = 2
    window: int = 5


class Track(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is believed of one probe. Times are Unix seconds.

    `status` is the confirmed one, None before anything was confirmed, and holds since `since`. `candidate` is what the
    last `streak` looks say instead, first seen at `candidate_since`; None while they agree with `status`.
    """

    status: Status | None = None
    since: float = 0.0
    candidate: Status | None = None
    candidate_since: float = 0.0
    streak: int = 0
    recent: str = ""
    """The last looks, oldest first: `.` good, `x` bad, `?` could not look."""
    flips: tuple[float, ...] = ()
    """When the confirmed status last changed between good and bad: what flapping is told by."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A probe's confirmed status changed. `at` is when the new one was first seen, Unix seconds."""

    probe: str
    at: float
    old: Status | None
    new: Status
    reason: str
