"""The outbox: a notice is there once per key and channel, in order, until it is finished."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.escalation import Told
from agent.escalation.words import Rung
from agent.store import Batch, Fate, Outgoing, Store, schema
from agent.store.words import NoticeState
from tests.agent.telling import NOON, Desk, World, fault

DAY = 86400.0


def notice(number: int, channel: str = "staff", incident: str = "i-1", due: float = NOON, **other: object) -> Outgoing:
    made = Outgoing(
        key=f"{incident}/{number}",
        channel=channel,
        incident=incident,
        what="opened",
        at=NOON,
        created=NOON,
        due=due,
        message='{"text": "线路中断"}',
    )
    return msgspec.structs.replace(made, **other)


def fate(number: int, state: NoticeState, channel: str = "staff", incident: str = "i-1", **other: object) -> Fate:
    made = Fate(key=f"{incident}/{number}", channel=channel, state=state, due=NOON, attempts=1, at=NOON + 1)
    return msgspec.structs.replace(made, **other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(path)) as opened:
        yield opened


def keys(found: list[Outgoing]) -> list[str]:
    return [one.key for one in found]


def test_a_notice_comes_back_as_it_went_in(store: Store, path: Path) -> None:
    one = notice(1, level=2, instead_of="mail", detail="half a surrogate \udc80")
    store.save(Batch(notices=[one]), durable=True)
    with contextlib.closing(Store(path)) as again:
        assert again.outbox.due("staff", NOON, 5) == [msgspec.structs.replace(one, detail="half a surrogate ?")]
        assert again.problems == []


def test_the_same_notice_is_there_once_for_each_channel_whatever_is_saved_again(store: Store) -> None:
    store.save(Batch(notices=[notice(1), notice(1, "mail")]))
    store.save(Batch(fates=[fate(1, "sent")]))
    store.save(Batch(notices=[notice(1), notice(1, "mail")]))
    assert store.outbox.due("staff", NOON, 5) == []
    assert keys(store.outbox.due("mail", NOON, 5)) == ["i-1/1"]
    assert store.outbox.counts() == {"sent": 1, "waiting": 1}


def test_what_was_sent_is_never_sent_again_by_a_fate_that_comes_late(store: Store) -> None:
    store.save(Batch(notices=[notice(1)]))
    store.save(Batch(fates=[fate(1, "sent")]))
    store.save(Batch(fates=[fate(1, "waiting", attempts=9)]))
    (one,) = store.outbox.of("i-1")
    assert (one.state, one.attempts, one.finished, one.message) == ("sent", 1, NOON + 1, "")


def test_of_an_incident_the_recovery_never_overtakes_the_fault(store: Store) -> None:
    store.save(Batch(notices=[notice(1), notice(2), notice(1, incident="i-2"), notice(2, "mail")]))
    assert keys(store.outbox.due("staff", NOON, 5)) == ["i-1/1", "i-2/1"]
    store.save(Batch(fates=[fate(1, "waiting", due=NOON + 600)]))
    assert keys(store.outbox.due("staff", NOON, 5)) == ["i-2/1"], "the second waits with the first"
    assert store.outbox.next_due("staff") == NOON
    store.save(Batch(fates=[fate(1, "sent", incident="i-2")]))
    assert store.outbox.next_due("staff") == NOON + 600
    store.save(Batch(fates=[fate(1, "refused")]))
    assert keys(store.outbox.due("staff", NOON, 5)) == ["i-1/2"]
    assert keys(store.outbox.due("mail", NOON, 5)) == ["i-1/2"]


def test_a_channel_that_works_again_has_all_due_at_once(store: Store) -> None:
    store.save(Batch(notices=[notice(1, due=NOON + 900), notice(1, incident="i-2"), notice(1, "mail", due=NOON + 9)]))
    assert store.hasten("staff", NOON) == 1
    assert len(store.outbox.due("staff", NOON, 5)) == 2
    assert store.outbox.due("mail", NOON, 5) == []


def test_what_a_wrong_clock_put_off_for_years_is_due(store: Store) -> None:
    store.save(Batch(notices=[notice(1, due=NOON + 26 * 365 * DAY)]))
    assert keys(store.outbox.due("staff", NOON, 5)) == ["i-1/1"]


def test_those_a_dead_channel_holds_are_known_by_age(store: Store) -> None:
    store.save(Batch(notices=[notice(1, created=NOON - 700), notice(2, created=NOON - 100)]))
    assert keys(store.outbox.stale("staff", NOON - 600, 5)) == ["i-1/1"]
    assert store.outbox.oldest("staff") == NOON - 700
    store.save(Batch(fates=[fate(1, "waiting", passed_on=True)]))
    assert store.outbox.stale("staff", NOON - 600, 5) == []
    assert store.outbox.oldest("staff") == NOON - 100
    store.save(Batch(fates=[fate(1, "waiting", passed_on=False)]))
    assert store.outbox.stale("staff", NOON - 600, 5) == [], "once passed on, for good"


def test_over_quota_the_oldest_of_what_is_over_goes_first(store: Store) -> None:
    over = [
        fault("i-2", NOON - 900, resolved_at=NOON - 100),
        fault("i-3", NOON - 800, resolved_at=NOON - 200),
    ]
    notices = [notice(1, incident=f"i-{number}", created=NOON - 1000 + number) for number in (1, 2, 3)]
    store.save(Batch(incidents=[fault("i-1", NOON - 1000), *over], notices=notices))
    assert store.bring_down(3, NOON) == 0
    assert store.bring_down(2, NOON) == 1
    assert keys(store.outbox.due("staff", NOON, 5)) == ["i-1/1", "i-2/1"]
    assert store.bring_down(1, NOON) == 1
    assert keys(store.outbox.due("staff", NOON, 5)) == ["i-1/1"], "what is still wrong stays"
    assert store.outbox.counts() == {"waiting": 1, "dropped": 2}
    assert store.bring_down(0, NOON) == 1


def test_what_was_told_to_whom_comes_back(store: Store, path: Path) -> None:
    told = Told("i-1", level=2, told_at=(("staff", NOON),), rungs=(Rung("payments down", NOON, 3),), reminders=3)
    store.save(Batch(told={"i-1": told, "i-2": Told("i-2")}))
    store.save(Batch(told={"i-2": Told("i-2", over=True)}))
    with contextlib.closing(Store(path, read_only=True)) as reader:
        assert reader.told(Told) == {"i-1": told, "i-2": Told("i-2", over=True)}


def test_batches_merge_a_notice_once_and_its_last_fate() -> None:
    first = Batch(notices=[notice(1), notice(2)], fates=[fate(1, "waiting")], told={"i-1": Told("i-1")})
    first.merge(Batch(notices=[notice(2), notice(3)], fates=[fate(1, "sent")], told={"i-1": Told("i-1", level=1)}))
    assert keys(first.notices) == ["i-1/1", "i-1/2", "i-1/3"]
    assert [one.state for one in first.fates] == ["sent"]
    assert first.told == {"i-1": Told("i-1", level=1)}
    assert not Batch(fates=[fate(1, "sent")]).empty
    assert not Batch(told={"i-1": Told("i-1")}).empty


def test_what_is_finished_and_old_is_forgotten_and_what_waits_is_not(store: Store) -> None:
    old = NOON - 91 * DAY
    store.save(
        Batch(
            incidents=[fault("i-1", old), fault("i-2", old, resolved_at=old + 60)],
            notices=[
                notice(1, created=old),
                notice(2, created=NOON - 5 * DAY),
                notice(3, created=NOON - 5 * DAY),
                notice(4, created=NOON - 31 * DAY),
            ],
            fates=[fate(1, "sent", at=old), fate(2, "sent", at=NOON - DAY)],
            told={"i-1": Told("i-1"), "i-2": Told("i-2", over=True)},
        )
    )
    store.trim(NOON, 2 * DAY, 10_000_000)
    assert keys(store.outbox.of("i-1")) == ["i-1/2", "i-1/3"]
    assert list(store.told(Told)) == ["i-1"]


def test_a_file_is_not_too_large_for_what_waits_in_it(store: Store) -> None:
    notices = [notice(number, incident=f"i-{number}", message="x" * 4000) for number in range(200)]
    store.save(Batch(incidents=[fault("i-1", 1.0, resolved_at=2.0)], notices=notices))
    store.trim(NOON, 60 * 365 * DAY, 300_000)
    assert len(store.incidents()) == 1, "the past is not thrown out to make room for what has a quota of its own"
    assert store.outbox.counts() == {"waiting": 200}
    store.save(Batch(fates=[fate(number, "sent", incident=f"i-{number}") for number in range(200)]))
    store.trim(NOON, 60 * 365 * DAY, 1)
    assert store.outbox.counts() == {}


def test_a_file_of_the_second_version_gets_its_outbox(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        for script in schema.MIGRATIONS[:2]:
            db.executescript(script)
        db.execute("INSERT INTO mark VALUES ('verdict', 'down')")
        db.execute("PRAGMA user_version=2")
        db.commit()
    with contextlib.closing(Store(path)) as store:
        store.save(Batch(notices=[notice(1)]))
        assert keys(store.outbox.due("staff", NOON, 5)) == ["i-1/1"]
        assert store.mark("verdict") == "down"
        assert store.problems == []


def test_a_garbled_notice_hides_itself_and_no_other(store: Store, path: Path) -> None:
    store.save(Batch(notices=[notice(1), notice(1, incident="i-2")]))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE outbox SET level = 'high' WHERE incident = 'i-1'")
        db.commit()
    assert keys(store.outbox.due("staff", NOON, 5)) == ["i-2/1"]
    assert store.problems == ["state file holds records of table outbox that cannot be read; they are left out"]


def test_ten_thousand_notices_leave_in_seconds_and_few_of_them_are_in_memory(tmp_path: Path) -> None:
    count = 10_000
    with contextlib.closing(Store(tmp_path / "state.sqlite")) as store:
        big = "x" * 2500
        message = msgspec.json.encode(
            {"key": "", "what": "opened", "severity": "info", "subject": "s", "text": big, "markdown": "", "data": {}}
        ).decode()
        for start in range(0, count, 1000):
            rows = [
                notice(number, incident=f"i-{number // 2}", message=message.replace('"key":""', f'"key":"{number}"'))
                for number in range(start, start + 1000)
            ]
            rows = [msgspec.structs.replace(one, key=str(start + place)) for place, one in enumerate(rows)]
            store.save(Batch(notices=rows))
    world = World()
    world.got = Counted()  # type: ignore[assignment]
    tracemalloc.start()
    desk = Desk(tmp_path, world=world)
    began = time.monotonic()
    desk.turn()
    took, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{count} notices in {took:.1f} s, {desk.saves} saves, peak {peak / 1e6:.1f} MB")
    assert world.got.count == count  # type: ignore[attr-defined]
    assert world.got.out_of_order == 0  # type: ignore[attr-defined]
    assert desk.escalator.counts()["waiting"] == 0
    assert peak < 4_000_000
    assert took < 45
    desk.close()


class Counted:
    """Counts, and keeps nothing."""

    def __init__(self) -> None:
        self.count = self.out_of_order = 0
        self.last = -1

    def append(self, pair: tuple[str, object]) -> None:
        number = int(pair[1].key)  # type: ignore[attr-defined]
        self.count += 1
        if number % 2 and number - 1 not in self._seen:
            self.out_of_order += 1
        self._seen.add(number)

    @property
    def _seen(self) -> set[int]:
        return self.__dict__.setdefault("seen", set())
