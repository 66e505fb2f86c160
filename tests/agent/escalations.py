"""A store with a clock of its own, for stories about who is told of a fault, and when.

It asks as the daemon does: when something happens, and when `next_of_all` says so. What was said stands in `said`, by
the clock on the store's wall: `10:30 reminder: staff, centre`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from agent.config import hours
from agent.config.escalation import Level
from agent.escalation import Moment, Notice, Told, decide_all, forgettable, next_of_all, shifted
from agent.incidents import Incident
from agent.store.words import Note
from probes.model import Seconds

SHANGHAI = ZoneInfo("Asia/Shanghai")


def level(name: str, *channels: str, after: str | int = 0, every: str | int = "30m", **rest: Any) -> Level:
    """A level as the file has it; a channel of its own name, unless others are given."""
    return Level(
        name=name,
        channels=channels or (name,),
        after=Seconds.parse(after),
        remind_every=Seconds.parse(every),
        **rest,
    )


def seconds(text: str) -> float:
    return float(Seconds.parse(text))


class Store:
    """It opens its eyes at `start`, a time on its own wall."""

    def __init__(
        self,
        *levels: Level,
        start: str = "2026-03-02T10:00",
        opening: Sequence[str] = (),
        holidays: Sequence[str] = (),
        zone: tzinfo = SHANGHAI,
        settlement: str | None = None,
    ) -> None:
        self.levels: Sequence[Level] = levels
        self.zone = zone
        self.hours = hours.parse(opening, zone, holidays)
        self.now = self.clock(start)
        self.deadline = self.clock(settlement) if settlement else None
        self.before_settlement = 3600.0
        self.incidents: dict[str, Incident] = {}
        self.told: dict[str, Told] = {}
        self.charges: dict[str, Note] = {}
        self.silent_until = 0.0
        self.notices: list[Notice] = []
        self.said: list[str] = []
        self.asked = 0

    # ---- what happens

    def fault(self, cause: str = "isp.down", impact: str = "stop", party: str = "isp", **rest: Any) -> str:
        """A fault is confirmed now."""
        identity = f"#{len(self.incidents) + 1}"
        rest = {"began_at": self.now - 60, "opened_at": self.now, "fingerprint": cause, **rest}
        self.incidents[identity] = Incident(
            id=identity,
            cause=cause,
            party=party,
            category="network",
            confidence="likely",
            impact=impact,
            **rest,
        )
        self.ask()
        return identity

    def gone(self, identity: str) -> None:
        """It is confirmed gone."""
        self._change(identity, resolved_at=self.now)

    def joined(self, identity: str, home: str) -> None:
        """It turns out to be part of another one."""
        self._change(identity, resolved_at=self.now, joined_to=home)

    def graver(self, identity: str, impact: str) -> None:
        self._change(identity, impact=impact)

    def ack(self, identity: str, lasts: str | None = None) -> None:
        """Somebody takes charge."""
        until = None if lasts is None else self.now + seconds(lasts)
        self.charges[identity] = Note(identity, self.now, "li", "on my way", until)
        self.ask()

    def silence(self, lasts: str) -> None:
        self.silent_until = self.now + seconds(lasts)
        self.ask()

    def unsilence(self) -> None:
        self.silent_until = 0.0
        self.ask()

    def restart(self, *, off: str = "0s") -> None:
        """The PC is off for so long; what is known is read back from the state file."""
        self.now += seconds(off)
        written = msgspec.json.encode(list(self.told.values()))
        self.told = {told.incident: told for told in msgspec.json.decode(written, type=list[Told])}
        self.ask()

    def clock_set(self, by: str, *, back: bool = False, noticed: bool = False) -> None:
        """Somebody sets the wall clock, with or without the daemon being aware of it."""
        step = -seconds(by) if back else seconds(by)
        self.now += step
        if noticed:
            self.told = {key: shifted(told, step) for key, told in self.told.items()}
        self.ask()

    def wait(self, lasts: str) -> None:
        """Time passes."""
        self.until(self.now + seconds(lasts))

    def until_clock(self, local: str) -> None:
        """Time passes until the store's clock shows this."""
        self.until(self.clock(local))

    def until(self, end: float) -> None:
        while True:
            self.ask()
            due = next_of_all(self.concerned(), self.told, self.charges, self.moment())
            assert due is None or due > self.now, "asks for a moment that is past"
            if due is None or due >= end:
                break
            self.now = due
        self.now = end
        self.ask()

    # ---- what is said

    def ask(self) -> None:
        """One turn of the daemon. Asked again at the same moment, there is nothing to add."""
        self.asked += 1
        changed, notices = decide_all(self.concerned(), self.told, self.charges, self.moment())
        self.told |= changed
        self.told = {key: told for key, told in self.told.items() if not forgettable(told, self.now)}
        again = decide_all(self.concerned(), self.told, self.charges, self.moment())
        assert again == ({}, []), "is not content with what it just decided"
        for notice in notices:
            assert notice.key not in {each.key for each in self.notices}, "the same key twice"
            assert notice.channels
            assert len(set(notice.channels)) == len(notice.channels)
            assert notice.at == self.now
            self.notices.append(notice)
            about = f" {notice.incident}" if len(self.incidents) > 1 else ""
            self.said.append(f"{self.wall():%H:%M} {notice.what}{about}: {', '.join(notice.channels)}")

    def moment(self) -> Moment:
        return Moment(
            self.now, self.levels, self.now < self.silent_until, self.is_open, self.deadline, self.before_settlement
        )

    def concerned(self) -> list[Incident]:
        """As the daemon has them: open, or ended with something left to say."""
        return [
            each
            for each in self.incidents.values()
            if each.resolved_at is None or (each.id in self.told and not self.told[each.id].over)
        ]

    def is_open(self, moment: float) -> bool:
        return self.hours.open_at(datetime.fromtimestamp(moment, self.zone))

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.now, self.zone)

    def clock(self, local: str) -> float:
        return datetime.fromisoformat(local).replace(tzinfo=self.zone).timestamp()

    def heard(self, channel: str) -> list[str]:
        """All that one channel was told."""
        return [notice.what for notice in self.notices if channel in notice.channels]

    def within_an_hour(self) -> int:
        """The most notices in any hour."""
        times = [notice.at for notice in self.notices]
        return max((sum(start <= at < start + 3600 for at in times) for start in times), default=0)

    def _change(self, identity: str, **change: Any) -> None:
        self.incidents[identity] = replace(self.incidents[identity], **change)
        self.ask()
