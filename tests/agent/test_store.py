"""State: survives restarts, two processes, corruption and disks that refuse."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.incidents import Incident
from agent.state import Track, Transition
from agent.store import (
    Batch,
    Event,
    Note,
    Silence,
    Store,
    StoreCorrupt,
    StoreError,
    StoreMissing,
    directory,
)
from probes.model import Status


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


# What the daemon keeps

INCIDENT = Incident(
    id="i-1",
    cause="isp.down",
    party="isp",
    category="network",
    confidence="certain",
    fingerprint="f" * 16,
    impact="stop",
    began_at=95.25,
    opened_at=100.5,
    probes=("auth", "gateway"),
    evidence=("auth: port.timeout",),
    headline="线路中断",
)
TRACK = Track(status=Status.FAIL, since=95.25, recent="..xxx", flips=(95.25,))


def incident(number: int, resolved_at: float | None = None, headline: str = "") -> Incident:
    return msgspec.structs.replace(
        INCIDENT, id=f"i-{number}", opened_at=float(number), resolved_at=resolved_at, headline=headline
    )


def moved(probe: str, at: float, new: Status = Status.FAIL) -> Transition:
    return Transition(probe=probe, at=at, old=None, new=new, reason="port.timeout")


def whole() -> Batch:
    """Something in every table that a batch can hold."""
    return Batch(
        memories={"auth": {"issuer": "CN=Bank CA"}},
        tracks={"auth": TRACK, "gateway": Track(candidate=Status.UNKNOWN, candidate_since=3.0, streak=1, recent="?")},
        incidents=[INCIDENT],
        transitions=[moved("auth", 95.25)],
        availability=[("2026-11-22", "auth", 3600.0, 12.5, 0.0)],
        events=[Event(1.5, "dark", {"why": "power_cut", "seconds": 60.0, "twice": False, "n": 3})],
        marks={"verdict": "down"},
        seq=7,
    )


def assert_holds_whole(state: Store) -> None:
    assert state.memories() == {"auth": {"issuer": "CN=Bank CA"}}
    assert state.tracks() == whole().tracks
    assert state.open_incidents() == [INCIDENT]
    assert state.incidents() == [INCIDENT]
    assert state.incident("i-1") == INCIDENT
    assert state.transitions() == [moved("auth", 95.25)]
    assert state.availability() == [("2026-11-22", "auth", 3600.0, 12.5, 0.0)]
    assert state.events() == [Event(1.5, "dark", {"why": "power_cut", "seconds": 60.0, "twice": False, "n": 3})]
    assert state.mark("verdict") == "down"
    assert state.problems == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@contextlib.contextmanager
def opened(path: Path, *, read_only: bool = False) -> Iterator[Store]:
    state = Store(path, read_only=read_only)
    try:
        yield state
    finally:
        state.close()


def test_a_batch_comes_back_after_a_restart_as_it_went_in(path: Path) -> None:
    with opened(path) as state:
        state.save(whole(), durable=True)
    with opened(path) as state:
        assert_holds_whole(state)
        assert state.next_seq() == 8


def test_saving_the_same_batch_twice_is_saving_it_once(path: Path) -> None:
    with opened(path) as state:
        state.save(whole())
        state.save(whole(), durable=True)
        assert_holds_whole(state)


def test_seq_never_falls(path: Path) -> None:
    with opened(path) as state:
        state.save(Batch(seq=9))
        state.save(Batch(seq=4))
        assert state.next_seq() == 10


def test_batches_merge_and_the_later_one_holds() -> None:
    first = Batch(memories={"a": {"n": 1}, "b": {}}, incidents=[incident(1)], marks={"m": "1"}, seq=5)
    first.availability.append(("d", "a", 1.0, 0.0, 0.0))
    first.transitions.append(moved("a", 1.0))
    later = Batch(memories={"a": {"n": 2}}, incidents=[incident(1, 9.0), incident(2)], marks={"m": "2"})
    later.availability.append(("d", "a", 2.0, 0.0, 0.0))
    later.transitions.append(moved("a", 2.0))
    later.events.append(Event(1.0, "reloaded"))
    first.merge(later)
    assert first == Batch(
        memories={"a": {"n": 2}, "b": {}},
        incidents=[incident(1, 9.0), incident(2)],
        transitions=[moved("a", 1.0), moved("a", 2.0)],
        availability=[("d", "a", 2.0, 0.0, 0.0)],
        events=[Event(1.0, "reloaded")],
        marks={"m": "2"},
        seq=5,
    )
    assert not first.empty
    assert Batch().empty
    assert not Batch(seq=0).empty


def test_lists_come_newest_first_and_in_part(path: Path) -> None:
    with opened(path) as state:
        state.save(
            Batch(
                incidents=[incident(1, resolved_at=50.0), incident(2), incident(3, resolved_at=60.0), incident(4)],
                transitions=[moved("a", 1.0), moved("b", 2.0), moved("a", 3.0)],
                events=[Event(float(at), "reloaded") for at in range(5)],
                availability=[("2026-11-21", "a", 1.0, 2.0, 3.0), ("2026-11-22", "a", 4.0, 5.0, 6.0)],
            )
        )
        assert [one.id for one in state.incidents()] == ["i-4", "i-3", "i-2", "i-1"]
        assert [one.id for one in state.incidents(since=55.0)] == ["i-4", "i-3", "i-2"]
        assert [one.id for one in state.incidents(limit=2)] == ["i-4", "i-3"]
        assert [one.id for one in state.open_incidents()] == ["i-2", "i-4"]
        assert state.incident("i-9") is None
        assert [one.at for one in state.transitions(2.0)] == [3.0, 2.0]
        assert [one.at for one in state.transitions(0.0, "a")] == [3.0, 1.0]
        assert [one.at for one in state.transitions(limit=1)] == [3.0]
        assert [one.at for one in state.events(2.0, 2)] == [4.0, 3.0]
        assert state.availability("2026-11-22") == [("2026-11-22", "a", 4.0, 5.0, 6.0)]
        assert state.mark("never") is None


def test_an_incident_that_is_resolved_is_one_incident(path: Path) -> None:
    with opened(path) as state:
        state.save(Batch(incidents=[incident(1)]))
        state.save(Batch(incidents=[incident(1, resolved_at=9.0)]))
        assert state.open_incidents() == []
        assert state.incidents() == [incident(1, resolved_at=9.0)]


def test_half_a_surrogate_from_a_devices_name_is_kept(path: Path) -> None:
    odd = incident(1, headline="drucker \udce4")
    with opened(path) as state:
        state.save(Batch(memories={"usb": {"product": "\udcff"}}, incidents=[odd]))
        assert state.memories() == {"usb": {"product": "\udcff"}}
        assert state.incidents() == [odd]


def test_people_write_notes_and_plan_work_and_the_daemon_notices(path: Path) -> None:
    with opened(path) as daemon, opened(path) as person:
        assert not daemon.changed()
        person.add_note(Note("i-1", 5.0, "li", "on my way", 99.0))
        person.add_note(Note("i-1", 6.0, "li", "replaced the cable", None))
        assert daemon.changed()
        assert not daemon.changed()
        assert daemon.notes("i-1") == [
            Note("i-1", 5.0, "li", "on my way", 99.0),
            Note("i-1", 6.0, "li", "replaced the cable", None),
        ]
        assert daemon.notes("i-2") == []
        first = person.add_silence(Silence(0, 10.0, 20.0, "li", "new till"))
        later = person.add_silence(Silence(0, 15.0, 30.0, "wang", ""))
        assert first.id != later.id
        assert daemon.silences(9.0) == []
        assert daemon.silences(10.0) == [first]
        assert daemon.silences(15.0) == [first, later]
        assert daemon.silences(20.0) == [later]
        assert person.end_silences(12.0) == 2
        assert daemon.silences(12.0) == daemon.silences(16.0) == []
        daemon.save(Batch(marks={"mine": "1"}))
        assert daemon.changed()
        daemon.save(Batch(marks={"mine": "2"}))
        assert not daemon.changed()


def test_what_did_not_change_is_not_written(path: Path) -> None:
    with opened(path) as state:
        state.save(whole())
        before = path.with_name("state.sqlite-wal").stat()
        state.save(whole())
        after = path.with_name("state.sqlite-wal").stat()
        assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def test_a_heartbeat_of_a_healthy_till_writes_a_few_kilobytes(path: Path) -> None:
    """16 probes whose availability grew: at most 6 KB of journal."""
    names = [f"acquirer-{number}/auth.example:443" for number in range(16)]
    with opened(path) as state:
        for beat in range(2):
            before = path.with_name("state.sqlite-wal").stat().st_size
            rows = [("2026-11-22", name, 300.0 * (beat + 1), 0.0, 0.0) for name in names]
            state.save(Batch(availability=rows, marks={"last_seen": str(beat)}))
        assert 0 < path.with_name("state.sqlite-wal").stat().st_size - before <= 6 * 1024


# Old files

VERSION_1 = """
    CREATE TABLE memory (probe TEXT PRIMARY KEY, noted TEXT NOT NULL) WITHOUT ROWID;
    INSERT INTO "memory" VALUES('auth','{"issuer": "CN=Bank CA"}');
    INSERT INTO "memory" VALUES('terminal/usb','{"count": 3, "since": 1795332778.25}');
    CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO "number" VALUES('seq',2);
    PRAGMA user_version=1;
