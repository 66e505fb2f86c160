"""Look once with every kind, in this process alone, and say what each answered and every path that was opened.

`every_kind.py PORT KIND…` prints one JSON object. PORT stands in for the serial port of the example settings.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from typing import Any

import msgspec

from agent import oneshot  # noqa: F401 - what `check` loads is loaded here as well
from probes import registry
from probes.host import Host
from probes.model import CannotAnswer

OPENED: set[str] = set()


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Every open() of this interpreter passes here, whatever library made it."""
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        OPENED.add(arguments[0] if isinstance(arguments[0], str) else arguments[0].decode("utf-8", "replace"))


def ask(name: str, port: str) -> str:
    """The reason a kind gives for its example."""
    kind = registry.find(name)
    example = {"kind": name, **kind.example, **({"device": port} if name == "serial" else {})}
    settings = msgspec.convert(example, kind.settings, dec_hook=lambda wanted, value: wanted.parse(value))
    try:
        reading = kind.read(settings, Host(ends=time.monotonic() + 2))
        return kind.judge(settings, reading, {}).reason
    except CannotAnswer as error:
        return error.reason
    except OSError as error:
        return type(error).__name__


def main() -> None:
    """Ask all."""
    sys.addaudithook(note)
    port, *kinds = sys.argv[1:]
    here = [name for name in kinds or registry.names() if importlib.util.find_spec(registry.KINDS[name])]
    reasons = {name: ask(name, port) for name in here}
    print(json.dumps({"reasons": reasons, "opened": sorted(OPENED)}))


if __name__ == "__main__":
    main()
