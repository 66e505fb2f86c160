"""Terminals as the kernel shows them: files of /sys for the `tree` fixture, written after real ones."""

from __future__ import annotations

USB = "/sys/devices/pci0000:00/0000:00:14.0/usb1"
BOOT = {"/proc/sys/kernel/random/boot_id": "3f6c1a52-0d1a-4b0e-9c53-0f6a6f2b7a11\n"}
ROOT_HUB = {
    f"{USB}/idVendor": "1d6b\n",
    f"{USB}/idProduct": "0002\n",
    f"{USB}/bDeviceClass": "09\n",
    f"{USB}/speed": "480\n",
    f"{USB}/devnum": "1\n",
    f"{USB}/power/control": "auto\n",
    f"{USB}/1-0:1.0/bInterfaceClass": "09\n",
    f"{USB}/1-0:1.0/driver": "-> ../../../../../bus/usb/drivers/hub",
    "/sys/bus/usb/devices/usb1": "-> ../../../devices/pci0000:00/0000:00:14.0/usb1",
    **BOOT,
}


def device(path: str, vendor_id: str, product_id: str, /, **attributes: str) -> dict[str, str]:
    """A device on a port of bus 1; attributes are named as in /sys, `power__control` for power/control."""
    files = {f"{USB}/{path}/idVendor": f"{vendor_id}\n", f"{USB}/{path}/idProduct": f"{product_id}\n"}
    standard = {"speed": "12", "busnum": "1", "devnum": "5", "bDeviceClass": "00", "power__control": "on"}
    for key, value in {**standard, **attributes}.items():
        files[f"{USB}/{path}/{key.replace('__', '/')}"] = f"{value}\n"
    files[f"/sys/bus/usb/devices/{path}"] = f"-> ../../../devices/pci0000:00/0000:00:14.0/usb1/{path}"
    return files


def interface(path: str, number: int, usb_class: str, driver: str = "", node: str = "") -> dict[str, str]:
    """One of its interfaces. `node` is where the driver hangs what it offers, such as "tty/ttyACM0"."""
    base = f"{USB}/{path}/{path}:1.{number}"
    files = {f"{base}/bInterfaceNumber": f"{number:02}\n", f"{base}/bInterfaceClass": f"{usb_class}\n"}
    if driver:
        files[f"{base}/driver"] = f"-> ../../../../../../bus/usb/drivers/{driver}"
    if node:
        files[f"{base}/{node}/uevent"] = f"DEVNAME={node.rsplit('/', 1)[1]}\n"
    return files


def pax(driver: str = "cdc_acm", **attributes: str) -> dict[str, str]:
    """A PAX terminal in CDC mode on port 1-1."""
    return {
        **ROOT_HUB,
        **device("1-1", "2fb8", "2205", manufacturer="PAX", product="USB Serial", serial="1850012345", **attributes),
        **interface("1-1", 0, "02", driver, "tty/ttyACM0" if driver else ""),
        **interface("1-1", 1, "0a", driver),
    }


def ingenico(**attributes: str) -> dict[str, str]:
    """An Ingenico Desk/5000 behind a hub on port 1-2."""
    return {
        **ROOT_HUB,
        **device(
            "1-2.3", "0b00", "0080", manufacturer="INGENICO", product="Desk5000", **{"speed": "480", **attributes}
        ),
        **interface("1-2.3", 0, "02", "cdc_acm", "tty/ttyACM1"),
        **interface("1-2.3", 1, "0a", "cdc_acm"),
    }


def verifone(**attributes: str) -> dict[str, str]:
    """A Verifone MX870 on port 1-4, a gadget that keeps its data in one CDC interface."""
    return {
        **ROOT_HUB,
        **device("1-4", "11ca", "0201", manufacturer="VeriFone", product="Gadget Serial", **attributes),
        **interface("1-4", 0, "02", "cdc_acm", "tty/ttyACM0"),
    }


def without(files: dict[str, str], path: str) -> dict[str, str]:
    """The same machine with nothing on that port."""
    return {name: text for name, text in files.items() if f"/{path}/" not in f"{name}/"}
