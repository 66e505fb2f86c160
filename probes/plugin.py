"""What does a plugin that was written for Nagios, Icinga or Naemon say about this till?"""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

import msgspec
from msgspec import Meta

from probes import perfdata
from probes.host import Host, command
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    NotFitted,
    Observation,
    OutOfTime,
    Settings,
    Status,
    fail,
    ok,
    warn,
)


class PluginSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One plugin and its arguments. It is run without a shell, in a process group of its own."""

    command: Annotated[
        command.Command,
        Meta(description='the plugin and its arguments: ["/usr/lib/nagios/plugins/check_load", "-w", "5", "-c", "10"]'),
    ]


class Reading(msgspec.Struct, frozen=True):
    """How the plugin ended and what it said."""

    exit_code: int | None = None
    signal: str | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    timed_out: str = ""
    absent: str = ""


def read(settings: PluginSettings, host: Host) -> Reading:
    """Run it to its end or to the deadline."""
    try:
        ended = command.run(host, settings.command)
    except OutOfTime as error:
        return Reading(timed_out=str(error))
    except NotFitted as error:
        return Reading(absent=str(error))
    return Reading(ended.exit_code, ended.signal, ended.stdout, ended.stderr, ended.truncated)


def judge(settings: PluginSettings, reading: Reading, _memory: Memory) -> Observation:
    """0 is ok, 1 warning, 2 critical; everything else is unknown, however well it may be meant."""
    name = PurePath(settings.command[0]).name
    if reading.absent:
        return _unknown("plugin.absent", {"plugin": name}, reading.absent)
    if reading.timed_out:
        return _unknown("plugin.timeout", {"plugin": name}, reading.timed_out)
    output = perfdata.parse(reading.stdout)
    facts: dict[str, Measurement] = {
        "plugin": name,
        "text": (output.text or perfdata.parse(reading.stderr).text or "no output")[:256],
    }
    if reading.exit_code is not None:
        facts["exit_code"] = reading.exit_code
    facts.update(perfdata.measurements(output.performance, ("plugin", "text", "exit_code")))
    evidence = (*output.details[:10], *_oddities(reading))
    match reading.exit_code:
        case 0:
            return ok(facts, *evidence)
        case 1:
            return warn("plugin.warning", facts, *evidence)
        case 2:
            return fail("plugin.critical", facts, *evidence)
        case _:
            return _unknown("plugin.unknown", facts, *evidence)


def _oddities(reading: Reading) -> list[str]:
    odd = []
    if reading.signal is not None:
        odd.append(f"ended by {reading.signal}" + (" for endless output" if reading.truncated else ""))
    elif reading.truncated:
        odd.append("it said more than is kept")
    if reading.exit_code is not None and not 0 <= reading.exit_code <= 3:
        odd.append(f"exit code {reading.exit_code} is none of a plugin's (0 to 3)")
    complaint = perfdata.parse(reading.stderr).text
    if complaint and reading.exit_code != 0:
        odd.append(f"stderr: {complaint}")
    return odd


def _unknown(reason: str, facts: dict[str, Measurement], *evidence: str) -> Observation:
    return Observation(status=Status.UNKNOWN, reason=reason, measurements=facts, evidence=evidence)


KIND = Kind(
    name="plugin",
    summary="any Nagios-compatible plugin: its exit code, its text and its performance data",
    settings=PluginSettings,
    read=read,
    judge=judge,
    target=lambda settings: PurePath(settings.command[0]).name,
    impact=Impact.DEGRADE,
    reasons={
        "plugin.warning": "the plugin warns (exit code 1)",
        "plugin.critical": "the plugin reports trouble (exit code 2)",
        "plugin.unknown": "the plugin could not tell (exit code 3), or ended in a way no plugin should",
        "plugin.timeout": "the plugin did not end in time; it and its children were killed",
        "plugin.absent": "there is no such plugin",
    },
    example={"command": ["/usr/lib/nagios/plugins/check_load", "-w", "5,4,3", "-c", "10,8,6"]},
)
