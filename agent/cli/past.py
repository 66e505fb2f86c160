"""Where is the past kept, and how is it told? Opens the state file to read only: a running daemon is not disturbed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import screen
from agent.cli import USAGE, Complaint
from agent.cli.configured import SERVICE_STATE, state_directory

if TYPE_CHECKING:
    from agent.store import Store

NOTHING_KEPT = 3
"""Exit code where no past can be read: as `status` without a report."""


def opened() -> Store:
    """The state file. Raises Complaint with what to do where there is none or it may not be read."""
    from agent.store import Store, StoreError, StoreMissing

    path = Path(state_directory()) / "state.sqlite"
    try:
        return Store(path, read_only=True)
    except StoreMissing as error:
        next_step = "nothing is recorded before `posagent run` has run"
        if not str(path).startswith(SERVICE_STATE) and not os.access(SERVICE_STATE, os.X_OK) and _is_there():
            next_step = f"the service keeps its state in {SERVICE_STATE}, for its group only: ask for membership"
        raise Complaint(f"posagent: {error}; {next_step}", NOTHING_KEPT) from None
    except StoreError as error:
        next_step = "`posagent run` mends or renews it when it starts"
        if not os.access(path, os.R_OK):
            next_step = "ask for membership of the file's group"
        raise Complaint(f"posagent: {error}; {next_step}", NOTHING_KEPT) from None


def _is_there() -> bool:
    return Path(SERVICE_STATE).is_dir()


def seconds(option: str, text: str) -> float:
    """A length of time as it is typed: `7d`, `2h`, `90`. Raises Complaint for what is none."""
    from probes.model import Seconds

    try:
        return Seconds.parse(float(text) if text.replace(".", "", 1).isdigit() else text)
    except ValueError as error:
        raise Complaint(f"posagent: {option}: expected {error}, got {text!r}", USAGE) from None


def print_json(data: Any) -> None:
    """Print it as UTF-8, whatever the locale is, and nothing else."""
    sys.stdout.flush()
    sys.stdout.buffer.write(json.dumps(data, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace") + b"\n")


def print_lines(lines: Sequence[str]) -> None:
    """Print what a person reads."""
    for line in lines:
        print(screen.harmless(line))  # noqa: T201 -- the answer itself


def columns(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as lines whose columns line up, in Chinese too; those in `right` are set flush right."""
    if not rows:
        return []
    widths = [max(screen.cells(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        parts = [
            " " * (width - screen.cells(text)) + text if at in right else screen.pad(text, width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return lines
