"""posagent config check | show | init | schema: is it right, what holds, where to begin, what may be written."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from agent.cli import Complaint
from agent.cli.configured import load


def run(arguments: argparse.Namespace) -> int:
    """One of the four."""
    return {"check": _check, "show": _show, "init": _init, "schema": _schema}[arguments.action](arguments)


def _check(arguments: argparse.Namespace) -> int:
    from agent.config import probes_of

    config = load(arguments.config)
    probes = probes_of(config)
    where = config.source or "no configuration file"
    counted = f"{len(probes)} probe{'' if len(probes) == 1 else 's'}" if probes else "what this PC has is looked at"
    print(f"{where}: no problem found; {counted}")  # noqa: T201 -- the answer itself
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from agent.config.show import show

    sys.stdout.write(show(load(arguments.config)))
    return 0


def _init(arguments: argparse.Namespace) -> int:
    from agent import discovery, starter
    from probes.host import Host

    text = starter.text(discovery.tables(Host(ends=time.monotonic() + discovery.LOOK_S)))
    if arguments.file == "-":
        sys.stdout.write(text)
        return 0
    path = Path(arguments.file)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Complaint(
            f"posagent: cannot write {path}: it exists, and a configuration is never overwritten; name another file", 73
        ) from None
    except OSError as error:
        raise Complaint(f"posagent: cannot write {path}: {error.strerror}; name another file", 73) from None
    print(f"wrote {path}; fill in the payment hosts, then: posagent check --config {path}")  # noqa: T201 -- the answer
    return 0


def _schema(_arguments: argparse.Namespace) -> int:
    import json

    from agent.config.schema import schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))  # noqa: T201 -- the answer itself
    return 0
