"""What did the daemon do, one line an event? `what key=value …` on stderr, redacted, and never in the daemon's way.

Under systemd each line begins with its priority (`<4>`), else with time and level. The same `what` is said ten times at
once and then once a minute, with how many were left out. A reader that hangs or is gone costs lines, never a wait.
"""

from __future__ import annotations

import enum
import json
import os
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TextIO

from probes.redact import scrub

Fact = str | int | float | bool | BaseException | list[str] | tuple[str, ...] | None
"""What a line can tell. None is left out; an exception tells its message."""

BURST = 10
REFILL_S = 60.0
TELLING, TELLING_BURST = ("incident.", "notice."), 200
"""What a log is read for is said even on a day when everything breaks."""
LONGEST_VALUE = 600
LONGEST_LINE = 3500
"""Bytes. What is shorter than a page goes into a pipe as a whole or not at all, beside other writers too."""
_BARE = re.compile(r"[\w.,:;/+@%*?!()\[\]{}<>|~^&$#-]+")


class Priority(enum.IntEnum):
    """The levels of syslog(3) that posagent has."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


class Journal:
    """The log of one process. Every method may be called from every thread and raises nothing."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        env: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Write to `stream` (stderr). `env` tells whether it is systemd's journal."""
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._handle = _handle_of(self._stream)
        self._for_journal = _is_journal(self._handle, env.get("JOURNAL_STREAM", ""))
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._allowances: dict[str, _Allowance] = {}
        self._lost = 0

    def say(self, priority: int, what: str, /, **facts: Fact) -> None:
        """One event, such as `say(Priority.WARNING, "incident.opened", cause="lan.cable_unplugged")`."""
        with self._lock:
            allowance = self._allowances.get(what) or self._allowances.setdefault(what, _Allowance(_burst(what)))
            if not allowance.grants(self._clock()):
                return
            counted: dict[str, Fact] = {"suppressed": allowance.take_suppressed() or None, "lost": self._lost or None}
            if self._write(self._line(priority, what, facts | counted)):
                self._lost = 0
            else:
                self._lost += 1

    def close(self) -> None:
        """Say what was left out and never told; the last thing a daemon does."""
        with self._lock:
            for what, allowance in self._allowances.items():
                left_out = allowance.take_suppressed()
                if left_out:
                    self._write(self._line(Priority.INFO, what, {"suppressed": left_out}))

    def _line(self, priority: int, what: str, facts: Mapping[str, Fact]) -> bytes:
        told = [f"{key}={_told(value)}" for key, value in facts.items() if value is not None]
        text = scrub(" ".join([what, *told]))
        if self._for_journal:
            head = f"<{int(priority)}>"
        else:
            stamp = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
            head = f"{stamp.replace('+00:00', 'Z')} {_level(priority)} "
        line = (head + text).encode("utf-8", "backslashreplace")
        return (line if len(line) <= LONGEST_LINE else _cut(line)) + b"\n"

    def _write(self, line: bytes) -> bool:
        if self._stream is None:  # whoever started us closed it
            return False
        try:
            if self._handle is None:
                self._stream.write(line.decode())
                self._stream.flush()
                return True
            if not _takes(self._handle):
                return False
            return os.write(self._handle, line) == len(line)
        except (OSError, ValueError):  # closed, a pipe without a reader, a full disk
            return False


def _burst(what: str) -> int:
    return TELLING_BURST if what.startswith(TELLING) else BURST


class _Allowance:
    """How often one thing may still be said."""

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._left = float(burst)
        self._asked: float | None = None
        self._suppressed = 0

    def grants(self, moment: float) -> bool:
        """Whether it may be said now; if not, it is counted."""
        if self._asked is not None:
            self._left = min(self._burst, self._left + max(0.0, moment - self._asked) * self._burst / BURST / REFILL_S)
        self._asked = moment
        if self._left < 1:
            self._suppressed += 1
            return False
        self._left -= 1
        return True

    def take_suppressed(self) -> int:
        """How many were left out since this was last asked."""
        count, self._suppressed = self._suppressed, 0
        return count


def _told(value: Fact) -> str:
    """A value as one word, quoted where it is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3f}"
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    text = scrub(text[:LONGEST_VALUE], cut=True) + "…" if len(text) > LONGEST_VALUE else scrub(text)
    if _BARE.fullmatch(text):
        return text
    printable = "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)
    return json.dumps(printable, ensure_ascii=False)


def _level(priority: int) -> str:
    try:
        return Priority(priority).name.lower()
    except ValueError:
        return str(int(priority))


def _cut(line: bytes) -> bytes:
    """The beginning, without a letter that was cut in two or a number that was cut short."""
    return (scrub(line[: LONGEST_LINE - 4].decode("utf-8", "ignore"), cut=True) + "…").encode()


def _handle_of(stream: TextIO | None) -> int | None:
    """The number behind a stream, so that no buffer holds a line back; None where there is none."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _is_journal(handle: int | None, told: str) -> bool:
    """Whether the handle is the very socket that systemd named: a shell's `2>file` inherits the name only."""
    if handle is None or not told:
        return False
    try:
        seen = os.fstat(handle)
    except OSError:
        return False
    return told == f"{seen.st_dev}:{seen.st_ino}"


def _takes(handle: int) -> bool:
    """Whether a short line goes in at once. A reader that stopped reading is no reason to stop looking at a till."""
    poller = select.poll()
    poller.register(handle, select.POLLOUT)
    return any(events & select.POLLOUT and not events & select.POLLNVAL for _number, events in poller.poll(0))
