"""What was open, when the state file is lost? The last report knows: nobody shall hear of the same fault twice."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from agent.incidents import Incident


def open_incidents(report: bytes) -> tuple[Incident, ...]:
    """Those that a report tells of; none where it is no report. When each began is not told: when it was opened is."""
    try:
        told = json.loads(report)
        confidence = {each["fingerprint"]: each["confidence"] for each in told["diagnosis"]}
        category = {each["fingerprint"]: each["category"] for each in told["diagnosis"]}
        return tuple(_incident(each, confidence, category) for each in told["incidents"])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return ()


def _incident(told: dict[str, Any], confidence: dict[str, str], category: dict[str, str]) -> Incident:
    opened_at = datetime.fromisoformat(told["opened_at"]).timestamp()
    return Incident(
        id=str(told["id"]),
        cause=str(told["cause"]),
        party=str(told["party"]),
        category=str(category.get(told["fingerprint"], "system")),
        confidence=str(confidence.get(told["fingerprint"], "possible")),
        fingerprint=str(told["fingerprint"]),
        impact=str(told["impact"]),
        began_at=opened_at,
        opened_at=opened_at,
        probes=tuple(map(str, told["probes"])),
        headline=str(told["title"]),
        flapping=bool(told["flapping"]),
    )
