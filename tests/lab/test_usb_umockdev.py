"""usb and serial under umockdev: the same terminals in somebody else's fake of /sys and /dev.

terminals/*.umockdev are written by hand, in the format of umockdev-record, after the table of known devices.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TERMINALS = Path(__file__).with_name("terminals")
LOOK = """
import json, sys
import msgspec
from probes.host import Host, serial
from probes.usb import KIND, UsbSettings
settings = msgspec.convert(json.loads(sys.argv[1]), UsbSettings)
seen = KIND.judge(settings, KIND.read(settings, Host()), {})
ports = [[port.name, port.driver, port.usb_path] for port in serial.ports(Host()) if port.usb_path]
sys.stdout.buffer.write(msgspec.json.encode([seen.status, seen.reason, seen.measurements, ports]))
"""
Look = Callable[..., tuple[str, str, dict[str, Any], list[list[str]]]]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Look at a machine with one terminal, changed as a test likes: `look("pax", "speed=12", "speed=1.5", …)`."""
    if shutil.which("umockdev-run") is None:
        pytest.fail("missing: umockdev-run (Debian package umockdev)")

    def run(
        terminal: str, old: str = "", new: str = "", **settings: Any
    ) -> tuple[str, str, dict[str, Any], list[list[str]]]:
        text = (TERMINALS / f"{terminal}.umockdev").read_text()
        assert old in text
        described = tmp_path / "terminal.umockdev"
        described.write_text(text.replace(old, new) if old else text)
        done = subprocess.run(
            [
                *("umockdev-run", "--device", str(described), "--"),
                sys.executable,
                "-c",
                LOOK,
                json.dumps({"kind": "usb", **settings}),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        status, reason, measurements, ports = json.loads(done.stdout)
        return status, reason, measurements, ports

    return run


@pytest.mark.parametrize(
    ("terminal", "settings", "device", "ports"),
    [
        ("pax", {"vendor": "2fb8"}, "PAX terminal", [["ttyACM0", "cdc_acm", "1-1"]]),
        ("ingenico", {"vendor": "0b00", "min_speed": 480}, "Ingenico Desk/5000", [["ttyACM1", "cdc_acm", "1-2"]]),
        ("verifone", {"serial": "26A0"}, "Verifone MX870/MX880", [["ttyACM2", "cdc_acm", "1-4"]]),
    ],
)
def test_each_maker_is_known_and_its_port_found(
    look: Look, terminal: str, settings: dict[str, Any], device: str, ports: list[list[str]]
) -> None:
    status, reason, measurements, found = look(terminal, **settings)
    assert (status, reason, measurements["device"], found) == ("ok", "ok", device, ports)


@pytest.mark.parametrize("terminal", ["pax", "ingenico", "verifone"])
@pytest.mark.parametrize(
    ("old", "new", "settings", "expected"),
    [
        ("L: driver=../../../../../../bus/usb/drivers/cdc_acm\n", "", {}, ("fail", "usb.no_driver")),
        ("power/control=on", "power/control=auto", {}, ("warn", "usb.autosuspend")),
        ("A: speed=", "A: speed=1.5\nA: was=", {"min_speed": 12}, ("warn", "usb.slow")),
        ("", "", {"serial": "another"}, ("fail", "usb.absent")),
        ("", "", {"product": "fff0"}, ("warn", "usb.absent")),
    ],
    ids=["no driver", "autosuspend", "wrong speed", "another unit", "another product id"],
)
def test_each_fault_of_each_maker_is_told(
    look: Look, terminal: str, old: str, new: str, settings: dict[str, Any], expected: tuple[str, str]
) -> None:
    vendor = {"pax": "2fb8", "ingenico": "0b00", "verifone": "11ca"}[terminal]
    status, reason, _, _ = look(terminal, old, new, vendor=vendor, **settings)
    assert (status, reason) == expected
