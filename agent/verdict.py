"""Can this till take card payments, and will settlement go through? Pure: from answers to two words."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence

import msgspec

from agent.runner import Look
from probes.model import Impact, Probe, Role, Status


class Word(enum.StrEnum):
    """The four words a verdict has."""

    READY = "ready"
    AT_RISK = "at_risk"
    DOWN = "down"
    UNKNOWN = "unknown"


EXIT_CODE = {Word.READY: 0, Word.AT_RISK: 1, Word.DOWN: 2, Word.UNKNOWN: 3}

CHAIN = (
    *("power", "ups", "usb", "serial", "interface", "gateway", "dns", "internet", "ping", "clock", "port", "tls"),
    *("http", "disk", "memory", "cpu", "temperature", "process", "service", "version", "settlement", "age", "plugin"),
)
"""From the cord to the bank: the earlier link is named first."""


class Finding(msgspec.Struct, frozen=True):
    """Both verdicts, and the look that decided about payments (None when nothing is wrong)."""

    payments: Word
    settlement: Word
    decided_by: Look | None = None


def decide(every: Sequence[Look], harmless: Collection[str] = ()) -> Finding:
    """Weigh all answers but those known to be harmless. Silence about payments is `unknown`, never `ready`."""
    looks = [found for found in every if found.probe.name not in harmless]
    payments, decided_by = _payments(looks)
    return Finding(payments, _settlement(looks, payments), decided_by)


def in_order(looks: Iterable[Look]) -> list[Look]:
    """What stops payments first, then along the chain from the cord to the bank."""
    return sorted(looks, key=_rank)


def watches_payment(probe: Probe) -> bool:
    """Whether this probe's answer says that a card payment could pass it: a payment host or the card terminal."""
    if probe.kind in ("port", "tls"):
        return probe.role in (None, Role.PAYMENT, Role.TERMINAL)
    return probe.kind in ("usb", "serial") or (probe.kind in ("http", "ping") and probe.role is Role.PAYMENT)


def _payments(looks: Sequence[Look]) -> tuple[Word, Look | None]:
    for word, applies in ((Word.DOWN, _stops), (Word.AT_RISK, _endangers)):
        culprits = in_order(found for found in looks if applies(found))
        if culprits:
            return word, culprits[0]
    blind = in_order(f for f in looks if f.observation.status is Status.UNKNOWN and f.probe.impact is Impact.STOP)
    if blind:
        return Word.UNKNOWN, blind[0]
    proven = any(f.observation.status is Status.OK and watches_payment(f.probe) for f in looks)
    return (Word.READY if proven else Word.UNKNOWN), None


def _settlement(looks: Sequence[Look], payments: Word) -> Word:
    statuses = {found.observation.status for found in looks if found.probe.kind == "settlement"}
    if Status.FAIL in statuses:
        return Word.DOWN
    if Status.WARN in statuses or (payments is Word.DOWN and Status.OK in statuses):
        return Word.AT_RISK
    return Word.READY if Status.OK in statuses and Status.UNKNOWN not in statuses else Word.UNKNOWN


def _stops(found: Look) -> bool:
    return found.probe.impact is Impact.STOP and found.observation.status is Status.FAIL


def _endangers(found: Look) -> bool:
    status, impact = found.observation.status, found.probe.impact
    return (status is Status.WARN and impact is not Impact.NONE) or (status is Status.FAIL and impact is Impact.DEGRADE)


def _rank(found: Look) -> tuple[int, int, int, str]:
    severity = [Status.FAIL, Status.WARN, Status.UNKNOWN, Status.OK, Status.SKIPPED].index(found.observation.status)
    weight = [Impact.STOP, Impact.DEGRADE, Impact.NONE].index(found.probe.impact)
    place = CHAIN.index(found.probe.kind) if found.probe.kind in CHAIN else len(CHAIN)
    return (severity if severity < 3 else 3, weight if severity < 3 else 0, place, found.probe.name)
