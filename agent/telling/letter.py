"""Which words does a message about a fault consist of? From all that is at hand to subject, parts and data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent import texts
from agent.advice import Advice, SiteAdvice, advice
from agent.report import stamp
from agent.telling.layout import Part, clock, line
from probes.redact import scrub_data

if TYPE_CHECKING:
    from agent.incidents import Incident
    from agent.telling.about import About, Noticed
    from agent.texts import Language

OVER = ("resolved", "joined")
SOON_S = 4 * 3600.0
"""A deadline further away than this is not yet worth a line."""
SUBJECTS, EVIDENCE, CAUTIONS = 2, 4, 2
"""So many items of a list go into a message: the page and `posagent incidents ID` have all of them."""
_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORD = {"stop": "down", "degrade": "at_risk", "none": "none"}


def say(name: str, language: Language, /, **facts: Any) -> str:
    """A sentence of `notice.toml`."""
    return texts.sentence("notice", f"notice.{name}", facts, language)


def advice_on(incident: Incident, language: Language, site: SiteAdvice | None) -> Advice:
    """The texts for its cause, in which it names what it is about."""
    shown, more = incident.subjects[:SUBJECTS], len(incident.subjects) - SUBJECTS
    name = "subject.all" if more <= 0 else "subject.more"
    subject = line(texts.phrase(name, language, shown=list(shown), more=more)) if shown else ""
    return advice(incident.cause, language, {"subject": subject}, site)


def title(incident: Incident, language: Language) -> str:
    """As it was told when it was opened; to a reader of the other language by its cause alone."""
    if incident.headline and bool(_HAN.search(incident.headline)) == (language == "zh-CN"):
        return incident.headline
    return advice_on(incident, language, None).title


def evidence_of(incident: Incident, language: Language) -> list[str]:
    """What spoke for an incident, in sentences as far as it keeps what was measured."""
    return [line(_sentence(incident, each, language)) for each in incident.evidence]


def _sentence(incident: Incident, clue: str, language: Language) -> str:
    probe, _, reason = clue.partition(": ")
    seen = incident.seen.get(clue)
    if seen is None:
        return clue
    return f"{probe}: {texts.sentence(seen.kind, reason, seen.facts, language)}"


@dataclass
class Letter:
    """Everything at hand for one message."""

    notice: Noticed
    incident: Incident
    about: About
    language: Language
    now: float

    def __post_init__(self) -> None:
        about, incident, notice, language = self.about, self.incident, self.notice, self.language
        self.what: Any = notice.what
        self.charge = about.charge
        self.diagnosis = about.diagnosis if about.language == language else None
        self.advice: Advice = advice_on(incident, language, about.site_advice)
        self.is_over = notice.what in OVER
        self.is_drill = notice.what == "drill"
        self.title = self._title()
        own = self.diagnosis.contact if self.diagnosis else self.advice.contact
        self.contact = own or about.contacts.get(incident.party, "")

    def _title(self) -> str:
        """As it was told before, or by its cause where that was in the other language."""
        if self.diagnosis is not None:
            return line(self.diagnosis.title)
        headline = self.incident.headline
        is_ours = self.language != "zh-CN" or _HAN.search(headline)  # `language` was set to Chinese since it opened
        if headline and is_ours and self.about.language == self.language:
            return line(headline)
        return self.advice.title

    def _where(self) -> str:
        """Which store and till, as the subject names them."""
        names = [
            say(name, self.language, name=value)
            for name, value in (("store", self.about.store), ("till", self.about.terminal))
            if value
        ]
        return " ".join(names) or self.about.host or "posagent"

    def subject(self) -> str:
        """The one line."""
        word = say(f"word.{_WORD.get(self.incident.impact, 'none')}", self.language)
        facts = {"where": self._where(), "word": word, "title": self.title, "level": self.notice.level}
        facts["age"], facts["into"] = self._lasted(), self.incident.joined_to
        facts["now"] = say(f"word.{self.about.payments}", self.language)
        return say(f"subject.{self._news()}", self.language, **facts)

    def _news(self) -> str:
        return "unwatched" if self.what == "resolved" and self.incident.unwatched else self.what

    def headline(self) -> str:
        """The first line of the text: what has happened."""
        verdict = texts.phrase(f"verdict.{self.about.payments}", self.language)
        facts = {"title": self.title, "verdict": verdict, "age": self._lasted(), "into": self.incident.joined_to}
        return say(f"head.{self._news()}", self.language, **facts)

    def parts(self) -> Iterator[Part]:
        """What stands below it, the most urgent first: some channels cut what is long."""
        if self.is_drill:
            yield Part("", [say("drill", self.language)])
        yield Part("", [self._where(), *self._times(), *self._progress()])
        if self.is_over:
            yield Part("", [self._identity()])
            return
        known = self.diagnosis
        yield self._part("diagnosis.now", known.steps if known else self.advice.cashier, numbered=True)
        yield self._part("diagnosis.careful", (known.warnings if known else self.advice.warnings)[:CAUTIONS])
        yield self._part("diagnosis.call", [self._call()])
        yield self._part("diagnosis.why", [known.explanation if known else self.advice.explanation])
        yield self._part("diagnosis.because", self._evidence()[:EVIDENCE], foreign=True)
        yield Part("", [self._identity(), *([self._page()] if self.about.url else [])])
        if self.is_drill:
            yield Part("", [say("drill", self.language)])

    def _part(self, heading: str, items: Sequence[str], *, numbered: bool = False, foreign: bool = False) -> Part:
        return Part(texts.phrase(heading, self.language), items, numbered and len(items) > 1, foreign)

    def _times(self) -> Iterator[str]:
        began, ended = self._clock(self.incident.began_at), self.incident.resolved_at
        if ended is None:
            yield say("since", self.language, began=began, age=self._lasted())
        else:
            yield say("lasted", self.language, began=began, ended=self._clock(ended), age=self._lasted())
        left = (self.about.deadline or 0.0) - self.now
        if self.about.deadline is not None and 0 < left < SOON_S and not self.is_over and not self.is_drill:
            yield say("deadline", self.language, at=self._clock(self.about.deadline), left=left)

    def _progress(self) -> Iterator[str]:
        """How far this has got: who has it in hand, who has been told."""
        if self.is_over or self.is_drill:
            return
        if self.charge is not None:
            yield say("taken", self.language, by=line(self.charge.by), at=self._clock(self.charge.at))
        elif self.what in ("escalated", "reminder"):
            yield say("nobody", self.language, age=self._lasted())
        if self.what == "escalated":
            name = line(self.about.level_name)
            yield say("level_named" if name else "level", self.language, level=self.notice.level, name=name)
        if self.incident.flapping:
            yield texts.phrase("incident.flapping", self.language)

    def _evidence(self) -> list[str]:
        if self.diagnosis is not None:
            return [line(f"{each.probe}: {each.detail or each.reason}") for each in self.diagnosis.evidence]
        return evidence_of(self.incident, self.language)

    def _call(self) -> str:
        party = texts.phrase(f"party.{self.incident.party}", self.language)
        if self.contact:
            return texts.phrase("diagnosis.call_item", self.language, party=party, contact=self.contact)
        return party

    def _identity(self) -> str:
        name = "identity" if self.is_over or self.is_drill or self.charge else "identity_ack"
        return say(name, self.language, id=self.incident.id, cause=self.incident.cause)

    def _page(self) -> str:
        return say("page", self.language, url=self.about.url)

    def _lasted(self) -> float:
        return max(0.0, (self.incident.resolved_at or self.now) - self.incident.began_at)

    def _clock(self, moment: float) -> str:
        return clock(moment, self.about.zone)

    def data(self) -> dict[str, Any]:
        """For programs."""
        what, about = self.incident, self.about
        return {
            "what": self.what,
            "drill": self.is_drill,
            "level": self.notice.level,
            "incident": what.id,
            "cause": what.cause,
            "title": self.title,
            "party": what.party,
            "category": what.category,
            "confidence": what.confidence,
            "impact": what.impact,
            "verdict": about.payments,
            "settlement": about.settlement,
            "store": about.store,
            "terminal": about.terminal,
            "host": about.host,
            "tags": dict(about.tags),
            "began_at": stamp(what.began_at),
            "opened_at": stamp(what.opened_at),
            "ended_at": None if what.resolved_at is None else stamp(what.resolved_at),
            "duration_s": round(self._lasted()),
            "told_at": stamp(self.notice.at),
            "settlement_due": None if about.deadline is None else stamp(about.deadline),
            "probes": list(what.probes),
            "evidence": self._evidence(),
            "steps": list(self.diagnosis.steps if self.diagnosis else self.advice.cashier),
            "contact": self.contact or None,
            "url": about.url or None,
            "joined_to": what.joined_to,
            "flapping": what.flapping,
            "fingerprint": what.fingerprint,
            "acknowledged": self._acknowledged(),
            "language": self.language,
        }

    def _acknowledged(self) -> dict[str, Any] | None:
        if self.charge is None:
            return None
        taken: dict[str, Any] = scrub_data({"by": self.charge.by, "note": self.charge.text})
        until = None if self.charge.until is None else stamp(self.charge.until)
        return {"by": taken["by"], "at": stamp(self.charge.at), "note": taken["note"], "until": until}
