"""What is wrong with this till, since when, and is it over? Pure: from diagnoses and tracks to incidents.

One cause is one incident, from the moment it is confirmed until it is confirmed gone. What a deeper fault turns out to
explain is joined to it.
"""

from __future__ import annotations

import msgspec


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
    headline: str = ""
    """Its title in the store's language, for lists."""
    joined_to: str | None = None
    """The incident that explains this one since; it is then resolved."""
    flapping: bool = False
    """It came back soon after it was gone, and is held open until it keeps quiet for a while."""
    previous: str | None = None
    """The incident of the same fault before this one, where that was a short while ago."""
