"""What stands at the end of a file that another program is writing? Only the end is read, however big the file is.

Nothing but regular files is ever opened: opening a serial port would already change its lines, and a pipe would wait.
"""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path

import msgspec

from probes.host import Host, hanging

LIMIT = 4 << 20
HEAD = 16 << 10


class NotRegular(OSError):
    """A directory, device, pipe or socket where a file was expected."""


class Piece(msgspec.Struct, frozen=True):
    """The end of one file. Raw bytes: what is kept of them must pass `probes.redact.scrub`."""

    data: bytes
    head: bytes = b""
    """The first bytes of the file where `data` does not begin with them: a table's header stands there."""
    modified: float = 0.0
    """Wall-clock time of the last write."""
    terminated: bool = True
    """Whether it ends with a line end; if not, its last line may still be in writing."""


def whole(host: Host, path: str, limit: int) -> bytes:
    """The first `limit` bytes of a regular file. Raises OSError, OutOfTime when its file system hangs."""
    place = host.path(path)

    def ask() -> bytes:
        _must_be_regular(place)
        with place.open("rb") as file:
            return file.read(limit)

    return hanging.answer(host, ("read", str(place)), ask, hanging.file_system(path))


def pieces(host: Host, pattern: str, *, limit: int = LIMIT, generations: bool = True) -> list[Piece]:
    """The ends of the newest files that fit, oldest first, `limit` bytes in all.

    A pattern with `*`, `?` or `[` names a log of one file per day or size. A plain path stands for itself and, where
    `generations`, for the one that logrotate put aside last. Raises FileNotFoundError when nothing fits.
    """

    def ask() -> list[Piece]:
        found = _newest(host, pattern, generations)
        taken: list[Piece] = []
        left = limit
        for path in found:
            if left <= 0:
                break
            piece = _end_of(path, left)
            left -= len(piece.data)
            taken.append(piece)
        return taken[::-1]

    return hanging.answer(host, ("tail", str(host.root), pattern), ask, hanging.file_system(pattern))


def _newest(host: Host, pattern: str, generations: bool) -> list[Path]:
    """Newest first. Raises FileNotFoundError."""
    place = host.path(pattern)
    if glob.has_magic(pattern):
        fitting = (path for path in host.root.glob(pattern.lstrip("/")) if path.is_file())
        found = sorted(fitting, key=_modified, reverse=True)[:3]
        if not found:
            raise FileNotFoundError(f"no file fits {pattern}")
        return found
    earlier = place.with_name(place.name + ".1")
    rotated = [earlier] if generations and earlier.is_file() else []
    if not place.exists() and rotated:
        return rotated  # between logrotate's rename and the program's next line
    _must_be_regular(place)
    return [place, *rotated]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _must_be_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotRegular(f"{path} is not a regular file")


def _end_of(path: Path, limit: int) -> Piece:
    _must_be_regular(path)
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        start = max(0, facts.st_size - limit)
        start += start % 2  # keeps the two bytes of a UTF-16 character together
        head = file.read(HEAD) if start else b""
        file.seek(start)
        data = file.read(limit)
    return Piece(data, head, facts.st_mtime, data.endswith((b"\n", b"\r", b"\n\0")) or not data)
