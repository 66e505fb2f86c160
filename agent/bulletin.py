"""Is it time for a new report, and who sees it? What the loop tells the world, and its own log, of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import systemd
from agent.journal import Journal, Priority
from agent.reporter import Facts

if TYPE_CHECKING:
    from agent.housekeeping import House
    from agent.knowledge import Knowledge
    from agent.reporter import Reporter
    from agent.seen import Seen
    from agent.telling.escalator import Escalator
    from agent.watching.lookout import Lookout


class Bulletin:
    """Writes the report through the reporter and hands it on. In the loop's thread; times are monotonic seconds."""

    def __init__(self, reporter: Reporter, house: House, lookout: Lookout, escalator: Escalator, seen: Seen) -> None:
        self.reporter, self.house, self.lookout, self.escalator, self.seen = reporter, house, lookout, escalator, seen
        self.problems: dict[str, str] = {}
        """What is the matter with the daemon itself, in one sentence each."""
        self._known: Knowledge = house.known
        self._journal: Journal = house.journal
        self._logged: set[str] = set()
        self._verdict_mark = ""

    def turn(self, now: float) -> float:
        """Write a report if one is due; returns when the next one is."""
        face, pressing = self._face(), self._pressing()
        wait = self.reporter.wait(now, face, pressing)
        if wait <= 0.0:
            if not self.reporter.again(now, face):
                self._write(now, face, last=False)
            wait = self.reporter.wait(now, self._face(), pressing)
        return now + wait

    def last(self, now: float) -> None:
        """The daemon stops: the last report, which is soon stale."""
        self._write(now, self._face(), last=True)

    def _face(self) -> object:
        """Whatever changes this is worth a new report."""
        return (
            self._known.version,
            self.all_problems(),
            self.reporter.noted,
            sorted(self.house.notes.items()),
            self.house.silenced_until,
            sorted(self._levels().items()),
        )

    def _pressing(self) -> object:
        """What may not wait, however much else changes."""
        return tuple(incident.id for incident in self._known.book.open)

    def _levels(self) -> dict[str, int]:
        return {incident.id: self.escalator.level(incident.id) for incident in self._known.book.open}

    def _write(self, now: float, face: object, *, last: bool) -> None:
        facts = Facts(
            self.all_problems(),
            self.lookout.beats.next_at(),
            self.house.notes,
            self.house.silenced_until,
            self._levels(),
            self.seen.waiting(),
        )
        self.seen.about_to_tell()
        found = self.reporter.write(self._known, facts, now, face, pressing=self._pressing(), last=last)
        if self.reporter.verdict_mark != self._verdict_mark:
            self._verdict_mark = self._known.unsaved.marks["verdict"] = self.reporter.verdict_mark
            self.house.save()
        if self.reporter.told is not None:
            self.seen.told(self.reporter.told, self.reporter.last, changed=self.reporter.changed)
        systemd.status(found.verdict.headline)

    def log_problems(self) -> None:
        """What has no event of its own is said when it begins and when it is over."""
        found = {text for key, text in self.house.keeper.problems.items() if key != "state.corrupt"}
        found.update(self._of_others())
        if found == self._logged:
            return
        for text in sorted(found - self._logged):
            self._journal.say(Priority.WARNING, "agent.problem", text=text)
        for text in sorted(self._logged - found):
            self._journal.say(Priority.NOTICE, "agent.problem.over", text=text)
        self._logged = found

    def all_problems(self) -> list[str]:
        """Everything that is the matter with the agent."""
        return [*self.problems.values(), *self.house.keeper.problems.values(), *self._of_others()]

    def _of_others(self) -> list[str]:
        return [*self.lookout.problems(), *self.escalator.problems(), *self.seen.problems()]
