"""The file for node_exporter: whole or old, readable by others, and a problem where it cannot be written."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from agent.textfile import Textfile
from tests.agent.test_metrics import probe, report


def encoded(seq: int = 1, probes: int = 1) -> bytes:
    return json.dumps(report(seq=seq, probes=[probe(f"p{n}") for n in range(probes)])).encode()


def test_the_file_is_what_the_report_says_and_nothing_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "posagent.prom"
    textfile = Textfile(str(path))
    assert textfile.write(encoded(7))
    assert textfile.problems() == []
    text = path.read_text()
    assert "posagent_report_seq 7.0\n" in text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert not [name for name in names if name.startswith("process_") or name == "posagent_time_seconds"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["posagent.prom"]


def test_the_mode_is_the_same_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Textfile(str(tmp_path / "posagent.prom")).write(encoded())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "posagent.prom").stat().st_mode) == 0o644


def test_it_holds_what_the_report_says_and_no_counter_that_no_report_tells(tmp_path: Path) -> None:
    path = tmp_path / "posagent.prom"
    assert Textfile(str(path)).write(encoded())
    names = {line.partition("{")[0].partition(" ")[0] for line in path.read_text().splitlines() if line[0] != "#"}
    assert {"posagent_outbox_waiting", "posagent_reports_dropped_total"} <= names
    missing = {"posagent_notices_delivered_total", "posagent_reports_pushed_total", "posagent_time_seconds"}
    assert not missing & names
    assert not [name for name in names if name.startswith("process_")]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "posagent.prom"
    textfile = Textfile(str(path))
    textfile.write(encoded(1, probes=200))
    torn: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            text = path.read_text()
            if text.count("posagent_probe_status{") != 200 or "posagent_reports_dropped_total 3.0\n" not in text:
                torn.append(text)

    reader = threading.Thread(target=look)
    reader.start()
    for seq in range(2, 30):
        assert textfile.write(encoded(seq, probes=200))
    stop.set()
    reader.join(10)
    assert torn == []


def test_a_directory_that_is_not_there_is_one_clear_problem_until_it_is(tmp_path: Path) -> None:
    path = tmp_path / "collector" / "posagent.prom"
    textfile = Textfile(str(path))
    for _ in range(3):
        assert not textfile.write(encoded())
    (problem,) = textfile.problems()
    assert str(path) in problem
    assert "No such file or directory" in problem
    assert "report.textfile" in problem
    path.parent.mkdir()
    assert textfile.write(encoded())
    assert textfile.problems() == []


def test_what_a_kill_left_behind_and_a_trap_in_its_place_do_not_matter(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    left = tmp_path / ".posagent.prom.new"
    left.symlink_to(victim)
    path = tmp_path / "posagent.prom"
    assert Textfile(str(path)).write(encoded())
    assert victim.read_text() == "mine"
    assert not left.exists() and not left.is_symlink()
    assert not path.is_symlink()


def test_the_old_file_stands_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "posagent.prom"
    textfile = Textfile(str(path))
    textfile.write(encoded(1))
    blocked = tmp_path / ".posagent.prom.new"
    blocked.mkdir()
    assert not textfile.write(encoded(2))
    assert "posagent_report_seq 1.0\n" in path.read_text()
    assert len(textfile.problems()) == 1
    blocked.rmdir()
    assert textfile.write(encoded(3))
    assert "posagent_report_seq 3.0\n" in path.read_text()
