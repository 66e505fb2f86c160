"""What do these processes cost? Processor time, memory and writes, from /proc, with all their children."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2
"""Of another process's clock: all its threads, exact where /proc/PID/stat counts hundredths of a second."""
EVERYONES = re.compile(r"/(ld-linux|libc|libm|libcrypto|liblzma)[-.0-9a-z_]*\.so")
"""Libraries that systemd maps too, so on any till: a daemon pays for its share of them, as PSS has it."""


@dataclass(frozen=True)
class Counters:
    """Running totals at a moment."""

    at: float
    cpu_s: float
    written: int


@dataclass(frozen=True)
class Cost:
    """Per hour, by what was seen in a shorter time."""

    cpu_s_per_hour: float
    pss_mb: float
    alone_mb: float
    """Memory as though no other process used its program and libraries: what shares pages here may not on a till."""
    written_kb_per_hour: float
    processes: int


def tree(roots: Iterable[int]) -> list[int]:
    """Return the processes and all that descend from them."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children[_stat(int(path.name))[0]].append(int(path.name))
    found = list(roots)
    for pid in found:
        found += children[pid]
    return found


def _stat(pid: int) -> tuple[int, float]:
    """Return the parent, and the seconds on a processor of the children it has buried."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), sum(map(int, fields[13:15])) / TICKS


def counters(roots: Iterable[int]) -> Counters:
    """Read the totals now."""
    cpu, written = 0.0, 0
    for pid in tree(roots):
        with contextlib.suppress(OSError):
            cpu += time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED) + _stat(pid)[1]
            written += _written(Path(f"/proc/{pid}/io").read_text())
    return Counters(time.monotonic(), cpu, written)


def parting_kb(process: subprocess.Popen[bytes]) -> float:
    """Tell it to stop, and return what it still writes: what it had kept in memory for later."""
    path = Path(f"/proc/{process.pid}/io")
    before = _written(path.read_text())
    process.terminate()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its counters last until it is buried
    after = _written(path.read_text())
    process.wait()
    return (after - before) / 1024


def _written(io: str) -> int:
    return int(re.findall(r"^write_bytes: (\d+)", io, re.M)[0])


def memory_mb(roots: Iterable[int]) -> tuple[float, float, int]:
    """Return PSS, the memory as though alone, both in MB, and the number of processes."""
    pss, own, files = 0, 0, defaultdict[str, int](int)
    pids = tree(roots)
    for pid in pids:
        with contextlib.suppress(OSError):
            mapped: dict[str, int] = defaultdict(int)
            for path, rss, share in mappings(Path(f"/proc/{pid}/smaps").read_text()):
                pss += share
                if path.startswith("/") and not EVERYONES.search(path):
                    mapped[path] += rss
                else:
                    own += share
            for path, rss in mapped.items():
                files[path] = max(files[path], rss)
    return pss / 1024, (own + sum(files.values())) / 1024, len(pids)


def mappings(smaps: str) -> Iterable[tuple[str, int, int]]:
    """Return path, RSS and PSS in kB of every mapping."""
    path, rss = "", 0
    for line in smaps.splitlines():
        words = line.split()
        if words[0] == "Rss:":
            rss = int(words[1])
        elif words[0] == "Pss:":
            yield path, rss, int(words[1])
        elif not words[0].endswith(":"):
            path = words[5] if len(words) > 5 else ""


def between(before: Counters, after: Counters, roots: Iterable[int]) -> Cost:
    """Return what was paid, per hour, and the memory now."""
    hours = (after.at - before.at) / 3600
    pss, alone, processes = memory_mb(roots)
    return Cost(
        (after.cpu_s - before.cpu_s) / hours, pss, alone, (after.written - before.written) / 1024 / hours, processes
    )
