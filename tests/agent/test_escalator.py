"""The escalator: stories from a store, with a real state file and a clock that the test moves."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agent.incidents import Case, update
from agent.outcome import Outcome, delivered, failed, refused
from agent.state import Track
from agent.store import Note, Silence, Store
from agent.telling.message import Message
from probes.model import Status
from tests.agent.telling import NOON, STAFF, Desk, World, fault, plan_of

MIN, HOUR = 60.0, 3600.0
BOTH = """
    [channels.staff]
    kind = "command"
    command = ["/bin/tell", "staff"]
    fallback = "phone"
    [channels.phone]
    kind = "command"
    command = ["/bin/tell", "phone"]
    language = "zh-CN"
    [channels.centre]
    kind = "command"
    command = ["/bin/tell", "centre"]
    [[escalation]]
    name = "staff first"
    channels = ["staff"]
    [[escalation]]
    name = "then the centre"
    after = "1h"
    channels = ["centre"]
    remind_every = 0
"""

Open = Callable[..., Desk]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    desks: list[Desk] = []

    def make(text: str = STAFF, **other: object) -> Desk:
        desks.append(Desk(tmp_path, text, **other))  # type: ignore[arg-type]
        return desks[-1]

    yield make
    for desk in desks:
        desk.close()


def whats(world: World, name: str = "staff") -> list[str]:
    return [what for _, what in world.told(name)]


# The plain case


def test_a_fault_is_told_once_and_its_end_once(opened: Open) -> None:
    desk = opened()
    desk.opens(fault())
    desk.turn()
    desk.go(5 * MIN)
    desk.resolves("i-1")
    desk.go(2 * HOUR)
    assert whats(desk.world) == ["opened", "resolved"]
    (_, first), (_, last) = desk.world.got
    assert "0042" in first.subject
    assert "Router down" in first.subject
    assert first.key != last.key
    assert desk.escalator.counts() == {"waiting": 0, "sent": 2, "failed": 0, "refused": 0, "dropped": 0}
    assert desk.escalator.problems() == []


def test_a_quiet_daemon_has_nothing_to_do_and_writes_nothing(opened: Open) -> None:
    desk = opened()
    desk.turn()
    saves = desk.saves
    assert desk.go(24 * HOUR) < 24 * 7, "only a look at the outbox now and then"
    assert desk.saves == saves


def test_without_channels_nobody_is_told_and_nothing_fails(opened: Open) -> None:
    desk = opened("")
    desk.opens(fault())
    desk.go(HOUR)
    desk.resolves("i-1")
    desk.go(HOUR)
    assert desk.world.got == []
    assert desk.escalator.problems() == []


def test_a_notice_is_on_the_disk_with_its_incident_before_anybody_is_told(opened: Open, tmp_path: Path) -> None:
    seen: list[object] = []

    def look(_message: Message) -> Outcome:
        with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
            seen.append(db.execute("SELECT key, state FROM outbox").fetchall())
            seen.append(db.execute("SELECT id FROM incident").fetchall())
            seen.append(db.execute("SELECT incident FROM told").fetchall())
        return delivered()

    desk = opened()
    desk.world.answers["staff"] = look
    desk.opens(fault())
    desk.turn()
    assert seen == [[("i-1/opened/1", "waiting")], [("i-1",)], [("i-1",)]]


def test_each_channel_reads_its_own_language(opened: Open) -> None:
    desk = opened(STAFF + '[channels.chef]\nkind = "command"\ncommand = ["/bin/tell", "chef"]\nlanguage = "zh-CN"\n')
    desk.opens(fault())
    desk.turn()
    said = dict(desk.world.got)
    assert said["staff"].language == "en"
    assert said["chef"].language == "zh-CN"
    assert said["staff"].key == said["chef"].key


# Outages


def test_an_outage_of_hours_loses_nothing_and_says_when_it_was(opened: Open) -> None:
    desk = opened()
    desk.world.down("staff")
    desk.opens(fault())
    desk.go(9 * HOUR)
    desk.resolves("i-1")
    desk.go(10 * MIN)
    assert desk.world.got == []
    assert 20 < desk.world.tried["staff"] < 40, "5 s, 10 s, 20 s … and then every half hour"
    assert any("staff" in each for each in desk.escalator.problems())
    desk.world.up("staff")
    desk.go(31 * MIN)
    assert whats(desk.world) == ["opened", "resolved"], "no reminder to people who could not even be told"
    (_, first), (_, last) = desk.world.got
    assert first.data["late_s"] >= 9 * HOUR
    assert first.data["began_at"] == "2026-11-22T11:59:50.000Z"
    assert first.data["ended_at"] == "2026-11-22T21:00:00.000Z"
    assert "21:00" in first.text
    assert last.data["ended_at"] == "2026-11-22T21:00:00.000Z"
    assert desk.escalator.problems() == []


def test_when_a_dead_channel_works_again_all_that_waits_leaves_at_once_and_in_order(opened: Open) -> None:
    desk = opened()
    desk.world.down("staff")
    for number in range(40):
        desk.opens(fault(f"i-{number}", desk.wall, cause=f"isp.down{number}"))
        desk.go(7 * MIN)
    for number in range(40):
        desk.resolves(f"i-{number}")
    desk.go(MIN)
    tried = desk.world.tried["staff"]
    assert tried < 40, "a dead channel is tried with one notice, not with each of them"
    desk.world.up("staff")
    desk.go(31 * MIN)
    assert Counter(whats(desk.world)) == {"opened": 40, "resolved": 40}
    for number in range(40):
        mine = [what for incident, what in desk.world.told() if incident == f"i-{number}"]
        assert mine == ["opened", "resolved"]
    assert desk.world.tried["staff"] == tried + 80 or desk.world.tried["staff"] <= tried + 82


def test_a_notice_that_its_service_cannot_digest_holds_up_no_other(opened: Open) -> None:
    desk = opened()
    desk.world.answers["staff"] = lambda said: failed("500") if said.incident == "i-1" else delivered()
    desk.opens(fault("i-1"))
    desk.go(MIN)
    for number in range(2, 6):
        desk.opens(fault(f"i-{number}", desk.wall, cause=f"isp.down{number}"))
        desk.go(5 * MIN)
    assert [incident for incident, what in desk.world.told() if what == "opened"] == ["i-2", "i-3", "i-4", "i-5"]
    assert desk.world.tried["staff"] < 25
    desk.world.up("staff")
    desk.go(31 * MIN)
    assert ("i-1", "opened") in desk.world.told()


def test_a_service_that_asks_for_time_gets_it(opened: Open) -> None:
    desk = opened()
    moments: list[float] = []

    def busy(_message: Message) -> Outcome:
        moments.append(desk.wall)
        return failed("429", retry_after=90.0) if len(moments) < 3 else delivered()

    desk.world.answers["staff"] = busy
    desk.opens(fault())
    desk.go(10 * MIN)
    assert [round(moment - NOON) for moment in moments] == [0, 90, 180]


def test_a_refusal_is_final_said_and_passed_on_at_once(opened: Open) -> None:
    desk = opened(BOTH)
    desk.world.answers["staff"] = lambda _message: refused("404 no such robot")
    desk.opens(fault())
    desk.turn()
    assert desk.world.tried["staff"] == 1
    assert whats(desk.world, "phone") == ["opened"]
    assert desk.escalator.problems() == ["channel staff does not work: 404 no such robot"]
    assert desk.escalator.counts()["refused"] == 1
    assert "notice.refused" in desk.log.getvalue()


# Another channel instead


def test_a_dead_channel_is_stood_in_for_after_ten_minutes_and_hears_of_it_late(opened: Open) -> None:
    desk = opened(BOTH)
    desk.world.down("staff")
    desk.opens(fault())
    desk.go(9 * MIN)
    assert whats(desk.world, "phone") == []
    desk.go(2 * MIN)
    assert whats(desk.world, "phone") == ["opened"]
    (_, said), *_ = desk.world.got
    assert said.language == "zh-CN"
    assert said.key == "i-1/opened/1", "whoever reads both knows that it is one notice"
    desk.world.up("staff")
    desk.go(20 * MIN)
    desk.resolves("i-1")
    desk.go(MIN)
    assert whats(desk.world, "phone")[-1] == "resolved", "who was told of the fault instead is told of its end"
    assert whats(desk.world, "staff")[0] == "opened"
    assert whats(desk.world, "staff")[-1] == "resolved"


def test_a_slow_channel_that_works_is_stood_in_for_by_nobody(opened: Open) -> None:
    desk = opened(BOTH)
    desk.opens(fault())
    desk.go(20 * MIN)
    assert desk.world.told("phone") == []


def test_where_the_one_that_stands_in_is_dead_too_the_next_one_does(opened: Open) -> None:
    desk = opened(BOTH.replace('language = "zh-CN"', 'fallback = "centre"'))
    desk.world.down("staff", "phone")
    desk.opens(fault())
    desk.go(25 * MIN)
    assert whats(desk.world, "centre") == ["opened"]
    with contextlib.closing(Store(desk.keeper._store.path, read_only=True)) as store:  # type: ignore[union-attr]
        found = [(one.channel, one.instead_of) for one in store.outbox.of("i-1") if one.what == "opened"]
    assert found == [("staff", ""), ("phone", "staff"), ("centre", "phone")]
    desk.world.up("staff", "phone")
    desk.go(31 * MIN)
    assert whats(desk.world, "staff").count("opened") == 1
    assert whats(desk.world, "phone").count("opened") == 1


def test_a_channel_that_hangs_is_given_up_and_stood_in_for(opened: Open) -> None:
    import threading

    gate = threading.Event()
    desk = opened(BOTH)
    desk.world.answers["staff"] = lambda _message: delivered() if gate.wait(20) else failed("never")
    desk.opens(fault())
    escalator = desk.escalator
    for _ in range(400):
        escalator.turn(desk.now, desk.wall)
        while not desk.news.empty():
            escalator.answered(desk.news.get())
        step = min(60.0, max(0.01, escalator.wait(desk.now)))
        desk.now += step
        desk.wall += step
        if "opened" in whats(desk.world, "phone"):
            break
        threading.Event().wait(0.005)
    assert whats(desk.world, "phone")[:1] == ["opened"]
    assert desk.wall - NOON < 15 * MIN
    gate.set()


# People


def test_who_takes_charge_is_left_alone_until_it_expires(opened: Open) -> None:
    desk = opened(BOTH)
    desk.opens(fault())
    desk.go(10 * MIN)
    with contextlib.closing(Store(desk.keeper._store.path)) as theirs:  # type: ignore[union-attr]
        theirs.add_note(Note("i-1", desk.wall, "li", "on my way", desk.wall + 2 * HOUR))
    desk.escalator.people_wrote()
    desk.go(2 * HOUR - MIN)
    assert whats(desk.world) == ["opened"]
    assert whats(desk.world, "centre") == []
    desk.go(10 * MIN)
    assert whats(desk.world, "centre") == ["escalated"]
    assert desk.escalator.level("i-1") == 2


def test_while_the_till_is_silenced_nobody_is_told_and_afterwards_who_should_know_is(opened: Open) -> None:
    desk = opened()
    with contextlib.closing(Store(desk.keeper._store.path)) as theirs:  # type: ignore[union-attr]
        theirs.add_silence(Silence(0, desk.wall - 1, desk.wall + HOUR, "li", "new router"))
    desk.opens(fault("i-1"), fault("i-2", cause="isp.down"))
    desk.go(30 * MIN)
    desk.resolves("i-2")
    desk.go(25 * MIN)
    assert desk.world.got == []
    desk.go(10 * MIN)
    assert desk.world.told() == [("i-1", "opened")]


def test_before_settlement_the_clock_tightens(opened: Open) -> None:
    from agent.config.expand import probes_of

    text = (
        BOTH
        + '[probes.batch]\nkind = "settlement"\nfile = "/var/lib/pos/batch.json"\ndeadline = "12:20"\ntimezone = "UTC"\n'
    )
    desk = opened(text)
    desk.known.probes = {probe.name: probe for probe in probes_of(plan_of(text).config)}
    desk.opens(fault())
    desk.go(19 * MIN)
    assert whats(desk.world, "centre") == ["escalated"], "after an hour would have been too late"
    (_, said) = next(pair for pair in desk.world.got if pair[0] == "centre")
    assert said.data["settlement_due"] == "2026-11-22T12:20:00.000Z"


# Restarts


def test_a_restart_tells_nothing_twice_and_forgets_nobody(opened: Open) -> None:
    desk = opened()
    desk.opens(fault())
    desk.go(5 * MIN)
    desk.world.down("staff")
    desk.go(40 * MIN)
    desk.close()
    again = opened(world=desk.world, wall=desk.wall + 3 * HOUR)
    assert [each.id for each in again.known.book.open] == ["i-1"]
    again.turn()
    again.world.up("staff")
    again.resolves("i-1")
    again.go(31 * MIN)
    assert whats(again.world) == ["opened", "reminder", "resolved"]
    assert len({message.key for _, message in again.world.got}) == 3


def test_a_fault_that_ended_while_its_recovery_could_not_be_told_is_told_after_a_restart(opened: Open) -> None:
    desk = opened('[schedule]\nopening_hours = ["daily 09:00-13:00"]\n' + STAFF)
    desk.opens(fault())
    desk.go(2 * HOUR)
    desk.resolves("i-1")
    desk.turn()
    assert whats(desk.world) == ["opened", "reminder"], "the store is closed"
    desk.save(True)
    desk.close()
    again = opened(
        '[schedule]\nopening_hours = ["daily 09:00-13:00"]\n' + STAFF, world=desk.world, wall=desk.wall + MIN
    )
    again.go(20 * HOUR)
    assert whats(again.world) == ["opened", "reminder", "resolved"]


def test_a_new_configuration_keeps_what_waits_and_uses_the_new_ways(opened: Open) -> None:
    desk = opened()
    desk.world.down("staff")
    desk.opens(fault())
    desk.go(20 * MIN)
    desk.escalator.reload(plan_of(STAFF.replace('"staff"]', '"staff", "--new"]')))
    desk.world.up("staff")
    desk.turn()
    assert desk.world.told() == [("i-1", "opened")], "a channel that was mended is tried at once"
    desk.world.down("staff")
    desk.resolves("i-1")
    desk.turn()
    desk.escalator.reload(plan_of(""))
    desk.turn()
    assert desk.escalator.problems() == ["notices wait for channel staff, which is not configured or switched off"]
    desk.world.up("staff")
    desk.escalator.reload(plan_of())
    desk.turn()
    assert whats(desk.world) == ["opened", "resolved"]


def test_a_clock_that_is_set_back_delays_nothing_that_waits(opened: Open) -> None:
    desk = opened()
    desk.world.down("staff")
    desk.opens(fault())
    desk.go(2 * HOUR)
    desk.wall -= 26 * 365 * 86400.0
    desk.escalator.clock_set(-26 * 365 * 86400.0, desk.wall)
    desk.world.up("staff")
    desk.go(31 * MIN)
    assert whats(desk.world)[0] == "opened"
    desk.go(4 * HOUR)
    assert 1 <= whats(desk.world).count("reminder") <= 4


# Disks


class Refusing:
    """A disk that takes nothing while this holds."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.store = monkeypatch, desk.keeper._store
        self.desk = desk

    def refuse(self) -> None:
        from agent.store import StoreError

        def no(*_: object, **__: object) -> None:
            raise StoreError("cannot write state.sqlite: database or disk is full")

        for name in ("save", "hasten", "bring_down"):
            self.monkeypatch.setattr(self.store, name, no)

    def take(self) -> None:
        self.monkeypatch.undo()
        self.desk.keeper._retry_at = 0.0


