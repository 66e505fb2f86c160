"""When the report is written, how long it holds, and what it says of events and incidents."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from agent import state
from agent.config import Config
from agent.knowledge import Knowledge
from agent.plan import Plan
from agent.reporter import AGAIN_S, APART_S, BURST, EVENTS, REFILL_S, Facts, Reporter, standings
from agent.store import Event, Note
from tests.agent.tills import NOON, Till

HEARTBEAT = 300.0
NOTHING = Facts((), {}, {}, None)


class Paper:
    """Where a keeper would write; `refuses` like a disk that is full."""

    def __init__(self) -> None:
        self.refuses = False
        self.seq = 0
        self.tried: list[dict[str, Any]] = []

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def write(self, content: bytes) -> bool:
        self.tried.append(json.loads(content))
        return not self.refuses


class Desk:
    """A reporter, a till that is well, and a clock that only the test moves."""

    def __init__(self) -> None:
        self.paper = Paper()
        self.reporter = new_reporter(self.paper)
        self.till = Till("auth port", "disk disk")
        self.till.see("auth")
        self.till.see("disk")
        self.now = 1000.0

    @property
    def known(self) -> Knowledge:
        return self.till.known

    def wait(self, face: object) -> float:
        return self.reporter.wait(self.now, face)

    def write(self, face: object = "", facts: Facts = NOTHING, **more: Any) -> dict[str, Any]:
        self.reporter.write(self.known, facts, self.now, face, **more)
        return self.paper.tried[-1]

    def reports_within(self, seconds: float) -> list[float]:
        """When reports are written while something changes all the time."""
        ends, when = self.now + seconds, []
        while True:
            wait = self.wait(object())
            if self.now + wait > ends:
                self.now = ends
                return when
            self.now += max(wait, 1e-6)
            if self.wait(face := object()) <= 0:
                self.write(face)
                when.append(self.now)


def new_reporter(paper: Paper) -> Reporter:
    plan = Plan(Config(), [], "en")
    return Reporter(paper, plan.about(NOON), HEARTBEAT)  # type: ignore[arg-type]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_change_is_due_at_once_and_nothing_new_at_the_heartbeat(desk: Desk) -> None:
    assert desk.wait("first") == 0.0
    desk.write("first")
    assert desk.wait("first") == HEARTBEAT
    desk.now += 100
    assert desk.wait("first") == HEARTBEAT - 100
    assert desk.wait("second") == 0.0
    desk.now += 200
    assert desk.wait("first") == 0.0


def test_two_changes_in_a_row_are_told_within_a_fifth_of_a_second(desk: Desk) -> None:
    desk.write("first")
    assert desk.wait("second") == pytest.approx(APART_S)
    assert APART_S < 0.2


def test_in_a_storm_a_burst_is_told_and_then_one_report_every_refill(desk: Desk) -> None:
    when = desk.reports_within(60.0)
    assert len([each for each in when if each <= 1000.0 + APART_S * (BURST + 1)]) in (BURST, BURST + 1)
    assert len(when) <= BURST + 60 / REFILL_S + 1
    late = [b - a for a, b in zip(when[-4:], when[-3:], strict=False)]
    assert late == [pytest.approx(REFILL_S, abs=0.2)] * 3


def test_a_quiet_while_earns_a_new_burst(desk: Desk) -> None:
    desk.reports_within(30.0)
    desk.now += BURST * REFILL_S
    began = desk.now
    assert len([each for each in desk.reports_within(5.0) if each < began + 5]) >= BURST


def test_it_holds_for_two_heartbeats_and_a_minute_and_the_last_one_for_a_minute(desk: Desk) -> None:
    said = desk.write()
    assert moment(said["valid_until"]) - moment(said["generated_at"]) == pytest.approx(2 * HEARTBEAT + 60, abs=0.01)
    last = desk.write(last=True)
    assert moment(last["valid_until"]) - moment(last["generated_at"]) == pytest.approx(60, abs=0.01)
    assert last["seq"] == said["seq"] + 1
    assert said["agent"]["mode"] == "run"


def test_a_disk_that_refuses_is_tried_again_every_few_seconds_and_not_all_the_time(desk: Desk) -> None:
    desk.paper.refuses = True
    desk.write("first")
    assert desk.wait("first") == pytest.approx(AGAIN_S)
    desk.now += 2
    assert desk.wait("another problem") == pytest.approx(AGAIN_S - 2)
    desk.now += 3
    assert desk.wait("first") == 0.0
    desk.paper.refuses = False
    desk.write("first")
    assert desk.wait("first") == HEARTBEAT


def test_the_newest_events_are_told_oldest_first(desk: Desk) -> None:
    for number in range(EVENTS + 3):
        desk.reporter.note(Event(NOON + number, "suspended", {"seconds": 60.0 + number}))
    said = desk.write()["agent"]["events"]
    assert [moment(each["at"]) for each in said] == [NOON + number for number in range(3, EVENTS + 3)]
    assert said[0] == {"at": said[0]["at"], "what": "suspended", "text": "this PC slept for 1 min 3 s: nobody watched"}
    assert desk.reporter.noted == EVENTS + 3


def test_verdict_and_diagnosis_rest_on_what_is_confirmed_and_probes_show_the_newest_look(desk: Desk) -> None:
    desk.till.see("auth", "fail", "port.timeout", timeout_s=3.0)
    desk.till.examine(desk.till.look("auth", "fail", "port.timeout", timeout_s=3.0))
    said = desk.write()
    assert (said["verdict"]["payments"], said["diagnosis"], said["incidents"]) == ("ready", [], [])
    auth = next(each for each in said["probes"] if each["name"] == "auth")
    assert (auth["status"], auth["confirmed"]) == ("fail", False)
    incident = desk.till.confirm("auth")
    said = desk.write()
    assert said["verdict"]["payments"] == "down"
    assert [each["explains"] for each in said["diagnosis"]] == [["auth"]]
    assert [(each["id"], each["probes"], each["title"]) for each in said["incidents"]] == [
        (incident.id, ["auth"], "The bank's computer cannot be reached: auth")
    ]
    auth = next(each for each in said["probes"] if each["name"] == "auth")
    assert (auth["status"], auth["confirmed"]) == ("fail", True)


def test_while_recovery_is_not_confirmed_the_headline_still_names_the_trouble(desk: Desk) -> None:
    incident = desk.till.confirm("auth")
    desk.till.now += 1
    desk.till.examine(desk.till.look("auth"))
    headline = desk.write()["verdict"]["headline"]
    assert headline.startswith("DOWN")
    assert headline.endswith(f"title of {incident.cause}")


def test_a_probe_that_nobody_looked_at_yet_is_said_to_be_so(desk: Desk) -> None:
    till = desk.till
    till.probes["late"] = till.probes["auth"].__class__(**{**vars(till.probes["auth"]), "name": "late"})
    till.known.rearrange(till.probes, till.known.rules)
    late = next(each for each in desk.write()["probes"] if each["name"] == "late")
    assert (late["status"], late["confirmed"]) == ("unknown", False)
    assert "not looked at yet" in late["summary"]


def test_who_took_charge_and_planned_work_are_told(desk: Desk) -> None:
    incident = desk.till.confirm("auth")
    note = Note(incident=incident.id, at=NOON, by="li", text="acquirer called")
    said = desk.write(facts=Facts(["a problem"], {"auth": NOON + 30}, {incident.id: note}, NOON + 600))
    (told,) = said["incidents"]
    assert (told["acknowledged"]["by"], told["acknowledged"]["note"]) == ("li", "acquirer called")
    assert moment(told["silenced_until"]) == NOON + 600
    assert (said["agent"]["problems"], said["agent"]["healthy"]) == (["a problem"], False)
    auth = next(each for each in said["probes"] if each["name"] == "auth")
    assert moment(auth["next_check_at"]) == NOON + 30


def test_the_verdicts_age_outlives_a_restart_as_long_as_the_verdict_does(desk: Desk) -> None:
    desk.write()
    ready = desk.reporter.verdict_mark.rpartition(" ")[0]
    after = new_reporter(Paper())
    after.restore_verdict(f"{ready} {NOON}")
    desk.reporter = after
    desk.paper = after.keeper  # type: ignore[assignment]
    assert moment(desk.write()["verdict"]["since"]) == NOON
    assert desk.reporter.verdict_mark == f"{ready} {NOON}"
    desk.till.confirm("auth")
    assert moment(desk.write()["verdict"]["since"]) > NOON


@pytest.mark.parametrize(
    "mark", [None, "", "ready", "ready unknown", "ready unknown nan", "ready unknown 1e300", "a b inf"]
)
def test_a_mark_that_makes_no_sense_is_no_verdict(desk: Desk, mark: str | None) -> None:
    desk.reporter.restore_verdict(mark)
    assert desk.write()["verdict"]["payments"] == "ready"


def test_a_flapping_probe_is_shown(desk: Desk) -> None:
    for _ in range(3):
        desk.till.see("auth", "fail", "port.timeout", times=3)
        desk.till.see("auth", times=2)
    assert state.flapping(desk.known.tracks["auth"], desk.till.now)
    assert standings(desk.known, {}, desk.till.now)["auth"].flapping
    assert not standings(desk.known, {}, desk.till.now)["disk"].flapping


def test_what_was_told_is_told_again_to_readers_of_another_language(desk: Desk) -> None:
    desk.till.confirm("auth")
    desk.reporter.note(Event(NOON, "suspended", {"seconds": 60.0}))
    desk.write()
    told = desk.reporter.told
    assert told is not None
    first, other = json.loads(desk.reporter.last), json.loads(told.in_language("zh-CN"))
    assert (other["seq"], other["generated_at"]) == (first["seq"], first["generated_at"])
    assert (first["agent"]["language"], other["agent"]["language"]) == ("en", "zh-CN")
    for spoken, plain in ((other["verdict"]["headline"], first["verdict"]["headline"]),):
        assert spoken != plain
        assert re.search("[\u4e00-\u9fff]", spoken)
    assert re.search("[\u4e00-\u9fff]", other["incidents"][0]["title"])
    assert re.search("[\u4e00-\u9fff]", other["diagnosis"][0]["title"])
    assert re.search("[\u4e00-\u9fff]", other["agent"]["events"][0]["text"])
    assert json.loads(told.in_language("en")) == first
