"""Does this answer count yet? Pure: a probe's track and one more look give the next track, and what it confirms.

A status is confirmed when it held for `fail_after` looks (`recover_after` for the way back), or when trouble filled
`fail_after` of the last `window` looks: one lost packet never makes a verdict.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from probes.model import Observation, Probe, Status

Mark = Literal[".", "x", "?"]
MARKS: dict[Status, Mark] = {
    Status.OK: ".",
    Status.SKIPPED: ".",
    Status.WARN: "x",
    Status.FAIL: "x",
    Status.UNKNOWN: "?",
}
FLAPPING_FLIPS = 3
"""Gone, back and gone again …"""
FLAPPING_S = 600.0
"""… within so many seconds."""
FLIPS_KEPT = 8


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
    bad_at: tuple[float, ...] = ()
    """While no trouble is confirmed: when each `x` of `recent` since the last confirmation was seen."""
    calm: int = 0
    """While `fail` is confirmed: how many looks in a row were better than that …"""
    calm_since: float = 0.0
    """… and the first of them."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A probe's confirmed status changed. `at` is when the new one was first seen, Unix seconds."""

    probe: str
    at: float
    old: Status | None
    new: Status
    reason: str


def policy_of(probe: Probe, window: int) -> Policy:
    """What this probe's settings ask for. A window is never shorter than the row that fills it."""
    return Policy(probe.fail_after, probe.recover_after, max(window, probe.fail_after))


def is_bad(status: Status | None) -> bool:
    """Whether something is wrong."""
    return status is Status.FAIL or status is Status.WARN


def is_good(status: Status | None) -> bool:
    """Whether all is well, or there is nothing to be unwell."""
    return status is Status.OK or status is Status.SKIPPED


def suspect(track: Track) -> bool:
    """Whether the last looks disagree with what is confirmed, or nothing is confirmed yet: look again soon."""
    return track.candidate is not None or track.status is None


def flapping(track: Track, now: float) -> bool:
    """Whether it went, came back and went again a short while ago. Shown to people; decides nothing."""
    return sum(abs(now - flip) < FLAPPING_S for flip in track.flips) >= FLAPPING_FLIPS


def resumed(track: Track) -> Track:
    """The track after a gap in which nobody looked: what was confirmed stands, a row that was begun does not go on."""
    return Track(status=track.status, since=track.since, flips=track.flips)


def advance(
    track: Track | None, observation: Observation, policy: Policy, at: float, probe: str = ""
) -> tuple[Track, Transition | None]:
    """Take one more look into account. The very same track comes back when the look told nothing new.

    `probe` is the name that a transition carries.
    """
    track = track or _NOTHING
    seen = observation.status
    if seen is track.status and track.candidate is None and track.recent == _STEADY[seen] * policy.window:
        return track, None
    looked = _looked(track, seen, policy, at)
    confirmed_since = _confirmed_since(looked, seen, policy, first=not track.recent and track.status is None)
    if confirmed_since is None:
        return looked, None
    return _confirm(looked, seen, confirmed_since, at), Transition(
        probe=probe, at=confirmed_since, old=track.status, new=seen, reason=observation.reason
    )


_NOTHING = Track()
_STEADY = {status: str(mark) for status, mark in MARKS.items()}


def _looked(track: Track, seen: Status, policy: Policy, at: float) -> Track:
    """The track with this look in it, before anything is concluded."""
    mark = MARKS[seen]
    recent = (track.recent + mark)[-policy.window :]
    agrees = seen is track.status
    goes_on = not agrees and track.candidate is not None and MARKS[track.candidate] == mark
    better = track.status is Status.FAIL and (mark == "." or seen is Status.WARN)
    bad_at = track.bad_at
    if not is_bad(track.status) and (bad_at or mark == "x"):
        count = recent.count("x")
        bad_at = (*bad_at, at)[-count:] if mark == "x" else bad_at[-count:] if count else ()
    return Track(
        status=track.status,
        since=track.since,
        candidate=None if agrees else seen,
        candidate_since=0.0 if agrees else track.candidate_since if goes_on else at,
        streak=0 if agrees else track.streak + 1 if goes_on else 1,
        recent=recent,
        flips=track.flips,
        bad_at=bad_at,
        calm=track.calm + 1 if better else 0,
        calm_since=0.0 if not better else track.calm_since if track.calm else at,
    )


def _confirmed_since(track: Track, seen: Status, policy: Policy, *, first: bool) -> float | None:
    """Since when the status just seen holds, where that is now beyond doubt."""
    if track.candidate is None:
        return None
    mark = MARKS[seen]
    if mark == ".":
        return track.candidate_since if first or track.streak >= policy.recover_after else None
    if track.status is Status.FAIL and seen is Status.WARN:
        return track.calm_since if track.calm >= policy.recover_after else None
    if mark == "x" and len(track.bad_at) >= policy.fail_after:
        return track.bad_at[0]
    return track.candidate_since if track.streak >= policy.fail_after else None


def _confirm(track: Track, seen: Status, since: float, at: float) -> Track:
    """The track of which `seen` is the confirmed status from now on.

    `bad_at` starts anew: else the next lost packet would bring back the trouble that is over.
    """
    flipped = (is_bad(track.status) and is_good(seen)) or (is_good(track.status) and is_bad(seen))
    return Track(
        status=seen,
        since=since,
        recent=track.recent,
        flips=(*track.flips, at)[-FLIPS_KEPT:] if flipped else track.flips,
    )
