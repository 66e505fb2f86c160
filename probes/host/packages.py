"""Which version of a package or kernel module is installed?"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from probes import compare
from probes.host import Host, command, files, tail
from probes.model import Denied, NotFitted, Unsupported
from probes.redact import scrub

DPKG_STATUS = "/var/lib/dpkg/status"
RPM_DATABASES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
_STATUS_BYTES = 64 << 20


class Installed(msgspec.Struct, frozen=True):
    """One installed package."""

    version: str
    system: compare.Scheme
    """Which package system knows it: `debian` or `rpm`."""


def installed(host: Host, name: str) -> Installed | None:
    """A package by its name, or `name:architecture` with dpkg. None where no package system has it.

    Raises NotFitted where there is no package system that we can ask.
    """
    asked = False
    if host.path(DPKG_STATUS).is_file():
        asked = True
        version = _dpkg(host, name)
        if version:
            return Installed(version, "debian")
    database = next((place for place in RPM_DATABASES if files.names(Path(place))), None)
    if host.is_this_machine and database is not None:
        asked = True
        version = _rpm(host, name, database)
        if version:
            return Installed(version, "rpm")
    if not asked:
        raise NotFitted("this PC has neither dpkg nor rpm", why="no_packages")
    return None


def dpkg_order(host: Host, one: str, other: str) -> int | None:
    """How dpkg itself orders two versions: -1, 0, 1; None where there is no dpkg or it refuses one of them."""
    if not host.is_this_machine:
        return None
    for relation, answer in (("lt", -1), ("eq", 0), ("gt", 1)):
        try:
            outcome = command.run(host, ["dpkg", "--compare-versions", one, relation, other])
        except (NotFitted, Denied, Unsupported):
            return None
        if outcome.exit_code == 0:
            return answer
        if outcome.exit_code != 1:
            return None
    return None


def module(host: Host, name: str) -> str | None:
    """The version of a kernel module: of the loaded one, else of its file. None where there is no such module.

    A module without a version of its own is known by the hash of its sources (`srcversion`), as the kernel does.
    """
    place = host.path(f"/sys/module/{name}")
    return files.read_word(place / "version") or files.read_word(place / "srcversion") or module_file(host, name)


def module_file(host: Host, name: str) -> str | None:
    """What the installed module's file says, whichever one is loaded."""
    if not host.is_this_machine:
        return None
    for field in ("version", "srcversion"):
        try:
            outcome = command.run(host, ["modinfo", "-F", field, name])
        except (NotFitted, Denied, Unsupported):
            return None
        if outcome.exit_code == 0 and outcome.stdout.strip():
            return outcome.stdout.split("\n")[0].strip()
    return None


def modules_are_hidden(host: Host) -> bool:
    """Whether the installed modules are there, but not for this process: so does systemd's ProtectKernelModules."""
    place = host.path("/lib/modules")
    return place.exists() and not os.access(place, os.R_OK | os.X_OK)


def is_stale(host: Host, name: str) -> bool:
    """Whether a copy of a module is loaded that is not the installed one."""
    if not host.path(f"/sys/module/{name}").exists():
        return False
    on_disk = module_file(host, name)
    return on_disk is not None and on_disk != module(host, name)


def _dpkg(host: Host, name: str) -> str | None:
    """Straight from dpkg's own list: no child process, and a fixture tree can have one."""
    name, _, architecture = name.partition(":")
    text = tail.whole(host, DPKG_STATUS, _STATUS_BYTES)
    start = re.compile(rb"^Package: " + re.escape(name.encode()) + rb"[ \t]*\n", re.MULTILINE)
    for found in start.finditer(text):
        end = text.find(b"\n\n", found.start())
        stanza = text[found.start() : end if end >= 0 else len(text)].decode("utf-8", "replace")
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*?)[ \t]*$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed") and architecture in ("", fields.get("Architecture")):
            return scrub(fields.get("Version", "")) or None
    return None


def _rpm(host: Host, name: str, database: str) -> str | None:
    form = "%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n"
    try:
        # The database is named because Debian's rpm looks into the user's home instead.
        outcome = command.run(host, ["rpm", "--dbpath", database, "-q", "--qf", form, "--", name])
    except (NotFitted, Denied):
        return None
    line = outcome.stdout.strip().split("\n")[-1]
    return line.removeprefix("0:") if outcome.exit_code == 0 and line else None
