"""posagent status: the last report at once, and whether it can still be believed."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

from agent.cli import Complaint
from agent.cli.configured import report_path, speaks

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any


EXIT_CODE = {"ready": 0, "at_risk": 1, "down": 2}


PLAIN = SimpleNamespace(config=None, json=False, lang=None, failures_only=False, verbose=False)
"""What a bare `posagent status` asks for."""


def run(arguments: Any) -> int:
    """Print the saved report; a stale one exits 3 (unknown), whatever it says."""
    path = report_path(arguments.config)
    text = _read(path)
    data = _parse(path, text)
    stale = time.time() - _moment(data["valid_until"])
    if arguments.json:
        sys.stdout.write(text)
    else:
        from agent import screen

        language = speaks(arguments.lang or "auto")
        page = screen.page(data, language, verbose=arguments.verbose, failures_only=arguments.failures_only)
        screen.print_plain(page)
        age = time.time() - _moment(data["generated_at"])
        print()  # noqa: T201 -- the answer itself
        print(screen.paint(*_age(age, stale, language), screen.wants_colour()))  # noqa: T201 -- the answer itself
    return 3 if stale > 0 else EXIT_CODE.get(data["verdict"]["payments"], 3)


def _age(age: float, stale: float, language: Any) -> tuple[str, str]:
    from agent import texts

    if stale > 0:
        return texts.phrase("last.stale", language, ago=_length(stale)), "fail"
    return texts.phrase("last.age", language, ago=_length(age)), ""


def _length(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _moment(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- importing pathlib takes longer than this command may
            return file.read()
    except OSError as error:
        raise Complaint(
            f"posagent: cannot read {path}: {error.strerror}; start the daemon, or run `posagent check` to look now",
            3,
        ) from None


def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(text)
        _ = data["verdict"]["payments"], data["probes"], _moment(data["valid_until"]), _moment(data["generated_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise Complaint(f"posagent: cannot read {path}: it is no posagent report ({error})", 3) from None
    return data
