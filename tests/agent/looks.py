"""Looks made by hand: one readable line each.

    NAME KIND[:ROLE] [@PLACE] STATUS [REASON] [KEY=VALUE …] [! EVIDENCE]

`STATUS` is ok, warn, fail, unknown or skipped. Values are JSON where they can be read as such, else text. The place is
`beyond` for connections unless another is written. The impact is the kind's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from agent.diagnosis.model import Place
from agent.runner import Look
from probes import registry
from probes.model import Impact, Measurement, Observation, Probe, Role, Seconds, Settings, Status

BEYOND = ("port", "tls", "http", "ping")


def read(lines: Iterable[str]) -> tuple[list[Look], dict[str, Place]]:
    """The looks, and where their targets lie."""
    looks, places = list[Look](), dict[str, Place]()
    for line in lines:
        told, _, evidence = line.partition(" ! ")
        name, kind, *words = told.split()
        kind, _, role = kind.partition(":")
        place = words.pop(0)[1:] if words[0].startswith("@") else "beyond" if kind in BEYOND else "unknown"
        status = words.pop(0)
        reason = words.pop(0) if words and "=" not in words[0] else "ok"
        facts = {key: _value(text) for key, _, text in (word.partition("=") for word in words)}
        looks.append(look(name, kind, status, reason, facts, role=role, evidence=(evidence,) if evidence else ()))
        places[name] = place  # type: ignore[assignment]
    return looks, places


def look(
    name: str,
    kind: str,
    status: str,
    reason: str = "ok",
    facts: dict[str, Measurement] | None = None,
    *,
    role: str = "",
    evidence: tuple[str, ...] = (),
    impact: Impact | None = None,
) -> Look:
    """One finished look."""
    facts = facts or {}
    try:
        impact = impact or registry.find(kind).impact
    except LookupError:
        impact = impact or Impact.DEGRADE
    probe = Probe(
        name=name,
        kind=kind,
        settings=Settings(kind=kind),
        label=name,
        target=str(facts.get("target") or (f"{facts['host']}:{facts.get('port', 443)}" if "host" in facts else name)),
        impact=impact,
        interval=Seconds(30),
        timeout=Seconds(3),
        fail_after=3,
        recover_after=2,
        needs=None,
        role=Role(role) if role else None,
    )
    seen = Observation(status=Status(status), reason=reason, measurements=facts, evidence=evidence)
    return Look(probe, seen, 1_760_000_000.0, 0.1)


def _value(text: str) -> Measurement:
    try:
        value: Measurement = json.loads(text)
    except ValueError:
        return text
    return value