"""
"""What the first posagent left behind: its own file, dumped."""


def make_version_1(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA page_size=4096")
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(VERSION_1)
    path.chmod(0o600)


def test_a_file_of_the_first_version_loses_nothing(path: Path) -> None:
    make_version_1(path)
    with opened(path) as state:
        assert state.memories() == {
            "auth": {"issuer": "CN=Bank CA"},
            "terminal/usb": {"count": 3, "since": 1795332778.25},
        }
        assert state.next_seq() == 3
        state.save(Batch(tracks={"auth": TRACK}))
    with opened(path) as state:
        assert state.tracks() == {"auth": TRACK}
        assert state.problems == []
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA page_size").fetchone() == (1024,)
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_of_the_first_version_is_migrated_while_another_program_reads_it(path: Path) -> None:
    make_version_1(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM memory").fetchone() == (2,)
        with opened(path) as state:
            state.save(Batch(tracks={"auth": TRACK}))
            assert state.next_seq() == 3
        assert reader.execute("SELECT value FROM number").fetchone() == (2,)


def test_a_damaged_file_of_the_first_version_is_moved_aside(path: Path) -> None:
    make_version_1(path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with opened(path) as state:
        assert "was corrupt" in state.problems[0]
        assert state.memories() == {}


# Damage


def fill(path: Path) -> None:
    """Some hundred pages, all of them in use, nothing in a journal."""
    with opened(path) as state:
        for number in range(20):
            state.save(
                Batch(
                    incidents=[incident(number, headline="x" * 900)],
                    memories={f"p{number}": {"n": number}},
                    tracks={f"p{number}": TRACK},
                    transitions=[moved(f"p{number}", float(number))],
                )
            )
    assert not path.with_name("state.sqlite-wal").exists()


def assert_sound_or_said(path: Path) -> None:
    """Whatever the file is, the agent runs on; what it then knows is true, and what it lost it says."""
    with opened(path) as state:
        known = (state.incidents(), state.memories(), state.tracks(), state.transitions())
        for one in known[0]:
            assert one.cause == "isp.down"
        assert all(one.reason == "port.timeout" for one in known[3])
        if state.problems and "started anew" in state.problems[0]:
            assert known == ([], {}, {}, [])
        else:
            assert state.problems or [len(each) for each in known] == [20, 20, 20, 20]
        state.save(Batch(tracks={"new": TRACK}), durable=True)
        assert state.tracks()["new"] == TRACK


def test_a_file_cut_off_at_any_page_is_never_read_as_healthy(path: Path) -> None:
    fill(path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 1024), *range(100, len(content), 5 * 1024)]:
        for old in path.parent.iterdir():
            old.unlink()
        path.write_bytes(content[:length])
        with opened(path) as state:
            assert "started anew" in state.problems[0], length


@pytest.mark.parametrize("junk", [b"\0" * 1024, b"\xa5" * 1024, bytes(range(256)) * 4], ids=["zero", "a5", "bytes"])
def test_a_file_with_any_page_garbled_is_sound_or_moved_aside(path: Path, junk: bytes) -> None:
    fill(path)
    content = path.read_bytes()
    for start in range(0, len(content), 1024):
        for old in path.parent.iterdir():
            old.unlink()
        path.write_bytes(content[:start] + junk + content[start + 1024 :])
        assert_sound_or_said(path)


@pytest.mark.parametrize("cut", [0, 10, 32, 500, 2000, 5000])
def test_a_journal_cut_off_or_garbled_leaves_whole_batches(path: Path, cut: int) -> None:
    """As after a power cut: the last moments may be gone, and what is there is whole."""
    with opened(path) as state:
        for number in range(20):
            state.save(Batch(memories={"a": {"n": number}, "b": {"n": number}}, tracks={"a": TRACK}))
        files = {tail: path.with_name(path.name + tail).read_bytes() for tail in ("", "-wal")}
    for journal in (files["-wal"][:cut], files["-wal"][:cut] + b"\xa5" * 1024 + files["-wal"][cut + 1024 :]):
        for old in path.parent.iterdir():
            old.unlink()
        path.write_bytes(files[""])
        path.with_name(path.name + "-wal").write_bytes(journal)
        with opened(path) as state:
            found = state.memories()
            assert found.get("a") == found.get("b")
            assert bool(found) == bool(state.tracks())
            assert state.problems == []


def test_damage_noticed_while_running_is_said_and_survived(path: Path) -> None:
    with opened(path) as state:
        state.save(Batch(incidents=[incident(number, headline="x" * 3000) for number in range(500)]))
    with opened(path) as state:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(1024)
            file.write(b"\xa5" * (size - 1024))
        with pytest.raises(StoreCorrupt, match=r"cannot (read|write) .*state\.sqlite: "):
            state.incidents(limit=1000)
        with pytest.raises(StoreCorrupt):
            for number in range(500):
                state.save(Batch(incidents=[incident(number, resolved_at=1.0)]))
        state.reopen()
        assert "was corrupt" in state.problems[0]
        state.save(whole(), durable=True)
        assert state.open_incidents() == [INCIDENT]
    assert len([one for one in path.parent.glob("*.corrupt-*") if not one.name.endswith(("-wal", "-shm"))]) == 1


def test_a_file_that_fails_twice_goes_aside_however_whole_it_looks(path: Path) -> None:
    with opened(path) as state:
        state.save(whole())
        state.reopen()
        assert_holds_whole(state)
        state.reopen()
        assert state.problems[0].startswith("state file was corrupt (it failed while in use); kept as state.sqlite.")
        assert state.tracks() == {}
        state.save(whole())
        state.reopen()
        assert state.tracks() == whole().tracks


@pytest.mark.parametrize("deed", ["removed", "replaced", "its directory removed"])
def test_a_file_taken_away_under_a_running_daemon_is_noticed(tmp_path: Path, deed: str) -> None:
    path = tmp_path / "d" / "state.sqlite"
    with opened(path) as state:
        state.save(whole())
        for each in list(path.parent.iterdir()):
            each.unlink()
        if deed == "replaced":
            with opened(path) as other:
                other.remember({"other": {}})
        if deed == "its directory removed":
            path.parent.rmdir()
        with pytest.raises(StoreCorrupt, match="removed or replaced"):
            state.save(Batch(marks={"m": "1"}))
        state.reopen()
        state.save(whole(), durable=True)
    with opened(path) as state:
        assert state.open_incidents() == [INCIDENT]


def test_a_reopening_that_fails_can_be_tried_again(path: Path) -> None:
    with opened(path) as state:
        path.unlink()
        path.mkdir()
        for _ in range(2):
            with pytest.raises(StoreCorrupt, match="removed or replaced"):
                state.save(whole())
            with pytest.raises(StoreError, match="cannot open"):
                state.reopen()
        path.rmdir()
        with pytest.raises(StoreCorrupt):
            state.save(whole())
        state.reopen()
        state.save(whole())


def test_a_dying_disk_does_not_fill_itself_with_damaged_files(path: Path) -> None:
    for _ in range(5):
        path.write_bytes(b"junk" * 1000)
        Store(path).close()
    assert len(list(path.parent.glob("*.corrupt-*"))) == 2


def test_two_that_find_it_damaged_mend_it_once(path: Path) -> None:
    path.write_bytes(b"junk" * 1000)
    code = f"from agent.store import Store; from pathlib import Path\nprint(Store(Path({str(path)!r})).next_seq())"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert sorted(int(process.communicate(timeout=30)[0]) for process in running) == [1, 2, 3, 4]
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


def test_a_garbled_record_hides_itself_and_no_other(path: Path) -> None:
    with opened(path) as state:
        state.save(whole())
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("INSERT INTO incident VALUES ('bad', 1, NULL, '{\"id\": 1}')")
            db.execute("INSERT INTO incident VALUES ('worse', 1, NULL, CAST(x'ff00fe' AS TEXT))")
            db.execute("INSERT INTO 'transition' VALUES (1, 'p', NULL, 'no such status', 'r')")
            db.execute("INSERT INTO event VALUES (1, 'dark', '[]')")
            db.execute("INSERT INTO track VALUES ('bad', '[]'), ('odd', x'ff')")
            db.execute("INSERT INTO availability VALUES ('2026-11-23', 'a', 'x', 1, 1)")
        assert state.incidents() == [INCIDENT]
        assert state.tracks() == whole().tracks
        assert state.transitions() == [moved("auth", 95.25)]
        assert len(state.events()) == 1
        assert len(state.availability()) == 1
        assert sorted(problem.split(" that ")[0] for problem in state.problems) == [
            "state file holds records of table availability",
            "state file holds records of table event",
            "state file holds records of table incident",
            "state file holds records of table transition",
        ]


FAILING = """
import resource, sys
from pathlib import Path
from agent.store import Batch, Store, StoreCorrupt, StoreError
path = Path(sys.argv[1])
state = Store(path)
state.save(Batch(marks={"n": "0"}))
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
size = path.with_name(path.name + "-wal").stat().st_size
failed = 0
for turn in range(1, 30):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100 * turn % 2000, most))
    wanted = Batch(marks={"n": str(turn)}, memories={f"p{each}": {"n": turn} for each in range(50)})
    try:
        state.save(wanted, durable=turn % 2 == 0)
    except StoreCorrupt:
        raise SystemExit("takes a failing disk for a damaged file")
    except StoreError:
        failed += 1
        assert state.mark("n") == str(turn - 1), state.mark("n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    state.save(wanted, durable=turn % 2 == 0)
    assert state.mark("n") == str(turn)
    size = 0 if turn % 3 else size
print(failed)
"""


def test_a_disk_that_stops_taking_bytes_while_running_is_no_damage_and_is_caught_up_with(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(path)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stderr == ""
    assert int(done.stdout) >= 20
    with opened(path) as state:
        assert state.mark("n") == "29"
        assert {noted["n"] for noted in state.memories().values()} == {29}
        assert state.problems == []


# Kills


KILLED = """
import sys
from pathlib import Path
from agent.state import Track, Transition
from agent.store import Batch, Event, Store
from probes.model import Status
state = Store(Path(sys.argv[1]))
number = int(sys.argv[2])
print("go", flush=True)
while True:
    number += 1
    state.save(
        Batch(
            memories={f"p{i}": {"n": number} for i in range(30)},
            tracks={"p": Track(status=Status.OK, since=float(number))},
            transitions=[Transition(probe="p", at=float(number), old=None, new=Status.OK, reason="ok")],
            events=[Event(float(number), "reloaded", {"n": number})],
            marks={"n": str(number)},
            seq=number,
        ),
        durable=number % 5 == 0,
    )
    if number % 50 == 0:
        state.trim(1e9, 1e9, 200_000)
"""


def test_sigkill_at_any_moment_leaves_whole_batches_and_loses_none(path: Path) -> None:
    reached = 0
    for turn in range(40):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(reached)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "go\n"
            time.sleep(0.0007 * turn * turn % 0.05)
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=10)
        with opened(path) as state:
            assert state.problems == []
            number = int(state.mark("n") or 0)
            assert number >= reached
            reached = number
            if number:
                assert state.memories() == {f"p{i}": {"n": number} for i in range(30)}
                assert state.tracks()["p"].since == number
                assert state.transitions(limit=1)[0].at == number
                assert state.events(limit=1)[0].facts == {"n": number}
                moments = [one.at for one in state.transitions(limit=5)]
                assert moments == sorted(set(moments), reverse=True)
                assert state.next_seq() > number
    assert reached > 100


def test_sigkill_while_the_file_is_made_leaves_none_or_a_good_one(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from agent.store import Store; print('go', flush=True); Store(Path(sys.argv[1])).next_seq()"
    for turn in range(15):
        path = tmp_path / str(turn) / "s"
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "go\n"
            time.sleep(0.0006 * turn)
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=10)
        with opened(path) as state:
            assert state.next_seq() in {1, 2}
            assert state.problems in ([], ["state file was empty; started anew"])


# Readers


def test_a_reader_beside_a_running_daemon_sees_what_was_saved(path: Path) -> None:
    with opened(path) as daemon:
        daemon.save(Batch(tracks={"a": TRACK}))
        with opened(path, read_only=True) as reader:
            assert reader.tracks() == {"a": TRACK}
            assert not reader.changed()
            daemon.save(Batch(marks={"m": "1"}))
            assert reader.changed()
            assert reader.mark("m") == "1"
            with pytest.raises(StoreError, match="cannot write"):
                reader.save(Batch(marks={"m": "2"}))


@pytest.mark.parametrize("name", ["with space", "50%25?mode=rw#x", "状态"])
def test_a_reader_finds_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    Store(tmp_path / name).close()
    with opened(tmp_path / name, read_only=True) as reader:
        assert reader.tracks() == {}


def test_a_reader_makes_no_file_and_mends_none(path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"cannot open .*state\.sqlite: there is no such file"):
        Store(path, read_only=True)
    assert not path.exists()
    path.write_bytes(b"junk" * 1000)
    with pytest.raises(StoreCorrupt, match="cannot open"):
        Store(path, read_only=True)
    assert path.read_bytes() == b"junk" * 1000
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="older posagent"):
        Store(path, read_only=True)
    path.unlink()
    make_version_1(path)
    with pytest.raises(StoreError, match=r"older posagent \(format 1\)"):
        Store(path, read_only=True)


READER = """
import os, shutil, sys, tempfile, urllib.parse  # all that is needed, while this user may still read Python itself
from pathlib import Path
from agent.store import Store
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(12345); os.setuid(54321)
with __import__("contextlib").closing(Store(Path(sys.argv[1]), read_only=True)) as state:
    print(sorted(state.tracks()), state.mark("m"), state.problems)
"""
WRITER = """
import os, sys
from pathlib import Path
from agent.store import Batch, Store
from agent.state import Track
state = Store(Path(sys.argv[1]))
state.save(Batch(tracks={"a": Track()}))
state.save(Batch(marks={"m": "last"}), durable=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A state file in a directory that a group may read, as systemd makes it; pytest's own are for one user alone."""
    place = Path(tempfile.mkdtemp(prefix="posagent-test-"))
    place.chmod(0o750)
    if os.geteuid() == 0:
        os.chown(place, 0, 12345)
    yield place / "state.sqlite"
    place.chmod(0o750)
    shutil.rmtree(place)


def read_as_group_member(path: Path) -> str:
    """What a user sees who may read the directory and the files in it, and write nothing."""
    for each in path.parent.iterdir():
        if os.geteuid() == 0:
            os.chown(each, 0, 12345)
        else:
            each.chmod(0o440)
    if os.geteuid() != 0:
        path.parent.chmod(0o550)
    before = sorted(each.name for each in path.parent.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)], check=False, capture_output=True, text=True, timeout=30
    )
    assert sorted(each.name for each in path.parent.iterdir()) == before
    return done.stdout.strip() or done.stderr


