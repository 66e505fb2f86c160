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
    from agent.incidents import Incident
    from agent.store import Store

NOTHING_KEPT = 3
"""Exit code where no past can be read: as `status` without a report."""
AT_MOST, NEAREST = 1_000_000, 5


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


def named(store: Store, wanted: str, *, open_first: bool = False) -> Incident:
    """The one of this id, or the only one whose id begins so, in whatever case. Raises Complaint.

    `open_first`: the only open one whose id begins so will do.
    """
    exact = store.incident(wanted)
    if exact is not None:
        return exact
    every = store.incidents(None, AT_MOST)
    found = [each for each in every if wanted and each.id.lower().startswith(wanted.lower())]
    still = [each for each in found if each.resolved_at is None] if open_first else []
    if len(still) == 1 or len(found) == 1:
        return (still or found)[0]
    raise Complaint(f"posagent: cannot find incident {wanted!r}: {_instead(wanted, found, every)}", USAGE)


def _instead(wanted: str, found: Sequence[Incident], every: Sequence[Incident]) -> str:
    from difflib import get_close_matches

    if found:
        some = ", ".join(each.id for each in found[:NEAREST])
        return f"several have an id that begins so; did you mean one of {some}?"
    near = get_close_matches(wanted.upper(), [each.id for each in every], n=1, cutoff=0.6)
    still = ", ".join([each.id for each in every if each.resolved_at is None][:NEAREST])
    if near:
        return f"there is none of this id; did you mean {near[0]}?"
    hint = f"open: {still}" if still else "none is open; `posagent incidents --all` lists past ones"
    return f"there is none of this id; {hint}"


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
