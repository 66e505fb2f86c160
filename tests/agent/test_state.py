"""Thresholds: what counts at once, what has to hold, and what one odd look must never do.

Looks are written as a row of letters, 10 seconds apart from second 100 on: `.` ok, `s` skipped, `w` warn, `f` fail,
`?` unknown. Beneath each stands what is confirmed after it; `-` is nothing yet.
"""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.state import Policy, Track, Transition, advance, flapping, is_bad, is_good, policy_of, resumed, suspect
from probes.model import Observation, Status
from tests.agent.kinds import make_probe

STATUS = {".": Status.OK, "s": Status.SKIPPED, "w": Status.WARN, "f": Status.FAIL, "?": Status.UNKNOWN}
LETTER = {status: letter for letter, status in STATUS.items()} | {None: "-"}
USUAL = Policy(fail_after=3, recover_after=2, window=5)
LOOKS = st.text(alphabet=".swf?", max_size=60)
POLICIES = st.builds(
    lambda down, up, more: Policy(down, up, down + more), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4)
)


def seen(letter: str) -> Observation:
    return Observation(status=STATUS[letter], reason="ok" if letter in ".s" else f"port.{letter}")


def watch(
    looks: str, policy: Policy = USUAL, track: Track | None = None, start: float = 100.0
) -> tuple[str, Track, list[Transition]]:
    """What is confirmed after each look, the last track, and all transitions."""
    told, transitions = "", list[Transition]()
    for number, letter in enumerate(looks):
        track, transition = advance(track, seen(letter), policy, start + 10.0 * number, "auth")
        told += LETTER[track.status]
        if transition is not None:
            transitions.append(transition)
    return told, track or Track(), transitions


@pytest.mark.parametrize(
    ("looks", "confirmed"),
    [
        pytest.param(".", ".", id="a first look that finds all well is believed"),
        pytest.param("s", "s", id="a first look that finds nothing fitted is believed"),
        pytest.param("fff", "--f", id="trouble at the first look has to hold too"),
        pytest.param("???", "--?", id="so has blindness"),
        pytest.param("f..", "--.", id="after a bad first look, being well has to hold"),
        pytest.param("f.f.f", "----f", id="a start that goes to and fro is trouble"),
        pytest.param(".f.", "...", id="one lost packet makes no verdict"),
        pytest.param(".ff.", "....", id="nor do two"),
        pytest.param(".fff", "...f", id="three in a row do"),
        pytest.param(".f.f.f", ".....f", id="so do three of five"),
        pytest.param(".f..f..f..f..f", "..............", id="two of five do not, for however long"),
        pytest.param(".wfw", "...w", id="warn and fail add up, and the last one counts"),
        pytest.param(".wwf", "...f", id="warn and fail add up to fail where fail is the last"),
        pytest.param("wwwfff", "--wwwf", id="from warn to fail is a way down"),
        pytest.param("wwwff.", "--wwww", id="which one good look ends"),
        pytest.param("fffww", "--ffw", id="from fail to warn is half a way up"),
        pytest.param("fff..", "--ff.", id="two good looks are a recovery"),
        pytest.param("fff.s", "--ffs", id="well and not fitted are both good"),
        pytest.param("fff.f.f.", "--ffffff", id="a good look now and then is none"),
        pytest.param("fff.?.", "--ffff", id="nor is one before and one after a blind one"),
        pytest.param("fffw..", "--fff.", id="two good looks are a recovery though one before them was half of one"),
        pytest.param("fff.w.w", "--ffwww", id="no fail any more, but no rest either: warn"),
        pytest.param("fff..f.", "--ff...", id="what was over leaves nothing behind for the next lost packet"),
        pytest.param("fff..fff", "--ff...f", id="but three more are trouble again"),
        pytest.param(".???", "...?", id="three blind looks are blindness"),
        pytest.param(".??.", "....", id="two are not"),
        pytest.param(".?f?f?f", "......f", id="blind looks in between hide no trouble"),
        pytest.param("fff???", "--fff?", id="blindness takes the place of trouble too"),
        pytest.param("???..", "--??.", id="and goes as trouble goes"),
        pytest.param("???fff", "--???f", id="or comes to trouble"),
        pytest.param(".s.", "...", id="a thing that is not fitted for one look stays"),
        pytest.param(".ss", "..s", id="a thing taken out is confirmed as such"),
    ],
)
def test_what_is_confirmed_after_each_look(looks: str, confirmed: str) -> None:
    assert watch(looks)[0] == confirmed


