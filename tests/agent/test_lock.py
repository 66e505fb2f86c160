"""One daemon for one state directory, whatever became of the one before."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.lock import AlreadyRunning, lock

HOLDER = """
import sys
from agent.lock import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(place: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_daemon_is_refused_with_the_first_ones_process_id_and_the_way_out(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        with pytest.raises(AlreadyRunning) as refused, lock(str(tmp_path)):
            pass
        assert f"process id {first.pid} keeps its state in {tmp_path}; stop it first" in str(refused.value)
        first.communicate()
    with lock(str(tmp_path)):
        assert (tmp_path / "daemon.lock").read_text() == f"{os.getpid()}\n"


def test_one_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.kill()
        first.communicate()
    with lock(str(tmp_path)):
        pass


def test_it_is_free_once_the_block_ends_however_it_ends(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(str(tmp_path)):
        raise ZeroDivisionError
    with lock(str(tmp_path)):
        pass


def test_whoever_only_asks_for_a_moment_stops_no_daemon_from_starting(tmp_path: Path) -> None:
    with open(tmp_path / "daemon.lock", "w") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(asking, fcntl.LOCK_UN)
        with lock(str(tmp_path)):
            pass


def test_the_state_directory_is_made(tmp_path: Path) -> None:
    with lock(str(tmp_path / "a" / "b")):
        assert (tmp_path / "a" / "b" / "daemon.lock").exists()


@pytest.mark.parametrize("place", [None, "/proc/nowhere"], ids=["none", "read-only"])
def test_without_a_directory_to_lock_the_daemon_runs_all_the_same(place: str | None) -> None:
    with lock(place):
        pass


def test_a_file_system_without_locks_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unable)
    with lock(str(tmp_path)):
        pass


def test_no_child_inherits_the_lock(tmp_path: Path) -> None:
    with lock(str(tmp_path)):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        with lock(str(tmp_path)):
            pass
    finally:
        child.kill()
        child.wait()
