"""What happened here? The last day and the last month, for the page. Opens the state file to read only, each time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.web.sight import Content

if TYPE_CHECKING:
    from agent.incidents import Incident
    from agent.state import Transition
    from agent.store import AvailabilityRow, Note, Store
    from agent.texts import Language

DAY_S = 86400.0
DAYS, INCIDENTS = 30, 20
EARLIER_S = 35 * DAY_S
"""How far back the status is looked for that a probe had when the last day began."""
CHANGES_AT_MOST = 20_000
FRESH_S = 15.0
"""However many look: the state file is asked once in this time."""


class Past:
    """The content of /history.json. Safe in several threads: one asks, the others wait for its answer."""

    def __init__(self, directory: str | None) -> None:
        self._path = None if directory is None else Path(directory) / "state.sqlite"
        self._lock = threading.Lock()
        self._known: dict[Language, tuple[float, Content]] = {}

    def content(self, language: Language) -> Content:
        """At most 15 seconds old. A past that cannot be read is an empty one, and says so in `problem`."""
        with self._lock:
            at, content = self._known.get(language, (0.0, None))
            if content is None or time.monotonic() - at >= FRESH_S:
                content = Content(msgspec.json.encode(self._ask(language, time.time())), "application/json")
                self._known[language] = time.monotonic(), content
            return content

    def _ask(self, language: Language, now: float) -> dict[str, Any]:
        from agent.report import stamp
        from agent.store import Store, StoreError

        found: dict[str, Any] = {"generated_at": stamp(now), "since": stamp(now - DAY_S), "probes": {}, "incidents": []}
        if self._path is None:
            return found | {"problem": "no state is kept here"}
        try:
            store = Store(self._path, read_only=True)
            try:
                return found | _gather(store, language, now)
            finally:
                store.close()
        except StoreError:
            return found | {"problem": "the state file cannot be read just now"}  # its path is nobody's business


def _gather(store: Store, language: Language, now: float) -> dict[str, Any]:
    since = now - DAY_S
    first_day = (datetime.now().astimezone().date() - timedelta(days=DAYS - 1)).isoformat()
    changes = _changes(store.transitions(now - EARLIER_S, None, CHANGES_AT_MOST), since)
    days = _days(store.availability(first_day))
    over = [each for each in store.incidents(now - EARLIER_S, 1000) if each.resolved_at is not None][:INCIDENTS]
    return {
        "probes": {
            name: {"changes": changes.get(name, [_change(since, None)]), "days": days.get(name, [])}
            for name in sorted(changes.keys() | days.keys())
        },
        "incidents": [_incident(each, store.notes(each.id), language) for each in over],
    }


def _changes(newest_first: Iterable[Transition], since: float) -> dict[str, list[dict[str, Any]]]:
    """By probe, oldest first; the first one is what held when the day began."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in newest_first:
        mine = found.setdefault(each.probe, [])
        if mine and mine[-1]["at_s"] <= since:
            continue  # what held at `since` is known
        mine.append({"at_s": each.at, "old": each.old, "status": each.new})
    return {probe: _of_the_day(mine, since) for probe, mine in found.items()}


def _of_the_day(newest_first: list[dict[str, Any]], since: float) -> list[dict[str, Any]]:
    oldest = newest_first[-1]
    began = oldest["old"] if oldest["at_s"] > since else newest_first.pop()["status"]
    return [_change(since, began), *(_change(each["at_s"], each["status"]) for each in reversed(newest_first))]


def _change(at: float, status: str | None) -> dict[str, Any]:
    from agent.report import stamp

    return {"at": stamp(at), "status": status}


def _days(rows: Iterable[AvailabilityRow]) -> Mapping[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for day, probe, good, bad, blind in rows:
        told = {"day": day, "good_s": round(good), "bad_s": round(bad), "blind_s": round(blind)}
        found.setdefault(probe, []).append(told)
    return {probe: told[-DAYS:] for probe, told in found.items()}


def _incident(incident: Incident, notes: list[Note], language: Language) -> dict[str, Any]:
    from agent.report import stamp
    from agent.telling.letter import title

    last = notes[-1] if notes else None
    return {
        "id": incident.id,
        "cause": incident.cause,
        "title": title(incident, language),
        "party": incident.party,
        "opened_at": stamp(incident.opened_at),
        "resolved_at": None if incident.resolved_at is None else stamp(incident.resolved_at),
        "acknowledged": None if last is None else {"by": last.by, "at": stamp(last.at), "note": last.text},
    }
