"""Does the POS software run, steadily, within its memory, and ready for callers?"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, capacity, files, processes
from probes.model import (
    Denied,
    Impact,
    Kind,
    Measurement,
    Memory,
    Observation,
    Pattern,
    Port,
    Settings,
    Text,
    fail,
    ok,
    warn,
)
from probes.recall import keep, recall

HOUR = 3600.0
UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
Size = Annotated[
    str, Meta(pattern=r"^[0-9]{1,12}(?:\.[0-9]{1,3})? ?(?:kB|MB|GB|KiB|MiB|GiB)$", title='a size such as "500MB"')
]
Listening = Annotated[str, Meta(pattern=r"^(?:\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]{1,5}$", title='"address:port"')]


class ProcessSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program, by its name or its command line. posagent and what it starts never match."""

    name: Annotated[
        Text | None, Meta(description="the program's file name, or that of the script an interpreter runs")
    ] = None
    match: Annotated[
        Pattern | None, Meta(description="regular expression to be found in the command line; with name: both must fit")
    ] = None
    max_memory: Annotated[
        Size | None,
        Meta(description='memory that all matching processes together may take: "500MB", "1.5GB", "512MiB"'),
    ] = None
    listens: Annotated[
        Port | Listening | None, Meta(description="TCP port on which it must wait for callers, or address:port")
    ] = None
    max_restarts: Annotated[int, Meta(ge=0, le=1000, description="restarts within an hour that are still well")] = 2


class Found(msgspec.Struct, frozen=True):
    """One matching process: what may be said of it. `started` in seconds after the kernel's start."""

    pid: int
    name: str
    started: float
    own_memory: int = 0
    shared_memory: int = 0


class Reading(msgspec.Struct, frozen=True):
    """What was found. `listening`: None when not asked or not to be seen. `holder`: who has the port instead."""

    found: tuple[Found, ...] = ()
    zombies: int = 0
    listening: bool | None = None
    holder: str = ""
    unseen: str = ""
    uptime: float = 0.0
    boot: str = ""


class Past(msgspec.Struct, frozen=True):
    """The process that was the oldest at the last look, and when others took its place (seconds of uptime)."""

    boot: str = ""
    pid: int = 0
    started: float = 0.0
    restarts: tuple[float, ...] = ()


def problems(settings: ProcessSettings) -> Iterator[tuple[str, str]]:
    """A program must be named somehow, and an address be one."""
    if settings.name is None and settings.match is None:
        yield "name", "expected name, match or both"
    if isinstance(settings.listens, str):
        try:
            address, port = _wanted(settings.listens)
            ipaddress.ip_address(address)
        except ValueError:
            port = 0
        if not 1 <= port <= 65535:
            yield "listens", 'expected 1..65535 or "address:port"'


def read(settings: ProcessSettings, host: Host) -> Reading:
    """Look through /proc once."""
    fitting = [process for process in processes.everything(host) if _fits(settings, process)]
    alive = [processes.with_memory(host, process) for process in fitting if process.runs]
    if not alive and not processes.sees_others(host):
        raise Denied(
            "the system hides other users' programs (hidepid); posagent needs the group that may see them",
            why="hidepid",
        )
    listening, holder, unseen = None, "", ""
    if settings.listens is not None and alive:
        listening, holder, unseen = _listening(host, settings.listens, alive)
    return Reading(
        found=tuple(
            Found(process.pid, process.name, process.started, process.own_memory, process.shared_memory)
            for process in sorted(alive, key=lambda process: (process.started, process.pid))
        ),
        zombies=len(fitting) - len(alive),
        listening=listening,
        holder=holder,
        unseen=unseen,
        uptime=capacity.uptime(host),
        boot=files.read_word(host.path("/proc/sys/kernel/random/boot_id")) or "",
    )


