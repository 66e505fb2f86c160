"""clock against a real chronyd, and with a wall clock that is really wrong for the process that looks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.room import Room

SERVER = "127.0.0.1"
DAY = 86400


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room(tmp_path) as made:
        made.hosts("127.0.0.1 localhost time.store.example")
        yield made


@pytest.fixture(scope="module")
def skew(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which a process sees a wall clock as wrong as `POSAGENT_LAB_SKEW`'s file says."""
    library = tmp_path_factory.mktemp("skew") / "skewclock.so"
    source = Path(__file__).with_name("skewclock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True, timeout=60)
    return {"LD_PRELOAD": str(library)}


def wrong_by(seconds: float, skew: dict[str, str], tmp_path: Path) -> dict[str, str]:
    told = tmp_path / "skew"
    told.write_text(str(round(seconds)))
    return {**skew, "POSAGENT_LAB_SKEW": str(told)}


def chronyd(room: Room, *directives: str) -> None:
    """A real time server that serves this machine's own time and never touches its clock."""
    assert shutil.which("chronyd"), "missing: chronyd (Debian package chrony)"
    conf = room.tmp_path / "chrony.conf"
    home = room.tmp_path
    lines = (f"bindaddress {SERVER}", "allow all", "cmdport 0", f"pidfile {home}/chronyd.pid", "bindcmdaddress /")
    conf.write_text("".join(f"{line}\n" for line in (*lines, *directives)))
    room.start("chronyd", "-d", "-x", "-u", "root", "-f", str(conf), listens=f"{SERVER}:123")


def test_a_synchronised_server_finds_this_clock_right(room: Room) -> None:
    chronyd(room, "local stratum 3")
    seen = room.look("clock", server="time.store.example")
    assert (seen["status"], seen["reason"]) == ("ok", "ok")
    assert seen["measurements"]["stratum"] == 3
    assert abs(seen["measurements"]["offset_s"]) < 0.1


def test_a_server_that_is_not_synchronised_itself_is_refused(room: Room) -> None:
    chronyd(room)
    seen = room.look("clock", server=SERVER)
    assert (seen["status"], seen["reason"]) == ("warn", "clock.bad_server")


@pytest.mark.parametrize("days", [-400, -600 / DAY, 730])
def test_a_wrong_wall_clock_is_measured(room: Room, skew: dict[str, str], tmp_path: Path, days: float) -> None:
    chronyd(room, "local stratum 3")
    seen = room.look("clock", env=wrong_by(days * DAY, skew, tmp_path), server=SERVER)
    assert (seen["status"], seen["reason"]) == ("fail", "clock.skewed")
    assert seen["measurements"]["offset_s"] == pytest.approx(days * DAY, abs=1)


def test_a_few_seconds_are_allowed(room: Room, skew: dict[str, str], tmp_path: Path) -> None:
    chronyd(room, "local stratum 3")
    env = wrong_by(-8, skew, tmp_path)
    assert room.look("clock", env=env, server=SERVER)["reason"] == "ok"
    assert room.look("clock", env=env, server=SERVER, max_offset=5.0)["reason"] == "clock.skewed"


def test_a_clock_of_2019_is_wrong_without_any_server(room: Room, skew: dict[str, str], tmp_path: Path) -> None:
    seen = room.look("clock", env=wrong_by(-3000 * DAY, skew, tmp_path))
    assert (seen["status"], seen["reason"]) == ("fail", "clock.skewed")


def test_a_server_that_is_down_is_no_reply_at_once(room: Room) -> None:
    seen = room.look("clock", server=SERVER)
    assert (seen["status"], seen["reason"]) == ("warn", "clock.no_reply")
    assert seen["seconds"] < 1


def test_a_server_behind_a_closed_firewall_costs_the_deadline_and_no_more(room: Room) -> None:
    chronyd(room, "local stratum 3")
    with room.rules("chain i { type filter hook input priority 0; udp dport 123 drop; }"):
        seen = room.look("clock", timeout=1, server=SERVER)
    assert (seen["status"], seen["reason"]) == ("warn", "clock.no_reply")
    assert seen["seconds"] < 1
