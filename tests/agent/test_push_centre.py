"""Everything that happened here reaches the centre, the newest first; what cannot is accounted for."""

from __future__ import annotations

import itertools
import sqlite3
import threading

import msgspec
import pytest

from agent import keeper as keepers
from agent.outcome import Outcome, delivered, failed, refused
from agent.push import order
from agent.push.sender import Parcel
from agent.store import Done, Kept, Store
from tests.agent.pushing import BOTH, HTTPS, MQTT, Push, Street, street

__all__ = ["street"]
OK = delivered()


def test_a_report_arrives_soon_after_the_start_and_nothing_waits(street: Street) -> None:
    till = street.till()
    till.report()
    till.run(11)
    assert street.hub.kinds == ["report"]
    assert till.centre.counts() == {"reports_waiting": 0, "reports_pushed": 1, "reports_dropped": 0}
    till.run(60)
    assert till.rows() == []
    assert till.centre.problems() == []


def test_while_the_centre_takes_them_heartbeats_write_nothing(street: Street) -> None:
    till = street.till()
    till.run(11)
    before = till.saves
    till.run(3600, lambda: till.report(changed=False), every=60)
    assert len(street.hub.got) == 60
    assert till.saves == before, "not even one write"


def test_a_report_of_a_change_is_kept_before_it_leaves(street: Street) -> None:
    till = street.till()
    seen: list[list[str]] = []

    def look(parcel: Parcel) -> Outcome:
        with_store = Store(street.path / "state.sqlite", read_only=True)
        seen.append([one.key for one in with_store.parcels.index()])
        with_store.close()
        return delivered()

    street.hub.answer = look
    till.report()
    till.run(11)
    assert seen == [[street.hub.got[0][1].key]]


def test_an_hour_without_a_centre(street: Street) -> None:
    """The newest first, then all others, oldest first, spread; and it was not asked in a storm meanwhile."""
    till = street.till()
    street.hub.down()
    beats = itertools.cycle([False, False, True])
    till.run(3600, lambda: till.report(changed=next(beats)), every=60)
    tried = [at for at, _ in street.hub.tried]
    assert len(tried) < 3600 / 30 + 10
    assert max(b - a for a, b in itertools.pairwise(tried[1:])) <= 300
    assert till.centre.problems() == ["cannot push to the centre https://hub: refused; is it up?"]
    assert till.centre.counts()["reports_waiting"] == 60
    street.hub.up()
    since = street.clock.now
    till.run(900)
    assert street.hub.seqs == [60, *range(1, 60)]
    assert street.hub.kinds == ["report", *["history"] * 59]
    assert len({parcel.key for _, parcel in street.hub.got}) == 60
    arrived = [at - since for at, _ in street.hub.got]
    assert arrived[0] <= 300
    assert 60 < arrived[-1] - arrived[0] <= 330
    assert till.centre.problems() == []
    till.run(60)
    assert till.rows() == []


def test_the_newest_overtakes_older_ones_that_are_on_their_way(street: Street) -> None:
    till = street.till()
    street.hub.down()
    till.run(600, till.report, every=10)
    street.hub.up()
    till.run(450, till.report, every=30)  # the first attempt may be five minutes away
    news = [(at, parcel.seq) for at, parcel in street.hub.got if parcel.kind == "report"]
    assert len(news) > 4
    till.run(600)
    assert sorted(street.hub.seqs) == list(range(1, 76))
    history = [parcel.seq for _, parcel in street.hub.got if parcel.kind == "history"]
    assert history == sorted(history)


@pytest.mark.parametrize("splay", [60, 300])
@pytest.mark.parametrize("how", ["restart", "reload"])
def test_a_queue_of_an_earlier_life_is_spread_like_any_other(street: Street, how: str, splay: int) -> None:
    """A thousand tills that get power again, or a new configuration, do not tell all their past in one second."""
    till = street.till(splay=splay)
    street.hub.down()
    till.run(3000, till.report, every=30)
    assert till.centre.counts()["reports_waiting"] == 100
    street.hub.up()
    if how == "restart":
        till = street.again(till)
    else:
        other = msgspec.structs.replace(HTTPS, url="https://other.example/", splay=splay)
        till.centre.reload(till.plan(Push(https=other)))
    till.run(2 * splay)
    assert street.hub.seqs == [100, *range(1, 100)]
    arrived = [at for at, _ in street.hub.got]
    assert 0.4 * splay < arrived[-1] - arrived[0] < 1.2 * splay
    assert max(sum(at <= each < at + splay / 10 for each in arrived) for at in arrived) <= 45
    since = street.clock.now
    till.run(60, till.report, every=5)
    assert [at - since for at, _ in street.hub.got[100:]] == [5.0 * number for number in range(1, 13)], "news is not"


