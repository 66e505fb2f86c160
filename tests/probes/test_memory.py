"""memory: what is left, of the machine or of the container, and whether the kernel had to kill."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, capacity
from probes.memory import KIND, MemorySettings, Reading
from probes.model import Memory, Observation, Status, Unsupported

Tree = Callable[[dict[str, str]], Host]
MEMINFO = """\
MemTotal:        4000000 kB
MemFree:          100000 kB
MemAvailable:    1000000 kB
Buffers:           50000 kB
Cached:           850000 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
HugePages_Total:       0
"""


def look(host: Host, memory: Memory | None = None, **settings: float) -> Observation:
    ready = MemorySettings(kind="memory", **settings)
    return KIND.judge(ready, KIND.read(ready, host), memory or {})


def judge(reading: Reading, memory: Memory | None = None, **settings: float) -> Observation:
    return KIND.judge(MemorySettings(kind="memory", **settings), reading, memory or {})


def test_this_machine_has_memory(host: Host) -> None:
    seen = look(host, warn=100, fail=100)
    assert seen.status is Status.OK
    assert seen.measurements["total_bytes"]


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (50, (Status.OK, "ok")),
        (11, (Status.OK, "ok")),
        (10, (Status.WARN, "memory.low")),
        (4, (Status.WARN, "memory.low")),
        (3, (Status.FAIL, "memory.low")),
        (0, (Status.FAIL, "memory.low")),
    ],
)
def test_thresholds_are_percent_in_use(available: int, expected: tuple[Status, str]) -> None:
    seen = judge(Reading(total=100, available=available))
    assert (seen.status, seen.reason) == expected


def test_what_could_be_given_back_is_not_in_use(tree: Tree) -> None:
    seen = look(tree({"/proc/meminfo": MEMINFO}))
    assert seen.measurements == {
        "used_percent": 75.0,
        "available_bytes": 1024000000,
        "total_bytes": 4096000000,
        "swap_used_percent": 25.0,
    }


def test_an_old_kernel_that_does_not_say_what_is_available_is_estimated(tree: Tree) -> None:
    old = "\n".join(line for line in MEMINFO.splitlines() if "Available" not in line)
    assert look(tree({"/proc/meminfo": old})).measurements["available_bytes"] == 1024000000


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(
            {
                "/sys/fs/cgroup/memory.max": "1000000000\n",
                "/sys/fs/cgroup/memory.current": "960000000\n",
                "/sys/fs/cgroup/memory.stat": "anon 100\ninactive_file 10000000\nactive_file 5\n",
            },
            id="version 2",
        ),
        pytest.param(
            {
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000000\n",
                "/sys/fs/cgroup/memory/memory.usage_in_bytes": "960000000\n",
                "/sys/fs/cgroup/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 10000000\n",
            },
            id="version 1",
        ),
    ],
)
def test_a_containers_limit_counts_not_the_machines_memory(tree: Tree, files: dict[str, str]) -> None:
    seen = look(tree({"/proc/meminfo": MEMINFO, **files}))
    assert (seen.status, seen.reason) == (Status.WARN, "memory.low")
    assert seen.measurements["used_percent"] == 95.0
    assert seen.measurements["total_bytes"] == 1000000000
    assert seen.evidence == ("the limit is that of this container; the machine has 4096000000 bytes",)


@pytest.mark.parametrize(
    "files",
    [
        {"/sys/fs/cgroup/memory.max": "max\n"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
        {"/sys/fs/cgroup/memory.max": "99000000000\n"},
        {"/sys/fs/cgroup/system.slice/posagent.service/memory.max": "134217728\n"},
    ],
)
def test_no_limit_and_our_own_units_limit_change_nothing(tree: Tree, files: dict[str, str]) -> None:
    assert look(tree({"/proc/meminfo": MEMINFO, **files})).measurements["total_bytes"] == 4096000000


def test_a_program_killed_for_lack_of_memory_is_remembered_for_ten_minutes() -> None:
    first = judge(Reading(total=100, available=50, kills=2, uptime=1000))
    assert first.status is Status.OK, "kills from before the first look may be old"
    second = judge(Reading(total=100, available=50, kills=3, uptime=1030), first.memory)
    assert (second.status, second.reason) == (Status.WARN, "memory.low")
    third = judge(Reading(total=100, available=50, kills=3, uptime=1600), second.memory)
    assert third.evidence == ("the kernel killed a program for lack of memory 570 s ago or a little earlier",)
    assert judge(Reading(total=100, available=50, kills=3, uptime=1631), third.memory).status is Status.OK


def test_a_restart_of_the_machine_forgets_the_killing() -> None:
    memory = {"kills": 3, "killed_at": 50_000.0}
    assert judge(Reading(total=100, available=50, kills=0, uptime=20), memory).status is Status.OK


def test_a_machine_without_meminfo_cannot_tell(tree: Tree) -> None:
    with pytest.raises(Unsupported):
        look(tree({"/proc/version": "x"}))


def test_a_warning_may_not_come_after_the_failure() -> None:
    wrong = MemorySettings(kind="memory", warn=99, fail=97)
    assert list(KIND.problems(wrong)) == [("warn", "expected at most fail (97)")]


@given(
    st.text(max_size=200) | st.sampled_from(["-1", "0", "9" * 30, "max", ""]),
    st.text(max_size=200) | st.just("MemTotal: 4 kB\nMemAvailable: 999999999999 kB"),
)
def test_whatever_the_kernels_files_hold_an_answer_comes_back(
    tmp_path_factory: pytest.TempPathFactory, limit: str, meminfo: str
) -> None:
    root = tmp_path_factory.mktemp("till")
    (root / "proc").mkdir()
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "proc/meminfo").write_text(meminfo)
    for name in ("memory.max", "memory.current", "memory.stat", "cpu.max", "cpu.stat", "cpu.pressure"):
        (root / "sys/fs/cgroup" / name).write_text(limit)
    host = Host(root=root)
    seen = capacity.memory(host)
    assert seen is None or 0 <= seen.available <= seen.total
    capacity.quota(host)
    capacity.pressure(host, "cpu")
