"""posagent status: the last report at once, and whether it can still be believed."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

from agent.cli import Complaint
from agent.cli.configured import configured_language, daemon_pid, read_file, report_path, speaks, state_directory

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")


EXIT_CODE = {"ready": 0, "at_risk": 1, "down": 2}
DOUBTFUL = ("stale", "rebooted")
"""What such a report says is no longer known: exit code 3."""


PLAIN = SimpleNamespace(config=None, json=False, lang=None, failures_only=False, verbose=False)
"""What a bare `posagent status` asks for."""


def run(arguments: Any) -> int:
    """Print the saved report; a stale one exits 3 (unknown), whatever it says."""
    path = report_path(arguments.config)
    content = _read(path)
    if arguments.json:
        data, _shown = _understood(path, content, lambda _data: None)
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        wanted = arguments.lang or configured_language(arguments.config)
        data, text = _understood(path, content, lambda data: _page(data, arguments, _frame(wanted, data)))
        print(text)  # noqa: T201 -- the answer itself
    return 3 if standing(data) in DOUBTFUL else EXIT_CODE.get(data["verdict"]["payments"], 3)


def standing(data: dict[str, Any]) -> str:
    """How far a report can still be believed: the word of `last.*` that says it.

    `age` is well; `stale` ended its validity; `rebooted` is from before this PC's last start; `gone` was written by a
    daemon that holds its lock no longer, and stays true until its validity ends.
    """
    if _seconds_since(data["valid_until"]) > 0:
        return "stale"
    if data["agent"].get("mode") != "run":
        return "age"
    boot_id = data.get("boot_id")
    if boot_id and boot_id != _boot_id():
        return "rebooted"
    return "gone" if daemon_pid(state_directory()) == 0 else "age"


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:  # noqa: PTH123 -- no time for pathlib
        return file.read().strip()


def _frame(wanted: str, data: dict[str, Any]) -> Any:
    """The language around the report's sentences: theirs, unless somebody chose one. Old reports do not tell it."""
    return speaks(data["agent"].get("language", wanted) if wanted == "auto" else wanted)


def _page(data: dict[str, Any], arguments: Any, language: Any) -> str:
    from agent import screen

    page = screen.page(data, language, verbose=arguments.verbose, failures_only=arguments.failures_only)
    colour = screen.wants_colour()
    return "\n".join(
        [*screen.lines(page, colour=colour), "", screen.paint(*age(data, standing(data), language), colour)]
    )


def age(data: dict[str, Any], word: str, language: Any) -> tuple[str, str]:
    """How old a report of this standing is and whether somebody renews it, and the style this is to be said in."""
    from agent import texts

    ago = _seconds_since(data["valid_until" if word == "stale" else "generated_at"])
    return texts.phrase(f"last.{word}", language, ago=ago), "" if word == "age" else "fail"


def _seconds_since(stamp: str) -> float:
    from datetime import datetime

    return time.time() - datetime.fromisoformat(stamp).timestamp()


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        next_step = "run `posagent check --write` to look now and write it"
        if isinstance(error, FileNotFoundError):
            next_step = f"no daemon has written one (`systemctl start posagent` starts it); {next_step}"
        if isinstance(error, PermissionError):
            next_step = "ask for membership of the file's group, or run `posagent check` to look now"
        raise Complaint(f"posagent: cannot read {path}: {error.strerror}; {next_step}", 3) from None


def _understood(path: str, content: bytes, say: Callable[[dict[str, Any]], T]) -> tuple[dict[str, Any], T]:
    """The report, and what `say` makes of it; a file that is none is said to be none, in whatever way it is not."""
    try:
        data: dict[str, Any] = json.loads(content)
        _ = data["verdict"]["payments"].isalpha(), data["probes"]
        _ = _seconds_since(data["valid_until"]), _seconds_since(data["generated_at"])
        return data, say(data)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise Complaint(
            f"posagent: cannot read {path}: it is no posagent report ({cause}); run `posagent check` to look now", 3
        ) from None
