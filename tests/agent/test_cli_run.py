"""posagent run, and the commands that read what it leaves: a real daemon, a real fault, its end and its repair."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.daemons import POSAGENT, Desk

CONFIG = """
[web]
listen = ""  # another test's daemon may have the usual port
[schedule]
retry_interval = "1s"
[report]
heartbeat = "10s"
[probes.log]
kind = "age"
path = "{log}"
max_age = "1h"
impact = "stop"
interval = "1s"
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path, CONFIG.format(log=tmp_path / "log"))
    (tmp_path / "log").write_text("")
    return desk


@contextmanager
def running(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [POSAGENT, "run"], env=desk.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for((desk.state / "health.json").exists, process)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(is_so: Callable[[], object], process: subprocess.Popen[str], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.1)


def posagent(desk: Desk, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([POSAGENT, *words], env=desk.env, capture_output=True, text=True, timeout=30, check=False)


def test_a_fault_is_an_incident_in_status_incidents_and_history_and_its_repair_closes_it(
    desk: Desk, tmp_path: Path
) -> None:
    with running(desk) as daemon:
        assert "report of " in posagent(desk, "status").stdout.splitlines()[-1]
        assert posagent(desk, "incidents").stdout == "no incident on record\n"
        (tmp_path / "log").unlink()
        wait_for(lambda: json.loads(posagent(desk, "incidents", "--json").stdout), daemon)
        wait_for(lambda: "Open incidents" in posagent(desk, "status").stdout, daemon)
        (listed,) = json.loads(posagent(desk, "incidents", "--json").stdout)
        assert (listed["state"], listed["probes"]) == ("open", ["log"])
        assert listed["id"] in posagent(desk, "status").stdout
        assert "age.absent" in posagent(desk, "incidents", listed["id"]).stdout
        (tmp_path / "log").write_text("")
        wait_for(lambda: json.loads(posagent(desk, "incidents", "--json").stdout)[0]["state"] == "resolved", daemon)
        wait_for(lambda: "Open incidents" not in posagent(desk, "status").stdout, daemon)
        transitions = json.loads(posagent(desk, "history", "--json", "--probe", "log").stdout)["transitions"]
        assert [each["new"] for each in transitions][:2] == ["ok", "fail"]
        daemon.send_signal(signal.SIGTERM)
        out, err = daemon.communicate(timeout=5)
        assert (daemon.returncode, out) == (0, "")
        assert re.search(r"^\S+Z notice agent\.started ", err, re.M)
        assert len(err.splitlines()) < 20, err


def test_watch_follows_a_real_daemon(desk: Desk, tmp_path: Path) -> None:
    with (
        running(desk) as daemon,
        subprocess.Popen([POSAGENT, "watch"], env=desk.env, stdout=subprocess.PIPE, text=True) as watch,
    ):
        assert watch.stdout
        assert "UNKNOWN" in watch.stdout.readline()
        (tmp_path / "log").unlink()
        lines = [watch.stdout.readline(), watch.stdout.readline()]
        assert any(re.search(r"  log  ok → FAIL: ", line) for line in lines), lines
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) == 0
        assert daemon.poll() is None


def test_a_good_configuration_is_taken_and_a_bad_one_is_refused_with_the_reason(desk: Desk) -> None:
    none = posagent(desk, "reload")
    assert (none.returncode, none.stdout) == (3, "")
    assert "cannot reload: no daemon holds" in none.stderr
    with running(desk) as daemon:
        more = '[probes.disk]\nkind = "disk"\nmin_free = 0\nmin_inodes = 0\ninterval = "1s"\n'
        desk.config.write_text(desk.config.read_text() + more)
        done = posagent(desk, "reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "the new configuration is in force (probes: 2)\n"
        good = desk.config.read_text()
        desk.config.write_text(good + "[probes.x]\nkind = 5\n")
        done = posagent(desk, "reload")
        assert (done.returncode, done.stdout) == (78, "")
        assert "probes.x.kind: " in done.stderr
        assert done.stderr.endswith("posagent: not reloaded; the daemon goes on with what it has\n")
        daemon.send_signal(signal.SIGHUP)  # as who does not ask beforehand
        wait_for(lambda: "posagent itself" in posagent(desk, "status").stdout, daemon)
        said = posagent(desk, "status").stdout
        assert said.count("probes.x.kind") >= 2, "among the problems and among what happened"
        wait_for(lambda: re.search(r"^ok +disk ", posagent(desk, "status").stdout, re.M), daemon)  # the old one holds
        desk.config.write_text(good)
        assert posagent(desk, "reload").returncode == 0
        wait_for(lambda: "posagent itself" not in posagent(desk, "status").stdout, daemon)
        other = desk.config.with_name("other.toml")
        other.write_text(desk.config.read_text() + "# another\n")
        done = posagent(desk, "reload", "--config", str(other))
        assert (done.returncode, done.stdout.splitlines()[-1][:34]) == (0, "but the daemon reads another file ")


def test_a_daemon_that_was_killed_is_said_to_be_gone_and_a_second_one_is_refused(desk: Desk) -> None:
    with running(desk) as daemon:
        second = posagent(desk, "run")
        assert (second.returncode, second.stdout) == (75, "")
        assert f"process id {daemon.pid}" in second.stderr
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        last = posagent(desk, "status").stdout.splitlines()[-1]
        assert last.startswith("NO DAEMON: `posagent run` has ended; this report is ")
    with running(desk) as daemon:
        wait_for(lambda: "posagent crashed or was killed" in posagent(desk, "history").stdout, daemon)
        wait_for(lambda: "posagent crashed or was killed" in posagent(desk, "status").stdout, daemon)


def test_a_wrong_configuration_starts_no_daemon(desk: Desk) -> None:
    desk.config.write_text("[probes.log]\nkind = 5\n[schedule]\ninterval = 0\n")
    done = posagent(desk, "run")
    assert (done.returncode, done.stdout) == (78, "")
    assert "probes.log.kind: " in done.stderr
    assert "schedule.interval: " in done.stderr
    assert not (desk.state / "daemon.lock").exists()


@pytest.mark.parametrize("redirection", [">&- 2>&-", "</dev/null >/dev/full 2>/dev/full"])
def test_a_daemon_without_anybody_to_talk_to_runs_and_stops(desk: Desk, redirection: str) -> None:
    process = subprocess.Popen(["sh", "-c", f"exec {POSAGENT} run {redirection}"], env=desk.env, text=True)
    try:
        wait_for((desk.state / "health.json").exists, process)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
