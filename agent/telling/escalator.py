"""Does everybody hear of a fault, and of its end, who is to, and nobody twice? What the daemon's loop owns of it.

incidents, what people did, the hour ─► escalation.decide_all ─► message.compose ─► one batch with the incident
  ─► post, delivery ─► people
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from agent.escalation import Moment, Notice, Told, decide_all, forgettable, next_of_all, shifted
from agent.store import Batch, Event, Outgoing
from agent.telling.delivery import Delivered, Delivery
from agent.telling.outbox import encoded
from agent.telling.post import Post
from agent.telling.wording import Wording, compose

if TYPE_CHECKING:
    from agent.incidents import Change, Incident
    from agent.journal import Journal
    from agent.keeper import Keeper
    from agent.knowledge import Knowledge
    from agent.plan import Plan
    from agent.report import DiagnosisPart
    from agent.store import Note
    from agent.telling.delivery import Send
    from agent.telling.message import Message
    from agent.texts import Language

NEVER = float("inf")
SOON_S, ASK_S = 0.2, 60.0
"""While a fault is open it is asked at least each minute who is to be told: somebody may set the clock."""


@dataclass
class Ways:
    """What an escalator gets from whoever owns it. `save` writes what is unsaved, for good where it says so."""

    answer: Callable[[Delivered], None]
    """Called from other threads; what it is given is to reach `Escalator.answered` in the loop's own."""
    save: Callable[[bool], None]
    record: Callable[[Event], None]
    """Something happened that history is to know."""
    diagnosis: Callable[[Incident], DiagnosisPart | None] = lambda _incident: None
    send: Send | None = None


