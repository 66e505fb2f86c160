"""Where does a metric's value come from? From a place in the report, or from what the agent counted. Pure.

A source is a function of both that yields label values with a number, for as many series as there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

Report = Mapping[str, Any]
Own = Mapping[str, float]
Part = Mapping[str, Any]
"""One probe or one incident of the report."""
Value = tuple[tuple[str, ...], float]
Source = Callable[[Report, Own], Iterable[Value]]

WORDS = ("ready", "at_risk", "down", "unknown")
STATUS = {"ok": 0.0, "warn": 1.0, "fail": 2.0, "unknown": 3.0, "skipped": 4.0}
"""As monitoring plugins exit. One number instead of five series per probe: a fleet has many probes."""
LONGEST = 200
"""Characters of a label that only people read. What tells series apart is never cut."""


def at(*path: str) -> Source:
    """The number, the yes or no, or the time at this place of the report."""

    def values(report: Report, _own: Own) -> Iterator[Value]:
        found: Any = report
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        value = moment(found) if isinstance(found, str) else number(found)
        if value is not None:
            yield (), value

    return values


def counted(key: str) -> Source:
    """What the agent counted under this name."""
    return lambda _report, own: [((), float(own[key]))] if key in own else []


def info(part: str, *keys: str) -> Source:
    """Facts of this part of the report as labels."""

    def values(report: Report, _own: Own) -> Iterator[Value]:
        if part in report:
            yield tuple(str(report[part].get(key, ""))[:LONGEST] for key in keys), 1.0

    return values


def verdict(about: str) -> Source:
    """All four words, one of which holds."""

    def values(report: Report, _own: Own) -> Iterator[Value]:
        found = report.get("verdict", {}).get(about)
        if found is not None:
            yield from (((word,), float(word == found)) for word in WORDS)

    return values


def probes(value: Callable[[Part], float | None]) -> Source:
    """One value per probe that has it."""

    def values(report: Report, _own: Own) -> Iterator[Value]:
        for probe in report.get("probes", ()):
            found = value(probe)
            if found is not None:
                yield (probe["name"], probe["kind"]), found

    return values


def measured(key: str, unit: float = 1.0, kind: str | None = None) -> Source:
    """What probes (of this kind) measured under this key, times `unit`."""

    def value(probe: Part) -> float | None:
        found = number(probe["measurements"].get(key)) if kind in (None, probe["kind"]) else None
        return None if found is None else round(found * unit, 9)

    return probes(value)


def incidents(value: Callable[[Part], float | None]) -> Source:
    """One value per open incident that has it."""

    def values(report: Report, _own: Own) -> Iterator[Value]:
        for incident in report.get("incidents", ()):
            found = value(incident)
            if found is not None:
                yield (incident["id"],), found

    return values


def links(report: Report, _own: Own) -> Iterator[Value]:
    """The chain from power to settlement."""
    for link in report.get("chain", ()):
        yield (link["link"],), STATUS[link["status"]]


def troubles(report: Report, _own: Own) -> Iterator[Value]:
    """Why a probe is not well."""
    for probe in report.get("probes", ()):
        if probe["status"] not in ("ok", "skipped"):
            yield (probe["name"], probe["kind"], probe["reason"]), 1.0


def about_probes(report: Report, _own: Own) -> Iterator[Value]:
    """What each probe looks at, and what its failure would mean."""
    for probe in report.get("probes", ()):
        yield (probe["name"], probe["kind"], probe["target"][:LONGEST], probe["impact"]), 1.0


def expiries(report: Report, _own: Own) -> Iterator[Value]:
    """When certificates run out."""
    for probe in report.get("probes", ()):
        found = moment(probe["measurements"].get("not_after"))
        if found is not None:
            yield (probe["name"], probe["target"][:LONGEST]), found


def about_incidents(report: Report, _own: Own) -> Iterator[Value]:
    """What each open incident is."""
    for incident in report.get("incidents", ()):
        yield tuple(str(incident[key]) for key in ("id", "cause", "party", "impact", "fingerprint")), 1.0


def problems(report: Report, _own: Own) -> Iterator[Value]:
    """How many problems the agent has with itself."""
    if "agent" in report:
        yield (), float(len(report["agent"]["problems"]))


def silenced(report: Report, _own: Own) -> Iterator[Value]:
    """Whether work is planned."""
    if "agent" in report:
        yield (), float(report["agent"].get("silenced_until") is not None)


def waiting(report: Report, own: Own) -> Iterator[Value]:
    """What has not left this PC: as counted right now, else as of the report."""
    told = report.get("agent", {}).get("waiting") or {}
    for queue in ("notices", "reports"):
        found = own.get(f"{queue}_waiting", told.get(queue))
        if found is not None:
            yield (queue,), float(found)


def dropped(report: Report, own: Own) -> Iterator[Value]:
    """Reports that the centre will never see."""
    told = report.get("agent", {}).get("waiting") or {}
    found = own.get("reports_dropped", told.get("dropped_reports"))
    if found is not None:
        yield (), float(found)


def number(found: object) -> float | None:
    """A measurement, where it is a number (or yes or no)."""
    return float(found) if isinstance(found, (int, float)) else None


def moment(found: object) -> float | None:
    """Unix seconds of a time as the report has it (`2026-11-22T10:55:45.070Z`) or a measurement (`… 10:55 UTC`)."""
    if not isinstance(found, str):
        return None
    try:
        known = datetime.fromisoformat(found.replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return known.timestamp() if known.tzinfo is not None else None
