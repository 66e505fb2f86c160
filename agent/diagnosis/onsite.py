"""Is it something in this PC or plugged into it? Power, terminal, disk, software, settlement: one look says it."""

from __future__ import annotations

from collections.abc import Iterator

from agent.diagnosis.model import Diagnosis
from agent.diagnosis.scene import Scene
from agent.runner import Look


def power(scene: Scene) -> Iterator[Diagnosis]:
    """Mains, battery, UPS. A battery that runs empty is the mains' fault gone further."""
    on_battery = scene.bad("power.on_battery", "ups.on_battery")
    empty = scene.bad("power.battery_low", "ups.low_battery", "ups.off")
    if empty:
        yield scene.diagnose("power.battery_exhausted", empty, on_battery)
    elif on_battery:
        yield scene.diagnose("power.mains_lost", on_battery)
    for reason, cause in (
        ("ups.replace_battery", "power.ups_battery_worn"),
        ("ups.overload", "power.ups_overloaded"),
        ("power.undervoltage", "power.supply_weak"),
    ):
        found = scene.bad(reason)
        if found:
            yield scene.diagnose(cause, found)
    blind = scene.bad("ups.stale", "ups.unreachable", "ups.unknown_ups", where=lambda f: scene.place(f) != "beyond")
    if blind:
        yield scene.diagnose("power.ups_unmonitored", blind)


def terminal(scene: Scene) -> Iterator[Diagnosis]:
    """The terminal's device, its driver, its port. A device that is gone takes its port along."""
    no_driver = scene.bad("usb.no_driver")
    if no_driver:
        yield scene.diagnose("terminal.driver_missing", no_driver, scene.bad("serial.absent", "serial.not_held"))
    gone = scene.bad("usb.absent", "serial.absent")
    if gone:
        rest = scene.bad("usb.reconnecting", "serial.not_held", "serial.line_down")
        yield scene.diagnose("terminal.unplugged", gone, rest)
    dark = scene.bad("serial.line_down")
    if dark:
        yield scene.diagnose("terminal.unplugged", dark, confidence="likely", alternatives=("terminal.cable_poor",))
    for reasons, cause in (
        (("serial.taken",), "terminal.port_taken"),
        (("serial.denied",), "terminal.port_denied"),
        (("usb.reconnecting", "usb.slow", "serial.errors"), "terminal.cable_poor"),
        (("usb.autosuspend",), "terminal.autosuspend"),
    ):
        found = scene.bad(*reasons)
        if found:
            yield scene.diagnose(cause, found)


def host(scene: Scene) -> Iterator[Diagnosis]:
    """What the PC itself lacks."""
    for reasons, cause in (
        (("disk.read_only",), "host.disk_read_only"),
        (("disk.full", "disk.low", "disk.inodes"), "host.disk_full"),
        (("memory.low",), "host.memory_low"),
        (("temperature.high", "temperature.critical"), "host.overheating"),
        (("cpu.overloaded",), "host.overloaded"),
    ):
        found = scene.bad(*reasons)
        if found:
            yield scene.diagnose(cause, found)


def software(scene: Scene) -> Iterator[Diagnosis]:
    """The POS software: is it running, is it the right one? A program that does not run holds no port."""
    dead = scene.bad(
        *("process.absent", "process.restarting", "process.not_listening", "process.memory"),
        *("service.stopped", "service.failed", "service.restarting", "service.absent"),
    )
    unheld = scene.bad("serial.not_held")
    if dead:
        yield scene.diagnose("software.not_running", dead, unheld)
    elif unheld:
        yield scene.diagnose("software.not_running", unheld, confidence="likely")
    for reasons, cause in (
        (("version.outdated", "version.mismatch"), "software.outdated"),
        (("version.restart_pending",), "software.restart_pending"),
    ):
        for found in scene.bad(*reasons):
            yield scene.diagnose(cause, [found], subjects=(found.probe.target,))


def settlement(scene: Scene) -> Iterator[Diagnosis]:
    """What the POS software records of the batch. A batch that failed is also late and leaves transactions unsent."""
    order = (("settlement.failed", "failed"), ("settlement.overdue", "overdue"), ("settlement.unsent", "unsent"))
    for reason, name in order:
        found: list[Look] = scene.bad(reason)
        if found:
            yield scene.diagnose(f"settlement.{name}", found)
