"""A till's hardware that this machine has not: USB terminals, batteries and temperatures that come, change and go.

    with Machine() as machine:
        machine.plug(PAX)                     # files in /sys, a node in /dev, real uevents
        machine.run("posagent", "check")      # any program inside sees them
        machine.unplug(PAX)

A mount namespace whose /sys and /dev are writable overlays over the real ones, with a network namespace that real kernel
uevents are injected into (root of a namespace may do that through the uevent socket) and, with `udevd=True`, Debian's
systemd-udevd making /dev/serial/by-id from them. The machine's own /sys and /dev are never written.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from tests.probes import hardware

SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs hardware "$1"
cd "$1"; mkdir sys sys.work dev dev.work pts
mount -t sysfs sysfs /sys
mount --bind /dev/pts pts
mount -t overlay -o lowerdir=/sys,upperdir="$1/sys",workdir="$1/sys.work" overlay /sys
mount -t overlay -o lowerdir=/dev,upperdir="$1/dev",workdir="$1/dev.work" overlay /dev
mount --move pts /dev/pts
mkdir -p /run/udev; mount -t tmpfs udev /run/udev
ip link set lo up
echo ready
exec sleep infinity
"""
SEND = """
import socket, struct, sys
body = sys.stdin.buffer.read()
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as kernel:  # NETLINK_KOBJECT_UEVENT
    kernel.bind((0, 0))
    kernel.send(struct.pack("=IHHII", 16 + len(body), 0x10, 1, 0, 0) + body)
"""
UDEVD = "/lib/systemd/systemd-udevd"
OVERLAID = {"SYSTEMD_DEVICE_VERIFY_SYSFS": "0"}
"""For libudev and udevd: /sys is an overlay here, which they would refuse."""


@dataclass(frozen=True)
class Terminal:
    """A USB terminal with one serial function. `node` is a pty that stands behind its /dev node, if it is to live."""

    vendor: str
    product: str
    manufacturer: str
    name: str
    port: str = "1-1"
    serial: str = "SN001"
    speed: str = "12"
    number: int = 5
    driver: str = "cdc_acm"
    tty: str = "ttyACM0"
    control: str = "on"
    node: str = ""

    @property
    def path(self) -> str:
        """Where it lies in /sys."""
        return f"{hardware.USB}/{self.port}"

    def files(self) -> dict[str, str]:
        """Everything the kernel would show of it."""
        number = os.stat(self.node).st_rdev if self.node else os.makedev(166, int(self.tty[-1]))
        major, minor = os.major(number), os.minor(number)
        product = f"PRODUCT={self.vendor.lstrip('0')}/{self.product.lstrip('0')}/100\n"
        function = f"{self.path}/{self.port}:1.0"
        made = {
            **hardware.device(
                self.port,
                self.vendor,
                self.product,
                manufacturer=self.manufacturer,
                product=self.name,
                serial=self.serial,
                speed=self.speed,
                devnum=str(self.number),
                power__control=self.control,
                bNumInterfaces=" 1",
            ),
            **hardware.interface(self.port, 0, "02", self.driver),
            f"{self.path}/uevent": f"DEVTYPE=usb_device\nDRIVER=usb\n{product}BUSNUM=001\nDEVNUM={self.number:03}\n",
            f"{self.path}/subsystem": "-> ../../../../../bus/usb",
            f"{function}/uevent": f"DEVTYPE=usb_interface\nDRIVER={self.driver}\n{product}INTERFACE=2/2/1\n",
            f"{function}/subsystem": "-> ../../../../../../bus/usb",
            f"/sys/bus/usb/devices/{self.port}:1.0": f"-> ../../../devices{function.removeprefix('/sys/devices')}",
        }
        if self.driver:
            tty = f"{function}/tty/{self.tty}"
            made |= {
                f"/sys/bus/usb/drivers/{self.driver}/bind": "",
                f"{tty}/uevent": f"MAJOR={major}\nMINOR={minor}\nDEVNAME={self.tty}\n",
                f"{tty}/dev": f"{major}:{minor}\n",
                f"{tty}/device": f"-> ../../../{self.port}:1.0",
                f"{tty}/subsystem": "-> ../../../../../../../../class/tty",
                f"/sys/class/tty/{self.tty}": f"-> ../../devices{tty.removeprefix('/sys/devices')}",
                f"/sys/dev/char/{major}:{minor}": f"-> ../../devices{tty.removeprefix('/sys/devices')}",
            }
        return made


PAX = Terminal("2fb8", "2205", "PAX", "USB Serial", serial="1850012345")
INGENICO = Terminal("0b00", "0080", "INGENICO", "Desk5000", port="1-2", speed="480", tty="ttyACM1")
VERIFONE = Terminal("11ca", "0201", "VeriFone", "Gadget Serial", port="1-4", tty="ttyACM2")