class Escalator:
    """Whom the daemon tells. Everything here happens in the loop's thread; nothing waits."""

    def __init__(
        self,
        plan: Plan,
        known: Knowledge,
        keeper: Keeper,
        journal: Journal,
        ways: Ways,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._plan, self._known, self._keeper, self._ways = plan, known, keeper, ways
        self._delivery = Delivery({}, ways.answer, ways.send, env)
        self.post = Post(
            keeper,
            self._delivery,
            journal,
            unsaved=lambda: known.unsaved,
            save=ways.save,
            record=ways.record,
            words=self._again_in_words,
            passed=self._also_told,
            ended=self._ended_at,
        )
        self._told: dict[str, Told] = {}
        self._ended: dict[str, Incident] = {}
        """Incidents that are over while somebody is still to hear of it."""
        self._ask_at = 0.0
        self._take_plan()

    # --- what the loop calls ------------------------------------------------------------------------------------------

    def restore(self, wall: float) -> None:
        """Take up what was told in an earlier life."""
        none: dict[str, Told] = {}
        told = self._keeper.ask(lambda store: store.told(Told), none)
        self._told = {name: each for name, each in told.items() if not forgettable(each, wall)}
        opened = {each.id for each in self._known.book.open}
        for name in [name for name, each in self._told.items() if not each.over and name not in opened]:
            incident = self._stored(name)
            if incident is not None and incident.resolved_at is not None:
                self._ended[name] = incident
            else:
                del self._told[name]  # forgotten long ago
        self._ask_at = 0.0

    def changed(self, changes: Sequence[Change]) -> None:
        """Incidents were opened, changed or resolved."""
        for change in changes:
            if change.incident.resolved_at is not None:
                self._ended[change.incident.id] = change.incident
        if changes:
            self._ask_at = 0.0

    def people_wrote(self) -> None:
        """Somebody may have taken charge of an incident, silenced this till, or begun an exercise."""
        self._ask_at = 0.0
        self.post.others_wrote()

    def clock_set(self, seconds: float, wall: float) -> None:
        """The wall clock was set by so much: what was ten minutes ago still was."""
        self._told = {name: shifted(each, seconds) for name, each in self._told.items()}
        self._known.unsaved.told.update(self._told)
        self.post.clock_set(wall)
        self._ask_at = 0.0

    def answered(self, delivered: Delivered) -> None:
        """What came of a notice."""
        self.post.answered(delivered)

    def turn(self, now: float, wall: float, *, ready: bool = True) -> None:
        """Decide who is to be told, keep it, and let notices leave. `now` is monotonic, `wall` Unix time.

        `ready`: enough was looked at to say how this till is doing.
        """
        if now >= self._ask_at and ready:
            self._decide(now, wall)
        elif now >= self._ask_at:
            self._ask_at = now + SOON_S
        self.post.turn(now, wall)

    def wait(self, now: float) -> float:
        """Seconds until the next turn has something to do."""
        return min(max(0.0, self._ask_at - now), self.post.wait(now))

    def reload(self, plan: Plan) -> None:
        """A new configuration; what waits goes on waiting."""
        self._plan = plan
        self._take_plan()

    def stop(self, grace: float) -> None:
        """Begin no delivery any more; those under way get `grace` seconds."""
        self._delivery.stop(grace)

    def everything(self) -> Batch:
        """What a new state file must hold of this."""
        return Batch(told=dict(self._told), notices=self.post.in_hand())

    # --- for the report -----------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What keeps people from being told, in one sentence each."""
        used = {name for name, channel in self._plan.config.channels.items() if channel.enabled}
        deaf = [
            level.name
            for level in self._levels
            if self._plan.config.escalation and not used.intersection(level.channels)
        ]
        silent = [f"level {name} of the escalation reaches nobody: its channels are switched off" for name in deaf]
        return [*self.post.problems(), *silent]

    def level(self, incident: str) -> int:
        """How far an incident was escalated; 0: nobody was told yet."""
        told = self._told.get(incident)
        return told.level if told is not None else 0

    def counts(self) -> dict[str, int]:
        """How many notices wait now, and what came of those of this life."""
        return {"waiting": sum(self.post.outbox.waiting().values()), **self.post.tally}

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _take_plan(self) -> None:
        from agent.config import levels_of, opening_hours

        config = self._plan.config
        self._levels, self._hours = levels_of(config), opening_hours(config)
        self._wording = Wording(self._plan, self._known, self._levels, self._ways.diagnosis)
        self.post.arrange(config.channels, config.notify)
        self._ask_at = 0.0

    def _decide(self, now: float, wall: float) -> None:
        incidents = [*self._known.book.open, *self._ended.values()]
        if not incidents:
            self._forget(wall)
            self._ask_at = NEVER
            return
        names = {each.id for each in incidents} | {told.spoken for told in self._told.values() if told.spoken}
        charges = {name: note for name in names if (note := self._charge(name)) is not None}
        moment = self._moment(wall)
        changed, notices = decide_all(incidents, self._told, charges, moment)
        self._told.update(changed)
        self._known.unsaved.told.update(changed)
        by_id = {each.id: each for each in incidents}
        for notice in notices:
            self.post.put(self._outgoing(notice, by_id[notice.incident], charges, moment))
        self._ended = {name: each for name, each in self._ended.items() if not self._told[name].over}
        self._forget(wall)
        left = [*self._known.book.open, *self._ended.values()]
        at = next_of_all(left, self._told, charges, moment)
        self._ask_at = now + min(ASK_S, max(0.0, at - wall) if at is not None else ASK_S) if left else NEVER

    def _moment(self, wall: float) -> Moment:
        return Moment(
            now=wall,
            levels=self._levels,
            silenced=bool(self._keeper.silences(wall)),
            is_open=lambda at: self._hours.open_at(datetime.fromtimestamp(at, UTC)),
            deadline=self._deadline(wall),
            before_settlement=float(self._plan.config.notify.before_settlement),
        )

    def _deadline(self, wall: float) -> float | None:
        probes = [probe for probe in self._known.probes.values() if probe.kind == "settlement"]
        if not probes:
            return None
        from agent.escalation.settlement import next_deadline

        settled = {}
        for probe in probes:
            found = self._known.looks.get(probe.name)
            at = _moment_of(found.observation.measurements.get("last_settled_at")) if found else None
            if at is not None:
                settled[probe.name] = at
        return next_deadline(probes, wall, settled)

    def _charge(self, incident: str) -> Note | None:
        notes = self._keeper.notes(incident)
        return notes[-1] if notes else None

    def _forget(self, wall: float) -> None:
        here = {each.id for each in self._known.book.open} | self._ended.keys()
        self._told = {name: each for name, each in self._told.items() if name in here or not forgettable(each, wall)}

    # --- putting into words -------------------------------------------------------------------------------------------

    def _outgoing(
        self, notice: Notice, incident: Incident, charges: Mapping[str, Note], moment: Moment
    ) -> list[Outgoing]:
        channels = self._plan.config.channels
        names = [name for name in notice.channels if name in channels and channels[name].enabled]
        if notice.what == "reminder":  # whoever has not even got the last one needs no other
            held_up = self.post.outbox.waits_for(incident.id)
            names = [name for name in names if name not in held_up]
        about = self._wording.about(incident, charges.get(incident.id), moment.deadline, notice.level)
        said: dict[Language, str] = {}
        made = []
        for name in names:
            language = self._wording.language(channels[name])
            if language not in said:
                said[language] = encoded(compose(notice, incident, about, language, moment.now))
            made.append(_outgoing(notice, name, said[language], moment.now))
        return made

    def _again_in_words(self, one: Outgoing, wall: float) -> Message | None:
        incident = self.incident(one.incident)
        channel = self._plan.config.channels.get(one.channel)
        if incident is None or channel is None:
            return None
        notice = Notice(one.key, one.what, one.incident, one.level, (one.channel,), one.at)  # type: ignore[arg-type]
        about = self._wording.about(incident, self._charge(incident.id), self._deadline(wall), one.level)
        return compose(notice, incident, about, self._wording.language(channel), wall)

    def _also_told(self, one: Outgoing) -> None:
        """Through its fallback too: whoever is there hears of the end as well."""
        told = self._told.get(one.incident)
        if told is None or one.what in ("resolved", "joined") or one.channel in dict(told.told_at):
            return
        told = msgspec.structs.replace(told, told_at=(*told.told_at, (one.channel, one.created)))
        self._told[one.incident] = self._known.unsaved.told[one.incident] = told

    def _ended_at(self, name: str) -> float | None:
        incident = self.incident(name)
        return incident.resolved_at if incident is not None else None

    def incident(self, name: str) -> Incident | None:
        """Wherever it is known."""
        for each in (*self._known.book.open, *self._known.book.recent, *self._ended.values()):
            if each.id == name:
                return each
        return self._stored(name)

    def _stored(self, name: str) -> Incident | None:
        return self._keeper.ask(lambda store: store.incident(name), None)


def _outgoing(notice: Notice, channel: str, message: str, wall: float) -> Outgoing:
    return Outgoing(
        key=notice.key,
        channel=channel,
        incident=notice.incident,
        what=notice.what,
        level=notice.level,
        at=notice.at,
        created=wall,
        due=wall,
        message=message,
    )


def _moment_of(written: object) -> float | None:
    try:
        return datetime.fromisoformat(str(written)).timestamp() if written else None
    except ValueError:
        return None
