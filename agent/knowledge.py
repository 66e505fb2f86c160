"""What is known of this till right now, and what follows from one more answer? Reads no clock, touches no disk.

Looks come in one by one or as an examination; out come transitions, incidents and what the disk does not know yet.
Owned by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from agent import state, verdict
from agent.diagnosis import Diagnosis, Explanation
from agent.diagnosis.early import CONCLUSIVE
from agent.diagnosis.scene import CONNECTING, NETWORK, host_of, is_trouble
from agent.examination import Findings
from agent.incidents import Book, Case, Change, uncovered, update
from agent.runner import Look
from agent.state import Track, Transition
from agent.store import Batch
from agent.vantage import merged
from probes.model import Impact, Memory, Observation, Probe, Status

CERTAIN = CONCLUSIVE | {"terminal.unplugged", "power.mains_lost"}
"""What the kernel itself says needs no second examination."""
ON_SITE = frozenset({"power", "ups", "usb", "serial", "interface"})
CHAIN = ON_SITE | NETWORK
"""What can explain one another; whatever else is suspect is looked at alone."""
AT_ONCE, COMPARED = 48, 24
"""Probes up to which an examination looks at the whole chain, and how many others it takes to compare of more."""
IMPACTS = (Impact.STOP, Impact.DEGRADE, Impact.NONE)


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
    _doubt: tuple[int, bool] = (-1, False)
    _faces: dict[str, tuple[Status, str]] = field(default_factory=dict)
    _faces_changed: set[str] = field(default_factory=set)

    # --- one more answer ----------------------------------------------------------------------------------------------

    def take(self, found: Look) -> Transition | None:
        """One finished look. A probe that is no longer configured, or that nobody waited for, says nothing."""
        name, seen = found.probe.name, found.observation
        if self.probes.get(name) != found.probe or seen.measurements.get("why") in ("not_awaited", "run_over"):
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
        last, suspected = self.looks.get(name), name in self.suspects
        self.looks[name] = found
        self._note_suspicion(name, found, track)
        if last is None or transition or suspected != (name in self.suspects) or _face(last) != _face(found):
            self.version += 1
        if self.extra:
            self.extra = [each for each in self.extra if each.probe.name != name]
        return transition

    def _remember(self, name: str, seen: Observation) -> None:
        if seen.memory and seen.memory != self.memories.get(name):
            self.memories[name] = seen.memory
            self.unsaved.memories[name] = seen.memory

    def _note_suspicion(self, name: str, found: Look, track: Track) -> None:
        if state.suspect(track):
            self.suspects.add(name)
        else:
            self.suspects.discard(name)
            self.standing[name] = found
        face = _face(found)
        if self._faces.get(name, (Status.OK, "ok")) == face:
            self._faces_changed.discard(name)
        elif is_trouble(found) or self._faces.get(name, (Status.OK, ""))[0] in (Status.WARN, Status.FAIL):
            self._faces_changed.add(name)

    # --- explaining ---------------------------------------------------------------------------------------------------

    @property
    def doubtful(self) -> bool:
        """Something is suspect, looks different from what was explained, or is explained but not yet believed."""
        return bool(self.suspects or self._faces_changed or self.book.pending or self._mending() or self._unaccounted())

    def _unaccounted(self) -> frozenset[str]:
        """Confirmed trouble without an incident, where anything but its being harmless is to be found out."""
        found = uncovered(self.book, self.tracks)
        return found - self.explanation.harmless.keys() if found else found

    def _mending(self) -> bool:
        """An open incident of which something is well again: are its children?"""
        return any(self._half_mended(incident.probes) for incident in self.book.open)

    def _half_mended(self, names: Iterable[str]) -> bool:
        bad = [name in self.tracks and state.is_bad(self.tracks[name].status) for name in names if name in self.probes]
        seen = [is_trouble(self.looks[name]) for name in names if name in self.looks]
        return any(bad) and not all(bad) and not all(seen)

    @property
    def may_be_over(self) -> bool:
        """An incident is open though nothing seems wrong any more."""
        return bool(self.book.open) and not self.doubtful and not self.troubled

    @property
    def troubled(self) -> bool:
        """Whether any newest look found trouble."""
        return any(is_trouble(found) for found in self.looks.values())

    def to_examine(self) -> list[Probe]:
        """The suspects, their ancestors, and the probes that tell causes apart."""
        concerned = {name for name in self.suspects | self._faces_changed | self._unaccounted() if name in self.probes}
        for incident in self.book.open:
            concerned.update(name for name in incident.probes if name in self.probes)
        for pending in self.book.pending:
            concerned.update(name for name in pending.probes if name in self.probes)
        named = [self.probes[name] for name in sorted(concerned)]
        if not any(probe.kind in CHAIN for probe in named):
            return named[:AT_ONCE]
        chain = [probe for probe in self.probes.values() if probe.kind in CHAIN]
        if len(chain) > AT_ONCE:
            chain = self._sample(chain, named)
        return list({probe.name: probe for probe in [*chain, *named[:AT_ONCE]]}.values())

    def _sample(self, chain: Sequence[Probe], named: Sequence[Probe]) -> list[Probe]:
        """Of a thousand: all that is no mere target, and targets of as many hosts as possible."""
        stems = [probe for probe in chain if probe.kind not in CONNECTING and probe.kind != "ping"][:AT_ONCE]
        others = [probe for probe in chain if probe.kind in CONNECTING and probe not in named[:AT_ONCE]]
        hosts: dict[str, Probe] = {}
        for probe in others:
            found = self.looks.get(probe.name)
            hosts.setdefault(host_of(found) if found else probe.target, probe)
        return [*stems, *list(hosts.values())[:COMPARED]]

    def beside(self, probes: Iterable[Probe]) -> list[Look]:
        """The newest looks of all others."""
        names = {probe.name for probe in probes}
        return [found for name, found in self.looks.items() if name not in names]

    def examined(self, findings: Findings, now: float) -> list[Change]:
        """An examination is over: its looks count like all others, its explanation decides about incidents."""
        for found in findings.looks:
            self.take(found)
        self.extra = list(findings.extra)
        return self._explained(findings.explanation, now, round_taken=True)

    def explained_at_once(self, explanation: Explanation, now: float) -> list[Change]:
        """What a kernel event already makes certain, before any examination; the rest of it is not believed."""
        firm = tuple(each for each in explanation.diagnoses if each.cause in CERTAIN)
        if not firm:
            return []
        return self._explained(Explanation(firm, explanation.harmless), now, round_taken=True, firm_only=True)

    def all_well(self, now: float) -> list[Change]:
        """Nothing to examine: whatever was open may be over."""
        self.extra = []
        return self._explained(Explanation(), now, round_taken=False)

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
        self._doubt = (-1, False)
        return changes

    def _case(self, found: Diagnosis) -> Case:
        headline, fingerprint = self.describe(found)
        impacts = [self.probes[name].impact for name in found.explains if name in self.probes]
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
        )

    # --- what to tell -------------------------------------------------------------------------------------------------

    def confirmed(self) -> Explanation:
        """The diagnoses that rest on at least one confirmed trouble."""
        firm = tuple(each for each in self.explanation.diagnoses if any(map(self._is_bad, each.explains)))
        return Explanation(firm, self.explanation.harmless)

    def _is_bad(self, name: str) -> bool:
        track = self.tracks.get(name)
        return track is not None and track.status is not None and state.is_bad(track.status)

    def finding(self) -> verdict.Finding:
        """The verdict that confirmed statuses give."""
        return verdict.decide([self._stands(found) for found in self.looks.values()], self.explanation.harmless)

    def _stands(self, newest: Look) -> Look:
        """The look that counts: the newest that agrees with what is confirmed."""
        name = newest.probe.name
        if name not in self.suspects:
            return newest
        track = self.tracks[name]
        status = track.status or Status.UNKNOWN
        last = self.standing.get(name)
        if last is not None and last.observation.status is status and last.probe == newest.probe:
            return last
        return replace(newest, observation=msgspec.structs.replace(newest.observation, status=status))

    def all_looks(self) -> list[Look]:
        """The newest look of each probe, and the extra ones."""
        return merged(list(self.looks.values()), self.extra)

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
        self.explanation, self.extra = Explanation(), []
        self.version += 1
        self._faces_changed = {name for name, found in self.looks.items() if is_trouble(found)}

    def _forget(self, name: str) -> None:
        for known in (self.looks, self.standing, self.tracks, self.memories, self._faces):
            known.pop(name, None)
        self.suspects.discard(name)
        self._faces_changed.discard(name)


def _face(found: Look) -> tuple[Status, str]:
    return found.observation.status, found.observation.reason
