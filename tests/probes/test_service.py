"""service: what systemd says of a unit, judged; real units are in tests/lab/test_service_kind.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, command, systemd
from probes.host.systemd import Unit
from probes.model import Denied, Memory, Observation, Status, Unsupported
from probes.service import KIND, Reading, ServiceSettings

RUNNING = Unit(
    load="loaded", active="active", sub="running", result="success", type="simple", pid=7, active_since=100.0
)


def judge(unit: Unit, memory: Memory | None = None, now: float = 5000.0, boot: str = "a") -> Observation:
    settings = ServiceSettings(kind="service", unit="pos")
    return KIND.judge(settings, Reading(unit, now, boot), memory or {})


def unit(**changes: object) -> Unit:
    values = {field: getattr(RUNNING, field) for field in RUNNING.__struct_fields__}
    return Unit(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "status", "reason"),
    [
        pytest.param(RUNNING, Status.OK, "ok", id="running"),
        pytest.param(unit(active="reloading", sub="reload"), Status.OK, "ok", id="reloading"),
        pytest.param(unit(sub="exited", type="oneshot", pid=0), Status.OK, "ok", id="oneshot that remains"),
        pytest.param(unit(active="inactive", sub="dead", type="oneshot"), Status.OK, "ok", id="oneshot between runs"),
        pytest.param(unit(active="activating", sub="start", type="oneshot"), Status.OK, "ok", id="oneshot at work"),
        pytest.param(unit(active="inactive", sub="dead"), Status.FAIL, "service.stopped", id="stopped"),
        pytest.param(unit(active="activating", sub="start"), Status.WARN, "service.stopped", id="starting"),
        pytest.param(unit(active="deactivating", sub="stop"), Status.WARN, "service.stopped", id="stopping"),
        pytest.param(unit(active="inactive", load="masked"), Status.FAIL, "service.stopped", id="masked"),
        pytest.param(unit(active="activating", sub="auto-restart"), Status.FAIL, "service.restarting", id="crash loop"),
        pytest.param(
            unit(active="activating", sub="auto-restart-queued"), Status.FAIL, "service.restarting", id="queued"
        ),
        pytest.param(unit(active="failed", result="exit-code"), Status.FAIL, "service.failed", id="failed"),
        pytest.param(unit(active="failed", result="start-limit-hit"), Status.FAIL, "service.failed", id="given up"),
        pytest.param(unit(active="inactive", load="bad-setting"), Status.FAIL, "service.failed", id="bad unit file"),
        pytest.param(Unit(load="not-found", active="inactive", sub="dead"), Status.FAIL, "service.absent", id="absent"),
        pytest.param(unit(load="not-found"), Status.OK, "ok", id="runs although its file was deleted"),
        pytest.param(Unit(), Status.FAIL, "service.stopped", id="systemd says nothing"),
    ],
)
def test_each_state_of_a_unit_has_its_own_reason(seen: Unit, status: Status, reason: str) -> None:
    observation = judge(seen)
    assert (observation.status, observation.reason) == (status, reason)


def test_a_failure_tells_how_it_ended() -> None:
    seen = judge(unit(active="failed", sub="failed", result="exit-code", exit="exit status 203"))
    assert seen.measurements["result"] == "exit-code"
    assert seen.evidence == ("result of its last run: exit-code, exit status 203",)


def test_a_unit_that_will_not_come_up_by_itself_is_told() -> None:
    assert judge(unit(file_state="disabled")).evidence == (
        "the unit is not enabled: it does not come up by itself after a restart of this PC",
    )


def test_the_growth_of_the_restart_count_is_judged_not_the_count() -> None:
    first = judge(unit(restarts=57))
    assert first.reason == "ok", "57 restarts may be last week's"
    second = judge(unit(restarts=59), first.memory, now=5030)
    assert (second.reason, second.measurements["restarts_per_hour"]) == ("ok", 2)
    third = judge(unit(restarts=60), second.memory, now=5060)
    assert (third.status, third.reason) == (Status.WARN, "service.restarting")
    later = judge(unit(restarts=60), third.memory, now=5060 + 3600)
    assert later.reason == "ok"


def test_a_first_look_right_after_many_restarts_sees_them() -> None:
    assert judge(unit(restarts=3, active_since=4995.0)).reason == "service.restarting"
    assert judge(unit(restarts=2, active_since=4995.0)).reason == "ok"


def test_a_start_by_hand_begins_the_count_anew() -> None:
    first = judge(unit(restarts=9))
    assert judge(unit(restarts=0), first.memory).measurements["restarts_per_hour"] == 0


def test_a_restart_of_the_pc_forgets() -> None:
    memory = {"boot": "a", "count": 0, "restarts": [4990.0] * 9}
    assert judge(unit(restarts=1), memory, boot="b").reason == "ok"


def test_a_machine_without_systemd_cannot_tell(tree: Callable[[dict[str, str]], Host]) -> None:
    with pytest.raises(Unsupported, match="not run by systemd"):
        systemd.unit(tree({"/etc/inittab": "x"}), "pos")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo 'Failed to connect to bus: Host is down' >&2; exit 1", Unsupported),
        ("echo 'System has not been booted with systemd as init system (PID 1).' >&2", Unsupported),
        ("echo 'Access denied' >&2; exit 1", Denied),
        ("echo 'Invalid unit name' >&2; exit 1", Unsupported),
        ("kill -9 $$", Unsupported),
    ],
)
def test_a_systemctl_that_fails_is_no_stopped_service(
    script: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(command, "ENVIRONMENT", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    monkeypatch.setattr(Path, "is_dir", lambda _path: True)
    with pytest.raises(error):
        systemd.unit(host, "pos")


def test_what_systemctl_prints_is_read() -> None:
    text = (
        "Type=notify\nResult=signal\nNRestarts=4\nMainPID=0\nExecMainCode=2\nExecMainStatus=9\nLoadState=loaded\n"
        "ActiveState=failed\nSubState=failed\nUnitFileState=enabled\nActiveEnterTimestampMonotonic=12500000\n"
        "StateChangeTimestampMonotonic=13500000\n"
    )
    assert systemd.parse(text) == Unit(
        load="loaded",
        active="failed",
        sub="failed",
        result="signal",
        type="notify",
        file_state="enabled",
        restarts=4,
        pid=0,
        active_since=12.5,
        changed_at=13.5,
        exit="killed by signal 9",
    )


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["NRestarts=", "9" * 30, "\n", "=", "ActiveState=", "-1"])).map("".join)
)
def test_whatever_systemctl_prints_an_observation_comes_back(text: str) -> None:
    assert judge(systemd.parse(text)).reason in {"ok", *KIND.reasons}
