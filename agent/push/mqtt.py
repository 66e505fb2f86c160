"""How does the centre's broker hold the newest of this till, and know at once when it is gone? `[push.mqtt]`.

One connection stays open (`agent.push.mqtt_connection`). Under PREFIX/STORE/TERMINAL, all with QoS 1:

    health      the newest report, retained             history   reports that a newer one has followed
    incidents   what happens to incidents               gap       reports that will never come
    status      `online`, or `offline`: retained; said at each connection, when the agent stops, and by the Last Will

When to connect and what to send is the loop's to decide. One thing only is decided here: who is pushed out by another
client of the same name does not push back, but waits longer each time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from agent.config.secret import CannotReadSecret, resolve_secret
from agent.outcome import Outcome, concealed, delivered, failed
from agent.push.mqtt_connection import Access, Connection, Letter
from agent.push.mqtt_words import TAKEN_OVER, Words

if TYPE_CHECKING:
    from agent.config.push import MqttPush
    from agent.push.sender import Parcel, Sort, Till

TOPICS: Mapping[Sort, str] = {"report": "health", "history": "history", "incident": "incidents", "gap": "gap"}
STATUS = "status"
HOLD_S, LONGEST_HOLD_S = 30.0, 1800.0
"""How long to wait for a rival with the same client id, at first and at most."""
SHORT_S = 60.0
"""A connection that the broker closes sooner than this without a word was perhaps closed for a rival …"""
SUSPECT = 3
"""… and so many in a row surely were, or for something that is as little use to repeat."""
PEACE_S = 600.0
"""After so long a connection earlier rivals are forgotten."""


class MqttSender:
    """The way to the broker. Called from one thread, one call after another."""

    sorts: frozenset[Sort] = frozenset(TOPICS)
    attends = True

    def __init__(self, settings: MqttPush, till: Till, env: Mapping[str, str] = os.environ) -> None:
        self._settings, self._env = settings, env
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.where = f"mqtt{'s' if settings.tls else ''}://{host}:{settings.port}"
        self._root = f"{settings.prefix}/{till.store}/{till.terminal}"
        self._client_id = settings.client_id or f"posagent-{till.store}-{till.terminal}"
        self._words = Words(settings, self._client_id)
        self._rivalry = Rivalry()
        self._connection: Connection | None = None
        self._password = ""

    def send(self, parcel: Parcel) -> Outcome:
        """Publish it; delivered once the broker acknowledged it."""
        ends = time.monotonic() + float(self._settings.timeout)
        stands = self._stand(ends)
        if not stands.ok or self._connection is None:
            return self._said(stands)
        retain = parcel.kind == "report"
        facts = (("key", parcel.key), ("seq", str(parcel.seq)))
        letter = Letter(f"{self._root}/{TOPICS[parcel.kind]}", parcel.body, retain=retain, facts=facts)
        outcome = self._connection.publish(letter, ends)
        if not outcome.ok and self._connection.over is not None:
            outcome = self._lost(self._connection, outcome)
        return self._said(outcome)

    def attend(self) -> Outcome:
        """Connect if need be. A connection that ended meanwhile is told first, before there is another."""
        return self._said(self._stand(time.monotonic() + float(self._settings.timeout)))

    def close(self, grace: float) -> None:
        """Say `offline` and leave."""
        if self._connection is not None:
            self._connection.close(grace)
            self._connection = None

    def _stand(self, ends: float) -> Outcome:
        """There is a connection; or why not."""
        connection = self._connection
        if connection is not None and connection.over is None:
            return delivered()
        if connection is not None:
            return self._lost(connection, connection.over or failed(self._words.lost()))
        hold = self._rivalry.left(time.monotonic())
        if hold > 0:
            return failed(self._rivalry.text, hold)
        try:
            secret = self._settings.password
            self._password = resolve_secret(secret, self._env) if secret is not None else ""
        except CannotReadSecret as error:
            return failed(str(error))
        access = Access(self._client_id, f"{self._root}/{STATUS}", self._password or None)
        self._connection = Connection(self._settings, access)
        outcome = self._connection.open(ends)
        return outcome if outcome.ok else self._lost(self._connection, outcome)

    def _lost(self, connection: Connection, outcome: Outcome) -> Outcome:
        """That one is over. When the next may come is for the loop, or a rival, to say."""
        connection.close(0)
        self._connection = None
        now = time.monotonic()
        lived = connection.until - connection.since if connection.since else 0.0
        if connection.ousted:
            self._rivalry.noticed(now, self._words.reason(TAKEN_OVER))
        elif connection.silent:
            self._rivalry.suspected(now, lived, self._words.rival())
        elif lived >= PEACE_S:
            self._rivalry = Rivalry()
        hold = self._rivalry.left(now)
        return failed(self._rivalry.text, hold) if hold > 0 and not outcome.permanent else outcome

    def _said(self, outcome: Outcome) -> Outcome:
        if outcome.ok:
            return outcome
        return msgspec.structs.replace(outcome, detail=concealed(outcome.detail, [self._password]))


class Rivalry:
    """Does another client use this till's name, and how long shall it be left alone? Monotonic seconds."""

    def __init__(self) -> None:
        self.text = ""
        self._times = self._cuts = 0
        self._until = 0.0

    def left(self, now: float) -> float:
        """Seconds until this till may come back."""
        return max(0.0, self._until - now)

    def noticed(self, now: float, text: str) -> None:
        """It pushed this till out."""
        self._times += 1
        self._cuts = 0
        spread = 0.75 + 0.5 * random.random()  # noqa: S311 -- no secret; two tills of one name shall not dance in step
        self._until = now + min(LONGEST_HOLD_S, HOLD_S * 2.0 ** min(self._times - 1, 30)) * spread
        self.text = text

    def suspected(self, now: float, lived: float, text: str) -> None:
        """Perhaps it did, after so many seconds: the broker did not say."""
        if lived >= PEACE_S:
            self._times = self._cuts = 0
            return
        if not self._times and lived >= SHORT_S:
            return
        self._cuts += 1
        if self._times or self._cuts >= SUSPECT:
            self.noticed(now, text)
