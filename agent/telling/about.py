"""What is a message about, besides the fault itself? The words between whoever decides and whoever writes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from agent.advice import SiteAdvice

if TYPE_CHECKING:
    from agent.report import DiagnosisPart
    from agent.store import Note


class Noticed(Protocol):
    """What is to be told, as `agent.escalation` decides it."""

    @property
    def key(self) -> str:
        """The idempotency key."""

    @property
    def what(self) -> str:
        """One of `What`."""

    @property
    def level(self) -> int:
        """How far this was escalated."""

    @property
    def at(self) -> float:
        """Since when there has been this to tell."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a message says besides the fault itself."""

    store: str = ""
    terminal: str = ""
    host: str = ""
    tags: Mapping[str, str] = {}
    payments: str = "unknown"
    """The verdict of this moment: a word of `agent.verdict`."""
    settlement: str = "unknown"
    contacts: Mapping[str, str] = {}
    site_advice: SiteAdvice | None = None
    url: str = ""
    """Of the page on this PC, where it is served."""
    deadline: float | None = None
    """When the batch must be closed, where this fault would break that."""
    zone: datetime.tzinfo | None = None
    """In which the store reads the clock; None: as this PC."""
    level_name: str = ""
    charge: Note | None = None
    """Who has taken charge of this incident."""
    diagnosis: DiagnosisPart | None = None
    """What the last report knows of this fault: more than its incident keeps."""
    language: Literal["en", "zh-CN"] = "en"
    """Of an incident's `headline` and of `diagnosis`."""
