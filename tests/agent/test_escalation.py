"""Who is told of a fault, and when: stories of a store with a clock of its own (see `escalations`)."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.config.escalation import Level, default_levels
from agent.escalation import Told, decide, next_at
from tests.agent.escalations import Store, level, seconds
from tests.agent.test_incidents import Till, case

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
NINE_TO_TEN = ["mon-sat 09:00-22:00"]


# ---- the first telling, levels by age, reminders


def test_somebody_is_told_at_once_and_hears_when_it_is_over() -> None:
    store = Store(level("staff"))
    fault = store.fault()
    store.wait("10m")
    store.gone(fault)
    store.wait("1d")
    assert store.said == ["10:00 opened: staff", "10:10 resolved: staff"]
    assert store.told == {}


def test_all_channels_of_a_level_are_told_together() -> None:
    store = Store(level("staff", "wecom", "sms"))
    store.fault()
    assert store.said == ["10:00 opened: wecom, sms"]


def test_whom_nobody_relieves_is_backed_up_level_by_level() -> None:
    store = Store(level("staff", every=0), level("centre", after="15m", every=0), level("owner", after="1h", every=0))
    store.fault()
    store.wait("6h")
    assert store.said == ["10:00 opened: staff", "10:15 escalated: centre", "11:00 escalated: owner"]
    assert [notice.level for notice in store.notices] == [1, 2, 3]


def test_reminders_come_ever_more_rarely_and_never_end() -> None:
    store = Store(level("staff"))
    store.fault()
    store.wait("16h")
    assert store.said == [
        "10:00 opened: staff",
        "10:30 reminder: staff",
        "11:30 reminder: staff",
        "13:30 reminder: staff",
        "17:30 reminder: staff",
        "21:30 reminder: staff",
        "01:30 reminder: staff",
    ]


def test_each_level_reminds_by_its_own_clock() -> None:
    store = Store(level("staff", every="20m"), level("owner", after="30m", every="2h"))
    store.fault()
    store.wait("3h")
    assert store.said == [
        "10:00 opened: staff",
        "10:20 reminder: staff",
        "10:30 escalated: owner",
        "11:00 reminder: staff",
        "12:20 reminder: staff",
        "12:30 reminder: owner",
    ]


def test_a_channel_of_two_levels_is_reminded_once() -> None:
    store = Store(level("first", "staff", every="30m"), level("second", "staff", "owner", after="30m", every="1h"))
    store.fault()
    store.wait("4h")
    assert store.said == [
        "10:00 opened: staff",
        "10:30 escalated: staff, owner",
        "11:30 reminder: staff, owner",
        "13:30 reminder: staff, owner",
    ]


def test_who_hears_late_is_not_told_twice_at_once() -> None:
    """Both levels are due when the silence ends: one notice, each channel once."""
    store = Store(level("first", "staff"), level("second", "staff", "owner", after="30m"))
    store.silence("1h")
    store.fault()
    store.wait("61m")
    assert store.said == ["11:00 opened: staff, owner"]


def test_a_level_is_for_some_causes_parties_and_impacts_only() -> None:
    store = Store(
        level("lan", causes=("lan.*", "isp.down")),
        level("acquirer", parties=("acquirer",), impacts=("stop", "degrade", "none")),
        level("worst", impacts=("stop",)),
    )
    store.fault("isp.down", "degrade", "isp")
    store.fault("isp.poor", "degrade", "isp")
    store.fault("acquirer.silent", "none", "acquirer")
    store.fault("lan.router_down", "stop", "store")
    assert store.said == ["10:00 opened: lan", "10:00 opened #3: acquirer", "10:00 opened #4: lan, worst"]


def test_a_fault_that_no_level_is_for_is_nobodys_trouble() -> None:
    store = Store(level("staff", impacts=("stop",)))
    fault = store.fault(impact="none")
    store.wait("1d")
    store.gone(fault)
    assert store.said == []


# ---- taking charge


def test_who_takes_charge_is_left_alone_and_hears_of_the_end() -> None:
    store = Store(level("staff"), level("owner", after="1h"))
    fault = store.fault()
    store.wait("10m")
    store.ack(fault)
    store.wait("8h")
    store.gone(fault)
    assert store.said == ["10:00 opened: staff", "18:10 resolved: staff"]


def test_what_was_promised_for_two_hours_and_not_done_goes_on_where_it_stopped() -> None:
    store = Store(level("staff"), level("centre", after="30m"), level("owner", after="3h"))
    fault = store.fault()
    store.wait("10m")
    store.ack(fault, "2h")
    store.wait("4h")
    assert store.said == [
        "10:00 opened: staff",
        "12:10 escalated: centre",
        "12:10 reminder: staff",
        "12:40 reminder: centre",
        "13:00 escalated: owner",
        "13:10 reminder: staff",
        "13:30 reminder: owner",
        "13:40 reminder: centre",
    ]


def test_a_promise_can_be_renewed() -> None:
    store = Store(level("staff"))
    fault = store.fault()
    for _ in range(4):
        store.ack(fault, "2h")
        store.wait("119m")
    assert store.said == ["10:00 opened: staff"]


def test_who_took_charge_of_less_is_told_that_it_became_graver() -> None:
    store = Store(level("staff"), level("owner", after="30m", impacts=("stop",)))
    fault = store.fault(impact="degrade")
    store.ack(fault)
    store.wait("2h")
    store.graver(fault, "stop")
    store.wait("45m")
    assert store.said == [
        "10:00 opened: staff",
        "12:00 escalated: staff",
        "12:30 escalated: owner",
        "12:30 reminder: staff",
    ]
    store.ack(fault)
    store.wait("1d")
    assert len(store.said) == 4


# ---- raised impact


def test_a_fault_that_becomes_graver_escalates_anew() -> None:
    """Levels for the graver fault count from the moment it became so; whoever knows of it hears of that at once."""
    store = Store(
        level("risk", "staff", impacts=("degrade",)),
        level("down", "till", impacts=("stop",)),
        level("owner", after="30m", impacts=("stop",)),
    )
    fault = store.fault(impact="degrade")
    store.wait("70m")
    store.graver(fault, "stop")
    store.wait("40m")
    store.gone(fault)
    assert store.said == [
        "10:00 opened: staff",
        "10:30 reminder: staff",
        "11:10 escalated: staff, till",
        "11:40 escalated: owner",
        "11:40 reminder: till",
        "11:50 resolved: staff, till, owner",
    ]


def test_a_fault_that_becomes_graver_at_night_is_told_at_opening() -> None:
    store = Store(level("staff", hours="open"), opening=NINE_TO_TEN, start="2026-03-02T21:50")
    fault = store.fault(impact="degrade")
    store.wait("30m")
    store.graver(fault, "stop")
    store.until_clock("2026-03-03T09:10")
    assert store.said == ["21:50 opened: staff", "09:00 escalated: staff"]


# ---- silence


def test_during_planned_work_nobody_is_told_and_afterwards_who_would_have_been() -> None:
    store = Store(level("staff"), level("owner", after="4h"))
    store.silence("2h")
    store.fault()
    store.wait("150m")
    assert store.said == ["12:00 opened: staff", "12:30 reminder: staff"]


def test_what_came_and_went_during_planned_work_is_never_spoken_of() -> None:
    store = Store(level("staff"))
    store.silence("2h")
    fault = store.fault()
    store.wait("1h")
    store.gone(fault)
    store.wait("1d")
    assert store.said == []


def test_what_ended_during_planned_work_is_told_afterwards_to_those_who_knew() -> None:
    store = Store(level("staff"), level("owner", after="1h"))
    fault = store.fault()
    store.wait("10m")
    store.silence("2h")
    store.wait("1h")
    store.gone(fault)
    store.wait("2h")
    assert store.said == ["10:00 opened: staff", "12:10 resolved: staff"]


def test_a_silence_ended_early_is_noticed_at_once() -> None:
    store = Store(level("staff"))
    store.silence("8h")
    store.fault()
    store.wait("15m")
    store.unsilence()
    assert store.said == ["10:15 opened: staff"]


# ---- opening hours


def test_outside_opening_hours_a_level_waits_for_the_store_to_open() -> None:
    store = Store(level("staff", hours="open"), opening=NINE_TO_TEN, start="2026-03-02T23:00")
    store.fault()
    store.until_clock("2026-03-03T10:00")
    assert store.said == ["09:00 opened: staff", "09:30 reminder: staff"]


def test_a_level_that_is_always_there_does_not_wait_for_those_who_sleep() -> None:
    store = Store(
        level("staff", hours="open", every=0),
        level("centre", after="30m", every=0),
        opening=NINE_TO_TEN,
        start="2026-03-02T23:00",
    )
    fault = store.fault()
    store.until_clock("2026-03-03T08:00")
    assert store.said == ["23:30 opened: centre"]
    store.until_clock("2026-03-03T10:00")
    store.gone(fault)
    assert store.said == ["23:30 opened: centre", "09:00 escalated: staff", "10:00 resolved: centre, staff"]


def test_what_came_and_went_at_night_wakes_and_bothers_nobody() -> None:
    store = Store(level("staff", hours="open"), opening=NINE_TO_TEN, start="2026-03-02T23:00")
    fault = store.fault()
    store.wait("2h")
    store.gone(fault)
    store.until_clock("2026-03-03T12:00")
    assert store.said == []


def test_at_night_nobody_who_sleeps_is_told_that_it_is_over_or_reminded() -> None:
    store = Store(level("staff", hours="open"), level("centre"), opening=NINE_TO_TEN, start="2026-03-02T21:55")
    fault = store.fault()
    store.wait("4h")
    store.gone(fault)
    store.until_clock("2026-03-03T12:00")
    assert store.said == [
        "21:55 opened: staff, centre",
        "22:25 reminder: centre",
        "23:25 reminder: centre",
        "01:25 reminder: centre",
        "01:55 resolved: centre",
        "09:00 resolved: staff",
    ]


def test_on_a_holiday_the_store_is_left_in_peace() -> None:
    """The national holidays: closed from Thursday 1 October to Wednesday the 7th."""
    store = Store(
        level("staff", hours="open", every=0),
        opening=["daily 09:00-22:00"],
        holidays=["2026-10-01..2026-10-07"],
        start="2026-09-30T23:00",
    )
    store.fault()
    store.until_clock("2026-10-08T08:59")
    assert store.said == []
    store.wait("1h")
    assert store.said == ["09:00 opened: staff"]


# ---- daylight saving


@pytest.mark.parametrize(
    ("zone", "start", "opens"),
    [
        pytest.param(BERLIN, "2026-03-28T23:00", "2026-03-29T09:00", id="Berlin, spring: a night of nine hours"),
        pytest.param(BERLIN, "2026-10-24T23:00", "2026-10-25T09:00", id="Berlin, autumn: a night of eleven hours"),
        pytest.param(NEW_YORK, "2026-03-07T23:00", "2026-03-08T09:00", id="New York, spring"),
        pytest.param(NEW_YORK, "2026-10-31T23:00", "2026-11-01T09:00", id="New York, autumn"),
    ],
)
def test_the_store_opens_at_nine_on_both_sides_of_a_clock_change(zone: ZoneInfo, start: str, opens: str) -> None:
    store = Store(level("staff", hours="open", every=0), opening=["daily 09:00-22:00"], zone=zone, start=start)
    store.fault()
    store.until_clock(opens)
    assert store.said == ["09:00 opened: staff"]
    assert store.now == store.clock(opens)


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        # 02:00 becomes 03:00: half an hour after 01:45 the clock shows 03:15.
        (BERLIN, "2026-03-29T01:45", ["01:45 opened: staff", "03:15 reminder: staff", "04:15 reminder: staff"]),
        (NEW_YORK, "2026-03-08T01:45", ["01:45 opened: staff", "03:15 reminder: staff", "04:15 reminder: staff"]),
        # 03:00 becomes 02:00: the hour from two is there twice.
        (BERLIN, "2026-10-25T01:45", ["01:45 opened: staff", "02:15 reminder: staff", "02:15 reminder: staff"]),
        # In New York, 02:00 becomes 01:00.
        (NEW_YORK, "2026-11-01T00:45", ["00:45 opened: staff", "01:15 reminder: staff", "01:15 reminder: staff"]),
    ],
)
def test_waiting_times_are_real_time_whatever_the_clock_does(zone: ZoneInfo, start: str, expected: list[str]) -> None:
    store = Store(level("staff"), zone=zone, start=start)
    store.fault()
    store.wait("2h")
    assert store.said == expected


# ---- restarts and clocks that are set


def test_an_incident_open_across_a_restart_is_not_told_again() -> None:
    store = Store(level("staff"), level("owner", after="1h"))
    fault = store.fault()
    store.wait("20m")
    store.restart(off="5m")
    store.wait("40m")
    store.restart(off="1h")
    store.gone(fault)
    assert store.said == [
        "10:00 opened: staff",
        "10:30 reminder: staff",
        "11:00 escalated: owner",
        "12:05 reminder: owner, staff",
        "12:05 resolved: staff, owner",
    ]


def test_what_is_lost_with_the_state_file_is_told_with_the_same_key() -> None:
    store = Store(level("staff"))
    fault = store.fault()
    again, notices = decide(
        store.incidents[fault],
        None,
        charge=None,
        silenced=False,
        is_open=store.is_open,
        levels=store.levels,
        now=store.now + 5,
        deadline=None,
    )
    assert [notice.key for notice in notices] == [store.notices[0].key] == ["#1/opened/1"]
    assert again.level == 1


def test_a_clock_set_back_by_a_year_does_not_silence_the_reminders() -> None:
    store = Store(level("staff"))
    store.fault()
    store.clock_set("365d", back=True)
    store.wait("31m")
    assert store.said == ["10:00 opened: staff", "10:30 reminder: staff"]


def test_a_fault_found_by_a_clock_that_was_ahead_still_ages() -> None:
    store = Store(level("staff"), level("owner", after="1h", every=0))
    store.fault(opened_at=store.now + 86400)
    store.wait("61m")
    assert store.said == ["10:00 opened: staff", "10:30 reminder: staff", "11:00 escalated: owner"]


def test_a_clock_put_right_by_decades_hurries_nobody() -> None:
    """A PC without a battery starts in 2000; ten minutes later the time server is heard."""
    store = Store(level("staff"), level("owner", after="1h"), start="2000-01-01T00:00")
    fault = store.fault()
    store.wait("10m")
    store.clock_set("9500d", noticed=True)
    assert store.said == ["00:00 opened: staff"]
    store.wait("51m")
    assert store.said[1:] == ["00:30 reminder: staff", "01:00 escalated: owner"]
    store.gone(fault)
    assert store.said[3:] == ["01:01 resolved: staff, owner"]


def test_what_was_told_in_the_future_is_taken_for_told_now() -> None:
    store = Store(level("staff"))
    fault = store.fault()
    ahead = Told(incident=fault, level=1, told_at=(("staff", store.now + 9e6),), last_at=store.now + 9e6)
    told, notices = decide(
        store.incidents[fault],
        ahead,
        charge=None,
        silenced=False,
        is_open=store.is_open,
        levels=store.levels,
        now=store.now,
        deadline=None,
    )
    assert [notice.what for notice in notices] == ["escalated"]
    assert told.last_at == store.now
    due = next_at(
        store.incidents[fault],
        told,
        charge=None,
        silenced=False,
        is_open=store.is_open,
        levels=store.levels,
        now=store.now,
        deadline=None,
    )
    assert due == store.now + 1800


# ---- settlement


def test_twenty_minutes_before_settlement_everybody_is_told_in_time() -> None:
    """Levels after 30 minutes and after two hours come after 6:40 and 13:20 of the twenty minutes that are left."""
    store = Store(
        level("staff", every=0),
        level("centre", after="30m", every=0),
        level("owner", after="2h", every=0),
        start="2026-03-02T23:10",
        settlement="2026-03-02T23:30",
    )
    store.fault("settlement.failed", "degrade", "store")
    store.wait("30m")
    assert store.said == ["23:10 opened: staff", "23:16 escalated: centre", "23:23 escalated: owner"]


def test_a_fault_that_stops_payments_keeps_the_batch_from_leaving_too() -> None:
    store = Store(level("staff", every=0), level("owner", after="2h", every=0), start="2026-03-02T22:30")
    store.deadline = store.clock("2026-03-02T23:30")
    store.fault("lan.router_down", "stop", "store")
    store.wait("1h")
    assert store.said == ["22:30 opened: staff", "23:10 escalated: owner"]


def test_what_does_not_concern_the_batch_keeps_its_pace() -> None:
    store = Store(
        level("staff", every=0),
        level("owner", after="2h", every=0),
        start="2026-03-02T22:30",
        settlement="2026-03-02T23:30",
    )
    store.fault("host.disk_full", "degrade", "it")
    store.wait("3h")
    assert store.said == ["22:30 opened: staff", "00:30 escalated: owner"]


def test_an_old_fault_escalates_as_the_settlement_comes_near() -> None:
    """A level after sixteen hours: the fault of the afternoon is its business half an hour before settlement."""
    store = Store(
        level("staff", every=0),
        level("owner", after="16h", every=0),
        start="2026-03-02T15:30",
        settlement="2026-03-02T23:30",
    )
    store.fault()
    store.wait("8h")
    assert store.said == ["15:30 opened: staff", "23:01 escalated: owner"]


def test_before_settlement_reminders_come_sooner_but_not_without_end() -> None:
    store = Store(level("staff", every="30m"), start="2026-03-02T22:40", settlement="2026-03-02T23:30")
    store.fault()
    store.wait("50m")
    assert store.said == [
        "22:40 opened: staff",
        "22:56 reminder: staff",
        "23:13 reminder: staff",
        "23:24 reminder: staff",
        "23:29 reminder: staff",
    ]


def test_before_settlement_a_closed_store_is_told_all_the_same() -> None:
    store = Store(
        level("staff", hours="open", every=0),
        opening=NINE_TO_TEN,
        start="2026-03-02T22:05",
        settlement="2026-03-02T23:30",
    )
    store.fault("settlement.failed", "degrade", "store")
    store.fault("host.disk_full", "degrade", "it")
    store.until_clock("2026-03-02T23:30")
    assert store.said == ["22:30 opened #1: staff"]


def test_the_tightening_can_be_switched_off() -> None:
    store = Store(
        level("staff", every=0),
        level("owner", after="30m", every=0),
        start="2026-03-02T23:10",
        settlement="2026-03-02T23:30",
    )
    store.before_settlement = 0.0
    store.fault()
    store.wait("1h")
    assert store.said == ["23:10 opened: staff", "23:40 escalated: owner"]


def test_who_took_charge_is_not_hurried_before_settlement() -> None:
    store = Store(level("staff"), start="2026-03-02T23:00", settlement="2026-03-02T23:30")
    fault = store.fault()
    store.ack(fault)
    store.wait("1h")
    assert store.said == ["23:00 opened: staff"]


# ---- flapping


def flap(store: Store, *, down: str, up: str, hours: float = 1.0, flagged: bool = True) -> None:
    """A line that comes and goes for so long. `flagged`: it returns soon enough for the incidents to know it."""
    end, before = store.now + hours * 3600, None
    while store.now < end:
        before = store.fault(flapping=flagged and before is not None, previous=before if flagged else None)
        store.wait(down)
        store.gone(before)
        store.wait(up)


@pytest.mark.parametrize("flagged", [True, False])
@pytest.mark.parametrize(
    ("down", "up"), [("1m", "1m"), ("2m", "12m"), ("5m", "5m"), ("1m", "16m"), ("9m", "1m"), ("4m", "20m")]
)
def test_a_line_that_flaps_for_hours_is_told_of_four_times_an_hour_at_most(down: str, up: str, flagged: bool) -> None:
    store = Store(level("staff"), level("owner", after="20m"))
    flap(store, down=down, up=up, hours=6, flagged=flagged)
    assert store.within_an_hour() <= 4
    assert len(store.heard("staff")) <= 24


@pytest.mark.parametrize(
    ("down", "up"), [(30, 30), (60, 120), (120, 600), (300, 300), (60, 960), (1500, 100), (400, 1300)]
)
def test_the_incidents_of_a_flapping_line_are_told_of_four_times_an_hour_at_most(down: int, up: int) -> None:
    """Through the incidents' own rules; a look every five seconds, for five hours, and then the line holds."""
    till, store = Till("wan"), Store(level("staff"), level("owner", after="20m"))
    wan, was_broken = case("isp.down", "wan"), False
    for step in range(5 * 720 + 1500):
        broken = step * 5 % (down + up) < down and step < 5 * 720
        if broken != was_broken:
            (till.bad if broken else till.good)("wan")
            was_broken = broken
        till.examine(*([wan] if broken else []))
        store.now = till.now
        for change in till.told:
            store.incidents[change.incident.id] = change.incident
        till.told.clear()
        store.ask()
    assert store.within_an_hour() <= 4
    assert store.notices[-1].what == "resolved"
    assert store.concerned() == []


