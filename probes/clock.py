"""Is the till's clock right, and does anything keep it right? Certificates, settlement and receipts depend on it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from probes import endpoints
from probes.host import Host, ntp, resolve
from probes.host.ntp import Kernel, Sample
from probes.model import (
    HostName,
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    Seconds,
    Unsupported,
    because,
    fail,
    ok,
    warn,
)

MARGIN = 0.1
EARLIEST = 1_767_225_600.0  # 2026-01-01, the year of this release: no right clock shows less
LATEST = EARLIEST + 30 * 365.25 * 86400
WITNESSES = ("/var/lib/systemd/timesync/clock", "/usr/lib/clock-epoch")
"""Files whose time stamp was the right time once: timesyncd's last known time, the system image's build."""
KEEPERS = {
    "/run/systemd/timesync/synchronized": "systemd-timesyncd",
    "/run/chrony/chronyd.pid": "chrony",
    "/run/chronyd.pid": "chrony",
    "/run/ntpd.pid": "ntpd",
    "/run/ntpsec/ntpd.pid": "ntpsec",
}


class ClockSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to compare the clock with, and how closely."""

    server: Annotated[
        HostName | None,
        Meta(description="a time server (host or host:port) to compare with; default: none, the kernel's word only"),
    ] = None
    max_offset: Annotated[Seconds, Meta(description="further off than this is wrong")] = Seconds(30)


class Reading(msgspec.Struct, frozen=True):
    """The wall clock, what the kernel says of it, and what a server said. Seconds since 1970, offsets in seconds."""

    now: float
    kernel: Kernel
    not_before: float = EARLIEST
    witness: str = ""
    keeper: str = ""
    container: bool = False
    sample: Sample | None = None
    silence: str = ""


def read(settings: ClockSettings, host: Host) -> Reading:
    """The kernel, the witnesses on disk, then the server."""
    sooner = Host(root=host.root, ends=host.ends - min(MARGIN, host.left() / 4))
    kernel = ntp.kernel() if host.is_this_machine else Kernel(None, "another machine's file system")
    not_before, witness = _witness(host)
    sample, silence = None, ""
    if settings.server:
        try:
            sample = _ask(sooner, *endpoints.split(settings.server, ntp.PORT))
        except (ntp.NoReply, resolve.Unresolved) as error:
            silence = str(error)
    return Reading(
        now=time.time(),
        kernel=kernel,
        not_before=not_before,
        witness=witness,
        keeper=next((name for path, name in KEEPERS.items() if host.path(path).exists()), ""),
        container=_in_container(host),
        sample=sample,
        silence=silence,
    )


def judge(settings: ClockSettings, reading: Reading, _memory: Memory) -> Observation:
    """A measured offset outranks all; then times that cannot be; then a useless server; then the kernel's word."""
    facts, evidence = _facts(settings, reading), _evidence(reading)
    sample = reading.sample
    if sample and not sample.refused:
        if abs(sample.offset) <= settings.max_offset:
            return ok(facts, *evidence)
        return fail("clock.skewed", {**facts, **_apart(-sample.offset)}, *evidence)
    if away := _impossible(settings, reading):
        facts["offset_s"] = round(away, 1)
        return fail("clock.skewed", {**facts, **_apart(away, is_least=True)}, *evidence)
    if settings.server:
        return warn("clock.bad_server" if sample else "clock.no_reply", facts, *evidence)
    if reading.kernel.synchronised is None:
        said = reading.kernel.detail
        raise Unsupported(
            f"the kernel does not say whether its clock is kept ({said}); set `server`", why="clock_untold", said=said
        )
    return ok(facts, *evidence) if reading.kernel.synchronised else warn("clock.unsynchronised", facts, *evidence)


