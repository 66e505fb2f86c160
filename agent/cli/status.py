"""posagent status: the last report at once, and whether it can still be believed."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

from agent.cli import Complaint
from agent.cli.configured import configured_language, read_file, report_path, speaks

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")


EXIT_CODE = {"ready": 0, "at_risk": 1, "down": 2}


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
    stale = _seconds_since(data["valid_until"]) > 0
    return 3 if stale else EXIT_CODE.get(data["verdict"]["payments"], 3)


def _frame(wanted: str, data: dict[str, Any]) -> Any:
    """The language around the report's sentences: theirs, unless somebody chose one. Old reports do not tell it."""
    return speaks(data["agent"].get("language", wanted) if wanted == "auto" else wanted)


def _page(data: dict[str, Any], arguments: Any, language: Any) -> str:
    from agent import screen

    page = screen.page(data, language, verbose=arguments.verbose, failures_only=arguments.failures_only)
    colour = screen.wants_colour()
    return "\n".join([*screen.lines(page, colour=colour), "", screen.paint(*_age(data, language), colour)])


def _age(data: dict[str, Any], language: Any) -> tuple[str, str]:
    from agent import texts

    stale = _seconds_since(data["valid_until"])
    if stale > 0:
        return texts.phrase("last.stale", language, ago=stale), "fail"
    return texts.phrase("last.age", language, ago=_seconds_since(data["generated_at"])), ""


def _seconds_since(stamp: str) -> float:
    from datetime import datetime

    return time.time() - datetime.fromisoformat(stamp).timestamp()


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        next_step = "run `posagent check --write` to look now and write it"
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
