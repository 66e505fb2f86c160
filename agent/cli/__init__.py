"""Which command was typed, and what comes back? Parse, call, print, exit code; no logic.

Each command is a module beside this one with `run(arguments) -> int`, imported when it is called.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
from typing import NoReturn

from agent import __version__

USAGE, CONFIGURATION = 64, 78
"""Exit codes of sysexits.h: EX_USAGE, EX_CONFIG."""


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of the contract."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what to type instead."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def run(words: list[str]) -> int:
    """Parse, run one command, return its exit code. Nothing a user types makes a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # Chinese on a console that knows only Latin letters
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `posagent check | head` ends quietly
    try:
        arguments = _parser().parse_args(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    try:
        command = importlib.import_module(f"agent.cli.{arguments.module}")
        code: int = command.run(arguments)
        return code
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            os.write(2, b"\n")
        return 130
    except Complaint as complaint:
        print(complaint, file=sys.stderr)  # noqa: T201 -- the answer itself
        return complaint.code


class Complaint(Exception):
    """Ends a command with a message on stderr and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _parser() -> Parser:
    parser = Parser(
        prog="posagent",
        description="Says why a store cannot take cards: probes the till from the power cord to the bank.",
        epilog="Exit codes of check and status: 0 ready, 1 at risk, 2 down, 3 unknown; 64 usage, 78 configuration.",
    )
    parser.add_argument("--version", "-V", action="version", version=f"posagent {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _check(commands)
    _status(commands)
    _config(commands)
    _kinds(commands)
    return parser


Commands = argparse._SubParsersAction  # the type argparse gives no public name


def _add(commands: Commands[Parser], name: str, module: str, text: str) -> Parser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(module=module)
    return parser


def _with_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="configuration file (default: $POSAGENT_CONFIG, else /etc/posagent/config.toml, else what this PC has)",
    )


def _check(commands: Commands[Parser]) -> None:
    parser = _add(commands, "check", "check", "look at everything once and say what is wrong")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these probes (NAME/TARGET or NAME for all)")
    _with_config(parser)
    parser.add_argument("--kind", action="append", metavar="K", help="only probes of this kind; may be repeated")
    parser.add_argument("--json", action="store_true", help="print the report (JSON) and nothing else")
    parser.add_argument("--lang", choices=["en", "zh-CN"], help="language (default: the configuration's, else $LANG)")
    parser.add_argument("--timeout", metavar="S", help='bounds the whole run, such as "5s"')
    parser.add_argument("--failures-only", action="store_true", help="leave out what is well")
    parser.add_argument("--verbose", "-v", action="store_true", help="show measurements and evidence")
    parser.add_argument("--write", action="store_true", help="also replace the report file (report.path)")


def _status(commands: Commands[Parser]) -> None:
    parser = _add(commands, "status", "status", "show the last written report at once, without looking again")
    _with_config(parser)
    parser.add_argument("--json", action="store_true", help="print the report file as it is")
    parser.add_argument("--lang", choices=["en", "zh-CN"], help="language of the interface")
    parser.add_argument("--failures-only", action="store_true", help="leave out what is well")
    parser.add_argument("--verbose", "-v", action="store_true", help="show measurements and evidence")


def _config(commands: Commands[Parser]) -> None:
    parser = commands.add_parser("config", help="check, show or begin a configuration")
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in (
        ("check", "validate the configuration and list every problem"),
        ("show", "print the effective settings, without secrets"),
        ("init", "write a commented configuration filled in from what this PC has"),
        ("schema", "print the JSON Schema of the configuration"),
    ):
        command = _add(below, name, "configuration", text)
        command.set_defaults(action=name)
        if name in ("check", "show"):
            _with_config(command)
        if name == "init":
            command.add_argument(
                "file", nargs="?", default="-", metavar="FILE", help="where to write; - or nothing: stdout"
            )


def _kinds(commands: Commands[Parser]) -> None:
    parser = _add(commands, "kinds", "kinds", "list the probe kinds, or one with its settings and reasons")
    parser.add_argument("kind", nargs="?", metavar="KIND")
