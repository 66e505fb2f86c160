"""What does a small file of the kernel or the POS software say? Never more than asked for, never card data."""

from __future__ import annotations

import os
from pathlib import Path

from probes.redact import scrub

LIMIT = 1 << 20
PIECE, MORE = 4096, 1 << 16
"""What is read at first, and then at least: memory for a megabyte is a mapping made and unmade for nothing."""


def read_text(path: Path, limit: int = LIMIT) -> str:
    """The first `limit` bytes as text, bad UTF-8 replaced, card data masked. Raises OSError."""
    read = read_bytes(path, limit)
    return scrub(read.decode("utf-8", "replace"), cut=len(read) == limit)


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """The first `limit` bytes. Raises OSError. A till has hundreds of processes: no file object is made for each."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(handle, min(limit, PIECE))
        while content and len(content) < limit:
            piece = os.read(handle, min(limit - len(content), max(MORE, len(content))))
            if not piece:
                break
            content += piece
        return content
    finally:
        os.close(handle)


def read_word(path: Path) -> str | None:
    """A one-line attribute of /sys or /proc, stripped; None where it is absent or the driver refuses to say."""
    try:
        return read_bytes(path, 4096).decode("utf-8", "replace").strip()
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """A one-number attribute of /sys or /proc; None where it is absent, refused or no number."""
    word = read_word(path)
    try:
        return int(word) if word else None
    except ValueError:
        return None


def names(directory: Path) -> list[str]:
    """Entries of a directory in order; empty where it is absent or unreadable."""
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []
