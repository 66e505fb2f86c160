"""What does Prometheus read of a till? The report as metrics, in Prometheus' text format or OpenMetrics.

The names are public API, as the report's are: docs/metrics.md lists them, and a test holds it equal to
`agent.metrics.families`. No series carries the store's name: who scrapes a till knows which one it is (docs/fleet.md).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agent.metrics.families import FAMILIES

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from agent.metrics.sources import Own, Report

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The content types of the two formats."""
_coming = threading.Lock()


def render(report: Report, own: Own, *, openmetrics: bool) -> bytes:
    """The report, and what the agent counted itself (`own_numbers` and the daemon's counts), as a scraper reads them.

    An empty report is one that does not exist yet. What is not known is left out: a number is never made up.
    """
    with _coming:  # two threads that begin with different parts of it would find it half made
        from prometheus_client import exposition as text_format
        from prometheus_client.openmetrics import exposition as openmetrics_format

    found = cast("Any", _Found(report, own))  # it is asked for no more than collect()
    if openmetrics:
        return bytes(openmetrics_format.generate_latest(found))  # type: ignore[no-untyped-call]
    return text_format.generate_latest(found)


def own_numbers() -> dict[str, float]:
    """What this process costs its till, and what its clock says. Only the clock where /proc/self cannot be read."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        booted = Path("/proc/stat").read_text(encoding="ascii", errors="replace").partition("\nbtime ")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        return {
            "cpu_seconds": (int(fields[11]) + int(fields[12])) / ticks,
            "threads": float(fields[17]),
            "start_time": int(booted[0]) + int(fields[19]) / ticks,
            "virtual_bytes": float(fields[20]),
            "resident_bytes": float(int(fields[21]) * os.sysconf("SC_PAGE_SIZE")),
            "open_fds": float(sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1),  # but for the look itself
            "now": time.time(),
        }
    except (OSError, ValueError, IndexError):
        return {"now": time.time()}


class _Found:
    """What prometheus-client asks for metrics: the families that have something to say."""

    def __init__(self, report: Report, own: Own) -> None:
        self._report, self._own = report, own

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import Metric
        from prometheus_client.samples import Sample

        for family in FAMILIES:
            metric = Metric(family.name.removesuffix(f"_{family.ending}"), family.help, family.type)
            metric.samples = [
                Sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
                for labels, value in family.values(self._report, self._own)
            ]
            if metric.samples:
                yield metric