@pytest.mark.parametrize("moment", [0.0, 2.0, 5.0, 40.0])
def test_a_kill_loses_nothing(street: Street, moment: float) -> None:
    till = street.till()
    street.hub.down()
    till.run(610, lambda: till.report(changed=False), every=60)
    till.report()
    till.settle()
    till.run(moment)
    till = street.again(till)
    assert till.centre.counts()["reports_waiting"] == 11
    street.hub.up()
    till.run(900)
    assert sorted(street.hub.seqs) == list(range(1, 12))
    assert street.hub.seqs[0] == 11, "the newest is known again"


def test_a_heartbeat_that_is_nowhere_but_in_the_report_file_survives_a_kill(street: Street) -> None:
    till = street.till()
    till.report(changed=False)
    till = street.again(till)
    till.run(60)
    assert street.hub.seqs == [1]


def test_after_a_kill_what_arrived_may_come_again_with_the_same_key(street: Street) -> None:
    till = street.till()
    till.report()
    till.run(11)
    till = street.again(till)
    till.run(11)
    assert [parcel.key for _, parcel in street.hub.got] == [street.hub.got[0][1].key] * 2
    assert street.hub.got[0][1].packed == street.hub.got[1][1].packed


def test_after_a_clean_stop_it_does_not(street: Street) -> None:
    till = street.till()
    till.report()
    till.run(11)
    till.stop()
    till = street.again(till)
    till.run(60)
    assert len(street.hub.got) == 1


def test_beyond_the_quota_heartbeats_go_first_and_the_centre_is_told(street: Street) -> None:
    till = street.till(quota=10)
    street.hub.down()
    till.run(8 * 60, lambda: till.report(changed=False), every=60)  # 1-8
    till.run(6 * 60, till.report, every=60)  # 9-14: 1-4 go
    assert till.centre.counts() == {"reports_waiting": 10, "reports_pushed": 0, "reports_dropped": 4}
    assert [event.facts for event in till.events] == [{"why": "quota", "way": "https", "quota": 10}]
    till = street.again(till)
    till.run(7 * 60, till.report, every=60)  # 15-21: 5-8 go, then 9-11
    street.hub.up()
    till.run(1200)
    assert street.hub.kinds[:2] == ["report", "gap"]
    assert street.hub.seqs == [21, *range(12, 21)]
    assert street.hub.bodies("gap") == [
        {
            "schema": "posagent.gap/1",
            "store": "0042",
            "terminal": "T01",
            "from_seq": 1,
            "to_seq": 11,
            "reports": 11,
            "incidents": 0,
            "causes": ["quota"],
        }
    ]
    till.run(60)
    till = street.again(till)
    till.run(600)
    assert street.hub.kinds.count("gap") == 1


def test_a_refused_report_is_dropped_said_once_and_made_up_for(street: Street) -> None:
    till = street.till()
    street.hub.answer = lambda parcel: refused("never; ask") if (parcel.seq, parcel.kind) == (1, "report") else OK
    till.report()
    till.run(11)
    assert till.centre.problems() == ["cannot push to the centre https://hub: never; ask"]
    assert [event.facts["why"] for event in till.events] == ["refused"]
    till.report()
    till.run(60)
    assert till.centre.problems() == []
    assert street.hub.bodies("gap")[0]["causes"] == ["refused"]
    assert (street.hub.bodies("gap")[0]["from_seq"], street.hub.bodies("gap")[0]["reports"]) == (1, 1)
    assert till.log.getvalue().count("push.refused") == 1


