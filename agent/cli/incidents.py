"""posagent incidents: what is wrong, what was wrong, for how long, and everything about one of them."""

from __future__ import annotations

import abc
import argparse
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from agent import screen, texts
from agent.cli import USAGE, Complaint, charges, past
from agent.cli.configured import configured_language, speaks

if TYPE_CHECKING:
    from agent.advice import Advice
    from agent.incidents import Incident
    from agent.store import Note, Store
    from agent.texts import Language

PAST_SHOWN = 20
CHANGES_SHOWN = 40
BEFORE_S = 60.0
"""Changes of its probes are told from so long before its first sign on."""


def run(arguments: argparse.Namespace) -> int:
    """List them, the open ones first, or show one; 0, whatever is wrong with the till."""
    from agent.store import StoreError

    language = speaks(arguments.lang or configured_language(arguments.config))
    store = past.opened()
    try:
        if arguments.report:
            _hand_in(store, arguments, language)
            return 0
        if arguments.id:
            page: _Page = _One(store, past.named(store, arguments.id), arguments.config, language)
        else:
            since = None if arguments.since is None else time.time() - past.seconds("--since", arguments.since)
            page = _List(store, since, language, everything=arguments.all or since is not None)
    except StoreError as error:
        raise Complaint(f"posagent: {error}; try again", past.NOTHING_KEPT) from None
    finally:
        store.close()
    if arguments.json:
        past.print_json(page.data())
    else:
        past.print_lines(list(page.lines()))
    return 0


def _hand_in(store: Store, arguments: argparse.Namespace, language: Language) -> None:
    """The problem report of one."""
    from agent.cli import problem

    if not arguments.id:
        raise Complaint("posagent: --report: of which incident? `posagent incidents` lists them", USAGE)
    facts = problem.gather(store, past.named(store, arguments.id), arguments.config, time.time())
    problem.show(facts, arguments.report, language, arguments.config)


class _Page(abc.ABC):
    """Something to print."""

    @abc.abstractmethod
    def data(self) -> Any:
        """For programs."""

    @abc.abstractmethod
    def lines(self) -> Iterator[str]:
        """For people."""


class _List(_Page):
    """Open ones, then past ones, the newest first."""

    def __init__(self, store: Store, since: float | None, language: Language, *, everything: bool) -> None:
        found = store.incidents(since, past.AT_MOST)
        self._open = [each for each in found if each.resolved_at is None]
        over = [each for each in found if each.resolved_at is not None]
        self._over = over if everything else over[:PAST_SHOWN]
        self._left_out = len(over) - len(self._over)
        self._language = language
        now = time.time()
        self._charges = {each.id: charges.holder(store.notes(each.id), now) for each in self._open}
        self._silences = store.silences(now)

    def data(self) -> Any:
        """One object each."""
        return [
            _data(each, self._language) | {"acknowledged": charges.data(self._charges.get(each.id))}
            for each in (*self._open, *self._over)
        ]

    def lines(self) -> Iterator[str]:
        """Two tables, or a word that there is nothing."""
        yield from charges.silent(self._silences, self._language)
        if not self._open and not self._over:
            yield texts.phrase("incidents.none", self._language)
            return
        rows = [_row(each, self._charges.get(each.id), self._language) for each in (*self._open, *self._over)]
        lines = past.columns(rows)
        for title, part in (
            ("check.incidents", lines[: len(self._open)]),
            ("incidents.past", lines[len(self._open) :]),
        ):
            if part:
                yield texts.phrase(title, self._language)
                yield from (f"  {line}" for line in part)
        if self._left_out:
            yield texts.phrase("incidents.left_out", self._language, count=self._left_out)


def _row(incident: Incident, charge: Note | None, language: Language) -> list[str]:
    since, until = screen.local(incident.opened_at), incident.resolved_at
    when = texts.phrase("incidents.since", language, since=since) if until is None else f"{since} – {_end(incident)}"
    remarks = [charges.remark(charge, language)] if charge else []
    remarks += [texts.phrase("incident.flapping", language)] if incident.flapping else []
    if incident.joined_to:
        remarks.append(texts.phrase("incidents.joined_to", language, id=incident.joined_to))
    title = " · ".join([_title(incident, language), *remarks])
    return [incident.id, when, _length(incident, language), incident.cause, title]


def _end(incident: Incident) -> str:
    """When it was over; the day is not repeated."""
    began, ended = (time.localtime(moment or 0.0) for moment in (incident.opened_at, incident.resolved_at))
    return time.strftime("%H:%M", ended) if began[:3] == ended[:3] else screen.local(incident.resolved_at or 0.0)


def _seconds(incident: Incident) -> float:
    return max(0.0, (time.time() if incident.resolved_at is None else incident.resolved_at) - incident.opened_at)


def _length(incident: Incident, language: Language) -> str:
    return texts.phrase("incidents.length", language, length=_seconds(incident))


def _title(incident: Incident, language: Language) -> str:
    from agent.telling.letter import title

    return title(incident, language)


def _state(incident: Incident) -> str:
    if incident.resolved_at is None:
        return "open"
    return "joined" if incident.joined_to else "unwatched" if incident.unwatched else "resolved"


