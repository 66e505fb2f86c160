"""Why was the store dark, and did the clocks part? From the marks of the last agent, and from injected readings."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import absence
from agent.absence import Clockwork, Trace, explain_gap, is_shutting_down, trace_from
from agent.store import Batch, Event, Store

LAST, BOOTED, NOW = 1_000.0, 5_000.0, 5_060.0


@pytest.mark.parametrize(
    ("trace", "boot", "facts"),
    [
        (
            Trace("b1", None, False, LAST),
            "b2",
            {"why": "power_cut", "from": 1_000.0, "until": 5_000.0, "seconds": 4_000.0},
        ),
        (
            Trace("b1", 1_001.0, True, 1_001.0),
            "b2",
            {"why": "shutdown", "from": 1_001.0, "until": 5_000.0, "seconds": 3_999.0},
        ),
        (  # somebody stopped the agent, and the PC was switched off later
            Trace("b1", 1_001.0, False, 1_001.0),
            "b2",
            {"why": "agent_stopped", "from": 1_001.0, "until": 5_060.0, "seconds": 4_059.0},
        ),
        (
            Trace("b1", 1_001.0, False, 1_001.0),
            "b1",
            {"why": "agent_stopped", "from": 1_001.0, "until": 5_060.0, "seconds": 4_059.0},
        ),
        (  # a shutdown that was called off, or a restart of everything but the kernel
            Trace("b1", 1_001.0, True, 1_001.0),
            "b1",
            {"why": "agent_stopped", "from": 1_001.0, "until": 5_060.0, "seconds": 4_059.0},
        ),
        (
            Trace("b1", None, False, LAST),
            "b1",
            {"why": "agent_crashed", "from": 1_000.0, "until": 5_060.0, "seconds": 4_060.0},
        ),
        (  # no kernel says which boot this is: the worst is not assumed away
            Trace("", None, False, LAST),
            "",
            {"why": "power_cut", "from": 1_000.0, "until": 5_000.0, "seconds": 4_000.0},
        ),
    ],
)
def test_each_way_of_going_dark_has_its_name(trace: Trace, boot: str, facts: dict[str, object]) -> None:
    assert explain_gap(trace, boot, BOOTED, NOW) == Event(NOW, "dark", facts)


def test_the_first_agent_ever_was_not_dark_before() -> None:
    assert explain_gap(None, "b1", BOOTED, NOW) is None


def test_a_clock_that_starts_in_2000_makes_no_negative_darkness() -> None:
    found = explain_gap(Trace("b1", None, False, 1.7e9), "b2", 946_684_800.0, 946_684_860.0)
    assert found == Event(946_684_860.0, "dark", {"why": "power_cut", "from": 1.7e9, "until": 946_684_800.0})


def marks(*layers: dict[str, str]) -> Trace | None:
    known: dict[str, str] = {}
    for layer in layers:
        known.update(layer)
    return trace_from(known.get)


def test_marks_tell_of_life_and_of_its_end() -> None:
    assert marks() is None
    assert marks(absence.alive(10.0, "b1")) == Trace("b1", None, False, 10.0)
    assert marks(absence.alive(10.0, "b1"), absence.clean_stop(12.5, True)) == Trace("b1", 12.5, True, 12.5)
    assert marks(absence.alive(10.0, "b1"), absence.clean_stop(12.5, False)) == Trace("b1", 12.5, False, 12.5)


def test_an_agent_that_lives_again_has_not_stopped() -> None:
    again = marks(absence.alive(10.0, "b1"), absence.clean_stop(12.0, True), absence.alive(20.0, "b2"))
    assert again == Trace("b2", None, False, 20.0)


@pytest.mark.parametrize("junk", ["", "yesterday", "nan", "inf", "1e999"])
def test_marks_that_make_no_sense_are_no_trace(junk: str) -> None:
    assert trace_from({"last_seen": junk, "boot_id": "b1"}.get) is None
    assert trace_from({"last_seen": "5", "clean_stop": junk}.get) == Trace("", None, False, 5.0)


def test_a_killed_agent_is_told_from_a_stopped_one_through_the_store(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from agent import absence; from agent.store import Batch, Store\n"
        "state = Store(Path(sys.argv[1])); boot = absence.boot_id()\n"
        "state.save(Batch(marks=absence.alive(1000.0, boot)), durable=True)\n"
        "if sys.argv[2] == 'kill': os.kill(os.getpid(), 9)\n"
        "state.save(Batch(marks=absence.clean_stop(2000.0, False)), durable=True); state.close()\n"
    )
    for how, why in (("kill", "agent_crashed"), ("stop", "agent_stopped"), ("kill", "agent_crashed")):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "s"), how], timeout=30, check=False)
        state = Store(tmp_path / "s")
        found = explain_gap(trace_from(state.mark), absence.boot_id(), absence.booted_at(), 3000.0)
        state.close()
        assert found is not None
        assert found.facts["why"] == why


def test_first_readings_say_nothing() -> None:
    assert Clockwork().compare(1e9, 100.0, 100.0) == []


def test_time_that_passes_evenly_is_no_event() -> None:
    clocks = Clockwork()
    for turn in range(1000):
        assert clocks.compare(1e9 + turn * 5.0, 100.0 + turn * 5.0, 100.0 + turn * 5.0) == []


def test_a_sleep_is_a_sleep_and_no_jump() -> None:
    clocks = Clockwork()
    clocks.compare(1e9, 100.0, 100.0)
    assert clocks.compare(1e9 + 3605.0, 105.0, 3705.0) == [Event(1e9 + 3605.0, "suspended", {"seconds": 3600.0})]
    assert clocks.compare(1e9 + 3610.0, 110.0, 3710.0) == []


@pytest.mark.parametrize("by", [3600.0, -3600.0, 820_000_000.0, 2.5, -2.5])
def test_a_clock_that_was_set_is_told_once(by: float) -> None:
    clocks = Clockwork()
    clocks.compare(1e9, 100.0, 100.0)
    assert clocks.compare(1e9 + 5.0 + by, 105.0, 105.0) == [
        Event(1e9 + 5.0 + by, "clock.jumped", {"seconds": by, "from": 1e9 + 5.0, "to": 1e9 + 5.0 + by})
    ]
    assert clocks.compare(1e9 + 10.0 + by, 110.0, 110.0) == []


def test_whoever_comes_by_often_sees_at_a_glance_that_clocks_parted() -> None:
    clocks = Clockwork()
    assert not clocks.parted(1e9, 100.0)
    clocks.compare(1e9, 100.0, 100.0)
    assert not clocks.parted(1e9 + 30, 130.0)
    assert not clocks.parted(1e9 + 31.5, 130.0), "drawn right"
    assert clocks.parted(1e9 + 3630, 130.0), "set forward, or it slept"
    assert clocks.parted(1e9 - 3570, 130.0), "set back"
    clocks.compare(1e9 + 3630, 130.0, 130.0)
    assert not clocks.parted(1e9 + 3640, 140.0), "told once"


def test_a_pc_that_wakes_with_a_wrong_clock_says_both() -> None:
    clocks = Clockwork()
    clocks.compare(1e9, 100.0, 100.0)
    found = clocks.compare(1e9 + 5.0, 105.0, 7305.0)
    assert [event.what for event in found] == ["suspended", "clock.jumped"]
    assert [event.facts["seconds"] for event in found] == [7200.0, -7200.0]


def test_a_clock_that_is_slowly_drawn_right_never_jumps() -> None:
    clocks = Clockwork()
    for turn in range(2000):  # 500 millionths, as the kernel slews at most
        assert clocks.compare(1e9 + turn * 5.0025, turn * 5.0, turn * 5.0) == []


def test_a_slow_turn_is_no_event() -> None:
    clocks = Clockwork()
    clocks.compare(1e9, 100.0, 100.0)
    assert clocks.compare(1e9 + 600.0, 700.0, 700.0) == []


def test_clocks_of_this_machine_run() -> None:
    before, after = absence.read_clocks(), absence.read_clocks()
    assert after.monotonic >= before.monotonic
    assert after.boottime >= after.monotonic
    assert abs(absence.booted_at() + after.boottime - time.time()) < 1
    assert Clockwork().compare(*before) == []


def test_this_machine_says_which_boot_it_is_and_a_bare_one_does_not(tmp_path: Path) -> None:
    assert len(absence.boot_id()) == 36
    assert absence.boot_id(tmp_path) == ""


def systemd(root: Path) -> None:
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "run/systemd/shutdown").mkdir()


def test_a_pc_without_systemd_is_not_known_to_go_down(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/nologin").write_text("")
    assert not is_shutting_down(tmp_path)


def test_a_pc_that_runs_is_not_going_down(tmp_path: Path) -> None:
    systemd(tmp_path)
    assert not is_shutting_down(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("USEC={past}\nWARN_WALL=1\nMODE=poweroff\n", True),
        ("USEC={past}\nMODE=reboot\n", True),
        ("USEC={later}\nMODE=poweroff\n", False),
        ("USEC={past}\nMODE=dry-poweroff\n", False),
        ("USEC=soon\nMODE=poweroff\n", False),
        ("\0\xff", False),
    ],
)
def test_a_planned_shutdown_counts_when_its_time_has_come(tmp_path: Path, text: str, expected: bool) -> None:
    systemd(tmp_path)
    now = time.time()
    said = text.format(past=int((now - 1) * 1e6), later=int((now + 600) * 1e6))
    (tmp_path / "run/systemd/shutdown/scheduled").write_text(said, encoding="latin-1")
    assert is_shutting_down(tmp_path) is expected


def test_a_pc_that_lets_nobody_log_in_goes_down(tmp_path: Path) -> None:
    systemd(tmp_path)
    (tmp_path / "run/nologin").write_text("System is going down.")
    assert is_shutting_down(tmp_path)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("echo stopping; exit 1", "stopping"),
        ("echo running", "running"),
        ("echo degraded; exit 1", "degraded"),
        ("echo offline; exit 1", ""),
        ("exit 1", ""),
        ("sleep 30", ""),
        (None, ""),
    ],
)
def test_what_systemd_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, expected: str
) -> None:
    if program is not None:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{program.replace('sleep', 'exec sleep')}\n")
        (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setitem(absence.ENVIRONMENT, "PATH", f"{tmp_path}:/bin" if program else str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin" if program else str(tmp_path))
    monkeypatch.setattr(absence, "ASKING_S", 0.5)
    assert absence._system_state() == expected


def test_marks_that_do_not_change_are_not_written_again(tmp_path: Path) -> None:
    state = Store(tmp_path / "s")
    state.save(Batch(marks=absence.alive(1.0, "b1")))
    assert {name: state.mark(name) for name in ("boot_id", "last_seen", "clean_stop", "shutting_down")} == {
        "boot_id": "b1",
        "last_seen": "1.000",
        "clean_stop": "",
        "shutting_down": "",
    }
    state.close()
