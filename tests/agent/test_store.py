"""State: survives restarts, two processes, corruption and disks that refuse."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.store import Store, StoreError, directory


def test_seq_rises_over_restarts(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        state = Store(tmp_path / "s.sqlite")
        assert state.next_seq() == expected
        state.close()


def test_two_processes_never_get_the_same_seq(tmp_path: Path) -> None:
    code = f"from agent.store import Store; from pathlib import Path\ns = Store(Path({str(tmp_path / 's')!r}))\nprint(*[s.next_seq() for _ in range(50)])"
    Store(tmp_path / "s").close()
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    numbers = [int(n) for process in running for n in process.communicate(timeout=30)[0].split()]
    assert sorted(numbers) == list(range(1, 101))


def test_memory_of_one_probe_is_kept_when_another_is_written(tmp_path: Path) -> None:
    state = Store(tmp_path / "s")
    state.remember({"a": {"issuer": "CN=Bank CA"}, "b": {"count": 1}})
    state.remember({"b": {"count": 2}})
    state.close()
    state = Store(tmp_path / "s")
    assert state.memories() == {"a": {"issuer": "CN=Bank CA"}, "b": {"count": 2}}
    state.close()


@pytest.mark.parametrize(
    "content", [b"this is no database, it only looks like a file" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_corrupt_file_is_moved_aside_and_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s"
    path.write_bytes(content)
    state = Store(path)
    assert state.next_seq() == 1
    assert "was corrupt" in state.problems[0]
    state.close()
    (aside,) = tmp_path.glob("s.corrupt-*")
    assert aside.read_bytes() == content


def test_a_newer_format_is_refused_not_destroyed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StoreError, match="newer posagent"):
        Store(path)
    assert path.exists()


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open .*file/s"):
        Store(tmp_path / "file" / "s")


def test_state_is_for_its_user_and_the_file_may_be_read_by_its_group(tmp_path: Path) -> None:
    Store(tmp_path / "new" / "s").close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "s").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/posagent:/other", "XDG_STATE_HOME": "/x"}, "/var/lib/posagent"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/posagent"),
        ({"HOME": "/h"}, "/h/.local/state/posagent"),
    ],
)
def test_where_state_lives(env: dict[str, str], expected: str) -> None:
    assert directory(env) == Path(expected)


def test_many_first_looks_at_once_make_one_file(tmp_path: Path) -> None:
    code = f"from agent.store import Store; from pathlib import Path\nprint(Store(Path({str(tmp_path / 's')!r})).next_seq())"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert sorted(int(process.communicate(timeout=30)[0]) for process in running) == list(range(1, 9))


def test_damage_behind_a_good_beginning_is_moved_aside_with_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "s"
    Store(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    (tmp_path / "s-wal").write_bytes(b"stale")
    state = Store(path)
    assert "was corrupt" in state.problems[0]
    assert state.next_seq() == 1
    assert state.memories() == {}
    state.close()


def test_a_file_without_its_tables_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "s"
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE memory")
    db.close()
    state = Store(path)
    assert "a table is missing" in state.problems[0]
    state.close()


def test_a_note_that_cannot_be_read_is_forgotten_and_the_others_are_not(tmp_path: Path) -> None:
    state = Store(tmp_path / "s")
    state.remember({"good": {"count": 1}})
    db = sqlite3.connect(tmp_path / "s")
    with db:
        db.executemany("INSERT INTO memory VALUES (?, ?)", [("bad", "{no json"), ("list", "[1]"), ("bytes", b"\xff")])
    db.close()
    assert state.memories() == {"good": {"count": 1}}
    state.close()
