"""Is the POS software's service up, by the word of systemd, and does it stay up?"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, files, systemd
from probes.model import Impact, Kind, Measurement, Memory, Observation, Settings, fail, ok, warn
from probes.recall import keep, recall

HOUR = 3600.0
YOUNG_S = 120.0
"""A service that came up this recently and was restarted often is still restarting, even at our first look."""

UnitName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,250}$",
        title='the name of a systemd unit such as "pos.service"',
    ),
]


class ServiceSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A systemd unit of this system (not of a user's session)."""

    unit: Annotated[UnitName, Meta(description="the unit; .service is understood")]
    max_restarts: Annotated[int, Meta(ge=0, le=1000, description="restarts within an hour that are still well")] = 2


class Reading(msgspec.Struct, frozen=True):
    """The unit, and when it was looked at: seconds after the kernel's start, and which start that was."""

    unit: systemd.Unit
    now: float = 0.0
    boot: str = ""


class Past(msgspec.Struct, frozen=True):
    """systemd's count of restarts at the last look, and when it rose."""

    boot: str = ""
    count: int | None = None
    restarts: tuple[float, ...] = ()


def read(settings: ServiceSettings, host: Host) -> Reading:
    """Ask systemd."""
    unit = systemd.unit(host, settings.unit)
    boot = files.read_word(host.path("/proc/sys/kernel/random/boot_id")) or ""
    return Reading(unit, time.clock_gettime(time.CLOCK_MONOTONIC), boot)


def judge(settings: ServiceSettings, reading: Reading, memory: Memory) -> Observation:
    """By its state now, then by how often it was restarted."""
    unit = reading.unit
    past = _past(recall(memory, Past), reading)
    kept = keep(past)
    facts: dict[str, Measurement] = {"unit": settings.unit, "state": f"{unit.active} ({unit.sub})"}
    if unit.load == "not-found" and unit.active != "active":
        return fail("service.absent", facts, memory=kept)
    facts |= {"restarts_count": unit.restarts, "restarts_per_hour": len(past.restarts)}
    if unit.active == "active" and unit.active_since:
        facts["running_s"] = round(max(0.0, reading.now - unit.active_since), 1)
    if unit.pid:
        facts["pid"] = unit.pid
    evidence = _evidence(unit)
    if unit.active in {"active", "reloading", "refreshing"}:
        if _keeps_restarting(settings, reading, past):
            return warn("service.restarting", facts, *evidence, memory=kept)
        return ok(facts, *evidence, memory=kept)
    return _down(unit, facts, evidence, kept)


def _down(unit: systemd.Unit, facts: dict[str, Measurement], evidence: list[str], kept: Memory) -> Observation:
    if unit.active == "failed" or unit.load in {"error", "bad-setting"}:
        facts["result"] = unit.result or unit.load
        return fail("service.failed", facts, *evidence, memory=kept)
    if unit.sub.startswith("auto-restart"):
        return fail("service.restarting", facts, *evidence, memory=kept)
    if unit.type == "oneshot" and unit.load == "loaded" and unit.result in {"", "success"}:
        return ok(facts, "it is of type oneshot: it runs, and ends by itself", *evidence, memory=kept)
    status = warn if unit.active in {"activating", "deactivating"} else fail
    return status("service.stopped", facts, *evidence, memory=kept)


def _keeps_restarting(settings: ServiceSettings, reading: Reading, past: Past) -> bool:
    unit = reading.unit
    is_young = unit.active_since > 0 and reading.now - unit.active_since < YOUNG_S
    return len(past.restarts) > settings.max_restarts or (is_young and unit.restarts > settings.max_restarts)


def _evidence(unit: systemd.Unit) -> list[str]:
    found = []
    if unit.load == "masked":
        found.append("the unit is masked: it cannot be started")
    elif unit.load not in {"loaded", ""}:
        found.append(f"systemd could not load the unit: {unit.load}")
    if unit.result not in {"", "success"}:
        found.append(f"result of its last run: {unit.result}" + (f", {unit.exit}" if unit.exit else ""))
    if unit.file_state == "disabled":
        found.append("the unit is not enabled: it does not come up by itself after a restart of this PC")
    return found


def _past(past: Past, reading: Reading) -> Past:
    """Each rise of systemd's count is so many restarts now; it starts anew when somebody starts the service by hand."""
    if past.boot != reading.boot:
        past = Past(reading.boot)
    recent = tuple(moment for moment in past.restarts if 0 <= reading.now - moment < HOUR)
    rise = max(0, reading.unit.restarts - past.count) if past.count is not None else 0
    return Past(reading.boot, reading.unit.restarts, (*recent, *[reading.now] * min(rise, 100))[-100:])


KIND = Kind(
    name="service",
    summary="state of a systemd unit, and how often it was restarted",
    settings=ServiceSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.unit,
    impact=Impact.STOP,
    reasons={
        "service.stopped": "the unit is not active; a warning while it starts or stops",
        "service.failed": "it ended with an error, or systemd cannot load it",
        "service.restarting": "systemd is about to restart it, or did so more than `max_restarts` times in an hour",
        "service.absent": "systemd knows no such unit",
    },
    example={"unit": "pos.service"},
)
