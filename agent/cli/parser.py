"""Which words does the command line know?"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from agent import __version__
from agent.cli import USAGE


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of the contract."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what to type instead."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def parse(words: list[str]) -> argparse.Namespace:
    """The typed words as a namespace; prints help or a usage error and raises SystemExit where they are none."""
    parser = Parser(
        prog="posagent",
        description="Says why a store cannot take cards: probes the till from the power cord to the bank.",
        epilog="Exit codes of check and status: 0 ready, 1 at risk, 2 down, 3 unknown; 64 usage, 78 configuration.",
    )
    parser.add_argument("--version", "-V", action="version", version=f"posagent {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in [words[0]] if words and words[0] in COMMANDS else COMMANDS:  # only what is wanted: it is paid for
        COMMANDS[name](commands)
    return parser.parse_args(words)


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


COMMANDS = {"check": _check, "status": _status, "config": _config, "kinds": _kinds}