def judge(settings: ProcessSettings, reading: Reading, memory: Memory) -> Observation:
    """Absent, deaf, unsteady, fat: the first that holds."""
    past = _past(recall(memory, Past), reading)
    kept = keep(past)
    facts: dict[str, Measurement] = {"process": settings.name or settings.match or ""}
    zombies = [f"{reading.zombies} of that name died and were not buried (zombies)"] if reading.zombies else []
    if not reading.found:
        return fail("process.absent", facts, *zombies, memory=kept)
    facts |= {
        "count": len(reading.found),
        "pid": reading.found[0].pid,
        "running_s": round(max(0.0, reading.uptime - reading.found[0].started), 1),
        "memory_bytes": _memory(reading.found),
        "restarts_per_hour": len(past.restarts),
    }
    evidence = [*zombies, *([reading.unseen] if reading.unseen else [])]
    if settings.listens is not None:
        facts["listens"] = str(settings.listens)
        if reading.listening is False:
            holder = [f"the port is held by {reading.holder}"] if reading.holder else []
            return fail("process.not_listening", facts, *holder, *evidence, memory=kept)
    if len(past.restarts) > settings.max_restarts:
        return warn("process.restarting", facts, *evidence, memory=kept)
    if settings.max_memory is not None:
        facts["max_memory_bytes"] = _bytes(settings.max_memory)
        if _memory(reading.found) > _bytes(settings.max_memory):
            return warn("process.memory", facts, *evidence, memory=kept)
    return ok(facts, *evidence, memory=kept)


def _fits(settings: ProcessSettings, process: processes.Process) -> bool:
    if settings.name is not None and not processes.goes_by(process, settings.name):
        return False
    return settings.match is None or re.search(settings.match, process.command_line) is not None


def _listening(host: Host, listens: str | int, alive: list[processes.Process]) -> tuple[bool | None, str, str]:
    """Whether one of them has the port; else who has; and what could not be seen."""
    address, port = _wanted(listens)
    address = str(ipaddress.ip_address(address)) if address else ""
    waiting = processes.listeners(host, alive[0].pid)
    if waiting is None:
        return None, "", "which ports wait for callers cannot be read from /proc/net/tcp"
    inodes = {listener.inode for listener in waiting if listener.serves(address, port)}
    if not inodes:
        return False, "", ""
    theirs = [processes.sockets(host, process.pid) for process in alive]
    if any(seen and not inodes.isdisjoint(seen) for seen in theirs):
        return True, "", ""
    if None in theirs:
        return True, "", f"somebody listens on {listens}; whether it is this program this user may not see"
    others = (process for process in processes.everything(host) if process.pid not in {p.pid for p in alive})
    holder = next((p for p in others if not inodes.isdisjoint(processes.sockets(host, p.pid) or ())), None)
    return False, f"{holder.name} (pid {holder.pid})" if holder else "another program", ""


def _past(past: Past, reading: Reading) -> Past:
    """A restart is another oldest process than before; a restart of the whole PC is none."""
    if past.boot != reading.boot:
        past = Past(reading.boot)
    recent = tuple(moment for moment in past.restarts if 0 <= reading.uptime - moment < HOUR)[-100:]
    if not reading.found:
        return Past(past.boot, past.pid, past.started, recent)
    oldest = reading.found[0]
    if past.pid and (past.pid, past.started) != (oldest.pid, oldest.started):
        recent = (*recent, reading.uptime)
    return Past(past.boot, oldest.pid, oldest.started, recent)


def _memory(found: tuple[Found, ...]) -> int:
    """Of all together; what they share (mostly one program's text and libraries) is counted once."""
    return sum(one.own_memory for one in found) + max(one.shared_memory for one in found)


def _wanted(listens: str | int) -> tuple[str, int]:
    address, _colon, port = str(listens).rpartition(":")
    return address.strip("[]"), int(port)


def _bytes(size: str) -> int:
    found = re.fullmatch(r"([0-9.]+) ?(\w*)", size)
    return int(float(found[1]) * UNITS[found[2]]) if found else 0


KIND = Kind(
    name="process",
    summary="whether a program runs: its restarts, its memory, the port it must listen on",
    settings=ProcessSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.name or settings.match or "",
    impact=Impact.STOP,
    problems=problems,
    reasons={
        "process.absent": "no such program runs",
        "process.restarting": "it was started anew more than `max_restarts` times within the last hour",
        "process.memory": "it takes more than `max_memory`",
        "process.not_listening": "it runs, but does not wait for callers on the port of `listens`",
    },
    example={"name": "pos"},
)
