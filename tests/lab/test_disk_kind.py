"""disk and its mounts on real file systems: full, out of inodes, failed by the kernel, overlaid, hung."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.disk import KIND, DiskSettings
from probes.host import Host, command, hanging, mounts
from probes.model import Observation, OutOfTime
from tests.lab.dead_server import dead_mount


def sh(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout.strip()


def look(path: Path, **settings: float) -> Observation:
    ready = DiskSettings(kind="disk", path=str(path), **settings)
    return KIND.judge(ready, KIND.read(ready, Host(ends=time.monotonic() + 3)), {})


@contextlib.contextmanager
def ext4(tmp_path: Path, megabytes: int = 16, inodes: int = 64) -> Iterator[tuple[Path, str]]:
    """A small real ext4 on a loop device: its mount point and device."""
    image, point = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    point.mkdir()
    sh("mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), str(image))
    sh("mount", "-o", "loop,errors=remount-ro", str(image), str(point))
    device = Path(sh("findmnt", "-no", "SOURCE", str(point))).name
    try:
        yield point, device
    finally:
        sh("umount", "-l", str(point))


def test_a_full_disk(tmp_path: Path) -> None:
    with ext4(tmp_path) as (point, _device):
        assert look(point, min_free=5).reason == "ok"
        with contextlib.suppress(OSError), (point / "sales").open("wb", buffering=0) as file:
            while file.write(b"x" * 65536):
                pass
        assert look(point).reason == "disk.full"


def test_a_disk_without_inodes(tmp_path: Path) -> None:
    with ext4(tmp_path) as (point, _device):
        with contextlib.suppress(OSError):
            for number in range(200):
                (point / str(number)).touch()
        assert look(point).reason == "disk.inodes"


def test_a_disk_that_the_kernel_made_read_only_after_an_error(tmp_path: Path) -> None:
    with ext4(tmp_path) as (point, device):
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("made by the lab\n")
        seen = look(point)
        with pytest.raises(OSError, match="Read-only"):
            (point / "sale").touch()
        assert seen.reason == "disk.read_only"
        assert seen.evidence == ("made read-only by the kernel, though mounted for writing",)


def test_a_disk_mounted_read_only(tmp_path: Path) -> None:
    with ext4(tmp_path) as (point, _device):
        sh("mount", "-o", "remount,ro", str(point))
        assert (look(point).reason, look(point).evidence) == ("disk.read_only", ("mounted so",))
        assert look(point, writable=False).reason == "ok"


def test_an_overlay_root_whose_writable_layer_failed(tmp_path: Path) -> None:
    with ext4(tmp_path) as (disk, device):
        lower, upper, work, merged = tmp_path / "lower", disk / "upper", disk / "work", tmp_path / "merged"
        for directory in (lower, upper, work, merged):
            directory.mkdir()
        sh("mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "none", str(merged))
        try:
            seen = look(merged, min_free=5)
            assert (seen.reason, seen.measurements["filesystem"]) == ("ok", "overlay")
            assert seen.measurements["mountpoint"] == str(merged)
            Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("made by the lab\n")
            assert look(merged).reason == "disk.read_only"
        finally:
            sh("umount", "-l", str(merged))


def test_a_hung_mount_costs_its_probe_the_deadline_and_nobody_else_anything(tmp_path: Path) -> None:
    with dead_mount(tmp_path / "dead") as dead:
        for _look in range(2):
            begin = time.monotonic()
            with pytest.raises(OutOfTime, match="does not answer"):
                mounts.usage(Host(ends=begin + 0.5), str(dead))
            assert time.monotonic() - begin < 0.8
            assert look(Path("/")).measurements["total_bytes"]
        assert sum("the file system of" in name for name in hanging.left_behind()) == 1
    seen = look(tmp_path / "dead")
    assert seen.measurements["mountpoint"] != str(dead)


def test_a_mount_whose_server_died_is_absent(tmp_path: Path) -> None:
    with dead_mount(tmp_path / "dead", gone=True) as dead:
        seen = look(dead)
        assert (seen.reason, seen.evidence) == ("disk.absent", ("Transport endpoint is not connected",))


def test_a_program_on_a_hung_mount_does_not_stop_the_interpreter(tmp_path: Path) -> None:
    """Starting a child by vfork would hold every thread of this process while exec waits."""
    with dead_mount(tmp_path / "dead") as dead:
        begin = time.monotonic()
        with pytest.raises(OutOfTime, match="could not even be started"):
            command.run(Host(ends=begin + 0.5), [str(dead / "check_load")])
        assert time.monotonic() - begin < 0.8
