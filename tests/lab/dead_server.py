"""A file system whose server never answers, made from /dev/fuse alone: what a dead NFS server does to its callers."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

MNT_DETACH = 2


@contextlib.contextmanager
def dead_mount(point: Path, *, gone: bool = False) -> Iterator[Path]:
    """Mount it; whoever touches it waits until the end of this block, or with `gone` hears ENOTCONN at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    point.mkdir(parents=True, exist_ok=True)
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"dead-server", str(point).encode(), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount")
        if gone:
            os.close(descriptor)
            descriptor = -1
        try:
            yield point
        finally:
            libc.umount2(str(point).encode(), MNT_DETACH)
    finally:
        if descriptor >= 0:
            os.close(descriptor)  # the last one to close it ends every waiting call with ENOTCONN
