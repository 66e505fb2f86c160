"""Which file system is under a path, and how full is it, even when its server has hung?"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec

from probes.host import Host, files
from probes.model import OutOfTime

NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs"})


class Mount(msgspec.Struct, frozen=True):
    """One line of /proc/self/mounts."""

    point: str = ""
    filesystem: str = ""
    options: tuple[str, ...] = ()


def table(host: Host) -> list[Mount]:
    """All mounts in the kernel's order. Empty where /proc is not to be had."""
    try:
        text = files.read_text(host.path("/proc/self/mounts"))
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) >= 4:
            found.append(Mount(_unescape(fields[1]), fields[2], tuple(fields[3].split(","))))
    return found


def of(host: Host, path: str) -> Mount:
    """The mount a path lies on: the longest mount point above it, the last one where several lie on each other."""
    best = Mount()
    for mount in table(host):
        above = mount.point.rstrip("/") + "/"
        if (path.rstrip("/") + "/").startswith(above) and len(mount.point) >= len(best.point):
            best = mount
    return best


def usage(host: Host, path: Path) -> os.statvfs_result | None:
    """statvfs of a path, None if it does not exist. Raises OutOfTime when the file system hangs, OSError otherwise.

    A hung NFS or FUSE mount holds its caller for ever, so the call sits in a thread of its own that can be left behind.
    """
    answer: list[os.statvfs_result | OSError] = []

    def ask() -> None:
        try:
            answer.append(os.statvfs(path))
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=ask, name=f"statvfs {path}", daemon=True)
    thread.start()
    thread.join(host.left())
    if not answer:
        raise OutOfTime(f"the file system of {path} does not answer")
    if isinstance(answer[0], FileNotFoundError):
        return None
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


def is_read_only(usage: os.statvfs_result) -> bool:
    """Whether the kernel refuses writes to the whole file system."""
    return bool(usage.f_flag & os.ST_RDONLY)


def _unescape(field: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field
