"""Which pieces does a support bundle have, and where does each come from? Read only; a child has its deadline."""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent import __version__
from agent.bundle import CONCEALED, Piece
from probes.host import Host, command, files

if TYPE_CHECKING:
    from agent.config import Config
    from agent.store import Store

LOG_LINES, LOG_S = "4000", 10.0
INCIDENTS, EVENTS, TRANSITIONS, DAYS_S = 200, 500, 5000, 90 * 86400.0
SYSTEM_FILES = (
    *("/etc/os-release", "/etc/debian_version", "/etc/resolv.conf", "/etc/timezone", "/etc/nsswitch.conf"),
    *("/proc/version", "/proc/cmdline", "/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/cpuinfo"),
    *("/proc/mounts", "/proc/partitions", "/proc/net/route", "/proc/net/ipv6_route", "/proc/net/dev", "/proc/net/arp"),
    *("/proc/net/sockstat", "/proc/pressure/memory", "/proc/pressure/io", "/proc/sys/net/ipv4/ping_group_range"),
    *("/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name", "/sys/class/dmi/id/bios_version"),
)
EACH_BYTES = 32 * 1024
_SECRET = re.compile(
    r"(?i)(\b[\w.-]*(?:pass|secret|token|key|auth|sign|credential|bearer)[\w.-]*\b[\"']?\s*[=: ]\s*).*"
)
_LOGIN = re.compile(r"(://)[^\s/@\"']+@")


def pieces(config: Config | None, problems: str, source: str | None, report: Path, state: Path) -> Iterator[Piece]:
    """Everything, most telling first. `problems`: why there is no configuration; `source`: the file as it was named."""
    yield Piece("report.json", lambda: json.loads(report.read_text("utf-8")))
    yield Piece("incidents.json", lambda: _past(state, _incidents))
    yield Piece("history.json", lambda: _past(state, _history))
    yield Piece("outbox.json", lambda: _past(state, _outbox))
    yield Piece("configuration.toml", lambda: _configuration(config, problems))
    if config is None:
        yield Piece("configuration-as-written.toml", lambda: _as_written(source))
    yield Piece("log.txt", _log, keep_end=True)
    yield Piece("devices.txt", _devices)
    yield Piece("system.txt", _system)


def _past(state: Path, question: Any) -> object:
    from agent.store import Store

    store = Store(state / "state.sqlite", read_only=True)
    try:
        return question(store)
    finally:
        store.close()


def _plain(items: Sequence[Any]) -> list[Any]:
    return [msgspec.to_builtins(item) for item in items]


def _incidents(store: Store) -> object:
    found = store.incidents(None, INCIDENTS)
    return [{**msgspec.to_builtins(each), "notes": _plain(store.notes(each.id))} for each in found]


def _history(store: Store) -> object:
    since = time.time() - DAYS_S
    return {
        "events": _plain(store.events(since, EVENTS)),
        "transitions": _plain(store.transitions(since, None, TRANSITIONS)),
        "availability": store.availability(time.strftime("%Y-%m-%d", time.gmtime(since))),
        "tracks": {name: msgspec.to_builtins(track) for name, track in store.tracks().items()},
    }


def _outbox(store: Store) -> object:
    return {"waiting": store.outbox.waiting(), "counts": store.outbox.counts()}


def _configuration(config: Config | None, problems: str) -> str:
    if config is None:
        return "\n".join(f"# {line}" for line in problems.splitlines()) + "\n"
    from agent.config.show import show

    return show(config)


def _as_written(source: str | None) -> str:
    """A file that cannot be understood, line by line, without what may be a secret in it."""
    text = files.read_text(Path(source)) if source else "# no configuration file"
    return "\n".join(
        _SECRET.sub(r"\1" + CONCEALED, _LOGIN.sub(r"\1" + CONCEALED + "@", line)) for line in text.split("\n")
    )


def _log() -> str:
    words = ("journalctl", "--no-pager", "-o", "short-iso-precise", "-n", LOG_LINES, "-u", "posagent.service")
    said = command.run(Host(ends=time.monotonic() + LOG_S), (*words, "-u", "posagent-check.service"), limit=1 << 20)
    return said.stdout or said.stderr


def _system() -> str:
    facts = {
        "posagent": __version__,
        "python": sys.version.split()[0],
        "machine": " ".join(platform.uname()[::2]),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    text = [f"{name}: {value}" for name, value in facts.items()]
    for name in SYSTEM_FILES:
        try:
            content = files.read_text(Path(name), EACH_BYTES).rstrip()
        except OSError as error:
            content = f"({error.strerror})"
        text += ["", f"== {name}", content]
    return "\n".join(text) + "\n"


def _devices() -> str:
    """USB devices and serial ports as /sys names them."""
    lines: list[str] = []
    for device in files.names(Path("/sys/bus/usb/devices")):
        folder = Path("/sys/bus/usb/devices") / device
        known = {key: files.read_word(folder / key) for key in ("idVendor", "idProduct", "manufacturer", "product")}
        if known["idVendor"]:
            lines.append(f"usb {device}: " + " ".join(str(value) for value in known.values() if value))
    ports = files.names(Path("/sys/class/tty"))
    lines += [f"tty {port}" for port in ports if (Path("/sys/class/tty") / port / "device").exists()]
    for link in files.names(Path("/sys/class/net")):
        folder = Path("/sys/class/net") / link
        said = {key: files.read_word(folder / key) for key in ("operstate", "carrier", "speed", "mtu", "address")}
        lines.append(f"net {link}: " + " ".join(f"{key}={value}" for key, value in said.items() if value))
    return "\n".join(lines) + "\n"


def secrets(config: Config, env: Mapping[str, str]) -> set[str]:
    """The secrets that this configuration names, as far as they can be read: nothing of them may be in the archive."""
    from agent.config.secret import CannotReadSecret, resolve_secret, secrets_of

    found = set()
    centres = [each for each in (config.push.https, config.push.mqtt) if each is not None]
    for table in (*config.channels.values(), config.web, *centres):
        for secret in secrets_of(table).values():
            try:
                found.add(resolve_secret(secret, env))
            except CannotReadSecret:
                continue
    return found
