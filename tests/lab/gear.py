"""The till's own gear: a UPS with its monitor, a clock that can be wrong, the books of its POS software."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.store import Store

UPSC = "run upsc till@127.0.0.1 ups.status"
NUT = "/lib/nut"
STATES = {  # state -> (ups.status, battery.charge, battery.runtime, input.voltage, ups.load)
    "online": ("OL", 100, 1800, 230, 20),
    "on_battery": ("OB DISCHRG", 70, 900, 0, 20),
    "low": ("OB LB DISCHRG", 8, 90, 0, 20),
    "worn": ("OL RB", 100, 60, 230, 20),
    "overload": ("OL OVER", 100, 300, 230, 130),
}


def skewclock(store: Store) -> Path:
    """Build the library that makes a wall clock wrong, once per store."""
    library = store.run / "skewclock.so"
    if not library.exists():
        source = Path(__file__).with_name("skewclock.c")
        command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
    return library


def moment(days: float) -> str:
    """Return a time so many days from now, as POS software writes it."""
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)).isoformat(timespec="seconds")


def start_ups(store: Store) -> None:
    """Start NUT's dummy driver inside the till; `start_upsd` comes later."""
    home = store.run / "nut"
    home.mkdir(mode=0o770)
    files = {
        "ups.conf": "[till]\n driver = dummy-ups\n port = till.dev\n mode = dummy-once\n pollinterval = 1\n",
        "upsd.conf": "LISTEN 127.0.0.1 3493\nMAXAGE 6\n",
        "upsd.users": "",
        "nut.conf": "MODE=standalone\n",
    }
    for name, text in files.items():
        (home / name).write_text(text)
        (home / name).chmod(0o640)
    _write_state(store, "online")
    command = _nut(store, f"{NUT}/dummy-ups", "-u", "root", "-a", "till", "-F")
    store.start("ups-driver", command)


def start_upsd(store: Store) -> None:
    """Start the monitor; it looks for its driver only now and then, so the driver has to be there first."""
    until = time.monotonic() + 10
    while not (store.run / "nut" / "dummy-ups-till").exists():
        if time.monotonic() > until:
            raise TimeoutError("the UPS driver did not open its socket")
        time.sleep(0.02)
    store.start("upsd", _nut(store, f"{NUT}/upsd", "-u", "root", "-F"))


def _nut(store: Store, *command: str) -> list[str]:
    home = f"{store.run}/nut"
    return store.in_room("till", "env", f"NUT_CONFPATH={home}", f"NUT_STATEPATH={home}", *command)


def _write_state(store: Store, state: str) -> None:
    status, charge, runtime, voltage, load = STATES[state]
    facts = {
        "ups.mfr": "APC",
        "ups.model": "Back-UPS ES 700",
        "ups.status": status,
        "ups.load": load,
        "battery.charge": charge,
        "battery.charge.low": 10,
        "battery.runtime": runtime,
        "battery.voltage": 13.1,
        "input.voltage": voltage,
    }
    device = store.run / "nut" / "till.dev"
    fresh = device.with_suffix(".new")
    fresh.write_text("".join(f"{key}: {value}\n" for key, value in facts.items()))
    stamp = _write_state.__dict__["stamp"] = _write_state.__dict__.get("stamp", int(time.time())) + 2
    os.utime(fresh, (stamp, stamp))  # the driver reads again when the second of the time stamp changes
    fresh.rename(device)


def ups_says(store: Store) -> str:
    """Return what upsd says of the UPS; empty when it says nothing."""
    return store.run_in_till(["upsc", "till@127.0.0.1", "ups.status"], env={"LD_PRELOAD": ""}).stdout.strip()


def await_ups(store: Store, status: str = "OL") -> None:
    """Wait until upsd says so."""
    until = time.monotonic() + 15
    while (said := ups_says(store)) != status:
        if time.monotonic() > until:
            raise TimeoutError(f"the UPS says {said!r}, not {status!r}")
        time.sleep(0.05)


@contextlib.contextmanager
def ups_state(store: Store, state: str) -> Iterator[None]:
    """Have the UPS in a state for a while, and wait at both ends until upsd knows it."""
    if state == "dead":
        store.stop("upsd", signal.SIGKILL)
    elif state == "stale":
        store.processes["ups-driver"].send_signal(signal.SIGSTOP)
        await_ups(store, "")
    else:
        _write_state(store, state)
        await_ups(store, STATES[state][0])
    try:
        yield
    finally:
        if state == "dead":
            start_upsd(store)
        elif state == "stale":
            store.processes["ups-driver"].send_signal(signal.SIGCONT)
        else:
            _write_state(store, "online")
        await_ups(store, STATES["online"][0])
