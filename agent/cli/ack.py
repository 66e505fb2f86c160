"""posagent ack: I take charge of this incident. Reminders and further levels rest, and everybody can see who has it."""

from __future__ import annotations

import argparse
import shlex
import time
from typing import TYPE_CHECKING

from agent import screen, texts
from agent.cli import USAGE, Complaint, past, writing
from agent.cli.configured import configured_language, speaks

if TYPE_CHECKING:
    from agent.incidents import Incident
    from agent.store import Store
    from agent.texts import Language

EVERYTHING = 1_000_000
NEAREST = 5
SHORTEST_S, LONGEST_S = 60.0, 30 * 86400.0


def run(arguments: argparse.Namespace) -> int:
    """0 when it is written down: the daemon heeds it within two seconds."""
    from agent.store import Note

    language = speaks(arguments.lang or configured_language(arguments.config))
    lasts = None
    if arguments.time is not None:
        lasts = writing.length("--for", arguments.time, SHORTEST_S, LONGEST_S, "1m to 30d")
    text = "" if arguments.note is None else writing.said("--note", arguments.note)
    by = writing.person(arguments.by)
    incident = _found(arguments.id)
    if incident.resolved_at is not None and (lasts is not None or not text):
        raise Complaint(_over(incident, incident.resolved_at), USAGE)
    now = time.time()
    note = Note(incident.id, now, by, text, None if lasts is None else now + lasts)
    writing.write(_again(arguments, incident), lambda store: store.add_note(note))
    writing.tell(_answer(incident, by, note.until, language), language)
    return 0


def _answer(incident: Incident, by: str, until: float | None, language: Language) -> str:
    name = "noted" if incident.resolved_at is not None else "taken" if until is None else "taken_until"
    facts = {"id": incident.id, "by": by, "until": None if until is None else screen.local(until)}
    return texts.sentence("charge", f"charge.{name}", facts, language)


def _again(arguments: argparse.Namespace, incident: Incident) -> str:
    """The command as somebody who may would type it."""
    words = ["posagent", "ack", incident.id]
    for option, value in (("--note", arguments.note), ("--for", arguments.time), ("--by", arguments.by)):
        words += [] if value is None else [option, value]
    return shlex.join(words)


def _over(incident: Incident, at: float) -> str:
    if incident.joined_to:
        cause = f"it is part of {incident.joined_to} now; take charge of that one: `posagent ack {incident.joined_to}`"
    else:
        cause = f"it is over since {screen.local(at)}; with --note alone you can still write to it what was done"
    return f"posagent: cannot take charge of {incident.id}: {cause}"


def _found(wanted: str) -> Incident:
    from agent.store import StoreError

    store = past.opened()
    try:
        return named(store, wanted)
    except StoreError as error:
        raise Complaint(f"posagent: {error}; try again", past.NOTHING_KEPT) from None
    finally:
        store.close()


def named(store: Store, wanted: str) -> Incident:
    """The incident of this id, or the only one whose id begins so; an open one goes before those that are over."""
    exact = store.incident(wanted)
    if exact is not None:
        return exact
    every = store.incidents(None, EVERYTHING)
    found = [each for each in every if wanted and each.id.lower().startswith(wanted.lower())]
    still = [each for each in found if each.resolved_at is None]
    if len(still) == 1 or len(found) == 1:
        return (still or found)[0]
    raise Complaint(f"posagent: no such incident: {_which(wanted, found or every, several=bool(found))}", USAGE)


def _which(wanted: str, candidates: list[Incident], *, several: bool) -> str:
    from difflib import get_close_matches

    if several:
        some = ", ".join(each.id for each in candidates[:NEAREST])
        return f"{len(candidates)} have an id that begins with {wanted!r}; did you mean one of {some}?"
    opened = [each.id for each in candidates if each.resolved_at is None]
    near = get_close_matches(wanted.upper(), [each.id for each in candidates], n=1, cutoff=0.6)
    if near:
        return f"none has an id like {wanted!r}; did you mean {near[0]}?"
    if opened:
        return f"none has an id like {wanted!r}; open are {', '.join(opened[:NEAREST])}"
    return f"none has an id like {wanted!r}, and none is open; `posagent incidents --all` lists past ones"
