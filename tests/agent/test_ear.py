"""Does the daemon hear at once that a technician's command wrote, and does it know when it hears nothing?"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import Batch, Store
from agent.watching import ear
from agent.watching.ear import Ear


class Listener:
    """An ear at a directory, and how often it heard something."""

    def __init__(self) -> None:
        self.heard = threading.Semaphore(0)
        self.ear = Ear("state.sqlite-wal", self.heard.release)

    def listens(self) -> bool:
        return self.ear.hears

    def hears(self, seconds: float = 2.0) -> bool:
        return self.heard.acquire(timeout=seconds)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.ear.stop()


def test_what_another_connection_writes_is_heard_at_once(listener: Listener, tmp_path: Path) -> None:
    daemon, command = Store(tmp_path / "state.sqlite"), Store(tmp_path / "state.sqlite")
    listener.ear.start(tmp_path)
    assert listener.listens()
    assert not listener.hears(0.3)
    command.save(Batch(marks={"who": "a technician"}))
    assert listener.hears(1.0)
    assert daemon.changed()
    assert not listener.hears(0.3), "one write is told once"
    command.close()
    daemon.close()


def test_other_files_beside_it_are_none_of_its_business(listener: Listener, tmp_path: Path) -> None:
    listener.ear.start(tmp_path)
    (tmp_path / "health.json").write_text("{}")
    (tmp_path / "state.sqlite-walrus").write_text("tusk")
    assert not listener.hears(0.4)


def test_a_file_that_is_made_later_is_heard_too(listener: Listener, tmp_path: Path) -> None:
    listener.ear.start(tmp_path)
    made = Store(tmp_path / "state.sqlite")
    made.save(Batch(marks={"a": "b"}))
    assert listener.hears()
    made.close()


def test_many_writes_are_told_at_most_ten_times_a_second(listener: Listener, tmp_path: Path) -> None:
    listener.ear.start(tmp_path)
    with (tmp_path / "state.sqlite-wal").open("wb", buffering=0) as journal:
        for _ in range(5000):
            journal.write(b"x")
    assert listener.hears()
    threading.Event().wait(0.5)
    told = 1
    while listener.hears(0):
        told += 1
    assert told <= 10


def test_a_directory_that_goes_is_no_longer_listened_to_and_one_that_comes_back_is(
    listener: Listener, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    listener.ear.start(home)
    assert not listener.listens(), "there is nothing to listen at"
    home.mkdir()
    listener.ear.start(home)
    assert listener.listens()
    shutil.rmtree(home)
    thread = listener.ear._thread
    assert thread is not None
    thread.join(2)
    assert not listener.listens()
    home.mkdir()
    listener.ear.start(home)
    assert listener.listens()
    (home / "state.sqlite-wal").write_text("x")
    assert listener.hears()


def test_a_kernel_that_refuses_is_not_listened_to(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_directory: Path) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(ear, "_watch", refuse)
    listener.ear.start(tmp_path)
    assert not listener.listens()


def test_it_leaves_no_file_open_and_ends_at_once(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        one = Listener()
        one.ear.start(tmp_path)
        one.ear.start(tmp_path)
        one.ear.stop()
        one.ear.stop()
        assert not one.listens()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_queue_that_ran_over_counts_as_heard() -> None:
    assert ear._taken(ear.HEAD.pack(-1, ear.OVERFLOWN, 0, 0), b"state.sqlite-wal") == (True, False)
    name = b"state.sqlite-wal".ljust(32, b"\0")
    assert ear._taken(ear.HEAD.pack(1, ear.MODIFIED, 0, 32) + name, b"state.sqlite-wal") == (True, False)
    assert ear._taken(ear.HEAD.pack(1, ear.IGNORED, 0, 0), b"state.sqlite-wal") == (False, True)
    assert ear._taken(b"", b"state.sqlite-wal") == (False, False)