def test_a_centre_that_refuses_everything_is_not_asked_in_a_storm(street: Street) -> None:
    till = street.till()
    street.hub.down()
    till.run(600, till.report, every=10)
    street.hub.answer = lambda _parcel: refused("never; ask")
    before = len(street.hub.tried)
    till.run(600)
    assert 1 <= len(street.hub.tried) - before < 20
    assert till.centre.counts()["reports_waiting"] > 40, "somebody may notice before all is gone"


def test_one_that_always_fails_holds_up_no_other(street: Street) -> None:
    till = street.till(splay=1)
    street.hub.down()
    till.run(100, till.report, every=10)
    street.hub.answer = lambda parcel: failed("answered 500; ask") if parcel.kind != "gap" and parcel.seq == 3 else OK
    till.run(300)
    assert sorted(street.hub.seqs) == [1, 2, *range(4, 11)]
    till.run(3600, till.report, every=60)
    assert till.centre.counts()["reports_waiting"] == 0
    assert street.hub.bodies("gap")[0]["reports"] == 1


def test_one_failure_is_no_news_and_the_next_is(street: Street) -> None:
    till = street.till()
    street.hub.down("no; do something")
    till.report()
    while not street.hub.tried:
        till.run(0.5)
    assert till.centre.problems() == []
    till.run(11)
    assert till.centre.problems() == ["cannot push to the centre https://hub: no; do something"]
    street.hub.down("once something else")
    till.run(30)
    street.hub.down("now this; do that")
    till.run(1200)
    assert till.centre.problems() == ["cannot push to the centre https://hub: now this; do that"]


@pytest.mark.parametrize(("asked", "least", "most"), [(120, 120, 135), (0, 1, 2), (1e9, 3600, 3631)])
def test_a_centre_that_asks_for_patience_gets_it_within_bounds(
    street: Street, asked: float, least: float, most: float
) -> None:
    till = street.till()
    street.hub.down(retry_after=asked)
    till.report()
    till.run(10)
    while len(street.hub.tried) < 2:
        till.run(5000)
    (first, _), (second, _) = street.hub.tried[:2]
    assert least <= second - first <= most


def test_two_ways_share_one_row_that_goes_when_both_have_it(street: Street) -> None:
    till = street.till(BOTH)
    street.hubs["mqtt"].down()
    till.report()
    till.run(100)
    assert street.hub.seqs == [1]
    assert till.rows() == [street.hub.got[0][1].key]
    till = street.again(till)
    street.hubs["mqtt"].up()
    till.run(700)
    assert street.hub.seqs == [1], "this way had it before the kill, and that was written down"
    assert street.hubs["mqtt"].seqs == [1]
    assert till.rows() == []
    assert street.hub.got[0][1].packed == street.hubs["mqtt"].got[0][1].packed


def test_a_connection_that_is_to_stay_is_looked_after(street: Street) -> None:
    hub = street.hubs["mqtt"]
    till = street.till(Push(mqtt=MQTT))
    till.run(60)
    assert len(hub.attended) >= 10
    hub.down("broker gone")
    till.run(300)
    assert till.centre.problems() == ["cannot push to the centre mqtt://hub: broker gone"]
    assert len(hub.attended) < 40
    hub.up()
    till.run(310)
    assert till.centre.problems() == [], "nothing had to be sent for that"


def test_what_is_denied_while_the_connection_stands_keeps_it(street: Street) -> None:
    hub = street.hubs["mqtt"]
    till = street.till(Push(mqtt=MQTT))
    hub.answer = lambda _parcel: failed("topic denied; ask")
    till.report()
    till.run(1200)
    assert till.centre.problems() == ["cannot push to the centre mqtt://hub: topic denied; ask"]
    assert hub.closed == 0
    assert len(hub.attended) > 150
    assert len(hub.tried) < 30


