"""Does systemd hear what it must? Real datagram sockets stand in for its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import systemd


class Manager:
    """The end of the line at which systemd listens."""

    def __init__(self, address: str) -> None:
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(address)
        self.line.settimeout(5)

    def heard(self) -> str:
        return self.line.recv(4096).decode()

    def all_heard(self) -> list[str]:
        """Whatever lies in the queue now."""
        self.line.setblocking(False)
        said = []
        try:
            while True:
                said.append(self.heard())
        except BlockingIOError:
            self.line.settimeout(5)
            return said


@pytest.fixture(params=["in the file system", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if request.param == "abstract":
        name = f"posagent-test-{os.getpid()}-{time.monotonic_ns()}"
        listener, told = Manager("\0" + name), "@" + name
    else:
        told = str(tmp_path / "notify")
        listener = Manager(told)
    monkeypatch.setenv("NOTIFY_SOCKET", told)
    yield listener
    listener.line.close()


def test_every_word_arrives_as_systemd_spells_it(manager: Manager) -> None:
    assert systemd.ready("16 probes\nREADY=0")
    assert manager.heard() == "READY=1\nSTATUS=16 probes READY=0"  # one line, whatever the text held
    assert systemd.ready()
    assert manager.heard() == "READY=1"
    assert systemd.stopping("bye")
    assert manager.heard() == "STOPPING=1\nSTATUS=bye"
    assert systemd.status("till 门店 is ready")
    assert manager.heard() == "STATUS=till 门店 is ready"
    assert systemd.status("")
    assert manager.heard() == "STATUS="
    assert systemd.status("x" * 5000)
    assert manager.heard() == "STATUS=" + "x" * 200


def test_a_reload_carries_the_time_of_the_kernels_monotonic_clock(manager: Manager) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert systemd.reloading("reads /etc/posagent/config.toml")
    first, second, third = manager.heard().split("\n")
    assert (first, third) == ("RELOADING=1", "STATUS=reads /etc/posagent/config.toml")
    assert second.startswith("MONOTONIC_USEC=")
    assert before <= int(second.partition("=")[2]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("address", [None, "", "/no/such/socket", "@nobody-listens-here", "vsock:2:1", "/" * 300])
def test_where_nobody_listens_nothing_fails(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not systemd.ready()
    assert not systemd.status("nobody hears this")


def test_a_manager_that_does_not_read_is_not_waited_for(manager: Manager) -> None:
    began, sent = time.monotonic(), 0
    while systemd.notify("WATCHDOG=1") and sent < 100_000:
        sent += 1
    assert 0 < sent < 100_000
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_period_is_what_systemd_set_for_this_process(env: dict[str, str], seconds: float | None) -> None:
    assert systemd.watchdog_seconds(env) == seconds


@pytest.mark.parametrize(("period", "asks"), [("30000000", 12.0), ("12000000", 4.8), ("", float("inf"))])
def test_the_loop_must_come_round_before_it_counts_as_standing_still(
    period: str, asks: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", period)
    assert systemd.Watchdog().asks == pytest.approx(asks)


def test_a_loop_that_goes_round_is_fed_four_times_a_period(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1600000")
    dog = systemd.Watchdog()
    dog.start()
    began = time.monotonic()
    for _ in range(5):
        assert manager.heard() == "WATCHDOG=1"
        dog.beat()
    assert 1.5 < time.monotonic() - began < 4  # the first at once, four more a period
    dog.stop()
    dog.join(5)
    assert not dog.is_alive()


def test_a_loop_that_stands_still_is_not_fed_and_said_once(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    dog = systemd.Watchdog(limit=0.25)
    dog.start()
    time.sleep(1.2)  # without a beat
    said = manager.all_heard()
    assert 2 <= said.count("WATCHDOG=1") <= 4, said  # at 0, 0.1 and 0.2 s, then never again
    assert said[-1] == "STATUS=the main loop has stood still for 0 s; systemd will restart posagent"
    assert len(said) == said.count("WATCHDOG=1") + 1
    dog.beat()
    assert manager.heard() == "WATCHDOG=1\nSTATUS=the main loop runs again"
    dog.stop()
    dog.join(5)


def test_a_limit_is_half_a_period_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert systemd.Watchdog().limit == 15.0
    assert systemd.Watchdog(limit=20.0).limit == 20.0


def test_where_nobody_watches_no_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    dog = systemd.Watchdog()
    dog.start()
    dog.beat()
    dog.stop()
    assert not dog.is_alive()


def test_it_is_light() -> None:
    """It is imported by a daemon that runs for months on a small PC."""
    heavy = (
        "import sys, agent.systemd; print([m for m in ('asyncio', 'ssl', 'msgspec', 'requests') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True, timeout=20)
    assert said.stdout.strip() == "[]"


UNITS = Path(systemd.__file__).parent.parent / "systemd"
SANDBOX = "# ---- Sandbox"


def sandbox(unit: str) -> list[str]:
    """Every setting below the headline, in order."""
    text = (UNITS / unit).read_text().partition(SANDBOX)[2].partition("[Install]")[0]
    return [line for line in text.splitlines()[1:] if line and not line.startswith("#")]


@pytest.mark.parametrize("unit", ["posagent-check.service", "posagent-drill.service"])
def test_a_timer_starts_it_in_the_same_sandbox_as_the_daemon(unit: str) -> None:
    assert len(sandbox("posagent.service")) > 20
    assert sandbox(unit) == sandbox("posagent.service")


@pytest.mark.parametrize("path", sorted(UNITS.glob("drop-ins/*.conf")), ids=lambda path: path.stem)
def test_each_optional_right_tells_its_price_and_how_to_get_it(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# Right: ")
    assert "\n# Price: " in text
    assert f"# cp systemd/drop-ins/{path.name} /etc/systemd/system/posagent.service.d/" in text
    assert f"drop-ins/{path.name}" in (UNITS.parent / "docs/service.md").read_text()
