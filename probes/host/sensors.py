"""How hot is it in there? Hardware monitors and thermal zones; sensors that are not connected are passed over."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from probes.host import Host, files
from probes.redact import scrub

HWMON = "/sys/class/hwmon"
ZONES = "/sys/class/thermal"
COLDEST, HOTTEST = -55.0, 126.0
"""What a till's sensors can mean: 127, 127.5, 128 and 255 are what chips say when nothing is connected."""
LIMITS = (30.0, HOTTEST)
SLOW = ("w1_slave_temp",)
"""Wires with thermometers take a second each to answer, and hang in another room."""
UNCONNECTED = re.compile(r"^(AUXTIN|PECI Agent|PCH_DIM|TSI)")
"""Inputs of board chips that are hardly ever wired."""


class Sensor(msgspec.Struct, frozen=True):
    """One temperature in degrees Celsius, and the limits its maker set (None: none, or nonsense)."""

    name: str
    celsius: float
    high: float | None = None
    critical: float | None = None


def temperatures(host: Host) -> list[Sensor]:
    """Every sensor that gives a believable answer now. Raises OutOfTime."""
    return [*_hwmon(host), *_zones(host)]


def _hwmon(host: Host) -> list[Sensor]:
    found = []
    for entry in files.names(host.path(HWMON)):
        directory = host.path(HWMON) / entry
        if not (directory / "name").exists():
            directory = directory / "device"  # drivers of old keep theirs there
        chip = scrub(files.read_word(directory / "name") or entry)
        inputs = [name for name in files.names(directory) if re.fullmatch(r"temp\d+_input", name)]
        for name in inputs if chip not in SLOW else ():
            host.left()
            if (sensor := _sensor(directory, chip, name.removesuffix("_input"))) is not None:
                found.append(sensor)
    return found


def _sensor(directory: Path, chip: str, channel: str) -> Sensor | None:
    label = scrub(files.read_word(directory / f"{channel}_label") or channel)
    broken = files.read_number(directory / f"{channel}_fault") or UNCONNECTED.match(label)
    celsius = believable(files.read_number(directory / f"{channel}_input"))
    if broken or celsius is None:
        return None
    return Sensor(
        f"{chip} {label}",
        celsius,
        _limit(files.read_number(directory / f"{channel}_max")),
        _limit(files.read_number(directory / f"{channel}_crit")),
    )


def _zones(host: Host) -> list[Sensor]:
    found = []
    for entry in files.names(host.path(ZONES)):
        directory = host.path(ZONES) / entry
        if not entry.startswith("thermal_zone") or files.read_word(directory / "mode") == "disabled":
            continue
        host.left()
        celsius = believable(files.read_number(directory / "temp"))
        if celsius is not None:
            trips = _trips(directory)
            name = scrub(files.read_word(directory / "type") or entry)
            found.append(Sensor(name, celsius, trips.get("hot"), trips.get("critical")))
    return found


def _trips(directory: Path) -> dict[str, float]:
    """Trip points of a zone, the lowest of each type."""
    found: dict[str, float] = {}
    for name in files.names(directory):
        if re.fullmatch(r"trip_point_\d+_type", name):
            kind = files.read_word(directory / name) or ""
            limit = _limit(files.read_number(directory / name.replace("_type", "_temp")))
            if limit is not None:
                found[kind] = min(limit, found.get(kind, limit))
    return found


def believable(millidegrees: int | None) -> float | None:
    """Degrees, or None for what only a broken or absent sensor says: nothing, exactly 0, absolute zero, full scale."""
    if not millidegrees or not COLDEST <= millidegrees / 1000 <= HOTTEST:
        return None
    return millidegrees / 1000


def _limit(millidegrees: int | None) -> float | None:
    if millidegrees is None or not LIMITS[0] <= millidegrees / 1000 <= LIMITS[1]:
        return None
    return millidegrees / 1000
