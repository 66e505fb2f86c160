"""disk: room left, inodes left, read-only, absent; which mount a path lies on."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.disk import KIND, DiskSettings, Reading
from probes.host import Host, mounts
from probes.model import Memory, OutOfTime, Status, Unsupported

GIB = 1 << 30
TILL = """\
21 26 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
24 26 0:23 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=401000k
26 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
30 26 8:3 / /data rw,relatime - ext4 /dev/sda3 ro
31 26 8:4 / /mnt/stick\\040one rw - vfat /dev/sdb1 rw,iocharset=utf8
32 26 8:5 / /srv/pos/log rw - ext4 /dev/sda5 rw
33 26 8:6 / /srv rw - ext4 /dev/sda6 rw
34 33 8:7 / /srv/pos rw - xfs /dev/sda7 rw
35 34 0:40 / /srv/pos rw - tmpfs none rw
"""
KIOSK = """\
20 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/image,upperdir=/mnt/rw/upper,workdir=/mnt/rw/work
21 20 7:0 / /image ro - squashfs /dev/loop0 ro
"""
SANDBOX = """\
40 39 8:2 / / ro,nosuid,relatime - ext4 /dev/sda2 rw,errors=remount-ro
41 40 8:3 / /data ro,nosuid,relatime - ext4 /dev/sda3 ro,errors=remount-ro
42 40 8:2 /var/lib/posagent /var/lib/posagent rw,nosuid,relatime - ext4 /dev/sda2 rw,errors=remount-ro
"""
CHROOT = "40 7 0:3 / /proc rw - proc proc rw\n41 7 0:4 / /dev rw - tmpfs dev rw\n"
Tree = Callable[[dict[str, str]], Host]


def judge(reading: Reading, memory: Memory | None = None, **settings: float) -> tuple[Status, str]:
    observation = KIND.judge(DiskSettings(kind="disk", **settings), reading, memory or {})
    return observation.status, observation.reason


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        pytest.param(Reading(total=100, free=50, inodes=100, inodes_free=50), (Status.OK, "ok"), id="half full"),
        pytest.param(Reading(total=100, free=10), (Status.OK, "ok"), id="exactly what is wanted"),
        pytest.param(Reading(total=100, free=9, inodes=100, inodes_free=50), (Status.WARN, "disk.low"), id="9 percent"),
        pytest.param(Reading(total=1000, free=9), (Status.FAIL, "disk.full"), id="under one percent"),
        pytest.param(Reading(total=4000 * GIB, free=20 * GIB), (Status.WARN, "disk.low"), id="1 % of a large disk"),
        pytest.param(Reading(total=100, free=0), (Status.FAIL, "disk.full"), id="nothing left"),
        pytest.param(
            Reading(total=100, free=50, inodes=100, inodes_free=0), (Status.FAIL, "disk.inodes"), id="no inode"
        ),
        pytest.param(
            Reading(total=100, free=50, inodes=100, inodes_free=4), (Status.WARN, "disk.inodes"), id="few inodes"
        ),
        pytest.param(Reading(total=100, free=50, inodes=0), (Status.OK, "ok"), id="btrfs counts no inodes"),
        pytest.param(Reading(total=100, free=50, read_only=True), (Status.FAIL, "disk.read_only"), id="read-only"),
        pytest.param(
            Reading(total=100, free=0, read_only=True, filesystem="squashfs"), (Status.OK, "ok"), id="a kiosk's image"
        ),
        pytest.param(Reading(absent=True), (Status.FAIL, "disk.absent"), id="absent"),
    ],
)
def test_each_state_of_a_disk_has_its_own_reason(reading: Reading, expected: tuple[Status, str]) -> None:
    assert judge(reading) == expected


def test_read_only_on_purpose_is_well() -> None:
    assert judge(Reading(total=100, free=50, read_only=True), writable=False) == (Status.OK, "ok")


def test_evidence_says_when_it_was_the_kernel_that_made_it_read_only() -> None:
    reading = Reading(total=100, free=50, read_only=True, by_the_kernel=True)
    observation = KIND.judge(DiskSettings(kind="disk"), reading, {})
    assert observation.evidence == ("made read-only by the kernel, though mounted for writing",)


def test_a_sandbox_that_shows_all_as_read_only_takes_nobody_in(tree: Tree) -> None:
    """As a service under ProtectSystem=strict sees it: only what a file system says of itself counts."""
    host = tree({"/proc/self/mountinfo": SANDBOX, "/var/lib/pos/x": "", "/data/x": ""})
    assert not KIND.read(DiskSettings(kind="disk", path="/"), host).read_only
    assert not KIND.read(DiskSettings(kind="disk", path="/var/lib/pos"), host).read_only
    reading = KIND.read(DiskSettings(kind="disk", path="/data"), host)
    assert (reading.read_only, reading.by_the_kernel) == (True, None)
    observation = KIND.judge(DiskSettings(kind="disk", path="/data"), reading, {})
    assert observation.evidence == ("mounted so, or made so by the kernel after an error: `dmesg` tells",)


def test_this_machines_root_is_measured(host: Host) -> None:
    reading = KIND.read(DiskSettings(kind="disk", path="/"), host)
    assert reading.total > 0
    assert reading.mountpoint == "/"
    assert reading.filesystem


def test_a_link_is_followed_to_the_file_system_it_leads_to(host: Host, tmp_path: Path) -> None:
    link = tmp_path / "sales"
    link.symlink_to("/dev/shm")
    assert KIND.read(DiskSettings(kind="disk", path=str(link)), host).mountpoint == "/dev/shm"


@pytest.mark.parametrize("path", ["/no/such/place", "/etc/passwd/below-a-file"])
def test_a_path_that_does_not_exist_is_absent_not_a_crash(host: Host, path: str) -> None:
    assert KIND.read(DiskSettings(kind="disk", path=path), host).absent


def test_a_file_system_without_a_size_is_unsupported(host: Host) -> None:
    with pytest.raises(Unsupported, match="proc at /proc does not tell its size"):
        KIND.read(DiskSettings(kind="disk", path="/proc"), host)


@pytest.mark.parametrize("code", [errno.ENOTCONN, errno.ESTALE, errno.EIO])
def test_a_mount_whose_server_died_is_absent(host: Host, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def gone(_path: object) -> None:
        raise OSError(code, "gone")

    monkeypatch.setattr("os.statvfs", gone)
    reading = KIND.read(DiskSettings(kind="disk", path="/mnt"), host)
    assert reading.absent
    assert reading.error


@pytest.mark.parametrize("path", ["data", "./x", "/a\0b"])
def test_only_an_absolute_path_means_the_same_everywhere(path: str) -> None:
    assert list(KIND.problems(DiskSettings(kind="disk", path=path))) == [("path", "expected an absolute path")]


@pytest.mark.parametrize(
    ("table", "path", "point", "filesystem"),
    [
        (TILL, "/", "/", "ext4"),
        (TILL, "/home/pos", "/", "ext4"),
        (TILL, "/run/user", "/run", "tmpfs"),
        (TILL, "/running", "/", "ext4"),
        (TILL, "/data/", "/data", "ext4"),
        (TILL, "/mnt/stick one/x", "/mnt/stick one", "vfat"),
        (TILL, "/srv/pos", "/srv/pos", "tmpfs"),
        # 32 lies under the later mount on /srv, and under the two on /srv/pos: nobody can get there any more.
        (TILL, "/srv/pos/log", "/srv/pos", "tmpfs"),
        (KIOSK, "/var/lib/pos", "/", "overlay"),
        (KIOSK, "/image/etc", "/image", "squashfs"),
        (CHROOT, "/dev/null", "/dev", "tmpfs"),
        (CHROOT, "/etc", "", ""),
        ("", "/", "", ""),
    ],
)
def test_the_mount_of_a_path_is_the_one_the_kernel_would_walk_into(
    tree: Tree, table: str, path: str, point: str, filesystem: str
) -> None:
    mount = mounts.of(mounts.table(tree({"/proc/self/mountinfo": table})), path)
    assert (mount.point, mount.filesystem) == (point, filesystem)


@given(st.text(max_size=300) | st.lists(st.sampled_from(TILL.split(" "))).map(" ".join))
def test_any_mount_table_is_read_without_falling_over(text: str) -> None:
    for line in text.split("\n"):
        mount = mounts._parse(line)
        assert mount is None or isinstance(mount.point, str)


def test_a_hung_file_system_costs_the_deadline_once_and_one_thread_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    asked: list[object] = []

    def hang(path: object) -> None:
        asked.append(path)
        release.wait(20)
        raise FileNotFoundError

    monkeypatch.setattr("os.statvfs", hang)
    try:
        for _look in range(3):
            begin = time.monotonic()
            with pytest.raises(OutOfTime, match="does not answer"):
                mounts.usage(Host(ends=begin + 0.2), "/srv/dead")
            assert 0.15 < time.monotonic() - begin < 1
        assert len(asked) == 1
    finally:
        release.set()
    assert mounts.usage(Host(ends=time.monotonic() + 5), "/srv/dead") is None
