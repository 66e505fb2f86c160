"""posagent reload: does the daemon take the configuration as it is now? Asks it to, and waits for its answer."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from agent import screen, texts
from agent.cli import CONFIGURATION, Complaint
from agent.cli.configured import configured_language, daemon_pid, load, read_file, report_path, speaks, state_directory

WAIT_S, POLL_S = 5.0, 0.05
UNKNOWN, NOT_PERMITTED = 3, 77
"""77: EX_NOPERM of sysexits.h."""
CLOCK_S = 0.002
"""A report tells milliseconds, rounded."""
ANSWERS = ("reloaded", "reload.refused")


def run(arguments: argparse.Namespace) -> int:
    """0 when the new configuration is in force, 78 when it is wrong, 3 when no daemon answers."""
    directory = state_directory()
    pid = daemon_pid(directory)
    if pid is None and _is_hidden(f"{directory}/daemon.lock"):
        raise Complaint(
            f"posagent: cannot reload: this user may not read {directory}/daemon.lock, which tells whether a daemon "
            "runs; run `sudo systemctl reload posagent`",
            NOT_PERMITTED,
        )
    if not pid:
        raise Complaint(
            f"posagent: cannot reload: no daemon holds {directory}/daemon.lock; start one: "
            "`systemctl start posagent`, or `posagent run`",
            UNKNOWN,
        )
    language = speaks(arguments.lang or configured_language(arguments.config))
    sha256 = _checked(arguments.config)
    path = report_path(arguments.config)
    asked_at = time.time() - CLOCK_S
    _ask(pid)
    report, event = _answer(path, asked_at)
    if event["what"] != "reloaded":
        raise Complaint(f"posagent: {screen.harmless(event['text'])}", CONFIGURATION)
    print(screen.harmless(event["text"]))  # noqa: T201 -- the answer itself
    if report.get("config_sha256") != sha256:
        print(texts.phrase("reload.another", language))  # noqa: T201 -- the answer itself
    return 0


def _is_hidden(path: str) -> bool:
    """Whether it is this user's rights that keep the file from being read, not that there is none."""
    try:
        read_file(path)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _checked(named: str | None) -> str | None:
    """The checksum of a configuration that is sound; the daemon is not bothered with one that is not."""
    try:
        return load(named).sha256
    except Complaint as wrong:
        raise Complaint(f"{wrong}\nposagent: not reloaded; the daemon goes on with what it has", wrong.code) from None


def _ask(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        raise Complaint(
            f"posagent: cannot signal process {pid}: it is another user's; `sudo systemctl reload posagent` may",
            NOT_PERMITTED,
        ) from None
    except ProcessLookupError:
        raise Complaint(f"posagent: cannot reload: process {pid} has just ended", UNKNOWN) from None


def _answer(path: str, asked_at: float) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The report that tells what became of it, and the event itself."""
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends:
        try:
            report = json.loads(read_file(path))
            for event in reversed(report["agent"].get("events", ())):
                if event["what"] in ANSWERS and screen.seconds(event["at"]) >= asked_at:
                    return report, event
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass  # there may be none yet
        time.sleep(POLL_S)
    raise Complaint(
        f"posagent: the daemon was asked and told nothing in {path} within {WAIT_S:.0f} s; "
        "see `journalctl -u posagent`",
        UNKNOWN,
    )
