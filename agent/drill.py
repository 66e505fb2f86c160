"""Would the people be reached who are to be told? An exercise, its way through the outbox, and what came of it.

`through_daemon`   into the daemon's outbox: it delivers it as any other notice, by its own rights and credentials
`directly`         where no daemon runs: through every channel at once

Nothing here opens or changes an incident. Whatever has not left at the end is taken back.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from agent.store import Batch, Event, Outgoing
from agent.telling.outbox import EXERCISE, encoded, taken_back

if TYPE_CHECKING:
    from agent.config import Config
    from agent.config.model import Channel
    from agent.incidents import Incident
    from agent.store import Store
    from agent.telling.about import About
    from agent.telling.message import Message
    from agent.texts import Language
    from probes.model import Scalar

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
POLL_S, ALIVE_S = 0.1, 1.0
"""How often the state file is asked for answers, and whether the daemon still runs."""
OVERRUN_S = 1.0
"""Beyond their own deadline, for channels that are asked directly to say what kept them."""
State = Literal["reached", "refused", "failed", "late"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one channel. `late`: it has not answered, or not been tried, before the exercise was over."""

    channel: str
    kind: str
    state: State
    took_s: float
    """From the moment there was something to tell until it was answered, or given up."""
    attempts: int
    detail: str = ""
    """What the other side said, or why it could not be asked."""

    @property
    def reached(self) -> bool:
        """Somebody has it."""
        return self.state == "reached"


class Exercise:
    """One exercise: as if `cause` had just happened on this till."""

    def __init__(self, config: Config, cause: str, language: Language, at: float) -> None:
        self.id = "DRILL-" + "".join(secrets.choice(LETTERS) for _ in range(4))
        self.cause, self.at = cause, at
        self.channels = {name: channel for name, channel in config.channels.items() if channel.enabled}
        self._config, self._language = config, language

    def language(self, channel: Channel) -> Language:
        """What the readers of this channel read."""
        return self._language if channel.language == "auto" else channel.language

    def messages(self) -> dict[str, Message]:
        """By channel: what its readers get, marked as an exercise."""
        from agent.escalation import Notice
        from agent.telling.message import compose

        notice = Notice(f"{self.id}/drill", "drill", self.id, 0, tuple(self.channels), self.at)
        incident, about = self._incident(), self._about()
        return {
            name: compose(notice, incident, about, self.language(channel), now=self.at)
            for name, channel in self.channels.items()
        }

    def _incident(self) -> Incident:
        from agent.causes import CAUSES
        from agent.incidents import Incident

        kin = CAUSES[self.cause]
        return Incident(
            id=self.id,
            cause=self.cause,
            party=kin.party,
            category=kin.category,
            confidence="certain",
            fingerprint=self.id,
            impact="stop",
            began_at=self.at,
            opened_at=self.at,
        )

    def _about(self) -> About:
        from agent.advice import site_of
        from agent.config.hours import zone_of
        from agent.rendering import circumstances_of_this_machine
        from agent.telling.about import About

        config = self._config
        return About(
            store=config.site.store,
            terminal=config.site.terminal,
            host=circumstances_of_this_machine()["host"],
            tags=config.site.tags,
            contacts={str(party): contact for party, contact in config.contacts.items()},
            site_advice=site_of(config),
            zone=zone_of(config.site.timezone),
            language=self._language,
        )

    def outgoing(self) -> list[Outgoing]:
        """For the outbox. Due since ever, so that it waits behind nothing that waits for a dead channel."""
        return [
            Outgoing(
                key=message.key,
                channel=name,
                incident=self.id,
                what=EXERCISE,
                at=self.at,
                created=self.at,
                due=0.0,
                message=encoded(message),
            )
            for name, message in self.messages().items()
        ]

    def event(self, answers: Iterable[Answer], by: str) -> Event:
        """What history is to know of it."""
        answers = list(answers)
        missed = ", ".join(sorted(each.channel for each in answers if not each.reached))
        reached = sum(each.reached for each in answers)
        facts: dict[str, Scalar] = {"reached": reached, "of": len(answers), "cause": self.cause, "by": by}
        if missed:
            facts |= {"why": "missed", "missed": missed}
        return Event(self.at, EXERCISE, facts)