@pytest.mark.parametrize("flagged", [True, False])
def test_a_line_that_flaps_for_an_hour_is_one_fault_to_people(flagged: bool) -> None:
    """It is said to be gone when it has been gone for a quarter of an hour."""
    store = Store(level("staff"))
    flap(store, down="5m", up="5m", flagged=flagged)
    store.wait("3h")
    assert store.said == [
        "10:00 opened: staff",
        "10:05 resolved: staff",
        "10:10 opened #2: staff",
        "10:40 reminder #5: staff",
        "11:10 resolved #6: staff",
    ]


def test_two_short_faults_in_an_hour_are_told_both_with_their_ends() -> None:
    store = Store(level("staff"))
    for _ in range(2):
        fault = store.fault()
        store.wait("2m")
        store.gone(fault)
        store.wait("20m")
    assert store.said == [
        "10:00 opened: staff",
        "10:02 resolved: staff",
        "10:22 opened #2: staff",
        "10:39 resolved #2: staff",
    ]


def test_who_took_charge_of_a_line_that_flaps_is_not_called_each_time_it_does() -> None:
    store = Store(level("staff"), level("owner", after="30m"))
    store.gone(store.fault())
    store.wait("3m")
    known = store.fault(flapping=True, previous="#1")
    store.ack(known, "2h")
    for number in range(3, 10):
        store.gone(known)
        store.wait("5m")
        known = store.fault(flapping=True, previous=f"#{number - 1}")
        store.wait("5m")
    assert store.said == ["10:00 opened: staff", "10:00 resolved: staff", "10:03 opened #2: staff"]
    store.wait("1h")
    assert store.said[3:] == ["12:03 escalated #9: owner", "12:03 reminder #9: staff"]


