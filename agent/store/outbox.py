"""Which notices wait to be told, and what became of the others? What is asked of the outbox; it is filled by batches.

Notices of one incident leave through one channel in the order in which they came: the recovery never overtakes the
fault. So a notice counts as due only when no earlier one of its incident waits for the same channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.store import rows
from agent.store.words import Outgoing

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")
FAR_S = 7 * 3600.0
"""No notice is ever put off for longer. One that is due later than this was so by a clock that has been set since."""
_COLUMNS = ", ".join(f"o.{name}" for name in rows.OUTGOING)
_FIRST = """
    FROM outbox AS o WHERE o.state = 'waiting' AND o.channel = ? AND NOT EXISTS (
        SELECT 1 FROM outbox AS e WHERE e.state = 'waiting' AND e.incident = o.incident AND e.channel = o.channel
        AND e.id < o.id)
"""
_DUE = f"SELECT {_COLUMNS} {_FIRST} AND (o.due <= ? OR o.due > ?) ORDER BY o.due, o.id LIMIT ?"
_STALE = f"""
    SELECT {_COLUMNS} FROM outbox AS o
    WHERE o.state = 'waiting' AND o.channel = ? AND NOT o.passed_on AND o.created <= ? ORDER BY o.id LIMIT ?
"""  # noqa: S608 -- names of our own fields
_HASTEN = "UPDATE outbox SET due = ? WHERE state = 'waiting' AND channel = ? AND due > ?"
_DROP = """
    UPDATE outbox SET state = 'dropped', finished = ?, message = x'', detail = 'too many were waiting' WHERE id IN (
        SELECT o.id FROM outbox AS o LEFT JOIN incident AS i ON i.id = o.incident WHERE o.state = 'waiting'
        ORDER BY i.resolved_at IS NULL, coalesce(i.resolved_at, o.created), o.id LIMIT ?)
"""


class Ask(Protocol):
    """How a question is put to the file."""

    def __call__(self, sql: str, *values: object) -> list[Any]:
        """The rows."""


class Outbox:
    """Questions to the outbox. Every method raises StoreError."""

    def __init__(self, ask: Ask, sound: Callable[[str, Iterable[Outgoing | None]], list[Outgoing]]) -> None:
        self._ask, self._sound = ask, sound

    def due(self, channel: str, now: float, limit: int) -> list[Outgoing]:
        """What may leave through this channel now, at most one notice of each incident."""
        return self._all(self._ask(_DUE, channel, now, now + FAR_S, limit))

    def next_due(self, channel: str) -> float | None:
        """When the next one is due; None when nothing waits."""
        found = self._ask(f"SELECT min(o.due) {_FIRST}", channel)
        return None if found[0][0] is None else float(found[0][0])

    def stale(self, channel: str, before: float, limit: int) -> list[Outgoing]:
        """Those that have waited since then or longer, and for which no other channel stands in."""
        return self._all(self._ask(_STALE, channel, before, limit))

    def oldest(self, channel: str) -> float | None:
        """Since when the one waits that waits for longest without another channel standing in."""
        sql = "SELECT min(created) FROM outbox WHERE state = 'waiting' AND channel = ? AND NOT passed_on"
        found = self._ask(sql, channel)
        return None if found[0][0] is None else float(found[0][0])

    def waiting(self) -> dict[str, int]:
        """How many wait, by channel."""
        found = self._ask("SELECT channel, count(*) FROM outbox WHERE state = 'waiting' GROUP BY channel")
        return {str(channel): int(count) for channel, count in found}

    def counts(self) -> dict[str, int]:
        """How many there are in each state."""
        return {str(state): int(count) for state, count in self._ask("SELECT state, count(*) FROM outbox GROUP BY 1")}

    def waits_for(self, incident: str) -> frozenset[str]:
        """The channels that have something still to tell of this incident."""
        sql = "SELECT DISTINCT channel FROM outbox WHERE state = 'waiting' AND incident = ?"
        return frozenset(str(channel) for (channel,) in self._ask(sql, incident))

    def untried(self, what: str) -> frozenset[str]:
        """The channels for which a notice of this sort waits for its first attempt."""
        sql = "SELECT DISTINCT channel FROM outbox WHERE state = 'waiting' AND what = ? AND attempts = 0"
        return frozenset(str(channel) for (channel,) in self._ask(sql, what))

    def of(self, incident: str) -> list[Outgoing]:
        """Who was told what of an incident, and who is to be: oldest first."""
        sql = f"SELECT {_COLUMNS} FROM outbox AS o WHERE o.incident = ? ORDER BY o.id"  # noqa: S608 -- names of our own fields
        return self._all(self._ask(sql, incident))

    def _all(self, found: Iterable[Any]) -> list[Outgoing]:
        return self._sound("outbox", (rows.outgoing(row) for row in found))


def hasten(db: sqlite3.Connection, channel: str, now: float) -> int:
    """A channel works again: what waits for it is due."""
    return db.execute(_HASTEN, (now, channel, now)).rowcount


def bring_down(db: sqlite3.Connection, quota: int, now: float) -> int:
    """No more than `quota` shall wait: the oldest of resolved incidents go first. Returns how many went."""
    (count,) = db.execute("SELECT count(*) FROM outbox WHERE state = 'waiting'").fetchone()
    return db.execute(_DROP, (now, count - quota)).rowcount if count > quota else 0
