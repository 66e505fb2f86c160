"""What the daemon's loop owns of the push: what waits for the centre, and when the next of it may leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.push.sender import Pushed
from agent.store import Batch, Event

if TYPE_CHECKING:
    from agent.config import Config
    from agent.incidents import Change
    from agent.journal import Journal
    from agent.keeper import Keeper
    from agent.store import Note


class HasConfig(Protocol):
    """A plan; only `config.push` and `config.site` are looked at."""

    @property
    def config(self) -> Config:
        """The configuration."""


@dataclass
class Ways:
    """What a Centre gets from whoever owns it."""

    answer: Callable[[Pushed], None]
    """Called from other threads; what it is given is to reach `Centre.answered` in the loop's own."""
    unsaved: Callable[[], Batch]
    """The batch that is saved next."""
    save: Callable[[bool], None]
    """Write what is unsaved, for good where it says so."""
    record: Callable[[Event], None]


class Centre:
    """The centre as the loop sees it. Everything here happens in the loop's thread; nothing waits, nothing raises."""

    def __init__(
        self, plan: HasConfig, keeper: Keeper, journal: Journal, ways: Ways, env: Mapping[str, str] = os.environ
    ) -> None:
        raise NotImplementedError

    def restore(self) -> None:
        """Take up what waited in an earlier life: once the keeper is open, before the first report."""

    def reported(self, encoded: bytes, seq: int, at: float, *, changed: bool) -> None:
        """There is a new report, as it was written to its file. `changed`: it is more than a heartbeat."""

    def incident(self, change: Change, at: float, note: Note | None = None) -> None:
        """Something happened to an incident; with `note`, somebody took charge of it. Call it before the batch with
        the incident is saved."""

    def answered(self, news: Pushed) -> None:
        """What came of a parcel; it takes effect with the next turn."""

    def turn(self, now: float, wall: float) -> None:
        """Keep what is to be kept, and let the next parcels leave. `now` is monotonic, `wall` Unix time."""

    def wait(self, now: float) -> float:
        """Seconds until the next turn has something to do."""
        return float("inf")

    def problems(self) -> list[str]:
        """What keeps the centre from hearing of this till, in one sentence each."""
        return []

    def counts(self) -> dict[str, int]:
        """`reports_waiting`, `reports_pushed` and `reports_dropped` (of this life)."""
        return {"reports_waiting": 0, "reports_pushed": 0, "reports_dropped": 0}

    def reload(self, plan: HasConfig) -> None:
        """A new configuration; what waits goes on waiting."""

    def clock_set(self, wall: float) -> None:
        """The wall clock was set."""

    def stop(self, grace: float) -> None:
        """Let the newest report leave if it can, say goodbye, and begin nothing any more: within `grace` seconds. The
        answers come through `answer`: take them in with `answered` and one more `turn`, then save."""

    def everything(self) -> Batch:
        """What a new state file must hold of this."""
        return Batch()
