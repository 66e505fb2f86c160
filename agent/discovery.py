"""What is there to look at on this PC when nobody configured anything? The tables that a configuration would hold.

`posagent check` without a configuration and `posagent config init` both begin here, so that what was seen is what gets
written. Only names are asked for (/sys and the routing table): nothing is opened, nothing is sent.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from probes.host import Host, devices, files, net, serial, usb
from probes.model import CannotAnswer

if TYPE_CHECKING:
    from agent.config import Config
    from probes.model import Probe

Tables = dict[str, dict[str, Any]]

TILL_ROLES = frozenset({"terminal", "pin pad", "card reader", "scanner", "printer", "serial adapter", "drawer", "ups"})
"""What a till may need, in the words of the table of known devices; sticks, mice and hubs are left alone."""
LOOK_S = 1.0
"""How long finding out may take."""


def probes_to_check(config: Config) -> tuple[Probe, ...]:
    """The configured probes, or those that this PC suggests where none is configured."""
    import msgspec

    from agent.config import probes_of

    if config.discovered:
        config = msgspec.structs.replace(config, probes=_settings(tables(Host(ends=time.monotonic() + LOOK_S))))
    return probes_of(config)


def tables(host: Host) -> Tables:
    """One table per probe worth having here, by its name."""
    found: Tables = {"power": {"kind": "power"}}
    for part in (_devices, _interfaces):
        # What a sandbox hides or a slow machine has no time for is left out; the kinds below say so themselves.
        with contextlib.suppress(OSError, CannotAnswer):
            for name, table in part(host):
                found[_name(name, found)] = table
    for kind in ("gateway", "dns", "internet", "clock", "disk", "memory", "cpu", "temperature"):
        found[kind] = {"kind": kind}
    return found


def _name(wanted: str, taken: Collection[str]) -> str:
    """A probe's name made of what a device or an interface is called, which may be anything: `eth0:1`, `we+ird`."""
    plain = re.sub(r"[^\w.-]", "_", wanted)[:90]
    return next(
        name for number in itertools.count(1) if (name := plain if number == 1 else f"{plain}_{number}") not in taken
    )


def _label(*candidates: str | None) -> str:
    """The first that says something, without what a device's own text could do to a terminal or to a file."""
    plain = ("".join(char if char.isprintable() else " " for char in text or "") for text in candidates)
    return next((" ".join(text.split())[:80] for text in plain if text.strip()), "device")


def _settings(found: Tables) -> Any:
    from agent.config import ConfigError, probe_tables
    from agent.config.typed import Notes

    notes = Notes("what this PC has")
    settings = probe_tables.read(found, notes)
    if notes.problems:
        raise ConfigError(notes.problems)
    return settings


def _interfaces(host: Host) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every real interface; only the one that leads out can stop payments."""
    wired = [link for link in net.links(host) if link.kind == 1 and link.broadcast and not link.tunnel]
    wired = [link for link in wired if not link.serves and not link.flags & net.LOOPBACK]
    shown = [link for link in wired if link.device] or [link for link in wired if link.up]
    leading = {route.interface for route in net.routes(host) if not route.refused}
    shown += [link for link in wired if link.name in leading and link not in shown]
    for link in shown:
        leads = link.name in leading or (not leading and len(shown) == 1)
        table: dict[str, Any] = {"kind": "interface", "name": link.name}
        yield f"interface-{link.name}", table if leads else table | {"impact": "none"}


def _devices(host: Host) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every USB device that a till may need, by what it probably is, and every serial port with a UART behind it."""
    card_ports = set()
    for device in usb.devices(host):
        identity = devices.identify(device.vendor, device.product, device.texts, device.classes)
        if identity.role not in TILL_ROLES:
            continue
        table: dict[str, Any] = {
            "kind": "usb",
            "label": _label(identity.family, " ".join(device.texts), identity.role),
            "vendor": device.vendor,
            "product": device.product,
            "path": device.path,
        }
        if not identity.takes_cards or identity.confidence == "possible":
            table["impact"] = "degrade"
        else:
            card_ports.add(device.path)
        yield f"{identity.role.replace(' ', '-')}-{device.path}", table
    console = (files.read_word(host.path("/sys/class/tty/console/active")) or "").split()
    for port in serial.ports(host):
        if port.name in console:  # the kernel's own messages go there; no terminal does
            continue
        impact = "degrade" if port.usb_path in card_ports else "none"
        yield f"serial-{port.name}", {"kind": "serial", "device": f"/dev/{port.name}", "impact": impact}
