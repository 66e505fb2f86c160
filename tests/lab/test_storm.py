"""No storm: the router of a store dies and returns with sixty probes behind it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.daemon import Till
from tests.lab.store import A_AUTH, B_AUTH, TMS, Store
from tests.lab.wider import FAULTS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
RECIPIENTS = ("staff", "centre")
BEHIND = [
    (host, port) for host, ports in ((A_AUTH, (443, 8443)), (B_AUTH, (443, 8443)), (TMS, (443,))) for port in ports
]


def config(till: Till) -> str:
    probes = [
        '[probes.cable]\nkind = "interface"\nname = "eth0"\n',
        '[probes.gateway]\nkind = "gateway"\n',
        f'[probes.dns]\nkind = "dns"\nname = "{A_AUTH}"\n',
    ]
    for number in range(57):
        host, port = BEHIND[number % len(BEHIND)]
        probes.append(f'[probes.host{number}]\nkind = "port"\nhost = "{host}"\nport = {port}\ninterval = "5s"\n')
    channels = [
        f'[channels.{name}]\nkind = "command"\ncommand = ["/bin/sh", "-c", "cat >> {till.home}/{name}; echo >> {till.home}/{name}"]\n'
        for name in RECIPIENTS
    ]
    schedule = '[schedule]\ninterval = "5s"\nretry_interval = "1s"\n'
    report = f'[report]\npath = "{till.report_path}"\n'
    return "\n".join(['language = "en"', schedule, report, *probes, *channels])


def told(till: Till, name: str) -> list[tuple[str, str]]:
    place = till.home / name
    lines = place.read_text().splitlines() if place.exists() else []
    return [(said["data"]["cause"], said["what"]) for said in map(json.loads, filter(None, lines))]


def until(is_so: Callable[[], bool], limit: float) -> bool:
    ends = time.monotonic() + limit
    while not is_so() and time.monotonic() < ends:
        time.sleep(0.1)
    return is_so()


def test_a_router_that_dies_and_returns_is_one_notice_and_one_recovery_for_each_recipient(
    store: Store, tmp_path: Path
) -> None:
    environment = {**os.environ, **store.till_env}
    with Till(tmp_path / "till", inside=store.in_room("till"), env={"PATH": environment["PATH"]}) as till:
        till.write_config(config(till))
        report = till.begin(30)
        assert len(report["probes"]) == 60
        till.until(lambda report: report["verdict"]["payments"] == "ready", "all well", 30)
        with store.fault(FAULTS["router_dead"]):
            assert until(lambda: all(told(till, name) for name in RECIPIENTS), 60), till.said()
            time.sleep(15)
        till.until(lambda report: not report["incidents"], "an end", 60)
        assert until(lambda: all(len(told(till, name)) > 1 for name in RECIPIENTS), 20), till.said()
        time.sleep(5)
        till.stop()
        for name in RECIPIENTS:
            assert told(till, name) == [("lan.router_down", "opened"), ("lan.router_down", "resolved")]
        with till.memory() as memory:
            assert [incident.cause for incident in memory.incidents()] == ["lan.router_down"]
            assert memory.outbox.counts() == {"sent": 4}
