"""Has somebody else written to the state file? The kernel says so (inotify): nobody has to ask it every other second.

A technician's command writes, the daemon is to answer within a moment, and for years nobody does: most of what a
healthy till's loop did was to wake up and ask.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODIFIED, OVERFLOWN, IGNORED = 0x2, 0x4000, 0x8000
"""IN_MODIFY, IN_Q_OVERFLOW, IN_IGNORED: the last one when the directory is gone."""
HEAD = struct.Struct("=iIII")
"""Which watch, what happened, a cookie, and the length of the name that follows."""
TOGETHER_S = 0.1
"""One write to the journal of a database is many writes to a file."""


class Ear:
    """Calls `heard`, from its own thread, shortly after the file of that name was written to, by whomever."""

    def __init__(self, name: str, heard: Callable[[], None]) -> None:
        self._name, self._heard = os.fsencode(name), heard
        self._thread: threading.Thread | None = None
        self._bell = -1

    @property
    def hears(self) -> bool:
        """False: nobody can say whether somebody wrote, and it is to be asked for."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, directory: Path) -> None:
        """Listen there, if that can be done and is not done yet. Never raises for what the kernel refuses."""
        if self.hears:
            return
        self.stop()
        with contextlib.suppress(OSError, AttributeError, RuntimeError):
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            file = _watch(directory)
            thread = threading.Thread(target=self._listen, args=(file, self._bell), name="posagent-ear", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # a limit on processes
                os.close(file)
                raise
            self._thread = thread

    def stop(self) -> None:
        """Listen no more. A second call does nothing."""
        if self._bell < 0:
            return
        if self._thread is not None:
            os.eventfd_write(self._bell, 1)
            self._thread.join()
            self._thread = None
        os.close(self._bell)
        self._bell = -1

    def _listen(self, file: int, bell: int) -> None:
        poll = select.poll()
        poll.register(file, select.POLLIN)
        poll.register(bell, select.POLLIN)
        try:
            while all(number != bell for number, _ in poll.poll()):
                time.sleep(TOGETHER_S)
                wrote, over = _taken(os.read(file, 1 << 16), self._name)
                if wrote:
                    self._heard()
                if over:
                    return
        finally:
            os.close(file)


@functools.cache
def _library() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _watch(directory: Path) -> int:
    """The file descriptor to read events of a directory from. Raises OSError; AttributeError where there is no such."""
    import ctypes

    library = _library()
    file = int(library.inotify_init1(os.O_CLOEXEC))
    if file < 0 or library.inotify_add_watch(file, os.fsencode(directory), MODIFIED) < 0:
        number = ctypes.get_errno()
        if file >= 0:
            os.close(file)
        raise OSError(number, os.strerror(number), str(directory))
    return file


def _taken(events: bytes, name: bytes) -> tuple[bool, bool]:
    """Whether one of these speaks of that file, and whether nothing will be heard any more."""
    place, wrote, over = 0, False, False
    while place + HEAD.size <= len(events):
        _, what, _, length = HEAD.unpack_from(events, place)
        place += HEAD.size + length
        wrote |= bool(what & OVERFLOWN) or events[place - length : place].rstrip(b"\0") == name
        over |= bool(what & IGNORED)
    return wrote, over
