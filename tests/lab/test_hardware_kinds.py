"""usb, serial, power and temperature on hardware that comes, changes and goes while the kernel tells of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.lab.fakehw import INGENICO, PAX, UDEVD, VERIFONE, Machine
from tests.probes.test_serial import pos_software

ROOT = Path(__file__).parents[2]
LOOK = """
import json, sys
import msgspec
from probes import registry
from probes.host import Host
request = json.load(sys.stdin)
kind = registry.find(request["settings"]["kind"])
settings = msgspec.convert(request["settings"], kind.settings)
seen = kind.judge(settings, kind.read(settings, Host()), request["memory"])
sys.stdout.buffer.write(msgspec.json.encode(seen))
"""


class Eye:
    """Looks from inside again and again, with its memory of the last look."""

    def __init__(self, machine: Machine, **settings: Any) -> None:
        self.machine = machine
        self.settings = settings
        self.memory: dict[str, Any] = {}

    def look(self) -> dict[str, Any]:
        request = json.dumps({"settings": self.settings, "memory": self.memory})
        done = self.machine.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", LOOK, stdin=request)
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        self.memory = seen["memory"]
        return seen

    def said(self) -> tuple[str, str]:
        seen = self.look()
        return seen["status"], seen["reason"]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as built:
        yield built


@pytest.mark.parametrize("terminal", [PAX, INGENICO, VERIFONE], ids=["PAX", "Ingenico", "Verifone"])
def test_a_terminal_comes_goes_and_flaps(machine: Machine, terminal: Any) -> None:
    eye = Eye(machine, kind="usb", vendor=terminal.vendor)
    assert eye.said() == ("fail", "usb.absent")
    machine.plug(terminal)
    assert eye.said() == ("ok", "ok")
    machine.unplug(terminal)
    assert eye.said() == ("fail", "usb.absent")
    terminal = replace(terminal, number=terminal.number + 1)
    machine.plug(terminal)
    assert eye.said() == ("ok", "ok"), "who pulls a plug and puts it back has no poor cable"
    terminal = machine.replug(terminal)
    assert eye.said() == ("warn", "usb.reconnecting")
    for _ in range(2):
        terminal = machine.replug(terminal)
        seen = eye.look()
    assert (seen["status"], seen["reason"]) == ("fail", "usb.reconnecting")
    assert seen["measurements"]["reconnects_per_hour"] == 3


@pytest.mark.parametrize("terminal", [PAX, INGENICO, VERIFONE], ids=["PAX", "Ingenico", "Verifone"])
@pytest.mark.parametrize(
    ("fault", "settings", "expected"),
    [
        ({"driver": ""}, {}, ("fail", "usb.no_driver")),
        ({"speed": "1.5"}, {"min_speed": 12}, ("warn", "usb.slow")),
        ({"control": "auto"}, {}, ("warn", "usb.autosuspend")),
    ],
    ids=["no driver", "wrong speed", "autosuspend"],
)
def test_a_terminal_with_a_fault_is_told_by_it(
    machine: Machine, terminal: Any, fault: dict[str, str], settings: dict[str, Any], expected: tuple[str, str]
) -> None:
    machine.plug(replace(terminal, **fault))
    assert Eye(machine, kind="usb", vendor=terminal.vendor, **settings).said() == expected


def test_a_terminals_port_is_found_with_its_holder_through_the_links_of_udev() -> None:
    assert os.path.exists(UDEVD), "missing: systemd-udevd (Debian package udev)"
    with Machine(udevd=True) as machine, pos_software("excl") as (pty, pid, end):
        machine.plug(replace(PAX, node=pty))
        machine.settle()
        link = "/dev/serial/by-id/usb-PAX_USB_Serial_1850012345-if00"
        seen = Eye(machine, kind="serial", device=link, owner="pos.py").look()
        assert (seen["status"], seen["reason"]) == ("ok", "ok"), seen
        assert seen["measurements"]["node"] == "/dev/ttyACM0"
        assert any(f"(pid {pid}, open)" in line for line in seen["evidence"])
        told = end()
    assert told["before"] == told["after"]


def test_mains_and_battery_change_live(machine: Machine) -> None:
    eye = Eye(machine, kind="power")
    machine.power(mains=True, percent=80)
    assert eye.said() == ("ok", "ok")
    machine.power(mains=False, percent=80)
    assert eye.said() == ("warn", "power.on_battery")
    machine.power(mains=False, percent=7)
    assert eye.said() == ("fail", "power.battery_low")


def test_heat_rises_and_falls(machine: Machine) -> None:
    eye = Eye(machine, kind="temperature")
    said = []
    for celsius in (45.0, 85.0, 101.0, 50.0):
        machine.temperature(celsius)
        said.append(eye.said())
    assert said == [("ok", "ok"), ("warn", "temperature.high"), ("fail", "temperature.critical"), ("ok", "ok")]