def test_a_reload_takes_effect_and_loses_nothing(street: Street) -> None:
    till = street.till()
    street.hub.down()
    till.run(120, till.report, every=60)
    till.centre.reload(till.plan(Push(https=msgspec.structs.replace(HTTPS, url="https://other.example/"))))
    street.hub.up()
    till.run(60)
    assert sorted(street.hub.seqs) == [1, 2]
    assert (street.hub.made, street.hub.closed) == (2, 1)
    till.centre.reload(till.plan(Push()))
    till.report()
    assert till.centre.wait(street.clock.now) > 0
    till.run(60)
    assert len(street.hub.got) == 2
    till.centre.reload(till.plan(BOTH))
    till.report()
    till.run(60)
    assert street.hubs["mqtt"].seqs == [4]
    assert street.hub.seqs[-1] == 4


@pytest.mark.parametrize("how", ["restart", "reload", "both"])
def test_what_waits_is_never_told_in_the_name_of_another_till(street: Street, how: str) -> None:
    till = street.till(BOTH)
    for hub in street.hubs.values():
        hub.down()
    till.run(600, till.report, every=60)
    till.report(changed=False)
    if how != "restart":
        till.terminal = "T02"
        till.centre.reload(till.plan(BOTH))
        till.settle()
    if how != "reload":
        till = street.again(till, "T02")
    assert till.centre.counts()["reports_waiting"] == 0
    for hub in street.hubs.values():
        hub.up()
    till.run(600)
    for hub in street.hubs.values():
        assert hub.kinds == ["gap"]
        assert hub.bodies("gap") == [
            {
                "schema": "posagent.gap/1",
                "store": "0042",
                "terminal": "T02",
                "from_seq": 1,
                "to_seq": 11,
                "reports": 11,
                "incidents": 0,
                "causes": ["renamed"],
            }
        ]
    till.stop()
    till = street.again(till)
    till.report()
    till.run(600)
    for hub in street.hubs.values():
        assert (hub.kinds, hub.seqs) == (["gap", "report"], [12])
    assert till.rows() == []
    assert {one.terminal for one in till.tills} == {"T02"}


def test_a_till_that_is_renamed_with_nothing_waiting_loses_nothing(street: Street) -> None:
    till = street.till()
    till.report()
    till.run(60)
    till.stop()
    till = street.again(till, "T02")
    till.run(60)
    assert street.hub.kinds == ["report"], "the old one's last report is not the new one's first"
    street.hub.down()
    till.report()
    till.run(60)
    till = street.again(till)
    street.hub.up()
    till.run(600)
    assert street.hub.seqs == [1, 2], "under the same name all that waits arrives"
    assert street.hub.kinds == ["report", "report"]


