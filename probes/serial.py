"""Is the terminal's serial port there, and is it in the hands of the POS software and nobody else's?

Nothing is opened: a port's open() alone raises modem lines and may steal the terminal's answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from probes.host import Host, files, holders, rights, serial
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    Observation,
    PathText,
    Settings,
    Status,
    Text,
    because,
    fail,
    ok,
    warn,
)

HOUR = 3600.0
SAMPLE = 60.0
"""Counters are written down at most once a minute: an hour fits into sixty samples."""
HIJACKERS = ("ModemManager", "brltty", "agetty", "getty", "mgetty", "gpsd", "kernel console")
"""Programs that take serial ports without being asked; none of them takes payments."""


class SerialSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A serial port, and what is expected of it."""

    device: Annotated[PathText, Meta(description="path of the port, such as /dev/ttyS0 or a link in /dev/serial/by-id")]
    owner: Annotated[
        Text | None, Meta(description="name of the program that should hold it; default: any but known hijackers")
    ] = None
    lines: Annotated[
        tuple[Annotated[str, Meta(pattern="^(RTS|CTS|DTR|DSR|CD|RI)$", title="RTS, CTS, DTR, DSR, CD or RI")], ...],
        Meta(description='modem lines that must be asserted, such as ["DSR", "CTS"]; on-board ports only'),
    ] = ()
    max_errors: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="framing, parity, overrun and break errors an hour that are still well; default: not watched"),
    ] = None


class Owner(msgspec.Struct, frozen=True):
    """A running program of the owner's name. `may_open` is None where its credentials could not be read."""

    pid: int
    is_seen: bool
    may_open: bool | None = None


class Reading(msgspec.Struct, frozen=True):
    """What /dev, /sys and /proc said. `now` is monotonic and starts anew with each boot, as the counters do."""

    node: str
    is_there: bool = True
    is_fitted: bool = True
    is_tty: bool = True
    driver: str = ""
    mode: str = ""
    only_owner: bool = False
    sight: holders.Sight = holders.Sight()
    owners: tuple[Owner, ...] = ()
    uart: serial.Uart | None = None
    uart_denied: bool = False
    now: float = 0.0
    boot: str = ""


def read(settings: SerialSettings, host: Host) -> Reading:
    """Look at names, links and tables. The port itself stays closed."""
    node = serial.resolve(host, settings.device)
    try:
        door = rights.node(host.path(node))
    except (FileNotFoundError, NotADirectoryError):
        return Reading(node, is_there=False, sight=holders.of(host, node))
    if not serial.is_tty(host, node):
        return Reading(node, is_tty=False)
    port = serial.port(host, node)
    uart, denied = _uart(host, node)
    return Reading(
        node,
        is_fitted=port is not None or serial.is_unknown(host, node),
        driver=port.driver if port is not None else "",
        mode=str(door),
        only_owner=door.only_owner,
        sight=holders.of(host, node),
        owners=_owners(settings, host, door),
        uart=uart,
        uart_denied=denied,
        now=time.monotonic(),
        boot=files.read_word(host.path("/proc/sys/kernel/random/boot_id")) or "",
    )


def _uart(host: Host, node: str) -> tuple[serial.Uart | None, bool]:
    try:
        return serial.uart(host, node), False
    except PermissionError:
        return None, True


def _owners(settings: SerialSettings, host: Host, door: rights.Node) -> tuple[Owner, ...]:
    found = []
    for pid, is_seen in holders.called(host, settings.owner) if settings.owner else ():
        who = rights.of(host, pid)
        found.append(Owner(pid, is_seen, None if who is None else rights.may_open(who, door)))
    return tuple(found)


def judge(settings: SerialSettings, reading: Reading, memory: Memory) -> Observation:
    """The first broken thing counts: the port, its holder, the right to open it, its lines, its counters."""
    facts = _facts(settings, reading)
    kept = _remember(reading, memory)
    evidence = _seen(reading.sight)
    if absent := _absent(reading):
        return fail("serial.absent", {**facts, **absent}, *evidence, memory=kept)
    found = (
        _taken(settings, reading)
        or _denied(settings, reading)
        or _not_held(settings, reading)
        or _line_down(settings, reading, kept)
        or _errors(settings, reading, kept)
        or _unseen(settings, reading)
        or ok(_held(reading.sight))
    )
    return msgspec.structs.replace(
        found,
        measurements={**facts, **found.measurements},
        evidence=(*found.evidence, *evidence),
        memory=kept,
    )


