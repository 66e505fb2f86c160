"""What waits for the centre is in the state file as often as it was promised: once, until every way is done with it."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store import Batch, Done, Kept, Store, schema

NOON = 1_760_000_000.0


def kept(seq: int, *ways: str, body: bytes = b"body") -> Kept:
    return Kept(
        key=f"{seq}-k", kind="report", seq=seq, at=NOON, changed=seq % 2 == 0, ways=ways or ("https",), body=body
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state.sqlite")
    yield made
    made.close()


def test_the_index_has_everything_but_the_bodies_in_the_order_in_which_it_came(store: Store) -> None:
    store.save(Batch(parcels=[kept(2, "https", "mqtt"), kept(1)]))
    assert [(one.seq, one.ways, one.changed, one.body) for one in store.parcels.index()] == [
        (2, ("https", "mqtt"), True, b""),
        (1, ("https",), False, b""),
    ]
    assert store.parcels.body("2-k") == b"body"
    assert store.parcels.body("3-k") is None


def test_a_row_goes_when_every_way_is_done_with_it(store: Store) -> None:
    store.save(Batch(parcels=[kept(1, "https", "mqtt")]))
    store.save(Batch(done=[Done("1-k", "mqtt")]))
    assert [one.ways for one in store.parcels.index()] == [("https",)]
    store.save(Batch(done=[Done("1-k", "mqtt"), Done("2-k", "https")]))
    assert len(store.parcels.index()) == 1
    store.save(Batch(done=[Done("1-k", "https")]))
    assert store.parcels.index() == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from(["https", "mqtt"])), max_size=20))
def test_merged_batches_say_the_same_as_one_after_another(steps: list[tuple[bool, int, str]]) -> None:
    """And saving twice says the same as saving once."""
    batches, known = [], set()
    for comes, number, way in steps:
        if comes and number not in known:
            known.add(number)
            batches.append(Batch(parcels=[kept(number, "https", "mqtt")]))
        elif not comes and number in known:
            batches.append(Batch(done=[Done(f"{number}-k", way)]))
    whole = Batch()
    for batch in batches:
        whole.merge(batch)

    def left(all_of_them: list[Batch]) -> list[tuple[str, tuple[str, ...]]]:
        with tempfile.TemporaryDirectory() as place, contextlib.closing(Store(Path(place) / "state.sqlite")) as made:
            for batch in all_of_them:
                made.save(batch)
            return sorted((one.key, one.ways) for one in made.parcels.index())

    assert left(batches) == left([whole]) == left([whole, whole])


def test_a_file_of_the_release_before_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        for script in schema.MIGRATIONS[:3]:
            db.executescript(script)
        db.execute("PRAGMA user_version=3")
        db.execute("INSERT INTO number VALUES ('seq', 41)")
        db.commit()
    with contextlib.closing(Store(path)) as store:
        assert store.next_seq() == 42
        store.save(Batch(parcels=[kept(1)]))
        assert len(store.parcels.index()) == 1


def test_a_row_that_cannot_be_read_is_left_out_and_said(store: Store, tmp_path: Path) -> None:
    store.save(Batch(parcels=[kept(1), kept(2)]))
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        db.execute("UPDATE parcel SET kind = 'nonsense' WHERE seq = 1")
        db.commit()
    assert [one.seq for one in store.parcels.index()] == [2]
    assert "parcel" in store.problems[0]


def test_what_waits_does_not_push_the_past_out(store: Store) -> None:
    events = [(NOON - number, "dark", "{}") for number in range(100)]
    store._db.executemany("INSERT INTO event VALUES (?, ?, ?)", events)
    store.save(Batch(parcels=[kept(number, body=b"x" * 5000) for number in range(300)]))
    assert store.trim(NOON, 86400.0, 1 << 20) == 0
    assert (len(store.parcels.index()), len(store.events())) == (300, 100)


@pytest.mark.parametrize("days_kept", [1, 30, 90, 3650])
def test_what_waited_for_a_month_is_forgotten_however_long_the_past_is_kept(store: Store, days_kept: int) -> None:
    store.save(Batch(parcels=[kept(1)]))
    assert store.trim(NOON + 29 * 86400.0, days_kept * 86400.0, 1 << 30) == 0
    assert store.trim(NOON + 31 * 86400.0, days_kept * 86400.0, 1 << 30) == 1
    assert store.parcels.index() == []