def test_a_group_member_reads_beside_a_running_daemon(shared: Path) -> None:
    with opened(shared) as daemon:
        daemon.save(Batch(tracks={"a": TRACK}, marks={"m": "1"}))
        assert read_as_group_member(shared) == "['a'] 1 []"


def test_a_group_member_reads_after_the_daemon_stopped(shared: Path) -> None:
    with opened(shared) as daemon:
        daemon.save(Batch(tracks={"a": TRACK}, marks={"m": "1"}))
    assert read_as_group_member(shared) == "['a'] 1 []"


@pytest.mark.parametrize("lost", [(), ("-shm",)], ids=["all there", "no shm"])
def test_a_group_member_reads_what_a_killed_daemon_left(shared: Path, lost: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, "-c", WRITER, str(shared)], timeout=30, check=False)
    assert shared.with_name("state.sqlite-wal").stat().st_size > 0
    for tail in lost:
        shared.with_name(shared.name + tail).unlink()
    assert read_as_group_member(shared) == "['a'] last []"


# Limits


def test_what_is_over_is_forgotten_in_time_and_what_is_open_never(path: Path) -> None:
    now, day = 1_795_332_778.0, 86400.0
    old, young = now - 91 * day, now - 1 * day
    with opened(path) as state:
        state.save(
            Batch(
                memories={"a": {}},
                tracks={"a": TRACK},
                incidents=[
                    msgspec.structs.replace(incident(1), opened_at=old),
                    msgspec.structs.replace(incident(2, resolved_at=old + 1), opened_at=old),
                    msgspec.structs.replace(incident(3, resolved_at=young), opened_at=old),
                ],
                transitions=[moved("a", old), moved("a", young)],
                events=[Event(old, "dark"), Event(young, "dark")],
                availability=[("2026-08-01", "a", 1.0, 1.0, 1.0), ("2026-11-22", "a", 1.0, 1.0, 1.0)],
                marks={"m": "1"},
            )
        )
        for number in (1, 2):
            state.add_note(Note(f"i-{number}", old, "li", "", None))
        state.add_silence(Silence(0, old, old + 1, "li", ""))
        last = state.add_silence(Silence(0, young, now + 1, "li", ""))
        assert state.trim(now, 90 * day, 10_000_000) == 6
        assert {one.id for one in state.incidents()} == {"i-1", "i-3"}
        assert [one.at for one in state.transitions()] == [young]
        assert [one.at for one in state.events()] == [young]
        assert [row[0] for row in state.availability()] == ["2026-11-22"]
        assert len(state.notes("i-1")) == 1
        assert state.notes("i-2") == []
        assert state.silences(now) == [last]
        assert (list(state.tracks()), list(state.memories()), state.mark("m")) == (["a"], ["a"], "1")
        assert state.trim(now, 90 * day, 10_000_000) == 0


