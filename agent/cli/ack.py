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
    from agent.texts import Language

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
        return past.named(store, wanted, open_first=True)
    except StoreError as error:
        raise Complaint(f"posagent: {error}; try again", past.NOTHING_KEPT) from None
    finally:
        store.close()