def unused(config: Config) -> list[str]:
    """The channels that are switched on and that no level tells, not even in place of another."""
    from agent.config import levels_of

    used: set[str] = set()
    front = {name for level in levels_of(config) for name in level.channels}
    while front:
        used |= front
        front = {config.channels[name].fallback or "" for name in front if name in config.channels} - used - {""}
    return [name for name, channel in config.channels.items() if channel.enabled and name not in used]


def through_daemon(
    exercise: Exercise, store: Store, seconds: float, is_alive: Callable[[], bool]
) -> Generator[Answer | None, None, None]:
    """Let the daemon tell it, for so long; answers as they come, None while there is none. Close it when done.

    Raises StoreError.
    """
    notices = exercise.outgoing()
    waiting = {one.channel: one for one in notices}
    began = time.monotonic()
    store.save(Batch(notices=notices), durable=True)
    try:
        yield from _answers(exercise, store, waiting, began + seconds, is_alive)
    finally:
        _take_back(store, exercise.id, waiting.keys())
    passed = time.monotonic() - began
    for one in store.outbox.of(exercise.id):
        if one.channel in waiting:
            yield _answer(exercise, one, passed)


def _answers(
    exercise: Exercise, store: Store, waiting: dict[str, Outgoing], ends: float, is_alive: Callable[[], bool]
) -> Generator[Answer | None, None, None]:
    """Of those that are finished; they are taken out of `waiting`."""
    store.changed()
    look_at = time.monotonic() + ALIVE_S
    while waiting and (now := time.monotonic()) < ends:
        if now >= look_at:
            look_at = now + ALIVE_S
            if not is_alive():
                return
        yield None
        time.sleep(min(POLL_S, max(0.0, ends - now)))
        if not store.changed():
            continue
        for one in store.outbox.of(exercise.id):
            if one.state != "waiting" and one.channel in waiting:
                del waiting[one.channel]
                yield _answer(exercise, one, (one.finished or one.created) - one.created)


def _take_back(store: Store, incident: str, channels: Collection[str]) -> None:
    """So that no exercise arrives hours later. What has left meanwhile stays as it is."""
    left = [one for one in store.outbox.of(incident) if one.channel in channels and one.state == "waiting"]
    if left:
        store.save(Batch(fates=[taken_back(one, time.time()) for one in left]), durable=True)


def _answer(exercise: Exercise, one: Outgoing, took_s: float) -> Answer:
    """`took_s`: since it was put into the outbox."""
    states: dict[str, State] = {"sent": "reached", "refused": "refused"}
    state = states.get(one.state, "failed" if one.attempts else "late")
    return Answer(
        channel=one.channel,
        kind=exercise.channels[one.channel].kind,
        state=state,
        took_s=max(0.0, took_s),
        attempts=one.attempts,
        detail="" if state == "late" else one.detail,
    )


def directly(
    exercise: Exercise, seconds: float, env: Mapping[str, str] = os.environ
) -> Generator[Answer | None, None, None]:
    """Tell everybody at once, with no daemon; each channel is tried once. Answers as they come, None meanwhile."""
    from agent.channels import send
    from agent.outcome import Outcome
    from probes.model import Seconds

    answers: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()

    def tell(name: str, message: Message) -> None:
        channel = exercise.channels[name]
        channel = msgspec.structs.replace(channel, timeout=Seconds(min(float(channel.timeout), seconds)))
        answers.put((name, send(channel, message, env=env)))

    messages = exercise.messages()
    began = time.monotonic()
    ends = began + seconds + OVERRUN_S
    for name, message in messages.items():
        threading.Thread(target=tell, args=(name, message), name=f"posagent-to-{name}"[:15], daemon=True).start()
    waiting = set(messages)
    while waiting and time.monotonic() < ends:
        try:
            name, outcome = answers.get(timeout=POLL_S)
        except queue.Empty:
            yield None
            continue
        waiting.remove(name)
        yield Answer(
            channel=name,
            kind=exercise.channels[name].kind,
            state="reached" if outcome.ok else "refused" if outcome.permanent else "failed",
            took_s=outcome.took_s,
            attempts=1,
            detail=outcome.detail,
        )
    for name in sorted(waiting):
        kind = exercise.channels[name].kind
        yield Answer(channel=name, kind=kind, state="late", took_s=time.monotonic() - began, attempts=0)
