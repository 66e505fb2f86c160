"""Play a scene with all its tills, and say how it went."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.lab.fleet import accounts, crew
from tests.lab.fleet.accounts import Account, Made
from tests.lab.fleet.crew import FILES, Orders
from tests.lab.fleet.receivers import Centre
from tests.lab.fleet.scene import Phase, Scene, names

AHEAD_S = 6.0
"""How long processes of tills have to begin."""
ANSWER_S = 90.0
AGAIN_S = 6.0
"""Over how long tills begin again that lost their power together."""
PATIENCE_S = 90.0
"""How much longer a busy machine may take for a phase."""
Say = Callable[[str], None]
TMPFS = Path("/dev/shm")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A place in memory, where there is one: thousands of state files on one disk are no till's load."""
    with tempfile.TemporaryDirectory(prefix="fleet-", dir=TMPFS if TMPFS.is_dir() else None) as name:
        yield Path(name)


@dataclass
class Outcome:
    """What came of a scene."""

    scene: Scene
    told: dict[str, Made]
    accounts: dict[str, Account]
    faults: list[str] = field(default_factory=list)
    memory_kb: dict[str, float] = field(default_factory=dict)
    """Of a till, at some moments."""
    figures: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What tills said of the centre in the middle of the outage, each once."""
    left: list[str] = field(default_factory=list)
    """What they still said at the end."""

    def tenths(self, way: str) -> list[int]:
        return accounts.tenths(self.accounts[way].first_contacts, self.scene.splay_s)

    def history(self, way: str) -> list[int]:
        """Whoever comes last takes as long again for what is older."""
        return accounts.tenths(self.accounts[way].history, 2 * self.scene.splay_s)


class Fleet:
    """The processes of tills."""

    def __init__(self, scene: Scene, centre: Centre, began: float) -> None:
        self.scene = scene
        self._orders = [
            Orders(
                scene,
                each,
                began,
                {},
                scene.boot_s,
                centre.home,
                centre.papers.ca_file,
                centre.nginx.port,
                centre.broker.port,
            )
            for each in range(scene.processes)
        ]
        self._spawning = multiprocessing.get_context("spawn")
        self._crews: list[tuple[Any, Any]] = [self._begin(each) for each in self._orders]
        self._phases: dict[Phase, float] = {}

    def _begin(self, orders: Orders) -> tuple[Any, Any]:
        ours, theirs = self._spawning.Pipe()
        process = self._spawning.Process(target=crew.main, args=(orders, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def power_cut(self, number: int) -> None:
        """And power again."""
        process, pipe = self._crews[number]
        orders = self._orders[number]
        self._orders[number] = replace(orders, phases=self._phases, boot_s=AGAIN_S)
        process.kill()
        process.join(20)
        pipe.close()
        self._crews[number] = self._begin(self._orders[number])

    def enter(self, phase: Phase) -> None:
        """Every till."""
        self._phases[phase] = time.monotonic()
        for _, pipe in self._crews:
            pipe.send(phase)

    def ask(self, question: str) -> list[Any]:
        """Every process."""
        for _, pipe in self._crews:
            pipe.send(question)
        found = []
        for process, pipe in self._crews:
            if not pipe.poll(ANSWER_S) or not process.is_alive():
                raise RuntimeError("a process of tills says nothing any more")
            found.append(pipe.recv())
        return found

    def end(self) -> None:
        """Cut the power of all that are left."""
        for process, pipe in self._crews:
            process.kill()
            process.join(20)
            pipe.close()


def play(scene: Scene, home: Path, say: Say = lambda _: None) -> Outcome:
    """All of it. `home` had better not be a disk."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    centre = Centre(home)
    centre.certify(scene.tills)
    outcome = Outcome(scene, {}, {})
    with centre:
        began = time.monotonic() + AHEAD_S
        fleet = Fleet(scene, centre, began)
        try:
            _healthy(scene, centre, fleet, began, outcome, say)
            back = _outage(scene, centre, fleet, outcome, say)
            _drain(scene, fleet, back, outcome, say)
            _settle(scene, home, centre, fleet, back, outcome, say)
        finally:
            fleet.end()
    return outcome


def _healthy(scene: Scene, centre: Centre, fleet: Fleet, began: float, outcome: Outcome, say: Say) -> None:
    _until(began + scene.boot_s)
    _calm(scene, fleet, "begun", scene.boot_s + PATIENCE_S, outcome, say)
    fleet.enter("healthy")
    time.sleep(scene.healthy_s)
    _calm(scene, fleet, "healthy", PATIENCE_S, outcome, say)
    assert centre.posts is not None and centre.messages is not None
    figures = outcome.figures
    figures["posts_before"], figures["messages_before"] = centre.posts.ask()[0], centre.messages.ask()[0]