def test_a_state_file_that_could_not_be_read_at_first_is_still_the_old_tills(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = street.till()
    street.hub.down()
    till.run(120, till.report, every=60)
    with monkeypatch.context() as broken:
        broken.setattr(keepers.Keeper, "ask", lambda _keeper, _question, otherwise: otherwise)
        till = street.again(till, "T02")
        till.report()
        till.settle()
    street.hub.up()
    till.run(600)
    assert street.hub.seqs == [3]
    assert [(told["reports"], told["causes"]) for told in street.hub.bodies("gap")] == [(2, ["renamed"])]
    assert till.rows() == []


def test_a_way_that_is_no_longer_configured_leaves_no_rows(street: Street) -> None:
    till = street.till(BOTH)
    street.hubs["mqtt"].down()
    till.run(120, till.report, every=60)
    till.centre.reload(till.plan(Push(https=HTTPS)))
    till.run(60)
    assert till.rows() == []


def test_where_nothing_is_configured_nothing_happens(street: Street) -> None:
    till = street.till(Push())
    till.report()
    till.centre.turn(street.clock.now, street.clock.wall)
    assert till.centre.wait(street.clock.now) == float("inf")
    assert (till.saves, till.rows(), street.hub.made) == (0, [], 0)
    till.stop()


def test_a_disk_that_takes_nothing_stops_nobody(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    till = street.till(quota=1000)
    street.hub.down()
    monkeypatch.setattr(Store, "save", lambda *_a, **_k: (_ for _ in ()).throw(keepers.StoreError("cannot write")))
    till.run(600 * 10, till.report, every=10)
    waits = till.centre.counts()["reports_waiting"]
    assert 390 <= waits <= 402
    assert len(till.keeper.pending.parcels) <= 402
    street.hub.up()
    till.run(1200)
    assert street.hub.seqs[0] == 600
    assert {cause for told in street.hub.bodies("gap") for cause in told["causes"]} == {"memory"}
    assert sum(told["reports"] for told in street.hub.bodies("gap")) + len(street.hub.seqs) == 600
    assert len(street.hub.seqs) >= 399


def test_what_went_with_the_state_file_is_accounted_for(street: Street) -> None:
    till = street.till()
    street.hub.down()
    till.run(300, till.report, every=60)
    till.keeper.close()
    for file in street.path.glob("state.sqlite*"):
        file.unlink()
    till.keeper.open()
    till.report()
    street.hub.up()
    till.run(900)
    assert street.hub.seqs == [6]
    assert street.hub.bodies("gap")[0]["reports"] == 5
    assert street.hub.bodies("gap")[0]["causes"] == ["lost"]


def test_a_damaged_body_is_lost_not_sent(street: Street) -> None:
    till = street.till()
    street.hub.down()
    till.run(120, till.report, every=60)
    with sqlite3.connect(street.path / "state.sqlite") as db:
        db.execute("UPDATE parcel SET body = x'1f8b08' WHERE seq = 1")
    db.close()
    street.hub.up()
    till.run(900)
    assert street.hub.seqs == [2]
    assert street.hub.bodies("gap")[0]["reports"] == 1


def test_the_past_is_forgotten_before_what_waits(street: Street) -> None:
    till = street.till()
    street.hub.down()
    till.run(600, lambda: till.report(size=20_000), every=10)
    till.keeper.ask(lambda store: store.trim(street.clock.wall, 86400.0, 1), 0)
    assert len(till.rows()) == 60


def test_a_hanging_sender_is_left_behind_and_a_stop_does_not_wait_for_it(street: Street) -> None:
    stuck = threading.Event()

    def hang(_parcel: Parcel) -> Outcome:
        stuck.wait(20)
        return failed("late")

    street.hub.answer = hang
    till = street.till()
    till.report()
    street.clock.now += 11
    till.centre.turn(street.clock.now, street.clock.wall)
    assert street.hub.made == 1
    till.centre._lines["https"].runner._running = None
    till.stop(0.2)
    stuck.set()
    assert len(till.rows()) == 1


def test_a_stop_lets_the_last_report_leave(street: Street) -> None:
    till = street.till()
    till.run(20)
    till.report(changed=False)
    till.stop()
    assert street.hub.seqs == [1]
    assert street.hub.closed == 1
    assert till.rows() == []


def test_a_heartbeat_that_cannot_leave_at_the_stop_is_kept(street: Street) -> None:
    street.hub.down()
    till = street.till()
    till.run(20)
    till.report(changed=False)
    till.stop()
    assert len(till.rows()) == 1


@pytest.mark.parametrize("step", [-86400.0 * 400, 86400.0 * 400])
def test_a_clock_step_neither_stops_nor_storms(street: Street, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    till = street.till()
    street.hub.down()
    till.run(300, till.report, every=60)
    monkeypatch.setattr(type(street.clock), "wall", property(lambda clock: 1_760_000_000.0 + step + clock.now))
    till.centre.clock_set(street.clock.wall)
    before = len(street.hub.tried)
    till.run(300, till.report, every=60)
    assert len(street.hub.tried) - before < 20
    street.hub.up()
    till.run(900)
    assert sorted(street.hub.seqs) == list(range(1, 11))


def test_tills_back_from_an_outage_do_not_arrive_together(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand tills that have failed long enough, no second sees more than a few."""
    moments = sorted(order.rest(12, 300, number / 1000) for number in range(1000))
    assert moments[0] >= 30
    assert moments[-1] <= 300
    assert max(sum(at <= each < at + 1 for each in moments) for at in range(300)) <= 5


def test_saving_a_batch_twice_is_saving_it_once(street: Street) -> None:
    till = street.till(Push())
    one = Kept(key="1-a", kind="report", seq=1, at=1.0, ways=("https", "mqtt"), body=b"x")
    for batch in ([Done("1-a", "https")], [Done("1-a", "https"), Done("1-a", "mqtt")]):
        till.unsaved.parcels.append(one)
        till.unsaved.done.extend(batch)
        till.save()
    assert till.rows() == []
