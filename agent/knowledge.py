"""What is known of this till right now, and what follows from one more answer? Reads no clock, touches no disk.

Looks come in one by one or as an examination; out come transitions, incidents and what the disk does not know yet.
Owned by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from agent import state, verdict
from agent.diagnosis import Diagnosis, Explanation
from agent.diagnosis.early import CONCLUSIVE
from agent.diagnosis.model import Clue
from agent.diagnosis.scene import is_trouble
from agent.examination import Findings
from agent.incidents import Book, Case, Change, Incident, Seen, uncovered, update
from agent.runner import Look, not_begun
from agent.selection import select
from agent.state import Track, Transition
from agent.store import Batch
from agent.vantage import merged
from probes.model import CannotAnswer, Impact, Memory, Observation, OutOfTime, Probe, Status

CERTAIN = CONCLUSIVE | {"terminal.unplugged", "power.mains_lost"}
"""What the kernel itself says needs no second examination."""
FEW = 10
"""So many items of a list are kept with an incident."""
IMPACTS = (Impact.STOP, Impact.DEGRADE, Impact.NONE)
UNCOUNTED = frozenset({"not_awaited", "run_over"})
"""Why nobody waited for an answer that would have come: such a look says nothing about its probe."""
OVERTAKEN_S = 60.0
"""A look that was begun so much earlier than the newest one came late; by more than that, the clock was set."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of believing. Seconds."""

    window: int = 5
    reopen_within: float = 300.0

    @property
    def hold(self) -> float:
        """How long all must be well before a flapping incident is over."""
        return 2 * self.reopen_within


