"""Is there memory left for the POS software to go on?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, capacity
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    Observation,
    Percent,
    Settings,
    Unsupported,
    fail,
    ok,
    warn,
)
from probes.recall import keep, recall

RECENT_S = 600
"""How long a program killed for lack of memory is worth a warning."""


class MemorySettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds in percent of the memory that is in use and could not be given back."""

    warn: Annotated[Percent, Meta(description="percent in use from which to warn")] = 90
    fail: Annotated[Percent, Meta(description="percent in use from which it fails")] = 97


class Reading(msgspec.Struct, frozen=True):
    """Bytes; pressure in percent of the last minute; uptime in seconds."""

    total: int
    available: int
    limit: int | None = None
    swap_total: int = 0
    swap_free: int = 0
    kills: int = 0
    pressure: float | None = None
    uptime: float = 0.0


class Past(msgspec.Struct, frozen=True):
    """How many programs had been killed, and when that number last rose (seconds after the kernel's start)."""

    kills: int | None = None
    killed_at: float | None = None


def problems(settings: MemorySettings) -> Iterator[tuple[str, str]]:
    """A warning comes before a failure."""
    if settings.warn > settings.fail:
        yield "warn", f"expected at most fail ({settings.fail:g})"


def read(_settings: MemorySettings, host: Host) -> Reading:
    """Ask the kernel what a program could still get."""
    seen = capacity.memory(host)
    if seen is None:
        raise Unsupported("there is no /proc/meminfo", why="no_meminfo")
    return Reading(
        total=seen.total,
        available=seen.available,
        limit=seen.limit,
        swap_total=seen.swap_total,
        swap_free=seen.swap_free,
        kills=seen.kills,
        pressure=capacity.pressure(host, "memory"),
        uptime=capacity.uptime(host),
    )


def judge(settings: MemorySettings, reading: Reading, memory: Memory) -> Observation:
    """Low by what is in use, or because the kernel had to kill something for lack of it."""
    total = reading.limit or reading.total
    used = round(100 * (1 - reading.available / total), 1)
    past = _past(recall(memory, Past), reading)
    facts: dict[str, Measurement] = {
        "used_percent": used,
        "available_bytes": reading.available,
        "total_bytes": total,
    }
    if reading.swap_total:
        facts["swap_used_percent"] = round(100 * (1 - reading.swap_free / reading.swap_total), 1)
    if reading.pressure is not None:
        facts["pressure_percent"] = reading.pressure
    evidence = []
    if reading.limit is not None:
        evidence.append(f"the limit is that of this container; the machine has {reading.total} bytes")
    if past.killed_at is not None:
        ago = max(0.0, reading.uptime - past.killed_at)
        evidence.append(f"the kernel killed a program for lack of memory {ago:.0f} s ago or a little earlier")
    if used >= settings.fail:
        return fail("memory.low", facts, *evidence, memory=keep(past))
    if used >= settings.warn or past.killed_at is not None:
        return warn("memory.low", facts, *evidence, memory=keep(past))
    return ok(facts, *evidence, memory=keep(past))


def _past(past: Past, reading: Reading) -> Past:
    """What to write down: a rise of the kernel's count is remembered for ten minutes; a restart starts it anew."""
    if past.kills is not None and reading.kills > past.kills:
        return Past(reading.kills, reading.uptime)
    since = None if past.killed_at is None else reading.uptime - past.killed_at
    recent = since is not None and 0 <= since < RECENT_S
    return Past(reading.kills, past.killed_at if recent else None)


KIND = Kind(
    name="memory",
    summary="memory in use, of the machine or of the container around posagent",
    settings=MemorySettings,
    read=read,
    judge=judge,
    target=lambda _settings: "memory",
    impact=Impact.NONE,
    problems=problems,
    reasons={
        "memory.low": "more than `warn` or `fail` percent is in use, or a program was just killed for lack of memory",
    },
)
