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
NO_RIGHTS = ("setpriv", "--bounding-set=-all")
"""Root in name alone: it still finds this checkout wherever it lies, and may look at nobody else's files."""
BOTH = ("setpriv", "--bounding-set=-all,+sys_ptrace,+dac_read_search")
CLERK = "65534"


def look_as(prefix: tuple[str, ...], port: str, owner: str) -> tuple[str, str, str, dict[str, object], list[str]]:
    """The answer that posagent gives with the rights that `prefix` leaves it."""
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
    with pos_software("open", CLERK) as (port, _pid, _end):
        status, reason, detail, measurements, _ = look_as(NO_RIGHTS, port, "pos.py")
    assert (status, reason) == ("unknown", "probe.denied")
    assert "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH" in detail
    assert "holder" not in measurements


def test_a_kernel_lock_names_the_holder_even_without_any_right() -> None:
    with pos_software("flock", CLERK) as (port, pid, _end):
        status, reason, _, _, evidence = look_as(NO_RIGHTS, port, "pos.py")
    assert (status, reason) == ("ok", "ok")
    assert any(f"(pid {pid}, lock)" in line for line in evidence)


def test_an_owner_that_does_not_run_is_missed_without_any_right() -> None:
    with pos_software("none", CLERK) as (port, _pid, _end):
        status, reason, _, _, _ = look_as(NO_RIGHTS, port, "no-such-pos")
    assert (status, reason) == ("fail", "serial.not_held")


def test_without_an_owner_the_rest_is_judged_and_the_blindness_said() -> None:
    with pos_software("open", CLERK) as (port, _pid, _end):
        status, _reason, _, _, evidence = look_as(NO_RIGHTS, port, "")
    assert status == "ok"
    assert any("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH" in line for line in evidence)


@pytest.mark.parametrize("how", ["open", "excl", "flock"])
def test_with_both_rights_and_no_others_the_holder_is_seen(how: str) -> None:
    with pos_software(how, CLERK) as (port, pid, _end):
        status, reason, _, _, evidence = look_as(BOTH, port, "pos.py")
    assert (status, reason) == ("ok", "ok")
    assert any(f"(pid {pid}, open)" in line for line in evidence)


def test_counters_that_only_root_may_read_are_said_to_be_so() -> None:
    code = (
        "from probes.host import Host, serial\n"
        "try: print(serial.uart(Host(), '/dev/ttyS0'))\n"
        "except PermissionError as error: print(error.strerror)\n"
    )
    told = subprocess.run(
        [*NO_RIGHTS, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    said = told.stdout.strip()
    assert said in ("needs CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN", "None")  # None where this machine has no ttyS0
