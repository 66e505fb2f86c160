"""The daemon itself, with real threads, files and probes: from the first look to the clean stop, and what fails between."""

from __future__ import annotations

import io
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent import daemon as daemons
from agent.absence import read_clocks
from agent.daemon import Daemon
from agent.discovery import probes_to_check
from agent.examination import Findings
from agent.journal import Journal
from agent.plan import Plan
from agent.runner import Look
from agent.store import Event, Store
from agent.watching.lookout import Call
from probes.model import Observation, Status, ok
from tests.agent.kinds import make_kind, make_probe, sleep_for, teach

SCHEDULE = """
[web]
listen = ""
[schedule]
retry_interval = "1s"
interval = "1s"
fail_after = 2
[report]
heartbeat = "10s"
"""
AGE = """
[probes.{name}]
kind = "age"
path = "{path}"
max_age = "1h"
impact = "stop"
"""
DISK = '[probes.disk]\nkind = "disk"\nmin_free = 0\nmin_inodes = 0\n'
Report = dict[str, Any]


class Agent:
    """A daemon in a thread of this process, over as many lives as a test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {"STATE_DIRECTORY": str(path / "state"), "HOME": str(path)}
        self.config = path / "config.toml"
        self.log = io.StringIO()
        self.daemon: Daemon
        self.thread: threading.Thread | None = None
        self.crash: BaseException | None = None

    def configure(self, *files: str, more: str = DISK) -> None:
        for name in files:
            self.file(name).touch()
        tables = [AGE.format(name=name, path=self.file(name)) for name in files]
        self.config.write_text("".join([SCHEDULE, *tables, more]))

    def file(self, name: str) -> Path:
        return self.path / name

    def load(self) -> Plan:
        found = config.load(self.config, self.env)
        return Plan(found, probes_to_check(found), "en")

    def make(self) -> Daemon:
        self.daemon = Daemon(self.load(), self.load, Journal(self.log, env={}), self.env)
        self.daemon.lookout.examiner.retry = 0.3  # nobody waits for a test
        return self.daemon

    def start(self) -> Report:
        daemon, before = self.make(), self.report().get("seq", 0)
        self.thread = threading.Thread(target=self.run, args=(daemon,))
        self.thread.start()
        return self.until(lambda report: report["seq"] > before)

    def run(self, daemon: Daemon) -> None:
        try:
            daemon.watch()
        except ZeroDivisionError as error:
            self.crash = error

    def say(self, what: str) -> None:
        self.daemon.lookout.news.put(Call(what))

    def stop(self) -> float:
        """How long it took."""
        began = time.monotonic()
        if self.thread is not None:
            self.say("stop")
            self.thread.join(10)
            assert not self.thread.is_alive()
            self.thread = None
        return time.monotonic() - began

    def report(self) -> Report:
        try:
            found: Report = json.loads(self.file("state/health.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def until(self, is_so: Callable[[Report], object], seconds: float = 10.0) -> Report:
        ends = time.monotonic() + seconds
        while True:
            report = self.report()
            if report and is_so(report):
                return report
            assert time.monotonic() < ends, (report, self.log.getvalue())
            time.sleep(0.02)

    def store(self) -> Store:
        return Store(self.file("state/state.sqlite"), read_only=True)

    def events(self) -> list[str]:
        return [each["what"] for each in self.report()["agent"]["events"]]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    made.configure("log")
    yield made
    made.stop()


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def probe(report: Report, name: str) -> Report:
    found: Report = next(each for each in report["probes"] if each["name"] == name)
    return found


def open_ids(report: Report) -> list[str]:
    return [each["id"] for each in report["incidents"]]


def test_a_healthy_till_is_told_of_at_once_and_then_hardly_anything_is_logged(agent: Agent) -> None:
    began = time.monotonic()
    report = agent.start()
    assert time.monotonic() - began < 3
    assert {each["name"]: each["status"] for each in report["probes"]} == {"log": "ok", "disk": "ok"}
    assert report["agent"]["mode"] == "run"
    assert [each["what"] for each in report["agent"]["events"]] == ["agent.started"]
    assert moment(report["valid_until"]) - moment(report["generated_at"]) == pytest.approx(80, abs=0.01)
    time.sleep(1.2)
    assert agent.report()["seq"] <= report["seq"] + 1, "nothing changes, nothing is told"
    assert len(agent.log.getvalue().splitlines()) <= 1


def test_a_fault_becomes_one_incident_and_its_repair_ends_it(agent: Agent) -> None:
    agent.start()
    agent.file("log").unlink()
    first = agent.until(lambda report: probe(report, "log")["status"] == "fail")
    seen = probe(first, "log")
    told_after = moment(first["generated_at"]) - moment(seen["checked_at"]) - seen["duration_ms"] / 1000
    assert told_after < 0.2
    report = agent.until(lambda report: report["incidents"] and report["verdict"]["payments"] == "down")
    assert time.time() - moment(seen["checked_at"]) < 3
    (incident,) = report["incidents"]
    assert (incident["probes"], incident["impact"]) == (["log"], "stop")
    assert [each["explains"] for each in report["diagnosis"]] == [["log"]]
    with_store = agent.store()
    assert [each.id for each in with_store.open_incidents()] == [incident["id"]]
    agent.file("log").touch()
    agent.until(lambda report: not report["incidents"])
    agent.stop()
    (kept,) = with_store.incidents()
    assert (kept.id, kept.resolved_at is not None) == (incident["id"], True)
    with_store.close()
    log = agent.log.getvalue()
    for what in ("probe.changed", "incident.opened", "incident.resolved"):
        assert log.count(f" {what} ") == (2 if what == "probe.changed" else 1), log


def test_a_restart_neither_opens_an_incident_anew_nor_forgets_one(agent: Agent) -> None:
    agent.configure("log", "other")
    agent.start()
    agent.file("log").unlink()
    agent.file("other").unlink()
    before = agent.until(lambda report: {n for each in report["incidents"] for n in each["probes"]} == {"log", "other"})
    ids = {name: each["id"] for each in before["incidents"] for name in each["probes"]}
    agent.stop()
    agent.file("other").touch()
    first = agent.start()
    assert set(open_ids(first)) == set(open_ids(before))
    after = agent.until(lambda report: probe(report, "other")["confirmed"] and open_ids(report) == [ids["log"]])
    assert after["verdict"]["payments"] == "down"
    time.sleep(0.7)
    assert open_ids(agent.report()) == [ids["log"]]
    agent.stop()
    store = agent.store()
    assert len(store.incidents()) == len(set(ids.values()))
    store.close()


def test_the_number_of_the_report_rises_over_restarts_and_after_the_state_file_was_ruined(agent: Agent) -> None:
    first = agent.start()["seq"]
    agent.stop()
    second = agent.start()["seq"]
    agent.stop()
    for each in agent.file("state").glob("state.sqlite*"):
        each.write_bytes(b"ruined" * 1000)
    third = agent.start()
    assert first < second < third["seq"]
    assert "state.corrupt" in agent.events()
    assert any("state.sqlite" in each for each in third["agent"]["problems"])


def test_a_clean_stop_writes_a_last_report_that_is_soon_stale_and_is_known_to_the_next_life(agent: Agent) -> None:
    agent.start()
    assert agent.stop() < 3
    last = agent.report()
    assert moment(last["valid_until"]) - moment(last["generated_at"]) == pytest.approx(60, abs=0.01)
    assert agent.events()[-1] == "agent.stopped"
    agent.start()
    dark = next(each for each in agent.report()["agent"]["events"] if each["what"] == "dark")
    assert dark["text"].startswith("posagent was stopped from")


def test_a_loop_that_fails_is_no_clean_stop_and_loses_nothing(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.start()
    agent.file("log").unlink()
    (before,) = open_ids(agent.until(lambda report: report["incidents"]))
    monkeypatch.setattr(agent.daemon, "_turn", lambda: 1 // 0)
    assert agent.thread is not None
    agent.thread.join(10)
    assert isinstance(agent.crash, ZeroDivisionError)
    agent.daemon.lookout.stop(0)
    agent.thread = None
    report = agent.start()
    dark = next(each for each in report["agent"]["events"] if each["what"] == "dark")
    assert "crashed or was killed" in dark["text"]
    assert open_ids(report) == [before]


def test_a_good_configuration_is_taken_at_once_and_keeps_what_is_known(agent: Agent) -> None:
    agent.start()
    agent.file("log").unlink()
    before = agent.until(lambda report: report["incidents"])
    agent.configure("new", more=AGE.format(name="log", path=agent.file("log")))
    agent.say("reload")
    after = agent.until(lambda report: {each["name"] for each in report["probes"]} == {"new", "log"})
    assert after["config_sha256"] != before["config_sha256"]
    assert open_ids(after) == open_ids(before)
    assert probe(after, "log")["since"] == probe(before, "log")["since"]
    assert after["agent"]["events"][-1]["what"] == "reloaded"
    assert [each["explains"] for each in after["diagnosis"]] == [["log"]]
    agent.configure("new")
    agent.say("reload")
    agent.until(lambda report: not report["incidents"] and len(report["probes"]) == 2)


def test_a_bad_configuration_is_refused_and_the_reason_told_until_a_good_one_comes(agent: Agent) -> None:
    agent.start()
    good = agent.config.read_text()
    agent.config.write_text(good + "[probes.x]\nkind = 5\n")
    agent.say("reload")
    report = agent.until(lambda report: report["agent"]["problems"])
    (problem,) = report["agent"]["problems"]
    assert problem.startswith("cannot take the new configuration, the old one holds: ")
    assert "probes.x" in problem
    assert report["agent"]["events"][-1]["what"] == "reload.refused"
    assert not report["agent"]["healthy"]
    assert "probes.x" in next(line for line in agent.log.getvalue().splitlines() if " reload.refused " in line)
    assert {each["name"] for each in report["probes"]} == {"log", "disk"}
    agent.config.write_text(good)
    agent.say("reload")
    agent.until(lambda report: not report["agent"]["problems"])


def test_an_examination_that_fails_is_told_and_the_next_one_is_tried(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Findings:
        raise ZeroDivisionError("a rule is wrong")

    agent.start()
    with monkeypatch.context() as broken:
        broken.setattr("agent.watching.examiner.examine", fails)
        agent.file("log").unlink()
        report = agent.until(lambda report: report["agent"]["problems"])
        assert report["agent"]["problems"] == [
            "an examination failed: ZeroDivisionError: a rule is wrong; please report this"
        ]
        agent.until(lambda report: report["verdict"]["payments"] == "down")
    report = agent.until(lambda report: report["incidents"] and not report["agent"]["problems"])


def test_a_report_that_cannot_be_written_is_caught_up_with(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.reporter.AGAIN_S", 0.3)
    report = agent.start()
    place = agent.file("state/health.json")
    place.unlink()
    (place / "in the way").mkdir(parents=True)
    agent.file("log").unlink()
    time.sleep(1.5)
    assert any("health.json" in each for each in agent.daemon.bulletin.all_problems())
    (place / "in the way").rmdir()
    place.rmdir()
    after = agent.until(lambda report: not report["agent"]["problems"])
    assert after["seq"] > report["seq"]
    assert probe(after, "log")["status"] == "fail"


def test_fifty_probes_that_hang_delay_neither_the_others_nor_the_stop(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(monkeypatch, make_kind("hangs", sleep_for(4)), make_kind("well", lambda _settings, _host: "seen"))
    stuck = [make_probe(f"stuck{number}", "hangs") for number in range(50)]
    plan = agent.load()._replace(probes=[*stuck, make_probe("well", "well")])
    monkeypatch.setattr(agent, "load", lambda: plan)
    report = agent.start()
    assert probe(report, "well")["status"] == "ok"
    assert {each["status"] for each in report["probes"]} == {"ok", "unknown"}
    assert report["verdict"]["payments"] == "unknown"
    assert agent.stop() < 4


def test_before_everything_was_looked_at_the_loop_does_not_spin(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0

    def bad(_settings: Any, _reading: str, _memory: Any) -> Observation:
        return Observation(status=Status.FAIL, reason="bad")

    teach(
        monkeypatch,
        make_kind("slow", sleep_for(1.5)),
        make_kind("bad", lambda _settings, _host: "seen", judge=bad),
    )
    plan = agent.load()._replace(probes=[make_probe("slow", "slow", timeout=3), make_probe("bad", "bad")])
    monkeypatch.setattr(agent, "load", lambda: plan)
    turn = Daemon._turn

    def counted(daemon: Daemon) -> None:
        nonlocal turns
        turns += 1
        turn(daemon)

    monkeypatch.setattr(Daemon, "_turn", counted)
    agent.start()
    assert turns < 60


def test_after_a_sleep_everything_is_looked_at_at_once_and_the_sleep_is_told(agent: Agent) -> None:
    agent.configure("log", more=DISK + 'interval = "1h"\n')
    before = agent.start()
    agent.daemon.clocks.compare(
        *(clock - 3600 * (name != "monotonic") for name, clock in read_clocks()._asdict().items())
    )
    agent.daemon.lookout.news.put(Call("nothing"))
    report = agent.until(lambda report: any(each["what"] == "suspended" for each in report["agent"]["events"]))
    (slept,) = (each["text"] for each in report["agent"]["events"] if each["what"] == "suspended")
    assert slept.startswith("this PC slept for 1 h")
    checked = probe(before, "disk")["checked_at"]
    ends = time.monotonic() + 3
    while agent.daemon.known.looks["disk"].checked_at <= moment(checked):
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_discovery_that_fails_later_stops_nobody(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.start()

    def broken() -> Plan:
        raise config.ConfigError("the file has become unreadable")

    monkeypatch.setattr(agent.daemon, "load", broken)
    agent.daemon._discover_at = 0.0
    agent.daemon.lookout.news.put(Call("nothing"))
    agent.file("log").unlink()
    agent.until(lambda report: probe(report, "log")["status"] == "fail")
    assert " discovery.failed " in agent.log.getvalue()


# --- one turn, without its threads ----------------------------------------------------------------------------------


def thousand(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    teach(monkeypatch, make_kind("well", lambda _settings, _host: "seen"))
    plan = agent.load()._replace(probes=[make_probe(f"p{number}", "well") for number in range(1000)])
    monkeypatch.setattr(agent, "load", lambda: plan)
    return agent.make()


def test_a_burst_of_news_is_taken_in_without_a_loss(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = thousand(agent, monkeypatch)
    for each in daemon.plan.probes:
        daemon.lookout.news.put(Look(each, ok({}), time.time(), 0.001))
    for _ in range(5):
        daemon._take_in()
    assert len(daemon.known.looks) == 1000
    with pytest.raises(queue.Empty):
        daemon.lookout.news.get_nowait()


def test_a_turn_with_a_thousand_probes_costs_less_than_a_tenth_of_a_millisecond(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = thousand(agent, monkeypatch)
    monkeypatch.setattr(daemons, "TOGETHER_S", 0.0)
    daemon.keeper.open()
    for each in daemon.plan.probes:
        daemon.known.take(Look(each, ok({}), time.time(), 0.001))
    found = Look(daemon.plan.probes[500], ok({}), time.time(), 0.001)
    daemon.house._at.update(dict.fromkeys(daemon.house._at, time.monotonic() + 3600))
    daemon._turn()
    best = float("inf")
    for _ in range(20):
        began = time.thread_time()
        for _ in range(20):
            daemon.lookout.news.put(found)
            daemon._take_in()
            daemon._turn()
        best = min(best, (time.thread_time() - began) / 20)
    daemon.keeper.close()
    print(f"\na turn with a thousand probes: {best * 1e6:.0f} µs")
    assert best < (5e-4 if "coverage" in sys.modules else 1e-4)


def test_an_idle_loop_rests_as_long_as_it_may(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = agent.make()
    for rests in (daemon.lookout, daemon.keeper, daemon.escalator, daemon.seen, daemon.house):
        monkeypatch.setattr(rests, "wait", lambda _now: float("inf"))
    daemon._report_at = float("inf")
    assert daemon._patience() == daemons.TURN_S
    daemon.house.record(Event(at=time.time(), what="reloaded"))
    assert daemon._patience() == daemons.SOON_S, "what happened since the turn saved waits to be saved"
    daemon._turn_s = 0.1
    assert daemon._patience() == 0.1, "systemd asks for more"


def test_a_second_daemon_is_refused(agent: Agent) -> None:
    from agent.lock import AlreadyRunning, lock

    with lock(agent.env["STATE_DIRECTORY"]), pytest.raises(AlreadyRunning):
        daemons.run(agent.load, Journal(agent.log, env={}), agent.env)
