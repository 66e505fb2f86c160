"""posagent watch: every change at once, whose report it is, and a terminal that is given back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.cli.watch import changes
from tests.agent.daemons import POSAGENT, Desk, incident, probe, report

WELL, PULLED = probe("eth0", summary="eth0 is up"), probe("eth0", "fail", "interface.no_carrier", "no cable")
AT_MOST_S = 0.2


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


class Watch:
    """The running command, and all it has shown so far."""

    def __init__(self, process: subprocess.Popen[bytes], handle: int) -> None:
        self.process, self.shown, self._handle = process, "", handle

    def until(self, pattern: str, seconds: float = 15.0) -> float:
        """Read until it is shown; returns how long that took. What was shown before it no longer counts."""
        began = time.monotonic()
        while not (found := re.search(pattern, self.shown)):
            left = began + seconds - time.monotonic()
            assert left > 0, f"{pattern!r} is not in {self.shown[-3000:]!r}"
            if select.select([self._handle], [], [], left)[0]:
                self.shown += os.read(self._handle, 1 << 16).decode(errors="replace")
        self.shown = self.shown[found.end() :]
        return time.monotonic() - began

    def end(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextmanager
def watching(desk: Desk, *words: str, terminal: bool = False, **env: str) -> Iterator[Watch]:
    if terminal:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    else:
        ours, theirs = os.pipe()
    process = subprocess.Popen(
        [POSAGENT, "watch", *words],
        env=desk.env | {"TERM": "xterm-256color"} | env,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    try:
        yield Watch(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)


def test_a_pipe_gets_one_line_per_change(desk: Desk) -> None:
    with desk.daemon(), watching(desk) as watch:
        desk.write(report(WELL))
        watch.until(r"\d\d:\d\d:\d\d  READY: cards can be taken\n")
        desk.write(report(WELL))
        desk.write(report(PULLED, payments="down"))
        watch.until(r"\A\d\d:\d\d:\d\d  DOWN: cards cannot be taken\n\d\d:\d\d:\d\d  eth0  ok → FAIL: no cable\n")
        desk.write(report(PULLED, payments="down", incidents=[incident("261122-ABCD", "No cable", time.time())]))
        watch.until(r"\A\S+  incident 261122-ABCD opened: No cable\n")
        desk.write(report(WELL))
        watch.until(r"\A\S+  READY\N*\n\S+  eth0  FAIL → ok: eth0 is up\n\S+  incident 261122-ABCD is over: No cable\n"
                    .replace(r"\N", "[^\n]"))  # fmt: skip
        assert watch.end() == 0


def test_a_terminal_shows_a_change_within_a_fifth_of_a_second(desk: Desk) -> None:
    desk.write(report(WELL))
    with desk.daemon(), watching(desk, terminal=True) as watch:
        watch.until("report of ")
        took = []
        for turn in range(6):
            time.sleep(0.15 + 0.07 * turn)
            desk.write(report(PULLED if turn % 2 == 0 else WELL, payments="down" if turn % 2 == 0 else "ready"))
            took.append(watch.until(r"eth0  ok → FAIL: no cable" if turn % 2 == 0 else r"eth0  FAIL → ok: eth0 is up"))
            watch.shown = ""
        assert statistics.median(took) <= AT_MOST_S, took
        assert watch.end() == 0


def test_what_changed_is_marked_and_the_age_grows(desk: Desk) -> None:
    desk.write(report(WELL, probe("disk")))
    with desk.daemon(), watching(desk, terminal=True) as watch:
        watch.until("report of 0")
        watch.until("report of 2 s ago")
        desk.write(report(PULLED, probe("disk"), payments="down"))
        watch.until(r"\x1b\[7meth0 ◂")
        watch.until(r"disk   ")
        assert "disk ◂" not in watch.shown
        assert watch.end() == 0


def test_the_terminal_is_given_back_as_it_was(desk: Desk) -> None:
    desk.write(report(WELL))
    with desk.daemon(), watching(desk, terminal=True) as watch:
        watch.until(r"\x1b\[\?1049h")
        watch.until("READY")
        watch.process.send_signal(signal.SIGINT)
        watch.until(r"\x1b\[\?1049l", 5)
        assert watch.process.wait(5) == 0


def test_without_a_daemon_it_says_so_and_looks_by_itself_and_follows_the_daemon_once_it_is_there(desk: Desk) -> None:
    with watching(desk) as watch:
        watch.until(r"NO DAEMON: there is no report at \S+/state/health.json; looking from here every 2 s\n")
        watch.until(r"UNKNOWN: no fault found")
        desk.config.unlink()  # the configuration was read: what is done to it now does not end a watch
        with desk.daemon():
            desk.write(report(WELL))
            watch.until(r"the daemon renews its report: following it\n\S+  READY: cards can be taken\n")
        watch.until(r"NO DAEMON: `posagent run` has ended; this report is \S+ s old and nobody renews it; looking from")
        assert watch.end() == 0


def test_looks_of_its_own_see_what_changes_every_two_seconds(desk: Desk, tmp_path: Path) -> None:
    desk.config.write_text(f'[probes.log]\nkind = "age"\npath = "{tmp_path}/log"\nmax_age = "1h"\n')
    with watching(desk) as watch:
        watch.until(r"log  FAIL: ")
        (tmp_path / "log").write_text("")
        assert watch.until(r"log  FAIL → ok: ") < 5
        assert watch.end() == 0


def test_a_report_of_one_look_is_renewed_by_nobody(desk: Desk) -> None:
    desk.write(report(WELL, agent={"mode": "check", "problems": [], "language": "en"}))
    with watching(desk) as watch:
        watch.until(r"NO DAEMON: the report is of one look and nobody renews it; looking from here every 2 s")
        assert watch.end() == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"agent": 5}', "\x00"])
def test_whatever_lies_where_the_report_should_be_is_no_reason_to_end(desk: Desk, content: str) -> None:
    (desk.state / "health.json").write_text(content)
    with desk.daemon(), watching(desk) as watch:
        watch.until(r"health.json cannot be read or is no report; looking from here every 2 s")
        desk.write(report(WELL))
        watch.until(r"following it")
        assert watch.end() == 0


def test_a_stale_report_is_called_stale(desk: Desk) -> None:
    desk.write(report(WELL, valid_until="2026-01-01T00:00:00.000Z"))
    with desk.daemon(), watching(desk, "--lang", "zh-CN") as watch:
        watch.until("已过期：此报告已失效 .*代理程序未运行或无法写入；由此命令每 2 秒检测一次")
        assert watch.end() == 0


def test_a_wrong_configuration_ends_it_where_it_must_look_by_itself(desk: Desk) -> None:
    desk.config.write_text("[probes.disk]\nkind = 5\n")
    with watching(desk, terminal=True) as watch:
        watch.until("probes.disk.kind: ")
        assert watch.process.wait(10) == 78


def test_a_reader_that_stops_reading_ends_it_quietly(desk: Desk) -> None:
    desk.write(report(WELL))
    line = f"{POSAGENT} watch | head -1"
    with desk.daemon():
        process = subprocess.Popen(["sh", "-c", line], env=desk.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout
        assert b"READY" in process.stdout.readline()
        desk.write(report(PULLED, payments="down"))
        out, _err = process.communicate(timeout=10)
    assert out == b""


def test_a_sleeping_screen_costs_next_to_nothing(desk: Desk) -> None:
    desk.write(report(*(probe(f"probe{number}") for number in range(30))))
    with desk.daemon(), watching(desk, terminal=True) as watch:
        watch.until("report of ")
        before = _cpu(watch.process.pid)
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            watch.until("report of ")
        used = _cpu(watch.process.pid) - before
        assert watch.end() == 0
    assert used < 0.15 * 4, f"{used:.2f} s of CPU in 4 s"


def _cpu(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_a_device_cannot_move_the_cursor_of_who_watches(desk: Desk) -> None:
    with desk.daemon(), watching(desk) as watch:
        desk.write(report(probe("usb", "fail", "usb.absent", "\x1b]0;evil\x07"), payments="down"))
        watch.until(r"usb  FAIL: \?\]0;evil\?\n")
        assert "\x1b" not in watch.shown
        assert watch.end() == 0


def test_between_a_daemon_and_a_look_of_our_own_no_incident_begins_or_ends() -> None:
    theirs = report(PULLED, payments="down", incidents=[incident("a", "No cable", 0.0)])
    ours = report(PULLED, payments="down", agent={"mode": "check", "problems": []})
    assert list(changes(theirs, ours, "en")) == []
    assert list(changes(ours, theirs, "en")) == []


def test_a_probe_that_is_new_is_told_only_where_it_is_in_trouble() -> None:
    found = list(changes(report(WELL), report(WELL, probe("a"), probe("b", "warn", "disk.low", "nearly full")), "en"))
    assert found == [("b", "warn: nearly full")]
    assert list(changes(report(WELL, probe("a")), report(WELL), "en")) == []
