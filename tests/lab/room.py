"""A room of its own for one probe: a network namespace with its own resolv.conf, daemons in it, and a look from inside."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_NUMBERS = itertools.count(1)
_LOOK = """
import json, sys, time
from probes import registry
from probes.host import Host
from probes.model import CannotAnswer
asked = json.load(sys.stdin)
kind = registry.find(asked["kind"])
settings = kind.settings(kind=asked["kind"], **asked["settings"])
began = time.monotonic()
try:
    seen = kind.judge(settings, kind.read(settings, Host(ends=began + asked["timeout"])), {})
    told = {key: getattr(seen, key) for key in ("status", "reason", "measurements", "evidence")}
except CannotAnswer as error:
    told = {"status": error.status, "reason": error.reason, "evidence": [str(error)]}
print(json.dumps(told | {"seconds": time.monotonic() - began}), flush=True)
import os
os._exit(0)  # as `check` does: a lookup that was left behind keeps nobody waiting
"""


class Room:
    """A namespace with loopback up and nothing else. A context manager; what is started in it dies with it."""

    def __init__(self, tmp_path: Path) -> None:
        self.name = f"posagent-{os.getpid()}-room{next(_NUMBERS)}"
        self.files = Path("/etc/netns") / self.name
        self.tmp_path = tmp_path
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Room:
        self.files.mkdir(parents=True)
        self.resolv_conf()
        self.sh("ip", "netns", "add", self.name)
        self.sh("ip", "-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait(5)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True, timeout=10)
        shutil.rmtree(self.files, ignore_errors=True)

    def resolv_conf(self, *lines: str) -> None:
        """Write the room's /etc/resolv.conf."""
        (self.files / "resolv.conf").write_text("".join(f"{line}\n" for line in lines))

    def hosts(self, *lines: str) -> None:
        """Write the room's /etc/hosts."""
        (self.files / "hosts").write_text("".join(f"{line}\n" for line in lines))

    @staticmethod
    def sh(*command: str, feed: str = "") -> str:
        """Run a command; anything but success fails the test with its words."""
        done = subprocess.run(command, input=feed, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def inside(self, *command: str) -> list[str]:
        """Return the command line that runs `command` in the room."""
        return ["ip", "netns", "exec", self.name, *command]

    def start(self, *command: str, listens: str = "", env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a daemon in the room, and wait until something listens on the address and port `listens`."""
        log = self.tmp_path / f"daemon{len(self.processes)}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                self.inside(*command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                text=True,
                env={**os.environ, **(env or {})},
            )
        self.processes.append(process)
        until = time.monotonic() + 10
        while listens and f" {listens} " not in self.sh(*self.inside("ss", "-Hltun")):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        return process

    @contextlib.contextmanager
    def rules(self, body: str) -> Iterator[None]:
        """Keep nftables rules in the room for a while."""
        self.sh(*self.inside("nft", "-f", "-"), feed=f"table inet room {{\n{body}\n}}\n")
        try:
            yield
        finally:
            self.sh(*self.inside("nft", "delete", "table", "inet", "room"))

    def look(
        self, kind: str, timeout: float = 3.0, env: Mapping[str, str] | None = None, **settings: Any
    ) -> dict[str, Any]:
        """What a probe of this kind sees in the room, in a process of its own."""
        asked = json.dumps({"kind": kind, "settings": settings, "timeout": timeout})
        command: Sequence[str] = self.inside(sys.executable, "-W", "error", "-c", _LOOK)
        done = subprocess.run(
            command,
            input=asked,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, **(env or {})},
        )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told
