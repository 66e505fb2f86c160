"""How does one connection to a broker live, from its first packet to its last? In a thread of its own.

Everything of paho happens in that thread, through its interface for other people's loops: there is no race with it, it
makes no thread, never reconnects, and whatever it raises, also in a callback, ends this connection and is told.
Nothing is kept in it: one message at a time, which is the broker's once its PUBACK came, and this till's until then.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from agent.outcome import Outcome, delivered, failed
from agent.push.mqtt_words import TAKEN_OVER, Over, Words
from probes.model import CannotAnswer

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

    from agent.config.push import MqttPush
    from agent.push.mqtt_client import Client, Wire

ONLINE, OFFLINE = b"online", b"offline"
SLICES = 4
"""How often per `keepalive` somebody looks whether it is time to prove that the connection lives."""
MARGIN_S = 0.5
"""How much later than its deadline this thread may be until it counts as hung."""
_PROTOCOL_ERROR, _KEEPALIVE = 0x82, 0x8D
NEVER = float("inf")


class Letter(msgspec.Struct, frozen=True):
    """One message. `facts`: what MQTT 5 says beside it."""

    topic: str
    body: bytes
    retain: bool = False
    content_type: str = "application/json"
    facts: tuple[tuple[str, str], ...] = ()


class Access(msgspec.Struct, frozen=True):
    """as whom a connection comes, and where it says whether this till is there."""

    client_id: str
    status: str
    password: str | None = None


class Word(msgspec.Struct, frozen=True):
    """What the broker answered: a reason code of MQTT 5, its name, and the broker's own words."""

    code: int
    name: str = ""
    said: str = ""


class _Fault(Exception):
    """One of our callbacks failed."""