@dataclass
class Machine(AbstractContextManager["Machine"]):
    """The namespaces, up while the `with` block lasts. `netns` joins a named network namespace instead of a new one."""

    udevd: bool = False
    netns: str = ""
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)
    _home: str = ""

    def __enter__(self) -> Machine:
        """Build the namespaces; raises RuntimeError with the shell's words when that fails."""
        self._home = tempfile.mkdtemp(prefix="posagent-hardware-")
        network = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else ["unshare", "-n"]
        anchor = subprocess.Popen(
            [*network, "unshare", "-m", "sh", "-c", SETUP, "sh", self._home],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(anchor)
        assert anchor.stdout is not None and anchor.stderr is not None
        if anchor.stdout.readline().strip() != "ready":
            said = anchor.stderr.read()
            self._end()
            raise RuntimeError(f"no hardware namespace: {said}")
        self.plant(hardware.ROOT_HUB)
        if self.udevd:
            self._start_udevd()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything down; the overlays go with their last process."""
        self._end()

    @property
    def root(self) -> Path:
        """Its file system from outside. Good for writing; a symbolic link's absolute target would be looked up here."""
        return Path(f"/proc/{self._processes[0].pid}/root")

    def run(self, *command: str, stdin: str = "", timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """A command inside, to its end."""
        return subprocess.run(
            [*self._nsenter(), *command],
            env={**os.environ, **OVERLAID},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def plant(self, files: Mapping[str, str]) -> None:
        """Lay files and links into /sys and /dev, in place of what is there; no event is sent."""
        for name, content in files.items():
            if not name.startswith(("/sys/", "/dev/")):
                continue
            path = self.root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                path.unlink(missing_ok=True)
                path.symlink_to(content[3:])
            else:
                path.write_text(content)

    def plug(self, terminal: Terminal) -> None:
        """Plug a terminal in: the kernel's files, its node, then the events, the device before its functions."""
        files = terminal.files()
        self.plant(files)
        if terminal.node and terminal.driver:
            self.plant({f"/dev/{terminal.tty}": ""})
            self._must("mount", "--bind", terminal.node, f"/dev/{terminal.tty}")
        for name in sorted(files):
            if name.endswith("/uevent"):
                self.event("add", name.removesuffix("/uevent"), files)

    def unplug(self, terminal: Terminal) -> None:
        """Pull the plug: node and files go, then the events, functions before the device."""
        files = terminal.files()
        for name in files:
            if (self.root / name.lstrip("/")).is_symlink() and not name.startswith(terminal.path):
                (self.root / name.lstrip("/")).unlink()
        if terminal.node and terminal.driver:
            self._must("umount", f"/dev/{terminal.tty}")
            (self.root / f"dev/{terminal.tty}").unlink()
        shutil.rmtree(self.root / terminal.path.lstrip("/"))
        for name in sorted(files, reverse=True):
            if name.endswith("/uevent"):
                self.event("remove", name.removesuffix("/uevent"), files)

    def replug(self, terminal: Terminal) -> Terminal:
        """The plug pulled and put back, as a loose cable does: the same device under a new number."""
        self.unplug(terminal)
        again = replace(terminal, number=terminal.number + 1)
        self.plug(again)
        return again

    def power(self, *, mains: bool, percent: int, status: str = "") -> None:
        """A laptop-like supply: mains and one battery, with the kernel's event."""
        base = "/sys/class/power_supply"
        state = status or ("Charging" if mains else "Discharging")
        files = {
            f"{base}/AC/type": "Mains\n",
            f"{base}/AC/online": f"{int(mains)}\n",
            f"{base}/AC/uevent": f"POWER_SUPPLY_NAME=AC\nPOWER_SUPPLY_ONLINE={int(mains)}\n",
            f"{base}/AC/subsystem": "-> ../../power_supply",
            f"{base}/BAT0/type": "Battery\n",
            f"{base}/BAT0/present": "1\n",
            f"{base}/BAT0/status": f"{state}\n",
            f"{base}/BAT0/capacity": f"{percent}\n",
            f"{base}/BAT0/uevent": f"POWER_SUPPLY_NAME=BAT0\nPOWER_SUPPLY_STATUS={state}\n",
            f"{base}/BAT0/subsystem": "-> ../../power_supply",
        }
        self.plant(files)
        for name in ("AC", "BAT0"):
            self.event("change", f"{base}/{name}", files)

    def temperature(self, celsius: float, *, high: float = 80, critical: float = 100) -> None:
        """One processor sensor. The kernel sends no event for these."""
        base = "/sys/class/hwmon/hwmon0"
        numbers = {"temp1_input": celsius, "temp1_max": high, "temp1_crit": critical}
        self.plant(
            {f"{base}/name": "coretemp\n", **{f"{base}/{key}": f"{int(v * 1000)}\n" for key, v in numbers.items()}}
        )

    def event(self, action: str, path: str, files: Mapping[str, str]) -> None:
        """One uevent as the kernel sends it, to every listener of the namespace."""
        subsystem = files[f"{path}/subsystem"].rpartition("/")[2]
        device = path.removeprefix("/sys")
        lines = [f"{action}@{device}", f"ACTION={action}", f"DEVPATH={device}", f"SUBSYSTEM={subsystem}"]
        lines += files[f"{path}/uevent"].split()
        self._must(sys.executable, "-I", "-S", "-c", SEND, stdin="\0".join(lines) + "\0")

    def settle(self) -> None:
        """Wait until udevd has worked off what it was told."""
        self._must("udevadm", "settle", "--timeout=20")

    def _must(self, *command: str, stdin: str = "") -> None:
        done = self.run(*command, stdin=stdin)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:4])}: {done.stderr or done.stdout}")

    def _nsenter(self) -> list[str]:
        return ["nsenter", "-t", str(self._processes[0].pid), "-m", "-n", "--"]

    def _start_udevd(self) -> None:
        daemon = subprocess.Popen(
            [*self._nsenter(), UDEVD, "--resolve-names=late"],
            env={**os.environ, **OVERLAID},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(daemon)
        control = self.root / "run/udev/control"
        for _ in range(200):
            if control.exists():
                return
            select.select([], [], [], 0.05)
        raise RuntimeError("systemd-udevd does not start")

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._processes.clear()
        shutil.rmtree(self._home, ignore_errors=True)
