"""Is this PC's clock kept right, and how far is it from a time server's?

Two questions: `kernel()` reads the kernel's own synchronisation state (adjtimex(2), open to every user), `ask()` sends
one SNTP request. ntplib reads and writes the packets; the socket, the deadline and the arithmetic are our own, since
ntplib trusts any answer and takes round trips from a wall clock that may step.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import selectors
import socket
import time
from dataclasses import dataclass, field

import msgspec

from probes.endpoints import join
from probes.host import Host, udp
from probes.redact import scrub

PORT = 123
HEADER = 48
UNIX_EPOCH = 2_208_988_800  # seconds from 1900, where NTP counts from, to 1970
ERA = 1 << 32
SERVER_MODE = 4
UNSYNCHRONISED_LEAP = 3
STA_UNSYNC = 0x40
TIME_ERROR = 5


class Kernel(msgspec.Struct, frozen=True):
    """What adjtimex said. `synchronised` is None when it would not say; `detail` is its raw reason."""

    synchronised: bool | None
    detail: str
    max_error: float = 0.0


class Sample(msgspec.Struct, frozen=True):
    """One exchange with a time server. `refused` says why its time is not to be used; "" when it is."""

    server: str
    offset: float = 0.0
    round_trip: float = 0.0
    stratum: int = 0
    refused: str = ""


class NoReply(Exception):
    """No time server answered; the text says why."""


def kernel() -> Kernel:
    """The kernel's opinion of its own clock. In a container that is the host's clock and the host's opinion."""
    import ctypes

    class Timex(ctypes.Structure):
        """The head of struct timex; the rest is room for what the kernel writes behind it."""

        _fields_ = (
            ("modes", ctypes.c_uint),
            *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_byte * 512),
        )

    said = Timex()
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except AttributeError:
        return Kernel(None, "this C library has no adjtimex")
    state = adjtimex(ctypes.byref(said))
    if state < 0:
        return Kernel(None, f"adjtimex: {os.strerror(ctypes.get_errno())}")
    loose = bool(said.status & STA_UNSYNC) or state == TIME_ERROR
    detail = f"kernel: {'not synchronised' if loose else 'synchronised'} (state {state}, status {said.status:#x})"
    return Kernel(not loose, detail, said.maxerror / 1e6)


def ask(host: Host, addresses: tuple[str, ...], port: int) -> Sample:
    """The first usable sample of these numeric addresses, else an unusable one. Raises NoReply.

    All are asked at once. A silent one is asked once more, because one lost packet is no verdict, and the answer to
    either question counts; one that sent us away is not asked again.
    """
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        lines = [_Line((address, port)) for address in addresses]
        for line in lines:
            if line.open():
                stack.enter_context(line.socket)
                selector.register(line.socket, selectors.EVENT_READ, line)
        ends = time.monotonic() + host.left()
        while (now := time.monotonic()) < ends and any(line.is_waiting for line in lines):
            for line in lines:
                line.ask_when_due(now)
            due = min((line.due for line in lines if line.is_waiting), default=now)
            for key, _ in selector.select(max(0.001, min(due, ends) - now)):
                sample: Sample | None = key.data.hear()
                if sample and not sample.refused:
                    return sample
        return _none_usable(lines)