def test_a_file_that_grew_too_large_loses_the_oldest_and_becomes_smaller(path: Path) -> None:
    with opened(path) as state:
        everything = [incident(number, resolved_at=float(number), headline="x" * 800) for number in range(1000)]
        state.save(
            Batch(
                incidents=[*everything, incident(-1)],
                transitions=[moved("a", float(number)) for number in range(1000)],
                events=[Event(float(number), "reloaded") for number in range(1000)],
                tracks={"a": TRACK},
            )
        )
        state.add_note(Note("i-0", 1.0, "li", "", None))
        dropped = state.trim(1000.0, 1e6, 300_000)
        left = [one.id for one in state.incidents(limit=5000)]
        assert 50 < len(left) < 400
        assert left == [f"i-{number}" for number in range(999, 1000 - len(left), -1)] + ["i--1"]
        moments = [one.at for one in state.transitions(limit=5000)]
        assert moments == [float(number) for number in range(999, 999 - len(moments), -1)]
        assert dropped == 1000 - (len(left) - 1) + 1000 - len(moments) + 1000 - len(state.events(limit=5000)) + 1
        assert state.tracks() == {"a": TRACK}
        assert state.trim(1000.0, 1e6, 300_000) == 0
        assert (
            sum(each.stat().st_size for each in path.parent.glob("state.sqlite*") if "shm" not in each.name) < 310_000
        )


def test_a_limit_that_cannot_be_met_is_no_endless_loop(path: Path) -> None:
    with opened(path) as state:
        state.save(whole())
        assert state.trim(1000.0, 1e6, 1) > 0
        assert state.open_incidents() == [INCIDENT]
        assert state.tracks() == whole().tracks


def test_the_journal_stays_small(path: Path) -> None:
    with opened(path) as state:
        for number in range(300):
            state.save(Batch(memories={f"p{each}": {"n": number, "text": "x" * 60} for each in range(60)}))
        assert path.with_name("state.sqlite-wal").stat().st_size < 700_000
