"""What is handed to a way to the centre, and what may it answer? The words between `agent.push` and each protocol.

What an Outcome (`agent.outcome`) of a sender means:

    delivered()             the centre has it, for good (HTTP 2xx or 409, MQTT's PUBACK): it is forgotten here
    failed(detail, after)   not now: the same parcel comes again, with the same key, after a rest that the loop decides
                            (`after`: the seconds that the centre asks for). Whatever configuration may mend is passing
    refused(detail)         this parcel will never be taken: it is dropped, and the centre is told of a gap

`detail` is one clear line without secrets (`concealed`), `<cause>; <next step>`, and the same for the same cause: no
times, counts or ports of ours in it. It stands in the log and in `agent.problems`, behind
"cannot push to the centre WHERE: ".
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from agent.outcome import Outcome

WayName = Literal["https", "mqtt"]
WAYS: tuple[WayName, ...] = ("https", "mqtt")
Sort = Literal["report", "history", "incident", "gap"]
"""`report`: the newest one; `history`: one that a newer one has followed; `incident`: something happened to an
incident; `gap`: reports that will never come."""


class Till(msgspec.Struct, frozen=True):
    """Who speaks."""

    store: str
    terminal: str

    def mark(self) -> str:
        """For the state file."""
        return msgspec.json.encode(self).decode()


class Parcel(msgspec.Struct, frozen=True):
    """One thing for the centre. The same one has the same `key` at every attempt and through every way."""

    kind: Sort
    key: str
    """`SEQ-` and 16 hexadecimal digits of the body's SHA-256."""
    seq: int
    """Of the report; for others, of the newest report when it happened."""
    at: float
    """When it was made: Unix seconds."""
    packed: bytes
    """The JSON, gzipped."""

    @property
    def body(self) -> bytes:
        """The JSON."""
        return gzip.decompress(self.packed)


class Pushed(msgspec.Struct, frozen=True):
    """What came of one parcel, or, with an empty `key`, of looking after the connection. `outcome` None: not tried."""

    way: WayName
    key: str
    outcome: Outcome | None
    generation: int = 0
    """Of which configuration."""


class Sender(Protocol):
    """One way to the centre. Built in the loop's thread (cheaply: no import, no connection); everything else is called
    from one thread of its own, one call after another. Nothing raises; what does is told as a fault of ours.
    """

    where: str
    """For people: `https://centre.example/v1/reports`, `mqtts://mqtt.centre.example:8883`. No secret."""
    sorts: frozenset[Sort]
    """What it takes."""
    attends: bool
    """Whether `attend` is called while there is nothing to send: for a connection that is to stay."""

    def send(self, parcel: Parcel) -> Outcome:
        """Bring it there, within `timeout` of the settings, connecting first if need be."""

    def attend(self) -> Outcome:
        """Every few seconds, and first of all: connect if need be, and say how it stands. Back within `timeout`.

        After a failure it is not called before the rest is over: reconnecting is the loop's to decide, not a library's.
        """

    def close(self, grace: float) -> None:
        """Say goodbye (MQTT: `offline`) within `grace` seconds, also where none connected; leave no thread behind."""
