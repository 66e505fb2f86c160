"""Which parts run when? The full run takes about a quarter of an hour, the quick one about three minutes.

The footprint's warm-up is long in the full run: what happens once, five minutes after the start, is no habit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.daemons import page

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Extent:
    """How much is measured: seconds of warm-up and of measuring, numbers of probes, of shops and of tries in each."""

    footprint: tuple[int, int]
    sizes: tuple[int, ...]
    scale: tuple[int, int]
    lanes: int
    tries: int
    pulls: int


FULL = Extent((330, 330), (20, 200, 1000), (60, 150), 10, 2, 10)
QUICK = Extent((40, 80), (1000,), (40, 45), 8, 1, 3)


def start(part: str, *numbers: float) -> subprocess.Popen[str]:
    """Begin a part in a process of its own."""
    command = [sys.executable, "-m", "bench.daemons", part, *map(str, numbers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def finish(parts: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Return what the parts found; if one failed, end them all and the benchmark."""
    found: list[dict[str, Any]] = []
    try:
        for part in parts:
            told = part.communicate(timeout=1800)[0]
            if part.returncode:
                raise SystemExit(f"{' '.join(map(str, part.args[3:]))}: exit {part.returncode}")  # type: ignore[index]
            found.append(json.loads(told))
    finally:
        for part in parts:
            if part.poll() is None:
                part.terminate()
    return found


def main(*, quickly: bool, write: bool) -> bool:
    """Measure, print, perhaps write docs/footprint.md; whether every promise was kept."""
    found = measure(quickly=quickly)
    text, broken = page.report(found, quickly=quickly)
    print(text)
    if write:
        (ROOT / "docs/footprint.md").write_text(text)
    for promise in broken:
        print(f"BROKEN: {promise}")
    return not broken


def measure(*, quickly: bool) -> dict[str, Any]:
    """All at once, but for the kernel's events; the footprint is measured when most of the rest is done."""
    extent, everybody = QUICK if quickly else FULL, int(not quickly)
    footprint = start("footprint", *extent.footprint)
    scales = [start("scale", size, *extent.scale, everybody) for size in extent.sizes]
    lanes = [start("detection", lane, extent.lanes, extent.tries, everybody) for lane in range(extent.lanes)]
    found = finish([footprint, *scales, *lanes])
    (events,) = finish([start("events", extent.pulls)])
    return {
        "footprint": found[0],
        "scale": found[1 : 1 + len(scales)],
        "detection": [each for lane in found[1 + len(scales) :] for each in lane["tries"]],
        "events": events,
    }
