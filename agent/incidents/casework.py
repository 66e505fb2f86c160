"""Which incident does each diagnosis belong to, which are new, and which are over? The work of `incidents.update`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from agent.incidents.words import Book, Case, Change, Incident, Pending
from agent.state import Track, is_bad, is_good

ONE_FAULT_S = 300.0
"""An incident no older than this that turns out to be part of a deeper fault was the same event under a wrong name."""
IMPACTS = ("none", "degrade", "stop")
UNSEEN = Track()


class Rules(NamedTuple):
    """How sure one has to be, and how long memory is."""

    rounds: int
    certain: Collection[str]
    reopen_within: float
    hold: float


def _same_fault(one: Incident | Pending, cause: str, fingerprint: str, probes: Collection[str]) -> bool:
    """Same cause, and a probe in common or the same fingerprint. What nobody can name has only its probes in common."""
    if one.cause != cause:
        return False
    return (one.fingerprint == fingerprint and cause != "unclassified") or any(name in probes for name in one.probes)


def _combined(cases: Sequence[Case]) -> list[Case]:
    """The cases, those of one fault made one."""
    kept: list[Case] = []
    for number, case in enumerate(cases):
        for place, each in enumerate(kept):
            if _same_fault(_as_pending(each), case.cause, case.fingerprint, case.explains):
                kept[place] = replace(
                    each,
                    explains=_union(each.explains, case.explains),
                    evidence=_union(each.evidence, case.evidence),
                    seen=case.seen | each.seen,
                    impact=_worse(each.impact, case.impact),
                )
                return _combined([*kept, *cases[number + 1 :]])
        kept.append(case)
    return kept


def _as_pending(case: Case) -> Pending:
    return Pending(case.cause, case.explains, 0, 0.0, case.fingerprint)


def _concerns(one: Incident | Pending, case: Case) -> bool:
    return _same_fault(one, case.cause, case.fingerprint, case.explains)


def _worse(one: str, other: str) -> str:
    return max(one, other, key=lambda impact: IMPACTS.index(impact) if impact in IMPACTS else -1)


def _union(names: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, *more)))


class Casework:
    """One update under way. First the cases find their incidents, then the others open, then what is over closes."""

    def __init__(
        self, book: Book, tracks: Mapping[str, Track], now: float, rules: Rules, new_id: Callable[[float], str]
    ) -> None:
        self.before = book
        self.tracks = tracks
        self.now = now
        self.rules = rules
        self.new_id = new_id
        self.open = {incident.id: incident for incident in book.open}
        self.claims: dict[str, list[Case]] = {}
        self.recent = [i for i in book.recent if self._within(i.resolved_at, rules.reopen_within)]
        self.pending: list[Pending] = []
        self.ended: list[Change] = []

    def run(self, cases: Sequence[Case], *, counts: bool) -> None:
        """Everything, in order."""
        strangers = [case for case in _combined(cases) if not self._claim(case)]
        self._fold()
        for case in strangers:
            if not self._claim(case):
                self._weigh(case, counts=counts)
        self._fold()
        if not counts:  # no examination: what was pending is neither nearer nor refuted
            self.pending += [p for p in self.before.pending if not self._accounted(p)]
        self._close()

    def book(self) -> Book:
        """What is known now; the very same book where nothing happened."""
        book = Book(tuple(self.open.values()), tuple(self.recent), tuple(self.pending))
        return self.before if book == self.before else book

    def changes(self) -> list[Change]:
        """What happened, the openings first."""
        before = {incident.id: incident for incident in self.before.open}
        opened = [Change("opened", each) for each in self.open.values() if each.id not in before]
        changed = [Change("changed", each) for each in self.open.values() if before.get(each.id, each) != each]
        return [*opened, *changed, *self.ended]

    def _within(self, moment: float | None, span: float) -> bool:
        """Whether it was a short while ago. A wall clock that was set since makes it long ago, not for ever now."""
        return moment is not None and abs(self.now - moment) < span

    def _claim(self, case: Case) -> bool:
        """Let the case keep its incident open, if it has one: rather one with a probe in common."""
        mine = [incident for incident in self.open.values() if _concerns(incident, case)]
        if not mine:
            return False
        found = next((each for each in mine if any(name in case.explains for name in each.probes)), mine[0])
        first = found.id not in self.claims
        self.claims.setdefault(found.id, []).append(case)
        self.open[found.id] = replace(
            found,
            probes=_union(found.probes, case.explains),
            impact=_worse(found.impact, case.impact),
            confidence=case.confidence if first else found.confidence,
            headline=case.headline if first else found.headline,
        )
        return True

    def _weigh(self, case: Case, *, counts: bool) -> None:
        """Open an incident if it is time, else remember how often the case was made."""
        known = [each for each in self.before.pending if _concerns(each, case)]
        in_trouble = [name for name in case.explains if name in self.tracks and is_bad(self.tracks[name].status)]
        needed = self._needed(case, in_trouble)
        seen = min(max((each.rounds for each in known), default=0) + counts, max(needed, self.rules.rounds))
        began_at = min([self._began_at(case), *(each.began_at for each in known)])
        if seen >= needed and in_trouble and not self._under_another_name(case, in_trouble):
            self._open(case, began_at)
        elif seen:
            self.pending.append(Pending(case.cause, case.explains, seen, began_at, case.fingerprint))

    def _needed(self, case: Case, in_trouble: Sequence[str]) -> int:
        """How many examinations must have said so.

        What is certain needs one. One more than usual is needed where all that is in trouble is part of an incident
        that nothing speaks for any more, and of which something got well: the way out of a fault leads through others.
        A cable is back, its address comes a second later; a router is back, and its name server knows no name yet.
        """
        is_certain = case.cause in self.rules.certain
        unclaimed = [each for identity, each in self.open.items() if not self.claims.get(identity)]
        before = {name for each in unclaimed if is_certain or self._recovering(each) for name in each.probes}
        if in_trouble and before.issuperset(in_trouble):
            return self.rules.rounds + 1
        return 1 if is_certain else self.rules.rounds

    def _open(self, case: Case, began_at: float) -> None:
        before = next((each for each in reversed(self.recent) if _concerns(each, case)), None)
        incident = Incident(
            id=self.new_id(self.now),
            cause=case.cause,
            party=case.party,
            category=case.category,
            confidence=case.confidence,
            fingerprint=case.fingerprint,
            impact=case.impact,
            began_at=began_at,
            opened_at=self.now,
            probes=_union((), case.explains),
            evidence=case.evidence,
            seen=case.seen,
            subjects=case.subjects,
            headline=case.headline,
            flapping=before is not None and before.joined_to is None,
            previous=before.id if before else None,
        )
        self.open[incident.id] = incident
        self.claims[incident.id] = [case]

    def _began_at(self, case: Case) -> float:
        """When the first look saw it. A probe that was broken long before, for a reason of its own, tells nothing."""
        older = {
            name
            for incident in (*self.open.values(), *self.recent)
            if not self._within(incident.opened_at, ONE_FAULT_S)
            for name in incident.probes
            if incident.resolved_at is None or (self._first_bad(name) or self.now) <= incident.resolved_at
        }
        times = {name: moment for name in case.explains if (moment := self._first_bad(name)) is not None}
        fresh = [moment for name, moment in times.items() if name not in older]
        return min([self.now, *(fresh or list(times.values()))])

    def _first_bad(self, name: str) -> float | None:
        track = self.tracks.get(name, UNSEEN)
        if is_bad(track.status):
            return track.since
        return track.candidate_since if is_bad(track.candidate) else None

    def _under_another_name(self, case: Case, in_trouble: Collection[str]) -> bool:
        """Whether this fault was just joined to a deeper one that is still all there: two names must not take turns."""
        for each in self.recent:
            if each.joined_to is not None and _concerns(each, case):
                home = self._home(each)
                if home and not self._recovering(home) and all(name in home.probes for name in in_trouble):
                    return True
        return False

    def _home(self, incident: Incident) -> Incident | None:
        """The open incident that it was joined to in the end."""
        gone = {each.id: each for each in self.recent}
        for _ in range(len(gone) + 1):
            following = incident.joined_to
            if following is None or following in self.open:
                return self.open.get(following or "")
            if following not in gone:
                return None
            incident = gone[following]
        return None

    def _recovering(self, incident: Incident) -> bool:
        """Whether a probe of it got well since it began."""
        tracks = (self.tracks[name] for name in incident.probes if name in self.tracks)
        return any(is_good(track.status) and track.since > incident.began_at for track in tracks)

    def _fold(self) -> None:
        """Two incidents that turn out to be of one fault: the later is joined to the earlier."""
        kept: list[Incident] = []
        for incident in list(self.open.values()):
            home = next(
                (k for k in kept if _same_fault(k, incident.cause, incident.fingerprint, incident.probes)), None
            )
            if home is None:
                kept.append(incident)
                continue
            merged = replace(
                home,
                probes=_union(home.probes, incident.probes),
                impact=_worse(home.impact, incident.impact),
                began_at=min(home.began_at, incident.began_at),
            )
            self.open[home.id] = merged
            self.claims.setdefault(home.id, []).extend(self.claims.pop(incident.id, []))
            self._end(incident, merged)
            return self._fold()  # the union may touch one that was kept before
        return None

    def _accounted(self, pending: Pending) -> bool:
        """Whether a pending diagnosis was weighed anew, or is an incident."""
        others: list[Incident | Pending] = [*self.pending, *self.open.values()]
        return any(_same_fault(each, pending.cause, pending.fingerprint, pending.probes) for each in others)

    def _close(self) -> None:
        """End the incidents that no case speaks for any more, if their probes say that they are over."""
        for incident in list(self.open.values()):
            if self.claims.get(incident.id):
                continue
            tracks = {name: self.tracks[name] for name in incident.probes if name in self.tracks}
            left = [name for name, track in tracks.items() if not is_good(track.status)]
            deeper = self._deeper(incident, [name for name in left if is_bad(tracks[name].status)] or left)
            if deeper is not None:
                self._end(incident, deeper)
            elif all(self._explained(name) for name in left) and not self._held(incident, tracks.values()):
                self._end(incident, None)

    def _deeper(self, incident: Incident, left: Sequence[str]) -> Incident | None:
        """The open incident that explains all that is left of this one, unless that is a mere remnant of a repair."""
        for identity, cases in sorted(self.claims.items(), key=lambda claim: claim[0] in self._known):
            explained = {name for case in cases for name in case.explains}
            if left and explained.issuperset(left) and not self._remnant(incident, explained):
                return self.open[identity]
        return None

    @property
    def _known(self) -> set[str]:
        return {incident.id for incident in self.before.open}

    def _remnant(self, incident: Incident, explained: Collection[str]) -> bool:
        """A router is back, two of its sixty children stay bad: their own fault does not explain the router's."""
        beyond = (self.tracks.get(name, UNSEEN) for name in explained if name not in incident.probes)
        return self._recovering(incident) and not any(is_bad(track.status) for track in beyond)

    def _explained(self, name: str) -> bool:
        return any(name in case.explains for cases in self.claims.values() for case in cases)

    def _held(self, incident: Incident, tracks: Iterable[Track]) -> bool:
        """Whether one that came back must keep quiet for longer before it counts as gone."""
        if not incident.flapping or self.rules.reopen_within <= 0:
            return False
        return any(is_good(track.status) and self._within(track.since, self.rules.hold) for track in tracks)

    def _end(self, incident: Incident, home: Incident | None) -> None:
        del self.open[incident.id]
        if incident.id not in self._known:  # opened and folded in one go: nobody heard of it
            return
        unwatched = home is None and not any(name in self.tracks for name in incident.probes)
        over = replace(incident, resolved_at=self.now, joined_to=home.id if home else None, unwatched=unwatched)
        self.ended.append(Change("joined" if home else "resolved", over))
        if self.rules.reopen_within > 0:
            self.recent.append(over)
