"""Does this PC run on the mains, and if not, for how long still?"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, power
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    NotFitted,
    Observation,
    Percent,
    Settings,
    Unsupported,
    fail,
    ok,
    warn,
)

EMPTY_LEVELS = ("Critical",)


class PowerSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The PC's own power: cords and batteries. A UPS that speaks to a server is the kind `ups`."""

    min_charge: Annotated[
        Percent, Meta(description="percent of charge below which running on battery is a failure")
    ] = 20


class Reading(msgspec.Struct, frozen=True):
    """All supplies, and the Raspberry Pi's undervoltage alarm (None: nothing watches)."""

    supplies: tuple[power.Supply, ...] = ()
    undervoltage: bool | None = None


def read(_settings: PowerSettings, host: Host) -> Reading:
    """Ask the kernel. A PC that nothing reports on is no PC on the mains: it is one that cannot tell."""
    reading = Reading(tuple(power.supplies(host)), power.undervoltage(host))
    if not _batteries(reading) and not _mains(reading) and reading.undervoltage is None:
        raise NotFitted("no power supply reports to this PC; a UPS can be watched with kind ups", why="no_power_supply")
    if _batteries(reading) and _external(reading) is None:
        raise Unsupported("the battery does not say whether it is being charged or drained", why="battery_untold")
    return reading


def judge(settings: PowerSettings, reading: Reading, _memory: Memory) -> Observation:
    """A battery on its way down is worse the emptier it is; a weak supply makes a Raspberry Pi fail at random."""
    facts, percent = _facts(settings, reading), _percent(reading)
    evidence = [" ".join(filter(None, (s.name, s.type, s.status, _online(s)))) for s in reading.supplies]
    if _drains(reading):
        empty = any(battery.level in EMPTY_LEVELS for battery in _batteries(reading))
        if empty or (percent is not None and percent < settings.min_charge):
            return fail("power.battery_low", facts, *evidence)
    if reading.undervoltage:
        return warn("power.undervoltage", facts, "rpi_volt in0_lcrit_alarm is set", *evidence)
    if _external(reading) is False:
        return warn("power.on_battery", facts, *evidence)
    return ok(facts, *evidence)


def _batteries(reading: Reading) -> list[power.Supply]:
    return [supply for supply in reading.supplies if supply.is_battery]


def _mains(reading: Reading) -> bool:
    """Whether a mains supply says that it feeds us. Without a battery nothing else is proof: USB ports lie."""
    return any(supply.type == "Mains" and supply.is_external and supply.online for supply in reading.supplies)


def _external(reading: Reading) -> bool | None:
    """Whether a cord feeds the PC, by cords first and the batteries' own word second; None when nobody says."""
    cords = [supply for supply in reading.supplies if supply.is_external]
    states = {battery.status for battery in _batteries(reading)}
    if not states or any(cord.online for cord in cords) or "Charging" in states:
        return True
    if any(cord.type == "Mains" for cord in cords) or "Discharging" in states:
        return False
    return True if states & {"Full", "Not charging"} else None


def _drains(reading: Reading) -> bool:
    """Whether the charge goes down: no cord, or one too weak for what the PC takes."""
    states = {battery.status for battery in _batteries(reading)}
    return _external(reading) is False or ("Discharging" in states and "Charging" not in states)


def _percent(reading: Reading) -> float | None:
    """The charge of all batteries together, by their size where all tell it in the same unit."""
    batteries = _batteries(reading)
    energies = [battery.energy for battery in batteries if battery.energy is not None]
    if len(batteries) > 1 and len(energies) == len(batteries):
        return round(100 * sum(now for now, _full in energies) / sum(full for _now, full in energies), 1)
    known = [battery.percent for battery in batteries if battery.percent is not None]
    return round(sum(known) / len(known), 1) if known else None


def _facts(settings: PowerSettings, reading: Reading) -> dict[str, Measurement]:
    percent = _percent(reading)
    facts: dict[str, Measurement] = {
        "source": "external" if _external(reading) else "battery",
        "batteries": [battery.name for battery in _batteries(reading)],
        "battery": "-" if percent is None else f"{percent:g} %",
        "min_charge_percent": settings.min_charge,
    }
    if percent is not None:
        facts["charge_percent"] = percent
    left = [battery.seconds_left for battery in _batteries(reading) if battery.seconds_left is not None]
    if left and not _external(reading):
        facts["runtime_s"] = round(sum(left))
    return facts


def _online(supply: power.Supply) -> str:
    return "" if supply.online is None else "online" if supply.online else "offline"


KIND = Kind(
    name="power",
    summary="mains, batteries and undervoltage of this PC itself",
    settings=PowerSettings,
    read=read,
    judge=judge,
    target=lambda _settings: "this PC",
    impact=Impact.DEGRADE,
    reasons={
        "power.on_battery": "the mains are gone, a battery feeds the PC",
        "power.battery_low": "less than `min_charge` is left and the battery drains, on no cord or on a weak one",
        "power.undervoltage": "the supply's voltage is too low: a weak power adapter or cable",
    },
)
