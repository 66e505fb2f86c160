"""Will the till outlive a power cut, and does its UPS say so while it still can?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from probes import endpoints
from probes.host import Host, nut, resolve
from probes.model import (
    Denied,
    HostName,
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    OutOfTime,
    Percent,
    Port,
    Seconds,
    Text,
    fail,
    ok,
    warn,
)

STALE = {
    "DATA-STALE": "the UPS no longer answers its driver",
    "DRIVER-NOT-CONNECTED": "the driver of the UPS is not running",
}
MEANINGS = {
    "ALARM": "the UPS raises an alarm",
    "BOOST": "mains voltage is low, the UPS boosts it",
    "CAL": "calibrating its battery",
    "COMMBAD": "the driver lost the UPS",
    "FSD": "the NUT server is shutting everything down",
    "TRIM": "mains voltage is high, the UPS trims it",
}
GRAVE = (
    (fail, "ups.low_battery", {"LB", "FSD"}),
    (fail, "ups.off", {"OFF"}),
    (fail, "ups.overload", {"OVER", "OVERLOAD"}),
)
LESSER = (
    (warn, "ups.replace_battery", {"RB", "REPLBATT"}),
    (warn, "ups.off", {"BYPASS"}),
)


class UpsSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A UPS behind a NUT server."""

    host: Annotated[HostName, Meta(description="the PC on which the NUT server (upsd) runs")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="its TCP port")] = 3493
    ups: Annotated[Text | None, Meta(description="the UPS's name on that server; default: the only one")] = None
    min_charge: Annotated[Percent, Meta(description="percent of charge that the battery must have")] = 30
    min_runtime: Annotated[Seconds, Meta(description="time that the battery must still last during a power cut")] = (
        Seconds(300)
    )


class Reading(msgspec.Struct, frozen=True):
    """The UPS's variables; or why there are none."""

    ups: str = ""
    variables: dict[str, str] = {}
    unreachable: str = ""
    error: str = ""
    text: str = ""


def read(settings: UpsSettings, host: Host) -> Reading:
    """One conversation with upsd."""
    try:
        address = resolve.resolve(host, settings.host).addresses[0]
        found = nut.read(host, address, settings.port, settings.ups)
    except (nut.Unreachable, resolve.Unresolved) as error:
        return Reading(unreachable=str(error))
    except OutOfTime:
        return Reading(unreachable="no answer")
    except nut.Refused as error:
        if error.code == "ACCESS-DENIED":
            raise Denied(
                f"the NUT server at {settings.host} does not let this PC read (ACCESS-DENIED)",
                why="ups_denied",
                host=settings.host,
            ) from error
        return Reading(error=error.code, text=str(error))
    return Reading(ups=found.name, variables=found.variables)


def judge(settings: UpsSettings, reading: Reading, _memory: Memory) -> Observation:
    """First whether anything is known, then the gravest flag, then the battery's state against the settings."""
    facts = {"server": endpoints.join(settings.host, settings.port), "ups": reading.ups or settings.ups or ""}
    if reading.unreachable:
        return warn("ups.unreachable", {**facts, "said": reading.unreachable})
    if reading.error:
        return _refused(reading, dict(facts))
    return _weigh(settings, reading, {**facts, **_measure(reading.variables)})


def _refused(reading: Reading, facts: dict[str, Measurement]) -> Observation:
    facts |= {"said": STALE.get(reading.error, reading.text), "code": reading.error}
    if reading.error in STALE:
        return warn("ups.stale", facts, f"upsd: {reading.text}", STALE[reading.error])
    reason = "ups.unknown_ups" if reading.error == "UNKNOWN-UPS" else "ups.unreachable"
    return warn(reason, facts, f"upsd: {reading.text}")


