"""Through which door does a probe reach the machine, and until when may it stand there?

Every probe gets a `Host`: the root of the file system it may read (a fixture tree *is* a machine) and its deadline.
The doors beside this file, one per kernel interface or outside library, take it as their first argument.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from probes.model import OutOfTime


def _in_a_moment() -> float:
    return time.monotonic() + 3.0


@dataclass(frozen=True)
class Host:
    """The machine as one probe may see it for one look.

    `root` stands in for `/` when reading /sys, /proc, /dev, /run, /var and /etc. `ends` is a monotonic instant in
    seconds.
    """

    root: Path = Path("/")
    ends: float = field(default_factory=_in_a_moment)

    def path(self, absolute: str) -> Path:
        """Where `/sys/…` or `/proc/…` lies on this machine or in this fixture tree."""
        return self.root / absolute.lstrip("/")

    def left(self) -> float:
        """Seconds until the deadline. Raises OutOfTime when there are none."""
        seconds = self.ends - time.monotonic()
        if seconds <= 0:
            raise OutOfTime("the deadline of this look passed", why="deadline_passed")
        return seconds

    @property
    def is_this_machine(self) -> bool:
        """False in a fixture tree, where asking the kernel directly would mix two machines."""
        return self.root == Path("/")