def _absent(reading: Reading) -> dict[str, Measurement]:
    if not reading.is_there:
        return because("there is no such device; is it plugged in?", why="no_node")
    if not reading.is_tty:
        return because("it is no serial port (tty)", why="no_tty")
    if not reading.is_fitted:
        return because("there is no port behind this name", why="no_port")
    return {}


def _held(sight: holders.Sight) -> dict[str, Measurement]:
    if sight.holders:
        names = _names(sight.holders)
        return because(f"held by: {names}", why="held_by", holder=names)
    if sight.hidden or sight.nameless:
        return because("this user may not see whether a program holds it", why="holder_hidden")
    return because("no program holds it", why="unheld")


def _names(several: Iterable[holders.Holder]) -> str:
    return ", ".join(dict.fromkeys(holder.name for holder in several))


def _seen(sight: holders.Sight) -> list[str]:
    evidence = [*map(str, sight.holders), *sight.stale]
    evidence += [f"{holder} still holds a port that was unplugged" for holder in sight.dead]
    if not sight.holders and sight.hidden:
        evidence.append(f"open files of {sight.hidden} programs of other users are hidden; needs {holders.RIGHT}")
    return evidence


def _facts(settings: SerialSettings, reading: Reading) -> dict[str, Measurement]:
    sight = reading.sight
    facts: dict[str, Measurement] = {"device": settings.device, "node": reading.node}
    if sight.holders or not (sight.hidden or sight.nameless):
        facts["holder"] = _names(sight.holders)
    facts["hidden_programs"] = sight.hidden
    if settings.owner:
        facts["owner"] = settings.owner
    if reading.driver:
        facts["driver"] = reading.driver
    if reading.uart is not None:
        facts["lines"] = list(reading.uart.lines)
        facts["errors_total"] = sum(reading.uart.errors.values())
    return facts


def _owned(settings: SerialSettings, reading: Reading) -> tuple[list[holders.Holder], list[holders.Holder]]:
    """The holders that are the owner or were started by it, and the others. A nameless one may be either: neither."""
    name, sight = settings.owner or "", reading.sight
    mine = {owner.pid for owner in reading.owners} | {h.pid for h in sight.holders if h.goes_by(name)}
    known = [holder for holder in sight.holders if holder.pid or holder.how == "console"]
    own = [holder for holder in known if holder.pid in mine or holder.parent in mine]
    return own, [holder for holder in known if holder not in own]


def _taken(settings: SerialSettings, reading: Reading) -> Observation | None:
    """With an owner, everybody else is an intruder. Without, only programs known to take ports unasked."""
    own, others = _owned(settings, reading)
    intruders = [h for h in others if settings.owner or any(h.goes_by(name) for name in HIJACKERS)]
    if not intruders:
        return None
    facts: dict[str, Measurement] = {"taken_by": _names(intruders)}
    return fail("serial.taken", facts, *([f"{settings.owner} holds it as well"] if own else []))


def _denied(settings: SerialSettings, reading: Reading) -> Observation | None:
    """Whether the POS software may open the port: its own rights count, not ours. Who holds it has opened it."""
    if reading.sight.holders:
        return None
    if reading.owners:
        refused = all(owner.may_open is False for owner in reading.owners)
        return fail("serial.denied", {"mode": reading.mode}, reading.mode) if refused else None
    if reading.only_owner and not settings.owner and not reading.sight.hidden:
        return warn("serial.denied", {"mode": reading.mode}, reading.mode)
    return None


def _not_held(settings: SerialSettings, reading: Reading) -> Observation | None:
    """Said only when it is certain: the owner does not run, or runs where we see all it has open."""
    if not settings.owner or reading.sight.holders or any(not owner.is_seen for owner in reading.owners):
        return None
    if reading.owners:
        return fail("serial.not_held", {}, f"{settings.owner} runs (pid {reading.owners[0].pid}) without the port")
    return None if reading.sight.nameless else fail("serial.not_held", {}, f"no program called {settings.owner} runs")


