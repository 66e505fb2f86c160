"""What does the centre get beside reports? That some will never come, and what happened to incidents. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.push.sender import Parcel, Till
from agent.report import stamp

if TYPE_CHECKING:
    from agent.incidents import Change
    from agent.push.order import Gap
    from agent.store import Note

GAP, INCIDENT = "posagent.gap/1", "posagent.incident/1"


def gap_parcel(gap: Gap, till: Till, wall: float) -> Parcel:
    """Of the reports from `from_seq` to `to_seq` so many will never come."""
    from agent.push.stock import packed

    body = {
        "schema": GAP,
        "store": till.store,
        "terminal": till.terminal,
        "from_seq": gap.from_seq,
        "to_seq": gap.to_seq,
        "reports": gap.reports,
        "incidents": gap.incidents,
        "causes": gap.cause.split(),
    }
    kept = packed("report", msgspec.json.encode(body), gap.to_seq, wall, ())
    return Parcel("gap", kept.key, kept.seq, wall, kept.body)


def incident_body(change: Change, at: float, note: Note | None, till: Till) -> bytes:
    """What happened to an incident, and how it stands since."""
    one = change.incident
    body = {
        "schema": INCIDENT,
        "store": till.store,
        "terminal": till.terminal,
        "what": "acknowledged" if note is not None else change.what,
        "at": stamp(at),
        "incident": {
            "id": one.id,
            "cause": one.cause,
            "party": one.party,
            "category": one.category,
            "confidence": one.confidence,
            "impact": one.impact,
            "fingerprint": one.fingerprint,
            "title": one.headline,
            "began_at": stamp(one.began_at),
            "opened_at": stamp(one.opened_at),
            "resolved_at": _stamp(one.resolved_at),
            "joined_to": one.joined_to,
            "flapping": one.flapping,
            "probes": list(one.probes),
        },
        "acknowledged": None
        if note is None
        else {"by": note.by, "at": stamp(note.at), "note": note.text, "until": _stamp(note.until)},
    }
    return msgspec.json.encode(body)


def _stamp(moment: float | None) -> str | None:
    return None if moment is None else stamp(moment)