def test_a_first_alarm_is_never_held_back() -> None:
    """Another fault, and the same fault of another day."""
    store = Store(level("staff"))
    flap(store, down="1m", up="1m")
    before = len(store.notices)
    other = store.fault("acquirer.silent", "stop", "acquirer")
    assert store.said[before:] == [f"11:00 opened {other}: staff"]
    store.gone(other)
    store.wait("1d")
    before = len(store.notices)
    again = store.fault()
    assert store.said[before:] == [f"11:00 opened {again}: staff"]


def test_what_nobody_can_name_is_another_fault_when_other_probes_see_it() -> None:
    store = Store(level("staff"))
    for probes in (("a",), ("b",), ("c",), ("d",), ("e",)):
        fault = store.fault("unclassified", fingerprint="the store's", probes=probes)
        store.gone(fault)
    assert store.heard("staff") == ["opened", "resolved"] * 5
    for _ in range(5):
        store.gone(store.fault("unclassified", fingerprint="the store's", probes=("a",)))
    assert store.heard("staff")[10:] == ["opened"]


def test_a_fault_that_is_back_by_night_was_never_gone_to_those_who_slept() -> None:
    store = Store(level("staff", hours="open"), opening=NINE_TO_TEN, start="2026-03-02T21:50")
    fault = store.fault()
    store.wait("3h")
    store.gone(fault)
    store.wait("10m")
    back = store.fault()
    store.until_clock("2026-03-03T09:10")
    store.gone(back)
    store.wait("1d")
    assert store.said == ["21:50 opened: staff", "09:00 reminder #2: staff", "09:10 resolved #2: staff"]


