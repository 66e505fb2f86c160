"""Do the benchmarks count right? What they read off the machine, by hand-made examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.daemons import checks, cost, looks, page
from bench.daemons.icinga import plugin

SMAPS = """\
55d0c0000000-55d0c0021000 r-xp 00001000 fe:00 1234                       /usr/bin/monit
Size:                132 kB
Rss:                 100 kB
Pss:                  50 kB
Pss_Dirty:             0 kB
7f00c0000000-7f00c0021000 rw-p 00000000 00:00 0
Rss:                  40 kB
Pss:                  40 kB
VmFlags: rd wr mr mw me ac sd
"""
COST = {"cpu_s_per_hour": 1.0, "pss_mb": 20.0, "alone_mb": 25.0, "written_kb_per_hour": 100.0, "processes": 1}
LOOKS = {"looks": 1500, "missed": 0, "longest_gap_s": 31.0, "never": 0}


def test_every_mapping_is_read_with_its_file_and_its_shares() -> None:
    assert list(cost.mappings(SMAPS)) == [("/usr/bin/monit", 100, 50), ("", 40, 40)]


def test_a_process_that_worked_and_wrote_is_charged_with_its_children(tmp_path: Path) -> None:
    work = "import sys; n = sum(range(3_000_000)); print(flush=True); sys.stdin.readline()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        family = cost.tree([process.pid])
        seen = cost.counters([process.pid])
        pss, alone, processes = cost.memory_mb([process.pid])
        process.stdin.write(b"\n")
        process.stdin.close()
    assert len(family) == processes == 2
    assert 0.02 < seen.cpu_s < 20
    assert 4 < pss <= alone < 200


def test_the_last_writes_of_a_process_are_counted_before_it_is_buried(tmp_path: Path) -> None:
    file = tmp_path / "late"
    program = f"""
import signal, sys, pathlib
def end(*_):
    with open({str(file)!r}, "wb") as f:
        f.write(bytes(40960))
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print(flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        kilobytes = cost.parting_kb(process)
    if not _in_memory(tmp_path):
        assert 40 <= kilobytes <= 60
    assert file.stat().st_size == 40960


def _in_memory(path: Path) -> bool:
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout
    return kind.strip() in ("tmpfs", "ramfs")


def test_a_gap_half_an_interval_too_long_is_a_missed_look() -> None:
    assert looks.gaps_of([10.0, 40.0], 0.0, 60.0) == [10.0, 30.0, 20.0]
    assert looks.missed_in([30.0, 44.0], 30) == 0
    assert looks.missed_in([46.0], 30) == 1
    assert looks.missed_in([60.0, 100.0], 30) == 3


def test_sixteen_checks_are_sixteen_and_lots_do_not_share_an_address() -> None:
    assert len({check.name for check in checks.sixteen()}) == 16
    first, second = checks.ports(1000, 1), checks.ports(1000, 2)
    assert len({check.address for check in (*first, *second)}) == 2000
    assert (first[0].address, first[999].address, second[0].address) == ("198.18.8.1", "198.18.11.250", "198.18.16.1")


@pytest.mark.parametrize("check", checks.sixteen(), ids=lambda check: check.name)
def test_every_check_has_its_plugin(check: checks.Check) -> None:
    assert plugin(check)[0].startswith("/usr/lib/nagios/plugins/check_")


def _found(seconds: float = 20.0, missed: int = 0) -> dict[str, object]:
    daemons = {"cost": COST, "looks": {**LOOKS, "missed": missed}, "known_s": 44.0}
    size = {"count": 1000, "seconds": 60, "dead_s": 120, "well": {"posagent": daemons}, "dead": {"posagent": daemons}}
    tries = [{"fault": fault, "seconds": {"posagent": seconds, "Monit": 48.0}} for fault in ("refused", "swallowed")]
    return {
        "footprint": {"seconds": 80, "costs": {"posagent": COST, "Monit": COST}},
        "detection": tries,
        "events": {"cable": [[0.4, 0.5]], "plug": [[0.4, 0.5]]},
        "scale": [size],
    }


def test_promises_that_hold_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "versions", lambda: "monit 1")
    text, broken = page.report(_found(), quickly=False)
    assert broken == []
    assert "| posagent | 1.0 | 20.0 | 25.0 | 100 | 1 |" in text
    assert "| 1000 | a tenth dead | posagent | 1.0 | 20.0 | 25.0 | 1500 | 0 | 31 | 44 |" in text


def test_a_broken_promise_is_named_with_its_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "versions", lambda: "monit 1")
    _text, broken = page.report(_found(seconds=36.0, missed=2), quickly=False)
    assert broken == [
        "of Monit's time until a fault is known: 0.75, promised at most 0.5",
        "missed looks, 1000 probes, all well: 2.00, promised at most 0",
        "missed looks, 1000 probes, a tenth dead: 2.00, promised at most 0",
    ]
