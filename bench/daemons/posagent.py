"""How is posagent asked the same? `posagent run` with a configuration file, in the environment its unit gives it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bench.daemons.checks import HTTP_PORT, INTERVAL_S, NAME, NAMED, ROUTER, TIMEOUT_S, Check
from bench.daemons.peers import Peer, write
from bench.peers import posagent

UNIT = Path(__file__).parents[2] / "systemd/posagent.service"


class Posagent(Peer):
    """The daemon, with its default thresholds."""

    def start(self) -> None:
        """Run it in the foreground; state and report lie in its own directory."""
        head = f'[schedule]\ninterval = "{INTERVAL_S}s"\ntimeout = "{TIMEOUT_S}s"\n'
        head += f'[report]\npath = "{self.report}"\n'
        tables = [f'[probes.{check.name}]\ninterval = "{INTERVAL_S}s"\n{self.table(check)}' for check in self.checks]
        config = write(self.home / "config.toml", "\n".join([head, *tables]))
        unit = dict(re.findall(r"^Environment=(\w+)=(.*)$", UNIT.read_text(), re.M))
        self.launch([*posagent(), "run", "--config", str(config)], {**unit, "STATE_DIRECTORY": str(self.home)})

    def launch(self, command: list[str], env: dict[str, str]) -> None:
        """Start it at the till."""
        self.processes.append(self.shop.start(command, env))

    @property
    def report(self) -> Path:
        """Where it writes the report."""
        return self.home / "health.json"

    def told(self) -> dict[str, Any]:
        """Return the report, or nothing yet."""
        try:
            report: dict[str, Any] = json.loads(self.report.read_text())
        except FileNotFoundError:
            return {}
        return report

    def broken(self) -> set[str]:
        """By its open incidents."""
        return {name for incident in self.told().get("incidents", ()) for name in incident["probes"]}

    def table(self, check: Check) -> str:
        """Return the rest of the probe's table."""
        target = {
            "port": f'host = "{check.address}"\nport = {check.port}\n',
            "tls": f'host = "{check.address}"\nport = {check.port}\nca_file = "{self.shop.ca_file}"\n',
            "http": f'url = "http://{check.address}:{HTTP_PORT}/"\n',
            "dns": f'name = "{NAME}"\nserver = "{ROUTER}"\nexpect = ["{NAMED}"]\n',
            "ping": f'host = "{check.address}"\ncount = 5\n',
            "disk": 'path = "/"\nmin_free = 1\n',
            "memory": "warn = 99\nfail = 100\n",
            "load": "warn = 20000\nfail = 40000\n",
        }[check.kind]
        return f'kind = "{"cpu" if check.kind == "load" else check.kind}"\n{target}'