def test_who_heard_of_the_end_by_night_hears_that_it_is_back_and_who_slept_does_not() -> None:
    store = Store(
        level("staff", hours="open", every=0), level("centre", every=0), opening=NINE_TO_TEN, start="2026-03-02T21:50"
    )
    fault = store.fault()
    store.wait("3h")
    store.gone(fault)
    store.wait("10m")
    back = store.fault()
    store.until_clock("2026-03-03T12:00")
    store.gone(back)
    assert store.said == [
        "21:50 opened: staff, centre",
        "00:50 resolved: centre",
        "01:00 escalated #2: centre",
        "12:00 resolved #2: staff, centre",
    ]


# ---- joined incidents


def test_a_fault_that_is_part_of_a_deeper_one_says_so_in_one_line_and_no_more() -> None:
    """Whoever knew of it hears of the end of the deeper one."""
    store = Store(level("centre", causes=("acquirer.*",)), level("staff", causes=("lan.*",)))
    part = store.fault("acquirer.unreachable", "stop", "acquirer")
    store.wait("1m")
    whole = store.fault("lan.router_down", "stop", "store")
    store.joined(part, whole)
    store.wait("5m")
    store.gone(whole)
    store.wait("1d")
    assert store.said == [
        "10:00 opened: centre",
        "10:01 opened #2: staff",
        "10:01 joined #1: centre",
        "10:06 resolved #2: staff, centre",
    ]


