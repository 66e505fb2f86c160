"""Is there room left to record a sale, and may it be written?"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, mounts
from probes.model import Impact, Kind, Measurement, Memory, Observation, PathText, Percent, Settings, fail, ok, warn


class DiskSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file system, named by any path on it."""

    path: Annotated[PathText, Meta(description="any path on the file system")] = "/"
    min_free: Annotated[Percent, Meta(description="percent of the space that must be free for ordinary users")] = 10
    min_inodes: Annotated[Percent, Meta(description="percent of the inodes that must be free")] = 5


class Reading(msgspec.Struct, frozen=True):
    """What statvfs and the mount table said. Sizes in bytes."""

    absent: bool = False
    total: int = 0
    free: int = 0
    inodes: int = 0
    inodes_free: int = 0
    read_only: bool = False
    filesystem: str = ""
    mountpoint: str = ""


def read(settings: DiskSettings, host: Host) -> Reading:
    """Ask the kernel, in a child thread's stead that a hung network mount cannot take along."""
    path = host.path(settings.path)
    mount = mounts.of(host, settings.path)
    usage = mounts.usage(host, path)
    if usage is None:
        return Reading(absent=True)
    return Reading(
        total=usage.f_blocks * usage.f_frsize,
        free=usage.f_bavail * usage.f_frsize,
        inodes=usage.f_files,
        inodes_free=usage.f_favail,
        read_only=mounts.is_read_only(usage),
        filesystem=mount.filesystem,
        mountpoint=mount.point,
    )


def judge(settings: DiskSettings, reading: Reading, _memory: Memory) -> Observation:
    """Full below 1 %, low below `min_free`; file systems without inodes have none to run out of."""
    if reading.absent:
        return fail("disk.absent", {"path": settings.path})
    free = 100 * reading.free / reading.total if reading.total else 0.0
    facts: dict[str, Measurement] = {
        "path": settings.path,
        "mountpoint": reading.mountpoint,
        "filesystem": reading.filesystem,
        "free_bytes": reading.free,
        "total_bytes": reading.total,
        "free_percent": round(free, 1),
        "min_free_percent": settings.min_free,
    }
    if reading.inodes:
        facts["inodes_free_percent"] = round(100 * reading.inodes_free / reading.inodes, 1)
    if reading.read_only:
        return fail("disk.read_only", facts)
    if reading.free == 0 or free < min(1.0, settings.min_free):
        return fail("disk.full", facts)
    if reading.inodes and 100 * reading.inodes_free / reading.inodes < settings.min_inodes:
        status = fail if reading.inodes_free == 0 else warn
        return status("disk.inodes", facts)
    if free < settings.min_free:
        return warn("disk.low", facts)
    return ok(facts)


KIND = Kind(
    name="disk",
    summary="free space, free inodes and read-only state of a file system",
    settings=DiskSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.path,
    impact=Impact.DEGRADE,
    reasons={
        "disk.full": "less than 1 % is free: nothing more can be recorded",
        "disk.low": "less than `min_free` is free",
        "disk.inodes": "fewer inodes than `min_inodes` are free: no new file can be made, whatever space is left",
        "disk.read_only": "mounted read-only, as the kernel does after an I/O error",
        "disk.absent": "there is no such path",
    },
)
