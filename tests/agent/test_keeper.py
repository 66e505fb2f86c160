"""What is known reaches the disk in the end: full, read-only, damaged, taken away, or not there at first."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import keeper as keepers
from agent.incidents import Incident
from agent.keeper import Keeper, all_of
from agent.state import Track, Transition
from agent.store import Batch, Event, Store, StoreError
from probes.model import Status

NOON = 1_760_000_000.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refused is tried again after 50 ms."""
    monkeypatch.setattr(keepers, "RETRY_S", 0.05)
    monkeypatch.setattr(keepers, "SLOWEST_S", 0.2)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = keeper_at(tmp_path)
    made.open()
    yield made
    made.close()


def keeper_at(path: Path) -> Keeper:
    return Keeper(path / "health.json", {"STATE_DIRECTORY": str(path)})


def stored(path: Path) -> Store:
    return Store(path / "state.sqlite", read_only=True)


def incident(name: str, *probes: str, **more: Any) -> Incident:
    return msgspec.structs.replace(
        Incident(
            id=name,
            cause="acquirer.unreachable",
            party="acquirer",
            category="host",
            confidence="likely",
            fingerprint="f",
            impact="stop",
            began_at=NOON,
            opened_at=NOON,
            probes=probes,
        ),
        **more,
    )


def change(number: int, new: Status = Status.FAIL) -> Transition:
    return Transition(probe="auth", at=NOON + number, old=Status.OK, new=new, reason="port.timeout")


def until_saved(keeper: Keeper, **more: Any) -> None:
    ends = time.monotonic() + 5
    while not keeper.save(Batch(), **more) or keeper.wait(time.monotonic()) != float("inf"):
        assert time.monotonic() < ends, keeper.problems
        time.sleep(max(0.001, keeper.wait(time.monotonic())))


