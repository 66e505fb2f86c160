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


def _run(commands: Commands[Parser]) -> None:
    parser = _add(commands, "run", "run", "the daemon, in the foreground: look, remember and report until told to stop")
    _with_config(parser)


def _with_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", choices=["en", "zh-CN"], help="language (default: the configuration's, else $LANG)")


def _watch(commands: Commands[Parser]) -> None:
    parser = _add(
        commands, "watch", "watch", "show what changes as it changes; without a daemon it looks by itself every 2 s"
    )
    _with_config(parser)
    _with_language(parser)
    parser.add_argument("--failures-only", action="store_true", help="leave out what is well")
    parser.add_argument("--verbose", "-v", action="store_true", help="show measurements, evidence and all advice")


def _incidents(commands: Commands[Parser]) -> None:
    parser = _add(commands, "incidents", "incidents", "list open and past incidents, or show all of one")
    parser.add_argument("id", nargs="?", metavar="ID", help="one incident; the beginning of its id will do")
    _with_config(parser)
    _with_language(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--all", action="store_true", help="all that are kept (default: open ones and 20 past ones)")
    parser.add_argument("--since", metavar="7d", help="only those that were open within this time")
    parser.add_argument(
        "--report",
        nargs="?",
        const="md",
        choices=["md", "json", "html"],
        help="write the problem report of one: Markdown (default), JSON, or a page to print",
    )


def _history(commands: Commands[Parser]) -> None:
    parser = _add(
        commands, "history", "history", "availability per probe and day inside opening hours, dark times, changes"
    )
    _with_config(parser)
    _with_language(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--days", metavar="N", type=_days, default=7, help="so many days, today included (default: 7)")
    parser.add_argument("--probe", metavar="NAME", help="one probe day by day, with every change of its status")


def _days(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 3650:
        raise argparse.ArgumentTypeError(f"expected 1..3650, got {number}")
    return number


def _ack(commands: Commands[Parser]) -> None:
    parser = _add(commands, "ack", "ack", "take charge of an incident: reminders rest, and everybody sees who has it")
    parser.add_argument("id", metavar="ID", help="the incident; the beginning of its id will do")
    parser.add_argument("--note", metavar="TEXT", help="what is being done; kept with the incident")
    parser.add_argument("--for", dest="time", metavar="2h", help="only for so long; then people are reminded again")
    _with_name(parser)


def _silence(commands: Commands[Parser]) -> None:
    parser = _add(commands, "silence", "silence", "planned work: nobody is told of anything for a while")
    parser.set_defaults(action="silence")
    parser.add_argument("time", metavar="DURATION", help='for so long, such as "2h"')
    parser.add_argument("--reason", metavar="TEXT", required=True, help="what is being done")
    _with_name(parser)


def _unsilence(commands: Commands[Parser]) -> None:
    parser = _add(commands, "unsilence", "silence", "the work is done: people are told again")
    parser.set_defaults(action="unsilence")
    _with_config(parser)
    _with_language(parser)


def _with_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", help="who you are (default: who is logged in)")
    _with_config(parser)
    _with_language(parser)


def _reload(commands: Commands[Parser]) -> None:
    parser = _add(
        commands, "reload", "reload", "let the running daemon read its configuration again, and say if it did"
    )
    _with_config(parser)
    _with_language(parser)


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


def _bundle(commands: Commands[Parser]) -> None:
    parser = _add(
        commands, "bundle", "bundle", "write an archive for support: report, past, configuration, log, system"
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="where to; - is stdout (default: a new file here)")
    _with_config(parser)
    _with_language(parser)


def _drill(commands: Commands[Parser]) -> None:
    parser = _add(
        commands, "drill", "drill", "an exercise through every channel: is everybody reached who is to be told?"
    )
    parser.add_argument(
        "cause", nargs="?", metavar="CAUSE", default="isp.down", help="as if this had happened (default: isp.down)"
    )
    parser.add_argument(
        "--timeout", metavar="60s", default="60s", help="how long answers are awaited, 5s to 10m (default: 60s)"
    )
    _with_config(parser)
    _with_language(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


COMMANDS = {
    "check": _check,
    "run": _run,
    "status": _status,
    "watch": _watch,
    "incidents": _incidents,
    "history": _history,
    "ack": _ack,
    "silence": _silence,
    "unsilence": _unsilence,
    "drill": _drill,
    "bundle": _bundle,
    "reload": _reload,
    "config": _config,
    "kinds": _kinds,
}
