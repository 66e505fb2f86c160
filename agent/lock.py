"""Is another daemon keeping its state here already? Held for as long as this one lives, and gone with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 0.3


class AlreadyRunning(Exception):
    """Another daemon has this state directory."""


@contextlib.contextmanager
def lock(place: str | None) -> Iterator[None]:
    """Lock the state directory; `daemon.lock` in it says which process has it. Without a directory there is no lock.

    Raises AlreadyRunning.
    """
    handle = -1
    if place:
        with contextlib.suppress(OSError):  # a full or read-only disk; the daemon runs on in memory
            Path(place).mkdir(parents=True, exist_ok=True, mode=0o750)
            handle = os.open(f"{place}/daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        if handle >= 0:
            _claim(handle, place or "")
        yield
    finally:
        if handle >= 0:
            os.close(handle)


def _locked(handle: int) -> bool:
    """Try for a moment: whoever only asks whether a daemon lives holds the lock for microseconds."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends:
                return False
            time.sleep(0.02)
        except OSError:  # a file system that knows no locks
            return True
        else:
            return True


def _claim(handle: int, place: str) -> None:
    if not _locked(handle):
        holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
        raise AlreadyRunning(
            f"cannot start: the daemon with process id {holder} keeps its state in {place}; "
            "stop it first (`systemctl stop posagent`), or set $STATE_DIRECTORY"
        )
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
