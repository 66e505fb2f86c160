"""Is the processor so busy that a sale has to wait?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, capacity
from probes.model import Impact, Kind, Measurement, Memory, Observation, Settings, Unsupported, fail, ok, warn
from probes.recall import keep, recall

Load = Annotated[float, Meta(ge=1, le=100_000)]
IDLE_PRESSURE = 10.0
"""Percent. Where programs wait less than this for a processor, a high load is one of waiting for disks."""


class CpuSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds in percent of the processors' capacity, over the last minute; 100 is busy without a queue."""

    warn: Annotated[Load, Meta(description="load of the last minute in percent of the capacity from which to warn")] = (
        200
    )
    fail: Annotated[Load, Meta(description="the same, from which it fails")] = 400


class Reading(msgspec.Struct, frozen=True):
    """Loads as the kernel averages them; pressure in percent of the last minute; a container's quota and its use."""

    now: float
    cores: float
    load: tuple[float, float, float] | None = None
    pressure: float | None = None
    quota: capacity.Quota | None = None


class Past(msgspec.Struct, frozen=True):
    """A container's counters at the last look, and when (monotonic seconds) that was."""

    at: float | None = None
    used_s: float = 0.0
    periods: int = 0
    throttled: int = 0


def problems(settings: CpuSettings) -> Iterator[tuple[str, str]]:
    """A warning comes before a failure."""
    if settings.warn > settings.fail:
        yield "warn", f"expected at most fail ({settings.fail:g})"


def read(_settings: CpuSettings, host: Host) -> Reading:
    """Ask for averages the kernel keeps anyway; nothing is sampled and nobody waits."""
    loads, quota = capacity.load(host), capacity.quota(host)
    if loads is None and quota is None:
        raise Unsupported("there is no /proc/loadavg", why="no_loadavg")
    cores = float(capacity.cores(host))
    return Reading(time.monotonic(), cores, loads, capacity.pressure(host, "cpu"), quota)


def judge(settings: CpuSettings, reading: Reading, memory: Memory) -> Observation:
    """By the queue for the processors; in a container with a quota, by what it used of it and was denied."""
    quota = reading.quota if reading.quota is not None and reading.quota.cores < reading.cores else None
    facts: dict[str, Measurement] = {"cores": round(quota.cores if quota else reading.cores, 2)}
    if reading.pressure is not None:
        facts["pressure_percent"] = reading.pressure
    if quota is not None:
        percent = _demand(quota, reading.now, recall(memory, Past))
        written = keep(Past(reading.now, quota.used_s, quota.periods, quota.throttled))
    else:
        loads = reading.load or (0.0, 0.0, 0.0)
        facts |= {"load1": loads[0], "load5": loads[1], "load15": loads[2]}
        percent, written = 100 * loads[0] / reading.cores, {}
    facts["load_percent"] = round(percent, 1)
    waits = reading.pressure is None or reading.pressure >= IDLE_PRESSURE
    if percent >= settings.warn and quota is None and not waits:
        return ok(facts, "the load is of programs that wait for disks or the network, not for a processor")
    if percent >= settings.fail:
        return fail("cpu.overloaded", facts, memory=written)
    if percent >= settings.warn:
        return warn("cpu.overloaded", facts, memory=written)
    return ok(facts, memory=written)


def _demand(quota: capacity.Quota, now: float, past: Past) -> float:
    """Percent of the quota used since the last look, doubled where every period ended in being denied more."""
    if past.at is None or now <= past.at or quota.used_s < past.used_s:
        return 0.0
    used = 100 * (quota.used_s - past.used_s) / ((now - past.at) * quota.cores)
    periods = quota.periods - past.periods
    denied = (quota.throttled - past.throttled) / periods if periods > 0 else 0.0
    return used * (1 + max(0.0, min(1.0, denied)))


KIND = Kind(
    name="cpu",
    summary="load of the processors over the last minute, in percent of what they can do",
    settings=CpuSettings,
    read=read,
    judge=judge,
    target=lambda _settings: "cpu",
    impact=Impact.NONE,
    problems=problems,
    reasons={
        "cpu.overloaded": "more programs want a processor than `warn` or `fail` percent of the capacity",
    },
)
