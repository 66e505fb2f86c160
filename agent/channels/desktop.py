"""Who sits at this PC, and can their screen show a message? Through the session bus of whoever is logged in.

No network is needed. A session bus takes calls from its own user alone: where the agent runs as somebody else, it needs
the right to act for them (docs/channels.md, desktop).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from agent.channels.errand import Errand, fitted
from agent.config.channels import Desktop
from agent.outcome import Outcome, delivered, failed, refused
from probes.host import command
from probes.model import NotFitted

SESSIONS, USERS = Path("/run/systemd/sessions"), Path("/run/user")
URGENCY = {"critical": ("critical", 2), "warning": ("normal", 1), "info": ("low", 0)}
_MOST = 1000
_GRAPHICAL = ("x11", "wayland", "mir")


class Seat(msgspec.Struct, frozen=True):
    """Somebody's session bus."""

    uid: int
    bus: str
    display: str = ""

    @property
    def name(self) -> str:
        """The user's name, where there is one."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"user {self.uid}"


def deliver(errand: Errand[Desktop]) -> Outcome:
    """Show it on every screen; one that shows it is enough."""
    found = list(dict.fromkeys(seats(os.environ)))
    if not found:
        return failed("nobody is logged in at a desktop")
    outcomes = {seat.name: _show(errand, seat) for seat in found}
    shown = [name for name, outcome in outcomes.items() if outcome.ok]
    if shown:
        return delivered(f"shown to {', '.join(shown)}")
    detail = "; ".join(f"{name}: {outcome.detail}" for name, outcome in outcomes.items())
    return refused(detail) if all(outcome.permanent for outcome in outcomes.values()) else failed(detail)


def seats(env: Mapping[str, str]) -> Iterator[Seat]:
    """The session buses of those logged in at a graphical desktop, as systemd-logind knows them; else our own."""
    for path in sorted(SESSIONS.glob("*")) if SESSIONS.is_dir() else ():
        facts = _facts(path)
        uid, type_ = facts.get("UID", ""), facts.get("TYPE", "")
        if facts.get("CLASS") == "user" and type_ in _GRAPHICAL and facts.get("STATE") != "closing" and uid.isdecimal():
            bus = USERS / uid / "bus"
            # A directory that we may not enter hides the bus, not the person.
            if _may_exist(bus):
                yield Seat(int(uid), f"unix:path={bus}", facts.get("DISPLAY", ""))
    own = env.get("DBUS_SESSION_BUS_ADDRESS")
    if own and (env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")):
        yield Seat(os.getuid(), own, env.get("DISPLAY", ""))


def _may_exist(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True


def _facts(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def _show(errand: Errand[Desktop], seat: Seat) -> Outcome:
    env = {"DBUS_SESSION_BUS_ADDRESS": seat.bus, "XDG_RUNTIME_DIR": str(USERS / str(seat.uid))}
    env |= {"DISPLAY": seat.display} if seat.display else {}
    for argv in (_notify_send(errand), _busctl(errand, seat)):
        try:
            ended = command.run(errand.host, [*_as_user(seat.uid), *argv], env=env)
        except NotFitted:
            continue
        if ended.exit_code == 0:
            return delivered()
        said = (ended.stderr.strip() or ended.stdout.strip()).rpartition("\n")[2]
        if said.startswith("setpriv: "):  # its own words: what it should run has not run
            if said.endswith("No such file or directory"):
                continue
            return refused(f"posagent may not act for this user ({said}); docs/channels.md says how it may")
        return failed(said or f"{argv[0]} ended with {ended.exit_code}")
    return refused("there is neither notify-send (package libnotify-bin) nor busctl on this PC")


def _as_user(uid: int) -> list[str]:
    """What goes before a command that must run as somebody else."""
    if uid == os.getuid():
        return []
    gid = pwd.getpwuid(uid).pw_gid
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--inh-caps=-all", "--"]


def _notify_send(errand: Errand[Desktop]) -> list[str]:
    message = errand.message
    urgency, _ = URGENCY.get(message.severity, URGENCY["warning"])
    return ["notify-send", "--app-name=posagent", f"--urgency={urgency}", "--", message.subject, _text(errand)]


def _busctl(errand: Errand[Desktop], seat: Seat) -> list[str]:
    _, urgency = URGENCY.get(errand.message.severity, URGENCY["warning"])
    name = "org.freedesktop.Notifications"
    call = ["busctl", f"--address={seat.bus}", "call", name, "/org/freedesktop/Notifications", name, "Notify"]
    stays = "0" if urgency == 2 else "-1"
    hints = ["1", "urgency", "y", str(urgency)]
    return [
        *call,
        "susssasa{sv}i",
        "--",
        "posagent",
        "0",
        "",
        errand.message.subject,
        _text(errand),
        "0",
        *hints,
        stays,
    ]


def _text(errand: Errand[Desktop]) -> str:
    """Notification servers read a little HTML in the body."""
    text = fitted(errand.message.text, _MOST)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
