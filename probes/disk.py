"""Is there room left to record a sale, and may it be written?"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, mounts
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    Observation,
    PathText,
    Percent,
    Settings,
    Unsupported,
    fail,
    ok,
    warn,
)
from probes.redact import scrub

IMAGES = frozenset({"squashfs", "erofs", "iso9660", "cramfs", "romfs"})
"""Always full and never writable: what a kiosk boots from."""
GONE = frozenset({errno.ENOTCONN, errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN})
"""How a mount answers whose server or device is away."""
ROOMY_BYTES = 1_000_000_000
"""One percent of a large disk is still room for a day's sales."""
BY_WHOM = {
    True: "made read-only by the kernel, though mounted for writing",
    False: "mounted so",
    None: "mounted so, or made so by the kernel after an error: `dmesg` tells",
}


class DiskSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file system, named by any path on it."""

    path: Annotated[PathText, Meta(description="any path on the file system")] = "/"
    min_free: Annotated[Percent, Meta(description="percent of the space that must be free for ordinary users")] = 10
    min_inodes: Annotated[Percent, Meta(description="percent of the inodes that must be free")] = 5
    writable: Annotated[bool, Meta(description="false: read-only is as it should be, as on a kiosk image")] = True


class Reading(msgspec.Struct, frozen=True):
    """What statvfs and the mount table said. Sizes in bytes."""

    absent: bool = False
    error: str = ""
    total: int = 0
    free: int = 0
    inodes: int = 0
    inodes_free: int = 0
    read_only: bool = False
    by_the_kernel: bool | None = False
    """None: it cannot be told from in here."""
    filesystem: str = ""
    mountpoint: str = ""


def problems(settings: DiskSettings) -> Iterator[tuple[str, str]]:
    """A relative path would mean something else in every shell."""
    if not settings.path.startswith("/") or "\0" in settings.path:
        yield "path", "expected an absolute path"


def read(settings: DiskSettings, host: Host) -> Reading:
    """Ask the kernel, in a child thread's stead that a hung network mount cannot take along."""
    try:
        usage = mounts.usage(host, settings.path)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return Reading(absent=True, error=os.strerror(error.errno or 0))
    if usage is None:
        return Reading(absent=True)
    stat = usage.stat
    if not stat.f_blocks and not usage.is_read_only:
        filesystem = usage.mount.filesystem or "-"
        raise Unsupported(
            f"{filesystem} at {settings.path} does not tell its size",
            why="size_untold",
            filesystem=filesystem,
            path=settings.path,
        )
    return Reading(
        total=stat.f_blocks * stat.f_frsize,
        free=stat.f_bavail * stat.f_frsize,
        inodes=stat.f_files,
        inodes_free=stat.f_favail,
        read_only=usage.is_read_only,
        by_the_kernel=usage.by_the_kernel,
        filesystem=scrub(usage.mount.filesystem),
        mountpoint=scrub(usage.mount.point),
    )


def judge(settings: DiskSettings, reading: Reading, _memory: Memory) -> Observation:
    """Read-only first; then full, inodes, low. File systems without inodes have none to run out of."""
    if reading.absent:
        return fail("disk.absent", {"path": settings.path}, reading.error or "no such path")
    facts = _facts(settings, reading)
    if reading.filesystem in IMAGES or (reading.read_only and not settings.writable):
        return ok(facts)
    if reading.read_only:
        return fail("disk.read_only", facts, BY_WHOM[reading.by_the_kernel])
    return _room(settings, reading, facts)


def _room(settings: DiskSettings, reading: Reading, facts: dict[str, Measurement]) -> Observation:
    free = 100 * reading.free / reading.total if reading.total else 0.0
    if reading.free == 0 or (free < min(1.0, settings.min_free) and reading.free < ROOMY_BYTES):
        return fail("disk.full", facts)
    if reading.inodes and 100 * reading.inodes_free / reading.inodes < settings.min_inodes:
        status = fail if reading.inodes_free == 0 else warn
        return status("disk.inodes", facts)
    if free < settings.min_free:
        return warn("disk.low", facts)
    return ok(facts)


def _facts(settings: DiskSettings, reading: Reading) -> dict[str, Measurement]:
    facts: dict[str, Measurement] = {
        "path": settings.path,
        "mountpoint": reading.mountpoint,
        "filesystem": reading.filesystem,
        "free_bytes": reading.free,
        "total_bytes": reading.total,
        "free_percent": round(100 * reading.free / reading.total, 1) if reading.total else 0.0,
        "min_free_percent": settings.min_free,
        "read_only": reading.read_only,
    }
    if reading.inodes:
        facts["inodes_free_percent"] = round(100 * reading.inodes_free / reading.inodes, 1)
    return facts


KIND = Kind(
    name="disk",
    summary="free space, free inodes and read-only state of a file system",
    settings=DiskSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.path,
    impact=Impact.DEGRADE,
    problems=problems,
    reasons={
        "disk.full": "less than 1 % (and less than 1 GB) is free: soon nothing more can be recorded",
        "disk.low": "less than `min_free` is free",
        "disk.inodes": "fewer inodes than `min_inodes` are free: no new file can be made, whatever space is left",
        "disk.read_only": "mounted read-only, as the kernel does after an I/O error",
        "disk.absent": "there is no such path, or the server or device behind it is gone",
    },
)