def _line_down(settings: SerialSettings, reading: Reading, kept: Memory) -> Observation | None:
    """A line that must be up, or DSR gone that once was up: three-wire cables never raise it, and that is well."""
    if reading.uart is None:
        return None
    down = [line for line in settings.lines if line not in reading.uart.lines]
    if down:
        return fail("serial.line_down", {"lines_down": down})
    if kept.get("dsr") and "DSR" not in reading.uart.lines:
        return warn("serial.line_down", {"lines_down": ["DSR"]}, "DSR was asserted earlier since this PC started")
    return None


def _errors(settings: SerialSettings, reading: Reading, kept: Memory) -> Observation | None:
    if settings.max_errors is None or reading.uart is None:
        return None
    new = sum(reading.uart.errors.values()) - kept["errors"][0][1]
    facts: dict[str, Measurement] = {"errors_per_hour": new, "max_errors": settings.max_errors}
    counted = " ".join(f"{key}:{count}" for key, count in reading.uart.errors.items())
    return warn("serial.errors", facts, counted) if new > settings.max_errors else None


def _unseen(settings: SerialSettings, reading: Reading) -> Observation | None:
    """What was asked for and could not be seen, with the right that would show it."""
    if settings.owner and not _owned(settings, reading)[0]:
        hidden = reading.sight.hidden
        text = (
            f"whether {settings.owner} holds {reading.node}: the open files of {hidden} programs of other users are "
            f"hidden; this needs {holders.RIGHT}"
        )
        return _unknown("probe.denied", because(text, why="owner_hidden", right=holders.RIGHT))
    if not settings.lines and settings.max_errors is None:
        return None
    if reading.uart_denied:
        text = f"modem lines and error counters of {reading.node}: this needs {serial.COUNTER_RIGHT}"
        return _unknown("probe.denied", because(text, why="lines_hidden", right=serial.COUNTER_RIGHT))
    if reading.uart is None:
        text = f"the driver of {reading.node} publishes neither modem lines nor error counters"
        return _unknown("probe.unsupported", because(text, why="lines_untold"))
    return None


def _unknown(reason: str, because: dict[str, Measurement]) -> Observation:
    return Observation(status=Status.UNKNOWN, reason=reason, detail=str(because["detail"]), measurements=because)


def _remember(reading: Reading, memory: Memory) -> dict[str, Any]:
    """Since when are how many errors known, within the last hour; and whether DSR was ever up since the PC started."""
    kept: dict[str, Any] = dict(memory) if memory.get("boot") == reading.boot else {}
    kept["boot"] = reading.boot
    if reading.uart is None:
        return kept
    total = sum(reading.uart.errors.values())
    samples = [[at, count] for at, count in kept.get("errors", []) if reading.now - at < HOUR and count <= total]
    if not samples or reading.now - samples[-1][0] >= SAMPLE:
        samples.append([reading.now, total])
    kept["errors"] = samples
    kept["dsr"] = kept.get("dsr", False) or "DSR" in reading.uart.lines
    return kept


def problems(settings: SerialSettings) -> Iterable[tuple[str, str]]:
    """Devices live in /dev."""
    if not settings.device.startswith("/"):
        yield "device", 'expected an absolute path such as "/dev/ttyS0"'


KIND = Kind(
    name="serial",
    summary="presence, holder, modem lines and error counters of a serial port, without opening it",
    settings=SerialSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.device,
    impact=Impact.STOP,
    problems=problems,
    example={"device": "/dev/ttyACM0"},
    reasons={
        "serial.absent": "there is no such port, what is there is no tty, or nothing is fitted behind it",
        "serial.denied": "the POS software's user may not open the port",
        "serial.taken": "another program holds the port: it is named",
        "serial.not_held": "the POS software should hold the port and does not",
        "serial.line_down": "a modem line that must be asserted is not, or DSR fell that was up: power or cable",
        "serial.errors": "more than `max_errors` framing, parity, overrun and break errors within the last hour",
    },
)
