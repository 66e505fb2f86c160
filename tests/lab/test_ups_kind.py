"""ups against a real NUT server: Debian's upsd with NUT's own dummy-ups driver, so the words on the wire are upsd's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.room import Room

NUT = "/lib/nut"
STATES = {  # state -> (ups.status, battery.charge, battery.runtime, input.voltage, ups.load)
    "online": ("OL", 100, 1800, 230, 20),
    "charging": ("OL CHRG", 55, 700, 230, 20),
    "on battery": ("OB DISCHRG", 70, 900, 0, 20),
    "low": ("OB LB DISCHRG", 8, 90, 0, 20),
    "short": ("OB DISCHRG", 70, 120, 0, 20),
    "worn": ("OL RB", 100, 60, 230, 20),
    "overload": ("OL OVER", 100, 300, 230, 130),
    "off": ("OFF", 100, 1800, 230, 0),
    "bypass": ("OL BYPASS", 100, 1800, 230, 20),
    "calibrating": ("CAL OB", 80, 900, 230, 20),
}


class Ups:
    """One UPS called `till`, its driver and upsd, in a room."""

    def __init__(self, room: Room, home: Path) -> None:
        self.room, self.home = room, home
        self.env = {"NUT_CONFPATH": str(home), "NUT_STATEPATH": str(home)}
        self.second = int(time.time()) - 1000
        home.mkdir(mode=0o770)
        for name, text in {
            "ups.conf": "[till]\n driver = dummy-ups\n port = till.dev\n mode = dummy-once\n pollinterval = 1\n",
            "upsd.conf": "LISTEN 127.0.0.1 3493\nMAXAGE 5\n",
            "upsd.users": "",
            "nut.conf": "MODE=standalone\n",
        }.items():
            (home / name).write_text(text)
            (home / name).chmod(0o640)
        self.write("online")
        self.driver = room.start(f"{NUT}/dummy-ups", "-u", "root", "-a", "till", "-F", env=self.env)
        self.upsd = room.start(f"{NUT}/upsd", "-u", "root", "-F", listens="127.0.0.1:3493", env=self.env)
        self.wait_for("OL")

    def write(self, state: str) -> None:
        status, charge, runtime, voltage, load = STATES[state]
        facts = {"ups.mfr": "APC", "ups.model": r"Back-UPS 19\" ES", "ups.status": status, "ups.load": load}
        facts |= {"battery.charge": charge, "battery.runtime": runtime, "input.voltage": voltage}
        device = self.home / "till.dev"
        fresh = device.with_suffix(".new")
        fresh.write_text("".join(f"{key}: {value}\n" for key, value in facts.items()))
        self.second += 2
        os.utime(fresh, (self.second, self.second))  # the driver reads again when the second of the time stamp changes
        fresh.rename(device)

    def says(self) -> str:
        """What NUT's own client reads; its complaint when it reads nothing."""
        command = self.room.inside("upsc", "till@127.0.0.1", "ups.status")
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    def wait_for(self, said: str) -> None:
        until = time.monotonic() + 15
        while said != (heard := self.says()):
            assert time.monotonic() < until, f"the UPS says {heard!r}, not {said!r}"
            time.sleep(0.05)

    def becomes(self, state: str) -> None:
        self.write(state)
        self.wait_for(STATES[state][0])


@pytest.fixture(scope="module")
def ups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ups]:
    home = tmp_path_factory.mktemp("ups")
    with Room(home) as room:
        yield Ups(room, home / "nut")


Look = Callable[..., dict[str, Any]]


@pytest.fixture
def look(ups: Ups) -> Look:
    def ask(**settings: object) -> dict[str, Any]:
        return ups.room.look("ups", **settings)

    return ask


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("on battery", ("warn", "ups.on_battery")),
        ("low", ("fail", "ups.low_battery")),
        ("short", ("fail", "ups.low_battery")),
        ("worn", ("warn", "ups.replace_battery")),
        ("overload", ("fail", "ups.overload")),
        ("off", ("fail", "ups.off")),
        ("bypass", ("warn", "ups.off")),
        ("calibrating", ("ok", "ok")),
        ("charging", ("ok", "ok")),
        ("online", ("ok", "ok")),
    ],
)
def test_every_state_that_upsd_tells_of_is_known(ups: Ups, look: Look, state: str, expected: tuple[str, str]) -> None:
    ups.becomes(state)
    seen = look()
    assert (seen["status"], seen["reason"]) == expected
    assert seen["measurements"]["charge_percent"] == STATES[state][1]
    assert seen["measurements"]["model"] == 'APC Back-UPS 19" ES'


def test_a_ups_that_is_not_there_is_unknown(look: Look) -> None:
    seen = look(ups="office")
    assert (seen["status"], seen["reason"]) == ("warn", "ups.unknown_ups")


def test_stale_data_a_dead_driver_and_a_dead_server_are_three_answers(ups: Ups, look: Look) -> None:
    ups.driver.send_signal(signal.SIGSTOP)
    ups.wait_for("Error: Data stale")
    stale = look()
    ups.driver.send_signal(signal.SIGCONT)
    ups.driver.kill()
    ups.driver.wait(5)
    ups.wait_for("Error: Driver not connected")
    no_driver = look()
    ups.upsd.kill()
    ups.upsd.wait(5)
    dead = look()
    assert [seen["reason"] for seen in (stale, no_driver, dead)] == ["ups.stale", "ups.stale", "ups.unreachable"]
    assert [seen["measurements"].get("code") for seen in (stale, no_driver)] == ["DATA-STALE", "DRIVER-NOT-CONNECTED"]
    assert dead["measurements"]["said"] == "Connection refused"
    assert {seen["status"] for seen in (stale, no_driver, dead)} == {"warn"}