def _weigh(settings: UpsSettings, reading: Reading, facts: dict[str, Measurement]) -> Observation:
    flags = flags_of(reading.variables)
    evidence = _evidence(reading, flags)
    facts |= {"min_charge_percent": float(settings.min_charge), "min_runtime_s": float(settings.min_runtime)}
    if not flags & {"OL", "OB", "OFF", "BYPASS", "LB", "FSD", "CAL"} or flags & {"COMMBAD", "NOCOMM"}:
        status = " ".join(sorted(flags)) or "empty"
        return warn("ups.stale", {**facts, "said": f"its status is {status}", "code": status}, *evidence)
    for grade, reason, matching in GRAVE:
        if flags & matching:
            return grade(reason, facts, *evidence)
    on_battery = "OB" in flags and "CAL" not in flags
    if _is_low(settings, facts, on_battery):
        return (fail if on_battery else warn)("ups.low_battery", facts, *evidence)
    if on_battery:
        return warn("ups.on_battery", facts, *evidence)
    for grade, reason, matching in LESSER:
        if flags & matching:
            return grade(reason, facts, *evidence)
    return ok(facts, *evidence)


def flags_of(variables: Mapping[str, str]) -> set[str]:
    """The words of `ups.status`."""
    return set(variables.get("ups.status", "").upper().split())


def _is_low(settings: UpsSettings, facts: Mapping[str, Measurement], on_battery: bool) -> bool:
    """Charge always counts; the runtime that a UPS on mains foretells is often 0 or made up."""
    charge, runtime = facts.get("charge_percent"), facts.get("runtime_s")
    if isinstance(charge, float) and charge < settings.min_charge:
        return True
    return on_battery and isinstance(runtime, float) and runtime < settings.min_runtime


def _measure(variables: Mapping[str, str]) -> dict[str, Measurement]:
    """What the UPS measures, as far as it is a number that can be."""
    facts: dict[str, Measurement] = {}
    for key, variable, least, most in (
        ("charge_percent", "battery.charge", 0, 100),
        ("runtime_s", "battery.runtime", 0, 1e7),
        ("load_percent", "ups.load", 0, 1000),
        ("input_volts", "input.voltage", 0, 1000),
    ):
        number = _number(variables.get(variable, ""))
        if number is not None and least <= number <= most:
            facts[key] = number
    if model := " ".join(filter(None, (variables.get("ups.mfr"), variables.get("ups.model")))):
        facts["model"] = model[:100]
    facts["status"] = variables.get("ups.status", "")[:100]
    return facts


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*-?\d{1,9}(\.\d{1,9})?\s*", text, re.ASCII) else None


def _evidence(reading: Reading, flags: set[str]) -> list[str]:
    said = [f"ups.status {reading.variables.get('ups.status', '(none)')}"]
    said += [f"{flag}: {meaning}" for flag, meaning in MEANINGS.items() if flag in flags]
    said += [f"{key} {reading.variables[key]}" for key in ("ups.alarm", "battery.date") if key in reading.variables]
    return said


def _problems(settings: UpsSettings) -> Iterable[tuple[str, str]]:
    if settings.ups is not None and not re.fullmatch(r"[^\s\"\\@]{1,100}", settings.ups):
        yield "ups", "expected the name of a UPS as `upsc -l` prints it, without @host"
    yield from endpoints.without_zone("host", settings.host)


KIND = Kind(
    name="ups",
    summary="a UPS by its NUT server: mains, battery, load, and whether anybody still hears from it",
    settings=UpsSettings,
    read=read,
    judge=judge,
    target=lambda settings: f"{settings.ups or 'ups'}@{endpoints.join(settings.host, settings.port)}",
    impact=Impact.DEGRADE,
    problems=_problems,
    example={"host": "127.0.0.1"},
    reasons={
        "ups.on_battery": "mains power is gone; the till runs on the UPS's battery",
        "ups.low_battery": "the battery is nearly empty, or below `min_charge` or `min_runtime`",
        "ups.replace_battery": "the UPS says that its battery is worn",
        "ups.overload": "more is plugged into the UPS than it can carry",
        "ups.off": "the UPS is switched off, or in bypass: it protects nothing",
        "ups.stale": "the NUT server has no fresh data: the UPS does not answer its driver, or the driver is dead",
        "ups.unreachable": "the NUT server does not answer, or what answers is not one",
        "ups.unknown_ups": "the NUT server knows no UPS of that name, or several and none is named",
    },
)
