"""Which kinds of probe are there? One line each; a kind is imported when it is first used.

Third-party kinds come in through the entry-point group `posagent.probes`: its name is the kind, its value the `Kind`.
"""

from __future__ import annotations

import importlib
from typing import Any

from probes.model import Kind

KINDS: dict[str, str] = {
    "power": "probes.power",
    "ups": "probes.ups",
    "usb": "probes.usb",
    "serial": "probes.serial",
    "interface": "probes.interface",
    "gateway": "probes.gateway",
    "ping": "probes.ping",
    "dns": "probes.dns",
    "internet": "probes.internet",
    "port": "probes.port",
    "tls": "probes.tls",
    "http": "probes.http",
    "clock": "probes.clock",
    "disk": "probes.disk",
    "memory": "probes.memory",
    "cpu": "probes.cpu",
    "temperature": "probes.temperature",
    "process": "probes.process",
    "service": "probes.service",
    "version": "probes.version",
    "settlement": "probes.settlement",
    "age": "probes.age",
    "plugin": "probes.plugin",
}


def find(name: str) -> Kind[Any, Any]:
    """The kind called `name`. Raises KeyError when neither posagent nor an installed package has it."""
    if name in KINDS:
        kind: Kind[Any, Any] = importlib.import_module(KINDS[name]).KIND
        return kind
    return _third_party(name)


def names() -> list[str]:
    """Every kind of posagent's own, in the order of the documentation."""
    return list(KINDS)


def _third_party(name: str) -> Kind[Any, Any]:
    from importlib.metadata import entry_points

    for entry in entry_points(group="posagent.probes", name=name):
        kind = entry.load()
        if isinstance(kind, Kind):
            return kind
    raise KeyError(name)
