"""Incidents: one per cause, opened once confirmed, joined to what explains them, resolved when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.incidents import Book, Case, Change, Incident, uncovered, update
from agent.state import Track
from probes.model import Status

NOON = 1_700_000_000.0


def case(cause: str, *explains: str, confidence: str = "likely", impact: str = "stop", mark: str | None = None) -> Case:
    """A diagnosis. Its fingerprint is its own, unless a `mark` is given."""
    return Case(
        cause=cause,
        party="it",
        category="network",
        confidence=confidence,
        fingerprint=mark or f"{cause} of {' '.join(explains)}",
        impact=impact,
        explains=explains,
        evidence=(f"{explains[0]}: it.fails",) if explains else (),
        headline=f"{cause} ({confidence})",
    )


class Till:
    """A till whose probes are told how they are. Every call moves the clock by 5 seconds."""

    def __init__(self, *probes: str, reopen_within: float = 300.0, certain: Collection[str] = ()) -> None:
        self.now = NOON
        self.watched = dict.fromkeys(probes)
        self.tracks: dict[str, Track] = {}
        self.book = Book()
        self.reopen_within = reopen_within
        self.certain = certain
        self.ids = (f"#{number}" for number in range(1, 10_000))
        self.told: list[Change] = []
        self.good(*probes)

    def good(self, *names: str) -> None:
        self._are(names, Status.OK)

    def bad(self, *names: str) -> None:
        self._are(names, Status.FAIL)

    def blind(self, *names: str) -> None:
        self._are(names, Status.UNKNOWN)

    def suspect(self, *names: str) -> None:
        """Their last look failed; nothing is confirmed."""
        for name in names:
            self.tracks[name] = Track(
                status=Status.OK, since=NOON - 900, candidate=Status.FAIL, candidate_since=self.now, streak=1
            )

    def _are(self, names: tuple[str, ...], status: Status) -> None:
        for name in names:
            assert name in self.watched
            self.tracks[name] = Track(status=status, since=self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def examine(self, *cases: Case) -> list[str]:
        """One examination with these diagnoses; what it changed, such as `#1 opened`."""
        return self._update(cases, round_taken=True)

    def look(self, *cases: Case) -> list[str]:
        """The same diagnoses held against newer tracks, without another examination."""
        return self._update(cases, round_taken=False)

    def _update(self, cases: tuple[Case, ...], *, round_taken: bool) -> list[str]:
        self.now += 5.0
        self.book, changes = update(
            self.book,
            cases,
            self.tracks,
            self.now,
            round_taken=round_taken,
            certain=self.certain,
            reopen_within=self.reopen_within,
            watched=self.watched.keys(),
            new_id=lambda _now: next(self.ids),
        )
        self.told += changes
        return [said(change) for change in changes]

    def confirm(self, *cases: Case) -> list[str]:
        """Two examinations that agree."""
        return self.examine(*cases) + self.examine(*cases)

    def restart(self) -> None:
        """What the store gives back: open incidents and recent ones; what was pending is lost."""
        self.book = Book(open=self.book.open, recent=self.book.recent)

    @property
    def open(self) -> list[str]:
        return [f"{each.id} {each.cause}: {' '.join(each.probes)}" for each in self.book.open]

    def incident(self, identity: str) -> Incident:
        return next(change.incident for change in reversed(self.told) if change.incident.id == identity)


def said(change: Change) -> str:
    home = f" to {change.incident.joined_to}" if change.incident.joined_to else ""
    return f"{change.incident.id} {change.what}{home}"


ROUTER = ("gw", "dns", "auth", "batch")


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_diagnosis_that_two_examinations_in_a_row_agree_on_opens_one_incident() -> None:
    till = Till("auth")
    till.bad("auth")
    assert till.examine(case("acquirer.unreachable", "auth")) == []
    assert till.examine(case("acquirer.unreachable", "auth")) == ["#1 opened"]
    assert till.examine(case("acquirer.unreachable", "auth")) == []
    assert till.open == ["#1 acquirer.unreachable: auth"]


def test_an_incident_says_all_that_its_diagnosis_said() -> None:
    till = Till("auth")
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth", impact="stop", mark="f00d"))
    assert till.book.open == (
        Incident(
            id="#1",
            cause="acquirer.unreachable",
            party="it",
            category="network",
            confidence="likely",
            fingerprint="f00d",
            impact="stop",
            began_at=NOON,
            opened_at=NOON + 10.0,
            probes=("auth",),
            evidence=("auth: it.fails",),
            headline="acquirer.unreachable (likely)",
        ),
    )


def test_nothing_opens_before_a_probe_is_confirmed_bad() -> None:
    till = Till("auth")
    till.suspect("auth")
    assert till.confirm(case("acquirer.unreachable", "auth")) == []
    till.wait(10)
    till.tracks["auth"] = Track(status=Status.FAIL, since=NOON)
    assert till.look(case("acquirer.unreachable", "auth")) == ["#1 opened"]
    assert till.incident("#1").began_at == NOON


def test_a_diagnosis_that_one_examination_did_not_repeat_starts_anew() -> None:
    till = Till("auth")
    till.bad("auth")
    dead, filtered = case("acquirer.unreachable", "auth"), case("firewall.port_blocked", "auth")
    assert till.examine(dead) + till.examine(filtered) + till.examine(dead) + till.examine(filtered) == []
    assert till.examine(filtered) == ["#1 opened"]


def test_a_look_between_two_examinations_neither_counts_nor_spoils_the_row() -> None:
    till = Till("auth")
    till.bad("auth")
    dead = case("acquirer.unreachable", "auth")
    assert till.examine(dead) + till.look(dead) + till.look(dead) + till.look() == []
    assert till.examine(dead) == ["#1 opened"]


def test_what_the_kernel_knows_for_certain_opens_at_the_first_examination() -> None:
    till = Till("eth0", certain={"lan.cable_unplugged"})
    till.bad("eth0")
    assert till.examine(case("lan.cable_unplugged", "eth0")) == ["#1 opened"]


def test_a_probe_that_is_confirmed_bad_but_belongs_to_nobody_is_worth_another_examination() -> None:
    till = Till("auth", "batch", "cpu")
    till.bad("auth", "batch")
    till.confirm(case("acquirer.unreachable", "auth"))
    assert uncovered(till.book, till.tracks) == {"batch"}


def test_a_diagnosis_of_removed_probes_opens_nothing() -> None:
    till = Till("auth")
    till.tracks["gone"] = Track(status=Status.FAIL, since=NOON)
    assert till.confirm(case("acquirer.unreachable", "gone")) == []


def test_two_acquirers_that_fail_apart_are_two_incidents() -> None:
    till = Till("auth", "wallet")
    till.bad("auth", "wallet")
    one, other = case("acquirer.unreachable", "auth"), case("acquirer.unreachable", "wallet")
    assert till.confirm(one, other) == ["#1 opened", "#2 opened"]
    till.good("auth")
    assert till.examine(other) == ["#1 resolved"]
    assert till.open == ["#2 acquirer.unreachable: wallet"]


def test_two_hosts_of_one_acquirer_that_fail_together_are_one_incident() -> None:
    till = Till("auth", "batch")
    till.bad("auth", "batch")
    one, other = case("acquirer.silent", "auth", mark="bank"), case("acquirer.silent", "batch", mark="bank")
    assert till.confirm(one, other) == ["#1 opened"]
    assert till.open == ["#1 acquirer.silent: auth batch"]
    till.good("auth")
    assert till.examine(other) == []
    till.good("batch")
    assert till.look() == ["#1 resolved"]


def test_two_faults_that_nobody_can_name_are_not_taken_for_one() -> None:
    till = Till("plugin", "backup")
    till.bad("plugin")
    one, other = case("unclassified", "plugin", mark="store 42"), case("unclassified", "backup", mark="store 42")
    till.confirm(one)
    till.bad("backup")
    assert till.confirm(one, other) == ["#2 opened"]


def test_an_incident_began_when_its_first_look_failed_not_when_it_was_confirmed() -> None:
    till = Till("gw", "auth")
    till.bad("auth")
    till.wait(20)
    till.suspect("gw")
    till.confirm(case("lan.router_down", "gw", "auth"))
    assert till.incident("#1").began_at == NOON


def test_a_probe_that_was_broken_long_before_does_not_date_a_fault_back() -> None:
    till = Till("gw", "auth")
    till.bad("auth")
    till.confirm(case("acquirer.refusing", "auth"))
    till.wait(3 * 86_400)
    till.bad("gw")
    died = till.now
    till.confirm(case("lan.router_down", "gw", "auth"))
    assert till.incident("#2").began_at == died


# --- while it lasts ---------------------------------------------------------------------------------------------------


def test_a_router_that_dies_is_one_incident_however_many_children_are_found_dead_one_after_the_other() -> None:
    children = [f"child{number}" for number in range(60)]
    till = Till("gw", *children)
    till.bad("gw")
    till.confirm(case("lan.router_down", "gw", mark="router"))
    for number, child in enumerate(children):
        till.bad(child)
        assert till.examine(case("lan.router_down", "gw", *children[: number + 1], mark="router")) == ["#1 changed"]
    assert till.open == ["#1 lan.router_down: gw " + " ".join(children)]
    till.good("gw", *children)
    assert till.look() == ["#1 resolved"]
    assert Counter(change.what for change in till.told) == {"opened": 1, "changed": 60, "resolved": 1}


def test_children_confirmed_before_their_router_wait_for_the_diagnosis_to_settle() -> None:
    till = Till(*ROUTER)
    till.bad("auth")
    assert till.examine(case("acquirer.unreachable", "auth")) == []
    till.bad("batch", "dns", "gw")
    assert till.confirm(case("lan.router_down", *ROUTER)) == ["#1 opened"]
    assert len(till.book.open) == 1


def test_a_diagnosis_that_was_wrong_at_first_is_joined_to_the_right_one() -> None:
    till = Till(*ROUTER)
    till.bad("auth")
    assert till.confirm(case("acquirer.unreachable", "auth")) == ["#1 opened"]
    till.bad("gw", "dns", "batch")
    assert till.examine(case("lan.router_down", *ROUTER)) == []
    assert till.open == ["#1 acquirer.unreachable: auth"], "until it is sure, the old one stands"
    assert till.examine(case("lan.router_down", *ROUTER)) == ["#2 opened", "#1 joined to #2"]
    assert till.incident("#1").resolved_at == till.now
    assert till.incident("#2").began_at == NOON, "it was the same event under a wrong name"


def test_a_child_that_had_its_own_incident_is_joined_when_the_open_parent_comes_to_explain_it() -> None:
    till = Till(*ROUTER)
    till.bad("gw", "batch")
    router, dead = case("lan.router_down", "gw", mark="r"), case("acquirer.unreachable", "batch")
    till.confirm(router, dead)
    assert till.examine(case("lan.router_down", "gw", "batch", mark="r")) == ["#1 changed", "#2 joined to #1"]


def test_a_probe_that_cannot_look_any_more_does_not_keep_a_wrong_diagnosis_from_being_joined() -> None:
    till = Till(*ROUTER)
    till.bad("auth", "batch")
    till.confirm(case("acquirer.unreachable", "auth", "batch"))
    till.blind("batch")
    till.bad("gw")
    assert till.confirm(case("lan.router_down", "gw", "auth")) == ["#2 opened", "#1 joined to #2"]


def test_two_names_for_one_fault_do_not_take_turns() -> None:
    till = Till("auth")
    till.bad("auth")
    dead, filtered = case("acquirer.unreachable", "auth"), case("firewall.port_blocked", "auth")
    assert till.confirm(dead) == ["#1 opened"]
    assert till.confirm(filtered) == ["#2 opened", "#1 joined to #2"]
    for _ in range(10):
        assert till.confirm(dead) + till.confirm(filtered) == []
    assert till.open == ["#2 firewall.port_blocked: auth"]


def test_a_surer_diagnosis_changes_the_incident_and_opens_no_other() -> None:
    till = Till("auth")
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth", confidence="possible"))
    assert till.examine(case("acquirer.unreachable", "auth", confidence="certain")) == ["#1 changed"]
    assert till.book.open[0].confidence == "certain"
    assert till.book.open[0].headline == "acquirer.unreachable (certain)"
    assert till.book.open[0].evidence == ("auth: it.fails",)


def test_an_incident_keeps_the_worst_that_it_meant() -> None:
    till = Till("auth", "gift")
    till.bad("gift")
    till.confirm(case("dns.down", "gift", impact="degrade", mark="dns"))
    till.examine(case("dns.down", "auth", "gift", impact="stop", mark="dns"))
    till.examine(case("dns.down", "gift", impact="degrade", mark="dns"))
    assert till.book.open[0].impact == "stop"


def test_one_diagnosis_that_spans_two_incidents_of_its_cause_makes_them_one() -> None:
    till = Till("auth", "batch")
    till.bad("auth", "batch")
    till.confirm(case("firewall.port_blocked", "auth"), case("firewall.port_blocked", "batch"))
    assert till.examine(case("firewall.port_blocked", "auth", "batch")) == ["#1 changed", "#2 joined to #1"]
    assert till.open == ["#1 firewall.port_blocked: auth batch"]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_an_incident_is_over_when_all_of_its_probes_are_confirmed_good() -> None:
    till = Till("gw", "auth")
    till.bad("gw", "auth")
    till.confirm(case("lan.router_down", "gw", "auth"))
    till.good("gw")
    assert till.examine() == []
    till.good("auth")
    assert till.examine() == ["#1 resolved"]
    assert till.incident("#1").resolved_at == till.now


def test_an_incident_stays_while_a_probe_of_it_cannot_look() -> None:
    till = Till("usb")
    till.bad("usb")
    till.confirm(case("terminal.unplugged", "usb"))
    till.blind("usb")
    assert till.examine() + till.look() == []
    till.good("usb")
    assert till.look() == ["#1 resolved"]


def test_after_the_routers_recovery_children_that_are_ill_themselves_get_an_incident_of_their_own() -> None:
    till = Till(*ROUTER)
    till.bad(*ROUTER)
    till.confirm(case("lan.router_down", *ROUTER))
    till.wait(600)
    till.good("gw", "dns")
    left = case("acquirer.unreachable", "auth", "batch")
    assert till.confirm(left) == [], "nobody is told about children before they were looked at again"
    assert till.examine(left) == ["#2 opened", "#1 resolved"]
    assert till.incident("#1").joined_to is None, "the router was mended, not explained away"
    assert till.open == ["#2 acquirer.unreachable: auth batch"]


def test_after_the_routers_recovery_children_that_recover_a_moment_later_open_nothing() -> None:
    till = Till(*ROUTER)
    till.bad(*ROUTER)
    till.confirm(case("lan.router_down", *ROUTER))
    till.good("gw")
    assert till.examine(case("acquirer.unreachable", "auth", "batch")) == []
    till.good("dns", "auth", "batch")
    assert till.examine() == ["#1 resolved"]


def test_after_the_routers_recovery_a_name_server_that_knows_no_name_yet_opens_nothing() -> None:
    till = Till(*ROUTER)
    till.bad(*ROUTER)
    till.confirm(case("lan.router_down", *ROUTER))
    till.good("gw")
    assert till.confirm(case("dns.name_missing", "auth", "batch")) == []
    till.good("dns", "auth", "batch")
    assert till.examine() == ["#1 resolved"]


def test_the_way_out_of_a_fault_opens_nothing_though_it_leads_through_a_certain_one() -> None:
    till = Till("cable", "gw", "auth", certain=("lan.interface_off", "lan.no_route"))
    till.bad("cable")
    assert till.examine(case("lan.interface_off", "cable", "gw", "auth")) == ["#1 opened"]
    till.bad("gw", "auth")
    till.good("cable")
    no_route = case("lan.no_route", "gw", "auth")
    assert till.confirm(no_route) == []
    till.good("gw", "auth")
    assert till.examine() == ["#1 resolved"]


def test_a_certain_fault_that_the_way_out_of_another_does_not_leave_is_opened_after_all() -> None:
    till = Till("cable", "gw", "auth", certain=("lan.interface_off", "lan.no_route"))
    till.bad("cable", "gw", "auth")
    assert till.examine(case("lan.interface_off", "cable", "gw", "auth")) == ["#1 opened"]
    till.good("cable")
    no_route = case("lan.no_route", "gw", "auth")
    assert till.confirm(no_route) == []
    assert "#2 opened" in till.examine(no_route)


def test_a_diagnosis_that_was_joined_and_proves_right_after_all_comes_back_when_the_parent_recovers() -> None:
    till = Till("gw", "auth")
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth"))
    till.bad("gw")
    till.confirm(case("lan.router_down", "gw", "auth"))
    till.good("gw")
    assert till.confirm(case("acquirer.unreachable", "auth")) == []
    assert till.examine(case("acquirer.unreachable", "auth")) == ["#3 opened", "#2 resolved"]
    third = till.incident("#3")
    assert (third.previous, third.flapping) == ("#1", False), "it never was mended, so it did not come back"


def test_probes_removed_by_a_reload_hold_no_incident_open() -> None:
    till = Till("auth", "batch")
    till.bad("auth", "batch")
    till.confirm(case("acquirer.unreachable", "auth", "batch"))
    del till.watched["auth"]
    assert till.look(case("acquirer.unreachable", "batch")) == []
    till.good("batch")
    assert till.look() == ["#1 resolved"]


def test_an_incident_all_of_whose_probes_were_removed_ends_without_a_recovery() -> None:
    till = Till("auth")
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth"))
    del till.watched["auth"]
    assert till.look() == ["#1 resolved"]
    (ended,) = till.book.recent
    assert ended.unwatched


def test_a_probe_that_a_reload_made_new_holds_its_incident_until_it_was_looked_at() -> None:
    till = Till("auth")
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth"))
    del till.tracks["auth"]
    assert till.look() == []
    till.good("auth")
    assert till.look() == ["#1 resolved"]


def test_a_restart_neither_reopens_nor_forgets_an_incident() -> None:
    till = Till("gw", "auth")
    till.bad("gw", "auth")
    router = case("lan.router_down", "gw", "auth")
    till.confirm(router)
    till.restart()
    assert till.look() == [], "before the first examination nothing is known, and nothing is over"
    assert till.confirm(router) == []
    till.restart()
    till.good("gw", "auth")
    assert till.look() == ["#1 resolved"]


# --- flapping ---------------------------------------------------------------------------------------------------------


def flapped(till: Till) -> None:
    """Fault, repair, and the same fault two minutes later."""
    till.bad("auth")
    assert till.confirm(case("acquirer.unreachable", "auth")) == ["#1 opened"]
    till.good("auth")
    assert till.look() == ["#1 resolved"]
    till.wait(120)
    till.bad("auth")
    assert till.confirm(case("acquirer.unreachable", "auth")) == ["#2 opened"]


def test_a_fault_that_returns_two_minutes_later_is_told_again_as_flapping() -> None:
    till = Till("auth")
    flapped(till)
    assert (till.incident("#1").flapping, till.incident("#1").previous) == (False, None)
    assert (till.incident("#2").flapping, till.incident("#2").previous) == (True, "#1")


def test_a_flapping_incident_is_held_until_its_probes_kept_quiet_for_ten_minutes() -> None:
    till = Till("auth")
    flapped(till)
    for _ in range(5):
        till.good("auth")
        till.wait(500)
        assert till.look() == []
        till.bad("auth")
        assert till.confirm(case("acquirer.unreachable", "auth")) == [], "and tells nobody once more"
    till.good("auth")
    till.wait(590)
    assert till.look() == []
    assert till.look() == ["#2 resolved"]


def test_a_fault_that_returns_after_a_quarter_of_an_hour_is_a_new_one() -> None:
    till = Till("auth")
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth"))
    till.good("auth")
    till.look()
    till.wait(900)
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth"))
    assert (till.incident("#2").flapping, till.incident("#2").previous) == (False, None)
    assert till.book.recent == ()


def test_flapping_survives_a_restart() -> None:
    till = Till("auth")
    flapped(till)
    till.good("auth")
    till.restart()
    assert till.look() == []
    till.wait(600)
    assert till.look() == ["#2 resolved"]


def test_another_cause_at_the_same_probe_is_not_flapping() -> None:
    till = Till("auth")
    till.bad("auth")
    till.confirm(case("acquirer.unreachable", "auth"))
    till.good("auth")
    till.look()
    till.bad("auth")
    till.confirm(case("acquirer.refusing", "auth"))
    assert not till.incident("#2").flapping


def test_flapping_can_be_switched_off() -> None:
    till = Till("auth", reopen_within=0.0)
    flapped(till)
    assert not till.incident("#2").flapping
    till.good("auth")
    assert till.look() == ["#2 resolved"]


@pytest.mark.parametrize("step", [3600.0, -3600.0, -7.0e8, 7.0e8])
def test_a_wall_clock_that_is_set_holds_no_flapping_incident_for_years(step: float) -> None:
    till = Till("auth")
    flapped(till)
    till.good("auth")
    till.wait(step)
    assert till.look() == ["#2 resolved"]


# --- whatever happens -------------------------------------------------------------------------------------------------

NAMES = ("gw", "dns", "auth", "batch", "usb")
CAUSES = ("lan.router_down", "acquirer.unreachable", "unclassified")
MARKS = ("m1", "m2", "m3")


@st.composite
def explanations(draw: st.DrawFn) -> tuple[Case, ...]:
    """Diagnoses that share the probes out among them."""
    shares = draw(st.lists(st.integers(0, 3), min_size=len(NAMES), max_size=len(NAMES)))
    groups = [[n for n, share in zip(NAMES, shares, strict=True) if share == group] for group in (1, 2, 3)]
    return tuple(
        case(draw(st.sampled_from(CAUSES)), *names, mark=draw(st.sampled_from(MARKS))) for names in groups if names
    )


class AnyTill(RuleBasedStateMachine):
    """Probes that come and go, diagnoses right and wrong, examinations, waits, reloads and restarts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.till = Till(*NAMES, certain={"unclassified"})
        self.cases: tuple[Case, ...] = ()

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from((Status.OK, Status.FAIL, Status.WARN, Status.UNKNOWN)))
    def turn(self, name: str, status: Status) -> None:
        self.till.now += 1
        self.till.tracks[name] = Track(status=status, since=self.till.now)

    @rule(name=st.sampled_from(NAMES))
    def suspect(self, name: str) -> None:
        self.till.suspect(name)

    @rule(cases=explanations())
    def examine(self, cases: tuple[Case, ...]) -> None:
        self.cases = cases
        healthy = not any(track.status in (Status.WARN, Status.FAIL) for track in self.till.tracks.values())
        changes = self.till.examine(*cases)
        assert not (healthy and any("opened" in change for change in changes))
        self.again()

    @rule()
    def examine_once_more(self) -> None:
        self.till.examine(*self.cases)

    @rule()
    def look(self) -> None:
        self.till.look()

    @rule(seconds=st.sampled_from((60.0, 400.0, 4000.0, -4000.0)))
    def wait(self, seconds: float) -> None:
        self.till.wait(seconds)

    @rule(name=st.sampled_from(NAMES))
    def reload(self, name: str) -> None:
        if name in self.till.watched:
            del self.till.watched[name]
        else:
            self.till.watched[name] = None

    @rule()
    def restart(self) -> None:
        self.till.restart()

    def again(self) -> None:
        """The same once more, at the same moment, changes nothing."""
        self.till.now -= 5.0
        before = self.till.book
        assert self.till.look(*self.cases) == []
        assert self.till.book is before

    @invariant()
    def no_two_incidents_of_one_fault(self) -> None:
        for number, one in enumerate(self.till.book.open):
            for other in self.till.book.open[:number]:
                same_mark = one.fingerprint == other.fingerprint and one.cause != "unclassified"
                assert not (one.cause == other.cause and (same_mark or set(one.probes) & set(other.probes)))

    @invariant()
    def every_incident_is_opened_once_and_over_once(self) -> None:
        life: dict[str, list[str]] = {}
        for change in self.till.told:
            life.setdefault(change.incident.id, []).append(change.what)
        for incident, told in life.items():
            assert told[0] == "opened"
            assert "opened" not in told[1:]
            over = [what for what in told if what in ("resolved", "joined")]
            assert len(over) == (incident not in {each.id for each in self.till.book.open})
            assert not over or told[-1] == over[0]

    @invariant()
    def what_was_joined_is_joined_to_one_that_was_told_of(self) -> None:
        known = {change.incident.id for change in self.till.told}
        assert all(change.incident.joined_to in known for change in self.till.told if change.what == "joined")

    @invariant()
    def the_book_stays_small(self) -> None:
        assert len(self.till.book.pending) <= len(NAMES)

    def teardown(self) -> None:
        """When all is well for long enough, all is over."""
        self.till.watched = dict.fromkeys(NAMES)
        self.till.good(*NAMES)
        self.till.wait(601)
        self.till.look()
        assert self.till.book.open == ()


AnyTill.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_whatever_happens = AnyTill.TestCase


def test_an_examination_repeated_after_the_one_that_ended_an_incident_says_the_same() -> None:
    state = AnyTill()
    state.suspect(name="gw")
    state.turn(name="dns", status=Status.FAIL)
    state.examine(cases=(case("unclassified", "gw", "dns", mark="m1"),))
    state.reload(name="dns")
    state.suspect(name="batch")
    state.wait(seconds=400.0)
    state.examine(cases=(case("lan.router_down", "gw", "batch", mark="m1"),))  # and once more, a moment before
    [pending] = state.till.book.pending
    assert (pending.cause, pending.rounds) == ("lan.router_down", 1)
