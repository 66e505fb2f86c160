"""One part of the benchmark in a process of its own, because it leaves the machine's network: prints JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.daemons import detection, events, footprint, scale

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "footprint": footprint.measure,
    "detection": detection.measure,
    "scale": scale.measure,
    "events": events.measure,
}


def plain(value: Any) -> Any:
    """What json does not know."""
    return dataclasses.asdict(value)


if __name__ == "__main__":
    part, *numbers = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="posagent-bench-", dir="/var/tmp") as name:  # /tmp may be memory
        Path(name).chmod(0o755)
        print(json.dumps(PARTS[part](Path(name), *map(float, numbers)), default=plain))