class Connection:
    """One connection. Its methods are called from one thread, one after another; none raises."""

    def __init__(self, settings: MqttPush, access: Access) -> None:
        self._settings, self._access = settings, access
        self._words = Words(settings, access.client_id)
        self._changed = threading.Condition()
        self._letter: Letter | None = None
        self._answer: Outcome | None = None
        self._ends = 0.0
        self._ready = self._leaving = False
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._client: Client | None = None
        self._most = 0
        self._welcome: Word | None = None
        self._farewell: Word | None = None
        self._given_up = 0
        self._taken: dict[int, Word] = {}
        self.over: Outcome | None = None
        """Why it ended, once it has."""
        self.ousted = False
        """Another client took its place."""
        self.silent = False
        """The broker closed it, after it had let this till in, and did not say why."""
        self.since = self.until = 0.0
        """From when to when it stood: monotonic seconds."""

    # --- from outside -------------------------------------------------------------------------------------------------

    def open(self, ends: float) -> Outcome:
        """Connect and say that this till is there, by that monotonic second."""
        self._ends = ends
        try:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            thread = threading.Thread(target=self._run, name="posagent-mqtt", daemon=True)
            thread.start()
        except (OSError, RuntimeError) as error:
            self._close_wake()
            self._give_up(f"this PC lets the agent begin nothing more ({error}); raise its limits")
            return self._how_it_stands()
        self._thread = thread
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self.over is not None, _until(ends))
            if not self._ready:
                self._give_up(self._words.no_answer())
            return self._how_it_stands()

    def publish(self, letter: Letter, ends: float) -> Outcome:
        """Bring it to the broker and wait until that has it."""
        with self._changed:
            if self.over is not None:
                return self.over
            self._letter, self._answer, self._ends = letter, None, ends
            self._ring()
            if not self._changed.wait_for(lambda: self._answer is not None or self.over is not None, _until(ends)):
                self._give_up(self._words.not_acknowledged())
            return self._how_it_stands()

    def close(self, grace: float) -> None:
        """Say that this till leaves, and leave: within `grace` seconds. Also where it has ended by itself."""
        with self._changed:
            self._leaving, self._ends = True, time.monotonic() + max(0.0, grace)
            self._ring()
        if self._thread is not None:
            self._thread.join(max(0.0, grace) + MARGIN_S)

    def _give_up(self, detail: str) -> None:
        """With the lock held: unless it has ended, it does now. A thread that hangs takes nothing more."""
        if self.over is None:
            self.over, self._leaving = failed(detail), True

    def _how_it_stands(self) -> Outcome:
        return self._answer or self.over or delivered()

    def _ring(self) -> None:
        """With the lock held."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def _close_wake(self) -> None:
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        over, ousted, silent = delivered(), False, False
        try:
            self._live()
        except Over as error:
            over, ousted, silent = error.outcome, error.ousted, error.silent
        except CannotAnswer as error:
            over = failed(f"{error}; check push.mqtt")
        except Exception as error:  # noqa: BLE001 -- a fault of ours or paho's must be told, not end a thread unheard
            over = failed(f"a fault of posagent ({_name(error)}); please report it")
        finally:
            with self._changed:
                self.over, self.ousted, self.silent, self.until = over, ousted, silent, time.monotonic()
                wire = self._client.wire if self._client is not None else None
                if wire is not None:  # without DISCONNECT, unless it left: the broker publishes the Last Will
                    wire.close()
                self._client = None
                self._close_wake()
                self._changed.notify_all()

    def _live(self) -> None:
        client = self._client = self._new_client()
        try:
            client.begin()
        except OSError as error:
            raise Over(self._words.hung_up(welcome=False, why=error.strerror or str(error))) from error
        if not self._pump(self._ends, lambda: self._welcome is not None):
            raise Over(self._words.no_answer())
        self._say(ONLINE)
        with self._changed:
            self._ready, self.since = True, time.monotonic()
            self._changed.notify_all()
        while not self._leaving:
            self._pump(NEVER, lambda: self._letter is not None or self._leaving)
            letter = self._letter
            if letter is not None:
                answer = self._send(letter)
                with self._changed:
                    self._letter, self._answer = None, answer
                    self._changed.notify_all()
        self._say(OFFLINE)
        client.disconnect()  # the broker forgets the Last Will
        with contextlib.suppress(Over):
            self._pump(self._ends, lambda: client.socket() is None)

    def _say(self, status: bytes) -> None:
        """Say that this till is there, or that it leaves. Who may not say so is not there at all."""
        told = self._send(Letter(self._access.status, status, retain=True, content_type="text/plain"))
        if not told.ok:
            raise Over(told.detail)

    def _send(self, letter: Letter) -> Outcome:
        from agent.push.mqtt_client import publishing

        client = self._client
        if client is None or client.wire is None:
            raise Over(self._words.hung_up(welcome=True))
        size, properties = len(letter.topic.encode()) + len(letter.body) + 16, None
        if client.five:
            properties = publishing(letter.content_type, letter.facts)
            size += len(properties.pack())  # type: ignore[no-untyped-call]
        if 0 < self._most < size:
            return self._words.too_large(self._most)
        client.wire.heard = 0
        self._taken.clear()
        info = client.publish(letter.topic, letter.body, qos=1, retain=letter.retain, properties=properties)
        try:
            if not self._pump(self._ends, lambda: info.mid in self._taken):
                raise Over(self._words.not_acknowledged())
        except Over:
            code = client.wire.refusal(info.mid) if self._given_up == _PROTOCOL_ERROR else 0
            if code < 0x80:
                raise
            self._farewell = self._taken[info.mid] = Word(code)
        word = self._taken.pop(info.mid)
        return delivered() if word.code < 0x80 else self._words.not_taken(word.code, letter.topic, word.said, word.name)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _pump(self, ends: float, done: Callable[[], bool]) -> bool:
        """Read and write until it is done, or that monotonic second passed. Raises Over."""
        while not done():
            client, wire = self._standing()
            now = time.monotonic()
            if now >= ends:
                return False
            poller = select.poll()
            poller.register(self._wake, select.POLLIN)
            poller.register(wire.fileno(), select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            seconds = 0.0 if wire.pending() else min(ends - now, max(1.0, client.keepalive / SLICES))
            ready = dict(poller.poll(seconds * 1000.0))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if wire.fileno() in ready or wire.pending():
                self._read(client)
            if client.want_write():
                client.loop_write()
            client.loop_misc()
        return True

    def _read(self, client: Client) -> None:
        try:
            client.loop_read()
        except _Fault:
            raise
        except Exception as error:
            raise Over(self._words.not_mqtt()) from error

    def _standing(self) -> tuple[Client, Wire]:
        """The client and its connection, as long as it stands. Raises Over."""
        client, welcome = self._client, self._welcome
        if welcome is not None and welcome.code:
            raise Over(self._words.reason(welcome.code, welcome.said, name=welcome.name))
        wire = client.wire if client is not None else None
        if client is not None and wire is not None and client.socket() is not None:
            return client, wire
        if self._farewell is not None:
            word = self._farewell
            raise Over(self._words.reason(word.code, word.said, name=word.name), ousted=word.code == TAKEN_OVER)
        why = wire.why if wire is not None else ""
        if self._given_up == _KEEPALIVE:
            raise Over(self._words.lost())
        if wire is not None and (wire.babbles or (self._given_up == _PROTOCOL_ERROR and not why)):
            raise Over(self._words.not_mqtt())
        raise Over(self._words.hung_up(welcome=welcome is not None, why=why), silent=welcome is not None and not why)

    # --- what paho calls, in this thread ------------------------------------------------------------------------------

    def _new_client(self) -> Client:
        from agent.push.mqtt_client import Client

        settings, access = self._settings, self._access
        client = Client(settings, access.client_id, self._words, self._ends)
        if settings.user is not None:
            client.username_pw_set(settings.user, access.password)
        client.will_set(access.status, OFFLINE, qos=1, retain=True)
        client.on_connect = _guarded(self._on_connect)
        client.on_publish = _guarded(self._on_publish)
        client.on_disconnect = _guarded(self._on_disconnect)
        return client

    def _on_connect(self, _client: object, _data: object, _flags: object, code: ReasonCode, facts: object) -> None:
        self._most = getattr(facts, "MaximumPacketSize", 0)
        self._welcome = _word(code, facts)

    def _on_publish(self, _client: object, _data: object, mid: int, code: ReasonCode, facts: object) -> None:
        self._taken[mid] = _word(code, facts)

    def _on_disconnect(self, _client: object, _data: object, flags: Any, code: ReasonCode, facts: object) -> None:
        if flags.is_disconnect_packet_from_server:
            self._farewell = _word(code, facts)
        else:
            self._given_up = self._given_up or code.value


def _word(code: ReasonCode, facts: object) -> Word:
    return Word(code.value, str(code), str(getattr(facts, "ReasonString", "")))


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """What fails in it is known as ours, in the middle of paho."""

    def guarded(*values: Any) -> None:
        try:
            callback(*values)
        except Exception as error:
            raise _Fault(_name(error)) from error

    return guarded


def _name(error: Exception) -> str:
    return str(error) if isinstance(error, _Fault) else type(error).__name__


def _until(ends: float) -> float:
    return max(0.0, ends + MARGIN_S - time.monotonic())
