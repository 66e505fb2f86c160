"""How much memory and processor time is there, and how much is in use? Of the machine, or of the container around us.

A container's limits lie at the root of the control groups it sees; the real root has none. The limits of our own
service unit are not looked at: they bound posagent, not the till.
"""

from __future__ import annotations

import os
import re

import msgspec

from probes.host import Host, files

UNLIMITED = 1 << 60
"""Version 1 writes "no limit" as a number just below 2^63."""


class Memory(msgspec.Struct, frozen=True):
    """Bytes. `limit` is the container's; `available` is what a program could still get without swapping."""

    total: int
    available: int
    limit: int | None = None
    swap_total: int = 0
    swap_free: int = 0
    kills: int = 0
    """Programs the kernel has killed for lack of memory since it started."""


class Quota(msgspec.Struct, frozen=True):
    """A container's share of the processors and what it has used of it so far."""

    cores: float
    used_s: float
    periods: int
    throttled: int


def memory(host: Host) -> Memory | None:
    """None where /proc/meminfo is not to be had."""
    lines = re.findall(r"^(\w+):\s+(\d{1,15}) kB", _text(host, "/proc/meminfo"), re.MULTILINE)
    kept = {name: int(number) * 1024 for name, number in lines}
    total = kept.get("MemTotal", 0)
    if not total:
        return None
    # Kernels before 3.14 do not say what is available.
    guess = sum(kept.get(name, 0) for name in ("MemFree", "Buffers", "Cached"))
    available = kept.get("MemAvailable", guess)
    limit, used = _memory_limit(host)
    if limit is not None and limit < total:
        available = min(available, max(0, limit - used))
    else:
        limit = None
    return Memory(
        total=total,
        available=min(available, total),
        limit=limit,
        swap_total=kept.get("SwapTotal", 0),
        swap_free=kept.get("SwapFree", 0),
        kills=_counter(_text(host, "/proc/vmstat"), "oom_kill"),
    )


def load(host: Host) -> tuple[float, float, float] | None:
    """Programs that ran or waited to run, on average over 1, 5 and 15 minutes. In a container: the whole machine's."""
    found = re.match(r"(\d{1,6}\.\d+) (\d{1,6}\.\d+) (\d{1,6}\.\d+) ", _text(host, "/proc/loadavg"))
    return (float(found[1]), float(found[2]), float(found[3])) if found else None


def cores(host: Host) -> int:
    """Processors that are switched on."""
    online = _count(_text(host, "/sys/devices/system/cpu/online"))
    return online or (os.cpu_count() or 1 if host.is_this_machine else 1)


def quota(host: Host) -> Quota | None:
    """The container's share of the processors; None where there is none."""
    limit, _space, period = _text(host, "/sys/fs/cgroup/cpu.max").strip().partition(" ")
    stat, unit = _text(host, "/sys/fs/cgroup/cpu.stat"), 1e6
    used = _counter(stat, "usage_usec")
    if not limit:
        limit = str(files.read_number(host.path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")) or "")
        period = str(files.read_number(host.path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")) or "")
        stat, unit = _text(host, "/sys/fs/cgroup/cpu/cpu.stat"), 1e9
        used = files.read_number(host.path("/sys/fs/cgroup/cpuacct/cpuacct.usage")) or 0
    if not re.fullmatch(r"\d{1,12}", limit) or not re.fullmatch(r"\d{1,12}", period) or not int(period):
        return None
    return Quota(int(limit) / int(period), used / unit, _counter(stat, "nr_periods"), _counter(stat, "nr_throttled"))


def pressure(host: Host, of: str) -> float | None:
    """Percent of the last minute in which something waited for `cpu`, `memory` or `io`; None: no such kernel."""
    text = _text(host, f"/sys/fs/cgroup/{of}.pressure") or _text(host, f"/proc/pressure/{of}")
    found = re.match(r"some avg10=\d{1,3}\.\d+ avg60=(\d{1,3}\.\d+) ", text)
    return float(found[1]) if found else None


def uptime(host: Host) -> float:
    """Seconds since the kernel started, which no clock step moves. 0 where it is not to be had."""
    found = re.match(r"(\d{1,12}\.\d+) ", _text(host, "/proc/uptime"))
    return float(found[1]) if found else 0.0


def _memory_limit(host: Host) -> tuple[int | None, int]:
    """The container's limit and what it cannot give back of what it holds."""
    for base, limit, usage, old_pages in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most = files.read_number(host.path(f"{base}/{limit}"))
        if most is not None and 0 < most < UNLIMITED:
            used = files.read_number(host.path(f"{base}/{usage}")) or 0
            return most, max(0, used - _counter(_text(host, f"{base}/memory.stat"), old_pages))
    return None, 0


def _count(cpus: str) -> int:
    """How many "0-3,6" are."""
    count = 0
    for part in cpus.strip().split(","):
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        if found:
            count += max(0, int(found[2] or found[1]) - int(found[1]) + 1)
    return count


def _counter(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\d{{1,20}})$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _text(host: Host, path: str) -> str:
    """A file of the kernel: numbers, which must not be taken for card numbers. Empty where it is not to be had."""
    try:
        return files.read_bytes(host.path(path), 65536).decode("utf-8", "replace")
    except OSError:
        return ""
