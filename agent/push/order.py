"""Which parcel leaves next, and which goes when too many wait? Pure.

The newest report first: it says how the till is now. Then that some will never come, what happened to incidents, and
the older reports, each oldest first. Beyond the quota the oldest reports that told of no change go, then the oldest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal

import msgspec

from agent.push.sender import Sort

FIRST_S = 5.0
LONGEST_S = 3600.0
"""For how long a centre may ask a till to stay away."""
SUSPECT = 2
"""A parcel that failed so often while others arrived comes after them."""
SUSPECT_NEWS = 6
"""And one of an incident: news in another order tell another story."""
PAUSE_S = 5.0
"""Between two older reports, at most, while a till catches up."""


class Waiting(msgspec.Struct):
    """One parcel that waits, without its body."""

    key: str
    kind: Literal["report", "incident"]
    seq: int
    at: float
    changed: bool
    ways: set[str]
    """Those that have not taken it."""
    tries: int = 0
    """How often it alone failed, while others arrived."""


class Gap(msgspec.Struct, frozen=True):
    """Reports that will never come: `reports` of those from `from_seq` to `to_seq`, and news of incidents."""

    from_seq: int
    to_seq: int
    reports: int
    incidents: int = 0
    cause: str = "quota"
    """One or more of `quota`, `memory` (no disk took them), `refused` (by the centre), `lost` (with the state file),
    `renamed` (of a till of another name)."""

    def and_also(self, lost: Iterable[Waiting], cause: str) -> Gap:
        """With these as well."""
        lost = list(lost)
        reports = sum(one.kind == "report" for one in lost)
        seqs = [one.seq for one in lost]
        return self.merged(Gap(min(seqs), max(seqs), reports, len(lost) - reports, cause)) if lost else self

    def merged(self, other: Gap) -> Gap:
        """Both."""
        causes = dict.fromkeys((*self.cause.split(), *other.cause.split()))
        return Gap(
            min(self.from_seq, other.from_seq),
            max(self.to_seq, other.to_seq),
            self.reports + other.reports,
            self.incidents + other.incidents,
            " ".join(causes),
        )


def gap_of(lost: list[Waiting], cause: str) -> Gap:
    """The first ones that are lost."""
    return Gap(lost[0].seq, lost[0].seq, 0, 0, cause).and_also(lost, cause)


class Queue:
    """What waits for one way. `add` them as they come."""

    def __init__(self) -> None:
        self._beats: OrderedDict[str, Waiting] = OrderedDict()
        self._changes: OrderedDict[str, Waiting] = OrderedDict()
        self._incidents: OrderedDict[str, Waiting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._beats) + len(self._changes) + len(self._incidents)

    def __iter__(self) -> Iterator[Waiting]:
        for part in (self._beats, self._changes, self._incidents):
            yield from part.values()

    @property
    def reports(self) -> int:
        """How many of them are reports."""
        return len(self._beats) + len(self._changes)

    def add(self, one: Waiting) -> None:
        """It waits too, behind all others."""
        self._part(one)[one.key] = one

    def clear(self) -> None:
        """Nothing waits."""
        for part in (self._beats, self._changes, self._incidents):
            part.clear()

    def remove(self, one: Waiting) -> bool:
        """It waits no more. False: it did not."""
        return self._part(one).pop(one.key, None) is not None

    def put_behind(self, one: Waiting) -> None:
        """Others like it shall be tried before it again."""
        if one.key in self._part(one):
            self._part(one).move_to_end(one.key)

    def _part(self, one: Waiting) -> OrderedDict[str, Waiting]:
        if one.kind == "incident":
            return self._incidents
        return self._changes if one.changed else self._beats

    def next(self, newest: str, *, gap: bool, skip: Collection[str] = ()) -> tuple[Waiting | None, Sort] | None:
        """What leaves next, and as what; (None, "gap") for the gap. `newest`: the key of the newest report of all.

        Those to `skip` leave only where nothing else waits; no news of an incident overtakes an earlier one for that.
        """
        for part in (self._beats, self._changes):
            if newest in part:
                return part[newest], "report"
        if gap:
            return None, "gap"
        for passing in (skip, ()):
            first = next(iter(self._incidents.values()), None)
            if first is not None and first.key not in passing:
                return first, "incident"
            found = [one for part in (self._beats, self._changes) if (one := _first(part, passing)) is not None]
            if found:
                return min(found, key=lambda one: (one.tries >= SUSPECT, one.seq)), "history"
        return None

    def excess(self, quota: int, newest: str) -> list[Waiting]:
        """Those that are too many. The newest report never is."""
        more = len(self) - quota
        if more <= 0:
            return []
        gone = [one for one in islice(self._beats.values(), more + 1) if one.key != newest][:more]
        if len(gone) < more:
            others = sorted((*self._changes.values(), *self._incidents.values()), key=lambda one: (one.seq, one.at))
            gone += [one for one in others if one.key != newest][: more - len(gone)]
        return gone


def _first(part: Mapping[str, Waiting], skip: Collection[str]) -> Waiting | None:
    return next((one for one in part.values() if one.key not in skip), None)


def rest(failures: int, splay: float, draw: float) -> float:
    """Seconds to wait after so many failures in a row; `draw` is a random number from 0 to 1.

    Anywhere between a tenth of it and the whole, so that tills which lost the same centre do not come back together.
    """
    longest = min(splay, FIRST_S * 2.0 ** min(failures, 30))
    return min(longest, longest / 10 + draw * longest * 9 / 10)


def put_off(asked: float, splay: float, draw: float) -> float:
    """Seconds to wait where the centre asked for so many: not less, within bounds, and not all tills together."""
    base = min(max(1.0, asked if asked == asked else 1.0), LONGEST_S)  # noqa: PLR0124 -- not a number
    return base + draw * min(base, splay) / 10


def pause(waiting: int, splay: float, draw: float) -> float:
    """Seconds between two older reports after an outage, so that what waits leaves within about `splay`."""
    return min(PAUSE_S, splay * (0.5 + draw / 2) / max(1, waiting))
