"""When is it time for an examination, and who takes it? A thread of its own, so that the daemon never waits.

The first follows a suspicion at once, further ones come every `retry_interval` until nothing is in doubt; what stays in
doubt for long is examined less and less often. The first pause is counted from the begin of the look that raised the
doubt to the end of the second examination: then three looks have seen the same for `retry_interval`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.examination import Findings, Recent, examine

if TYPE_CHECKING:
    from agent.texts import Language
    from probes.model import Memory, Probe

GATHER_S = 0.2
"""What goes wrong together is examined together."""
BREATH_S = 2.0
"""The least time from one to the next where `retry_interval` is longer: what comes and goes is no reason to run."""
HURRIED_S = 1.0
"""The least time from one to the next while the kernel has ever more to tell."""
HEAD_START = 0.2
"""The part of the first pause that the second examination may take up, if the first one took so long: not more, for
a service that restarts must be seen well again."""
PATIENT_AFTER, SLOWEST_S = 6, 60.0
"""Examinations in a row after which the next ones come at growing distances, and the largest distance."""
LONGEST_S = 20.0
"""No examination takes longer; one probe's own time-out may be shorter or longer than that of another."""

Answer = Callable[["Findings | Exception"], None]


@dataclass
class Examiner:
    """Takes one examination at a time. `answer` is called from its thread with the findings, or with what failed."""

    answer: Answer
    language: Language
    retry: float
    _due: float | None = None
    _in_a_row: int = 0
    _began: float = float("-inf")
    _since: float | None = None
    _counts_from: float = float("-inf")
    _took: float = 0.0
    _running: bool = False
    _valid: bool = True

    def doubt(self, began: float) -> None:
        """A look that began then is what raises the doubt, if nothing was in doubt already."""
        if self._since is None:
            self._since = began

    def wish(self, now: float) -> None:
        """Something is in doubt."""
        if self._due is not None or self._running:
            return
        if not self._in_a_row:
            self._due = max(now + GATHER_S, self._began + min(self.retry, BREATH_S))
        elif self._in_a_row == 1:
            self._due = max(now, self._counts_from + self.retry - min(self._took, HEAD_START * self.retry))
        else:
            self._due = max(now + GATHER_S, self._began + self._distance())

    def hurry(self, now: float) -> None:
        """The kernel noticed something: whatever was waited for is different now. A flood of it puts nothing off."""
        self._in_a_row, self._since = 0, None
        soon = max(now + GATHER_S, self._began + HURRIED_S)
        self._due = soon if self._due is None else min(self._due, soon)

    def settle(self) -> None:
        """Nothing is in doubt any more."""
        self._due, self._since, self._in_a_row = None, None, 0

    def _distance(self) -> float:
        grown = self.retry * 2.0 ** min(10, max(0, self._in_a_row - PATIENT_AFTER))
        return max(self.retry, min(SLOWEST_S, grown))

    def wait(self, now: float) -> float | None:
        """Seconds until the next examination; None while none is wished for or one is running."""
        return None if self._due is None or self._running else max(0.0, self._due - now)

    def begin(self, probes: Sequence[Probe], memories: Mapping[str, Memory], recent: Recent, now: float) -> None:
        """Examine these now."""
        self._note_begin(now)
        work = threading.Thread(
            target=self._examine, args=(probes, memories, recent), name="posagent-examine", daemon=True
        )
        try:
            work.start()
        except RuntimeError as error:  # a limit on processes
            self.answer(error)

    def _note_begin(self, now: float) -> None:
        self._counts_from = now if self._since is None else min(now, max(self._since, now - self.retry))
        self._due, self._since, self._began = None, None, now
        self._running, self._valid = True, True
        self._in_a_row += 1

    def void(self) -> None:
        """Other probes are watched from now on: what is found out by the examination under way explains nothing."""
        self._valid = False

    def done(self) -> bool:
        """Its answer was taken in. Whether what it explains is still asked for."""
        self._running = False
        return self._valid

    def _examine(self, probes: Sequence[Probe], memories: Mapping[str, Memory], recent: Recent) -> None:
        began = time.monotonic()
        ends = began + min(LONGEST_S, 2.0 + 2 * max((probe.timeout for probe in probes), default=3.0))
        try:
            found: Findings | Exception = examine(probes, memories, self.language, ends=ends, recent=recent)
        except Exception as error:  # noqa: BLE001 -- told by the daemon; the next examination is tried all the same
            found = error
        self._took = time.monotonic() - began
        self.answer(found)
