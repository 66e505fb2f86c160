"""What a daemon leaves for its readers, made by hand: a report, a lock that is held, and a place for both."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

POSAGENT = Path(sys.executable).with_name("posagent")
HEADLINES = {"ready": "READY: cards can be taken", "down": "DOWN: cards cannot be taken"}


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def probe(name: str, status: str = "ok", reason: str = "ok", summary: str = "well") -> dict[str, Any]:
    said = {"name": name, "kind": "disk", "label": name, "target": "/", "status": status, "reason": reason}
    said |= {"summary": summary, "explained_by": None, "measurements": {}, "evidence": [], "duration_ms": 1.0}
    return said


def incident(name: str, title: str, opened_at: float) -> dict[str, Any]:
    said = {"id": name, "cause": "lan.cable_unplugged", "title": title, "opened_at": stamp(opened_at), "level": 0}
    return said | {"acknowledged": None, "silenced_until": None, "flapping": False}


def report(*probes: dict[str, Any], payments: str = "ready", **more: Any) -> dict[str, Any]:
    now = time.time()
    return {
        "schema": "posagent.report/1",
        "generated_at": stamp(now),
        "valid_until": stamp(now + 600),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "agent": {"mode": "run", "problems": [], "events": [], "language": "en"},
        "verdict": {"payments": payments, "settlement": "unknown", "headline": HEADLINES[payments]},
        "diagnosis": [],
        "probes": list(probes),
        "incidents": [],
        "not_checked": [],
    } | more


class Desk:
    """A state directory with a configuration beside it, and the environment of a command that uses both."""

    def __init__(
        self,
        path: Path,
        config: str = '[web]\nlisten = ""\n[probes.disk]\nkind = "disk"\nmin_free = 0\nmin_inodes = 0\n',
    ) -> None:
        self.state = path / "state"
        self.state.mkdir()
        self.config = path / "config.toml"
        self.config.write_text(config)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(path),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "STATE_DIRECTORY": str(self.state),
            "POSAGENT_CONFIG": str(self.config),
        }

    def write(self, content: dict[str, Any]) -> None:
        """Replace the report as the agent does: at once and whole."""
        temporary = self.state / ".new"
        temporary.write_text(json.dumps(content))
        temporary.replace(self.state / "health.json")

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """The lock is held, as by a daemon that lives."""
        with open(self.state / "daemon.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print(os.getpid(), file=lock, flush=True)
            yield
            lock.truncate(0)  # this process lives on
