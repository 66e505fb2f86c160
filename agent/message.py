"""What is a person told about a fault, so that they know what to do without asking? Pure: no clock, no file but texts.

The first line says store, till, verdict and cause; the rest says what to do, whom to call, how it is known and since
when. Whatever comes from outside (devices, servers, what people typed) is scrubbed of card data here once more.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from agent import texts
from agent.advice import Advice, SiteAdvice, advice
from agent.report import stamp
from probes.redact import scrub, scrub_data

if TYPE_CHECKING:
    from agent.incidents import Incident
    from agent.report import DiagnosisPart
    from agent.store import Note
    from agent.texts import Language

What = Literal["opened", "escalated", "reminder", "resolved", "joined", "drill"]
Severity = Literal["critical", "warning", "info"]

OVER = ("resolved", "joined")
LATE_S = 120.0
"""A message that leaves later than this after it was due says so."""
SOON_S = 4 * 3600.0
"""A deadline further away than this is not yet worth a line."""
EVIDENCE, CAUTIONS = 4, 2
"""So many items of a list go into a message: the page and `posagent incidents ID` have all of them."""
_WORD = {"stop": "down", "degrade": "at_risk", "none": "none"}
_SEVERITY: dict[str, Severity] = {"stop": "critical", "degrade": "warning"}
_TAME = str.maketrans({"*": "∗", "`": "'", "<": "‹", ">": "›"})


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel's readers are told, in their language. It is stored as JSON until it has left."""

    key: str
    """The idempotency key: the same at every attempt, and through every channel."""
    what: What
    severity: Severity
    subject: str
    """One line: store, till, verdict, cause."""
    text: str
    markdown: str
    data: dict[str, Any]
    """The same for programs: webhooks and commands."""
    incident: str = ""
    language: Literal["en", "zh-CN"] = "en"
    at: float = 0.0
    """When there was something to tell, Unix seconds."""


class Noticed(Protocol):
    """What is to be told, as `agent.escalation` decides it."""

    @property
    def key(self) -> str:
        """The idempotency key."""

    @property
    def what(self) -> str:
        """One of `What`."""

    @property
    def level(self) -> int:
        """How far this was escalated."""

    @property
    def at(self) -> float:
        """Since when there has been this to tell."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a message says besides the fault itself."""

    store: str = ""
    terminal: str = ""
    host: str = ""
    tags: Mapping[str, str] = {}
    payments: str = "unknown"
    """The verdict of this moment: a word of `agent.verdict`."""
    settlement: str = "unknown"
    contacts: Mapping[str, str] = {}
    site_advice: SiteAdvice | None = None
    url: str = ""
    """Of the page on this PC, where it is served."""
    deadline: float | None = None
    """When the batch must be closed, where this fault would break that."""
    zone: datetime.tzinfo | None = None
    """In which the store reads the clock; None: as this PC."""
    level_name: str = ""
    charge: Note | None = None
    """Who has taken charge of this incident."""
    diagnosis: DiagnosisPart | None = None
    """What the last report knows of this fault: more than its incident keeps."""
    language: Literal["en", "zh-CN"] = "en"
    """Of an incident's `headline` and of `diagnosis`."""


class _Part(NamedTuple):
    """A paragraph with a heading, or one of lines alone."""

    heading: str
    items: Sequence[str]
    numbered: bool = False
    foreign: bool = False
    """From outside, so that nothing in it is Markdown."""


def compose(
    notice: Noticed,
    incident: Incident,
    about: About,
    language: Language,
    *,
    now: float,
) -> Message:
    """The message about this incident in this language."""
    return _Writer(notice, incident, about, language, now).message()


def late(message: Message, now: float, ended_at: float | None = None) -> Message:
    """The message as it leaves after an outage: it says for how long it was held back and what has become of it.

    `ended_at`: when its incident was over, where it is by now.
    """
    if now - message.at < LATE_S:
        return message
    language = message.language
    held = _say("late", language, at=clock(message.at, None), age=now - message.at)
    over = "" if ended_at is None or message.what in OVER else _say("late_over", language, at=clock(ended_at, None))
    remark = f"{held} {over}" if over and language == "en" else held + over
    return msgspec.structs.replace(
        message,
        subject=_say("late_subject", language, subject=message.subject),
        text=f"{remark}\n\n{message.text}",
        markdown=f"> {remark}\n\n{message.markdown}",
        data=message.data
        | {"late_s": round(now - message.at)}
        | ({"ended_at": stamp(ended_at)} if over and ended_at is not None else {}),
    )