@dataclass
class Knowledge:
    """Everything in memory. `describe` gives a diagnosis its title and fingerprint; `new_id` an incident its id."""

    probes: dict[str, Probe]
    describe: Callable[[Diagnosis], tuple[str, str]]
    new_id: Callable[[float], str]
    rules: Rules = field(default_factory=Rules)
    tracks: dict[str, Track] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)
    book: Book = field(default_factory=Book)
    looks: dict[str, Look] = field(default_factory=dict)
    standing: dict[str, Look] = field(default_factory=dict)
    extra: list[Look] = field(default_factory=list)
    explanation: Explanation = field(default_factory=Explanation)
    unsaved: Batch = field(default_factory=Batch)
    suspects: set[str] = field(default_factory=set)
    version: int = 0
    """Rises with every change worth telling; a measurement that moved is none."""
    _doubt: bool | None = None
    """What `doubtful` came to; None once something changed: a thousand probes are not asked at every turn."""
    _bad: set[str] = field(default_factory=set)
    """Whose trouble is confirmed."""
    _troubled: set[str] = field(default_factory=set)
    """Of which the newest look found trouble."""
    _faces: dict[str, tuple[Status, str]] = field(default_factory=dict)
    """What each look said that was last explained."""
    _faces_changed: set[str] = field(default_factory=set)

    def restore(self, tracks: Mapping[str, Track], memories: Mapping[str, Memory], book: Book) -> None:
        """What was known when this till was last watched. What was confirmed then stands until looks say otherwise."""
        known = {name: state.resumed(track) for name, track in tracks.items() if name in self.probes and track.status}
        self.tracks, self.book = known, book
        self.memories = {name: noted for name, noted in memories.items() if name in self.probes}
        self._bad = {name for name, track in known.items() if state.is_bad(track.status)}
        self._doubt = None

    # --- one more answer ----------------------------------------------------------------------------------------------

    def take(self, found: Look) -> Transition | None:
        """One finished look. A probe that is no longer configured, or that nobody waited for, says nothing."""
        name, seen = found.probe.name, found.observation
        if self.probes.get(name) != found.probe or seen.measurements.get("why") in UNCOUNTED:
            return None
        self._remember(name, seen)
        before = self.tracks.get(name)
        track, transition = state.advance(
            before, seen, state.policy_of(found.probe, self.rules.window), found.checked_at
        )
        if track is not before:
            self.tracks[name] = track
        if transition is not None:
            transition = msgspec.structs.replace(transition, probe=name)
            self.unsaved.tracks[name] = track
            self.unsaved.transitions.append(transition)
            _put(self._bad, name, state.is_bad(track.status))
        last, suspected = self.looks.get(name), name in self.suspects
        self.looks[name] = found
        self._note_suspicion(name, found, track)
        if last is None or transition or suspected != (name in self.suspects) or _face(last) != _face(found):
            self.version += 1
            self._doubt = None
        if self.extra:
            self.extra = [each for each in self.extra if each.probe.name != name]
        return transition

    def _remember(self, name: str, seen: Observation) -> None:
        if seen.reason == CannotAnswer.reason and self.memories.get(name):
            self.memories[name] = self.unsaved.memories[name] = {}  # it may have been what it stumbled over
        if seen.memory and seen.memory != self.memories.get(name):
            self.memories[name] = seen.memory
            self.unsaved.memories[name] = seen.memory

    def _note_suspicion(self, name: str, found: Look, track: Track) -> None:
        suspicious = state.suspect(track)
        _put(self.suspects, name, suspicious)
        if not suspicious:
            self.standing[name] = found
        _put(self._troubled, name, is_trouble(found))
        face = _face(found)
        if self._faces.get(name, (Status.OK, "ok")) == face:
            self._faces_changed.discard(name)
        elif is_trouble(found) or self._faces.get(name, (Status.OK, ""))[0] in (Status.WARN, Status.FAIL):
            self._faces_changed.add(name)

    # --- explaining ---------------------------------------------------------------------------------------------------

    @property
    def doubtful(self) -> bool:
        """Something is suspect, looks different from what was explained, or is explained but not yet believed."""
        if self._doubt is None:
            self._doubt = bool(
                self.suspects or self._faces_changed or self.book.pending or self._mending() or self._unaccounted()
            )
        return self._doubt

    def _unaccounted(self) -> frozenset[str]:
        """Confirmed trouble without an incident, where anything but its being harmless is to be found out."""
        found = uncovered(self.book, {name: self.tracks[name] for name in self._bad})
        return found - self.explanation.harmless.keys() if found else found

    def _mending(self) -> bool:
        """An open incident of which something is well again: are its children?"""
        return any(self._half_mended(incident.probes) for incident in self.book.open)

    def _half_mended(self, names: Iterable[str]) -> bool:
        bad = [name in self._bad for name in names if name in self.probes]
        seen = [name in self._troubled for name in names if name in self.looks]
        return any(bad) and not all(bad) and not all(seen)

    @property
    def may_be_over(self) -> bool:
        """An incident is open though nothing of it seems wrong any more."""
        return bool(self.book.open) and not self.doubtful and any(map(self._is_well, self.book.open))

    def _is_well(self, incident: Incident) -> bool:
        return not any(name in self._bad or name in self._troubled for name in incident.probes)

    def to_examine(self, late: Iterable[str] = ()) -> list[Probe]:
        """The suspects, their ancestors, and the probes that tell causes apart. `late`: suspects that do not answer."""
        told = {name for incident in self.book.open for name in incident.probes}
        told.update(name for pending in self.book.pending for name in pending.probes)
        doubtful = self.suspects | self._faces_changed | self._unaccounted() | set(late)
        return select(self.probes, self.looks, doubtful, told)

    def extra_since(self, moment: float) -> list[Look]:
        """The extra looks that were taken at targets since then (Unix time)."""
        return [
            f
            for f in self.extra
            if f.checked_at >= moment and f.probe.kind == "ping" and f.probe.name not in self.probes
        ]

    def silent(self) -> set[str]:
        """The suspects whose connections were not answered the last time."""
        return {name for name in self.suspects if self.looks[name].observation.reason == "port.timeout"}

    def usual_s(self, name: str) -> float | None:
        """How many seconds a look at this probe took the last time, if all was well then."""
        last = self.looks.get(name)
        if last is None or last.observation.status is not Status.OK or name in self.suspects or name in self._bad:
            return None
        return last.duration

    def beside(self, probes: Iterable[Probe]) -> list[Look]:
        """The newest looks of all others."""
        names = {probe.name for probe in probes}
        return [found for name, found in self.looks.items() if name not in names]

    def examined(self, findings: Findings, now: float, *, valid: bool = True) -> list[Change]:
        """An examination is over: its looks count like all others, its explanation decides about incidents.

        `valid`: nothing else was asked for since it began; else it explains what is no longer watched.
        """
        for found in findings.looks:
            if not self._is_overtaken(found):
                self.take(found)
        if not valid:
            return []
        self.extra = list(findings.extra)
        changes = self._explained(findings.explanation, now, round_taken=True)
        self._note_explained(findings.looks)
        return changes

    def _is_overtaken(self, found: Look) -> bool:
        """Whether another look was begun after this one, or this one was given less time than its probe has."""
        newest, seen = self.looks.get(found.probe.name), found.observation
        given = seen.measurements.get("timeout_s") if seen.reason == "probe.timeout" else None
        if isinstance(given, (int, float)) and given < 0.9 * found.probe.timeout:
            return True
        return newest is not None and 0 < newest.checked_at - found.checked_at < OVERTAKEN_S

    def _note_explained(self, looks: Iterable[Look]) -> None:
        """What was explained are these looks; what was seen since is yet to be."""
        for found in looks:
            name, face = found.probe.name, _face(found)
            newest = self.looks.get(name)
            if newest is not None and _face(newest) != face and (is_trouble(newest) or is_trouble(found)):
                self._faces[name] = face
                self._faces_changed.add(name)
                self._doubt = None

    def explained_at_once(self, explanation: Explanation, now: float) -> list[Change]:
        """What a kernel event already makes certain, before any examination; the rest of it is not believed."""
        firm = tuple(each for each in explanation.diagnoses if each.cause in CERTAIN)
        if not firm:
            return []
        said = {name for each in firm for name in each.explains}
        before = tuple(each for each in self.explanation.diagnoses if not said.issuperset(each.explains))
        changes = self._explained(Explanation(firm, explanation.harmless), now, round_taken=True, firm_only=True)
        self.explanation = Explanation((*firm, *before), explanation.harmless)
        return changes

    def is_near(self, kinds: Collection[str]) -> bool:
        """Whether trouble of one of these kinds is confirmed."""
        return any(self.probes[name].kind in kinds for name in self._bad)

    def all_well(self, now: float) -> list[Change]:
        """Nothing to examine: what was open, and of which nothing seems wrong any more, may be over."""
        wrong = self._bad | self._troubled
        left = tuple(each for each in self.explanation.diagnoses if not wrong.isdisjoint(each.explains))
        if not left:
            self.extra = []
        return self._explained(Explanation(left, self.explanation.harmless if wrong else {}), now, round_taken=False)

    def _explained(
        self, explanation: Explanation, now: float, *, round_taken: bool, firm_only: bool = False
    ) -> list[Change]:
        if not firm_only:
            self._faces = {name: _face(found) for name, found in self.looks.items()}
            self._faces_changed.clear()
        before = (self.explanation, self.book)
        self.explanation = explanation
        self.book, changes = update(
            self.book,
            [self._case(each) for each in explanation.diagnoses],
            self.tracks,
            now,
            round_taken=round_taken,
            certain=CERTAIN,
            reopen_within=self.rules.reopen_within,
            hold=self.rules.hold,
            watched=self.probes.keys(),
            new_id=self.new_id,
        )
        self.unsaved.incidents.extend(change.incident for change in changes)
        self.version += before != (self.explanation, self.book)
        self._doubt = None
        return changes

    def _case(self, found: Diagnosis) -> Case:
        headline, fingerprint = self.describe(found)
        impacts = [self._impact(name) for name in found.explains if name in self.probes]
        return Case(
            cause=found.cause,
            party=found.party,
            category=found.category,
            confidence=found.confidence,
            fingerprint=fingerprint,
            impact=str(min(impacts, key=IMPACTS.index, default=Impact.DEGRADE)),
            explains=found.explains,
            evidence=tuple(f"{clue.probe}: {clue.reason}" for clue in found.evidence),
            headline=headline,
            subjects=found.subjects,
            seen={f"{clue.probe}: {clue.reason}": seen for clue in found.evidence if (seen := self._seen(clue))},
        )

    def _impact(self, name: str) -> Impact:
        """What this probe's trouble means now: a warning stops no payment."""
        impact, found = self.probes[name].impact, self.looks.get(name)
        warns = found is not None and found.observation.status is Status.WARN
        return Impact.DEGRADE if warns and impact is Impact.STOP else impact

    def _seen(self, clue: Clue) -> Seen | None:
        """What stands behind this clue, if the newest look still says so. Long lists are for the report alone."""
        found = self.looks.get(clue.probe)
        if found is None or found.observation.reason != clue.reason:
            found = self.standing.get(clue.probe)
        if found is None or found.observation.reason != clue.reason:
            return None
        facts = found.observation.measurements
        short = {name: value for name, value in facts.items() if not isinstance(value, list) or len(value) <= FEW}
        return Seen(found.probe.kind, short)

    # --- what to tell -------------------------------------------------------------------------------------------------

    def confirmed(self) -> Explanation:
        """The diagnoses that rest on at least one confirmed trouble."""
        firm = tuple(each for each in self.explanation.diagnoses if not self._bad.isdisjoint(each.explains))
        return Explanation(firm, self.explanation.harmless)

    def finding(self) -> verdict.Finding:
        """The verdict that confirmed statuses give."""
        looks = [self._stands(found) for found in self.looks.values()]
        for found in self._unseen():
            name = found.probe.name
            looks.append(_as_if(found, self.tracks[name].status) if name in self._bad else found)
        return verdict.decide(looks, self.explanation.harmless)

    def _stands(self, newest: Look) -> Look:
        """The look that counts: the newest that agrees with what is confirmed."""
        name = newest.probe.name
        if name not in self.suspects:
            return newest
        status = self.tracks[name].status
        last = self.standing.get(name)
        if last is not None and last.observation.status is status and last.probe == newest.probe:
            return last
        return _as_if(newest, status)

    def all_looks(self) -> list[Look]:
        """The newest look of each probe, and the extra ones."""
        return merged([*self.looks.values(), *self._unseen()], self.extra)

    def _unseen(self) -> list[Look]:
        """Nobody has looked yet, since the start or a new configuration: that is not to be mistaken for health."""
        if len(self.looks) >= len(self.probes):
            return []
        cause = OutOfTime("not looked at yet", why="not_yet")
        return [not_begun(probe, cause) for name, probe in self.probes.items() if name not in self.looks]

    # --- a new configuration ------------------------------------------------------------------------------------------

    def rearrange(self, probes: Mapping[str, Probe], rules: Rules) -> None:
        """Watch these from now on. What asks the same question keeps its track; the rest begins anew."""
        for name, probe in self.probes.items():
            new = probes.get(name)
            if new is None or (new.kind, new.target) != (probe.kind, probe.target):
                self._forget(name)
            elif new != probe:
                for known in (self.looks, self.standing):
                    if name in known:
                        known[name] = replace(known[name], probe=new)
        self.probes, self.rules = dict(probes), rules
        there = self.looks.keys() | {found.probe.name for found in self.extra}
        kept = tuple(each for each in self.explanation.diagnoses if _rests_on(each) <= there)
        harmless = {name: proof for name, proof in self.explanation.harmless.items() if {name, proof} <= there}
        self.explanation = Explanation(kept, harmless)
        self._faces.clear()  # all trouble is to be explained anew
        self._faces_changed = set(self._troubled)
        self.version += 1
        self._doubt = None

    def _forget(self, name: str) -> None:
        for known in (self.looks, self.standing, self.tracks, self.memories):
            known.pop(name, None)
        for names in (self.suspects, self._bad, self._troubled):
            names.discard(name)
        self.extra = [each for each in self.extra if each.probe.name != name]


def _put(names: set[str], name: str, belongs: bool) -> None:
    if belongs:
        names.add(name)
    else:
        names.discard(name)


def _as_if(found: Look, status: Status | None) -> Look:
    return replace(found, observation=msgspec.structs.replace(found.observation, status=status or Status.UNKNOWN))


def _rests_on(found: Diagnosis) -> set[str]:
    """All the looks that it speaks of."""
    return {*found.explains, *(clue.probe for clue in found.evidence), *(each.probe for each in found.ruled_out)}


def _face(found: Look) -> tuple[Status, str]:
    return found.observation.status, found.observation.reason
