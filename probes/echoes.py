"""What do a handful of pings amount to? Loss, round trip and jitter, judged alike by `ping` and `gateway`.

Statistics of small numbers: one packet of five may always get lost. Loss is trouble only when this very look lost
something *and* the looks of the last minutes together lost more than allowed, two packets at least. A line that loses
a quarter is so found within a few looks, while one that loses a twentieth stays out of it.
"""

from __future__ import annotations

import itertools

import msgspec

from probes.host.icmp import Echoes
from probes.model import Measurement

LOOKS = 5
WINDOW = 900.0  # seconds; what is older says nothing about now
HALF = 50.0


class Look(msgspec.Struct, frozen=True):
    """How many packets one look sent and lost."""

    at: float
    sent: int
    lost: int


class Limits(msgspec.Struct, frozen=True):
    """What is still well. Percent and seconds."""

    loss: float
    rtt: float
    jitter: float | None = None


def median_ms(echoes: Echoes) -> float | None:
    """The middle round trip in milliseconds: one late packet does not move it."""
    trips = sorted(echoes.answers)
    if not trips:
        return None
    return round(500 * (trips[(len(trips) - 1) // 2] + trips[len(trips) // 2]), 2)


def jitter_ms(echoes: Echoes) -> float | None:
    """Mean change from one round trip to the next, in milliseconds.

    The first answer is left out where there are enough: it pays for ARP and for waking a sleeping radio.
    """
    trips = echoes.answers[1:] if echoes.rtts and echoes.rtts[0] is not None else echoes.answers
    if len(trips) < 3:
        return None
    changes = [abs(after - before) for before, after in itertools.pairwise(trips)]
    return round(1000 * sum(changes) / len(changes), 2)


def add(recent: tuple[Look, ...], echoes: Echoes, now: float) -> tuple[Look, ...]:
    """The looks of the last minutes with this one at the end; a clock that was set back forgets the future."""
    lost = echoes.sent - len(echoes.answers)
    kept = [look for look in recent if 0 <= now - look.at <= WINDOW][-(LOOKS - 1) :]
    return (*kept, Look(now, echoes.sent, lost))


def loss_percent(recent: tuple[Look, ...]) -> float:
    """Loss over several looks."""
    sent = sum(look.sent for look in recent)
    return round(100 * sum(look.lost for look in recent) / sent, 1) if sent else 0.0


def facts(echoes: Echoes, recent: tuple[Look, ...], limits: Limits) -> dict[str, Measurement]:
    """Measurements of one look; what was not measured is left out."""
    found: dict[str, Measurement] = {
        "sent": echoes.sent,
        "received": len(echoes.answers),
        "loss_percent": loss_percent(recent[-1:]),
        "recent_loss_percent": loss_percent(recent),
        "max_loss_percent": limits.loss,
        "max_rtt_ms": round(1000 * limits.rtt, 1),
    }
    if (middle := median_ms(echoes)) is not None:
        found["rtt_ms"] = middle
    if limits.jitter is not None:
        found["max_jitter_ms"] = round(1000 * limits.jitter, 1)
        if (jitter := jitter_ms(echoes)) is not None:
            found["jitter_ms"] = jitter
    return found


def trouble(echoes: Echoes, recent: tuple[Look, ...], limits: Limits) -> str:
    """`loss`, `slow`, `jitter`, or empty where all is well. For an address that answered at all."""
    if recent[-1].lost and sum(look.lost for look in recent) >= 2 and loss_percent(recent) > limits.loss:
        return "loss"
    if (median_ms(echoes) or 0.0) > 1000 * limits.rtt:
        return "slow"
    if limits.jitter is not None and (jitter_ms(echoes) or 0.0) > 1000 * limits.jitter:
        return "jitter"
    return ""


def story(echoes: Echoes) -> str:
    """One line of evidence: "192.0.2.1: 4 of 5 answered: 0.5 0.4 - 0.5 0.4 ms; host unreachable, says 192.0.2.9"."""
    trips = " ".join("-" if rtt is None else f"{1000 * rtt:.3g}" for rtt in echoes.rtts)
    told = f": {trips} ms" if echoes.answers else ""
    said = "; ".join(echoes.said)
    line = f"{echoes.address}: {len(echoes.answers)} of {echoes.sent} answered{told}"
    return f"{line}; {said}" if said else line
