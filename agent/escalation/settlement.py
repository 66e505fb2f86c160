"""By when must tonight's batch be through?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.config.hours import zone_of
from probes import moments
from probes.model import Probe
from probes.settlement_settings import SettlementSettings

HALF_DAY_S = 43200.0
"""A batch that was closed longer before its deadline was another one: the last day's, late, or one in between."""


def next_deadline(probes: Iterable[Probe], now: float, settled: Mapping[str, float] | None = None) -> float | None:
    """The next deadline of any settlement probe, Unix seconds; None where none has one.

    `settled`: by probe, when a batch was last closed. A day that is settled has no deadline any more.
    """
    return min((due for probe in probes for due in _due(probe, now, (settled or {}).get(probe.name))), default=None)


def _due(probe: Probe, now: float, settled_at: float | None) -> Iterable[float]:
    settings = probe.settings
    if not isinstance(settings, SettlementSettings) or not settings.deadline:
        return ()
    try:
        zone = zone_of(settings.timezone)
    except ValueError:  # this PC lost its zone data since the configuration was read
        return ()
    day = moments.next_settlement_day(now, zone, settings.deadline, settings.days)
    if day is not None and settled_at is not None and settled_at >= max(day[0], day[1] - HALF_DAY_S):
        day = moments.next_settlement_day(day[1], zone, settings.deadline, settings.days)
    return () if day is None else (day[1],)
