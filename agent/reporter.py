"""Must the report be written anew, and what does it say? On change at once, not in a storm, else as a heartbeat."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from agent import rendering, report, state, texts
from agent.places import terminals
from agent.rendering import Circumstances, Standing
from agent.report import AcknowledgedPart, EventPart, IncidentPart, stamp
from probes.model import Impact

if TYPE_CHECKING:
    from agent.diagnosis import Diagnosis, Explanation
    from agent.diagnosis.model import Place
    from agent.incidents import Incident
    from agent.keeper import Keeper
    from agent.knowledge import Knowledge
    from agent.runner import Look
    from agent.store import Event, Note
    from agent.texts import Language
    from agent.verdict import Finding

BURST, REFILL_S, APART_S = 20, 10.0, 0.1
"""Reports that may follow one another, how long one more takes to be earned, and the least time between two."""
SHARE, AS_LARGE = 0.1, 256 * 1024
"""What part of one processor reports may take, and the bytes beyond which a report counts for several."""
AGAIN_S = 5.0
"""How soon a report that could not be written is tried again."""
END_OF_TIME = 32503680000.0
EVENTS = 5
SPARE_S = 60.0
"""What `valid_until` allows beyond two heartbeats."""


@dataclass
class Reporter:
    """Writes the report through the keeper. Times are monotonic seconds unless said otherwise."""

    keeper: Keeper
    about: dict[str, Any]
    """What is the same in every report: see `rendering.Circumstances`."""
    heartbeat: float
    last: bytes = b""
    """The newest report as written, for whoever serves it."""
    verdict_since: float | None = None
    changed: bool = False
    """The newest report was more than a heartbeat."""
    _face: object = None
    _pressing: object = None
    _verdict: object = None
    _written_at: float = float("-inf")
    _tried_at: float = float("-inf")
    _allowance: float = float(BURST)
    _counted_at: float = 0.0
    _took: float = 0.0
    events: list[Event] = field(default_factory=list)
    noted: int = 0
    """How many events there were so far."""
    _failed: bool = False
    _places: dict[str, Place] = field(default_factory=dict)
    _told: Told | None = None

    @property
    def language(self) -> Language:
        """In which the report speaks."""
        found: Language = self.about["language"]
        return found

    def wait(self, now: float, face: object, pressing: object = None) -> float:
        """Seconds until the next report is due, 0 when it is due now. What is `pressing` is told in a storm too."""
        beat = self._written_at + self.heartbeat - now
        if face == self._face and not self._failed:
            return max(0.0, beat)
        self._earn(now)
        apart = self._written_at + max(APART_S, self._took / SHARE) - now
        poor = 0.0 if self._allowance >= 1 or pressing != self._pressing else (1 - self._allowance) * REFILL_S
        again = self._tried_at + AGAIN_S - now if self._failed else 0.0
        return max(0.0, min(beat, max(apart, poor, again)))

    def _earn(self, now: float) -> None:
        self._allowance = min(BURST, self._allowance + (now - self._counted_at) / REFILL_S)
        self._counted_at = now

    def note(self, event: Event) -> None:
        """Tell of this event in the next reports."""
        self.events = [*self.events, event][-EVENTS:]
        self.noted += 1

    def write(
        self,
        known: Knowledge,
        facts: Facts,
        now: float,
        face: object,
        *,
        pressing: object = None,
        last: bool = False,
    ) -> report.Report:
        """Render and write. A disk that refuses is tried again. The `last` one of a daemon that stops is soon stale."""
        self._earn(now)
        began = time.thread_time()
        wall, finding = time.time(), known.finding()
        self._note_verdict(finding, wall)
        self._told = Told(
            known.all_looks(),
            finding,
            known.confirmed(),
            self._circumstances(known, facts, wall, last=last),
            self.events,
        )
        found = self._told.at_first()
        self.last = report.encode(found)
        self._took = time.thread_time() - began
        self._failed = not self.keeper.write(self.last)
        self.changed = face != self._face
        self._face, self._pressing, self._written_at, self._tried_at = face, pressing, now, now
        self._allowance = max(1.0 - self.heartbeat / REFILL_S, self._allowance - max(1.0, len(self.last) / AS_LARGE))
        return found

    @property
    def told(self) -> Told | None:
        """What the newest report was made of."""
        return self._told

    def describe(self, found: Diagnosis) -> tuple[str, str]:
        """What the store calls a diagnosis, and its fingerprint."""
        about = self._bare()
        said = rendering.advice_on(found, about)
        return said.title, rendering.fingerprint(found, said.contact or about.contacts.get(found.party), about.store)

    def explained(self, known: Knowledge, incident: Incident) -> report.DiagnosisPart | None:
        """All that is known of an incident just now, for whoever is told of it."""
        for found in known.explanation.diagnoses:
            if found.cause == incident.cause and not set(incident.probes).isdisjoint(found.explains):
                return rendering.diagnosis_part(found, known.all_looks(), self._bare())
        return None

    def _bare(self) -> Circumstances:
        return Circumstances(seq=0, mode="run", now=0.0, **self.about)

    def again(self, now: float, face: object) -> bool:
        """Whether it is the newest report that a disk refused: then it is tried once more, as it was."""
        if not self._failed or face != self._face or now >= self._written_at + self.heartbeat:
            return False
        self._failed = not self.keeper.write(self.last)
        self._tried_at = now
        return True

    def _note_verdict(self, finding: Finding, wall: float) -> None:
        words = (finding.payments, finding.settlement)
        if words != self._verdict or self.verdict_since is None:
            if self._verdict is not None or self.verdict_since is None:
                self.verdict_since = wall
            self._verdict = words

    def restore_verdict(self, mark: str | None) -> None:
        """The verdict of this agent's last life, so that `since` outlives a restart."""
        payments, _, rest = (mark or "").partition(" ")
        settlement, _, since = rest.partition(" ")
        with contextlib.suppress(ValueError):
            moment = float(since)
            if 0 < moment < END_OF_TIME:
                self.verdict_since, self._verdict = moment, (payments, settlement)

    @property
    def verdict_mark(self) -> str:
        """For `restore_verdict`."""
        payments, settlement = self._verdict if isinstance(self._verdict, tuple) else ("unknown", "unknown")
        return f"{payments} {settlement} {self.verdict_since or 0.0}"

    def _circumstances(self, known: Knowledge, facts: Facts, wall: float, *, last: bool) -> Circumstances:
        return Circumstances(
            seq=self.keeper.next_seq(),
            mode="run",
            now=wall,
            valid_for=SPARE_S if last else 2 * self.heartbeat + SPARE_S,
            problems=facts.problems,
            verdict_since=self.verdict_since,
            standings=standings(known, facts.next_at, wall),
            incidents=[self._incident(each, facts) for each in known.book.open],
            silenced_until=facts.silenced_until,
            waiting=facts.waiting,
            terminals=terminals(known.looks.values(), self._places),
            **self.about,
        )

    def _incident(self, incident: Incident, facts: Facts) -> IncidentPart:
        note = facts.notes.get(incident.id)
        return IncidentPart(
            id=incident.id,
            cause=incident.cause,
            opened_at=stamp(incident.opened_at),
            level=facts.levels.get(incident.id, 0),
            acknowledged=_acknowledged(note) if note else None,
            silenced_until=stamp(facts.silenced_until) if facts.silenced_until else None,
            title=incident.headline,
            party=incident.party,  # type: ignore[arg-type]  # one of the contract's, as the diagnosis said
            impact=Impact(incident.impact),
            flapping=incident.flapping,
            probes=list(incident.probes),
            fingerprint=incident.fingerprint,
        )