@dataclass
class _Line:
    """One address, what was asked of it when (nonce -> wall clock, monotonic clock), and what came of it."""

    server: tuple[str, int]
    socket: socket.socket = field(init=False)
    asked: dict[bytes, tuple[float, float]] = field(default_factory=dict)
    due: float = 0.0
    is_waiting: bool = True
    strays: int = 0
    said: str = "no answer"
    refused: Sample | None = None

    def open(self) -> bool:
        """Whether there is a way to this address at all."""
        try:
            self.socket = udp.connected(self.server)
        except OSError as error:
            self._give_up(error)
        else:
            self.socket.setblocking(False)
        return self.is_waiting

    def ask_when_due(self, now: float) -> None:
        """Ask, twice at most. A random transmit stamp comes back as the origin stamp and proves whose answer it is.

        That it is random tells nobody our time, and works when our clock stands in 2099.
        """
        if not self.is_waiting or now < self.due:
            return
        self.due = now + udp.AGAIN if not self.asked else math.inf
        nonce = secrets.token_bytes(8)
        self.asked[nonce] = (time.time(), time.monotonic())
        try:
            self.socket.send(_request() + nonce)
        except OSError as error:
            self._give_up(error)

    def hear(self) -> Sample | None:
        """Read one datagram; None unless it answers one of our questions."""
        try:
            data = self.socket.recv(1024)
        except OSError as error:
            self._give_up(error)
            return None
        arrived = time.monotonic()
        if len(data) < HEADER or data[24:32] not in self.asked:
            self.strays += 1
            return None
        wall, sent = self.asked[data[24:32]]
        sample = read(data, join(*self.server), wall, arrived - sent)
        if sample.refused:
            self.refused, self.is_waiting = sample, False
        return sample

    def _give_up(self, error: OSError) -> None:
        self.said, self.is_waiting = error.strerror or str(error), False


def _request() -> bytes:
    """A client's packet up to its transmit stamp."""
    import ntplib

    data: bytes = ntplib.NTPPacket(version=4, mode=3).to_data()
    return data[: HEADER - 8]


def _none_usable(lines: list[_Line]) -> Sample:
    for line in lines:
        if line.refused:
            return line.refused
    for line in lines:
        if line.strays:
            return Sample(join(*line.server), refused="its answer is not to our question (wrong origin time stamp)")
    raise NoReply("; ".join(f"{join(*line.server)}: {line.said}" for line in lines) or "no address to ask")


def read(data: bytes, server: str, sent_at: float, seconds: float) -> Sample:
    """What one answer says: sent at `sent_at` by our wall clock, back after `seconds` by the monotonic one."""
    import ntplib

    packet = ntplib.NTPStats()
    try:
        packet.from_data(data)
    except ntplib.NTPException as error:
        return Sample(server, refused=f"unreadable answer: {error}")
    refused = _refusal(packet.mode, packet.stratum, packet.leap, packet.ref_id) or _nonsense(
        packet.recv_timestamp, packet.tx_timestamp, seconds
    )
    if refused:
        return Sample(server, stratum=packet.stratum, refused=refused)
    received, sent_back = _unix(packet.recv_timestamp), _unix(packet.tx_timestamp)
    offset = ((received - sent_at) + (sent_back - (sent_at + seconds))) / 2
    return Sample(server, offset, max(0.0, seconds - (sent_back - received)), packet.stratum)


def _refusal(mode: int, stratum: int, leap: int, ref_id: int) -> str:
    """Why the server itself says that its time is not to be used."""
    if mode != SERVER_MODE:
        return f"not a server's answer (mode {mode})"
    if stratum == 0:
        code = scrub(ref_id.to_bytes(4, "big").decode("ascii", "replace").strip("\0 "))
        return f"kiss of death: {code if code.isalnum() else 'no code'}"
    if stratum > 15:
        return f"the server is not synchronised (stratum {stratum})"
    if leap == UNSYNCHRONISED_LEAP:
        return "the server is not synchronised (leap indicator 3)"
    return ""


def _nonsense(received: float, sent_back: float, seconds: float) -> str:
    """Time stamps that cannot be."""
    if not sent_back or not received:
        return "the server gives no time (zero time stamp)"
    held = (sent_back - received) % ERA
    if held > seconds + 1.0:
        return "the server's time stamps contradict each other"
    return ""


def _unix(stamp: float) -> float:
    """NTP counts anew in February 2036; before 2004 in this count is after 2036."""
    return stamp - UNIX_EPOCH + (ERA if stamp < 0xC3C00000 else 0)
