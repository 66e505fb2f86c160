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

ANSWER_S = 1.0
"""How long a reader waits for the loop to say it in another language."""
STUCK_S = 30.0
"""The loop comes round every five seconds: one that did not for so long stands still."""
DEAF_S = 10.0
"""Of a loop that did not come round for so long nothing is asked."""
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

    @property
    def mark(self) -> int | str:
        """Which report it is, in whatever language."""
        return self.seq or self.generated_at  # where no state can be kept every number is 0


class Served(Content):
    """A report as it is handed out."""

    def __init__(self, language: Language, encoded: bytes) -> None:
        super().__init__(encoded, "application/json")
        facts = msgspec.json.decode(encoded, type=_Facts)
        self.language: Language = language
        self.mark = facts.mark
        self.valid_until = facts.valid_until.timestamp()


class Sight:
    """What the page shows. `want` is called from its threads: the loop shall say the report in this language."""

    def __init__(self, want: Callable[[Language], None]) -> None:
        self._want = want
        self._changed = threading.Condition()
        self._served: dict[str, Served] = {}
        self._newest: Served | None = None
        self.counts: Mapping[str, float] = {}
        """What the agent counts of its own; replaced as a whole."""
        self.beat = time.monotonic()
        """When the loop last came round."""

    def put(self, language: Language, encoded: bytes) -> None:
        """The loop: this is the newest report."""
        served = Served(language, encoded)
        with self._changed:
            if self._newest is None or self._newest.mark != served.mark or self._newest.language == language:
                self._newest = served
            self._served[language] = served
            self._changed.notify_all()

    def take(self, language: Language | None = None) -> Served | None:
        """The newest report, if need be in another language than wished; None before the first."""
        with self._changed:
            if language is None or self._newest is None:
                return self._newest
            if self._current(language) is None and time.monotonic() - self.beat < DEAF_S:
                self._want(language)
                self._changed.wait_for(lambda: self._current(language) is not None, ANSWER_S)
            return self._current(language) or self._newest

    def _current(self, language: Language) -> Served | None:
        found = self._served.get(language)
        return found if found is not None and self._newest is not None and found.mark == self._newest.mark else None

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