def _facts(settings: ClockSettings, reading: Reading) -> dict[str, Measurement]:
    """`offset_s` is how far this PC's clock is ahead (+) or behind (-); left out when nobody told."""
    facts: dict[str, Measurement] = {
        "server": settings.server or "",
        "max_offset_s": float(settings.max_offset),
        "kept_by": reading.keeper,
    }
    if reading.kernel.synchronised is not None:
        facts["synchronised"] = reading.kernel.synchronised
    if reading.sample:
        facts["stratum"] = reading.sample.stratum
        facts["said"] = reading.sample.refused
        if not reading.sample.refused:
            facts["offset_s"] = round(-reading.sample.offset, 4)
            facts["rtt_ms"] = round(reading.sample.round_trip * 1000, 2)
    return facts


def _apart(offset: float, is_least: bool = False) -> dict[str, Measurement]:
    """How far the clock is off, and which way; a time that cannot be tells only how far at least."""
    if offset < 0:
        way = (
            because("or more behind", why="clock_surely_behind") if is_least else because("behind", why="clock_behind")
        )
    else:
        way = because("or more ahead", why="clock_surely_ahead") if is_least else because("ahead", why="clock_ahead")
    return {"off_by_s": round(abs(offset), 4), **way}


def _evidence(reading: Reading) -> list[str]:
    said = [reading.kernel.detail]
    if reading.container:
        said.append("in a container: clock and kernel are the host's")
    if reading.keeper:
        said.append(f"{reading.keeper} has left its trace in /run")
    if reading.sample:
        answer = reading.sample
        stated = answer.refused or f"this clock is {-answer.offset:+.4f} s off, within {answer.round_trip / 2:.4f} s"
        said.append(f"{answer.server}: {stated}")
    if reading.silence:
        said.append(reading.silence)
    if reading.now < reading.not_before:
        said.append(f"it was later than this at {reading.witness}")
    return said


def _impossible(settings: ClockSettings, reading: Reading) -> float:
    """How far the clock stands outside the times that can be; 0 when it does not."""
    if reading.now < reading.not_before - settings.max_offset:
        return reading.now - reading.not_before
    return max(0.0, reading.now - LATEST)


def _witness(host: Host) -> tuple[float, str]:
    """The latest time that surely has passed, and who says so."""
    latest, name = EARLIEST, "this release"
    for path in WITNESSES:
        try:
            changed = host.path(path).stat().st_mtime
        except OSError:
            continue
        if latest < changed < LATEST:
            latest, name = changed, path
    return latest, name


def _ask(host: Host, name: str, port: int) -> Sample:
    """One address of each family, so that a dead IPv6 does not hide a living IPv4."""
    families: dict[bool, str] = {}
    for address in resolve.resolve(host, name).addresses:
        families.setdefault(":" in address, address)
    return ntp.ask(host, tuple(families.values()), port)


def _in_container(host: Host) -> bool:
    return any(host.path(path).exists() for path in ("/run/.containerenv", "/.dockerenv", "/run/systemd/container"))


def _problems(settings: ClockSettings) -> Iterable[tuple[str, str]]:
    if settings.server is not None:
        try:
            host, _port = endpoints.split(settings.server, ntp.PORT)
            yield from endpoints.without_zone("server", host)
        except ValueError:
            yield "server", 'expected a host such as "ntp.aliyun.com", or "host:port"'


KIND = Kind(
    name="clock",
    summary="the clock against a time server, and the kernel's word on whether anything keeps it right",
    settings=ClockSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.server or "this PC's clock",
    impact=Impact.STOP,
    problems=_problems,
    example={"server": "ntp.store.example"},
    reasons={
        "clock.skewed": "further from the server than `max_offset`, or a time that cannot be, as before this release",
        "clock.unsynchronised": "no `server` set, and the kernel (in a container the host's) says nothing keeps time",
        "clock.no_reply": "the time server does not answer: whether the clock is right is not known",
        "clock.bad_server": "the time server is of no use: not synchronised itself, sends us away, or answers nonsense",
    },
)