def _acknowledged(note: Note) -> AcknowledgedPart:
    until = None if note.until is None else stamp(note.until)
    return AcknowledgedPart(by=note.by, at=stamp(note.at), note=note.text, until=until)


@dataclass(frozen=True)
class Told:
    """What one report was made of: it can be told again, in any language and by any thread."""

    looks: Sequence[Look]
    finding: Finding
    explained: Explanation
    about: Circumstances
    events: Sequence[Event]

    def at_first(self) -> report.Report:
        """In the store's language."""
        return self._rendered(self.about.language)

    def in_language(self, language: Language) -> bytes:
        """The same report, encoded, for readers of this language."""
        return report.encode(self._rendered(language))

    def _rendered(self, language: Language) -> report.Report:
        events = [event_part(event, language) for event in self.events]
        about = msgspec.structs.replace(self.about, language=language, events=events)
        foreign = language != self.about.language
        incidents = [rendering.titled(each, self.explained, about, anew=foreign) for each in about.incidents]
        about = msgspec.structs.replace(about, incidents=incidents)
        return rendering.render(self.looks, self.finding, about, self.explained)


@dataclass(frozen=True)
class Facts:
    """What the report says beside what is known of the till."""

    problems: Sequence[str]
    next_at: Mapping[str, float]
    notes: Mapping[str, Note]
    silenced_until: float | None
    levels: Mapping[str, int] = field(default_factory=dict)
    """By incident: how far it was escalated."""
    waiting: report.WaitingPart = field(default_factory=report.WaitingPart)


def standings(known: Knowledge, next_at: Mapping[str, float], wall: float) -> dict[str, Standing]:
    """How firm each probe's answer is."""
    return {
        name: Standing(
            confirmed=not state.suspect(track),
            since=track.candidate_since if state.suspect(track) else track.since,
            next_check_at=next_at.get(name),
            flapping=state.flapping(track, wall),
        )
        for name, track in known.tracks.items()
        if name in known.looks
    }


def event_part(event: Event, language: Language) -> EventPart:
    """An event as the report tells it."""
    return EventPart(at=stamp(event.at), what=event.what, text=texts.event(event.what, language, event.facts))
