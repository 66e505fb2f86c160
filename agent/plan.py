"""What does a configuration ask of the daemon? The settings, the probes they come to, and the language of the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent import homes, rendering
from agent.advice import site_of
from agent.knowledge import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config import Config
    from agent.texts import Language
    from probes.model import Probe


class Plan(NamedTuple):
    """A configuration that holds together."""

    config: Config
    probes: Sequence[Probe]
    language: Language

    @property
    def rules(self) -> Rules:
        """When to believe what was seen."""
        schedule = self.config.schedule
        return Rules(window=schedule.window, reopen_within=float(schedule.reopen_within))

    @property
    def retry(self) -> float:
        """Seconds between two looks at what is in doubt."""
        return float(self.config.schedule.retry_interval)

    def report_path(self, env: Mapping[str, str]) -> Path | None:
        """Where the report goes; None for a user without a home."""
        place = homes.state(env)
        if self.config.report.path:
            return Path(self.config.report.path)
        return Path(place) / "health.json" if place else None

    def about(self, started_at: float) -> dict[str, object]:
        """What is the same in every report: see `rendering.Circumstances`."""
        config, machine = self.config, rendering.circumstances_of_this_machine()
        return {
            "started_at": started_at,
            "boot_id": machine["boot_id"],
            "host": machine["host"],
            "config_sha256": config.sha256,
            "store": config.site.store,
            "terminal": config.site.terminal,
            "tags": config.site.tags,
            "contacts": {str(party): contact for party, contact in config.contacts.items()},
            "site_advice": site_of(config),
            "language": self.language,
        }
