"""What does one till cost its line in a day? Counted by the kernel on a wire of its own, one till, one way at a time.

    python -m tests.lab.fleet.traffic      (as root)

Two network namespaces and a cable between them, as a store's and the centre's: Ethernet frames, both directions, with
everything that TCP and TLS add. A heartbeat every 10 min comes too late for the connection of the one before, so each
has an HTTPS connection of its own; MQTT has one for the day, and proves every minute that it lives.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agent import hands
from tests.lab.broker import Broker, Papers
from tests.lab.fleet import reports
from tests.lab.fleet.crew import Book, Orders, SimTill
from tests.lab.fleet.receivers import BROKER, Collector, Nginx, collect_posts, write_leaf
from tests.lab.fleet.scene import Scene, Step, names

CENTRE, TILL = "192.0.2.1", "192.0.2.2"
DAY_BEATS, CHANGES, INCIDENTS = 144, 50, 10
"""A heartbeat every 10 min; and on a bad day so many changes, among them incidents that open and close."""
PINGS_S = 20.0
WAITING = 60
"""Reports that waited for a centre which comes back."""
NUMBER = 1
"""An ordinary till's."""
ROOT = Path(__file__).parents[3]


class Count(NamedTuple):
    """Bytes and packets of both directions, and how many reports that was."""

    octets: int
    packets: int
    reports: int


# --- in the till's namespace ------------------------------------------------------------------------------------------


def wire() -> tuple[int, int]:
    """What has gone over the cable so far."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("eth0:"))
    numbers = [int(each) for each in line.partition(":")[2].split()]
    return numbers[0] + numbers[8], numbers[1] + numbers[9]


class Day:
    """One till, and its loop."""

    def __init__(self, home: Path, way: str, name: str, keepalive_s: float = 60.0) -> None:
        scene = Scene(tills=2, splay_s=1.0, keepalive_s=keepalive_s)
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        (home / name).mkdir(exist_ok=True)
        (home / name / "papers").symlink_to(home / "papers")
        orders = Orders(
            scene, 0, time.monotonic(), {}, 0.0, home / name, home / "papers" / "ca.pem", 8443, 8883, CENTRE, (way,)
        )
        self._book = Book(home / name / "made-0.jsonl")
        self.till = SimTill(orders, NUMBER, self._answers, self._book)

    def turn(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """So long, or until that."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not until():
            due = self.till.turn()
            with contextlib.suppress(queue.Empty):
                patience = max(0.001, min(due, ends, time.monotonic() + 0.05) - time.monotonic())
                self.till.centre.answered(self._answers.get(timeout=patience)[1])

    def pushed(self) -> bool:
        return not self.till.centre.counts()["reports_waiting"]

    def push(self, what: str = "beat") -> None:
        """One report, until it is taken and, over HTTPS, its connection is over."""
        self.till.step(Step(0.0, what))  # type: ignore[arg-type]
        self.turn(20, self.pushed)
        assert self.pushed(), self.till.centre.problems()
        self.turn(5, lambda: not any(each.name == "posagent-to-https"[:15] for each in threading.enumerate()))

    def leave(self) -> None:
        self.till.centre.stop(2.0)
        self.till.keeper.close()


@contextlib.contextmanager
def counted(found: dict[str, Count], name: str, count: int) -> Iterator[None]:
    """What goes over the cable meanwhile."""
    time.sleep(0.1)
    octets, packets = wire()
    yield
    time.sleep(0.2)
    more, most = wire()
    found[name] = Count(more - octets, most - packets, count)


def bad_day() -> list[str]:
    """What happens, in order."""
    what = ["beat"] * (DAY_BEATS - INCIDENTS) + ["change"] * (CHANGES - 2 * INCIDENTS)
    random.Random(6).shuffle(what)
    for each in range(INCIDENTS):
        at = each * len(what) // INCIDENTS
        what[at:at] = ["opened", "beat", "resolved"]
    return what


