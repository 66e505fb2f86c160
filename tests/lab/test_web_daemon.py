"""Does the page disturb what it shows? A real daemon is looked at by many, by slow ones, and by some who mean no good."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.agent.rawhttp import CANARY, answer, requests
from tests.lab.daemon import Till

pytestmark = pytest.mark.lab
GOOD, SLOW, FUZZED = 16, 200, 10_000
WATCHED_S = 12.0
STUCK = """
import os, threading, time
from agent.web import sight
sight.STUCK_S = 7.0
def hang():
    while not os.path.exists(os.environ["HANG"]):
        time.sleep(0.1)
    from agent.daemon import Daemon
    Daemon._turn = lambda self: time.sleep(60)
threading.Thread(target=hang, daemon=True).start()
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Looker:
    """Whoever looks at a till's page."""

    def __init__(self, till: Till) -> None:
        self.port = free_port()
        till.listen = f"127.0.0.1:{self.port}"

    def ask(self, path: str) -> tuple[int, bytes]:
        caller = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            caller.request("GET", path)
            found = caller.getresponse()
            return found.status, found.read()
        finally:
            caller.close()

    def until(self, path: str, status: int, limit: float = 20.0) -> bytes:
        end = time.monotonic() + limit
        while True:
            with contextlib.suppress(OSError):
                code, body = self.ask(path)
                if code == status:
                    return body
            assert time.monotonic() < end, f"{path} never answered {status}"
            time.sleep(0.05)


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    with Till(tmp_path / "till") as found:
        for number in range(GOOD):
            found.watch(f"good-{number:02}")
        yield found


def waits(till: Till, since: float) -> list[float]:
    """Between two looks at the same probe."""
    every = [[at for at in till.looks(name) if at >= since] for name in till.probes]
    return [after - before for looks in every for before, after in pairwise(looks)]


def pss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_the_page_shows_what_the_daemon_reports(till: Till) -> None:
    looker = Looker(till)
    till.begin()
    status, body = looker.ask("/health.json")
    assert status == 200
    assert json.loads(body)["schema"] == "posagent.report/1"
    till.until(lambda said: json.loads(looker.ask("/health.json")[1])["seq"] == said["seq"])
    assert looker.ask("/healthz") == (200, b"ok\n")
    assert b"posagent_report_seq" in looker.ask("/metrics")[1]
    chinese = json.loads(looker.ask("/health.json?lang=zh-CN")[1])
    assert chinese["agent"]["language"] == "zh-CN"
    assert chinese["verdict"]["payments"] == json.loads(body)["verdict"]["payments"]
    till.tell("good-00", "fail")
    till.until_incident("good-00")
    till.tell("good-00", "ok")
    till.until_well("good-00")
    time.sleep(0.3)
    past = json.loads(looker.ask("/history.json")[1])
    assert "problem" not in past
    assert [each["status"] for each in past["probes"]["good-00"]["changes"]][-2:] == ["fail", "ok"]
    assert len(past["incidents"]) == 1
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", looker.port)))
        assert till.stop() < 3


def test_a_page_that_nobody_looks_at_costs_two_megabytes_and_no_time(till: Till, tmp_path: Path) -> None:
    with Till(tmp_path / "without") as without:
        for number in range(GOOD):
            without.watch(f"good-{number:02}")
        looker = Looker(till)
        till.begin()
        without.begin()
        before = till.cpu(), without.cpu()
        time.sleep(10)
        spent = till.cpu() - before[0], without.cpu() - before[1]
        kept = pss_kb(till.pid), pss_kb(without.pid)
        print(f"with the page {kept[0]} KB PSS, {spent[0]:.2f} s in 10 s; without {kept[1]} KB, {spent[1]:.2f} s")
        assert kept[0] - kept[1] < 3000
        assert spent[0] - spent[1] < 0.15
        for path in ("/", "/health.json", "/health.json?lang=zh-CN", "/history.json", "/metrics") * 20:
            assert looker.ask(path)[0] == 200
        print(f"after 100 looks {pss_kb(till.pid)} KB PSS")
        assert pss_kb(till.pid) < 32 * 1024