class Refusing:
    """A disk that refuses: every write of a store fails with this."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses, self.tried = True, 0
        save = Store.save

        def refuse(store: Store, batch: Batch, *, durable: bool = False) -> None:
            self.tried += 1
            self.durable = durable
            if self.refuses:
                raise StoreError("cannot write state.sqlite: database or disk is full")
            save(store, batch, durable=durable)

        monkeypatch.setattr(Store, "save", refuse)


def test_what_is_saved_is_there_for_the_next_life(keeper: Keeper, tmp_path: Path) -> None:
    track = Track(status=Status.FAIL, since=NOON)
    batch = Batch(tracks={"auth": track}, incidents=[incident("i1", "auth")], marks={"verdict": "down unknown 5"})
    assert keeper.save(batch, durable=True)
    assert keeper.wait(time.monotonic()) == float("inf")
    keeper.close()
    after = keeper_at(tmp_path)
    after.open()
    assert after.tracks()["auth"].status is Status.FAIL
    assert [each.id for each in after.book(NOON).open] == ["i1"]
    assert after.mark("verdict") == "down unknown 5"
    after.close()


def test_a_full_disk_is_said_and_everything_is_caught_up_with_in_order(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Refusing(monkeypatch)
    assert not keeper.save(Batch(transitions=[change(1)], incidents=[incident("i1", "auth")]), durable=True)
    assert keeper.problems["state"] == (
        "cannot write state.sqlite: database or disk is full; posagent runs on in memory and tries again"
    )
    assert 0 < keeper.wait(time.monotonic()) <= 0.05
    assert not keeper.save(Batch(transitions=[change(2, Status.OK)], incidents=[incident("i1", resolved_at=NOON + 2)]))
    assert disk.tried == 1, "not tried again before its time"
    disk.refuses = False
    until_saved(keeper)
    assert disk.durable, "what was to be on the disk at once is so when it gets there"
    assert keeper.problems == {}
    there = stored(tmp_path)
    assert [each.at for each in there.transitions()] == [NOON + 2, NOON + 1]
    assert [(each.id, each.resolved_at) for each in there.incidents()] == [("i1", NOON + 2)]
    there.close()


def test_a_disk_that_goes_on_refusing_is_tried_less_and_less_often(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Refusing(monkeypatch)
    waits = []
    for number in range(5):
        keeper.save(Batch(transitions=[change(number)]))
        waits.append(round(keeper.wait(time.monotonic()), 2))
        time.sleep(keeper.wait(time.monotonic()))
    assert disk.tried == 5
    assert waits == sorted(waits)
    assert waits[0] <= 0.05 < waits[-1] <= 0.2


def test_what_waits_in_memory_has_an_end(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    Refusing(monkeypatch)
    monkeypatch.setattr(keepers, "UNSAVED_AT_MOST", 50)
    for number in range(500):
        event = Event(NOON + number, "suspended")
        row = ("2026-11-22", f"p{number}", 1.0, 0.0, 0.0)
        keeper.save(
            Batch(transitions=[change(number)], events=[event], incidents=[incident(f"i{number}")], availability=[row])
        )
    waiting = keeper._pending
    for rows in (waiting.transitions, waiting.events, waiting.incidents, waiting.availability):
        assert len(rows) == 50
    assert waiting.transitions[-1].at == NOON + 499, "the newest stay"


def test_a_file_that_was_taken_away_is_written_anew_with_everything(keeper: Keeper, tmp_path: Path) -> None:
    keeper.save(Batch(incidents=[incident("i1", "auth")], tracks={"auth": Track(status=Status.FAIL)}))
    keeper.next_seq()
    for each in tmp_path.glob("state.sqlite*"):
        each.unlink()
    everything = all_of({"auth": Track(status=Status.FAIL)}, {"auth": {"n": 1}}, [incident("i1", "auth")])
    everything.marks["boot_id"] = "b"
    assert keeper.save(Batch(transitions=[change(1)]), everything=lambda: everything)
    there = stored(tmp_path)
    assert [each.id for each in there.open_incidents()] == ["i1"]
    assert there.tracks()["auth"].status is Status.FAIL
    assert there.mark("boot_id") == "b"
    assert len(there.transitions()) == 1
    there.close()


def test_a_damaged_file_is_moved_aside_said_once_and_the_number_of_reports_still_rises(
    keeper: Keeper, tmp_path: Path
) -> None:
    before = [keeper.next_seq() for _ in range(5)]
    keeper.save(Batch(incidents=[incident("i1", "auth")]))
    keeper.write(json.dumps({"seq": before[-1], "generated_at": "2026-11-22T08:00:00.000Z", "boot_id": "b"}).encode())
    keeper.close()
    (tmp_path / "state.sqlite").write_bytes(b"no database" * 1000)
    after = keeper_at(tmp_path)
    after.open()
    assert "state.corrupt" in after.problems
    assert [each.what for each in after.news] == ["state.corrupt"]
    assert after.next_seq() > before[-1]
    assert list(tmp_path.glob("state.sqlite.*")), "the old file is kept aside"
    assert after.save(Batch(marks={"a": "b"}))
    after.tracks()
    assert len(after.news) == 1
    after.close()


def test_the_number_of_reports_rises_over_lives_that_were_killed(tmp_path: Path) -> None:
    last = 0
    for _ in range(5):
        keeper = keeper_at(tmp_path)
        keeper.open()
        for _ in range(3):
            number = keeper.next_seq()
            assert number > last
            last = number
            content = {"seq": number, "generated_at": "2026-11-22T08:00:00.000Z", "boot_id": "b"}
            assert keeper.write(json.dumps(content).encode())
        keeper.close()  # without a save: as after SIGKILL


def test_a_read_that_finds_damage_makes_the_file_be_begun_anew(keeper: Keeper, tmp_path: Path) -> None:
    for start in range(0, 60_000, 15_000):  # more than fits into memory
        keeper.save(Batch(transitions=[change(number) for number in range(start, start + 15_000)]))
    keeper.close()
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    after = keeper_at(tmp_path)
    after.open()
    path = tmp_path / "state.sqlite"
    with open(path, "r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))
    assert after._ask(lambda store: len(store.transitions(limit=60_000)), -1) == -1
    assert "state" in after.problems
    everything = Batch(tracks={"auth": Track(status=Status.OK)})
    until_saved(after, everything=lambda: everything)
    assert after.tracks().keys() == {"auth"}
    assert set(after.problems) == {"state.corrupt"}
    assert [each.what for each in after.news] == ["state.corrupt"]
    assert list(tmp_path.glob("state.sqlite.*"))
    after.close()


def test_a_directory_that_comes_later_gets_everything(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet"
    (tmp_path / "not").write_text("in the way")
    keeper = keeper_at(place)
    keeper.open()
    assert "state" in keeper.problems
    assert not keeper.write(b"{}\n")
    assert keeper.problems["report"].startswith(f"cannot write {place}/health.json: ")
    assert not keeper.save(Batch(transitions=[change(1)]))
    assert keeper.problems["state"].count("posagent runs on in memory") == 1
    (tmp_path / "not").unlink()
    until_saved(keeper, everything=lambda: all_of({"auth": Track(status=Status.FAIL)}, {}, [incident("i1", "auth")]))
    assert keeper.write(b"{}\n")
    assert keeper.problems == {}
    there = stored(place)
    assert [each.id for each in there.open_incidents()] == ["i1"]
    assert len(there.transitions()) == 1
    there.close()
    keeper.close()


def test_a_user_without_a_home_is_told_so_and_nothing_is_tried_for_ever() -> None:
    keeper = Keeper(None, {})
    assert keeper.write(b"{}\n")
    assert "set `path` in [report]" in keeper.problems["report"]
    assert keeper.last_report() == (0, 0.0, "")
    assert [keeper.next_seq(), keeper.next_seq()] == [1, 2]
    keeper.close()


def test_what_killed_writers_left_half_written_goes_and_what_is_being_written_stays(
    keeper: Keeper, tmp_path: Path
) -> None:
    old, new = tmp_path / ".health.json.abc", tmp_path / ".health.json.def"
    for each in (old, new):
        each.write_bytes(b"{")
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    keeper.write(b"{}\n")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'"x"', b"\xff", b'{"seq": null}', b'{"seq": 1, "generated_at": 5}']
)
def test_whatever_stands_where_the_last_report_should_the_daemon_begins(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "health.json").write_bytes(content)
    keeper = keeper_at(tmp_path)
    keeper.open()
    assert keeper.next_seq() == 1
    keeper.close()
