"""What must a merchant hand in about a fault? What, when, how it is known, what was done, what failed, whom to call.

Pure: from what is kept of an incident to one document, and from that to JSON, Markdown and a page to print. Of a
transaction five facts are told, ever: time, amount, type, status, reference.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from agent import __version__, texts
from agent.advice import SiteAdvice
from agent.report import stamp
from agent.telling.letter import advice_on, evidence_of
from probes import records
from probes.redact import scrub

if TYPE_CHECKING:
    from agent.incidents import Incident
    from agent.state import Transition
    from agent.store import Event, Note, Outgoing, Silence
    from agent.texts import Language

BEFORE_S, AFTER_S = 900.0, 300.0
"""Transactions that failed from so long before the first sign until so long after the end belong to a fault."""
BATCH_S = 26 * 3600.0
"""Of a fault of settlement it is the whole batch."""
COURSE = 60
"""So many changes are listed."""
PLAIN_EVENTS = ("agent.started", "agent.stopped", "reloaded", "drill")
PARTIES = ("store", "it", "isp", "acquirer", "vendor")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object of the document."""


class Site(Part, frozen=True, kw_only=True):
    """Which till."""

    store: str
    terminal: str
    host: str


class Entry(Part, frozen=True, kw_only=True):
    """Something that happened at a moment."""

    at: str
    text: str


class Measure(Part, frozen=True, kw_only=True):
    """What somebody did about it."""

    at: str
    by: str
    text: str
    until: str | None = None


class Told(Part, frozen=True, kw_only=True):
    """Somebody was told, or was to be."""

    at: str
    channel: str
    what: str
    state: str
    finished_at: str | None


class Transaction(Part, frozen=True, kw_only=True):
    """A transaction that the POS software recorded as failed. Nothing else of it is ever kept."""

    time: str
    amount: str
    type: str
    status: str
    reference: str


class Contact(Part, frozen=True, kw_only=True):
    """Whom to call."""

    party: str
    contact: str


class ProblemReport(Part, frozen=True, kw_only=True):
    """All that is handed in. Times are RFC 3339, UTC; `language` is that of every sentence."""

    schema: Literal["posagent.problem/1"]
    generated_at: str
    agent_version: str
    language: Literal["en", "zh-CN"]
    site: Site
    incident: str
    state: Literal["open", "resolved", "joined"]
    cause: str
    category: str
    party: str
    confidence: str
    impact: str
    title: str
    description: str
    began_at: str
    opened_at: str
    ended_at: str | None
    duration_s: float
    flapping: bool
    previous: str | None
    joined_to: str | None
    joined: list[str]
    probes: list[str]
    evidence: list[str]
    course: list[Entry]
    measures: list[Measure]
    told: list[Told]
    transactions: list[Transaction]
    transactions_recorded: bool
    """False: nothing here reads what the POS software records, so the list says nothing."""
    contacts: list[Contact]
    not_checked: list[str]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an incident and of the site, as it was found."""

    incident: Incident
    now: float
    store: str = ""
    terminal: str = ""
    host: str = ""
    contacts: Mapping[str, str] = {}
    site_advice: SiteAdvice | None = None
    own_language: Language = "en"
    """Of the incident's headline."""
    notes: Sequence[Note] = ()
    silences: Sequence[Silence] = ()
    joined: Sequence[Incident] = ()
    changes: Sequence[Transition] = ()
    events: Sequence[Event] = ()
    notices: Sequence[Outgoing] = ()
    failed: Sequence[str] | None = None
    """`time|type|amount|status|reference`, as the probe `settlement` has it; None where there is no such probe."""


