"""Is the terminal on the USB, driven, at full speed, and does it stay there?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from probes.host import Host, devices, files, usb
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    Observation,
    Settings,
    Status,
    Text,
    because,
    fail,
    ok,
    warn,
)
from probes.redact import scrub

HOUR = 3600.0
OFTEN = 3
"""Reconnections within an hour that make a device useless; one is worth a warning, unless a look saw the plug out."""
REMEMBERED = 32
UsbId = Annotated[str, Meta(pattern=r"^(0[xX])?[0-9a-fA-F]{1,4}$", title='a USB id in hex, such as "0b00"')]
PortPath = Annotated[str, Meta(pattern=r"^\d+-\d+(\.\d+)*$", title='a USB port path, such as "1-1.2"')]


class UsbSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A USB device, named by whatever of its identity is known; at least one of the first four."""

    vendor: Annotated[UsbId | None, Meta(description='vendor id in hex, such as "0b00"')] = None
    product: Annotated[UsbId | None, Meta(description="product id in hex; it may change with the firmware's mode")] = (
        None
    )
    serial: Annotated[Text | None, Meta(description="serial number: pins one unit")] = None
    path: Annotated[PortPath | None, Meta(description='port it hangs on, such as "1-1.2": pins one socket')] = None
    driver: Annotated[
        Text | None, Meta(description='kernel driver that must be bound, such as "cdc_acm"; default: any')
    ] = None
    min_speed: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Mbit/s it must reach (1.5, 12, 480, 5000); default: what it once reached on this port"),
    ] = None


class Reading(msgspec.Struct, frozen=True):
    """All devices of this moment. `now` is monotonic and starts anew with each boot, as device numbers do."""

    devices: tuple[usb.Device, ...] = ()
    now: float = 0.0
    boot: str = ""
    is_served: bool = True


def read(_settings: UsbSettings, host: Host) -> Reading:
    """Walk /sys."""
    boot = files.read_word(host.path("/proc/sys/kernel/random/boot_id")) or ""
    return Reading(tuple(usb.devices(host)), time.monotonic(), boot, usb.is_served(host))


def judge(settings: UsbSettings, reading: Reading, memory: Memory) -> Observation:
    """Of several devices that fit, the one in the worst state is reported; the others are named."""
    wanted = _wanted(settings)
    fitting = [device for device in reading.devices if not _differs(wanted, device)]
    kept = _remember(fitting, reading, memory)
    if not fitting:
        return _absent(wanted, reading, kept)
    answers = [_judge_one(settings, device, kept) for device in fitting]
    severity = [Status.OK, Status.WARN, Status.FAIL]
    worst = max(answers, key=lambda answer: severity.index(answer.status))
    if len(fitting) == 1:
        return worst
    others = "several devices fit: " + ", ".join(_called(device) for device in fitting)
    return msgspec.structs.replace(worst, evidence=(*worst.evidence, others))


def _wanted(settings: UsbSettings) -> dict[str, str]:
    """The identity asked for, spelled as /sys spells it."""
    ids = {"vendor": settings.vendor, "product": settings.product}
    wanted = {key: f"{int(value, 16):04x}" for key, value in ids.items() if value}
    if settings.serial:
        wanted["serial"] = scrub(settings.serial)
    if settings.path:
        wanted["path"] = settings.path
    return wanted


def _differs(wanted: Mapping[str, str], device: usb.Device) -> list[str]:
    return [key for key, value in wanted.items() if getattr(device, key) != value]


def _identity(device: usb.Device) -> devices.Identity:
    return devices.identify(device.vendor, device.product, device.texts, device.classes)


def _called(device: usb.Device) -> str:
    """For people: "PAX terminal 2fb8:2205 at 1-1.2"."""
    name = _identity(device).family or " ".join(device.texts) or "USB device"
    return f"{name} {device.id} at {device.path}"


def _absent(wanted: Mapping[str, str], reading: Reading, kept: dict[str, Any]) -> Observation:
    """Not there as described. The maker's terminal under another id is another mode or model: no proof of loss."""
    facts: dict[str, Measurement] = {"wanted": " ".join(f"{key}={value}" for key, value in wanted.items())}
    near = [(device, _differs(wanted, device)) for device in reading.devices if device.usb_class != usb.HUB]
    near = [(device, differs) for device, differs in near if len(differs) < len(wanted)]
    evidence = [f"{_called(device)}: differs in {', '.join(differs)}" for device, differs in near]
    instead = [_called(device) for device, _differs_in in near]
    facts["instead"] = instead or "-"
    if instead:
        facts |= because(f"similar devices: {', '.join(instead)}", why="usb_similar")
    else:
        facts |= because("nothing similar is plugged in", why="usb_nothing_similar")
    other_mode = [
        _called(device) for device, differs in near if differs == ["product"] and _identity(device).takes_cards
    ]
    evidence += [f"{name}: same vendor, another product id: other firmware mode or model?" for name in other_mode]
    if not reading.is_served:
        evidence.append("this kernel serves no USB at all")
    status = warn if other_mode else fail
    return status("usb.absent", facts, *evidence, memory=kept)