def test_a_part_that_nobody_was_told_of_needs_no_line() -> None:
    store = Store(level("staff", after="10m"))
    part = store.fault("acquirer.unreachable", "stop", "acquirer")
    store.wait("1m")
    store.joined(part, store.fault("lan.router_down", "stop", "store"))
    store.wait("11m")
    assert store.said == ["10:11 opened #2: staff"]


def test_a_part_whose_whole_is_over_as_well_is_simply_over() -> None:
    store = Store(level("staff"))
    part = store.fault("acquirer.unreachable", "stop", "acquirer")
    store.silence("1h")
    whole = store.fault("lan.router_down", "stop", "store")
    store.joined(part, whole)
    store.wait("10m")
    store.gone(whole)
    store.wait("2h")
    assert store.said == ["10:00 opened: staff", "11:00 resolved #1: staff"]


def test_a_part_of_a_part_ends_with_the_whole() -> None:
    store = Store(level("staff", causes=("acquirer.*",)))
    part = store.fault("acquirer.unreachable", "stop", "acquirer")
    store.silence("1h")
    more = store.fault("isp.down", "stop", "isp")
    store.joined(part, more)
    whole = store.fault("lan.router_down", "stop", "store")
    store.joined(more, whole)
    store.wait("90m")
    assert store.said == ["10:00 opened: staff", "11:00 joined #1: staff"]
    store.gone(whole)
    assert store.said[2:] == ["11:30 resolved #3: staff"]


