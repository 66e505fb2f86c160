"""What waits for the centre? Questions to the file; it is filled and emptied by batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from agent.store import rows
from agent.store.words import Kept

if TYPE_CHECKING:
    from agent.store.outbox import Ask


class Parcels:
    """Reports and news of incidents that the centre has not got yet. Every method raises StoreError."""

    def __init__(self, ask: Ask, sound: Callable[[str, Iterable[Kept | None]], list[Kept]]) -> None:
        self._ask, self._sound = ask, sound

    def index(self) -> list[Kept]:
        """All of them, in the order in which they came, without their bodies."""
        found = self._ask("SELECT key, kind, seq, at, changed, ways FROM parcel ORDER BY id")
        return self._sound("parcel", (rows.kept(row) for row in found))

    def body(self, key: str) -> bytes | None:
        """The gzipped JSON of one; None where there is none."""
        found = self._ask("SELECT body FROM parcel WHERE key = ?", key)
        return found[0][0] if found and isinstance(found[0][0], bytes) else None