def evidence_of(incident: Incident, language: Language) -> list[str]:
    """What spoke for an incident, in sentences as far as it keeps what was measured."""
    return [_line(_sentence(incident, line, language)) for line in incident.evidence]


def _sentence(incident: Incident, line: str, language: Language) -> str:
    probe, _, reason = line.partition(": ")
    seen = incident.seen.get(line)
    if seen is None:
        return line
    return f"{probe}: {texts.sentence(seen.kind, reason, seen.facts, language)}"


@dataclass
class _Writer:
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
        self.advice: Advice = advice(incident.cause, language, {}, about.site_advice)
        self.is_over = notice.what in OVER
        self.is_drill = notice.what == "drill"
        self.title = self._title()
        own = self.diagnosis.contact if self.diagnosis else self.advice.contact
        self.contact = own or about.contacts.get(incident.party, "")

    def message(self) -> Message:
        """Put together."""
        parts = list(self._parts())
        headline = self._headline()
        return Message(
            key=self.notice.key,
            what=self.what,
            severity="info" if self.is_over or self.is_drill else _SEVERITY.get(self.incident.impact, "info"),
            subject=self._subject(),
            text=_plain(headline, parts),
            markdown=_markdown(headline, parts),
            data=self._data(),
            incident=self.incident.id,
            language=self.language,
            at=self.notice.at,
        )

    def _title(self) -> str:
        """As it was told before, or by its cause where that was in the other language."""
        if self.diagnosis is not None:
            return _line(self.diagnosis.title)
        if self.incident.headline and self.about.language == self.language:
            return _line(self.incident.headline)
        return self.advice.title

    def _where(self) -> str:
        """Which store and till, as the subject names them."""
        names = [
            _say(name, self.language, name=value)
            for name, value in (("store", self.about.store), ("till", self.about.terminal))
            if value
        ]
        return " ".join(names) or self.about.host or "posagent"

    def _subject(self) -> str:
        word = _say(f"word.{_WORD.get(self.incident.impact, 'none')}", self.language)
        facts = {"where": self._where(), "word": word, "title": self.title, "level": self.notice.level}
        facts["age"], facts["into"] = self._lasted(), self.incident.joined_to
        facts["now"] = _say(f"word.{self.about.payments}", self.language)
        return _say(f"subject.{self.what}", self.language, **facts)

    def _headline(self) -> str:
        """The first line of the text: what has happened."""
        verdict = texts.phrase(f"verdict.{self.about.payments}", self.language)
        facts = {"title": self.title, "verdict": verdict, "age": self._lasted(), "into": self.incident.joined_to}
        return _say(f"head.{self.what}", self.language, **facts)

    def _parts(self) -> Iterator[_Part]:
        if self.is_drill:
            yield _Part("", [_say("drill", self.language)])
        yield _Part("", [self._where(), *self._times(), *self._progress()])
        if self.is_over:
            yield _Part("", [self._identity()])
            return
        known = self.diagnosis
        yield self._part("diagnosis.now", known.steps if known else self.advice.cashier, numbered=True)
        yield self._part("diagnosis.careful", (known.warnings if known else self.advice.warnings)[:CAUTIONS])
        yield self._part("diagnosis.call", [self._call()])
        yield self._part("diagnosis.why", [known.explanation if known else self.advice.explanation])
        yield self._part("diagnosis.because", self._evidence()[:EVIDENCE], foreign=True)
        yield _Part("", [self._identity(), *([self._page()] if self.about.url else [])])
        if self.is_drill:
            yield _Part("", [_say("drill", self.language)])

    def _part(self, heading: str, items: Sequence[str], *, numbered: bool = False, foreign: bool = False) -> _Part:
        return _Part(texts.phrase(heading, self.language), items, numbered and len(items) > 1, foreign)

    def _times(self) -> Iterator[str]:
        began, ended = self._clock(self.incident.began_at), self.incident.resolved_at
        if ended is None:
            yield _say("since", self.language, began=began, age=self._lasted())
        else:
            yield _say("lasted", self.language, began=began, ended=self._clock(ended), age=self._lasted())
        left = (self.about.deadline or 0.0) - self.now
        if self.about.deadline is not None and 0 < left < SOON_S and not self.is_over and not self.is_drill:
            yield _say("deadline", self.language, at=self._clock(self.about.deadline), left=left)

    def _progress(self) -> Iterator[str]:
        """How far this has got: who has it in hand, who has been told."""
        if self.is_over or self.is_drill:
            return
        if self.charge is not None:
            yield _say("taken", self.language, by=_line(self.charge.by), at=self._clock(self.charge.at))
        elif self.what in ("escalated", "reminder"):
            yield _say("nobody", self.language, age=self._lasted())
        if self.what == "escalated":
            name = _line(self.about.level_name)
            yield _say("level_named" if name else "level", self.language, level=self.notice.level, name=name)
        if self.incident.flapping:
            yield texts.phrase("incident.flapping", self.language)

    def _evidence(self) -> list[str]:
        if self.diagnosis is not None:
            return [_line(f"{each.probe}: {each.detail or each.reason}") for each in self.diagnosis.evidence]
        return evidence_of(self.incident, self.language)

    def _call(self) -> str:
        party = texts.phrase(f"party.{self.incident.party}", self.language)
        if self.contact:
            return texts.phrase("diagnosis.call_item", self.language, party=party, contact=self.contact)
        return party

    def _identity(self) -> str:
        name = "identity" if self.is_over or self.is_drill or self.charge else "identity_ack"
        return _say(name, self.language, id=self.incident.id, cause=self.incident.cause)

    def _page(self) -> str:
        return _say("page", self.language, url=self.about.url)

    def _lasted(self) -> float:
        return max(0.0, (self.incident.resolved_at or self.now) - self.incident.began_at)

    def _clock(self, moment: float) -> str:
        return clock(moment, self.about.zone)

    def _data(self) -> dict[str, Any]:
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


