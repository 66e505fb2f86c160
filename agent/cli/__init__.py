"""Which command was typed, and what comes back? Parse, call, print, exit code; no logic.

Each command is a module beside this one with `run(arguments) -> int`, imported when it is called. Nothing here or in
`status` imports what a bare `posagent status` does not need: a technician waits for every import.
"""

from __future__ import annotations

import os
import sys

USAGE, CONFIGURATION = 64, 78
"""Exit codes of sysexits.h: EX_USAGE, EX_CONFIG."""


class Complaint(Exception):
    """Ends a command with a message on stderr and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run(words: list[str]) -> int:
    """Parse, run one command, return its exit code. Nothing a user types makes a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # Chinese on a console that knows only Latin letters
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except Complaint as complaint:
        print(complaint, file=sys.stderr)  # noqa: T201 -- the answer itself
        return complaint.code
    except BrokenPipeError:  # `posagent check | head` ends quietly
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
        return 141
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    if words == ["status"]:  # the commonest command pays neither for argparse nor for its parsers
        from agent.cli import status

        return status.run(status.PLAIN)
    from importlib import import_module

    from agent.cli.parser import parse

    try:
        arguments = parse(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    code: int = import_module(f"agent.cli.{arguments.module}").run(arguments)
    return code
