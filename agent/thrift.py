"""How does a process that lives for months stay small? What is free goes back, and what lives for ever is not searched.

The C library: by default each few threads get a heap of their own, blocks that were large once are kept on these heaps,
and what is free between what is in use stays; in half an hour full of faults that came to 6 MB of 14. Python: objects
that only hold each other are found when enough others were made, which on a till takes long, and the next peak then
needs one more megabyte, that is never given back.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from typing import Any

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # malloc.h
HEAPS = 1
"""Threads that wait share one well: Python runs one at a time."""
LARGE_BYTES = 128 * 1024
"""From here on a block comes from the kernel and goes back to it; saying so keeps this bound from growing."""


@functools.cache
def _library() -> Any:
    """Import ctypes where it is used: `posagent status` does not."""
    import ctypes

    return ctypes.CDLL(None)


def begin() -> None:
    """Call it before there are threads. A C library that has no such settings (musl) needs none."""
    with contextlib.suppress(AttributeError, ImportError, OSError):
        _library().mallopt(_ARENA_MAX, HEAPS)
        _library().mallopt(_MMAP_THRESHOLD, LARGE_BYTES)


def settle() -> None:
    """Look through everything once, some ten milliseconds, and set apart what is there: it is here to stay."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    _trim()


def give_back() -> None:
    """Look through what came since the last `settle`: next to nothing, where little has happened."""
    gc.collect()
    _trim()


def _trim() -> None:
    with contextlib.suppress(AttributeError, ImportError, OSError):
        _library().malloc_trim(0)
