"""No kind opens a serial port or a printer: the kernel itself is the witness."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from probes import registry
from tests.probes import every_kind, pos
from tests.probes.test_serial import pos_software

ROOT = Path(every_kind.__file__).parents[2]
OPENED = re.compile(r'\bopen(?:at|at2)?\([^"]*"(/dev/[^"]*)"')
FORBIDDEN = re.compile(r"^/dev/(tty|pts/|usb/|lp|hidraw|serial/|bus/usb/)")


def test_no_kind_nor_any_child_of_it_opens_a_port(tmp_path: Path) -> None:
    """strace follows every thread and every command; the namespace has no network to send anything to."""
    if shutil.which("strace") is None:
        pytest.fail("missing: strace (Debian package strace)")
    trace = tmp_path / "trace"
    with pos_software("open") as (port, _pid, end):
        asked = subprocess.run(
            [
                *("unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"),
                *("strace", "-f", "-qq", "-e", "trace=open,openat,openat2,ioctl", "-o", str(trace)),
                *(sys.executable, "-m", every_kind.__name__, port),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        told = end()
    assert asked.returncode == 0, asked.stderr
    reasons = json.loads(asked.stdout)["reasons"]
    assert {"usb", "serial", "ping", "tls", "plugin"} <= set(reasons) <= set(registry.names())
    assert reasons["serial"] == "ok"
    seen = trace.read_text(encoding="utf-8", errors="replace")
    opened = set(OPENED.findall(seen))
    assert "/dev/null" in opened or "/proc/locks" in seen  # strace does see what is opened
    assert [path for path in opened if FORBIDDEN.match(path)] == []
    assert re.findall(r"ioctl\(\d+, (?:TCSET\w*|TIOCM\w*|TIOCEXCL|TCFLSH|TCSBRK)[^)]*\)", seen) == []
    assert told["before"] == told["after"]
    assert bytes.fromhex(told["bytes"]) == pos.WAITING
