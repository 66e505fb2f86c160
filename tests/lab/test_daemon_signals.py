"""Does the daemon do what it is told? SIGHUP with good and bad files, a hundred of them; SIGTERM at any moment; only one.

What was known before a reload is known after it: incidents, tracks and the rhythm of the looks.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.daemon import POSAGENT, Till, events, incident_of, probe_of

pytestmark = pytest.mark.lab
SEED = 20261122
LATE_S = 3.0
"""Looks that are due every second are never further apart than this, on a machine that is busy with other tests, too."""


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    with Till(tmp_path / "till") as made:
        for name in ("bad", "good", "later"):
            made.watch(name)
        made.tell("bad", "fail")
        yield made


def sha(till: Till) -> object:
    return till.until(lambda said: True)["config_sha256"]


def gaps(till: Till, name: str, since: float) -> float:
    """The longest time in which nobody looked."""
    looks = [since, *(at for at in till.looks(name) if at >= since), time.monotonic()]
    return max(after - before for before, after in pairwise(looks))


def test_a_good_new_configuration_takes_effect_and_what_is_known_stays(till: Till) -> None:
    till.begin()
    bad = till.until_incident("bad")
    began, before = time.monotonic(), sha(till)
    till.watch("fresh")
    del till.probes["later"]
    till.write_config()
    till.signal(signal.SIGHUP)
    report = till.until(lambda said: said["config_sha256"] != before and len(said["probes"]) == 3, "the new probes", 5)
    assert {each["name"] for each in report["probes"]} == {"bad", "good", "fresh"}
    report = till.until(lambda said: events(said, "reloaded"))
    assert incident_of(report, "bad") == bad
    assert probe_of(report, "bad")["since"] <= bad["opened_at"], "since when, it knows still"
    time.sleep(2)
    assert gaps(till, "good", began) < LATE_S
    gone = till.looks("later")
    time.sleep(1.5)
    assert till.looks("later") == gone
    assert till.until(lambda said: True)["incidents"] == [bad]


BROKEN = {
    "no TOML": "[probes",
    "unknown kind": '[probes.x]\nkind = "teleport"\n',
    "wrong value": '[schedule]\ninterval = "soon"\n',
    "binary": "\0\1\2",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_bad_new_configuration_changes_nothing_and_is_told(till: Till, text: str) -> None:
    till.begin()
    bad = till.until_incident("bad")
    began, before = time.monotonic(), sha(till)
    good = till.config.read_text()
    till.write_config(text)
    till.signal(signal.SIGHUP)
    assert "the old one" in till.until_problem("configuration", limit=5)
    report = till.until(lambda said: events(said, "reload.refused"))
    assert report["config_sha256"] == before
    assert {each["name"] for each in report["probes"]} == {"bad", "good", "later"}
    assert report["incidents"] == [bad]
    assert "reload.refused" in till.said()
    till.write_config(good)
    till.signal(signal.SIGHUP)
    till.until(lambda said: not said["agent"]["problems"], "a configuration that is right again", 5)
    time.sleep(1)
    assert gaps(till, "good", began) < LATE_S


def test_a_configuration_that_is_gone_changes_nothing_and_is_told(till: Till) -> None:
    till.begin()
    bad = till.until_incident("bad")
    till.config.unlink()
    till.signal(signal.SIGHUP)
    till.until_problem("configuration", limit=5)
    assert till.until(lambda said: True)["incidents"] == [bad]


def test_a_hundred_reloads_in_a_row_cost_nothing_and_lose_nothing(till: Till) -> None:
    till.begin()
    bad = till.until_incident("bad")
    time.sleep(1)
    began, cpu, size, files, threads = time.monotonic(), till.cpu(), till.rss_kb(), till.files(), till.threads()
    chance = random.Random(SEED)
    for number in range(100):
        if number % 10 == 0:
            till.schedule["window"] = 5 + number // 10
            till.write_config()
        till.signal(signal.SIGHUP)
        time.sleep(chance.choice([0, 0.005, 0.05]))
    last = subprocess.run(["sha256sum", till.config], capture_output=True, text=True, check=True).stdout.split()[0]
    till.until(lambda said: said["config_sha256"] == last, "the last configuration", 10)
    time.sleep(2)
    report = till.until(lambda said: True)
    print(
        f"100 reloads: {till.cpu() - cpu:.2f} s of CPU, {till.rss_kb() - size} KB, "
        f"{till.files() - files} files and {till.threads() - threads} threads more"
    )
    assert report["incidents"] == [bad]
    assert gaps(till, "good", began) < LATE_S
    assert till.cpu() - cpu < 5
    assert till.rss_kb() - size < 2000
    assert till.files() <= files + 2
    assert till.threads() <= threads + 3
    assert till.said().count("incident.opened") == 1
    assert till.stop() < 5


def test_sigterm_ends_it_within_five_seconds_at_any_moment_of_its_life(till: Till) -> None:
    chance = random.Random(SEED)
    till.watch("stuck")
    till.tell("stuck", "hang")
    till.write_config()
    took, codes = [], []
    for _ in range(8):
        till.start()
        process = till.process
        assert process is not None
        time.sleep(chance.choice([chance.uniform(0, 0.4), chance.uniform(0.4, 2.5)]))
        began = time.monotonic()
        process.terminate()
        codes.append(process.wait(15))
        took.append(time.monotonic() - began)
    till.process = None
    print(f"SIGTERM: {max(took):.2f} s at most, of {len(took)}")
    assert max(took) < 5
    assert set(codes) <= {0, -signal.SIGTERM}, "before it began, it may just die"
    with till.memory() as memory:
        assert len(memory.open_incidents()) <= 1
        stopped = [each for each in memory.events(limit=100) if each.what == "agent.stopped"]
        dark = [each.facts["why"] for each in memory.events(limit=100) if each.what == "dark"]
    assert len(stopped) == codes.count(0) > 0
    assert set(dark) == {"agent_stopped"}


def test_of_two_daemons_the_second_is_refused_and_the_first_undisturbed(till: Till) -> None:
    till.begin()
    began, pid = time.monotonic(), till.pid
    for _ in range(3):
        second = subprocess.run(
            [POSAGENT, "run"], env=till.env, capture_output=True, text=True, timeout=20, check=False
        )
        assert second.returncode == 75, second
        assert f"process id {pid}" in second.stderr
        assert "Traceback" not in second.stderr
    time.sleep(1)
    assert gaps(till, "good", began) < LATE_S
    till.until_incident("bad")
    till.kill()  # and no lock outlives its holder
    till.begin()
    till.until_incident("bad")
    assert till.stop() < 5


@contextmanager
def full_manager(place: Path) -> Iterator[None]:
    """A service manager that never reads what it is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(place))
        yield


def test_a_manager_and_a_log_that_nobody_reads_stop_nothing(tmp_path: Path) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with full_manager(tmp_path / "notify"), Till(tmp_path / "till", env=env) as till:
        till.watch("bad")
        till.watch("good")
        till.write_config()
        read, write = os.pipe()
        os.set_blocking(write, False)
        while True:  # no room for one more byte
            try:
                os.write(write, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(write, True)
        till.process = subprocess.Popen([POSAGENT, "run"], env=till.env, stdout=write, stderr=write)
        till.until(lambda said: said["probes"], "a report", 20)
        began = time.monotonic()
        till.tell("bad", "fail")
        till.until_incident("bad", 10)
        for number in range(30):
            till.tell("bad", "ok" if number % 2 else "fail")
            time.sleep(0.15)
        waited = gaps(till, "good", began)
        print(f"a log that nobody reads: looks were {waited:.2f} s apart at most")
        assert waited < LATE_S
        assert till.stop() < 5
        os.close(read)
        os.close(write)
