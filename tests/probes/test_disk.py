"""disk: room left, inodes left, read-only, absent, hung."""

from __future__ import annotations

import pytest

from probes.disk import KIND, DiskSettings, Reading
from probes.host import Host
from probes.model import Status

GIB = 1 << 30


def judge(reading: Reading, **settings: float) -> tuple[Status, str]:
    observation = KIND.judge(DiskSettings(kind="disk", **settings), reading, {})
    return observation.status, observation.reason


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        pytest.param(Reading(total=100, free=50, inodes=100, inodes_free=50), (Status.OK, "ok"), id="half full"),
        pytest.param(Reading(total=100, free=9, inodes=100, inodes_free=50), (Status.WARN, "disk.low"), id="9 percent"),
        pytest.param(Reading(total=1000, free=9), (Status.FAIL, "disk.full"), id="under one percent"),
        pytest.param(Reading(total=100, free=0), (Status.FAIL, "disk.full"), id="nothing left"),
        pytest.param(
            Reading(total=100, free=50, inodes=100, inodes_free=0), (Status.FAIL, "disk.inodes"), id="no inode"
        ),
        pytest.param(Reading(total=100, free=50, inodes=0), (Status.OK, "ok"), id="btrfs counts no inodes"),
        pytest.param(Reading(total=100, free=50, read_only=True), (Status.FAIL, "disk.read_only"), id="read-only"),
        pytest.param(Reading(absent=True), (Status.FAIL, "disk.absent"), id="absent"),
    ],
)
def test_each_state_of_a_disk_has_its_own_reason(reading: Reading, expected: tuple[Status, str]) -> None:
    assert judge(reading) == expected


def test_this_machines_root_is_measured(host: Host) -> None:
    reading = KIND.read(DiskSettings(kind="disk", path="/"), host)
    assert reading.total > 0
    assert reading.mountpoint == "/"
    assert reading.filesystem


def test_a_path_that_does_not_exist_is_absent_not_a_crash(host: Host) -> None:
    assert KIND.read(DiskSettings(kind="disk", path="/no/such/place"), host).absent
