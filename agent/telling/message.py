"""What is a person told about a fault, so that they know what to do without asking? Pure: no clock, no file but texts.

The first line says store, till, verdict and cause; the rest says what to do, whom to call, how it is known and since
when. Whatever comes from outside (devices, servers, what people typed) is scrubbed of card data here once more.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from agent.report import stamp
from agent.telling.about import About, Noticed
from agent.telling.layout import clock, markdown, offset, plain
from agent.telling.letter import OVER, Letter, say

if TYPE_CHECKING:
    from agent.incidents import Incident
    from agent.texts import Language

What = Literal["opened", "escalated", "reminder", "resolved", "joined", "drill"]
Severity = Literal["critical", "warning", "info"]

LATE_S = 120.0
"""A message that leaves later than this after it was due says so."""
_SEVERITY: dict[str, Severity] = {"stop": "critical", "degrade": "warning"}


__all__ = ["About", "Message", "Noticed", "compose", "late"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel's readers are told, in their language. It is stored as JSON until it has left."""

    key: str
    """The idempotency key: the same at every attempt, and through every channel."""
    what: What
    severity: Severity
    subject: str
    """One line: store, till, verdict, cause."""
    text: str
    markdown: str
    data: dict[str, Any]
    """The same for programs: webhooks and commands."""
    incident: str = ""
    language: Literal["en", "zh-CN"] = "en"
    at: float = 0.0
    """When there was something to tell, Unix seconds."""
    utc_offset_s: int = 0
    """By how much the store's clock was ahead then."""


def compose(
    notice: Noticed,
    incident: Incident,
    about: About,
    language: Language,
    *,
    now: float,
) -> Message:
    """The message about this incident in this language."""
    letter = Letter(notice, incident, about, language, now)
    headline, parts = letter.headline(), list(letter.parts())
    return Message(
        key=notice.key,
        what=letter.what,
        severity="info" if letter.is_over or letter.is_drill else _SEVERITY.get(incident.impact, "info"),
        subject=letter.subject(),
        text=plain(headline, parts, language),
        markdown=markdown(headline, parts),
        data=letter.data(),
        incident=incident.id,
        language=language,
        at=notice.at,
        utc_offset_s=offset(notice.at, about.zone),
    )


def late(message: Message, now: float, ended_at: float | None = None) -> Message:
    """The message as it leaves after an outage: it says for how long it was held back and what has become of it.

    `ended_at`: when its incident was over, where it is by now.
    """
    if now - message.at < LATE_S:
        return message
    language = message.language
    zone = datetime.timezone(datetime.timedelta(seconds=message.utc_offset_s))
    held = say("late", language, at=clock(message.at, zone), age=now - message.at)
    over = "" if ended_at is None or message.what in OVER else say("late_over", language, at=clock(ended_at, zone))
    remark = f"{held} {over}" if over and language == "en" else held + over
    return msgspec.structs.replace(
        message,
        subject=say("late_subject", language, subject=message.subject),
        text=f"{remark}\n\n{message.text}",
        markdown=f"> {remark}\n\n{message.markdown}",
        data=message.data
        | {"late_s": round(now - message.at)}
        | ({"ended_at": stamp(ended_at)} if over and ended_at is not None else {}),
    )
