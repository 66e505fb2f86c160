"""How long does a real daemon take from the first look at a fault to its incident, and what is too short to be one?

The till and its acquirer are two namespaces with a cable between them; the retry interval is the default one.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.daemon import Till, incident_of
from tests.lab.room import Room

RETRY, TIMEOUT, INTERVAL = 5.0, 3.0, 7.0
SERVE = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    server.accept()[0].close()
"""
SETTLED = 2.0
HOST, PORT, BESIDE = "198.51.100.7", 8443, 9443


class Acquirer:
    """A host beyond the router with two ports, and what can happen to the first of them."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.service: subprocess.Popen[str] | None = None
        self.serve(BESIDE)
        self.up()

    def serve(self, port: int) -> subprocess.Popen[str]:
        return self.room.start(sys.executable, "-c", SERVE, HOST, str(port), listens=f"{HOST}:{port}")

    def up(self) -> None:
        self.service = self.serve(PORT)

    def down(self) -> None:
        assert self.service is not None
        self.service.kill()
        self.service.wait(5)

    def swallow(self) -> contextlib.AbstractContextManager[None]:
        return self.room.rules(f"chain i {{ type filter hook input priority 0; tcp dport {PORT} drop; }}")


@pytest.fixture
def acquirer(tmp_path: Path) -> Iterator[tuple[Acquirer, Till]]:
    (tmp_path / "far").mkdir()
    with Room(tmp_path) as here, Room(tmp_path / "far") as far:
        for line in (
            f"netns exec {here.name} sysctl -qw net.ipv6.conf.default.disable_ipv6=1",
            f"-n {here.name} link add eth0 type veth peer name eth0 netns {far.name}",
            f"-n {here.name} addr add 192.0.2.2/24 dev eth0",
            f"-n {far.name} addr add 192.0.2.1/24 dev eth0",
            f"-n {far.name} link set lo up",
            f"-n {far.name} addr add {HOST}/32 dev lo",
            f"-n {far.name} link set eth0 up",
            f"-n {here.name} link set eth0 up",
            f"-n {here.name} route add default via 192.0.2.1",
        ):
            Room.sh("ip", *line.split())
        with Till(
            tmp_path / "till",
            inside=here.inside(),
            retry_interval=RETRY,
            timeout=TIMEOUT,
            fail_after=3,
        ) as till:
            for name, port in (("auth", PORT), ("batch", BESIDE)):
                till.watch(name, "port", host=HOST, port=port, interval=INTERVAL)
            bank = Acquirer(far)
            till.begin()
            time.sleep(SETTLED)  # what the kernel tells of the cable would hasten all that follows
            yield bank, till


def confirmed_after(till: Till) -> float:
    """Seconds from the begin of the first look that saw it to the open incident."""
    identity = till.until_incident("auth", INTERVAL + 20)["id"]
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        with till.memory() as store:
            found = store.incident(identity)
        if found is not None:
            return found.opened_at - found.began_at
        time.sleep(0.1)
    raise AssertionError("the state file never heard of it")


def test_a_dead_service_is_an_incident_one_retry_interval_after_the_first_look(
    acquirer: tuple[Acquirer, Till],
) -> None:
    bank, till = acquirer
    bank.down()
    took = confirmed_after(till)
    print(f"a reset: incident {took:.2f} s after the first look began")
    assert 0.8 * RETRY <= took < RETRY + 1.0
    bank.up()
    till.until_well("auth", 40)


def test_a_black_hole_is_an_incident_two_and_a_half_time_outs_after_the_first_look(
    acquirer: tuple[Acquirer, Till],
) -> None:
    bank, till = acquirer
    with bank.swallow():
        took = confirmed_after(till)
    print(f"a black hole: incident {took:.2f} s after the first look began")
    assert 2 * TIMEOUT < took < 2.5 * TIMEOUT + 1.0
    till.until_well("auth", 40)


def test_a_service_that_restarts_within_two_seconds_is_no_incident(acquirer: tuple[Acquirer, Till]) -> None:
    bank, till = acquirer
    report = till.report()
    assert report is not None
    for _ in range(3):
        bank.down()
        till.until(lambda said: _reason(said) == "port.refused", "a refusal", INTERVAL + 5)
        time.sleep(2.0)
        bank.up()
        ends = time.monotonic() + RETRY + 4
        while time.monotonic() < ends:
            report = till.report() or report
            assert incident_of(report, "auth") is None
            time.sleep(0.05)
        assert _reason(report) == "ok"


def _reason(report: dict[str, object]) -> str:
    probes = report["probes"]
    assert isinstance(probes, list)
    return next(str(each["reason"]) for each in probes if each["name"] == "auth")
