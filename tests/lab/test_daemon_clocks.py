"""Does the daemon watch on, and believe the same, when the clock is set, the PC sleeps, or the till is far from UTC?

Its wall clock is really wrong, and changes under it (skewclock.c); what it did is told by the monotonic clock.
"""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.daemon import Till, events, moment, probe_of

pytestmark = pytest.mark.lab
YEARS_26 = 26 * 365 * 86400
WATCHED_S = 2.5
STEPS = (-YEARS_26, 0, 3600, 0, -3600, 0, -YEARS_26, 0)
"""By how many seconds the clock is wrong, one after the other: it starts in 2000 and learns that it is 2026 …"""
SLEPT = 8 * 3600


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("skew") / "skewclock.so"
    source = Path(__file__).with_name("skewclock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(made), str(source), "-ldl"], check=True, timeout=60)
    return made


class Clock:
    """The wrong clock of one till."""

    def __init__(self, home: Path, library: Path) -> None:
        self._file = home / "skew"
        self.env = {"LD_PRELOAD": str(library), "POSAGENT_LAB_SKEW": str(self._file)}
        self.set(0)

    def set(self, seconds: int, slept: int = 0) -> None:
        """In one go, so that no half-written number is ever read."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds} {slept}")
        fresh.replace(self._file)
        self._wrong = seconds + slept

    def now(self) -> float:
        """What the daemon takes for Unix time."""
        return time.time() + self._wrong


def till_with(tmp_path: Path, clock: Clock, zone: str = "UTC", **schedule: float) -> Till:
    till = Till(tmp_path / "till", env={**clock.env, "TZ": zone}, **schedule)
    for name in ("bad", "late", "good-1", "good-2"):
        till.watch(name)
    till.tell("bad", "fail")
    return till


def steady(till: Till, names: tuple[str, ...], since: float, until: float) -> None:
    """Every probe was looked at about once a second, and no more."""
    for name in names:
        looks = [at for at in till.looks(name) if since <= at <= until]
        gaps = [after - before for before, after in pairwise([since, *looks, until])]
        assert max(gaps) < 3, f"{name} was not looked at for {max(gaps):.1f} s"
        assert len(looks) <= (until - since) * 1.3 + 3, f"{name} was looked at {len(looks)} times"


def test_a_clock_that_is_set_changes_nothing_but_the_time(tmp_path: Path, library: Path) -> None:
    clock = Clock(tmp_path, library)
    clock.set(STEPS[0])
    with till_with(tmp_path, clock, "CST-8", reopen_within=300) as till:
        till.begin()
        bad = till.until_incident("bad")
        assert bad["opened_at"].startswith("2000-")
        time.sleep(1)
        began, size = time.monotonic(), till.rss_kb()
        for before, step in pairwise(STEPS):
            clock.set(step)
            time.sleep(WATCHED_S)
            report = till.until(lambda said: events(said, "clock.jumped"))
            assert report["incidents"] == [bad], f"{before} -> {step}"
            assert "clock" in events(report, "clock.jumped")[-1]
            assert ("back" in events(report, "clock.jumped")[-1]) == (step < before)
            assert abs(moment(report["generated_at"]) - clock.now()) < WATCHED_S + 2
            assert report["valid_until"] > report["generated_at"]
            for each in report["probes"]:
                assert -3 < moment(each["next_check_at"]) - moment(report["generated_at"]) < 4, each
        steady(till, ("good-1", "good-2"), began, time.monotonic())
        grown = till.rss_kb() - size
        print(
            f"{len(STEPS) - 1} steps: {grown} KB grown, {till.cpu():.2f} s of CPU in {time.monotonic() - began:.0f} s"
        )
        assert grown < 1500
        till.tell("late", "fail")  # what happens after all that is told as fast as ever, and so is its end
        till.until_incident("late", 8)
        till.tell("late", "ok")
        till.tell("bad", "ok")
        till.until(lambda said: not said["incidents"], "all well", 10)
        assert till.stop() < 5
        with till.memory() as memory:
            jumps = sorted(
                float(each.facts["seconds"]) for each in memory.events(limit=1000) if each.what == "clock.jumped"
            )
            expected = sorted(after - before for before, after in pairwise(STEPS))
            assert jumps == pytest.approx(expected, abs=1)
            assert len(memory.incidents()) == 2
        assert till.said().count("incident.opened") == 2


@pytest.mark.parametrize("hours", [8, 0.01])
def test_after_a_sleep_there_is_no_storm_and_nobody_is_told_of_faults(
    tmp_path: Path, library: Path, hours: float
) -> None:
    slept = int(hours * 3600)
    clock = Clock(tmp_path, library)
    with till_with(tmp_path, clock, reopen_within=300) as till:
        till.begin()
        bad = till.until_incident("bad")
        time.sleep(2)
        woke = time.monotonic()
        clock.set(0, slept)
        report = till.until(lambda said: events(said, "suspended"), "word of the sleep", 8)
        assert abs(moment(report["generated_at"]) - clock.now()) < 4, "a fresh report at once"
        time.sleep(3)
        report = till.until(lambda said: True)
        assert report["incidents"] == [bad]
        assert not events(report, "clock.jumped")
        steady(till, ("good-1", "good-2", "late"), woke, time.monotonic())
        for name in ("good-1", "good-2", "late", "bad"):
            assert sum(woke <= at < woke + 1 for at in till.looks(name)) <= 3
        assert till.stop() < 5
        with till.memory() as memory:
            (sleep,) = [each for each in memory.events(limit=100) if each.what == "suspended"]
            assert sleep.facts["seconds"] == pytest.approx(slept, abs=1)
            watched = sum(
                good + bad_s + blind for _, name, good, bad_s, blind in memory.availability() if name == "good-1"
            )
        assert watched < 20, "a PC that slept watched nothing"


def test_a_daemon_that_was_stopped_for_a_while_goes_on_as_before(tmp_path: Path) -> None:
    with Till(tmp_path / "till") as till:
        for name in ("bad", "good-1"):
            till.watch(name)
        till.tell("bad", "fail")
        till.begin()
        bad = till.until_incident("bad")
        subprocess.run(["kill", "-STOP", str(till.pid)], check=True)
        time.sleep(4)
        subprocess.run(["kill", "-CONT", str(till.pid)], check=True)
        woke = time.monotonic()
        time.sleep(3)
        report = till.until(lambda said: True)
        assert report["incidents"] == [bad]
        assert not events(report, "suspended")
        assert not events(report, "clock.jumped")
        assert all(each["reason"] == "ok" for each in report["probes"] if each["name"] != "bad")
        steady(till, ("good-1",), woke, time.monotonic())
        assert sum(woke <= at < woke + 1 for at in till.looks("good-1")) <= 3
        assert till.stop() < 5


def test_in_a_zone_named_cst_8_times_are_utc_and_days_are_the_stores(tmp_path: Path) -> None:
    with Till(tmp_path / "till", env={"TZ": "CST-8"}) as till:
        till.watch("bad")
        till.tell("bad", "fail")
        began = time.time()
        report = till.begin()
        bad = till.until_incident("bad")
        days = {str((datetime.now(UTC) + timedelta(hours=8, seconds=more)).date()) for more in (-5, 5)}
        assert began - 1 < moment(bad["opened_at"]) < time.time() + 1
        assert began - 1 < moment(report["agent"]["started_at"]) < time.time() + 1
        assert began - 1 < moment(probe_of(report, "bad")["since"]) < time.time() + 1
        assert -1.5 < moment(probe_of(report, "bad")["next_check_at"]) - moment(report["generated_at"]) < 2.5
        assert till.stop() < 5
        with till.memory() as memory:
            kept = memory.availability()
        assert kept
        assert {row[0] for row in kept} <= days
