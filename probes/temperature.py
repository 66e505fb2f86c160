"""Is this PC too hot? Blocked vents and dead fans slow a till down before they stop it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, sensors
from probes.model import Impact, Kind, Measurement, Memory, NotFitted, Observation, Settings, fail, ok, warn

HIGH, CRITICAL = 80.0, 95.0
Celsius = Annotated[float, Meta(ge=-50, le=150, title="degrees Celsius, -50..150")]


class TemperatureSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits for all sensors; without them each sensor's own limits count."""

    warn: Annotated[Celsius | None, Meta(description="degrees Celsius; default: the sensor's own maximum, or 80")] = (
        None
    )
    fail: Annotated[Celsius | None, Meta(description="degrees Celsius; default: the sensor's critical, or 95")] = None


class Reading(msgspec.Struct, frozen=True):
    """Every believable sensor."""

    sensors: tuple[sensors.Sensor, ...]


def read(_settings: TemperatureSettings, host: Host) -> Reading:
    """Ask all sensors; a PC without any is not cold."""
    found = tuple(sensors.temperatures(host))
    if not found:
        raise NotFitted("no temperature sensor answers on this PC", why="no_sensor")
    return Reading(found)


def judge(settings: TemperatureSettings, reading: Reading, _memory: Memory) -> Observation:
    """One sensor speaks for all: the one furthest beyond its limits, or nearest to them."""
    worst = max(reading.sensors, key=lambda sensor: _severity(settings, sensor))
    over = [sensor for sensor in reading.sensors if sensor.celsius >= min(_limits(settings, sensor))]
    high, critical = _limits(settings, worst)
    facts: dict[str, Measurement] = {
        "sensor": worst.name,
        "celsius": round(worst.celsius, 1),
        "warn_celsius": high,
        "fail_celsius": critical,
        "sensors": len(reading.sensors),
    }
    evidence = [f"{sensor.name}: {sensor.celsius:g} C" for sensor in over]
    if worst.celsius >= critical:
        return fail("temperature.critical", facts, *evidence)
    if worst.celsius >= high:
        return warn("temperature.high", facts, *evidence)
    return ok(facts)


def _severity(settings: TemperatureSettings, sensor: sensors.Sensor) -> tuple[bool, bool, float]:
    high, critical = _limits(settings, sensor)
    return sensor.celsius >= critical, sensor.celsius >= high, sensor.celsius - critical


def _limits(settings: TemperatureSettings, sensor: sensors.Sensor) -> tuple[float, float]:
    """Warn and fail limits of a sensor. A maximum at or above the critical limit warns of nothing: 80 then."""
    critical = settings.fail if settings.fail is not None else sensor.critical or CRITICAL
    if settings.warn is not None:
        return settings.warn, critical
    high = sensor.high if sensor.high is not None and sensor.high < critical else HIGH
    return min(high, critical), critical


def problems(settings: TemperatureSettings) -> Iterable[tuple[str, str]]:
    """A warning comes before a failure."""
    if settings.warn is not None and settings.fail is not None and settings.warn > settings.fail:
        yield "warn", f"expected no more than fail ({settings.fail:g})"


KIND = Kind(
    name="temperature",
    summary="temperatures of processor, board and disks, by each sensor's own limits",
    settings=TemperatureSettings,
    read=read,
    judge=judge,
    target=lambda _settings: "this PC",
    impact=Impact.NONE,
    problems=problems,
    reasons={
        "temperature.high": "a sensor is above `warn`: vents or a fan may be blocked",
        "temperature.critical": "a sensor is above `fail`: the PC will slow down or switch off",
    },
)
