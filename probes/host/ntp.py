"""Is this PC's clock kept right, and how far is it from a time server's?

Two questions: `kernel()` reads the kernel's own synchronisation state (adjtimex(2), open to every user), `ask()` sends
one SNTP request. ntplib reads and writes the packets; the socket, the deadline and the arithmetic are our own, since
ntplib trusts any answer and takes round trips from a wall clock that may step.
"""

from __future__ import annotations

import math
import os
import secrets
import time

import msgspec

from probes.endpoints import join
from probes.host import Host, udp
from probes.model import OutOfTime
from probes.redact import scrub

PORT = 123
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

    A silent one is asked once more, because one lost packet is no verdict; one that sent us away is not.
    """
    turns = [*addresses, *addresses]
    silent: dict[str, str] = {}
    refused: dict[str, Sample] = {}
    for place, address in enumerate(turns):
        if address in refused:
            continue
        share = Host(host.root, time.monotonic() + host.left() / (len(turns) - place))
        try:
            sample = _ask_one(share, address, port)
        except OSError as error:
            silent[address] = f"{join(address, port)}: {error.strerror or error}"
        except (NoReply, OutOfTime) as error:
            silent[address] = f"{join(address, port)}: {error}"
        else:
            if not sample.refused:
                return sample
            refused[address] = sample
    if refused:
        return next(iter(refused.values()))
    raise NoReply("; ".join(silent.values()) or "no address to ask")


def _ask_one(host: Host, address: str, port: int) -> Sample:
    import ntplib

    # The transmit stamp comes back as the origin stamp, and is the only proof that an answer is to this question. A
    # random one (RFC 9109, draft data minimisation) tells nobody our time, and works when our clock stands in 2099.
    nonce = secrets.token_bytes(8)
    request = ntplib.NTPPacket(version=4, mode=3).to_data()[:40] + nonce
    sent_wall, strays = time.time(), []

    def which(data: bytes) -> str | None:
        if len(data) >= 48 and data[24:32] == nonce:
            return "time"
        strays.append(data)
        return None

    replies = udp.exchange(host, (address, port), {"time": request}, which, again=math.inf)
    if "time" not in replies:
        if strays:
            return Sample(join(address, port), refused="its answer is not to our question (wrong origin time stamp)")
        raise NoReply("no answer")
    return read(replies["time"].data, join(address, port), sent_wall, replies["time"].seconds)


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
