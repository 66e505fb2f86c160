"""Can a way to reach people that hangs or is dead delay anybody else? No: each channel has a thread of its own.

A thread sends one notice at a time and hands what came of it to `answer`. What is to be sent, when, and how often is
decided elsewhere (`agent.telling.post`); how long to wait after a failure is said here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from agent.hands import Hand
from agent.outcome import Outcome, failed

if TYPE_CHECKING:
    from agent.config.model import Channel
    from agent.store import Outgoing
    from agent.telling.message import Message

FIRST_S, LONGEST_S = 5.0, 1800.0
"""How long a channel rests after its first failure in a row, and at most."""
NEVER = float("inf")
SPREAD = 0.2
"""Tills that lost the same network shall not all come back in the same second."""
BOUNDS_S = (1.0, 6 * 3600.0)
"""How soon and how late a service may ask for another attempt."""


class Delivered(msgspec.Struct, frozen=True):
    """What came of a notice that was given away. `outcome` None: it was not tried."""

    key: str
    channel: str
    outcome: Outcome | None


Send = Callable[["Channel", "Message", Mapping[str, str]], "Outcome"]


def rest(failures: int, draw: float) -> float:
    """Seconds to wait after so many failures in a row; `draw` is a random number from 0 to 1."""
    doubled = FIRST_S * 2.0 ** min(failures - 1, 30)
    return max(FIRST_S, min(LONGEST_S, min(LONGEST_S, doubled) * (1 - SPREAD + 2 * SPREAD * draw)))


def put_off(outcome: Outcome, attempts: int, draw: float) -> float:
    """Seconds until a notice may be tried again: as the service asks, within bounds, or as `rest` says."""
    if outcome.retry_after is None:
        return rest(attempts, draw)
    shortest, longest = BOUNDS_S
    asked = outcome.retry_after
    return shortest if not asked > shortest else min(asked, longest)


class Delivery:
    """The threads of all channels. Only `answer` is called from them."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        answer: Callable[[Delivered], None],
        send: Send | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._answer, self._send, self._env = answer, send or _send, env
        self._runs: dict[str, _Runner] = {}
        self._left: list[_Runner] = []
        self._stopping = False
        self.rearrange(channels)

    def rearrange(self, channels: Mapping[str, Channel]) -> None:
        """From now on these. What is under way ends as it began; what was not begun is given back."""
        for name, runner in list(self._runs.items()):
            if channels.get(name) != runner.channel:
                self._left.append(self._runs.pop(name))
                self._give_back(runner)
        for name, channel in channels.items():
            if name not in self._runs:
                self._runs[name] = _Runner(name, channel, self._attempt, self._answer)

    def room(self, channel: str) -> int:
        """How many more notices this channel takes now."""
        runner = self._runs.get(channel)
        return 0 if runner is None or self._stopping else runner.room()

    def give(self, channel: str, message: Message) -> None:
        """Send this one after those given before. Where there is no room it is given back at once."""
        runner = self._runs.get(channel)
        if runner is None or self._stopping or not runner.give(message):
            self._answer(Delivered(message.key, channel, None))

    def look_after(self, now: float) -> float:
        """Give up attempts that hang. Returns when this is to be called again; both are monotonic seconds."""
        return min((runner.look_after(now) for runner in self._runs.values()), default=float("inf"))

    def stop(self, grace: float) -> None:
        """Begin nothing any more; those under way get `grace` seconds. Waits for no hung one."""
        self._stopping = True
        ends = time.monotonic() + grace
        runners = [*self._runs.values(), *self._left]
        for runner in runners:
            self._give_back(runner)
        for runner in runners:
            runner.quiet.wait(max(0.0, ends - time.monotonic()))

    def _give_back(self, runner: _Runner) -> None:
        for message in runner.leave():
            self._answer(Delivered(message.key, runner.name, None))

    def _attempt(self, channel: Channel, message: Message) -> Outcome:
        try:
            return self._send(channel, message, self._env)
        except Exception as error:  # noqa: BLE001 -- a fault of ours in one channel must not end its thread for good
            return failed(f"cannot send: {type(error).__name__}; please report this")


def _send(channel: Channel, message: Message, env: Mapping[str, str]) -> Outcome:
    from agent import channels

    return channels.send(channel, message, env=env)


@dataclass
class Line:
    """How it stands with one channel. Monotonic seconds, unless said otherwise."""

    channel: Channel
    hand: dict[tuple[str, str], Outgoing] = field(default_factory=dict)
    """Given to its thread and not answered."""
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0
    look_at: float = 0.0
    """When the outbox is to be asked again."""
    pass_on_at: float = NEVER
    trouble: str = ""
    since: float = 0.0
    """Since when there is trouble: Unix seconds."""
    fresh: bool = True
    """Just configured, or the daemon just began: whatever held it up before may be mended."""

    def mark(self, outcome: Outcome, wall: float) -> None:
        """It fails. What was said first stays: each change of it would be worth a new report."""
        if not self.trouble:
            self.trouble, self.since = outcome.detail or "it gives no reason", wall

    def look_again(self, *, at_once: bool) -> None:
        """Something may wait for it. `at_once`: also where it rests after a failure."""
        self.look_at = 0.0
        if at_once:
            self.rests_until = 0.0


class _Runner(Hand["Message"]):
    """One channel's thread."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        attempt: Callable[[Channel, Message], Outcome],
        answer: Callable[[Delivered], None],
    ) -> None:
        super().__init__(
            name,
            lambda message: attempt(channel, message),
            lambda message, outcome: answer(Delivered(message.key, name, outcome)),
            float(channel.timeout),
        )
        self.channel = channel
