"""A card terminal on USB, laid as files into the till's own /sys and /dev: plugged, pulled, slow, undriven, in wrong hands.

The port behind it is a real pty, so programs can hold it; nothing answers on it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.store import Store

PORT, NODE = "1-1", "ttyACM0"
DIALOUT = 20
VENDOR, PRODUCT, SERIAL = "0b00", "0080", "SN0042"
BY_ID = f"usb-Ingenico_Desk_5000_{SERIAL}-if00"
DEVICE = f"sys/devices/pci0000:00/0000:00:14.0/usb1/{PORT}"
INTERFACE = f"{DEVICE}/{PORT}:1.0"
TTY = f"{INTERFACE}/tty/{NODE}"
HOLD_PTY = "import os, pty, signal; master, slave = pty.openpty(); print(os.ttyname(slave), flush=True); os.close(slave); signal.pause()"


def start_port(store: Store) -> None:
    """Open the pty that is the terminal's serial port."""
    store.start("pty", [sys.executable, "-I", "-S", "-c", HOLD_PTY], ready="/dev/pts/")


def plug(store: Store, speed: str = "480", control: str = "on", number: int = 5, driven: bool = True) -> None:
    """Put the terminal on the bus, as the kernel would show it."""
    facts = {
        "idVendor": VENDOR,
        "idProduct": PRODUCT,
        "manufacturer": "Ingenico",
        "product": "Desk/5000",
        "serial": SERIAL,
        "speed": speed,
        "version": " 2.00",
        "bDeviceClass": "02",
        "bcdDevice": "0100",
        "busnum": "1",
        "devnum": str(number),
        "bNumInterfaces": " 1",
        "power/control": control,
        "power/runtime_status": "active",
        "power/autosuspend_delay_ms": "2000",
    }
    function = {
        "bInterfaceNumber": "00",
        "bInterfaceClass": "02",
        "bInterfaceSubClass": "02",
        "bInterfaceProtocol": "01",
    }
    for home, values in ((DEVICE, facts), (INTERFACE, function)):
        for name, value in values.items():
            _write(store, f"{home}/{name}", value)
    _link(store, f"{DEVICE}/subsystem", "sys/bus/usb")
    _link(store, f"{INTERFACE}/subsystem", "sys/bus/usb")
    _link(store, f"sys/bus/usb/devices/{PORT}", DEVICE)
    _link(store, f"sys/bus/usb/devices/{PORT}:1.0", INTERFACE)
    if driven:
        _drive(store)


def _drive(store: Store) -> None:
    """Bind the driver: the port appears."""
    pts = (store.run / "pty.log").read_text().strip()
    there = os.stat(pts).st_rdev
    os.chown(pts, 0, DIALOUT)
    os.chmod(pts, 0o660)
    _write(store, f"{TTY}/dev", f"{os.major(there)}:{os.minor(there)}")
    _link(store, f"{INTERFACE}/driver", "sys/bus/usb/drivers/cdc_acm")
    _link(store, f"{TTY}/device", INTERFACE)
    _link(store, f"{TTY}/subsystem", "sys/class/tty")
    _link(store, f"sys/class/tty/{NODE}", TTY)
    _write(store, f"dev/{NODE}", "")
    store.run_in_till(["mount", "--bind", pts, f"/dev/{NODE}"]).check_returncode()
    _link(store, f"dev/serial/by-id/{BY_ID}", f"dev/{NODE}")


def pull(store: Store) -> None:
    """Pull the plug: device, port and links are gone, whoever held them."""
    store.run_in_till(["umount", "-l", f"/dev/{NODE}"])
    for link in (f"sys/class/tty/{NODE}", f"sys/bus/usb/devices/{PORT}", f"sys/bus/usb/devices/{PORT}:1.0"):
        (store.root / link).unlink(missing_ok=True)
    for node in (f"dev/{NODE}", f"dev/serial/by-id/{BY_ID}"):
        (store.root / node).unlink(missing_ok=True)
    shutil.rmtree(store.root / DEVICE, ignore_errors=True)


def _write(store: Store, path: str, value: str) -> None:
    file = store.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{value}\n" if value else "")


def _link(store: Store, path: str, to: str) -> None:
    link = store.root / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(to, Path(path).parent))


@contextlib.contextmanager
def replugged(store: Store, present: bool = True, **how: object) -> Iterator[None]:
    """Have the terminal plugged in differently, or not at all, for a while; the POS software holds it again after.

    A plug that was out comes back under the next number, as with a real kernel. One that is in differently keeps its
    number: it is a terminal that always was so.
    """
    number = int((store.root / DEVICE / "devnum").read_text())
    pull(store)
    try:
        if present:
            plug(store, number=number, **how)  # type: ignore[arg-type]
            store.restart_pos()
        yield
    finally:
        pull(store)
        plug(store, number=number if present else number + 1)
        store.restart_pos()


@contextlib.contextmanager
def reenumerating(store: Store) -> Iterator[None]:
    """A bad cable: the terminal drops off the bus and comes back under the next number, twice a second."""
    enough = threading.Event()
    first = int((store.root / DEVICE / "devnum").read_text())

    def wiggle() -> None:
        number = first
        while not enough.wait(0.5):
            number += 1
            _write(store, f"{DEVICE}/devnum", str(number))

    hand = threading.Thread(target=wiggle, daemon=True)
    hand.start()
    try:
        yield
    finally:
        enough.set()
        hand.join()
        _write(store, f"{DEVICE}/devnum", str(first))


@contextlib.contextmanager
def taken(store: Store, thief: str = "ModemManager") -> Iterator[None]:
    """Another program of this name opens the port as well, and reads the terminal's answers."""
    program = store.run / thief
    shutil.copy("/bin/sleep", program)
    steal = f"exec 3<>/dev/{NODE}; exec {program} infinity"
    store.start("thief", store.in_room("till", "sh", "-c", steal))
    store.await_name("thief", thief)
    try:
        yield
    finally:
        store.stop("thief")
