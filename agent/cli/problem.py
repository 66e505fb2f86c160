"""posagent incidents ID --report: what a merchant must hand in about a fault, as Markdown, JSON or a page to print."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from typing import TYPE_CHECKING, Any

from agent.cli import Complaint
from agent.cli.configured import read_file, report_path

if TYPE_CHECKING:
    from agent.config import Config
    from agent.incidents import Incident
    from agent.problem_report import Facts
    from agent.store import Silence, Store
    from agent.texts import Language

BEFORE_S = 60.0
"""Changes are told from so long before the first sign on."""
EVENTS = 1000


def gather(store: Store, incident: Incident, config: str | None, now: float) -> Facts:
    """All that is kept of it. A configuration or a report that is broken today leaves out only what it would say."""
    from agent.problem_report import Facts

    end = now if incident.resolved_at is None else incident.resolved_at
    last = _last_report(config)
    site = last.get("site", {})
    said: dict[str, Any] = {}
    loaded = _loaded(config)
    if loaded is not None:
        from agent.advice import site_of

        said = {
            "contacts": {str(party): contact for party, contact in loaded.contacts.items()},
            "site_advice": site_of(loaded),
        }
        site = {"host": site.get("host", "")} | {"store": loaded.site.store, "terminal": loaded.site.terminal}
    return Facts(
        incident=incident,
        now=now,
        store=str(site.get("store", "")),
        terminal=str(site.get("terminal", "")),
        host=str(site.get("host", "")),
        own_language=_language_of(incident),
        notes=store.notes(incident.id),
        silences=_silences(store, incident, end),
        joined=[each for each in store.incidents(incident.opened_at) if each.joined_to == incident.id],
        changes=[
            change
            for change in reversed(store.transitions(incident.began_at - BEFORE_S))
            if change.probe in incident.probes and change.at <= end + 1
        ],
        events=[event for event in store.events(incident.began_at, EVENTS) if event.at <= end + BEFORE_S],
        notices=store.outbox.of(incident.id),
        failed=_failed(store, last),
        **said,
    )


def show(facts: Facts, form: str, language: Language, config: str | None) -> None:
    """Print the document and nothing else, as UTF-8 whatever the locale is."""
    from agent import problem_report

    document = problem_report.build(facts, language)
    if form == "json":
        content = problem_report.encode(document)
    else:
        from agent import problem_page

        way = problem_page.printable if form == "html" else problem_page.markdown
        content = way(document, _zone(config)).encode("utf-8", "replace")
    sys.stdout.flush()
    sys.stdout.buffer.write(content)


def _loaded(config: str | None) -> Config | None:
    from agent.cli.configured import load

    try:
        return load(config)
    except Complaint:
        return None


def _zone(config: str | None) -> datetime.tzinfo | None:
    """The store's, where it is not this PC's own."""
    loaded = _loaded(config)
    if loaded is None or not loaded.site.timezone:
        return None
    from probes.host import Host, zone
    from probes.model import Unsupported

    with contextlib.suppress(Unsupported):
        return zone.of(Host(), loaded.site.timezone)
    return None


def _last_report(config: str | None) -> dict[str, Any]:
    """What the daemon wrote last; nothing where it cannot be read."""
    try:
        found = json.loads(read_file(report_path(config)))
    except (OSError, ValueError, RecursionError, Complaint):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("site", {}), dict) else {}


def _language_of(incident: Incident) -> Language:
    """In which language its headline is, and so the report of the daemon that wrote it."""
    return "zh-CN" if any("\u4e00" <= sign <= "\u9fff" for sign in incident.headline) else "en"


def _silences(store: Store, incident: Incident, end: float) -> list[Silence]:
    """Planned work at its first sign, when it was confirmed, and at its end."""
    found = {each.id: each for at in (incident.began_at, incident.opened_at, end) for each in store.silences(at)}
    return list(found.values())


def _failed(store: Store, last: dict[str, Any]) -> list[str] | None:
    """Failed transactions, from what probes remember and from what they said last; None where none reads the record."""
    found: set[str] = set()
    known = False
    for memory in store.memories().values():
        known = known or {"source", "settled", "last"} <= set(memory)
        lines = memory.get("failed")
        found.update(line for line in lines if isinstance(line, str)) if isinstance(lines, list) else None
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        for probe in last["probes"]:
            if probe["kind"] == "settlement":
                known = True
                found.update(map(str, probe["measurements"].get("failed_transactions", ())))
    return sorted(found) if known else None
