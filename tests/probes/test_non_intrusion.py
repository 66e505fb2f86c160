"""The promise that lets posagent run beside a payment: no serial port and no printer is ever opened."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.probes import every_kind, pos
from tests.probes.test_serial import pos_software

ROOT = Path(every_kind.__file__).parents[2]
FORBIDDEN = re.compile(r"^/dev/(tty|pts/|usb/|lp|hidraw|serial/|bus/usb/)")
LOCAL = ("power", "usb", "serial", "interface", "clock", "disk", "memory", "cpu", "temperature", "process", "service")
"""The kinds that speak to nobody. All others are asked where no network is: see tests/lab."""


def test_no_kind_opens_a_port_and_the_pos_software_notices_nothing() -> None:
    with pos_software("open") as (port, _pid, end):
        asked = subprocess.run(
            [sys.executable, "-m", every_kind.__name__, port, *LOCAL],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        told = end()
    answers = json.loads(asked.stdout)
    assert {"power", "usb", "serial", "temperature"} <= set(answers["reasons"])
    assert answers["reasons"]["serial"] == "ok"
    assert "/proc/locks" in answers["opened"]  # the hook does see what is opened
    assert [path for path in answers["opened"] if FORBIDDEN.match(path)] == []
    assert told["before"] == told["after"]
    assert bytes.fromhex(told["bytes"]) == pos.WAITING
