"""A message on the screen: a real session bus of another user, a real notification server on it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.channels import desktop
from agent.config.channels import Desktop
from tests.agent.doubles import GONE, MESSAGE, deliver

CASHIER = pwd.getpwnam("nobody")
AS_CASHIER = ["setpriv", f"--reuid={CASHIER.pw_uid}", f"--regid={CASHIER.pw_gid}", "--clear-groups", "--"]
SCREEN = Desktop(kind="desktop", timeout=10)  # type: ignore[arg-type]


class Session:
    """Somebody who is logged in, and what they have been shown."""

    def __init__(self, root: Path) -> None:
        self.home = root / "user" / str(CASHIER.pw_uid)
        self.file = self.home / "shown"
        self.bus = f"unix:path={self.home}/bus"

    def shown(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text("utf-8").splitlines()] if self.file.exists() else []


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The session of `nobody`, whose bus no other user may enter."""
    root = Path("/run") / f"posagent-lab-{os.getpid()}"
    found = Session(root)
    found.home.mkdir(parents=True)
    (root / "sessions").mkdir()
    (root / "sessions" / "2").write_text(f"UID={CASHIER.pw_uid}\nCLASS=user\nTYPE=wayland\nSTATE=active\n")
    os.chown(found.home, CASHIER.pw_uid, CASHIER.pw_gid)
    found.home.chmod(0o700)
    monkeypatch.setattr(desktop, "SESSIONS", root / "sessions")
    monkeypatch.setattr(desktop, "USERS", root / "user")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    bus = subprocess.Popen([*AS_CASHIER, "dbus-daemon", "--session", "--nofork", f"--address={found.bus}"])
    try:
        ends = time.monotonic() + 5
        while not (found.home / "bus").exists():
            assert time.monotonic() < ends
            time.sleep(0.02)
        words = [sys.executable, str(Path(__file__).with_name("notifications.py")), str(CASHIER.pw_uid), found.bus]
        shows = subprocess.Popen([*words, str(found.file)], stdout=subprocess.PIPE, text=True)
        try:
            assert shows.stdout is not None
            assert shows.stdout.readline() == "ready\n"
            yield found
        finally:
            shows.kill()
            shows.communicate(timeout=5)
    finally:
        bus.kill()
        bus.wait(5)
        shutil.rmtree(root)


@pytest.mark.parametrize("with_libnotify", [True, False])
def test_whoever_is_logged_in_is_shown_the_message(
    with_libnotify: bool, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By notify-send, or by busctl where libnotify is not installed."""
    if not with_libnotify:
        monkeypatch.setattr(desktop, "_notify_send", lambda errand: ["/nowhere/notify-send"])
    nasty = msgspec.structs.replace(MESSAGE, subject="-- 断网 <b>", text="--help\n<i>&amp;\n" + "x" * 5000)
    for message in (MESSAGE, GONE, nasty):
        outcome = deliver(SCREEN, message)
        assert outcome.ok, outcome.detail
        assert outcome.detail == "shown to nobody"
    first, second, third = session.shown()
    assert (first["app"], first["summary"], first["urgency"]) == ("posagent", MESSAGE.subject, 2)
    assert first["body"].startswith("Network cable unplugged.\n")
    assert "10000 &lt;isp&gt; &amp; co" in first["body"]
    assert second["urgency"] == 0
    assert third["summary"] == "-- 断网 <b>"
    assert third["body"].startswith("--help\n&lt;i&gt;&amp;amp;\n")
    assert len(third["body"]) < 1100


@pytest.mark.usefixtures("session")
def test_without_the_right_to_act_for_them_it_says_how_to_get_it() -> None:
    """As the service runs: no capability at all."""
    code = (
        "from pathlib import Path; from agent.channels import desktop, send; from agent.config.channels import Desktop;"
        "from tests.agent.doubles import MESSAGE;"
        f"desktop.SESSIONS, desktop.USERS = Path({str(desktop.SESSIONS)!r}), Path({str(desktop.USERS)!r});"
        "outcome = send(Desktop(kind='desktop', timeout=10), MESSAGE); print(outcome.ok, outcome.permanent, outcome.detail)"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("False True nobody: posagent may not act for this user (setpriv: "), done.stdout
    assert "docs/channels.md says how it may" in done.stdout


def test_a_screen_that_does_not_answer_keeps_nobody_waiting(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Desktop(kind="desktop", timeout=1)  # type: ignore[arg-type]
    monkeypatch.setattr(desktop, "_notify_send", lambda errand: ["/bin/sleep", "30"])
    began = time.monotonic()
    outcome = deliver(stuck)
    assert time.monotonic() - began < 1.5
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert session.shown() == []


def test_a_bus_without_a_notification_server_is_passing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    other = session.home / "other"
    bus = subprocess.Popen([*AS_CASHIER, "dbus-daemon", "--session", "--nofork", f"--address=unix:path={other}"])
    try:
        ends = time.monotonic() + 5
        while not other.exists():
            assert time.monotonic() < ends
            time.sleep(0.02)
        monkeypatch.setattr(desktop, "seats", lambda env: [desktop.Seat(CASHIER.pw_uid, f"unix:path={other}")])
        outcome = deliver(SCREEN)
    finally:
        bus.kill()
        bus.wait(5)
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert "org.freedesktop.Notifications" in outcome.detail
