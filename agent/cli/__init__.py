"""Which command was typed, and what comes back? Parse, call, print, exit code; no logic.

Each command is a module beside this one with `run(arguments) -> int`, imported when it is called. Nothing here or in
`status` imports what a bare `posagent status` does not need: a technician waits for every import.
"""

from __future__ import annotations

import os
import sys

USAGE, OUTPUT, CONFIGURATION = 64, 74, 78
"""Exit codes of sysexits.h: EX_USAGE, EX_IOERR, EX_CONFIG."""


class Complaint(Exception):
    """Ends a command with a message on stderr and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run(words: list[str]) -> int:
    """Parse, run one command, return its exit code. Nothing a user types makes a traceback."""
    _open_what_was_closed()
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
        _drop_output()
        return 141
    except OSError as error:
        _drop_output()
        failed = "print the answer" if error.filename is None else f"use {error.filename}"
        print(f"posagent: cannot {failed}: {error.strerror or error}", file=sys.stderr)  # noqa: T201 -- see above
        return OUTPUT
    except KeyboardInterrupt as stopped:  # Ctrl-C, or the number of another signal that ends us
        return 128 + (stopped.args[0] if stopped.args else 2)


def _open_what_was_closed() -> None:
    """Whoever starts us with `>&-` gets no answer, but no file of ours may end up where answers are printed."""
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 -- open till the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 -- the same


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit


def _dispatch(words: list[str]) -> int:
    if words in (["--version"], ["-V"]):  # pays for no import
        from agent import __version__

        print(f"posagent {__version__}")  # noqa: T201 -- the answer itself
        return 0
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
