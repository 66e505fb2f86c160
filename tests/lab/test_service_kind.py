"""service against a real systemd: units that run, fail, loop, are masked, and are not there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.systemd_box import SystemdBox

LOOK = """
import json, sys, time, msgspec
from probes.host import Host
from probes.service import KIND, ServiceSettings
settings = ServiceSettings(kind="service", unit={unit!r})
try:
    reading = KIND.read(settings, Host(ends=time.monotonic() + 5))
    print(msgspec.json.encode(KIND.judge(settings, reading, json.loads({memory!r}))).decode())
except Exception as error:
    print(json.dumps({{"error": type(error).__name__, "text": str(error)}}))
"""


@pytest.fixture(scope="module")
def box() -> Iterator[SystemdBox]:
    with SystemdBox() as up:
        yield up


def look(box: SystemdBox, unit: str, memory: object = None, user: str = "root") -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(box.python(LOOK.format(unit=unit, memory=json.dumps(memory or {})), user))
    return seen


def until(box: SystemdBox, unit: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look until it is as wanted, for twenty seconds at most."""
    ends = time.monotonic() + 20
    seen = look(box, unit)
    while not wanted(seen) and time.monotonic() < ends:
        time.sleep(0.2)
        seen = look(box, unit)
    return seen


def test_a_running_unit_is_ok_for_every_user(box: SystemdBox) -> None:
    box.unit("pos.service", "[Service]\nExecStart=/bin/sleep 600\n")
    box.run("systemctl", "start", "pos")
    for user in ("root", "nobody"):
        seen = look(box, "pos", user=user)
        assert (seen["status"], seen["measurements"]["state"]) == ("ok", "active (running)"), seen
        assert seen["measurements"]["pid"] > 1
    box.run("systemctl", "stop", "pos")
    assert look(box, "pos.service")["reason"] == "service.stopped"


def test_a_program_that_is_missing_fails_the_unit(box: SystemdBox) -> None:
    box.unit("broken.service", "[Service]\nExecStart=/no/such/pos\n")
    box.run("systemctl", "start", "broken", check=False)
    seen = until(box, "broken", lambda seen: bool(seen["reason"] == "service.failed"))
    assert (seen["reason"], seen["measurements"]["result"]) == ("service.failed", "exit-code")
    assert "result of its last run: exit-code, exit status 203" in seen["evidence"]


def test_a_killed_program_fails_the_unit_by_signal(box: SystemdBox) -> None:
    box.unit("killed.service", "[Service]\nExecStart=/bin/sleep 600\n")
    box.run("systemctl", "start", "killed")
    box.run("systemctl", "kill", "-s", "KILL", "killed")
    seen = until(box, "killed", lambda seen: bool(seen["reason"] == "service.failed"))
    assert "result of its last run: signal, killed by signal 9" in seen["evidence"]


def test_a_crash_loop_is_restarting_between_tries_and_right_after_one(box: SystemdBox) -> None:
    loop = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'sleep {}; exit 1'\nRestart=always\n"
    box.unit("loop.service", loop.format("0.2") + "RestartSec=30\n")
    box.run("systemctl", "start", "loop")
    seen = until(box, "loop", lambda seen: bool(seen["reason"] == "service.restarting"))
    assert (seen["status"], seen["measurements"]["state"]) == ("fail", "activating (auto-restart)")
    box.unit("fast.service", loop.format("0.3") + "RestartSec=10ms\n")
    box.run("systemctl", "start", "fast")
    seen = until(box, "fast", lambda seen: seen["measurements"]["restarts_count"] > 3)
    assert seen["reason"] == "service.restarting"
    box.run("systemctl", "stop", "loop", "fast")


def test_the_growth_of_the_count_is_seen_from_look_to_look(box: SystemdBox) -> None:
    box.unit("grow.service", "[Service]\nExecStart=/bin/sleep 600\nRestart=always\nRestartSec=10ms\n")
    box.run("systemctl", "start", "grow")
    memory = look(box, "grow")["memory"]
    for _kill in range(3):
        box.run("systemctl", "kill", "-s", "KILL", "grow")
        until(box, "grow", lambda seen: bool(seen["measurements"]["state"] == "active (running)"))
        time.sleep(0.2)
    seen = look(box, "grow", memory)
    assert (seen["reason"], seen["measurements"]["restarts_per_hour"]) == ("service.restarting", 3)
    box.run("systemctl", "stop", "grow")


def test_a_unit_that_was_restarted_too_often_has_failed(box: SystemdBox) -> None:
    box.unit(
        "limit.service",
        "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=60\n"
        "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=10ms\n",
    )
    box.run("systemctl", "start", "limit", check=False)
    assert until(box, "limit", lambda seen: bool(seen["reason"] == "service.failed"))["reason"] == "service.failed"


def test_a_oneshot_that_ended_well_is_ok(box: SystemdBox) -> None:
    box.unit("backup.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    box.run("systemctl", "start", "backup")
    seen = look(box, "backup")
    assert (seen["reason"], seen["measurements"]["state"]) == ("ok", "inactive (dead)")


def test_masked_absent_and_broken_units(box: SystemdBox) -> None:
    box.run("systemctl", "mask", "--runtime", "masked.service")
    seen = look(box, "masked")
    assert (seen["reason"], seen["evidence"][0]) == ("service.stopped", "the unit is masked: it cannot be started")
    assert look(box, "no-such-pos.service")["reason"] == "service.absent"
    box.unit("bad.service", "[Service]\nType=nonsense\n")
    assert look(box, "bad")["reason"] == "service.failed"


def test_this_machine_without_systemd_says_so() -> None:
    from pathlib import Path

    from probes.host import Host, systemd
    from probes.model import Unsupported

    if Path("/run/systemd/system").is_dir():
        pytest.skip("this machine is run by systemd itself")
    with pytest.raises(Unsupported, match="not run by systemd"):
        systemd.unit(Host(), "pos")
