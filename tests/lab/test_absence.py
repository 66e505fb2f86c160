"""Does an agent that is told to stop know whether its whole PC goes down? In a PC run by a real systemd."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

import probes
from tests.lab.systemd_box import SystemdBox

pytestmark = pytest.mark.lab
REPOSITORY = Path(probes.__file__).resolve().parent.parent
STOP = "import sys; from agent import absence; sys.stdout.write(str(absence.is_shutting_down()))"


def unit(name: str, user: str) -> str:
    """Its stopping takes long enough for us to read what it said."""
    return f"""
[Unit]
After=dbus.socket
[Service]
Type=oneshot
RemainAfterExit=yes
User={user}
Environment=PYTHONPATH={REPOSITORY}
RuntimeDirectory={name}
RuntimeDirectoryPreserve=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c '{sys.executable} -c "{STOP}" > /run/{name}/said.new; mv /run/{name}/said.new /run/{name}/said; sleep 6'
"""


def said(box: SystemdBox, name: str) -> str:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        if found := box.run("cat", f"/run/{name}/said", check=False):
            return found
        time.sleep(0.1)
    return "nothing"


def test_a_stopped_agent_is_told_from_a_pc_that_goes_down() -> None:
    with SystemdBox() as box:
        for name, user in (("asroot", "root"), ("asnobody", "nobody")):
            box.unit(f"{name}.service", unit(name, user))
            box.run("systemctl", "start", f"{name}.service")
            box.run("systemctl", "--no-block", "stop", f"{name}.service")
            assert said(box, name) == "False"
            box.run("systemctl", "stop", f"{name}.service")
            box.run("rm", f"/run/{name}/said")
            box.run("systemctl", "start", f"{name}.service")
        box.run("systemctl", "--no-block", "poweroff")
        assert {name: said(box, name) for name in ("asroot", "asnobody")} == {"asroot": "True", "asnobody": "True"}
