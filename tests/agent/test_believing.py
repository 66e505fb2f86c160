"""Hours of a till's life in simulated time, faults, reloads and restarts at random: what always holds of what is believed."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest

from agent import state
from agent.incidents import Change
from agent.knowledge import Rules
from agent.verdict import Word
from agent.watching.examiner import GATHER_S, SLOWEST_S, Examiner
from probes.model import Impact
from tests.agent.tills import NOON, Till

PROBES = ("link interface", "router gateway", "names dns", "auth port", "second port", "terminal usb", "disk disk")
FAULTS = {
    "link": ("fail", "interface.no_carrier"),
    "router": ("fail", "gateway.no_reply"),
    "names": ("fail", "dns.timeout"),
    "auth": ("fail", "port.timeout"),
    "second": ("fail", "port.refused"),
    "terminal": ("fail", "usb.absent"),
    "disk": ("warn", "disk.low"),
}
INTERVAL, RETRY = 30, 5.0


class Life:
    """A till whose faults are switched on and off; looks and examinations come as the daemon takes them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.till = Till(*PROBES, rules=Rules(reopen_within=60.0))
        self.broken: dict[str, float] = {}
        """How often a look at it fails: 1 always."""
        self.phase = {name: self.chance.randrange(INTERVAL) for name in self.till.probes}
        self.examiner = Examiner(lambda _answer: None, "en", RETRY)
        self.examined = 0
        self.opened: list[str] = []
        self.ended: list[str] = []

    @property
    def now(self) -> float:
        return self.till.now

    def answer(self, name: str) -> tuple[str, str]:
        if self.chance.random() >= self.broken.get(name, 0.0):
            return "ok", "ok"
        return ("unknown", "probe.timeout") if self.chance.random() < 0.03 else FAULTS[name]

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.till.now += 1
            for name in list(self.till.known.probes):
                if int(self.now) % INTERVAL == self.phase[name]:
                    self.till.known.take(self.till.look(name, *self.answer(name)))
            self.maybe_examine()
            if self.till.known.may_be_over:
                self.note(self.till.known.all_well(self.now))
            self.check()

    def maybe_examine(self) -> None:
        """As Lookout does; an examination takes no time."""
        known = self.till.known
        if not known.doubtful:
            self.examiner.settle()
            return
        self.examiner.wish(self.now)
        if self.examiner.wait(self.now) == 0.0:
            self.examiner._due, self.examiner._began = None, self.now
            self.examiner._in_a_row += 1
            self.examined += 1
            looks = [self.till.look(probe.name, *self.answer(probe.name)) for probe in known.to_examine()]
            self.note(self.till.examine(*looks))

    def note(self, changes: list[Change]) -> None:
        for change in changes:
            if change.what == "opened":
                self.opened.append(change.incident.id)
            elif change.what in ("resolved", "joined"):
                self.ended.append(change.incident.id)

    def check(self) -> None:
        """What is kept at hand is what a look at everything would tell."""
        known = self.till.known
        assert known._bad == {n for n, track in known.tracks.items() if state.is_bad(track.status)}
        assert known._troubled == {n for n, f in known.looks.items() if f.observation.status in ("warn", "fail")}
        assert known.suspects == {n for n, track in known.tracks.items() if n in known.looks and state.suspect(track)}
        believed, known._doubt = known.doubtful, None
        assert known.doubtful == believed
        assert set(known.looks) | set(known.tracks) | known.suspects <= set(known.probes)
        names = set(known.looks) | {found.probe.name for found in known.extra}
        for diagnosis in known.explanation.diagnoses:
            assert {*diagnosis.explains, *(clue.probe for clue in diagnosis.evidence)} <= names
        assert len(self.opened) == len(set(self.opened))
        assert len(self.ended) == len(set(self.ended)), "nothing ends twice"
        assert set(self.opened) - set(self.ended) == {each.id for each in known.book.open}

    def restart(self) -> None:
        before = self.till.known
        tracks = {n: msgspec.json.decode(msgspec.json.encode(t), type=state.Track) for n, t in before.tracks.items()}
        self.till.known = self.till.another_life(before.rules)
        self.till.known.restore(tracks, before.memories, msgspec.structs.replace(before.book, pending=()))
        self.examiner = Examiner(lambda _answer: None, "en", RETRY)
        for name in self.till.probes:
            self.till.now += 0.1
            self.till.known.take(self.till.look(name, *self.answer(name)))

    def reload(self) -> None:
        """Another configuration: a probe less, or all of them, one of them with another name for its target."""
        left = {probe.name: probe for probe in Till(*PROBES).probes.values()}
        if self.chance.random() < 0.5:
            left.pop(self.chance.choice(sorted(left)))
        moved = self.chance.choice(sorted(left))
        left[moved] = replace(left[moved], target=f"elsewhere{self.chance.randrange(3)}", impact=Impact.STOP)
        self.till.probes = left
        self.till.known.rearrange(left, self.till.known.rules)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_breaks_and_is_mended_all_is_well_and_quiet_in_the_end(seed: int) -> None:
    life = Life(seed)
    life.live(2 * INTERVAL)
    assert (life.examined, life.opened) == (0, [])
    for _ in range(15):
        what = life.chance.random()
        name = life.chance.choice(sorted(FAULTS))
        if what < 0.45:
            life.broken[name] = 1.0
        elif what < 0.6:
            life.broken[name] = life.chance.choice([0.1, 0.3, 0.5])
        elif what < 0.85:
            life.broken.pop(name, None)
        elif what < 0.93:
            life.restart()
        else:
            life.reload()
        life.live(life.chance.randrange(5, 200))
    life.broken.clear()
    life.live(900)
    assert life.till.known.book.open == ()
    assert not life.till.known.doubtful
    assert life.till.known.finding().payments is Word.READY
    before = life.examined
    life.live(300)
    assert life.examined == before
    assert sorted(life.opened) == sorted(life.ended)


@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"router"}))  # silent, but others pass it: harmless
def test_one_fault_is_one_incident_however_long_it_lasts_and_is_soon_left_alone(name: str) -> None:
    life = Life(1)
    life.live(INTERVAL)
    life.broken[name] = 1.0
    began = life.now
    while not life.opened:
        life.live(1)
        assert life.now - began < INTERVAL + 6 * RETRY
    life.live(300)
    examined = life.examined
    life.live(1800)
    assert len(life.opened) == 1
    assert life.examined - examined <= 1800 / SLOWEST_S + 1
    life.broken.clear()
    life.live(2 * INTERVAL + int(4 * RETRY))
    assert life.ended == life.opened


def test_one_lost_packet_is_no_incident_and_costs_two_examinations() -> None:
    life = Life(2)
    life.live(INTERVAL)
    life.till.known.take(life.till.look("auth", *FAULTS["auth"]))
    life.live(int(GATHER_S) + 120)
    assert (life.opened, life.examined) == ([], 1)
    assert life.now > NOON
