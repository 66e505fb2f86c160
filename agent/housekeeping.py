"""What is kept for good, and when? Saving, counting, trimming, and heeding what a technician's command wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent import absence, state, thrift
from agent.journal import Journal, Priority
from agent.keeper import Keeper, all_of
from agent.ledger import Ledger
from agent.store import Batch, Event

if TYPE_CHECKING:
    from agent.config.model import History
    from agent.incidents import Incident
    from agent.knowledge import Knowledge
    from agent.reporter import Reporter
    from agent.state import Transition
    from agent.store import Note
    from agent.watching.ear import Ear

SOON_S = 300.0
"""When the first saving of availability comes: whoever has just installed it wants to see it."""
FLUSH_S, COUNT_S, TRIM_S, OTHERS_S = 1800.0, 60.0, 3600.0, 2.0
"""How often what may be lost is saved, availability counted, the past trimmed, other processes listened to where the
kernel does not tell of them."""
SPARE_S, SETTLED_S = 60.0, 3600.0
"""How often memory is given back while something happens, and how often all of it is looked through."""
WARM_S = 16.0
"""When everything has been looked at, and what is in memory is there to stay."""


class House:
    """All of it happens in the loop's thread; times are monotonic seconds unless said otherwise."""

    def __init__(self, known: Knowledge, keeper: Keeper, ledger: Ledger, reporter: Reporter, journal: Journal) -> None:
        self.known, self.keeper, self.ledger, self.reporter, self.journal = known, keeper, ledger, reporter, journal
        self.more: Callable[[], Iterable[Batch]] = tuple
        """What else a new state file must hold."""
        self.others_wrote: Callable[[], None] = lambda: None
        """Called when another process wrote to the state file."""
        self.taken_charge: Callable[[Incident, Note], None] = lambda _incident, _note: None
        """Called when somebody took charge of an incident."""
        self.notes: dict[str, Note] = {}
        """By open incident: who has it in hand."""
        self.silenced_until: float | None = None
        """Unix time."""
        self._told: set[tuple[str, float, str]] | None = None
        """Who is known to have which incident in hand, since when; None: nobody looked yet."""
        self._at = dict.fromkeys(("flush", "count", "trim", "others", "spare"), 0.0)
        self._settle_at = 0.0
        self.busy = False
        """Something out of the ordinary was done, which takes memory for a while."""

    def open(self, now: float, ear: Ear, place: str | None) -> None:
        """The keeper is open. `ear` hears when the state file in `place` is written to."""
        self._ear, self._place = ear, place
        self._at.update(flush=now + SOON_S, count=now + COUNT_S, trim=now + COUNT_S, others=now + OTHERS_S)
        self._at["spare"] = now + WARM_S
        self._listen()
        self.read_notes()

    def wait(self, now: float) -> float:
        """Seconds until somebody must be listened to; all the rest may be late by a turn, and wakes nobody."""
        return self._at["others"] - now

    def heed(self) -> None:
        """Somebody wrote to the state file just now."""
        self._at["others"] = 0.0

    def turn(self, now: float, history: History) -> None:
        """Do what is due."""
        if now >= self._at["count"]:
            self._at["count"] = now + COUNT_S
            self.count()
            self._listen()
        if now >= self._at["spare"]:
            self._spare(now)
        if now >= self._at["others"]:
            self._heed(now)
        if now >= self._at["flush"]:
            self._at["flush"] = now + FLUSH_S
            self.known.unsaved.availability.extend(self.ledger.totals())
            self.known.unsaved.marks["last_seen"] = f"{time.time():.3f}"
            self.save()
        if now >= self._at["trim"]:
            self._at["trim"] = now + TRIM_S
            self.keeper.trim(float(history.keep), history.max_size_mb << 20)

    def _heed(self, now: float) -> None:
        wrote = self.keeper.changed_by_others()
        if wrote:
            self.others_wrote()
        if wrote or self._holds_for_a_while():
            self.read_notes()
        asks = self._holds_for_a_while() or not self._ear.hears
        self._at["others"] = now + (OTHERS_S if asks else COUNT_S)

    def _spare(self, now: float) -> None:
        self._at["spare"] = now + SPARE_S
        if now >= self._settle_at:
            self._settle_at = now + SETTLED_S
            thrift.settle()
        elif self.busy:
            thrift.give_back()
            self.busy = False

    def _listen(self) -> None:
        if self._place is not None:
            self._ear.start(Path(self._place))

    def _holds_for_a_while(self) -> bool:
        """Whether what people said ends by itself."""
        return bool(self.silenced_until or any(note.until for note in self.notes.values()))

    def count(self) -> None:
        """Add up for how long each probe was well."""
        self.ledger.count(self.known.tracks, time.monotonic(), time.time())

    def save_due(self, now: float) -> None:
        """Save what must not wait: an incident's id is told once and kept."""
        unsaved = self.known.unsaved
        if unsaved.incidents or unsaved.transitions or unsaved.events or self.keeper.wait(now) <= 0.0:
            self.save(durable=bool(unsaved.incidents))

    def save(self, *, durable: bool = False) -> None:
        """Hand everything unsaved to the state file, for good where it says so."""
        batch, self.known.unsaved = self.known.unsaved, Batch()
        self._log(batch.transitions)
        self.keeper.save(batch, durable=durable, everything=self._everything)
        news, self.keeper.news = self.keeper.news, []
        for event in news:
            self.record(event, Priority.WARNING)  # that the state file was damaged; saved at the next turn

    def _everything(self) -> Batch:
        known = self.known
        batch = all_of(known.tracks, known.memories, (*known.book.recent, *known.book.open))
        batch.availability.extend(self.ledger.totals())
        batch.marks.update(absence.alive(time.time(), absence.boot_id()), verdict=self.reporter.verdict_mark)
        for more in self.more():
            batch.merge(more)
        return batch

    def _log(self, transitions: Sequence[Transition]) -> None:
        for each in transitions:
            if each.old is not None or not state.is_good(each.new):
                self.journal.say(
                    Priority.NOTICE, "probe.changed", probe=each.probe, old=each.old, new=each.new, reason=each.reason
                )

    def record(self, event: Event, priority: Priority = Priority.NOTICE) -> None:
        """Something happened to the agent or its PC: for history, report and log."""
        self.known.unsaved.events.append(event)
        self.reporter.note(event)
        if not event.what.startswith("agent."):
            self.journal.say(priority, event.what, **event.facts)

    def read_notes(self) -> None:
        """Who has which incident in hand, and until when nobody is told of anything."""
        now, notes, known = time.time(), {}, self._told
        told = set(known or ())
        for incident in self.known.book.open:
            written = self.keeper.notes(incident.id)
            for note in written:
                which = (incident.id, note.at, note.by)
                if which not in told and known is not None:
                    self.taken_charge(incident, note)
                told.add(which)
            if written and (written[-1].until is None or written[-1].until > now):
                notes[incident.id] = written[-1]  # who took charge last has it, and may have had it for long enough
        opened = {incident.id for incident in self.known.book.open}
        self._told = {which for which in told if which[0] in opened}
        self.notes = notes
        self.silenced_until = max((each.until for each in self.keeper.silences(now)), default=None)
