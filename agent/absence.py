"""Why was the store dark? Power cut, shutdown, agent stopped or crashed; while it runs: suspend, a clock that jumped.

The agent leaves marks while it lives (`alive`) and when it stops in good order (`clean_stop`). At the next start they
tell, together with the kernel's boot id, what came between. All but the readings at the end of this file is pure.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.store import Event
from probes.model import Scalar

LEAP_S = 2.0
"""Clocks that part by more than this between two turns of the main loop did not merely drift."""
ASKING_S = 2.0
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class Trace(msgspec.Struct, frozen=True):
    """What an agent left behind: in which boot, whether and why it stopped, and when it last lived. Unix seconds."""

    boot_id: str
    clean_stop: float | None
    shutting_down: bool
    last_seen: float


def alive(now: float, boot: str) -> dict[str, str]:
    """The marks of an agent that lives."""
    return {"boot_id": boot, "last_seen": f"{now:.3f}", "clean_stop": "", "shutting_down": ""}


def clean_stop(now: float, shutting_down: bool) -> dict[str, str]:
    """The marks of one that stops in good order, alone or together with its PC."""
    return {"last_seen": f"{now:.3f}", "clean_stop": f"{now:.3f}", "shutting_down": "yes" if shutting_down else ""}


def trace_from(mark: Callable[[str], str | None]) -> Trace | None:
    """What the marks in the store say; None when no agent ever lived here, or its marks make no sense."""
    seen = _moment(mark("last_seen"))
    if seen is None:
        return None
    return Trace(mark("boot_id") or "", _moment(mark("clean_stop")), mark("shutting_down") == "yes", seen)


def explain_gap(trace: Trace | None, boot_id: str, booted_at: float, now: float) -> Event | None:
    """Why nobody watched between the last agent and this one; None for the first one ever.

    The event is `dark`. Its facts: `why` (`power_cut`, also a reset or a panic, which leave the same trace; `shutdown`,
    `agent_stopped`, `agent_crashed`), `from` and `until` (Unix seconds), and `seconds`, unless the wall clock was set
    back in between, as at a start without a clock battery: then nobody can know.
    """
    if trace is None:
        return None
    same_boot = bool(boot_id) and trace.boot_id == boot_id
    if trace.clean_stop is None:
        why, begin = ("agent_crashed" if same_boot else "power_cut"), trace.last_seen
    elif trace.shutting_down and not same_boot:
        why, begin = "shutdown", trace.clean_stop
    else:
        why, begin = "agent_stopped", trace.clean_stop
    end = booted_at if why in {"power_cut", "shutdown"} else now
    facts: dict[str, Scalar] = {"why": why, "from": round(begin, 3), "until": round(end, 3)}
    if end >= begin:
        facts["seconds"] = round(end - begin, 1)
    return Event(now, "dark", facts)


class Clocks(NamedTuple):
    """Three clocks read at once: seconds."""

    wall: float
    monotonic: float
    """Stands still while the PC sleeps, is set by nobody."""
    boottime: float
    """Goes on while the PC sleeps, is set by nobody."""


class Clockwork:
    """Did the clocks part since the last turn?"""

    def __init__(self) -> None:
        self._last: Clocks | None = None

    def parted(self, wall: float, monotonic: float) -> bool:
        """Whether `compare` may have something to tell. Cheap, for whoever comes by often."""
        last = self._last
        return last is not None and abs(wall - last.wall - (monotonic - last.monotonic)) > LEAP_S

    def compare(self, wall: float, monotonic: float, boottime: float) -> list[Event]:
        """`suspended` when the PC slept since the last call, `clock.jumped` when somebody set the wall clock.

        A sleep by itself is no jump, and a clock that is slowly drawn right is none either.
        """
        last, self._last = self._last, Clocks(wall, monotonic, boottime)
        if last is None:
            return []
        passed = boottime - last.boottime
        slept = passed - (monotonic - last.monotonic)
        jumped = wall - last.wall - passed
        found = []
        if slept > LEAP_S:
            found.append(Event(wall, "suspended", {"seconds": round(slept, 1)}))
        if abs(jumped) > LEAP_S:
            facts: dict[str, Scalar] = {
                "seconds": round(jumped, 1),
                "from": round(wall - jumped, 3),
                "to": round(wall, 3),
            }
            found.append(Event(wall, "clock.jumped", facts))
        return found


def clock_time(at: float) -> str:
    """A moment as people of this PC read it: `11-22 07:35`."""
    try:
        return time.strftime("%m-%d %H:%M", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "?"


def _moment(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


# Readings


def read_clocks() -> Clocks:
    """The clocks now."""
    return Clocks(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))


def boot_id(root: Path = Path("/")) -> str:
    """Which start of the kernel this is; empty where it does not say."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def booted_at() -> float:
    """When the kernel started, by the wall clock of now: Unix seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def is_shutting_down(root: Path = Path("/")) -> bool:
    """Is the whole PC going down or restarting, as systemd sees it? False where systemd does not rule.

    systemd is asked itself: it knows from the first moment, for every way of going down. Should it, or the bus to it,
    be gone already, then what it left in /run counts: a planned time that has come, or that nobody may log in any more.
    """
    if not (root / "run/systemd/system").is_dir():
        return False
    said = _system_state() if root == Path("/") else ""
    if said:
        return said == "stopping"
    planned = _planned(root / "run/systemd/shutdown/scheduled")
    return (planned is not None and planned <= time.time()) or (root / "run/nologin").exists()


def _system_state() -> str:
    """Such as `running`, `degraded`, `stopping`; empty when nobody answers."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(
            ["systemctl", "is-system-running"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASKING_S,
            env=ENVIRONMENT,
            check=False,
        )
        said = asked.stdout.strip()
        return "" if said in {"unknown", "offline"} else said
    return ""


def _planned(file: Path) -> float | None:
    """When `shutdown +5` is to happen: Unix seconds."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    found = _moment(said.get("USEC"))
    return None if found is None or said.get("MODE", "") not in {"poweroff", "reboot", "halt", "kexec"} else found / 1e6
