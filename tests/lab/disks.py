"""Disks that fill up, turn read-only or die, as a till's real ones do: real file systems, made for one test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from pathlib import Path
from types import TracebackType

SHUT_DOWN = 0x8004587D
"""The kernel's ioctl after which an ext4 answers every write with EIO, as on a disk that is gone."""


class Memory:
    """A disk of some kilobytes in memory, which can be full or not writable."""

    def __init__(self, place: Path, kilobytes: int) -> None:
        self.place, self._kilobytes = place, kilobytes
        self._ballast = place / "ballast"

    def __enter__(self) -> Memory:
        self.place.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._kilobytes}k", "none", str(self.place))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run("umount", "-l", str(self.place))

    def fill(self) -> None:
        """Not one byte is left."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size) == size:
                        pass
        assert os.statvfs(self.place).f_bavail == 0

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink()

    def writable(self, yes: bool) -> None:
        """Mount it anew for reading only, or for both. Nobody may have a file of it open for writing."""
        _run("mount", "-o", f"remount,{'rw' if yes else 'ro'}", str(self.place))


class Disk:
    """An ext4 on a loop device."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._images = [place.with_name(f"{place.name}-1.img")]

    def __enter__(self) -> Disk:
        self.place.mkdir(parents=True)
        with self._images[0].open("wb") as image:
            image.truncate(8 << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._images[0]))
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run("umount", "-l", str(self.place))

    def turn_read_only(self) -> None:
        """What ext4 does by itself at the first error: from now on every write is EROFS, open files or not."""
        _run("mount", "-o", "remount,abort", str(self.place))

    def die(self) -> None:
        """From now on every write is EIO."""
        handle = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUT_DOWN, struct.pack("I", 1))
        finally:
            os.close(handle)

    def mend(self) -> None:
        """A technician checks it and puts it back in its place, whoever has it open still."""
        _run("umount", "-l", str(self.place))
        self._images.append(self.place.with_name(f"{self.place.name}-{len(self._images) + 1}.img"))
        self._images[-1].write_bytes(self._images[-2].read_bytes())
        done = subprocess.run(["fsck.ext4", "-fy", self._images[-1]], capture_output=True, timeout=30, check=False)
        assert done.returncode in (0, 1), done  # 1: it mended something
        self._mount()

    def take_out(self) -> None:
        """Nobody may have a file of it open."""
        _run("umount", str(self.place))

    def put_in(self) -> None:
        """As it was."""
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._images[-1]), str(self.place))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (command, done.stderr)
