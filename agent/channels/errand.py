"""What does a channel get to do its work with: its settings, the message, its secrets and its deadline?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from agent.config.model import Channel
from agent.config.secret import Secret
from probes.host import Host

if TYPE_CHECKING:
    from agent.telling.message import Message

C_co = TypeVar("C_co", bound=Channel, covariant=True)

SCHEMA = "posagent.notice/1"


@dataclass(frozen=True)
class Errand(Generic[C_co]):
    """One message to be brought to one channel. `secrets` are by the setting that names them; no `repr` shows them."""

    channel: C_co
    message: Message
    host: Host
    secrets: Mapping[str, str] = field(repr=False)

    def value(self, name: str) -> str | None:
        """A setting that may be a secret or plain text, as it is to be used."""
        given = getattr(self.channel, name)
        return self.secrets[name].strip() if isinstance(given, Secret) else given

    def fact(self, name: str) -> str:
        """A word of the message's data, such as `store` or `cause`; nothing where it has none."""
        value: Any = self.message.data.get(name)
        if isinstance(value, Mapping):
            value = value.get("id")
        return "" if value is None else str(value)

    @property
    def text(self) -> str:
        """The whole message as plain text, for what shows no subject: whose till it is stands in the first line."""
        return f"{self.message.subject}\n\n{self.message.text}"

    @property
    def markdown(self) -> str:
        """The same as Markdown."""
        return f"**{self.message.subject}**\n\n{self.message.markdown}"

    def json(self) -> dict[str, Any]:
        """The whole message, as programs read it."""
        message = self.message
        return {
            "schema": SCHEMA,
            "key": message.key,
            "what": message.what,
            "severity": message.severity,
            "subject": message.subject,
            "text": message.text,
            "markdown": message.markdown,
            "data": message.data,
        }


def fitted(text: str, most: int, *, of_bytes: bool = False) -> str:
    """At most so many characters or UTF-8 bytes of a text; what was cut is marked by an ellipsis."""
    if not of_bytes:
        return text if len(text) <= most else text[: most - 1] + "…"
    coded = text.encode()
    return text if len(coded) <= most else coded[: most - 3].decode("utf-8", "ignore") + "…"


def fitting(make: Callable[[str], dict[str, Any]], text: str, most: int) -> dict[str, Any]:
    """What `make` makes of the text, or of as much of it as gives at most so many bytes of JSON."""
    size = len(text)
    while True:
        made = make(fitted(text, size))
        bytes_ = len(json.dumps(made, ensure_ascii=False).encode())
        if bytes_ <= most or size <= 1:
            return made
        size = max(1, min(size - 1, size * most // bytes_ - 1))
