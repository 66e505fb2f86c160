"""What does systemd say of a unit? Asked through `systemctl show`, which every user may."""

from __future__ import annotations

import re

import msgspec

from probes.host import Host, command
from probes.model import Denied, NotFitted, Unsupported

_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "Result", "Type", "NRestarts", "MainPID", "UnitFileState"),
    *("ExecMainCode", "ExecMainStatus", "ActiveEnterTimestampMonotonic", "StateChangeTimestampMonotonic"),
)
_EXITS = {"1": "exit status", "2": "killed by signal", "3": "dumped core on signal"}
_BUS = re.compile(r"Failed to connect to bus|System has not been booted with systemd|Host is down", re.IGNORECASE)


class Unit(msgspec.Struct, frozen=True):
    """One unit, in systemd's own words. Times in seconds after the kernel's start, 0 where it never was."""

    load: str = ""
    active: str = ""
    sub: str = ""
    result: str = ""
    type: str = ""
    file_state: str = ""
    restarts: int = 0
    pid: int = 0
    active_since: float = 0.0
    changed_at: float = 0.0
    exit: str = ""
    """How its main program last ended: "exit status 203", "killed by signal 9"; empty while it runs."""


def unit(host: Host, name: str) -> Unit:
    """The state of a unit, `.service` being understood. Raises Unsupported where systemd does not rule."""
    if not host.is_this_machine or not host.path("/run/systemd/system").is_dir():
        raise Unsupported("this system is not run by systemd; use a probe of kind `process` instead", why="no_systemd")
    shown = ",".join(_PROPERTIES)
    try:
        outcome = command.run(host, ["systemctl", "show", "--no-pager", f"--property={shown}", "--", name])
    except NotFitted as error:
        raise Unsupported("there is no systemctl", why="no_systemctl") from error
    complaint = outcome.stderr.strip()
    said = complaint[:200] or outcome.signal or f"exit code {outcome.exit_code}"
    if _BUS.search(complaint):
        raise Unsupported(f"systemd does not answer: {said}", why="systemd_silent", said=said)
    if outcome.exit_code != 0:
        if "denied" in complaint.lower():
            raise Denied(f"systemd does not tell this user: {said}", why="systemd_denied", said=said)
        raise Unsupported(f"systemctl show failed: {said}", why="systemctl_failed", said=said)
    return parse(outcome.stdout)


def parse(text: str) -> Unit:
    """`KEY=value` lines as systemctl prints them; what is missing or broken is left at its default."""
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    how = _EXITS.get(said.get("ExecMainCode", ""), "")
    return Unit(
        load=said.get("LoadState", ""),
        active=said.get("ActiveState", ""),
        sub=said.get("SubState", ""),
        result=said.get("Result", ""),
        type=said.get("Type", ""),
        file_state=said.get("UnitFileState", ""),
        restarts=_number(said.get("NRestarts")),
        pid=_number(said.get("MainPID")),
        active_since=_number(said.get("ActiveEnterTimestampMonotonic")) / 1e6,
        changed_at=_number(said.get("StateChangeTimestampMonotonic")) / 1e6,
        exit=f"{how} {_number(said.get('ExecMainStatus'))}" if how else "",
    )


def _number(word: str | None) -> int:
    return int(word) if word is not None and re.fullmatch(r"[0-9]{1,18}", word) else 0
