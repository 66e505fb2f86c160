"""How is Monit asked the same? A cycle every 30 s, one check after another; broken is what failed for two cycles."""

from __future__ import annotations

import re

from bench.daemons.checks import INTERVAL_S, TIMEOUT_S, Check
from bench.daemons.peers import Peer, write

FAILED = re.compile(r"^\[[^]]*\] (error|info) +: '([^']+)' (.*)$", re.M)


class Monit(Peer):
    """Debian's monit, one process."""

    def start(self) -> None:
        """Run it in the foreground with a control file; without its web page, which costs extra."""
        lines = [f"set daemon {INTERVAL_S}", *(f"set {what}file {self.home}/{what}" for what in ("id", "state", "pid"))]
        lines += [f"set log {self.home}/log", "set limits { networkTimeout: 3 s }"]
        system = [f"  {_local(check)}" for check in self.checks if check.kind in ("memory", "load")]
        lines += ["check system till", *system] if system else []
        lines += [_table(check) for check in self.checks if check.kind not in ("memory", "load")]
        config = write(self.home / "monitrc", "\n".join(lines) + "\n")
        self.processes.append(self.shop.start(["monit", "-I", "-c", str(config)]))

    def broken(self) -> set[str]:
        """By its log, which has a line when a failure lasted two cycles, and one when it is over."""
        found: set[str] = set()
        log = self.home / "log"
        for level, name, _what in FAILED.findall(log.read_text() if log.exists() else ""):
            found = found | {name} if level == "error" else found - {name}
        return found


def _table(check: Check) -> str:
    if check.kind == "disk":
        return f"check filesystem {check.name} with path /\n  if space usage > 99 % for 2 cycles then alert"
    tests = {
        "port": f"port {check.port} with timeout {TIMEOUT_S} seconds",
        "tls": f"port {check.port} type tcpssl with timeout {TIMEOUT_S} seconds",
        "http": f"port {check.port} protocol http with timeout {TIMEOUT_S} seconds",
        "dns": f"port {check.port} type udp protocol dns with timeout {TIMEOUT_S} seconds",
        "ping": f"ping count 5 with timeout {TIMEOUT_S} seconds",
    }
    test = f"if failed {tests[check.kind]} for 2 cycles then alert"
    return f"check host {check.name} with address {check.address}\n  {test}"


def _local(check: Check) -> str:
    if check.kind == "memory":
        return "if memory usage > 99 % for 2 cycles then alert"
    return "if loadavg (1min) > 400 for 2 cycles then alert"
