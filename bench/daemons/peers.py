"""Who looks at the same things? What every daemon of the comparison has in common."""

from __future__ import annotations

import abc
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.daemons.checks import Check
from bench.daemons.shop import Shop


@dataclass
class Peer(abc.ABC):
    """A daemon that runs in a shop and can say what it believes to be broken."""

    name: str
    shop: Shop
    checks: Sequence[Check]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def roots(self) -> list[int]:
        """Its processes; their children come with them."""
        return [process.pid for process in self.processes]

    @property
    def home(self) -> Path:
        """A directory of its own, on a real disk."""
        path = self.shop.directory / self.name.replace(" ", "-").lower()
        path.mkdir(exist_ok=True)
        return path

    @abc.abstractmethod
    def start(self) -> None:
        """Write the configuration and start the daemon."""

    @abc.abstractmethod
    def broken(self) -> set[str]:
        """Return the checks that it reports as broken, beyond doubt as it understands that."""

    def must_live(self) -> None:
        """End the benchmark when the daemon has died."""
        for process in self.processes:
            if process.poll() is not None:
                log = self.shop.log(process).read_text(errors="replace")
                raise SystemExit(f"{self.name} ended with {process.returncode}\n{log[-3000:]}")


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a configuration file."""
    path.write_text(text)
    path.chmod(mode)
    return path
