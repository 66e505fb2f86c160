"""Does the daemon watch on when its disk is full, read-only or dead, and does it catch up? Real file systems, real daemon.

So too with a state file that is damaged while it runs or between two lives. What was told is never lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.daemon import Report, Till, events, incident_of, moment
from tests.lab.disks import Disk, Memory

pytestmark = pytest.mark.lab


def till_on(tmp_path: Path, state: Path, **more: Any) -> Till:
    """A till with its state there; its report is elsewhere."""
    till = Till(tmp_path / "till", state=state, **{"report": tmp_path / "health.json", **more})
    for name in ("old", "new", "brief", "other"):
        till.watch(name)
    return till


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory(tmp_path / "disk", 400) as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path / "disk") as made:
        yield made


def trouble(till: Till, *words: str, limit: float = 20) -> str:
    """Make the daemon write until it says that it cannot."""
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        for word in ("fail", "ok"):
            till.tell("other", word)
            time.sleep(0.7)
            found = till.report()
            for said in found["agent"]["problems"] if found else ():
                if all(each in said for each in words):
                    till.tell("other", "ok")
                    return str(said)
    raise AssertionError(f"it never said {words}: {till.report()}, {till.said()}")


def caught_up(till: Till, *incidents: str, over: tuple[str, ...] = ()) -> None:
    """The disk is well: it says so, everything that happened is on it, and a next life knows it."""
    till.until(lambda report: not report["agent"]["problems"], "no problem any more", 25)
    till.kill()
    with till.memory() as memory:
        stored = {each.id: each for each in memory.incidents()}
        assert {each.id for each in stored.values() if each.resolved_at is None} == set(incidents)
        assert all(stored[each].resolved_at for each in over)
        kept = {(each.probe, each.new) for each in memory.transitions()}
        assert {("old", "fail"), ("new", "fail"), ("brief", "fail"), ("brief", "ok")} <= kept
    before = till.report()
    after = till.begin()
    assert before is not None and after["seq"] > before["seq"]
    assert {each["id"] for each in after["incidents"]} == set(incidents)
    assert till.stop() < 5
    assert till.asides() == []


def through_trouble(till: Till) -> tuple[str, str, str]:
    """While the disk is bad: one incident comes and stays, one comes and goes; the old one stays too."""
    old = till.until_incident("old")["id"]
    till.tell("new", "fail")
    till.tell("brief", "fail")
    new, brief = till.until_incident("new")["id"], till.until_incident("brief")["id"]
    till.tell("brief", "ok")
    report = till.until_well("brief")
    assert not report["agent"]["healthy"]
    assert (incident_of(report, "old") or {})["id"] == old
    return old, new, brief


def test_a_full_disk_is_said_and_caught_up_with(tmp_path: Path, memory: Memory) -> None:
    with till_on(tmp_path, memory.place / "state") as till:
        till.tell("old", "fail")
        till.begin()
        till.until_incident("old")
        memory.fill()
        assert "in memory" in trouble(till, "cannot write", "state.sqlite", "full")
        old, new, brief = through_trouble(till)
        memory.free()
        caught_up(till, old, new, over=(brief,))


def test_killed_while_its_disk_is_full_it_knows_what_its_report_told(tmp_path: Path, memory: Memory) -> None:
    with till_on(tmp_path, memory.place / "state") as till:
        till.tell("old", "fail")
        till.begin()
        till.until_incident("old")
        memory.fill()
        trouble(till, "cannot write", "state.sqlite", "full")
        old, new, _ = through_trouble(till)
        till.kill()
        told = till.begin()  # the disk is full still
        assert {each["id"] for each in told["incidents"]} == {old, new}
        till.kill()
        memory.free()
        told = till.begin()
        assert {each["id"] for each in told["incidents"]} == {old, new}
        till.kill()
        with till.memory() as kept:
            assert {each.id for each in kept.open_incidents()} == {old, new}
        till.tell("new", "ok")
        till.begin()
        till.until_well("new")
        assert till.stop() < 5


def test_a_disk_that_is_full_from_the_start_is_said_and_caught_up_with(tmp_path: Path, memory: Memory) -> None:
    memory.fill()
    with till_on(tmp_path, memory.place / "state") as till:
        till.tell("old", "fail")
        till.begin()
        till.until_problem("state.sqlite")
        old, new, brief = through_trouble(till)
        memory.free()
        caught_up(till, old, new, over=(brief,))


def test_a_report_on_a_full_disk_stays_whole_the_log_says_why_and_it_catches_up(tmp_path: Path, memory: Memory) -> None:
    with till_on(tmp_path, memory.place / "state", report=memory.place / "health.json") as till:
        till.tell("old", "fail")
        till.begin()
        till.until_incident("old")
        memory.fill()
        before = till.report()
        till.tell("brief", "fail")
        till.tell("new", "fail")
        till.until_said("incident.opened id=", 5)
        till.until_said("probe=new old=ok new=fail", 5)
        till.until_said("probe=brief old=ok new=fail", 5)
        till.until_said("cannot write", 10)
        till.tell("brief", "ok")
        till.until_said("probe=brief old=fail new=ok", 5)
        time.sleep(1)
        assert till.report() == before, "a full disk and yet a new report?"
        assert [each.name for each in memory.place.glob(".health.json*")] == []
        memory.free()
        freed = time.time()
        report = till.until(lambda said: moment(said["generated_at"]) > freed, "a fresh report", 10)
        new = (till.until_incident("new"))["id"]
        assert incident_of(report, "brief") is None
        old = (till.until_incident("old"))["id"]
        caught_up(till, old, new)


def test_a_disk_that_is_read_only_at_the_start_is_said_and_used_once_it_may_be(tmp_path: Path, memory: Memory) -> None:
    with till_on(tmp_path, memory.place / "state") as till:
        till.tell("old", "fail")
        till.begin()
        till.until_incident("old")
        till.kill()
        memory.writable(False)
        told = till.begin()
        assert incident_of(told, "old"), "what it knew before is readable"
        assert "Read-only" in till.until_problem("state.sqlite")
        old, new, brief = through_trouble(till)
        memory.writable(True)
        caught_up(till, old, new, over=(brief,))


@pytest.mark.parametrize("how", ["turn_read_only", "die"])
def test_a_disk_that_fails_under_it_is_said_and_once_mended_caught_up_with(
    tmp_path: Path, disk: Disk, how: str
) -> None:
    with till_on(tmp_path, disk.place / "state") as till:
        till.tell("old", "fail")
        till.begin()
        till.until_incident("old")
        time.sleep(0.5)
        os.sync()
        getattr(disk, how)()
        trouble(till, "state.sqlite")
        old, new, brief = through_trouble(till)
        disk.mend()
        caught_up(till, old, new, over=(brief,))


def test_a_dead_disk_under_the_report_is_said_in_the_log_and_caught_up_with(tmp_path: Path, disk: Disk) -> None:
    with till_on(tmp_path, tmp_path / "state", report=disk.place / "reports" / "health.json") as till:
        till.begin()
        disk.die()
        till.tell("old", "fail")
        till.until_said("Input/output error", 10)
        till.tell("new", "fail")
        till.tell("brief", "fail")
        till.until_said("probe=brief old=ok new=fail")
        time.sleep(2)
        till.tell("brief", "ok")
        till.until_said("probe=brief old=fail new=ok")
        disk.mend()
        mended = time.time()
        till.until(lambda said: moment(said["generated_at"]) > mended, "a fresh report", 10)
        caught_up(till, till.until_incident("old")["id"], till.until_incident("new")["id"])


def test_a_report_directory_that_is_taken_away_is_made_again(tmp_path: Path) -> None:
    with till_on(tmp_path, tmp_path / "state", report=tmp_path / "a" / "b" / "health.json") as till:
        till.begin()
        shutil.rmtree(tmp_path / "a")
        till.tell("old", "fail")
        assert till.until_incident("old")
        assert till.until(lambda report: True)["agent"]["problems"] == []


def test_a_report_below_a_file_waits_until_the_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    with till_on(tmp_path, tmp_path / "state", report=tmp_path / "a" / "health.json") as till:
        till.tell("old", "fail")
        till.start()
        till.until_said("Not a directory")
        till.until_said("incident.opened")
        (tmp_path / "a").unlink()
        assert till.until_incident("old", 10)
        till.until(lambda report: not report["agent"]["problems"])
        assert till.stop() < 5


def test_a_disk_that_comes_late_brings_its_past_and_no_fault_is_open_twice(tmp_path: Path, disk: Disk) -> None:
    with till_on(tmp_path, disk.place / "state") as till:
        till.tell("old", "fail")
        till.tell("brief", "fail")
        till.begin()
        told = till.until_incident("old")["id"], till.until_incident("brief")["id"]
        till.stop()
        disk.take_out()
        till.report_path.unlink()
        till.tell("brief", "ok")
        till.begin()
        old = till.until_incident("old")["id"]
        disk.put_in()
        till.tell("new", "fail")
        new = till.until_incident("new")["id"]
        time.sleep(2)
        seq = till.until(lambda said: True)["seq"]
        till.kill()
        with till.memory() as memory:
            stored = {each.id: each for each in memory.incidents()}
        assert {each.id for each in stored.values() if each.resolved_at is None} == {old, new}
        assert {old, new, *told} == set(stored)
        assert stored[told[0]].joined_to in (old, None)
        after = till.begin()
        assert {each["id"] for each in after["incidents"]} == {old, new}
        assert after["seq"] > seq
        till.stop()


# --- the state file itself --------------------------------------------------------------------------------------------


def overwrite(file: Path) -> None:
    """As a flash that lost its blocks: everything is noise."""
    with file.open("r+b") as opened:
        opened.write(os.urandom(file.stat().st_size))


def overwrite_half(file: Path) -> None:
    """The second half is noise, the header is well."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(size // 2)
        opened.write(os.urandom(size - size // 2))


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def remove(file: Path) -> None:
    file.unlink()


DAMAGE = [overwrite, overwrite_half, truncate, empty, remove]


def into_the_file(till: Till) -> None:
    """Nothing of the state stays in the journal only, where damage to the file would not reach it."""
    with contextlib.closing(sqlite3.connect(till.state / "state.sqlite")) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def is_mended(till: Till, report: Report, *incidents: str) -> None:
    """It says what happened, runs on, and its new file holds what is the matter now."""
    assert {each["id"] for each in report["incidents"]} == set(incidents)
    till.kill()
    with till.memory() as memory:
        assert {each.id for each in memory.open_incidents()} == set(incidents)
    again = till.begin()
    assert {each["id"] for each in again["incidents"]} == set(incidents)
    assert again["seq"] > report["seq"]
    assert till.stop() < 5


def at_once(test: Callable[[Path, Callable[[Path], None]], None], tmp_path: Path) -> None:
    """One till for each sort of damage, all of them side by side."""
    with ThreadPoolExecutor(len(DAMAGE)) as together:
        ended = {each.__name__: together.submit(test, tmp_path / each.__name__, each) for each in DAMAGE}
    for name, test_of_it in ended.items():
        print(name)
        test_of_it.result()


def damaged_while_it_runs(place: Path, damage: Callable[[Path], None]) -> None:
    with till_on(place, place / "state") as till:
        till.tell("old", "fail")
        till.begin()
        old = till.until_incident("old")["id"]
        time.sleep(0.5)
        into_the_file(till)
        damage(till.state / "state.sqlite")
        till.tell("new", "fail")
        new = till.until_incident("new")["id"]
        report = till.until(lambda said: events(said, "state.corrupt"), "word of the damage", 30)
        assert any("state file" in each for each in report["agent"]["problems"]), report["agent"]
        is_mended(till, report, old, new)
        assert len(till.asides()) == (damage not in (remove, empty))


def test_a_state_file_that_is_damaged_while_it_runs_is_replaced(tmp_path: Path) -> None:
    at_once(damaged_while_it_runs, tmp_path)


def damaged_between_two_lives(place: Path, damage: Callable[[Path], None]) -> None:
    with till_on(place, place / "state") as till:
        till.tell("old", "fail")
        till.begin()
        old = till.until_incident("old")
        assert till.stop() < 5
        before = till.until(lambda said: True)
        into_the_file(till)
        damage(till.state / "state.sqlite")
        told = till.begin()
        assert told["seq"] > before["seq"]
        assert incident_of(told, "old") == old, "it was told already"
        if damage is not remove:  # else nobody can know that there was one
            assert any("state file" in each for each in told["agent"]["problems"])
        time.sleep(2.5)
        is_mended(till, till.until(lambda said: events(said, "state.corrupt") or damage is remove), old["id"])
        assert till.said().count("incident.opened") == 1
        till.tell("old", "ok")
        till.begin()
        till.until_well("old")


def test_after_damage_between_two_lives_the_report_knows_what_was_open(tmp_path: Path) -> None:
    at_once(damaged_between_two_lives, tmp_path)
