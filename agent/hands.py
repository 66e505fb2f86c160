"""Can a way to people or to the centre that hangs delay anybody else? No: each has a thread of its own.

A thread does one thing at a time and tells what came of it. It comes when there is something to do and leaves when
there was nothing for long; one that hangs is left behind, and another takes its place.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from agent.outcome import Outcome, failed

DEPTH = 8
"""Jobs in its hands, so that it need not wait for whoever gives them between two."""
OVERRUN_S = 30.0
"""Beyond its own deadline an attempt has this long until it is given up and its thread left behind."""
MOST_HUNG = 2
"""Threads that may be left behind; then no more is taken until one of them ends."""
IDLE_S = 60.0

J = TypeVar("J")


class Hand(Generic[J]):
    """One thread's work. `work` is called in it; `answer` from it, or from whoever calls a method here.

    `answer` gets None for the outcome of what was not tried.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[J], Outcome],
        answer: Callable[[J, Outcome | None], None],
        timeout: float,
    ) -> None:
        self.name = name
        self.quiet = threading.Event()
        """Nothing is under way or waits to be."""
        self.quiet.set()
        self.gone = threading.Event()
        """There is no thread, but for those that were left behind."""
        self.gone.set()
        self._work, self._answer, self._timeout = work, answer, timeout
        self._changed = threading.Condition()
        self._inbox: deque[J] = deque()
        self._running: _Attempt[J] | None = None
        self._alive = False
        self._hung = 0
        self._leaving = False

    def room(self) -> int:
        """How many more jobs it takes now."""
        with self._changed:
            if self._leaving or self._hung >= MOST_HUNG:
                return 0
            return max(0, DEPTH - len(self._inbox) - (self._running is not None))

    def give(self, job: J) -> bool:
        """Do this after those given before. False: it does not take it."""
        with self._changed:
            if self._leaving or self._hung >= MOST_HUNG or len(self._inbox) >= DEPTH or not self._hire():
                return False
            self._inbox.append(job)
            self.quiet.clear()
            self._changed.notify()
        return True

    def leave(self) -> list[J]:
        """Begin nothing any more; returns what was not begun."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
            untried = self._untried()
            self._be_quiet()
            return untried

    def look_after(self, now: float) -> float:
        """Give up an attempt that hangs. Returns when this is to be called again; both are monotonic seconds."""
        with self._changed:
            one = self._running
            if one is None:
                return now + 1.0 if self._inbox else float("inf")
            if now < one.ends:
                return one.ends
            one.over = True
            self._running, self._alive = None, False
            self._hung += 1
            self.gone.set()
            self.given_up()
            self.quiet.set()
            untried = self._untried()
        self._answer(one.job, failed("no answer in time"))
        for job in untried:
            self._answer(job, None)
        return float("inf")

    def given_up(self) -> None:
        """With the lock held: a thread was left behind; the next one begins anew."""

    def farewell(self) -> None:
        """In the thread, without the lock: it is about to leave."""

    def _hire(self) -> bool:
        """With the lock held: a thread is there to work."""
        if not self._alive:
            try:
                threading.Thread(target=self._run, name=f"posagent-to-{self.name}"[:15], daemon=True).start()
            except RuntimeError:  # a limit on processes: it is tried again
                return False
            self._alive = True
            self.gone.clear()  # the thread cannot set it before: it waits for the lock
        return True

    def _untried(self) -> list[J]:
        """With the lock held: what was not begun is somebody else's again."""
        untried = list(self._inbox)
        self._inbox.clear()
        return untried

    def _run(self) -> None:
        while not (self._leaves() if (one := self._next()) is None else self._do(one)):
            pass

    def _do(self, one: _Attempt[J]) -> bool:
        """Whether this thread was left behind over it."""
        outcome = self._work(one.job)
        untried: list[J] = []
        with self._changed:
            if one.over:
                self._hung -= 1
            else:
                self._running = None
                if not outcome.ok:  # whoever gave them decides anew: they may have to wait as well
                    untried = self._untried()
        if not one.over or outcome.ok:
            self._answer(one.job, outcome)
            for job in untried:
                self._answer(job, None)
        with self._changed:
            self._be_quiet()
        return one.over

    def _be_quiet(self) -> None:
        """With the lock held, and after every answer was given."""
        if self._running is None and not self._inbox:
            self.quiet.set()

    def _next(self) -> _Attempt[J] | None:
        """The next one to do; None when there was none for long, or none is to be begun any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self._leaving, IDLE_S)
            if not self._inbox:
                return None
            self._running = _Attempt(self._inbox.popleft(), time.monotonic() + self._timeout + OVERRUN_S)
            return self._running

    def _leaves(self) -> bool:
        self.farewell()
        with self._changed:
            if self._inbox:  # given meanwhile
                return False
            self._alive = False
            self.gone.set()
            return True


class _Attempt(Generic[J]):
    """One job under way. `over`: somebody else answered for it."""

    __slots__ = ("ends", "job", "over")

    def __init__(self, job: J, ends: float) -> None:
        self.job, self.ends, self.over = job, ends, False
