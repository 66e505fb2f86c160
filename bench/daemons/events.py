"""How soon is a pulled cable or USB plug in the report? The kernel says so at once; nobody waits for an interval."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.daemons.checks import Check, sixteen
from bench.daemons.posagent import Posagent
from bench.daemons.shop import Shop, until
from tests.lab.fakehw import PAX, Machine

PATIENCE_S = 60.0


class Wired(Posagent):
    """posagent on a machine with a cable and a USB terminal."""

    machine: Machine

    def table(self, check: Check) -> str:
        """Two kinds more."""
        if check.kind == "interface":
            return 'kind = "interface"\nname = "eth0"\n'
        if check.kind == "usb":
            return f'kind = "usb"\nvendor = "{PAX.vendor}"\nproduct = "{PAX.product}"\n'
        return super().table(check)

    def launch(self, command: list[str], env: dict[str, str]) -> None:
        """In the machine's namespaces, its network being the shop's."""
        log = (self.home / "log").open("wb")
        process = subprocess.Popen(
            [*self.machine._nsenter(), *command], stdin=subprocess.DEVNULL, stderr=log, env={**os.environ, **env}
        )
        self.processes.append(process)
        self.shop.processes.append(process)

    def shown(self, name: str, *, bad: bool) -> bool:
        """Whether the report says so, confirmed."""
        probes = {probe["name"]: probe for probe in self.told().get("probes", ())}
        probe = probes.get(name)
        return bool(probe and probe["confirmed"] and (probe["status"] == "fail") == bad)


def measure(directory: Path, tries: float) -> dict[str, Any]:
    """Pull and put back, several times, at moments that have nothing to do with the interval."""
    found: dict[str, Any] = {"cable": [], "plug": []}
    with Shop(directory) as shop, Machine(netns="till") as machine:
        machine.plug(PAX)
        checks = [check for check in sixteen() if check.kind == "port"]
        shop.serve(checks)
        for number in range(int(tries)):
            cast = [*checks, Check("cable", "interface"), Check("plug", "usb")]
            posagent = Wired(f"posagent {number}", shop, cast)  # without a past: many pulls are a loose cable's
            posagent.machine = machine
            posagent.start()
            for name in found:
                until(f"the first look at {name}", PATIENCE_S, functools.partial(posagent.shown, name, bad=False))
            threading.Event().wait(2 + 3 * random.random())
            found["cable"].append(_pull(posagent, "cable", lambda: _cable("down"), lambda: _cable("up")))
            found["plug"].append(_pull(posagent, "plug", lambda: machine.unplug(PAX), lambda: machine.plug(PAX)))
            posagent.must_live()
            shop.end(posagent.processes[0])
    return found


def _cable(state: str) -> None:
    subprocess.run(["ip", "link", "set", "far0", state], check=True, timeout=5)


def _pull(posagent: Wired, name: str, pull: Callable[[], None], mend: Callable[[], None]) -> list[float]:
    """Return the seconds until the fault is in the report, and until its incident is; then mend it."""
    began = time.monotonic()
    pull()
    shown = until(f"{name} in the report", PATIENCE_S, lambda: posagent.shown(name, bad=True)) - began
    opened = until(f"an incident of {name}", PATIENCE_S, lambda: name in posagent.broken()) - began
    mend()
    until(f"{name} well again", PATIENCE_S, lambda: posagent.shown(name, bad=False))
    until("a quiet shop", PATIENCE_S, lambda: not posagent.broken())
    return [shown, opened]
