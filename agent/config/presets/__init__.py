"""Which hosts do payment companies publish for a store's firewall? One data file per company and region.

None is on by default. Addresses are never in here, only names: every vendor says that its addresses change. Nor is any
Chinese bank-card channel: those are private, and differ from terminal to terminal.
"""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from probes.model import HostName, Port, Text


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published list of hosts, with where and when it was read, and how far to trust it."""

    name: Text
    title: Text
    hosts: Annotated[tuple[HostName, ...], Meta(min_length=1)]
    ports: Annotated[tuple[Port, ...], Meta(min_length=1)] = (443,)
    tls_min: Literal["1.2", "1.3"] = "1.2"
    ntp: tuple[HostName, ...] = ()
    lan_ports: tuple[Port, ...] = ()
    source_url: Annotated[tuple[Text, ...], Meta(min_length=1)]
    retrieved: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    confidence: Literal["A", "B"]
    wildcard_note: str = ""
    note: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """Every host with every port."""
        return tuple(f"{host}:{port}" for host in self.hosts for port in self.ports)


def names() -> list[str]:
    """Every preset that can be named."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.toml"))


@functools.cache
def find(name: str) -> Preset:
    """The preset called `name`. Raises KeyError."""
    if name not in names():
        raise KeyError(name)
    return msgspec.convert(tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text("utf-8")), Preset)
