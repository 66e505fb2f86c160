"""What is there to see? The newest report in both languages, handed from the loop to whoever looks. Thread-safe."""

from __future__ import annotations

import hashlib
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from agent.texts import Language

TRIES, ANSWER_S = 4, 0.25
"""How often a report is asked for in another language, and for how long each time: meanwhile there may be a new one."""
STUCK_S = 30.0
"""The loop comes round every five seconds: one that did not for so long stands still."""
WORTH_ZIPPING = 500


class Content:
    """Something to be read: bytes, their type, and a name for just these bytes."""

    def __init__(self, data: bytes, type: str) -> None:
        self.data, self.type = data, type
        self.etag = f'W/"{hashlib.sha256(data).hexdigest()[:20]}"'
        """Weak: zipped and plain are the same to whoever asks again."""
        self._zipped: bytes | None = None

    @property
    def zipped(self) -> bytes | None:
        """As gzip; None where that saves nothing."""
        if self._zipped is None and len(self.data) >= WORTH_ZIPPING:
            zipper = zlib.compressobj(6, zlib.DEFLATED, 31)
            self._zipped = zipper.compress(self.data) + zipper.flush()
        return self._zipped


class _Facts(msgspec.Struct):
    """What of a report decides how it is handed out."""

    seq: int
    generated_at: str
    valid_until: datetime


class Served(Content):
    """A report as it is handed out."""

    def __init__(self, language: Language, encoded: bytes) -> None:
        super().__init__(encoded, "application/json")
        facts = msgspec.json.decode(encoded, type=_Facts)
        self.language: Language = language
        self._seq, self._at = facts.seq, facts.generated_at
        self.valid_until = facts.valid_until.timestamp()

    def is_also(self, other: Served) -> bool:
        """Are they one report, perhaps in two languages? Where no state can be kept every number is 0."""
        return (self._seq or self._at) == (other._seq or other._at)

    def is_before(self, other: Served) -> bool:
        """Is it older? By its number and by the clock: a lost state file begins anew with 1, and a clock may be set."""
        return 0 < self._seq < other._seq and self._at < other._at


class Sight:
    """What the page shows. `want` is called from its threads: somebody shall `put` the report in this language."""

    def __init__(self, want: Callable[[Language], None]) -> None:
        self._want = want
        self._changed = threading.Condition()
        self._asking = threading.Lock()
        self._served: dict[str, Served] = {}
        self._newest: Served | None = None
        self.counts: Mapping[str, float] = {}
        """What the agent counts of its own; replaced as a whole."""
        self.beat = time.monotonic()
        """When the loop last came round."""

    def put(self, language: Language, encoded: bytes) -> None:
        """Here is a report: a new one, or what `want` asked for, which may have been overtaken by a newer one."""
        served = Served(language, encoded)
        with self._changed:
            if self._newest is not None and served.is_before(self._newest):
                return
            if self._newest is None or self._newest.language == language or not served.is_also(self._newest):
                self._newest = served
            self._served[language] = served
            self._changed.notify_all()

    def take(self, language: Language | None = None) -> Served | None:
        """The newest report, if need be in another language than wished; None before the first."""
        newest = self._newest
        if language is None or newest is None or newest.language == language:
            return newest
        for _ in range(TRIES):
            with self._asking:  # several readers want the same: it is said once
                if self._current(language) is None:
                    self._want(language)
            with self._changed:
                if self._changed.wait_for(lambda: self._current(language) is not None, ANSWER_S):
                    break
        return self._current(language) or self._newest

    def _current(self, language: Language) -> Served | None:
        found, newest = self._served.get(language), self._newest
        return found if found is not None and newest is not None and found.is_also(newest) else None

    def trouble(self, wall: float, now: float) -> str:
        """Why nobody should rely on what is shown; empty: the agent is well, whatever is wrong with the till."""
        if now - self.beat > STUCK_S:
            return f"the main loop has stood still for {now - self.beat:.0f} s"
        newest = self._newest
        if newest is None:
            return "no report yet"
        if wall > newest.valid_until:
            return f"the report has been stale for {wall - newest.valid_until:.0f} s"
        return ""
