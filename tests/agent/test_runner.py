"""The runner: every probe answers once, in its time, whatever it does."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

from agent import runner
from probes.host import Host
from probes.model import Denied, Memory, NotFitted, Observation, Seconds, Settings, Status, Unsupported, ok
from tests.agent.kinds import make_kind, make_probe, raising, sleep_for, teach


def run(probes: list, **kwargs) -> tuple[dict[str, Observation], float]:
    began = time.monotonic()
    looks = list(runner.look_at_all(probes, {}, **kwargs))
    took = time.monotonic() - began
    assert len(looks) == len(probes), "every probe answers exactly once"
    return {found.probe.name: found.observation for found in looks}, took


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (NotFitted("no battery"), Status.SKIPPED, "probe.not_fitted"),
        (Denied("needs CAP_NET_RAW"), Status.UNKNOWN, "probe.denied"),
        (Unsupported("no such file in /proc"), Status.UNKNOWN, "probe.unsupported"),
        (PermissionError(13, "Permission denied", "/proc/1/fd"), Status.UNKNOWN, "probe.denied"),
        (TimeoutError("late"), Status.UNKNOWN, "probe.timeout"),
        (ZeroDivisionError("division by zero"), Status.UNKNOWN, "probe.crashed"),
        (RecursionError("too deep"), Status.UNKNOWN, "probe.crashed"),
    ],
)
def test_whatever_a_probe_raises_it_is_never_ok_and_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: Status, reason: str
) -> None:
    teach(monkeypatch, make_kind("bad", raising(error)))
    seen, _ = run([make_probe("p", "bad")])
    assert (seen["p"].status, seen["p"].reason) == (status, reason)
    assert str(error.args[-1]) in seen["p"].detail


def test_a_crash_names_the_line_that_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("bad", raising(ValueError("boom"))))
    seen, _ = run([make_probe("p", "bad")])
    assert "ValueError: boom (kinds.py:" in seen["p"].detail


def test_a_hung_probe_is_left_behind_and_the_others_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("hang", sleep_for(5)), make_kind("quick", sleep_for(0)))
    seen, took = run([make_probe("h", "hang", timeout=0.3), make_probe("q", "quick")])
    assert seen["h"].reason == "probe.timeout"
    assert seen["q"].status is Status.OK
    assert took < 1.5


def test_more_hung_probes_than_workers_starve_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AT_ONCE", 4)
    teach(monkeypatch, make_kind("hang", sleep_for(4)), make_kind("quick", sleep_for(0)))
    hung = [make_probe(f"h{n}", "hang", timeout=0.2) for n in range(8)]
    quick = [make_probe(f"q{n}", "quick", timeout=0.2) for n in range(20)]
    seen, took = run([*hung, *quick])
    assert {name for name, found in seen.items() if found.status is Status.OK} == {probe.name for probe in quick}
    assert took < 3


def test_workers_go_on_after_their_first_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AT_ONCE", 2)
    teach(monkeypatch, make_kind("quick", sleep_for(0.001)))
    seen, _ = run([make_probe(f"q{n}", "quick", timeout=2) for n in range(200)])
    assert {found.status for found in seen.values()} == {Status.OK}


def test_the_run_as_a_whole_ends_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("hang", sleep_for(5)))
    seen, took = run([make_probe(f"h{n}", "hang", timeout=60) for n in range(3)], timeout=0.3)
    assert {found.reason for found in seen.values()} == {"probe.timeout"}
    assert took < 1.5


def test_a_probe_hears_of_the_runs_deadline_through_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_settings: Settings, host: Host) -> float:
        return host.left()

    def judge(_settings: Settings, left: float, _memory: Memory) -> Observation:
        return ok({"left_s": left})

    teach(monkeypatch, make_kind("asks", read, judge))
    seen, _ = run([make_probe("a", "asks", timeout=60)], timeout=2)
    assert 1.0 < seen["a"].measurements["left_s"] <= 2.0


def test_card_data_in_any_text_of_an_observation_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(_settings: Settings, _reading: object, _memory: Memory) -> Observation:
        return Observation(
            status=Status.OK,
            reason="ok",
            measurements={
                "line": "PAN 4111111111111111",
                "lines": ["5500 0000 0000 0004"],
                "rx_bytes": 4111111111111111,
            },
            evidence=("6212345678901232",),
            detail="4111-1111-1111-1111",
        )

    teach(monkeypatch, make_kind("leaks", sleep_for(0), judge))
    seen, _ = run([make_probe("l", "leaks")])
    assert seen["l"].measurements["line"] == "PAN ************1111"
    assert seen["l"].measurements["lines"] == ["**** **** **** 0004"]
    assert seen["l"].measurements["rx_bytes"] == 4111111111111111, "a counter is no card"
    assert seen["l"].evidence == ("************1232",)
    assert "4111-1111" not in seen["l"].detail


def test_memory_reaches_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(_settings: Settings, _reading: object, memory: Memory) -> Observation:
        return ok({"before": memory.get("count", 0)}, memory={"count": memory.get("count", 0) + 1})

    teach(monkeypatch, make_kind("counts", sleep_for(0), judge))
    (found,) = runner.look_at_all([make_probe("c", "counts")], {"c": {"count": 7}})
    assert found.observation.measurements["before"] == 7
    assert found.observation.memory == {"count": 8}


def test_evidence_is_capped_so_that_a_babbling_device_cannot_fill_the_report() -> None:
    observation = ok({}, *["x" * 5000] * 50)
    assert len(observation.evidence) == 20
    assert {len(line) for line in observation.evidence} == {512}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "ok",
        Observation(status=Status.OK, reason="ok", measurements={"x": object()}),  # type: ignore[dict-item]
        Observation(status=Status.OK, reason="ok", memory={"x": object()}),
        Observation(status="fine", reason="ok"),  # type: ignore[arg-type]
        Observation(status=Status.OK, reason="ok", measurements={1: 2}),  # type: ignore[dict-item]
    ],
)
def test_an_answer_that_no_report_could_hold_is_a_crash_of_that_probe_only(
    monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    teach(monkeypatch, make_kind("odd", sleep_for(0), lambda *_: answer), make_kind("quick", sleep_for(0)))  # type: ignore[arg-type,return-value]
    seen, took = run([make_probe("o", "odd", timeout=5), make_probe("q", "quick")])
    assert seen["o"].reason == "probe.crashed"
    assert seen["q"].status is Status.OK
    assert took < 2


def test_a_probe_that_exits_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("bad", raising(SystemExit(0))))
    seen, took = run([make_probe("p", "bad", timeout=5)])
    assert seen["p"].reason == "probe.crashed"
    assert took < 2


def test_strange_bytes_huge_numbers_and_cards_in_names_fit_into_json(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict = {"file": "till\udcff.log", "count": 10**30, "4111111111111111": 1, "names": ["\ud800"]}
    teach(monkeypatch, make_kind("odd", sleep_for(0), lambda *_: ok(facts, "\udc80")))
    seen, _ = run([make_probe("o", "odd")])
    assert seen["o"].measurements == {"file": "till?.log", "count": str(10**30), "************1111": 1, "names": ["?"]}
    assert msgspec.json.encode(seen["o"])


def test_a_permission_error_without_a_number_keeps_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("bad", raising(PermissionError("needs CAP_NET_RAW"))))
    seen, _ = run([make_probe("p", "bad")])
    assert seen["p"].detail == "needs CAP_NET_RAW"


def test_a_system_that_refuses_threads_is_said_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    teach(monkeypatch, make_kind("quick", sleep_for(0)))
    seen, took = run([make_probe(f"q{number}", "quick") for number in range(5)])
    assert {one.reason for one in seen.values()} == {"probe.crashed"}
    assert "process limit" in seen["q0"].detail
    assert took < 2


def test_a_probe_that_the_whole_run_gave_less_time_says_how_much_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_settings: Settings, host: Host) -> str:
        time.sleep(host.left() + 0.01)
        host.left()
        return "never"

    teach(monkeypatch, make_kind("slow", slow), make_kind("hang", sleep_for(3)))
    seen, _ = run([make_probe("s", "slow", timeout=9), make_probe("h", "hang", timeout=9)], timeout=0.2)
    for name in ("s", "h"):
        assert seen[name].reason == "probe.timeout"
        assert 0.15 < float(str(seen[name].measurements["timeout_s"])) <= 0.2


def test_a_run_can_be_ended_early_and_asks_so_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("hang", sleep_for(5)), make_kind("quick", sleep_for(0)))
    began = time.monotonic()
    probes = [make_probe("h", "hang", timeout=5), make_probe("q", "quick")]
    looks = list(runner.look_at_all(probes, {}, stop=lambda: time.monotonic() - began > 0.5))
    assert [found.probe.name for found in looks] == ["q"]
    assert time.monotonic() - began < 1.5


def test_texts_known_to_be_clean_are_remembered_but_never_many_nor_long_nor_dirty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: set[str] = set()
    monkeypatch.setattr(runner, "_known", known)
    monkeypatch.setattr(runner, "WORDS", 10)
    facts: dict = {f"key{number}": "x" * 500 for number in range(50)}
    teach(monkeypatch, make_kind("odd", sleep_for(0), lambda *_: ok({"4111111111111111": "4111111111111111", **facts})))
    for _ in range(2):
        seen, _took = run([make_probe("o", "odd")])
        assert seen["o"].measurements["************1111"] == "************1111"
    assert known == {f"key{number}" for number in range(10)}


def test_what_is_no_plain_text_or_number_is_made_one(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("odd", sleep_for(0), lambda *_: ok({"timeout": Seconds(3), "status": Status.OK})))
    seen, _ = run([make_probe("o", "odd")])
    assert {type(value) for value in seen["o"].measurements.values()} == {float, str}
