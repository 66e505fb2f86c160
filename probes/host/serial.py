"""Which serial ports has this PC, and what do their lines and counters say? From /sys and /proc: no port is opened."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import msgspec

from probes.host import Host, files, usb

CLASS = "/sys/class/tty"
BY_ID = "/dev/serial/by-id"
NOT_A_PORT = re.compile(r"^(hvc|ttyprintk|ttynull|console|ptmx|tty\d*$|ttyGS|pty|vcs)")
LINES = ("RTS", "CTS", "DTR", "DSR", "CD", "RI")
COUNTERS = ("fe", "pe", "brk", "oe")
COUNTER_RIGHT = "CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN"


class Port(msgspec.Struct, frozen=True):
    """One serial port. `usb_path` is the port path of the USB device it belongs to, if any."""

    name: str
    driver: str = ""
    usb_path: str = ""
    by_id: tuple[str, ...] = ()

    @property
    def node(self) -> str:
        """Where programs open it."""
        return f"/dev/{self.name}"


class Uart(msgspec.Struct, frozen=True):
    """What the UART's driver counted, and the lines that are asserted now.

    `is_told` is False where the kernel kept both to itself: without CAP_SYS_ADMIN it prints the chip alone.
    """

    chip: str = ""
    errors: dict[str, int] = {}
    lines: tuple[str, ...] = ()
    is_told: bool = True


def ports(host: Host) -> list[Port]:
    """Every serial port that is fitted: on board, on USB, on a card. Virtual consoles and empty places are left out."""
    links = _by_id(host)
    found = []
    for name in files.names(host.path(CLASS)):
        host.left()
        if is_fitted(host, name):
            found.append(_port(host, name, links.get(name, ())))
    return found


def is_fitted(host: Host, name: str) -> bool:
    """Whether a tty is a serial port with something behind it."""
    directory = host.path(CLASS) / name
    if NOT_A_PORT.match(name) or not (directory / "device").exists():
        return False
    return files.read_number(directory / "type") != 0  # PORT_UNKNOWN; only UARTs have a type


def is_unknown(host: Host, node: str) -> bool:
    """Whether the kernel's list of ttys says nothing of this node: a pty, or a program's own kind of port."""
    return not (host.path(CLASS) / node.removeprefix("/dev/")).exists()


def is_tty(host: Host, node: str) -> bool:
    """Whether a node is a tty at all, told by its number. In a fixture tree a plain file stands for a device.

    Raises OSError when it is absent.
    """
    here = host.path(node).stat()
    listed = files.read_word(host.path(CLASS) / node.removeprefix("/dev/") / "dev")
    if not stat.S_ISCHR(here.st_mode):
        return not host.is_this_machine and listed is not None
    major, minor = os.major(here.st_rdev), os.minor(here.st_rdev)
    if listed == f"{major}:{minor}":
        return True
    try:
        table = parse_drivers(files.read_text(host.path("/proc/tty/drivers")))
    except OSError:
        return True  # nobody says that it is none
    return any(major == its_major and first <= minor <= last for _name, its_major, first, last in table)


def port(host: Host, node: str) -> Port | None:
    """The port behind a node, None where the kernel knows none of this name or nothing is fitted there."""
    name = node.removeprefix("/dev/")
    return _port(host, name, _by_id(host).get(name, ())) if is_fitted(host, name) else None


def resolve(host: Host, device: str) -> str:
    """The node behind a path such as /dev/serial/by-id/…; the path itself where it is no link."""
    for _ in range(8):
        path = host.path(device)
        if not path.is_symlink():
            break
        device = os.path.normpath(Path(device).parent / path.readlink())
    return device


def exists(host: Host, node: str) -> bool:
    """Whether the node is there. Asks for its name only."""
    return host.path(node).exists()


def uart(host: Host, node: str) -> Uart | None:
    """Counters and lines of a port whose driver publishes them, None for those that do not (USB, ptys).

    Raises PermissionError when this user may not read them: see COUNTER_RIGHT.
    """
    name = node.removeprefix("/dev/")
    place = _place(host, name)
    if place is None or usb.path_of(host.path(CLASS) / name / "device"):
        return None
    driver, line = place
    try:
        text = files.read_text(host.path(f"/proc/tty/driver/{driver}"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = parse_uarts(text).get(line)
    if found is not None and not found.is_told:
        raise PermissionError(errno.EPERM, f"needs {COUNTER_RIGHT}", node)
    return found


def parse_uarts(text: str) -> dict[int, Uart]:
    """/proc/tty/driver/serial and its kin by line number; files of another make give nothing."""
    found = {}
    for text_line in text.splitlines():
        match = re.match(r"(\d{1,4}): uart:(\S+)(.*)", text_line)
        if match is None:
            continue
        counters = {key: int(value) for key, value in re.findall(r" ([a-z]+):(\d{1,18})(?=\s|$)", match[3])}
        words = match[3].split()
        lines = tuple(line for line in words[-1].split("|") if line in LINES) if words else ()
        errors = {key: counters.get(key, 0) for key in COUNTERS}
        found[int(match[1])] = Uart(match[2], errors, lines, "tx" in counters)
    return found


def parse_drivers(text: str) -> list[tuple[str, int, int, int]]:
    """/proc/tty/drivers: (driver name, major, first minor, last minor); broken lines are passed over."""
    found = []
    for line in text.splitlines():
        match = re.match(r"(\S+)\s+\S+\s+(\d{1,4})\s+(\d{1,8})(?:-(\d{1,8}))?\s", line + " ")
        if match is not None:
            first = int(match[3])
            found.append((match[1], int(match[2]), first, int(match[4] or first)))
    return found


def _place(host: Host, name: str) -> tuple[str, int] | None:
    """Which driver file speaks of a tty, and under which number."""
    numbers = re.fullmatch(r"(\d{1,4}):(\d{1,8})", files.read_word(host.path(CLASS) / name / "dev") or "")
    try:
        table = parse_drivers(files.read_text(host.path("/proc/tty/drivers")))
    except OSError:
        return None
    if numbers is None:
        return None
    major, minor = int(numbers[1]), int(numbers[2])
    for driver, its_major, first, last in table:
        if its_major == major and first <= minor <= last and "/" not in driver:
            return driver, minor - first
    return None


def _port(host: Host, name: str, by_id: tuple[str, ...]) -> Port:
    device = host.path(CLASS) / name / "device"
    driver = device / "driver"
    return Port(
        name=name,
        driver=driver.readlink().name if driver.is_symlink() else "",
        usb_path=usb.path_of(device) or "",
        by_id=by_id,
    )


def _by_id(host: Host) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for link in files.names(host.path(BY_ID)):
        name = resolve(host, f"{BY_ID}/{link}").removeprefix("/dev/")
        found[name] = (*found.get(name, ()), f"{BY_ID}/{link}")
    return found
