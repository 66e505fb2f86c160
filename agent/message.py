"""What does one person read about one fault? The words of a notice, ready to leave through any channel."""

from __future__ import annotations

from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One notice in words. Plain text always; `markdown` for channels that read it; `data` for programs."""

    key: str
    """The idempotency key: whoever gets the same one twice got the same notice twice."""
    what: str
    """`opened`, `escalated`, `reminder`, `resolved`, `joined` or `drill`."""
    subject: str
    """One line: store, till, verdict, cause."""
    text: str
    markdown: str
    severity: str
    """`critical`, `warning` or `info`."""
    data: dict[str, Any] = {}
    """The same for programs: incident, cause, party, verdict, store, terminal, times."""
