"""Which file system is under a path, and how full is it, even when its server has hung?"""

from __future__ import annotations

import os
import re

import msgspec

from probes.host import Host, files, hanging

MISSING = (FileNotFoundError, NotADirectoryError)


class Mount(msgspec.Struct, frozen=True):
    """One line of /proc/self/mountinfo."""

    number: str = ""
    parent: str = ""
    point: str = ""
    filesystem: str = ""
    options: tuple[str, ...] = ()
    """Of this mount point; after an I/O error they still say `rw`."""
    super_options: tuple[str, ...] = ()
    """Of the file system itself, wherever it is mounted."""


class Usage(msgspec.Struct, frozen=True):
    """What statvfs said of a path, where that path lies, and whether the kernel refuses writes there."""

    stat: os.statvfs_result
    mount: Mount
    is_read_only: bool = False
    in_sandbox: bool = False
    """Whether this process sees mount points of its own, all read-only: they say nothing of those of others."""

    @property
    def by_the_kernel(self) -> bool | None:
        """Whether nobody asked for read-only: the mount point still says `rw`. None where that cannot be seen."""
        if self.is_read_only and self.in_sandbox:
            return None
        return self.is_read_only and "rw" in self.mount.options


def table(host: Host) -> list[Mount]:
    """All mounts in the kernel's order. Empty where /proc is not to be had."""
    try:
        text = files.read_bytes(host.path("/proc/self/mountinfo")).decode("utf-8", "replace")
    except OSError:
        return []
    return [mount for mount in map(_parse, text.split("\n")) if mount is not None]


def of(mounts: list[Mount], path: str) -> Mount:
    """The mount a path (absolute, without links) lies on: found as the kernel walks, from `/` down.

    A mount over a directory hides what was mounted below it before; the longest mount point would be fooled by that.
    """
    known = {mount.number for mount in mounts}
    # What hangs on nothing we can see is where a walk begins: `/`, or in a chroot whatever was mounted into it.
    above = [mount for mount in mounts if mount.parent not in known or mount.parent == mount.number]
    here = Mount()
    for _step in mounts:
        above = [mount for mount in above if (path.rstrip("/") + "/").startswith(mount.point.rstrip("/") + "/")]
        if not above:
            break
        here = min(above, key=lambda mount: len(mount.point))
        above = [mount for mount in mounts if mount.parent == here.number and mount is not here]
    return here


def usage(host: Host, path: str) -> Usage | None:
    """How full the file system of a path is; None if there is no such path.

    Raises OutOfTime when the file system hangs, OSError otherwise (ENOTCONN, EIO: its server or device is gone).
    """

    def ask() -> Usage | None:
        place = host.path(path)
        try:
            stat = os.statvfs(place)
        except MISSING:
            return None
        inside = "/" + str(place.resolve().relative_to(host.root.resolve())).lstrip("./")
        mounts = table(host)
        mount = of(mounts, inside)
        refuses = _refuses(stat, mount) or _layer_refuses(host, mounts, mount)
        return Usage(stat, mount, refuses, _in_sandbox(mounts))

    return hanging.answer(host, ("usage", str(host.root), path), ask, hanging.file_system(path))


def _refuses(stat: os.statvfs_result, mount: Mount) -> bool:
    """What the file system itself says, wherever it is mounted.

    Of the mount point it says little: a service's sandbox (ProtectSystem=strict) has all of them read-only, for that
    service alone. Since Linux 6.15 ext4 keeps its flag after an error and says `emergency_ro` instead.
    """
    if not mount.super_options:
        return bool(stat.f_flag & os.ST_RDONLY)
    return not {"ro", "emergency_ro", "shutdown"}.isdisjoint(mount.super_options)


def _in_sandbox(mounts: list[Mount]) -> bool:
    """A root that is mounted read-only though its file system is not: so does systemd's ProtectSystem=strict."""
    root = of(mounts, "/")
    return "ro" in root.options and "rw" in root.super_options


def _layer_refuses(host: Host, mounts: list[Mount], mount: Mount) -> bool:
    """An overlay stays `rw` when the file system that takes its writes does not."""
    upper = next((option[9:] for option in mount.super_options if option.startswith("upperdir=")), "")
    if mount.filesystem != "overlay" or not upper.startswith("/"):
        return False
    try:
        return _refuses(os.statvfs(host.path(upper)), of(mounts, upper))
    except OSError:
        return False  # it lies outside this container


def _parse(line: str) -> Mount | None:
    fields = line.split(" ")
    if "-" not in fields[6:]:
        return None
    dash = fields.index("-", 6)
    kind = [*fields[dash + 1 :], "", "", ""]
    return Mount(
        number=fields[0],
        parent=fields[1],
        point=_unescape(fields[4]),
        filesystem=kind[0],
        options=tuple(fields[5].split(",")),
        super_options=tuple(_unescape(option) for option in kind[2].split(",")),
    )


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-3][0-7]{2})", lambda found: chr(int(found[1], 8)), field)
