"""How does a process that lives for months stay small? The C library's heap is told what a till can spare.

Every probe may look in a thread of its own. By default each few threads get a heap of their own, blocks that were large
once are kept on these heaps, and between what is still in use the rest stays: 4 MB in half an hour full of faults.
"""

from __future__ import annotations

import contextlib
import functools
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


def give_back() -> None:
    """What is free goes back to the kernel: some microseconds where there is little."""
    with contextlib.suppress(AttributeError, ImportError, OSError):
        _library().malloc_trim(0)
