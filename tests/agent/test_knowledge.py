"""What the daemon believes of a till: from looks that come one by one to verdict, doubt and incidents."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest

from agent.diagnosis import Explanation, explain
from agent.examination import Findings
from agent.incidents import Book, Change
from agent.knowledge import Knowledge, Rules
from agent.selection import AT_ONCE
from agent.state import Track
from agent.verdict import Word
from probes.model import Impact, Status
from tests.agent.looks import look
from tests.agent.tills import Till


def causes(changes: Iterable[Change]) -> list[tuple[str, str]]:
    return [(change.what, change.incident.cause) for change in changes]


def test_a_healthy_till_is_in_no_doubt() -> None:
    till = Till("auth port", "disk disk")
    till.see("auth")
    till.see("disk")
    assert not till.known.doubtful
    assert not till.known.may_be_over
    assert till.known.finding().payments is Word.READY


def test_one_bad_look_makes_doubt_and_changes_neither_verdict_nor_diagnosis() -> None:
    till = Till("auth port")
    till.see("auth")
    till.see("auth", "fail", "port.timeout")
    assert till.known.doubtful
    till.examine(till.look("auth", "fail", "port.timeout"))
    assert till.known.suspects == {"auth"}
    assert [each.cause for each in till.known.explanation.diagnoses] != []
    assert till.known.confirmed() == Explanation()
    assert till.known.finding().payments is Word.READY
    assert till.known.book.open == ()


def test_trouble_opens_one_incident_once_it_is_confirmed_and_was_explained_twice() -> None:
    till = Till("auth port")
    till.see("auth")
    till.see("auth", "fail", "port.timeout")
    assert till.examine(till.look("auth", "fail", "port.timeout")) == []
    till.now += 5
    changes = till.examine(till.look("auth", "fail", "port.timeout"))
    assert [change.what for change in changes] == ["opened"]
    assert till.known.finding().payments is Word.DOWN
    assert [each.explains for each in till.known.confirmed().diagnoses] == [("auth",)]
    assert not till.known.doubtful
    assert [each.id for each in till.known.unsaved.incidents] == ["i1"]
    assert [(each.probe, each.new) for each in till.known.unsaved.transitions] == [("auth", "ok"), ("auth", "fail")]


def test_the_verdict_stays_down_until_recovery_is_confirmed_and_tells_of_the_trouble() -> None:
    till = Till("auth port")
    till.see("auth")
    till.confirm("auth")
    till.see("auth")
    finding = till.known.finding()
    assert finding.payments is Word.DOWN
    assert finding.decided_by is not None
    assert finding.decided_by.observation.reason == "port.timeout"
    till.see("auth")
    assert till.known.finding().payments is Word.READY


def test_recovery_closes_the_incident_at_the_examination_that_confirms_it() -> None:
    till = Till("auth port")
    till.see("auth")
    till.confirm("auth")
    till.see("auth")
    assert till.known.doubtful
    till.now += 1
    assert [change.what for change in till.examine(till.look("auth"))] == ["resolved"]
    assert till.known.book.open == ()
    assert not till.known.doubtful


def test_an_incident_ends_though_other_trouble_goes_on_and_its_diagnosis_is_kept() -> None:
    till = Till("auth port", "disk disk")
    till.probes["auth"] = replace(till.probes["auth"], recover_after=4)
    till.known = till.another_life(Rules())
    till.see("auth")
    till.see("disk")
    till.confirm("disk", "fail", "disk.full")
    first = till.confirm("auth")
    till.see("auth")
    till.examine(till.look("auth"))
    till.see("auth", times=3)  # the looks that confirm are none of an examination
    assert not till.known.doubtful
    assert till.known.may_be_over
    assert [(c.what, c.incident.id) for c in till.known.all_well(till.now)] == [("resolved", first.id)]
    assert [each.probes for each in till.known.book.open] == [("disk",)]
    assert [each.explains for each in till.known.confirmed().diagnoses] == [("disk",)]
    assert not till.known.may_be_over


def test_a_reason_that_changes_is_explained_anew_once() -> None:
    till = Till("auth port")
    till.see("auth")
    till.confirm("auth")
    assert not till.known.doubtful
    till.see("auth", "fail", "port.refused")
    assert till.known.doubtful
    till.examine(till.look("auth", "fail", "port.refused"))
    till.now += 5
    till.examine(till.look("auth", "fail", "port.refused"))
    till.see("auth", "fail", "port.refused", times=5)
    assert not till.known.doubtful


def test_what_an_examination_did_not_see_yet_is_still_to_be_explained() -> None:
    till = Till("auth port")
    till.see("auth")
    till.confirm("auth")
    old = till.look("auth", "fail", "port.timeout")
    till.see("auth", "fail", "port.refused")
    till.examine(old)
    assert till.known.looks["auth"].observation.reason == "port.refused"
    assert till.known.doubtful


def test_a_look_that_comes_late_does_not_hide_a_newer_one_but_a_clock_set_back_hides_none() -> None:
    till = Till("auth port")
    till.see("auth")
    late = till.look("auth")
    till.see("auth", "fail", "port.timeout")
    till.examine(late)
    assert till.known.suspects == {"auth"}
    till.now -= 3600
    till.examine(till.look("auth"))
    assert till.known.suspects == set()


@pytest.mark.parametrize("why", ["not_awaited", "run_over"])
def test_a_look_that_nobody_waited_for_says_nothing(why: str) -> None:
    till = Till("auth port")
    till.see("auth")
    till.examine(till.look("auth", "unknown", "probe.timeout", why=why, timeout_s=3.0))
    assert till.known.looks["auth"].observation.status is Status.OK
    assert not till.known.suspects


def test_a_look_that_was_given_less_than_its_own_time_says_nothing() -> None:
    till = Till("auth port")
    till.see("auth")
    till.now += 1
    till.examine(till.look("auth", "unknown", "probe.timeout", timeout_s=1.0))
    assert not till.known.suspects
    till.examine(till.look("auth", "unknown", "probe.timeout", timeout_s=2.999))
    assert till.known.suspects == {"auth"}


def test_a_look_of_what_is_no_longer_configured_says_nothing() -> None:
    till = Till("auth port")
    stray = look("gone", "port", "fail", "port.timeout")
    assert till.known.take(stray) is None
    other = replace(till.look("auth", "fail", "port.timeout"), probe=replace(till.probes["auth"], target="elsewhere"))
    assert till.known.take(other) is None
    assert till.known.looks == {}
    assert till.known.tracks == {}


def test_a_payment_probe_that_nobody_has_looked_at_is_no_health() -> None:
    till = Till("auth port", "second port")
    till.see("auth")
    assert till.known.finding().payments is Word.UNKNOWN
    assert {f.probe.name: f.observation.status for f in till.known.all_looks()} == {"auth": "ok", "second": "unknown"}
    till.see("second")
    assert till.known.finding().payments is Word.READY
    assert len(till.known.all_looks()) == 2


def test_a_measurement_that_moved_is_no_news_and_a_change_is() -> None:
    till = Till("auth port")
    till.see("auth", rtt_ms=3.0)
    version = till.known.version
    till.see("auth", rtt_ms=4.0, times=10)
    assert till.known.version == version
    till.see("auth", "warn", "port.slow", rtt_ms=900.0)
    assert till.known.version > version


# --- restarts -------------------------------------------------------------------------------------------------------


def restarted(till: Till, rules: Rules | None = None) -> Knowledge:
    """The same till after a stop: what the state file holds is all there is."""
    before = till.known
    saved = {name: msgspec.json.decode(msgspec.json.encode(t), type=Track) for name, t in before.tracks.items()}
    till.known = till.another_life(rules or Rules())
    till.known.restore(saved, dict(before.memories), msgspec.structs.replace(before.book, pending=()))
    return till.known


def test_after_a_restart_a_fault_that_is_still_there_keeps_its_incident() -> None:
    till = Till("auth port", "disk disk")
    till.see("auth")
    till.see("disk")
    incident = till.confirm("auth")
    known = restarted(till)
    till.see("disk")
    till.see("auth", "fail", "port.timeout")
    assert known.doubtful, "what was confirmed is to be explained again"
    assert known.suspects == set(), "the first look agrees with what was stored"
    assert known.unsaved.transitions == [], "a first look that agrees is no change"
    for _ in range(3):
        till.now += 5
        assert causes(till.examine(till.look("auth", "fail", "port.timeout"))) in ([], [("changed", incident.cause)])
    assert [each.id for each in known.book.open] == [incident.id]
    assert not known.doubtful
    assert known.finding().payments is Word.DOWN


def test_after_a_restart_a_fault_that_is_gone_is_closed_once_that_is_confirmed() -> None:
    till = Till("auth port")
    till.see("auth")
    incident = till.confirm("auth")
    known = restarted(till)
    till.see("auth")
    assert known.finding().payments is Word.DOWN, "one good look confirms nothing"
    till.now += 1
    changes = till.examine(till.look("auth"))
    assert [(change.what, change.incident.id) for change in changes] == [("resolved", incident.id)]
    assert known.book.open == ()


def test_after_a_restart_nobody_believes_stored_health_that_was_not_seen_again() -> None:
    till = Till("auth port", "second port")
    till.see("auth")
    till.see("second")
    known = restarted(till)
    till.see("auth")
    assert known.finding().payments is Word.UNKNOWN
    assert not known.doubtful


def test_after_a_restart_stored_trouble_that_was_not_looked_at_again_still_counts() -> None:
    till = Till("auth port", "second port")
    till.see("auth")
    till.see("second")
    till.confirm("second")
    known = restarted(till)
    till.see("auth")
    assert known.finding().payments is Word.DOWN


def test_what_was_half_confirmed_begins_anew_after_a_restart() -> None:
    till = Till("auth port")
    till.see("auth")
    till.see("auth", "fail", "port.timeout", times=2)
    known = restarted(till)
    till.see("auth", "fail", "port.timeout", times=2)
    assert known.tracks["auth"].status is Status.OK
    till.see("auth", "fail", "port.timeout")
    assert known.tracks["auth"].status is Status.FAIL


# --- a new configuration --------------------------------------------------------------------------------------------


def test_a_reload_keeps_what_is_known_of_unchanged_probes_and_goes_on_explaining() -> None:
    till = Till("auth port", "disk disk")
    till.see("auth")
    till.see("disk")
    incident = till.confirm("auth")
    tracks, explanation = dict(till.known.tracks), till.known.explanation
    till.known.rearrange({name: replace(probe) for name, probe in till.probes.items()}, Rules())
    assert till.known.tracks == tracks
    assert till.known.explanation == explanation, "the report does not lose its diagnosis"
    assert till.known.doubtful
    till.see("auth", "fail", "port.timeout")
    assert till.known.doubtful, "an ordinary look is no examination"
    till.now += 1
    assert till.examine(till.look("auth", "fail", "port.timeout")) == []
    assert not till.known.doubtful
    assert [each.id for each in till.known.book.open] == [incident.id]


def test_a_changed_target_begins_anew_and_a_changed_threshold_does_not() -> None:
    till = Till("auth port", "disk disk")
    till.see("auth")
    till.see("disk")
    till.confirm("auth")
    moved = replace(till.probes["auth"], target="elsewhere:443")
    sooner = replace(till.probes["disk"], fail_after=1)
    till.known.rearrange({"auth": moved, "disk": sooner}, Rules())
    assert set(till.known.tracks) == {"disk"}
    assert till.known.looks["disk"].probe is sooner
    assert till.known.finding().payments is Word.UNKNOWN
    assert till.known.explanation == Explanation(), "nothing is said of what is no longer watched"
    till.probes |= {"auth": moved, "disk": sooner}
    till.see("auth")
    assert [(each.probe, each.old, each.new) for each in till.known.unsaved.transitions][-1] == ("auth", None, "ok")


@pytest.mark.parametrize("other", [False, True], ids=["alone", "beside other trouble"])
def test_a_removed_probe_lets_go_of_its_incident(other: bool) -> None:
    till = Till("auth port", "disk disk")
    till.see("auth")
    till.see("disk")
    incident = till.confirm("auth")
    if other:
        till.confirm("disk", "fail", "disk.full")
    till.known.rearrange({"disk": till.probes["disk"]}, Rules())
    changes: list[Change] = []
    if till.known.doubtful:
        till.now += 1
        status = ("fail", "disk.full") if other else ("ok", "ok")
        changes = till.examine(till.look("disk", *status))
    elif till.known.may_be_over:
        changes = till.known.all_well(till.now)
    assert [(change.what, change.incident.id) for change in changes] == [("resolved", incident.id)]
    assert not till.known.may_be_over


def test_an_examination_that_began_before_a_reload_explains_nothing() -> None:
    till = Till("auth port", "disk disk")
    till.see("auth")
    till.see("disk")
    till.confirm("auth")
    stale = till.look("auth", "fail", "port.timeout")
    till.known.rearrange({"disk": till.probes["disk"]}, Rules())
    assert till.examine(stale, valid=False) == []
    assert till.known.explanation == Explanation()
    assert set(till.known.looks) == {"disk"}


# --- doubt that never ends -------------------------------------------------------------------------------------------


def test_a_probe_that_alternates_is_no_lasting_doubt() -> None:
    till = Till("auth port")
    till.see("auth")
    doubts = 0
    for turn in range(40):
        till.see("auth", *(("fail", "port.timeout") if turn % 2 else ("ok", "ok")))
        if till.known.doubtful:
            doubts += 1
            till.now += 1
            till.examine(till.look("auth", *(("fail", "port.timeout") if turn % 2 else ("ok", "ok"))))
    assert len({each.id for each in till.known.unsaved.incidents}) <= 1
    till.see("auth", times=20)
    till.examine(till.look("auth"))
    till.now += 3600
    till.known.all_well(till.now)
    assert not till.known.doubtful
    assert till.known.book.open == ()


def test_harmless_trouble_is_explained_once_and_then_left_alone() -> None:
    till = Till("auth port", "router gateway")
    till.see("auth", host="auth.example", port=443)
    till.see("router", "fail", "gateway.no_reply", times=3)
    assert till.known.doubtful
    for _ in range(3):
        till.now += 1
        till.examine(till.look("router", "fail", "gateway.no_reply"))
    assert till.known.explanation.harmless == {"router": "auth"}
    assert till.known.book.open == ()
    assert not till.known.doubtful
    assert till.known.finding().payments is Word.READY


# --- whom to examine --------------------------------------------------------------------------------------------------


def test_what_cannot_be_explained_by_the_network_is_examined_alone() -> None:
    till = Till("auth port", "router gateway", "disk disk", "memory memory")
    for name in till.probes:
        till.see(name)
    till.see("disk", "fail", "disk.full")
    assert [probe.name for probe in till.known.to_examine()] == ["disk"]


def test_a_suspect_of_the_network_is_examined_with_the_whole_chain() -> None:
    till = Till("auth port", "router gateway", "link interface", "names dns", "disk disk")
    for name in till.probes:
        till.see(name)
    till.see("auth", "fail", "port.timeout")
    assert {probe.name for probe in till.known.to_examine()} == {"auth", "router", "link", "names"}


def test_of_a_thousand_every_suspect_has_its_turn() -> None:
    till = Till("router gateway", *(f"p{number:04} port" for number in range(1000)))
    for name in till.probes:
        till.see(name)
    dead = [f"p{number:04}" for number in range(200)]
    for name in dead:
        till.see(name, "fail", "port.timeout")
    examined: set[str] = set()
    for _ in range(6):
        chosen = [probe.name for probe in till.known.to_examine()]
        assert "router" in chosen
        assert len(chosen) <= 3 * AT_ONCE
        examined.update(chosen)
        till.now += 5
        bad = set(dead)
        looks = [till.look(name, *(("fail", "port.timeout") if name in bad else ("ok", "ok"))) for name in chosen]
        till.known.examined(Findings(looks, [], Explanation()), till.now)
    assert set(dead) <= examined


def test_with_a_thousand_probes_a_turn_asks_nobody() -> None:
    """A turn of the loop asks: doubt? over? Measured: well under a microsecond each; a scan of all would be 50 and more."""
    till = Till(*(f"p{number:04} port" for number in range(1000)))
    for name in till.probes:
        till.see(name)
    for name in list(till.probes)[:100]:
        till.see(name, "fail", "port.timeout", times=3)
    for _ in range(2):
        till.now += 1
        till.examine(till.look("p0000", "fail", "port.timeout"))
    assert till.known.book.open
    found = till.look("p0500")
    till.known.take(found)

    def turn() -> float:
        began = time.perf_counter()
        for _ in range(100):
            assert not till.known.doubtful
            assert not till.known.may_be_over
            till.known.take(found)
        return (time.perf_counter() - began) / 100

    assert min(turn() for _ in range(5)) < 100e-6


def test_the_impact_of_an_incident_is_the_worst_of_its_probes() -> None:
    till = Till("auth port")
    till.probes["auth"] = replace(till.probes["auth"], impact=Impact.DEGRADE)
    till.known = till.another_life(Rules())
    till.see("auth")
    assert till.confirm("auth").impact == "degrade"


def test_what_the_kernel_makes_certain_needs_no_examination() -> None:
    till = Till("link interface", "auth port")
    till.see("auth")
    till.see("link")
    till.see("link", "fail", "interface.no_carrier", times=3, interface="eth0")
    found = explain(till.known.all_looks(), {})
    changes = till.known.explained_at_once(found, till.now)
    assert causes(changes) == [("opened", "lan.cable_unplugged")]
    assert till.known.doubtful, "the rest is still to be examined"
    till.see("auth", "fail", "port.timeout")
    assert till.known.explained_at_once(Explanation(), till.now) == []


def test_memories_are_kept_and_only_news_of_them_is_saved() -> None:
    till = Till("auth port")
    noted = msgspec.structs.replace(till.look("auth").observation, memory={"seen": 1})
    till.known.take(replace(till.look("auth"), observation=noted))
    assert till.known.unsaved.memories == {"auth": {"seen": 1}}
    till.known.unsaved.memories.clear()
    till.known.take(replace(till.look("auth"), observation=noted))
    till.see("auth", "unknown", "probe.timeout")
    assert till.known.unsaved.memories == {}
    assert till.known.memories == {"auth": {"seen": 1}}


def test_a_flapping_incident_ends_after_its_hold_though_something_else_is_wrong() -> None:
    till = Till("auth port", "disk disk")
    till.see("auth")
    till.see("disk")
    till.confirm("disk", "fail", "disk.full")
    till.confirm("auth")
    till.see("auth", times=2)
    till.examine(till.look("auth"))
    assert len(till.known.book.open) == 1
    again = till.confirm("auth")
    assert again.flapping
    till.see("auth", times=2)
    till.examine(till.look("auth"))
    assert again.id in {each.id for each in till.known.book.open}
    assert till.known.may_be_over
    assert till.known.all_well(till.now) == []
    till.now += 601
    assert [change.incident.id for change in till.known.all_well(till.now)] == [again.id]


def test_the_book_stays_the_same_while_nothing_happens() -> None:
    till = Till("auth port")
    till.see("auth")
    book, version = till.known.book, till.known.version
    assert till.known.all_well(till.now) == []
    assert till.known.book is book
    assert till.known.version == version
    assert till.known.book == Book()


def test_what_the_kernel_makes_certain_takes_no_other_diagnosis_off_the_report() -> None:
    till = Till("link interface", "disk disk")
    till.see("link")
    till.see("disk")
    till.confirm("disk", "fail", "disk.full")
    till.see("link", "fail", "interface.no_carrier", times=3, interface="eth0")
    till.known.explained_at_once(explain(till.known.all_looks(), {}), till.now)
    assert {each.explains for each in till.known.confirmed().diagnoses} == {("link",), ("disk",)}
    assert till.known.is_near({"interface"})
    assert not till.known.is_near({"usb"})


def test_a_probe_that_crashed_over_its_memory_begins_without_it() -> None:
    till = Till("auth port")
    noted = msgspec.structs.replace(till.look("auth").observation, memory={"seen": 1})
    till.known.take(replace(till.look("auth"), observation=noted))
    till.see("auth", "unknown", "probe.timeout")
    assert till.known.memories == {"auth": {"seen": 1}}
    till.see("auth", "unknown", "probe.crashed")
    assert till.known.memories == till.known.unsaved.memories == {"auth": {}}


def test_silent_is_who_is_suspect_and_was_not_answered() -> None:
    till = Till("auth port", "batch port", "link interface")
    for name in till.probes:
        till.see(name)
    assert till.known.silent() == set()
    till.see("auth", "fail", "port.timeout")
    till.see("batch", "fail", "port.refused")
    assert till.known.silent() == {"auth"}
    assert [probe.name for probe in till.known.to_examine({"link"})] == ["auth", "batch", "link"]
    till.see("auth", "fail", "port.timeout", times=2)
    assert till.known.silent() == set(), "that is known by now"
