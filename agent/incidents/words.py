"""What is an incident, and what else is remembered about faults? Times are Unix seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from probes.model import Measurement


class Seen(msgspec.Struct, frozen=True):
    """What a probe of this kind had measured: with it a reason becomes a sentence, in whatever language."""

    kind: str
    facts: dict[str, Measurement] = {}


class Incident(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fault from confirmation to confirmed repair. Times are Unix seconds."""

    id: str
    cause: str
    party: str
    category: str
    confidence: str
    fingerprint: str
    impact: str
    """`stop`, `degrade` or `none`: the worst that a probe of it means for payments."""
    began_at: float
    """When its first look saw it; the incident was opened, once confirmed, at `opened_at`."""
    opened_at: float
    resolved_at: float | None = None
    probes: tuple[str, ...] = ()
    """All that it explained while it was open."""
    evidence: tuple[str, ...] = ()
    """`probe: reason` of what spoke for it when it was opened."""
    seen: dict[str, Seen] = {}
    """What stood behind a line of `evidence`, by that line."""
    subjects: tuple[str, ...] = ()
    """The outside targets concerned, as the headline names them."""
    headline: str = ""
    """Its title in the store's language, for lists."""
    joined_to: str | None = None
    """The incident that explains this one since; it is then resolved."""
    unwatched: bool = False
    """It ended because nothing of it is in the configuration any more: nobody knows whether it is over."""
    flapping: bool = False
    """It came back soon after it was gone, and is held open until it keeps quiet for a while."""
    previous: str | None = None
    """The incident of the same fault before this one, where that was a short while ago."""


class Case(msgspec.Struct, frozen=True):
    """One diagnosis of the present explanation, in the words of an incident."""

    cause: str
    party: str
    category: str
    confidence: str
    fingerprint: str
    impact: str
    explains: tuple[str, ...]
    evidence: tuple[str, ...]
    headline: str
    seen: dict[str, Seen] = {}
    subjects: tuple[str, ...] = ()


class Pending(msgspec.Struct, frozen=True):
    """A diagnosis that was made, in so many examinations in a row, and is not yet an incident."""

    cause: str
    probes: tuple[str, ...]
    rounds: int
    began_at: float
    fingerprint: str = ""


class Change(msgspec.Struct, frozen=True):
    """What happened to an incident. `changed` is worth storing, not worth telling."""

    what: Literal["opened", "resolved", "joined", "changed"]
    incident: Incident


class Book(msgspec.Struct, frozen=True):
    """All that later diagnoses are held against. `recent`: resolved within the reopen window."""

    open: tuple[Incident, ...] = ()
    recent: tuple[Incident, ...] = ()
    pending: tuple[Pending, ...] = ()
