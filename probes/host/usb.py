"""What hangs on the USB, what drives it, and which nodes does it own? From /sys alone: no device is opened."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from probes.host import Host, files
from probes.redact import scrub

DEVICES = "/sys/bus/usb/devices"
CDC_CONTROL, HID, PRINTER, HUB, CDC_DATA = 0x02, 0x03, 0x07, 0x09, 0x0A
NODES = ("tty/*", "ttyUSB*/tty/*", "usbmisc/*", "*/hidraw/*", "net/*")
"""Where, below an interface, the kernel hangs what it offers to programs."""


class Interface(msgspec.Struct, frozen=True):
    """One function of a device, with the driver bound to it (empty: none) and the nodes it offers."""

    number: str = ""
    usb_class: int = 0xFF
    driver: str = ""
    nodes: tuple[str, ...] = ()


class Device(msgspec.Struct, frozen=True):
    """One USB device as it enumerated. `path` is the port it hangs on; speeds in Mbit/s."""

    path: str
    vendor: str
    product: str
    manufacturer: str = ""
    name: str = ""
    serial: str = ""
    revision: str = ""
    speed: float | None = None
    bus: int | None = None
    number: int | None = None
    usb_class: int = 0
    autosuspends: bool = False
    interfaces: tuple[Interface, ...] = ()

    @property
    def id(self) -> str:
        """Vendor and product as everybody writes them: "0b00:0080"."""
        return f"{self.vendor}:{self.product}"

    @property
    def texts(self) -> tuple[str, ...]:
        """What the device says about itself."""
        return tuple(text for text in (self.manufacturer, self.name) if text)

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes of its interfaces, or its own where no interface is configured."""
        return tuple(interface.usb_class for interface in self.interfaces) or (self.usb_class,)

    @property
    def drivers(self) -> list[str]:
        """Drivers bound to it, each once."""
        return sorted({interface.driver for interface in self.interfaces if interface.driver})

    @property
    def nodes(self) -> list[str]:
        """Names such as ttyACM0, lp0, hidraw1 or usb0 that it owns."""
        return sorted({node for interface in self.interfaces for node in interface.nodes})


def devices(host: Host) -> list[Device]:
    """Every device that is plugged in now, hubs included. One that goes while we look is left out."""
    found = []
    for entry in files.names(host.path(DEVICES)):
        host.left()
        if ":" not in entry and (device := _device(host.path(DEVICES) / entry, entry)) is not None:
            found.append(device)
    return found


def is_served(host: Host) -> bool:
    """Whether this kernel knows USB at all."""
    return host.path(DEVICES).is_dir()


def path_of(device: Path) -> str | None:
    """The port path of the USB device above a /sys directory, None where it does not hang on USB."""
    found = re.findall(r"/(\d+-\d+(?:\.\d+)*)(?=/)", str(device.resolve()) + "/")
    return found[-1] if found else None


def _device(path: Path, name: str) -> Device | None:
    vendor, product = files.read_word(path / "idVendor"), files.read_word(path / "idProduct")
    if not vendor or not product:
        return None
    return Device(
        path=name,
        vendor=vendor.lower(),
        product=product.lower(),
        manufacturer=_text(path / "manufacturer"),
        name=_text(path / "product"),
        serial=_text(path / "serial"),
        revision=_text(path / "bcdDevice"),
        speed=_speed(path / "speed"),
        bus=files.read_number(path / "busnum"),
        number=files.read_number(path / "devnum"),
        usb_class=_hex(path / "bDeviceClass", 0),
        autosuspends=_autosuspends(path / "power"),
        interfaces=tuple(_interface(path / entry) for entry in files.names(path) if entry.startswith(f"{name}:")),
    )


def _interface(path: Path) -> Interface:
    driver = path / "driver"
    return Interface(
        number=_text(path / "bInterfaceNumber"),
        usb_class=_hex(path / "bInterfaceClass", 0xFF),
        driver=driver.readlink().name if driver.is_symlink() else "",
        nodes=tuple(sorted({node.name for pattern in NODES for node in path.glob(pattern)})),
    )


def _autosuspends(power: Path) -> bool:
    """`auto` lets the kernel put the device to sleep, unless a negative delay forbids it."""
    delay = files.read_number(power / "autosuspend_delay_ms")
    return files.read_word(power / "control") == "auto" and (delay is None or delay >= 0)


def _text(path: Path) -> str:
    return scrub(files.read_word(path) or "").replace("\x00", "")


def _speed(path: Path) -> float | None:
    try:
        return float(files.read_word(path) or "")
    except ValueError:
        return None


def _hex(path: Path, otherwise: int) -> int:
    try:
        return int(files.read_word(path) or "", 16)
    except ValueError:
        return otherwise