def test_on_a_full_disk_everybody_is_told_from_memory_and_the_disk_catches_up(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = opened()
    disk = Refusing(desk, monkeypatch)
    disk.refuse()
    desk.opens(fault("i-1"), fault("i-2", cause="isp.down"))
    desk.go(5 * MIN)
    assert desk.world.told() == [("i-1", "opened"), ("i-2", "opened")]
    desk.world.down("staff")
    desk.resolves("i-1")
    desk.go(5 * MIN)
    desk.world.up("staff")
    desk.go(10 * MIN)
    desk.resolves("i-2")
    desk.go(MIN)
    assert Counter(desk.world.told()) == {(name, what): 1 for name in ("i-1", "i-2") for what in ("opened", "resolved")}
    disk.take()
    desk.save(True)
    assert desk.keeper.pending.empty
    with contextlib.closing(Store(desk.keeper._store.path, read_only=True)) as store:  # type: ignore[union-attr]
        assert store.outbox.counts() == {"sent": 4}
        assert store.open_incidents() == []


def test_a_disk_that_fills_between_two_notices_changes_neither_order_nor_number(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = opened()
    desk.world.down("staff")
    desk.opens(fault())
    desk.go(20 * MIN)
    disk = Refusing(desk, monkeypatch)
    disk.refuse()
    desk.resolves("i-1")
    desk.go(20 * MIN)
    desk.world.up("staff")
    desk.go(31 * MIN)
    assert whats(desk.world) == ["opened", "resolved"]
    disk.take()
    desk.save(True)
    desk.go(HOUR)
    assert whats(desk.world) == ["opened", "resolved"]


def test_too_many_notices_are_dropped_from_what_is_over_and_that_is_said(opened: Open) -> None:
    desk = opened(STAFF + "[notify]\nquota = 100\n")
    desk.world.down("staff")
    desk.opens(*(fault(f"i-{number}", NOON - number, cause=f"isp.down{number}") for number in range(60)))
    desk.turn()
    for number in range(60):
        if number % 2:
            desk.resolves(f"i-{number}")
    desk.turn()
    assert desk.escalator.counts()["waiting"] == 90
    desk.opens(*(fault(f"j-{number}", desk.wall, cause=f"lan.poor{number}") for number in range(20)))
    desk.turn()
    counts = desk.escalator.counts()
    assert (counts["waiting"], counts["dropped"]) == (100, 10)
    assert [(event.what, event.facts["count"]) for event in desk.known.unsaved.events] == [("notices.dropped", 10)]
    desk.world.up("staff")
    desk.go(31 * MIN)
    reached = {incident for incident, what in desk.world.told() if what == "opened"}
    assert {f"i-{number}" for number in range(0, 60, 2)} <= reached, "what is still wrong is told"
    assert {f"j-{number}" for number in range(20)} <= reached


def test_a_state_file_that_was_lost_begins_anew_and_nobody_is_told_twice(opened: Open, tmp_path: Path) -> None:
    desk = opened()
    desk.opens(fault())
    desk.turn()
    (tmp_path / "state.sqlite").unlink()
    desk.known.unsaved.marks["x"] = "y"
    desk.save(True)
    desk.resolves("i-1")
    desk.go(HOUR)
    assert whats(desk.world) == ["opened", "resolved"]


# No storm


def test_a_router_that_dies_under_sixty_probes_is_one_notice_and_one_recovery_for_each_recipient(opened: Open) -> None:
    desk = opened(BOTH)
    names = ["gateway", *(f"host-{number}" for number in range(59))]
    tracks = {name: Track(status=Status.OK, since=NOON - HOUR) for name in names}
    book = desk.known.book
    down = [
        Case(
            "lan.router_down", "store", "network", "certain", "f", "stop", tuple(names), ("gateway: no",), "Router down"
        )
    ]
    ids = (f"i-{number}" for number in range(1000))

    def examine(cases: list[Case], *bad: str) -> None:
        nonlocal book, tracks
        tracks = {name: Track(status=Status.FAIL if name in bad else Status.OK, since=desk.wall) for name in names}
        book, changes = update(
            book, cases, tracks, desk.wall, round_taken=True, watched=names, new_id=lambda _at: next(ids)
        )
        desk.known.book = book
        desk.known.unsaved.incidents.extend(change.incident for change in changes)
        desk.escalator.changed(changes)
        desk.go(5.0)

    examine(down)
    for reached in range(3, 61, 3):  # they fall one after the other
        examine(down, *names[:reached])
    for left in range(57, -1, -3):  # and come back one after the other
        examine(down if left else [], *names[:left])
    for _ in range(130):
        examine([])
    assert Counter(desk.world.told("staff")) == {("i-0", "opened"): 1, ("i-0", "resolved"): 1}
    assert desk.world.told("centre") == []


def test_a_line_that_comes_and_goes_for_an_hour_is_four_notices_at_most(opened: Open) -> None:
    desk = opened()
    for number in range(30):
        flapping = {"flapping": number > 0, "previous": f"i-{number - 1}" if number else None}
        desk.opens(fault(f"i-{number}", desk.wall, **flapping))
        desk.go(MIN)
        desk.resolves(f"i-{number}")
        desk.go(MIN)
    assert desk.wall - NOON == pytest.approx(HOUR)
    assert 2 <= len(desk.world.got) <= 4


def test_an_incident_that_turns_out_to_be_part_of_another_is_told_as_that(opened: Open) -> None:
    desk = opened()
    desk.opens(fault("i-1", cause="acquirer.unreachable"))
    desk.go(MIN)
    desk.opens(fault("i-2", desk.wall))
    desk.resolves("i-1", joined_to="i-2")
    desk.go(MIN)
    desk.resolves("i-2")
    desk.go(20 * MIN)
    told = Counter(desk.world.told())
    assert told[("i-1", "opened")] == told[("i-2", "resolved")] == 1
    assert told[("i-1", "resolved")] == 0
    assert all(count == 1 for count in told.values())


# Luck


@pytest.mark.parametrize("seed", range(6))
def test_whatever_fails_and_restarts_every_notice_arrives_and_none_with_another_key(
    opened: Open, seed: int, tmp_path: Path
) -> None:
    luck = random.Random(seed)
    world = World()

    def moody(_message: Message) -> Outcome:
        return luck.choice(
            [delivered, lambda: failed("busy"), lambda: failed("429", retry_after=luck.choice([0, 3, 60]))]
        )()

    for name in ("staff", "phone", "centre"):
        world.answers[name] = moody
    desk = opened(BOTH, world=world)
    number = 0
    for _ in range(60):
        deed = luck.random()
        if deed < 0.4:
            number += 1
            desk.opens(fault(f"i-{number}", desk.wall, cause=f"isp.down{number}"))
        elif deed < 0.7 and desk.known.book.open:
            desk.resolves(luck.choice(desk.known.book.open).id)
        elif deed < 0.8:
            desk.save(True)
            desk.close()
            desk = opened(BOTH, world=world, wall=desk.wall + luck.choice([1, 600, 9000]))
        desk.go(luck.choice([1.0, 30.0, 400.0, 4000.0]))
    for each in desk.known.book.open:
        desk.resolves(each.id)
    world.up("staff", "phone", "centre")
    desk.go(3 * HOUR)
    counts = desk.escalator.counts()
    assert counts["waiting"] == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        rows = db.execute("SELECT key, channel, state FROM outbox").fetchall()
    assert {state for _, _, state in rows} == {"sent"}
    assert Counter((message.key, name) for name, message in world.got) == Counter((key, name) for key, name, _ in rows)
    for name in ("staff", "centre"):
        opened_ = {incident for incident, what in world.told(name) if what in ("opened", "escalated")}
        over = [incident for incident, what in world.told(name) if what == "resolved"]
        assert sorted(over) == sorted(opened_), "its end is told to whom it was told, and once"


def test_what_is_told_survives_as_json(opened: Open) -> None:
    desk = opened()
    desk.opens(fault(headline="Router \udc80 down"))
    desk.turn()
    assert msgspec.json.encode(desk.world.got[0][1].data)


def test_on_a_full_disk_with_a_dead_channel_nothing_spins(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = opened(BOTH)
    desk.world.down("staff")
    desk.opens(fault())
    desk.go(MIN)
    Refusing(desk, monkeypatch).refuse()
    turns = desk.go(HOUR)
    assert whats(desk.world, "phone")[:1] == ["opened"]
    assert whats(desk.world, "phone").count("opened") == 1
    assert turns < 2 * HOUR, "no more than a few looks each five seconds"
    assert desk.escalator.post.outbox.waits_for("i-1") == {"staff"}
    assert desk.escalator.counts()["waiting"] >= 1


def test_on_a_full_disk_what_waits_in_memory_has_a_limit_and_what_is_still_wrong_is_kept(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent import keeper

    monkeypatch.setattr(keeper, "NOTICES_AT_MOST", 100)
    desk = opened()
    desk.turn()
    Refusing(desk, monkeypatch).refuse()
    desk.opens(*(fault(f"i-{number}", desk.wall, cause=f"isp.down{number}") for number in range(60)))
    desk.turn()
    assert len(desk.world.got) == 60
    desk.world.down("staff")
    for number in range(50):
        desk.resolves(f"i-{number}")
    desk.turn()
    desk.opens(*(fault(f"j-{number}", desk.wall, cause=f"lan.poor{number}") for number in range(60)))
    desk.turn()
    pending = desk.keeper.pending
    assert len(pending.notices) == 100
    assert all(one.message for one in pending.notices), "those that have left went first"
    assert sum(one.incident.startswith("j-") for one in pending.notices) == 60
    assert [(event.what, event.facts["count"]) for event in desk.keeper.news] == [("notices.dropped", 10)]


def test_who_has_not_looked_yet_waits_with_telling(opened: Open) -> None:
    desk = opened()
    desk.opens(fault())
    for _ in range(20):
        desk.escalator.turn(desk.now, desk.wall, ready=False)
        assert desk.escalator.wait(desk.now) > 0.1, "and does not spin"
        desk.now += desk.escalator.wait(desk.now)
    assert desk.world.got == []
    desk.turn()
    assert whats(desk.world) == ["opened"]