def test_sixty_probes_behind_a_dead_router_are_one_notice_and_one_recovery() -> None:
    store = Store(level("staff", "wecom", "sms"), level("owner", after="1h"))
    router = store.fault("lan.router_down", "stop", "store", probes=tuple(f"host/{number}" for number in range(60)))
    store.wait("10m")
    store.gone(router)
    store.wait("1d")
    assert {channel: store.heard(channel) for channel in ("wecom", "sms", "owner")} == {
        "wecom": ["opened", "resolved"],
        "sms": ["opened", "resolved"],
        "owner": [],
    }


# ---- the file changes under an open incident


def test_a_level_that_is_added_or_taken_away_takes_effect_at_once() -> None:
    store = Store(level("staff"), level("owner", after="1h"))
    fault = store.fault()
    store.wait("10m")
    store.levels = (level("centre", every=0), level("staff"))
    store.wait("2h")
    store.levels = (level("centre", every=0),)
    store.gone(fault)
    assert store.said == [
        "10:00 opened: staff",
        "10:10 escalated: centre",
        "10:30 reminder: staff",
        "11:30 reminder: staff",
        "12:10 resolved: staff, centre",
    ]


def test_a_channel_that_joins_a_level_is_told_with_the_next_reminder_and_of_the_end() -> None:
    store = Store(level("staff", "mail"))
    fault = store.fault()
    store.wait("10m")
    store.levels = (level("staff", "mail", "phone"),)
    store.wait("25m")
    store.gone(fault)
    assert store.said == ["10:00 opened: mail", "10:30 reminder: mail, phone", "10:35 resolved: mail, phone"]