def _say(name: str, language: Language, /, **facts: Any) -> str:
    return texts.sentence("notice", f"notice.{name}", facts, language)


def _line(text: str) -> str:
    """One line from outside: no card data, no line breaks, nothing invisible."""
    clean = scrub(text)
    return "".join(char if char.isprintable() else " " for char in clean).strip()


def clock(moment: float, zone: datetime.tzinfo | None, *, form: str = "%Y-%m-%d %H:%M") -> str:
    """As the clock on the store's wall shows it; readers elsewhere see by how much theirs differs."""
    try:
        told = datetime.datetime.fromtimestamp(moment, datetime.UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return "?"
    offset = f"{told:%z}"
    return f"{told.strftime(form)} (UTC{offset[:3]}:{offset[3:5]})"


def _plain(headline: str, parts: Sequence[_Part]) -> str:
    blocks = [headline]
    for part in parts:
        marks = (
            [f"{number}. " for number in range(1, len(part.items) + 1)] if part.numbered else ["- "] * len(part.items)
        )
        listed = part.heading and (len(part.items) > 1 or part.foreign)
        lines = [f"{mark}{item}" if listed else item for mark, item in zip(marks, part.items, strict=True)]
        if part.items and part.heading and not listed:
            lines[0] = f"{part.heading}: {lines[0]}" if lines[0].isascii() else f"{part.heading}：{lines[0]}"
        elif part.items and part.heading:
            lines.insert(0, part.heading)
        if lines:
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _markdown(headline: str, parts: Sequence[_Part]) -> str:
    blocks = [f"**{_tame(headline)}**"]
    for part in parts:
        items = [_tame(item) if part.foreign or not part.heading else item for item in part.items]
        if part.heading:
            marks = [f"{number}. " if part.numbered else "- " for number in range(1, len(items) + 1)]
            lines = [f"**{part.heading}**", "", *(f"{mark}{item}" for mark, item in zip(marks, items, strict=True))]
        else:
            lines = [f"{item}  " for item in items]
        if items:
            blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks) + "\n"


def _tame(text: str) -> str:
    """Text from outside in which nothing is Markdown: no link, no mention, no code."""
    return text.translate(_TAME).replace("](", "] (")
