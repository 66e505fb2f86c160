"""cpu: the queue for the processors, relative to how many there are, or to a container's share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from probes.cpu import KIND, CpuSettings, Reading
from probes.host import Host
from probes.host.capacity import Quota
from probes.model import Memory, Observation, Status, Unsupported

Tree = Callable[[dict[str, str]], Host]


def look(host: Host, memory: Memory | None = None) -> Observation:
    settings = CpuSettings(kind="cpu")
    return KIND.judge(settings, KIND.read(settings, host), memory or {})


def judge(reading: Reading, memory: Memory | None = None) -> Observation:
    return KIND.judge(CpuSettings(kind="cpu"), reading, memory or {})


def test_this_machine_has_a_load(host: Host) -> None:
    seen = look(host)
    assert seen.measurements["cores"]
    assert "load1" in seen.measurements


@pytest.mark.parametrize(
    ("load1", "cores", "expected"),
    [
        (0.5, 4, (Status.OK, "ok")),
        (4.0, 4, (Status.OK, "ok")),
        (7.9, 4, (Status.OK, "ok")),
        (8.0, 4, (Status.WARN, "cpu.overloaded")),
        (16.0, 4, (Status.FAIL, "cpu.overloaded")),
        (4.0, 1, (Status.FAIL, "cpu.overloaded")),
    ],
)
def test_the_same_load_means_more_on_fewer_cores(load1: float, cores: float, expected: tuple[Status, str]) -> None:
    seen = judge(Reading(now=1, cores=cores, load=(load1, 1, 1)))
    assert (seen.status, seen.reason) == expected


@pytest.mark.parametrize(("pressure", "status"), [(0.0, Status.OK), (9.9, Status.OK), (60.0, Status.FAIL)])
def test_programs_that_wait_for_disks_are_no_overload(pressure: float, status: Status) -> None:
    seen = judge(Reading(now=1, cores=2, load=(20, 1, 1), pressure=pressure))
    assert seen.status is status
    assert bool(seen.evidence) is (status is Status.OK)


def test_a_recorded_machine_is_read(tree: Tree) -> None:
    seen = look(
        tree(
            {
                "/proc/loadavg": "9.00 4.00 2.00 9/312 4711\n",
                "/sys/devices/system/cpu/online": "0-1,3\n",
                "/proc/pressure/cpu": "some avg10=80.00 avg60=71.50 avg300=9.00 total=1\nfull avg10=0.00 avg60=0.00\n",
            }
        )
    )
    assert (seen.status, seen.measurements) == (
        Status.WARN,
        {"cores": 3.0, "pressure_percent": 71.5, "load1": 9.0, "load5": 4.0, "load15": 2.0, "load_percent": 300.0},
    )


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(
            {
                "/sys/fs/cgroup/cpu.max": "50000 100000\n",
                "/sys/fs/cgroup/cpu.stat": "usage_usec 30000000\nnr_periods 100\nnr_throttled 90\n",
            },
            id="version 2",
        ),
        pytest.param(
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "/sys/fs/cgroup/cpu/cpu.stat": "nr_periods 100\nnr_throttled 90\nthrottled_time 5\n",
                "/sys/fs/cgroup/cpuacct/cpuacct.usage": "30000000000\n",
            },
            id="version 1",
        ),
    ],
)
def test_a_containers_share_is_read(tree: Tree, files: dict[str, str]) -> None:
    host = tree({"/proc/loadavg": "0.10 0.10 0.10 1/2 3\n", "/sys/devices/system/cpu/online": "0-3", **files})
    reading = KIND.read(CpuSettings(kind="cpu"), host)
    assert reading.quota == Quota(cores=0.5, used_s=30.0, periods=100, throttled=90)


@pytest.mark.parametrize("text", ["max 100000\n", "", "x", "100000 0\n"])
def test_no_share_is_no_share(tree: Tree, text: str) -> None:
    host = tree({"/proc/loadavg": "0.10 0.10 0.10 1/2 3\n", "/sys/fs/cgroup/cpu.max": text})
    assert KIND.read(CpuSettings(kind="cpu"), host).quota is None


def test_in_a_container_its_own_share_is_judged_from_look_to_look() -> None:
    first = judge(Reading(now=100, cores=4, load=(40, 40, 40), quota=Quota(0.5, 30.0, 100, 0)))
    assert first.status is Status.OK, "nothing is known before the second look"
    busy = judge(Reading(now=130, cores=4, load=(0, 0, 0), quota=Quota(0.5, 45.0, 400, 300)), first.memory)
    assert (busy.status, busy.measurements["load_percent"]) == (Status.WARN, 200.0)
    calm = judge(Reading(now=160, cores=4, load=(0, 0, 0), quota=Quota(0.5, 46.5, 700, 300)), busy.memory)
    assert (calm.status, calm.measurements["load_percent"]) == (Status.OK, 10.0)


def test_a_restart_between_two_looks_is_no_negative_load() -> None:
    memory = {"at": 9000.0, "used_s": 500.0, "periods": 9, "throttled": 9}
    assert judge(Reading(now=20, cores=4, quota=Quota(0.5, 1.0, 1, 0)), memory).measurements["load_percent"] == 0.0


def test_a_machine_without_a_load_cannot_tell(tree: Tree) -> None:
    with pytest.raises(Unsupported):
        look(tree({"/proc/version": "x"}))


def test_a_warning_may_not_come_after_the_failure() -> None:
    assert list(KIND.problems(CpuSettings(kind="cpu", warn=500))) == [("warn", "expected at most fail (400)")]
