"""Do fifty probes that hang, a resolver that never answers or a plugin that will not die disturb the others? Never.

Nor does a flood of ten thousand kernel events. The probes that are well are looked at every second all the while.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.daemon import Till, moment, probe_of
from tests.lab.fakehw import PAX, Machine
from tests.lab.room import Room
from tests.lab.test_triggers import INJECT

pytestmark = pytest.mark.lab
HUNG, GOOD = 50, 16
LATE_S = 3.0
"""Looks that are due every second are never further apart than this, on a machine that is busy with other tests, too."""
STUBBORN = """#!/bin/sh
trap '' TERM INT HUP
for i in 1 2 3 4 5 6 7 8; do (trap '' TERM INT HUP; "$1" 1000) & done
( ("$1" 1000 &) & )
"$1" 1000
"$1" 1000
"""


def good(till: Till, count: int) -> list[str]:
    """So many probes that are well, in its configuration."""
    names = [f"good-{number:02}" for number in range(count)]
    for name in names:
        till.watch(name)
    return names


def longest_wait(till: Till, names: list[str], since: float) -> float:
    """Between two looks at one of these."""
    waits = []
    for name in names:
        looks = [since, *(at for at in till.looks(name) if at >= since), time.monotonic()]
        waits += [after - before for before, after in pairwise(looks)]
    return max(waits)


def test_fifty_probes_that_hang_disturb_nobody_are_told_and_hold_nothing_up(tmp_path: Path) -> None:
    with Till(tmp_path / "till") as till:
        names = good(till, GOOD)
        hung = [f"hung-{number:02}" for number in range(HUNG)]
        for name in hung:
            till.watch(name)
            till.tell(name, "wait" if name < "hung-10" else "hang")
        till.start()
        till.until(lambda said: len(said["probes"]) == HUNG + GOOD, "a look at all", 15)
        began, cpu = time.monotonic(), till.cpu()
        time.sleep(6)
        report = till.until(
            lambda said: all(any(each in p for p in said["agent"]["problems"]) for each in hung), limit=15
        )
        assert all(" hangs" in each for each in report["agent"]["problems"])
        waited = longest_wait(till, names, began)
        print(
            f"{HUNG} hung: good ones waited {waited:.2f} s at most; {till.threads()} threads, {till.rss_kb()} KB, "
            f"{(till.cpu() - cpu) / (time.monotonic() - began) * 100:.1f} % of a CPU"
        )
        assert waited < LATE_S
        assert till.threads() < 150
        for name in hung:
            assert (probe_of(report, name)["status"], probe_of(report, name)["reason"]) == ("unknown", "probe.timeout")
        assert all(probe_of(report, name)["status"] == "ok" for name in names)
        threads = till.threads()
        time.sleep(4)
        assert till.threads() <= threads + 2, "it goes on losing threads"
        assert longest_wait(till, names, began) < LATE_S
        for name in hung[:10]:
            till.tell(name, "ok")
        report = till.until(
            lambda said: all(probe_of(said, name)["status"] == "ok" for name in hung[:10]), "a return", 10
        )
        assert till.until(lambda said: len(said["agent"]["problems"]) == HUNG - 10)
        assert till.stop() < 5


@contextmanager
def manager(place: Path) -> Iterator[list[tuple[float, str]]]:
    """A service manager's socket, and what was said to it, when."""
    heard: list[tuple[float, str]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(place))
        line.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    heard.append((time.monotonic(), line.recv(4096).decode()))
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            over.set()
            thread.join()