def test_two_hundred_slow_connections_leave_the_looks_in_time(till: Till) -> None:
    looker = Looker(till)
    till.begin()
    time.sleep(2)
    began = time.monotonic()
    time.sleep(WATCHED_S)
    calm, cpu = waits(till, began), till.cpu()
    began, over = time.monotonic(), threading.Event()
    thread = threading.Thread(target=_drip, args=(looker.port, over))
    thread.start()
    try:
        answered = 0
        while time.monotonic() < began + WATCHED_S:
            asked = time.monotonic()
            assert looker.ask("/health.json")[0] == 200
            assert time.monotonic() - asked < 2.0
            answered += 1
            time.sleep(0.5)
    finally:
        over.set()
        thread.join(20)
    besieged = waits(till, began)
    middle = statistics.median(calm), statistics.median(besieged)
    print(
        f"between two looks: calm {middle[0]:.3f} s, at most {max(calm):.3f} s; with {SLOW} slow connections "
        f"{middle[1]:.3f} s, at most {max(besieged):.3f} s; {answered} readers served meanwhile; "
        f"{(till.cpu() - cpu) / WATCHED_S * 100:.1f} % of a CPU"
    )
    assert len(besieged) >= len(calm) * 0.9
    assert abs(middle[1] - middle[0]) < 0.1
    assert max(besieged) < max(calm) + 0.75
    assert till.files() < 200


def _drip(port: int, over: threading.Event) -> None:
    """Two hundred that begin a request and send a letter now and then, and come again when they are closed."""
    with contextlib.ExitStack() as stack:
        slow: list[socket.socket | None] = [None] * SLOW
        while not over.wait(0.2):
            for at, sock in enumerate(slow):
                if sock is None:
                    fresh = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                    slow[at] = fresh
                    with contextlib.suppress(OSError):
                        fresh.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
                    continue
                try:
                    sock.sendall(b"a")
                except OSError:
                    sock.close()
                    slow[at] = None


def test_ten_thousand_broken_requests_leave_the_daemon_as_it_was(till: Till) -> None:
    looker = Looker(till)
    till.begin()
    for path in ("/", "/health.json", "/history.json", "/metrics"):
        looker.ask(path)
    threads, files, memory, began = till.threads(), till.files(), pss_kb(till.pid), time.monotonic()
    told = 0
    for data in requests(FUZZED, 42, f"127.0.0.1:{looker.port}"):
        found = answer(looker.port, data, 0.005)
        told += found.startswith(b"HTTP/1.")
        for secret in (CANARY, str(till.home), "Traceback", "site-packages", "waitress"):
            assert secret.encode() not in found, data
    took = time.monotonic() - began
    print(
        f"{FUZZED} in {took:.0f} s, {told} answered; PSS {memory} -> {pss_kb(till.pid)} KB; "
        f"looks at most {max(waits(till, began)):.2f} s apart"
    )
    assert told > FUZZED / 3
    assert looker.ask("/healthz") == (200, b"ok\n")
    report = till.report()
    assert report is not None
    assert report["agent"]["problems"] == []
    assert till.threads() <= threads + 8, "more than probes may take"
    assert till.files() <= files + 110
    assert pss_kb(till.pid) < memory + 3000
    assert max(waits(till, began)) < 3.0
    assert CANARY not in till.said()
    assert "Traceback" not in till.said()


def test_a_loop_that_stands_still_is_told_by_healthz_while_the_page_is_still_served(till: Till, tmp_path: Path) -> None:
    site = tmp_path / "hanging"
    site.mkdir()
    (site / "sitecustomize.py").write_text(STUCK)
    till.env |= {"PYTHONPATH": f"{site}:{till.env['PYTHONPATH']}", "HANG": str(site / "now")}
    looker = Looker(till)
    till.begin()
    assert looker.until("/healthz", 200) == b"ok\n"
    (site / "now").touch()
    body = looker.until("/healthz", 503)
    assert body.startswith(b"the main loop has stood still for ")
    assert looker.ask("/health.json")[0] == 200
    assert looker.ask("/")[0] == 200


def test_a_reload_moves_the_page_and_a_taken_port_is_a_problem_that_passes(till: Till) -> None:
    first = Looker(till)
    till.begin()
    assert first.ask("/healthz")[0] == 200
    second = Looker(till)
    with socket.socket() as other:
        other.bind(("127.0.0.1", second.port))
        other.listen()
        till.write_config()
        till.signal(signal.SIGHUP)
        problem = till.until_problem("no status page", str(second.port))
        assert "Address already in use" in problem
        with pytest.raises(OSError, match="refused"):
            first.ask("/healthz")
    till.until(lambda said: not said["agent"]["problems"], "a page", 60)
    assert second.until("/healthz", 200) == b"ok\n"