def in_the_till(home: Path, *, days: bool) -> dict[str, Count]:
    """`days`: whole ones too, which takes a minute."""
    found: dict[str, Count] = {}
    hands.IDLE_S = 0.02  # the next heartbeat comes after the connection's end
    https = Day(home, "https", "https")
    https.push()
    with counted(found, "https: a heartbeat", 20):
        for _ in range(20):
            https.push()
    day = bad_day()
    if days:
        with counted(found, "https: a healthy day", DAY_BEATS):
            for _ in range(DAY_BEATS):
                https.push()
        with counted(found, "https: a bad day", len(day)):
            for what in day:
                https.push(what)
    hands.IDLE_S = 2.0
    with counted(found, "https: reports that waited, in one burst", WAITING):
        for _ in range(WAITING):
            https.till.report(changed=True)
        https.turn(60, https.pushed)
        https.turn(5, lambda: not any(each.name == "posagent-to-https"[:15] for each in threading.enumerate()))
    https.leave()
    hands.IDLE_S = 60.0
    mqtt = Day(home, "mqtt", "mqtt", keepalive_s=3600.0)
    with counted(found, "mqtt: connecting, with the first report", 1):
        mqtt.push()
        mqtt.turn(1)
    with counted(found, "mqtt: a heartbeat", 20):
        for _ in range(20):
            mqtt.push()
    if days:
        with counted(found, "mqtt: the reports of a healthy day", DAY_BEATS):
            for _ in range(DAY_BEATS):
                mqtt.push()
        with counted(found, "mqtt: the reports and incidents of a bad day", len(day)):
            for what in day:
                mqtt.push(what)
            mqtt.turn(0.5)
    mqtt.leave()
    pings = Day(home, "mqtt", "pings", keepalive_s=1.0)
    pings.push()
    pings.turn(1)
    with counted(found, "mqtt: pings", 0):
        pings.turn(PINGS_S)
    pings.leave()
    return found


# --- around it --------------------------------------------------------------------------------------------------------


def sh(*command: str) -> None:
    subprocess.run(command, check=True, timeout=20, capture_output=True)


@contextlib.contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them: (till, centre)."""
    till, centre = f"till-{os.getpid()}", f"centre-{os.getpid()}"
    try:
        for name in (till, centre):
            sh("ip", "netns", "add", name)
        sh("ip", "-n", till, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", centre)
        for name, address in ((till, TILL), (centre, CENTRE)):
            sh("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            sh("ip", "netns", "exec", name, "ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off")
            sh("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            sh("ip", "-n", name, "link", "set", "lo", "up")
            sh("ip", "-n", name, "link", "set", "eth0", "up")
        yield till, centre
    finally:
        for name in (till, centre):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True, timeout=20)


def measured(home: Path, *, days: bool = True) -> dict[str, Count]:
    """A till's day over either way."""
    papers = Papers(home / "papers")
    write_leaf(papers.ca, "/".join(names(NUMBER)), papers.home / f"{NUMBER:05}.pem")
    posts = Collector.begin(collect_posts, home)
    with cable() as (till, centre):
        inside = ("ip", "netns", "exec", centre)
        nginx = Nginx(home, papers, address=CENTRE, inside=inside, keepalive_s=75)
        try:
            nginx.start()
            with Broker(home / "broker", papers=papers, conf=BROKER, address=CENTRE, inside=inside):
                command = [
                    "ip",
                    "netns",
                    "exec",
                    till,
                    sys.executable,
                    "-m",
                    "tests.lab.fleet.traffic",
                    str(home),
                    str(days),
                ]
                done = subprocess.run(command, check=False, capture_output=True, timeout=300, text=True, cwd=ROOT)
                if done.returncode:
                    raise RuntimeError(done.stderr[-4000:])
        finally:
            nginx.kill()
    arrived = posts.end()
    assert not [each.wrong for each in arrived if each.wrong]
    return {name: Count(*numbers) for name, numbers in json.loads(done.stdout).items()}


def sizes() -> list[tuple[str, int, int]]:
    """A report's, plain and gzipped."""
    made = [
        (name, reports.encoded(name, 1041, names(NUMBER), time.time(), random.Random(6)))
        for name in ("healthy", "isp", "two")
    ]
    return [(name, len(content), len(gzip.compress(content, 6, mtime=0))) for name, content in made]


def table(found: dict[str, Count]) -> str:
    """In Markdown."""
    pings = found["mqtt: pings"]
    a_ping = pings.octets / PINGS_S
    lines = ["| what | bytes | packets | each |", "|---|---:|---:|---:|"]
    for name, (octets, packets, count) in found.items():
        each = f"{octets / count:,.0f}" if count else f"{a_ping:,.0f} a second"
        lines.append(f"| {name}{f' ({count})' if count else ''} | {octets:,} | {packets:,} | {each} |")
    quiet = 86_400 / 60
    for day in ("the reports of a healthy day", "the reports and incidents of a bad day"):
        if f"mqtt: {day}" not in found:
            continue
        octets, packets, count = found[f"mqtt: {day}"]
        beats = max(0.0, quiet - count)  # a report proves it as well
        more, most = beats * pings.octets / PINGS_S, beats * pings.packets / PINGS_S
        lines.append(
            f"| mqtt: {day}, with {beats:.0f} proofs of life | {octets + more:,.0f} | {packets + most:,.0f} | |"
        )
    return "\n".join(lines)


def main() -> int:
    if len(sys.argv) > 1:
        json.dump(in_the_till(Path(sys.argv[1]), days=sys.argv[2] == "True"), sys.stdout)
        return 0
    from tests.lab.fleet.run import scratch

    with scratch() as home:
        found = measured(home)
    for name, plain, packed in sizes():
        print(f"a report, 16 probes, {name}: {plain:,} bytes, gzipped {packed:,}")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