def test_a_resolver_that_never_answers_delays_nobody_and_the_watchdog_is_fed(tmp_path: Path) -> None:
    with Room(tmp_path) as room, manager(tmp_path / "notify") as heard:
        room.resolv_conf("nameserver 127.0.0.1", "nameserver 127.0.0.2")
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "8000000"}
        with (
            Till(tmp_path / "till", inside=room.inside(), env=env) as till,
            room.rules("chain i { type filter hook input priority 0; udp dport 53 drop; tcp dport 53 drop; }"),
        ):
            names = good(till, 8)
            for number, kind in enumerate(["port", "tls", "port", "tls", "port"]):
                till.watch(f"far-{number}", kind, host=f"host-{number}.example", port=443)
            till.watch("far-5", "http", url="http://host-5.example/")
            till.watch("far-6", "ping", host="host-6.example")
            till.watch("far-7", "clock", server="host-7.example")
            till.watch("far-8", "dns", name="host-8.example")
            till.begin()
            began = time.monotonic()
            time.sleep(10)
            waited, threads = longest_wait(till, names, began), till.threads()
            fed = [at for at, said in heard if "WATCHDOG=1" in said and at >= began]
            print(f"no DNS: good ones waited {waited:.2f} s at most; watchdog fed {len(fed)} times; {threads} threads")
            assert waited < LATE_S
            assert len(fed) >= 4
            assert max(after - before for before, after in pairwise([began, *fed, time.monotonic()])) < 4
            assert threads < 60
            report = till.until(lambda said: said["incidents"])
            assert all(probe_of(report, name)["status"] == "ok" for name in names)
            assert all(probe_of(report, f"far-{each}")["status"] != "ok" for each in range(6))
            assert till.stop() < 5
    said = [words for _, words in heard]
    assert any(words.startswith("READY=1") for words in said)
    assert any(words.startswith("STOPPING=1") for words in said)


def alive(program: Path) -> list[int]:
    """The processes that run it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "exe") == str(program):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_plugin_that_forks_and_will_not_die_is_gone_with_all_its_children(tmp_path: Path) -> None:
    program, plugin = tmp_path / "lab-sleep", tmp_path / "stubborn.sh"
    shutil.copy("/bin/sleep", program)
    plugin.write_text(STUBBORN)
    plugin.chmod(0o755)
    with Till(tmp_path / "till") as till:
        names = good(till, 4)
        for number in range(3):
            till.watch(f"stubborn-{number}", "plugin", command=[str(plugin), str(program), str(number)], timeout=0.5)
        till.begin()
        began, most = time.monotonic(), 0
        while time.monotonic() < began + 6:
            most = max(most, len(alive(program)))
            time.sleep(0.1)
        report = till.until(lambda said: True)
        assert {probe_of(report, f"stubborn-{each}")["reason"] for each in range(3)} == {"plugin.timeout"}
        waited = longest_wait(till, names, began)
        print(f"3 plugins of 10 processes that ignore SIGTERM: {most} at most alive; good ones waited {waited:.2f} s")
        assert 10 <= most <= 70
        assert waited < LATE_S
        assert till.stop() < 5
        time.sleep(0.3)
        assert alive(program) == []


@pytest.mark.parametrize("topic", ["usb", "net"])
def test_ten_thousand_kernel_events_in_a_second_cost_little_and_open_nothing(tmp_path: Path, topic: str) -> None:
    with Room(tmp_path) as room, Machine(udevd=False, netns=room.name) as machine:
        for line in (
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "a add 192.0.2.9/24 dev v0",
        ):
            Room.sh("ip", "-n", room.name, *line.split())
        machine.plug(PAX)
        inside = ["nsenter", "-t", machine.root.parent.name, "-m", "-n", "--"]
        with Till(tmp_path / "till", inside=inside) as till:
            names = good(till, 4)
            till.watch("terminal", "usb", vendor=PAX.vendor)
            till.watch("cable", "interface", name="v0", min_speed=0)
            report = till.begin()
            assert [each["name"] for each in report["probes"] if each["status"] != "ok"] == []
            time.sleep(1)
            began, cpu = time.monotonic(), till.cpu()
            subprocess.run([*inside, sys.executable, "-c", INJECT, topic, "10000", "1"], check=True, timeout=30)
            flood = time.monotonic() - began
            time.sleep(3)
            used = till.cpu() - cpu
            report = till.until(lambda said: True)
            waited = longest_wait(till, names, began)
            print(
                f"10,000 {topic} events in {flood:.1f} s: {used:.2f} s of CPU; good ones waited {waited:.2f} s at most"
            )
            assert used < 1.5
            assert waited < LATE_S
            assert report["incidents"] == []
            assert [each["name"] for each in report["probes"] if each["status"] != "ok"] == []
            assert "incident." not in till.said()
            machine.unplug(PAX)  # and it still hears what matters
            pulled = time.time()
            report = till.until(lambda said: probe_of(said, "terminal")["status"] != "ok", "word of the plug", 5)
            assert moment(report["generated_at"]) - pulled < 2.5
            assert len(till.said()) < 20_000
            assert till.stop() < 5