def test_one_look_is_enough_where_the_settings_say_so() -> None:
    assert watch("f.f", Policy(fail_after=1, recover_after=1, window=5))[0] == "f.f"
    assert watch(".?", Policy(fail_after=1, recover_after=1, window=1))[0] == ".?"


def test_a_window_as_short_as_the_row_asks_for_a_row() -> None:
    assert watch(".ff.ff.fff", Policy(fail_after=3, recover_after=2, window=3))[0] == ".........f"


def test_a_probe_that_asks_for_ten_looks_gets_a_window_of_ten() -> None:
    probe = replace(make_probe("auth", "port"), fail_after=10, recover_after=4)
    assert policy_of(probe, window=5) == Policy(fail_after=10, recover_after=4, window=10)
    assert policy_of(make_probe("auth", "port"), window=5) == Policy(fail_after=3, recover_after=2, window=5)


def test_a_status_holds_since_its_row_began() -> None:
    _, track, transitions = watch("..fff.ff..")
    assert [(each.old, each.new, each.at) for each in transitions] == [
        (None, Status.OK, 100.0),
        (Status.OK, Status.FAIL, 120.0),
        (Status.FAIL, Status.OK, 180.0),
    ]
    assert (track.status, track.since) == (Status.OK, 180.0)


def test_trouble_of_three_in_five_began_with_the_first_of_the_three() -> None:
    assert watch(".f.ff")[2][-1].at == 110.0
    assert watch(".f....f.f.f")[2][-1].at == 160.0, "an old lost packet has nothing to do with it"


def test_a_transition_says_whose_it_is_and_why() -> None:
    assert watch(".wff")[2][-1] == Transition(probe="auth", at=110.0, old=Status.OK, new=Status.FAIL, reason="port.f")


def test_another_reason_of_the_same_status_changes_nothing() -> None:
    _, track, _ = watch(".ffff")
    after, transition = advance(track, Observation(status=Status.FAIL, reason="port.refused"), USUAL, 150.0)
    assert transition is None
    assert (after.status, after.since, suspect(after)) == (Status.FAIL, 110.0, False)


@pytest.mark.parametrize(
    ("looks", "suspected"),
    [
        ("", True),
        (".", False),
        (".f", True),
        (".f.", False),
        (".fff", False),
        (".fffw", True),
        (".fff.", True),
        (".?", True),
        ("f", True),
        ("?", True),
    ],
)
def test_a_probe_is_suspect_while_its_looks_disagree_with_what_is_confirmed(looks: str, suspected: bool) -> None:
    assert suspect(watch(looks)[1]) is suspected


def test_a_look_that_tells_nothing_new_gives_the_same_track_back() -> None:
    for looks in ("......", "wwwwww", "ffffffff", "??????", "ssssss"):
        _, track, _ = watch(looks)
        assert advance(track, seen(looks[0]), USUAL, 900.0)[0] is track


def test_a_restart_forgets_nothing() -> None:
    whole, last, transitions = watch("..fff.f..f.f")
    for cut in range(1, 12):
        before, track, early = watch("..fff.f..f.f"[:cut])
        again = msgspec.json.decode(msgspec.json.encode(track), type=Track)
        after, resumed_last, late = watch("..fff.f..f.f"[cut:], track=again, start=100.0 + 10 * cut)
        assert (before + after, resumed_last, early + late) == (whole, last, transitions)