def _judge_one(settings: UsbSettings, device: usb.Device, kept: Memory) -> Observation:
    seen = kept["seen"][_key(device)]
    again = _reconnections(seen)
    facts = _facts(device, again)
    evidence = [f"serial {device.serial}"] if device.serial else []
    lacking = _undriven(settings, device)
    wanted_speed = settings.min_speed or seen["speed"]
    if lacking:
        facts["expected_driver"] = lacking
        return fail("usb.no_driver", facts, *evidence, *_interfaces(device), memory=kept)
    if again >= OFTEN:
        return fail("usb.reconnecting", facts, *evidence, memory=kept)
    if device.speed is not None and wanted_speed and device.speed < wanted_speed:
        facts["min_speed_mbps"] = wanted_speed
        return warn("usb.slow", facts, *evidence, memory=kept)
    if again:
        return warn("usb.reconnecting", facts, *evidence, memory=kept)
    if device.autosuspends and device.usb_class != usb.HUB:
        return warn("usb.autosuspend", facts, *evidence, f"power/control of {device.path} is auto", memory=kept)
    return ok(facts, *evidence, memory=kept)


def _facts(device: usb.Device, again: int) -> dict[str, Measurement]:
    identity = _identity(device)
    facts: dict[str, Measurement] = {
        "device": identity.family or " ".join(device.texts) or "USB device",
        "role": identity.role,
        "confidence": identity.confidence,
        "id": device.id,
        "path": device.path,
        "drivers": device.drivers,
        "nodes": device.nodes,
        "reconnects_per_hour": again,
    }
    if device.speed is not None:
        facts["speed_mbps"] = device.speed
    if device.revision:
        facts["revision"] = device.revision
    return facts


def _interfaces(device: usb.Device) -> Iterator[str]:
    for interface in device.interfaces:
        yield f"interface {interface.number} class {interface.usb_class:02x}: {interface.driver or 'no driver'}"


def _undriven(settings: UsbSettings, device: usb.Device) -> str:
    """Which driver is missing: the expected one's name, "any" where anything would do, empty where all is well.

    Vendor-specific and printer interfaces are often driven by programs (libusb): no kernel driver there is no fault.
    """
    if settings.driver:
        return "" if settings.driver in device.drivers else settings.driver
    expected = _identity(device).driver
    if expected and not device.drivers:
        return expected
    serial = [i for i in device.interfaces if i.usb_class == usb.CDC_CONTROL] or [
        i for i in device.interfaces if i.usb_class == usb.CDC_DATA
    ]
    keyboard_like = [i for i in device.interfaces if i.usb_class == usb.HID]
    groups = [group for group in (serial, keyboard_like) if group]
    return "any" if any(not any(i.driver for i in group) for group in groups) else ""


def _reconnections(seen: Mapping[str, Any]) -> int:
    """Within the last hour. Who pulls a plug and puts it back, even twice, has no poor cable; three times is one."""
    pulled = len(seen["pulled"])
    return len(seen["again"]) + (pulled if pulled >= OFTEN else 0)


def _key(device: usb.Device) -> str:
    return f"{device.path} {device.vendor}"


def _remember(fitting: Iterable[usb.Device], reading: Reading, memory: Memory) -> dict[str, Any]:
    """Device numbers rise with each enumeration: a new number is a reconnection, unless the whole PC restarted.

    A device that was gone for longer than an hour came back by somebody's hand; that is no reconnection. One that a
    look saw gone was most likely pulled and put back: it is kept apart.
    """
    before: dict[str, Any] = dict(memory.get("seen", {})) if memory.get("boot") == reading.boot else {}
    now = reading.now
    found: dict[str, Any] = {}
    for device in fitting:
        old = before.pop(_key(device), None)
        number = [device.bus, device.number]
        new: dict[str, Any] = {
            "id": device.id,
            "number": number,
            "speed": device.speed,
            "at": now,
            "again": [],
            "pulled": [],
        }
        if old is not None:
            new |= {each: [at for at in old.get(each, []) if now - at < HOUR][-20:] for each in ("again", "pulled")}
            if old["number"] != number and now - old["at"] < HOUR:
                new["pulled" if old.get("gone") else "again"].append(now)
            if old["id"] == device.id and old["speed"] is not None:
                new["speed"] = max(old["speed"], device.speed or 0)
        found[_key(device)] = new
    before = {key: {**old, "gone": True} for key, old in before.items()} | found
    return {"boot": reading.boot, "seen": dict(list(before.items())[-REMEMBERED:])}


def problems(settings: UsbSettings) -> Iterable[tuple[str, str]]:
    """A device must be named somehow."""
    if not any((settings.vendor, settings.product, settings.serial, settings.path)):
        yield "vendor", "expected at least one of vendor, product, serial, path"


KIND = Kind(
    name="usb",
    summary="presence, driver, speed and steadiness of a USB device such as the card terminal",
    settings=UsbSettings,
    read=read,
    judge=judge,
    target=lambda settings: " ".join(f"{key}={value}" for key, value in _wanted(settings).items()),
    impact=Impact.STOP,
    problems=problems,
    example={"vendor": "2fb8"},
    reasons={
        "usb.absent": "no such device is plugged in; a warning where the maker's terminal shows another product id",
        "usb.no_driver": "no driver, or another than `driver`, is bound to the interfaces that matter",
        "usb.slow": "runs below `min_speed`, or below what it once reached on this port: often a poor cable",
        "usb.reconnecting": (
            "dropped off and came back within the last hour: 1 warns, 3 fail; "
            "a plug that a look saw out counts from the third time on"
        ),
        "usb.autosuspend": "the kernel may put it to sleep; terminals often do not wake up",
    },
)
