"""What is there to say about a fault at this moment, beside the fault itself? What every message of it is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.config.escalation import Level
    from agent.config.model import Channel
    from agent.escalation import Notice
    from agent.incidents import Incident
    from agent.knowledge import Knowledge
    from agent.plan import Plan
    from agent.report import DiagnosisPart
    from agent.store import Note
    from agent.telling.about import About
    from agent.telling.message import Message
    from agent.texts import Language


class Wording:
    """Knows the till and its configuration. `diagnosis` says what is known of an incident just now."""

    def __init__(
        self,
        plan: Plan,
        known: Knowledge,
        levels: Sequence[Level],
        diagnosis: Callable[[Incident], DiagnosisPart | None],
    ) -> None:
        from agent.config.hours import zone_of

        self._plan, self._known, self._levels, self._diagnosis = plan, known, levels, diagnosis
        self._zone = zone_of(plan.config.site.timezone)

    def language(self, channel: Channel) -> Language:
        """What the readers of a channel read."""
        return self._plan.language if channel.language == "auto" else channel.language

    def about(self, incident: Incident, charge: Note | None, deadline: float | None, level: int) -> About:
        """All that a message about this incident says besides. `deadline`: of the next settlement."""
        from agent.advice import site_of
        from agent.config.web import url
        from agent.rendering import circumstances_of_this_machine
        from agent.telling.about import About

        config, finding = self._plan.config, self._known.finding()
        breaks_batch = incident.impact == "stop" or incident.cause.startswith("settlement.")
        return About(
            store=config.site.store,
            terminal=config.site.terminal,
            host=circumstances_of_this_machine()["host"],
            tags=config.site.tags,
            payments=finding.payments,
            settlement=finding.settlement,
            contacts={str(party): contact for party, contact in config.contacts.items()},
            site_advice=site_of(config),
            deadline=deadline if breaks_batch else None,
            zone=self._zone,
            level_name=self._levels[level - 1].name if 0 < level <= len(self._levels) else "",
            charge=charge,
            diagnosis=self._diagnosis(incident),
            language=self._plan.language,
            url=url(config.web),
        )


def compose(notice: Notice, incident: Incident, about: About, language: Language, wall: float) -> Message:
    """The message, at this moment: Unix seconds."""
    from agent.telling.message import (
        compose as made,  # with all the texts that it needs: only once there is something to tell
    )

    return made(notice, incident, about, language, now=wall)