def test_after_a_night_without_a_look_a_row_that_was_begun_does_not_go_on() -> None:
    _, evening, _ = watch("...ff")
    morning = resumed(evening)
    assert (morning.status, morning.since) == (Status.OK, 100.0)
    assert watch("f..", track=morning, start=40_000.0)[0] == "..."
    assert watch("fff", track=morning, start=40_000.0)[0] == "..f"


def test_gone_and_back_and_gone_within_minutes_is_flapping() -> None:
    _, track, _ = watch(".fff..fff")
    assert flapping(track, 200.0)
    assert flapping(track, 650.0)
    assert not flapping(track, 800.0), "it has kept quiet for a while"


@pytest.mark.parametrize("looks", [".", ".fff", ".fff..", ".f.f.f.f.f.f.f", ".wwwfffwwfff", ".fff???..???.."])
def test_a_single_outage_and_unrest_that_never_ends_are_not_flapping(looks: str) -> None:
    assert not flapping(watch(looks)[1], 300.0)


def test_a_clock_that_is_set_by_years_makes_nothing_flap_for_ever() -> None:
    _, track, _ = watch(".fff..fff", start=1_700_000_000.0)
    assert not flapping(track, 946_684_800.0)


def test_good_and_bad_leave_room_for_not_knowing() -> None:
    assert [is_good(s) for s in (Status.OK, Status.SKIPPED)] == [True, True]
    assert [is_bad(s) for s in (Status.WARN, Status.FAIL)] == [True, True]
    assert not any(is_good(s) or is_bad(s) for s in (Status.UNKNOWN, None))


@given(LOOKS, POLICIES)
def test_whatever_is_seen_trouble_is_confirmed_only_when_enough_of_the_window_was_bad(
    looks: str, policy: Policy
) -> None:
    confirmed, _, _ = watch(looks, policy)
    for number, (was, now) in enumerate(zip("-" + confirmed, confirmed, strict=False)):
        if now in "wf" and was not in "wf":
            window = looks[max(0, number + 1 - policy.window) : number + 1]
            assert window[-1] == now
            assert sum(letter in "wf" for letter in window) >= policy.fail_after


@given(LOOKS, POLICIES, st.sampled_from(".swf?"))
def test_whatever_was_seen_what_holds_long_enough_is_confirmed(looks: str, policy: Policy, last: str) -> None:
    enough = max(policy.fail_after, policy.recover_after)
    _, track, _ = watch(looks + last * enough, policy)
    assert track.status is STATUS[last]
    assert not suspect(track)


@given(LOOKS, POLICIES)
def test_whatever_is_seen_transitions_are_a_chain_that_ends_at_the_confirmed_status(looks: str, policy: Policy) -> None:
    confirmed, track, transitions = watch(looks, policy)
    previous: Status | None = None
    for each in transitions:
        assert each.old is previous
        assert each.new is not previous
        previous = each.new
    assert track.status is previous
    assert len(transitions) == sum(a != b for a, b in zip("-" + confirmed, confirmed, strict=False))
    assert [each.at for each in transitions] == sorted(each.at for each in transitions)


@given(LOOKS, POLICIES)
def test_whatever_is_seen_a_track_stays_small_and_survives_the_store(looks: str, policy: Policy) -> None:
    _, track, _ = watch(looks, policy)
    assert len(track.recent) <= policy.window
    assert len(track.bad_at) <= policy.window
    assert len(track.flips) <= 8
    assert msgspec.json.decode(msgspec.json.encode(track), type=Track) == track


@given(LOOKS, POLICIES, LOOKS, POLICIES)
def test_a_reload_that_changes_the_thresholds_breaks_no_track(
    looks: str, policy: Policy, more: str, other: Policy
) -> None:
    _, track, _ = watch(looks, policy)
    enough = max(other.fail_after, other.recover_after)
    assert watch(more + "." * enough, other, track)[1].status is Status.OK


def test_a_look_costs_a_few_microseconds() -> None:
    track = watch("......")[1]
    quiet = seen(".")
    began = time.process_time()
    for number in range(20_000):
        track, _ = advance(track, quiet, USUAL, float(number))
    assert time.process_time() - began < 20_000 * 20e-6