def _outage(scene: Scene, centre: Centre, fleet: Fleet, outcome: Outcome, say: Say) -> float:
    """Returns when both receivers were back."""
    out = time.monotonic()
    centre.down()
    fleet.enter("outage")
    say("both receivers are gone")
    _until(out + scene.outage_s / 2)
    if scene.killed is not None and scene.killed < scene.processes:
        fleet.power_cut(scene.killed)
        say(f"process {scene.killed} of the tills lost its power, and begins again")
    _until(out + scene.outage_s)
    counts = _note(outcome, fleet, "outage", say)
    while sum(each["tills"] for each in counts) < scene.tills and time.monotonic() < out + scene.outage_s + PATIENCE_S:
        time.sleep(1.0)
        counts = _note(outcome, fleet, "outage", say)
    outcome.problems = sorted({text for each in counts for text in each["problems"]})
    back = time.monotonic()
    centre.up()
    fleet.enter("back")
    say("both receivers are back")
    return back


def _drain(scene: Scene, fleet: Fleet, back: float, outcome: Outcome, say: Say) -> None:
    _until(back + scene.quiet_s + scene.beat_s + 1.0)
    counts = _calm(scene, fleet, "drained", back + scene.drain_s - time.monotonic(), outcome, say, at_most=0)
    outcome.figures["drained_after_s"] = time.monotonic() - back
    outcome.figures["tills_cpu_s"] = sum(each["cpu_s"] for each in counts)
    outcome.left = sorted({text for each in counts for text in [*each["problems"], *each["keeper"]]})


def _calm(
    scene: Scene, fleet: Fleet, when: str, seconds: float, outcome: Outcome, say: Say, *, at_most: int = 5
) -> list[dict[str, Any]]:
    """Wait until all tills are up and hardly any report waits."""
    ends = time.monotonic() + seconds
    while True:
        counts = _note(outcome, fleet, when, say)
        waiting, up = sum(each["waiting"] for each in counts), sum(each["tills"] for each in counts)
        if waiting <= at_most and up == scene.tills:
            return counts
        if time.monotonic() > ends:
            outcome.faults.append(f"{when}: {waiting} reports still wait, and {up} of {scene.tills} tills are up")
            return counts
        time.sleep(2.0)


def _settle(scene: Scene, home: Path, centre: Centre, fleet: Fleet, back: float, outcome: Outcome, say: Say) -> None:
    assert centre.posts is not None and centre.messages is not None
    figures = outcome.figures
    time.sleep(1.0)
    (posts, posts_cpu), (messages, messages_cpu) = centre.posts.ask(), centre.messages.ask()
    figures |= {"posts": posts, "messages": messages, "posts_cpu_s": posts_cpu, "messages_cpu_s": messages_cpu}
    figures |= {"nginx_s": centre.nginx.cpu_s(), "broker_s": centre.broker_cpu_s()}
    outcome.told = accounts.made(home)
    standing = centre.retained()
    outcome.faults += accounts.retained(outcome.told, standing)
    outcome.faults += _statuses(scene, standing, set(range(scene.tills)))
    goodbye = {number for each in fleet.ask("leave") for number in each}
    time.sleep(1.0)
    outcome.faults += _statuses(scene, centre.retained(), set(range(scene.tills)) - goodbye)
    fleet.end()
    time.sleep(1.5)
    outcome.faults += _statuses(scene, centre.retained(), set())
    say(f"{len(goodbye)} tills said goodbye, the others lost their power")
    came = {"https": centre.posts.end(), "mqtt": centre.messages.end()}
    for way, arrivals in came.items():
        outcome.accounts[way] = accounts.settle(way, back, outcome.told, arrivals)
        outcome.faults += outcome.accounts[way].faults


def _statuses(scene: Scene, standing: dict[tuple[str, str], bytes], online: set[int]) -> list[str]:
    faults = []
    for number in range(scene.tills):
        till, wanted = "/".join(names(number)), b"online" if number in online else b"offline"
        if (said := standing.get((till, "status"))) != wanted:
            faults.append(f"status: the broker says {said!r} of {till}, which is {wanted!r}")
    return faults


def _note(outcome: Outcome, fleet: Fleet, when: str, say: Say) -> list[dict[str, Any]]:
    counts: list[dict[str, Any]] = fleet.ask("counts")
    total = {
        key: sum(each[key] for each in counts) for key in ("tills", "waiting", "dropped", "rss_kb", "threads", "cpu_s")
    }
    outcome.memory_kb[when] = total["rss_kb"] / max(1, total["tills"])
    late = max(each["late_s"] for each in counts)
    outcome.figures["late_s"] = max(late, outcome.figures.get("late_s", 0.0))
    say(
        f"{when}: {total['tills']} tills, {total['waiting']} reports wait (at most {max(e['most_waiting'] for e in counts)} of one till), "
        f"{total['dropped']} dropped, {outcome.memory_kb[when]:.0f} KB a till, {total['threads']} threads, "
        f"{total['cpu_s']:.0f} s of processor so far, the latest turn {late:.1f} s late"
    )
    return counts


def _until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
