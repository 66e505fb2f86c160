"""Is state kept whole on a disk that is full, read-only or both? Real file systems, made for the test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.state import Track
from agent.store import Batch, Event, Store, StoreCorrupt, StoreError
from probes.model import Status

pytestmark = pytest.mark.lab
KILLED = """
import os, sys
from pathlib import Path
from agent.store import Batch, Store
state = Store(Path(sys.argv[1]))
state.save(Batch(marks={"m": "early"}))
state.save(Batch(marks={"m": "last"}), durable=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Not one byte is left while this lasts."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
    assert os.statvfs(disk).f_bavail == 0
    yield
    ballast.unlink()


def batch(number: int) -> Batch:
    return Batch(
        memories={f"p{each}": {"n": number, "text": "x" * 200} for each in range(40)},
        tracks={"p": Track(status=Status.OK, since=float(number))},
        events=[Event(float(number), "reloaded", {"n": number})],
        marks={"n": str(number)},
    )


def assert_is(state: Store, number: int) -> None:
    assert state.mark("n") == str(number)
    assert state.tracks()["p"].since == number
    assert {noted["n"] for noted in state.memories().values()} == {number}
    assert [event.facts["n"] for event in state.events(limit=1)] == [number]


@pytest.mark.parametrize("durable", [False, True])
def test_on_a_full_disk_nothing_is_lost_and_the_same_batch_is_kept_later(disk: Path, durable: bool) -> None:
    state = Store(disk / "s")
    state.save(batch(1))
    with filled(disk):
        for number in range(2, 40):
            try:
                state.save(batch(number), durable=durable)
            except StoreError as error:
                assert not isinstance(error, StoreCorrupt)
                assert "cannot write" in str(error)
                break
        else:
            pytest.fail("a full disk took everything")
        assert_is(state, number - 1)
        for _ in range(20):
            with pytest.raises(StoreError, match=r"full|I/O error"):
                state.save(batch(number), durable=durable)
        assert_is(state, number - 1)
        reader = Store(disk / "s", read_only=True)
        assert_is(reader, number - 1)
        reader.close()
    state.save(batch(number), durable=durable)
    assert_is(state, number)
    state.close()
    state = Store(disk / "s")
    assert_is(state, number)
    assert state.problems == []
    state.close()


def test_killed_on_a_full_disk_it_comes_back_with_what_it_had(disk: Path) -> None:
    with filled(disk), pytest.raises(StoreError, match="cannot open"):
        Store(disk / "s")
    subprocess.run([sys.executable, "-c", KILLED, str(disk / "s")], timeout=30, check=False)
    with filled(disk):
        with contextlib.closing(Store(disk / "s", read_only=True)) as reader:
            assert reader.mark("m") == "last"
        with contextlib.suppress(StoreError):  # whether it can be opened for writing depends on a page
            Store(disk / "s").close()
    with contextlib.closing(Store(disk / "s")) as state:
        assert state.mark("m") == "last"
        assert state.problems == []


def test_a_damaged_file_on_a_full_disk_is_mended_once_there_is_room(disk: Path) -> None:
    (disk / "s").write_bytes(b"junk" * 5000)
    with filled(disk), pytest.raises(StoreError):
        Store(disk / "s")
    with contextlib.closing(Store(disk / "s")) as state:
        assert "started anew" in state.problems[0]
        state.save(batch(1))
    assert [each.read_bytes() for each in disk.glob("s.corrupt-*")] == [b"junk" * 5000]


@pytest.mark.parametrize("lost", [(), ("-shm",)], ids=["all there", "no shm"])
def test_on_a_read_only_disk_readers_see_what_a_killed_daemon_left(disk: Path, lost: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(disk / "s")], timeout=30, check=False)
    assert (disk / "s-wal").stat().st_size > 0
    for tail in lost:
        (disk / f"s{tail}").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with contextlib.closing(Store(disk / "s", read_only=True)) as reader:
        assert reader.mark("m") == "last"
    with contextlib.closing(Store(disk / "s")) as state:
        for _ in range(3):
            with pytest.raises(StoreError, match=r"cannot open .*: Read-only file system") as told:
                state.save(batch(1))
            assert not isinstance(told.value, StoreCorrupt)
            assert state.mark("m") == "last"
        assert list(disk.glob("*corrupt*")) == []
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        state.save(batch(1))
        assert_is(state, 1)
        assert state.problems == []
    with contextlib.closing(Store(disk / "s")) as state:
        assert_is(state, 1)


def test_a_daemon_that_starts_on_a_read_only_disk_knows_its_past_and_writes_once_it_may(disk: Path) -> None:
    with contextlib.closing(Store(disk / "s")) as state:
        state.save(batch(3))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with contextlib.closing(Store(disk / "s", read_only=True)) as reader:
        assert_is(reader, 3)
    with pytest.raises(StoreError, match="cannot open"):
        Store(disk / "new" / "s")
    with contextlib.closing(Store(disk / "s")) as state:
        assert_is(state, 3)
        with pytest.raises(StoreError, match=r"cannot open .*: Read-only file system"):
            state.next_seq()
        assert_is(state, 3)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        state.save(batch(4))
        assert_is(state, 4)
        assert state.problems == []
