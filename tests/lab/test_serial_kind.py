"""serial as posagent runs it: without root, beside a POS software of another user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.probes import pos
from tests.probes.test_serial import pos_software

ROOT = Path(pos.__file__).parents[2]
LOOK = """
import json, sys
from probes.host import Host
from probes.serial import KIND, SerialSettings
settings = SerialSettings(kind="serial", device=sys.argv[1], owner=sys.argv[2] or None)
seen = KIND.judge(settings, KIND.read(settings, Host()), {})
print(json.dumps([seen.status, seen.reason, seen.detail, seen.measurements, seen.evidence]))
"""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
BOTH = "+sys_ptrace,+dac_read_search"


def look_as(prefix: tuple[str, ...], port: str, owner: str) -> tuple[str, str, str, dict[str, object], list[str]]:
    """The answer that a user gets. Runs from a copy of nothing: only the right to look differs."""
    told = subprocess.run(
        [*prefix, sys.executable, "-c", LOOK, port, owner],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    status, reason, detail, measurements, evidence = json.loads(told.stdout)
    return status, reason, detail, measurements, evidence


def test_another_users_port_is_unknown_with_the_missing_right() -> None:
    with pos_software("open") as (port, _pid, _end):
        status, reason, detail, measurements, _ = look_as(NOBODY, port, "pos.py")
    assert (status, reason) == ("unknown", "probe.denied")
    assert "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH" in detail
    assert measurements["holder"] == "?"


def test_a_kernel_lock_names_the_holder_even_to_nobody() -> None:
    with pos_software("flock") as (port, pid, _end):
        status, reason, _, _, evidence = look_as(NOBODY, port, "pos.py")
    assert (status, reason) == ("ok", "ok")
    assert any(f"(pid {pid}, lock)" in line for line in evidence)


def test_an_owner_that_does_not_run_is_missed_by_nobody_as_well() -> None:
    with pos_software("none") as (port, _pid, _end):
        status, reason, _, _, _ = look_as(NOBODY, port, "no-such-pos")
    assert (status, reason) == ("fail", "serial.not_held")


def test_without_an_owner_the_rest_is_judged_and_the_blindness_said() -> None:
    with pos_software("open") as (port, _pid, _end):
        status, _reason, _, _, evidence = look_as(NOBODY, port, "")
    assert status == "ok"
    assert any("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH" in line for line in evidence)


@pytest.mark.parametrize("capabilities", [BOTH], ids=["both rights"])
def test_with_both_rights_and_no_root_the_holder_is_seen(capabilities: str) -> None:
    rights = (*NOBODY, f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}")
    with pos_software("excl") as (port, pid, _end):
        status, reason, _, _, evidence = look_as(rights, port, "pos.py")
    assert (status, reason) == ("ok", "ok")
    assert any(f"(pid {pid}, open)" in line for line in evidence)


def test_counters_that_only_root_may_read_are_said_to_be_so() -> None:
    code = "from probes.host import Host, serial\ntry: print(serial.uart(Host(), '/dev/ttyS0'))\nexcept PermissionError: print('denied')"
    told = subprocess.run(
        [*NOBODY, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert told.stdout.strip() in ("denied", "None")  # None where this machine has no ttyS0
