"""Channels from inside the service's sandbox, under a real systemd: journal, credential, child processes, the screen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.systemd_box import REPOSITORY, SystemdBox

pytestmark = pytest.mark.timeout(120)

CONFIG = """
[channels.log]
kind = "journal"
[channels.program]
kind = "command"
command = ["/bin/sh", "-c", "echo $TOKEN | wc -c"]
secrets = { TOKEN = { credential = "sms-token" } }
[channels.anything]
kind = "apprise"
url = { env = "ANYTHING" }
[channels.screen]
kind = "desktop"
"""
TELL = """
import json
from pathlib import Path
from agent.channels import send
from agent.config import load
from tests.agent.doubles import MESSAGE
for name, channel in load(Path("/run/tell/config.toml")).channels.items():
    outcome = send(channel, MESSAGE)
    print(json.dumps([name, outcome.ok, outcome.permanent, outcome.detail]), flush=True)
"""
CASHIER = 65534


def sandbox() -> str:
    """What the service may and may not, as systemd/posagent.service says."""
    text = (REPOSITORY / "systemd/posagent.service").read_text()
    return text[text.index("# ---- Sandbox") : text.index("[Install]")]


@pytest.fixture(scope="module")
def box() -> Iterator[SystemdBox]:
    with SystemdBox() as up:
        up.run(
            "sh",
            "-c",
            "useradd --system --user-group --no-create-home posagent; mkdir -p /run/tell /run/systemd/sessions; echo hunter2-7f3a9c51 > /run/tell/token",
        )
        for name, text in (("config.toml", CONFIG), ("tell.py", TELL)):
            up.run("sh", "-c", f'printf "%s" "$1" > /run/tell/{name}', "sh", text)
        up.unit(
            "tell.service",
            "[Service]\nType=oneshot\nUser=posagent\nGroup=posagent\nStateDirectory=posagent\n"
            f"Environment=PYTHONPATH={REPOSITORY} PYTHONDONTWRITEBYTECODE=1 ANYTHING=json://127.0.0.1:8081/hunter2-7f3a9c51\n"
            "LoadCredential=sms-token:/run/tell/token\nStandardOutput=truncate:/run/tell/told\n"
            f"BindReadOnlyPaths={sys.prefix} {sys.base_prefix} {REPOSITORY}\n"  # wherever they lie, /tmp included
            f"ExecStart={sys.executable} /run/tell/tell.py\n" + sandbox(),
        )
        up.unit("web.service", f"[Service]\nExecStart={sys.executable} -m http.server --bind 127.0.0.1 8081\n")
        up.run("systemctl", "start", "web")
        yield up


def tell(box: SystemdBox) -> dict[str, list[Any]]:
    """What became of the message, by channel."""
    box.run("systemctl", "start", "tell", check=False)
    lines = box.run("cat", "/run/tell/told", check=False).splitlines()
    assert lines, box.run("journalctl", "-u", "tell", "--no-pager", "-o", "cat")
    return {name: rest for name, *rest in map(json.loads, lines)}


def test_from_the_sandbox_journal_program_and_apprise_are_reached(box: SystemdBox) -> None:
    told = tell(box)
    assert told["log"] == [True, False, "/run/systemd/journal/socket"]
    assert told["program"] == [True, False, "17"]  # the credential, and a line end
    # The double speaks no POST: that is what Apprise's child was told.
    assert told["anything"][:2] == [False, False]
    assert "501" in told["anything"][2]
    assert told["screen"] == [False, False, "nobody is logged in at a desktop"]


def test_the_journal_finds_a_message_by_its_fields(box: SystemdBox) -> None:
    tell(box)
    box.run("journalctl", "--sync")
    found = [
        json.loads(line)
        for line in box.run(
            "journalctl", "-o", "json", "POSAGENT_CAUSE=lan.cable_unplugged", "POSAGENT_WHAT=opened"
        ).splitlines()
    ]
    assert found
    assert found[-1]["MESSAGE"].startswith(
        "0042 T01: card payments down: network cable unplugged\nNetwork cable unplugged."
    )
    assert (found[-1]["PRIORITY"], found[-1]["_SYSTEMD_UNIT"]) == ("2", "tell.service")
    assert "hunter2" not in box.run("journalctl", "--no-pager", "-u", "tell")


def test_the_screen_needs_the_right_that_its_drop_in_gives(box: SystemdBox) -> None:
    home = f"/run/user/{CASHIER}"
    box.run(
        "sh",
        "-c",
        f"mkdir -p {home}; chown {CASHIER} {home}; chmod 700 {home}; printf 'UID={CASHIER}\\nCLASS=user\\nTYPE=x11\\nSTATE=active\\n' > /run/systemd/sessions/2",
    )
    bus = f"unix:path={home}/bus"
    box.unit(
        "bus.service", f"[Service]\nUser={CASHIER}\nExecStart=/usr/bin/dbus-daemon --session --nofork --address={bus}\n"
    )
    server = f"{REPOSITORY}/tests/lab/notifications.py"
    box.unit(
        "shows.service",
        f"[Unit]\nAfter=bus.service\n[Service]\nRestart=on-failure\nRestartSec=100ms\nExecStart={sys.executable} -u {server} {CASHIER} {bus} {home}/shown\n",
    )
    box.run("systemctl", "start", "bus", "shows")
    refused = tell(box)["screen"]
    assert refused[:2] == [False, True]
    assert refused[2].startswith("nobody: posagent may not act for this user (setpriv: ")
    drop_in = Path(REPOSITORY / "systemd/drop-ins/desktop.conf").read_text()
    box.run("sh", "-c", "mkdir -p /run/systemd/system/tell.service.d")
    box.unit("tell.service.d/desktop.conf", drop_in)
    box.run(
        "sh",
        "-c",
        "for i in $(seq 50); do setpriv --reuid=65534 --clear-groups busctl --address=$0 list 2>/dev/null | grep -q Notifications && exit; sleep 0.1; done",
        bus,
        check=False,
    )
    assert tell(box)["screen"] == [True, False, "shown to nobody"]
    [line] = box.run("cat", f"{home}/shown").splitlines()
    assert json.loads(line)["summary"] == "0042 T01: card payments down: network cable unplugged"