def _data(incident: Incident, language: Language) -> dict[str, Any]:
    return {
        "id": incident.id,
        "state": _state(incident),
        "cause": incident.cause,
        "title": _title(incident, language),
        "party": incident.party,
        "category": incident.category,
        "confidence": incident.confidence,
        "impact": incident.impact,
        "fingerprint": incident.fingerprint,
        "began_at": _stamp(incident.began_at),
        "opened_at": _stamp(incident.opened_at),
        "resolved_at": None if incident.resolved_at is None else _stamp(incident.resolved_at),
        "duration_s": round(_seconds(incident), 1),
        "flapping": incident.flapping,
        "joined_to": incident.joined_to,
        "previous": incident.previous,
        "probes": list(incident.probes),
        "evidence": list(incident.evidence),
    }


def _stamp(moment: float) -> str:
    from agent.report import stamp

    return stamp(moment)


class _One(_Page):
    """Everything that is known of one."""

    def __init__(self, store: Store, incident: Incident, config: str | None, language: Language) -> None:
        self._incident, self._language = incident, language
        self._notes: Sequence[Note] = store.notes(incident.id)
        self._joined = [each for each in store.incidents(incident.opened_at) if each.joined_to == incident.id]
        until = incident.resolved_at or time.time()
        self._changes = [
            change
            for change in reversed(store.transitions(incident.began_at - BEFORE_S))
            if change.probe in incident.probes and change.at <= until + 1
        ]
        self._advice, contacts = _words(config, incident, language)
        self._contact = self._advice.contact or contacts.get(incident.party)

    def data(self) -> Any:
        """The object of the list, and more."""
        holds = charges.holder(self._notes, time.time()) if self._incident.resolved_at is None else None
        return _data(self._incident, self._language) | {
            "acknowledged": charges.data(holds),
            "contact": self._contact,
            "steps": list(self._advice.cashier),
            "joined": [each.id for each in self._joined],
            "notes": [
                {"at": _stamp(each.at), "by": each.by, "text": each.text, "until": each.until and _stamp(each.until)}
                for each in self._notes
            ],
            "changes": [
                {"at": _stamp(each.at), "probe": each.probe, "old": each.old, "new": each.new, "reason": each.reason}
                for each in self._changes
            ],
        }

    def lines(self) -> Iterator[str]:
        """Title, facts, then lists."""
        what, language = self._incident, self._language
        confidence = texts.phrase(f"confidence.{what.confidence}", language)
        yield f"{_title(what, language)}  [{what.cause}, {confidence}]"
        yield from (f"  {line}" for line in past.columns(list(self._facts())))
        for title, items in self._lists():
            if items:
                yield f"  {texts.phrase(title, language)}"
                yield from (f"    - {item}" for item in items)

    def _facts(self) -> Iterator[list[str]]:
        what, language = self._incident, self._language
        for name, text in (
            ("id", what.id),
            ("state", texts.phrase(f"incidents.{_state(what)}", language)),
            ("began", _clock(what.began_at)),
            ("opened", _clock(what.opened_at)),
            ("ended", "" if what.resolved_at is None else _clock(what.resolved_at)),
            ("duration", _length(what, language)),
            ("impact", texts.phrase(f"impact.{what.impact}", language)),
            ("call", self._call()),
            ("flaps", texts.phrase("incident.flapping", language) if what.flapping else ""),
            ("previous", what.previous or ""),
            ("into", what.joined_to or ""),
        ):
            if text:
                yield [texts.phrase(f"incidents.{name}", language), text]

    def _call(self) -> str:
        party = texts.phrase(f"party.{self._incident.party}", self._language)
        if self._contact:
            return texts.phrase("diagnosis.call_item", self._language, party=party, contact=self._contact)
        return texts.phrase("diagnosis.no_contact", self._language, party=party, code=self._incident.party)

    def _lists(self) -> Iterator[tuple[str, Sequence[str]]]:
        from agent.telling.letter import evidence_of

        what, language = self._incident, self._language
        yield "diagnosis.because", evidence_of(what, language)
        yield "incidents.probes", what.probes
        changes = [f"{_clock(each.at)}  {each.probe}: {_turn(each.old, each.new, language)}" for each in self._changes]
        yield (
            "incidents.changes",
            [f"{line}  {each.reason}" for line, each in zip(changes, self._changes, strict=True)][-CHANGES_SHOWN:],
        )
        yield "incidents.joined_here", [f"{each.id}  {_title(each, language)}" for each in self._joined]
        yield "incidents.notes", [f"{_clock(each.at)}  {charges.line(each, language)}" for each in self._notes]
        if what.resolved_at is None:
            yield "diagnosis.now", self._advice.cashier
            yield "diagnosis.technician", self._advice.technician


def _turn(old: str | None, new: str, language: Language) -> str:
    word = texts.phrase(f"status.{new}", language)
    return word if old is None else f"{texts.phrase(f'status.{old}', language)} → {word}"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _words(config: str | None, incident: Incident, language: Language) -> tuple[Advice, dict[str, str]]:
    """What is advised and whom to call; a configuration that is broken today still lets the past be read."""
    from agent.advice import site_of
    from agent.cli.configured import load
    from agent.telling.letter import advice_on

    try:
        loaded = load(config)
    except Complaint:
        return advice_on(incident, language, None), {}
    contacts = {str(party): contact for party, contact in loaded.contacts.items()}
    return advice_on(incident, language, site_of(loaded)), contacts