# ---- what holds without a policy


def test_without_levels_all_channels_are_told_in_opening_hours() -> None:
    store = Store(*default_levels(["wecom", "mail"]), opening=NINE_TO_TEN)
    down = store.fault("isp.down", "stop")
    store.wait("1m")
    store.gone(down)
    store.wait("1h")
    store.fault("isp.poor", "degrade")
    store.fault("age.old", "none")
    store.wait("46m")
    assert store.said == [
        "10:00 opened: wecom, mail",
        "10:01 resolved: wecom, mail",
        "11:16 opened #2: wecom, mail",
        "11:46 reminder #2: wecom, mail",
    ]


def test_without_levels_a_fault_that_becomes_graver_is_told_at_once() -> None:
    store = Store(*default_levels(["mail"]))
    fault = store.fault("isp.poor", "degrade")
    store.wait("5m")
    store.graver(fault, "stop")
    store.wait("40m")
    assert store.said == ["10:05 opened: mail", "10:35 reminder: mail"]


def test_without_channels_nobody_is_told() -> None:
    assert default_levels([]) == ()
    store = Store()
    store.fault()
    store.wait("30d")
    assert store.said == []
    assert store.asked < 20


# ---- whatever happens

CAUSES = ("isp.down", "lan.router_down", "acquirer.silent", "settlement.failed")
LEVELS = (
    level("staff", "wecom", "sms", hours="open"),
    level("centre", "mail", after="15m", every="10m", causes=("isp.*", "acquirer.*")),
    level("owner", "sms", "phone", after="1h", every="1h", impacts=("stop",)),
    level("books", after=0, every=0, parties=("acquirer",), impacts=("none", "degrade", "stop")),
)
SPANS = st.sampled_from(["1s", "30s", "3m", "9m", "20m", "1h", "5h", "1d"])