def build(facts: Facts, language: Language) -> ProblemReport:
    """The document in this language."""
    what = facts.incident
    said = advice_on(what, language, facts.site_advice)
    own = facts.own_language == language
    end = facts.now if what.resolved_at is None else what.resolved_at
    return ProblemReport(
        schema="posagent.problem/1",
        generated_at=stamp(facts.now),
        agent_version=__version__,
        language=language,
        site=Site(store=facts.store, terminal=facts.terminal, host=facts.host),
        incident=what.id,
        state="open" if what.resolved_at is None else "joined" if what.joined_to else "resolved",
        cause=what.cause,
        category=what.category,
        party=what.party,
        confidence=what.confidence,
        impact=what.impact,
        title=scrub(what.headline) if own and what.headline else said.title,
        description=said.explanation,
        began_at=stamp(what.began_at),
        opened_at=stamp(what.opened_at),
        ended_at=None if what.resolved_at is None else stamp(what.resolved_at),
        duration_s=round(max(0.0, end - what.began_at), 1),
        flapping=what.flapping,
        previous=what.previous,
        joined_to=what.joined_to,
        joined=[each.id for each in facts.joined],
        probes=list(what.probes),
        evidence=evidence_of(what, language),
        course=list(_course(facts, language)),
        measures=list(_measures(facts, language)),
        told=[_told(each) for each in facts.notices],
        transactions=transactions(facts.failed or (), *_window(what, end)),
        transactions_recorded=facts.failed is not None,
        contacts=_contacts(facts, said.contact),
        not_checked=[texts.phrase("not_checked.bank_side", language)],
    )


def _window(incident: Incident, end: float) -> tuple[float, float]:
    before = BATCH_S if incident.cause.startswith("settlement.") else BEFORE_S
    return incident.began_at - before, end + AFTER_S


def transactions(failed: Iterable[str], since: float, until: float) -> list[Transaction]:
    """Those of this time, the oldest first. Each fact is cleaned once more; a line that is none is left out."""
    found = {}
    for line in failed:
        parts = line.split("|")
        if len(parts) != 5 or not since <= _seconds(parts[0]) <= until:
            continue
        time, kind, amount, status, reference = parts
        found[line] = Transaction(
            time=time,
            amount=records.clean_amount(amount),
            type=records.clean(kind),
            status=records.clean(status),
            reference=records.clean_reference(reference),
        )
    return [found[line] for line in sorted(found)]


def _seconds(written: str) -> float:
    try:
        return datetime.datetime.fromisoformat(written).timestamp()
    except (ValueError, OverflowError):
        return float("-inf")


def _course(facts: Facts, language: Language) -> Iterator[Entry]:
    """What happened, the oldest first: what probes saw, and dark hours of this PC."""
    lines = [(each.at, _turn(each, language)) for each in facts.changes]
    lines += [
        (each.at, texts.event(each.what, language, each.facts))
        for each in facts.events
        if each.what not in PLAIN_EVENTS and not each.what.startswith("notice")
    ]
    for at, text in sorted(lines)[-COURSE:]:
        yield Entry(at=stamp(at), text=scrub(text))


def _turn(change: Transition, language: Language) -> str:
    old, new = (texts.phrase(f"status.{each}", language) if each else "" for each in (change.old, change.new))
    step = f"{old} → {new}" if old else new
    return _say("turn", language, probe=change.probe, step=step, reason=change.reason)


def _measures(facts: Facts, language: Language) -> Iterator[Measure]:
    """Who took charge or wrote something, and planned work meanwhile."""
    found = [(each.at, each.by, each.text or _say("took_charge", language), each.until) for each in facts.notes]
    found += [
        (each.from_, each.by, _say("silenced", language, reason=each.reason), each.until) for each in facts.silences
    ]
    for at, by, text, until in sorted(found, key=lambda each: each[0]):
        yield Measure(at=stamp(at), by=scrub(by), text=scrub(text), until=None if until is None else stamp(until))


def _told(notice: Outgoing) -> Told:
    finished = None if notice.finished is None else stamp(notice.finished)
    return Told(
        at=stamp(notice.created), channel=notice.channel, what=notice.what, state=notice.state, finished_at=finished
    )


def _contacts(facts: Facts, own: str) -> list[Contact]:
    """Who can mend it first; then everybody else."""
    first = facts.incident.party
    numbers = {**facts.contacts, **({first: own} if own else {})}
    order = sorted((party for party in PARTIES if party in numbers), key=lambda party: party != first)
    return [Contact(party=party, contact=numbers[party]) for party in order]


def _say(name: str, language: Language, /, **facts: object) -> str:
    return texts.sentence("problem", f"problem.{name}", facts, language)


def encode(report: ProblemReport) -> bytes:
    """As JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