class Life(RuleBasedStateMachine):
    """Faults come and go, people take charge, clocks are set: `Store.ask` and `until` check each answer."""

    @initialize(start=st.sampled_from(["2026-03-28T21:30", "2026-10-24T23:50", "2026-03-02T10:00"]))
    def opens(self, start: str) -> None:
        self.store = Store(*LEVELS, start=start, opening=NINE_TO_TEN, zone=BERLIN)
        self.flapped = False

    @property
    def open(self) -> list[str]:
        return [each.id for each in self.store.incidents.values() if each.resolved_at is None]

    @rule(cause=st.sampled_from(CAUSES), impact=st.sampled_from(["none", "degrade", "stop"]))
    def fault(self, cause: str, impact: str) -> None:
        """Again, or for the first time; one that is open becomes graver."""
        same = [each for each in self.store.incidents.values() if each.cause == cause]
        if not same or same[-1].resolved_at is not None:
            soon = bool(same) and self.store.now - (same[-1].resolved_at or 0.0) < 300
            party = "acquirer" if cause == "acquirer.silent" else "isp"
            self.store.fault(cause, impact, party, flapping=soon, previous=same[-1].id if soon else None)
        elif impact == "stop":
            self.store.graver(same[-1].id, impact)

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0, 3))
    def gone(self, place: int) -> None:
        self.store.gone(self.open[place % len(self.open)])

    @precondition(lambda self: len(self.open) > 1)
    @rule(place=st.integers(0, 3))
    def joined(self, place: int) -> None:
        part = self.open[place % len(self.open)]
        self.store.joined(part, self.open[(place + 1) % len(self.open)])

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0, 3), lasts=st.sampled_from([None, "20m", "2h"]))
    def ack(self, place: int, lasts: str | None) -> None:
        self.store.ack(self.open[place % len(self.open)], lasts)

    @rule(lasts=st.sampled_from(["10m", "3h"]))
    def silence(self, lasts: str) -> None:
        self.store.silence(lasts)

    @rule(lasts=SPANS)
    def wait(self, lasts: str) -> None:
        self.store.wait(lasts)

    @rule(off=SPANS)
    def restart(self, off: str) -> None:
        self.store.restart(off=off)

    @rule(by=SPANS, back=st.booleans(), noticed=st.booleans())
    def clock_set(self, by: str, back: bool, noticed: bool) -> None:
        self.store.clock_set(by, back=back, noticed=noticed)

    @rule(ahead=SPANS)
    def settlement(self, ahead: str) -> None:
        self.store.deadline = self.store.now + seconds(ahead)

    @rule(kept=st.sets(st.sampled_from(LEVELS)))
    def reload(self, kept: set[Level]) -> None:
        self.store.levels = [each for each in LEVELS if each in kept]

    @invariant()
    def an_end_is_told_once_and_only_to_those_who_knew(self) -> None:
        aware: set[tuple[str, str]] = set()
        ended: set[tuple[str, str]] = set()
        for notice in self.store.notices:
            incident = self.store.incidents[notice.incident]
            for channel in notice.channels:
                if notice.what in ("resolved", "joined"):
                    assert (channel, incident.cause) in aware, notice
                    assert (channel, incident.id) not in ended, notice
                    ended.add((channel, incident.id))
                else:
                    assert (channel, incident.id) not in ended, notice
                    aware.add((channel, incident.cause))
                if notice.what == "joined":
                    aware |= {(channel, self.store.incidents[home].cause) for home in self.homes(incident.id)}

    def homes(self, identity: str) -> list[str]:
        found = [identity]
        while (home := self.store.incidents[found[-1]].joined_to) is not None and home not in found:
            found.append(home)
        return found[1:]

    def teardown(self) -> None:
        """When all is well again and everybody is awake, whoever was told of a fault knows that it is over."""
        if not hasattr(self, "store"):
            return
        for identity in self.open:
            self.store.gone(identity)
        self.store.wait("4d")
        self.an_end_is_told_once_and_only_to_those_who_knew()
        assert self.store.told == {}
        assert self.store.concerned() == []
        aware: set[tuple[str, str]] = set()
        for notice in self.store.notices:
            cause = self.store.incidents[notice.incident].cause
            for channel in notice.channels:
                if notice.what == "resolved" or notice.what == "joined":
                    aware.discard((channel, cause))
                else:
                    aware.add((channel, cause))
        assert not aware


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
