"""The verdict: what stops payments, what endangers them, and what nobody can know."""

from __future__ import annotations

import pytest

from agent.runner import Look
from agent.verdict import Word, decide, in_order
from probes.model import Impact, Observation, Role, Status
from tests.agent.kinds import make_probe

STOP, DEGRADE, NONE = Impact.STOP, Impact.DEGRADE, Impact.NONE
OK, WARN, FAIL, UNKNOWN, SKIPPED = Status.OK, Status.WARN, Status.FAIL, Status.UNKNOWN, Status.SKIPPED


def look(kind: str, status: Status, impact: Impact = STOP, name: str | None = None, role: Role | None = None) -> Look:
    probe = make_probe(name or kind, kind, impact=impact, role=role)
    return Look(probe, Observation(status=status, reason="ok" if status is OK else f"{kind}.x"), 0.0, 0.0)


PAID = look("tls", OK)


@pytest.mark.parametrize(
    ("looks", "payments"),
    [
        pytest.param([PAID], Word.READY, id="the payment host answers"),
        pytest.param([PAID, look("gateway", FAIL)], Word.DOWN, id="a link that stops payments is broken"),
        pytest.param([PAID, look("gateway", WARN)], Word.AT_RISK, id="a link that stops payments is weak"),
        pytest.param([PAID, look("power", FAIL, DEGRADE)], Word.AT_RISK, id="a helper is broken"),
        pytest.param([PAID, look("power", WARN, DEGRADE)], Word.AT_RISK, id="a helper is weak"),
        pytest.param([PAID, look("cpu", FAIL, NONE)], Word.READY, id="what has no impact does not count"),
        pytest.param([PAID, look("process", UNKNOWN)], Word.UNKNOWN, id="a link that stops payments could not be seen"),
        pytest.param([PAID, look("disk", UNKNOWN, DEGRADE)], Word.READY, id="a helper could not be seen"),
        pytest.param([look("process", UNKNOWN), look("gateway", FAIL)], Word.DOWN, id="broken outranks unseen"),
        pytest.param([PAID, look("ups", SKIPPED)], Word.READY, id="what is not fitted does not count"),
        pytest.param([look("gateway", OK), look("internet", OK)], Word.UNKNOWN, id="no payment host: nobody knows"),
        pytest.param([look("tls", OK, role=Role.SERVICE)], Word.UNKNOWN, id="a loyalty server proves nothing"),
        pytest.param([look("usb", OK)], Word.READY, id="the configured terminal is there and well"),
        pytest.param([], Word.UNKNOWN, id="nothing was looked at"),
    ],
)
def test_payments(looks: list[Look], payments: Word) -> None:
    assert decide(looks).payments is payments


@pytest.mark.parametrize(
    ("looks", "settlement"),
    [
        ([PAID], Word.UNKNOWN),
        ([PAID, look("settlement", OK, DEGRADE)], Word.READY),
        ([PAID, look("settlement", WARN, DEGRADE)], Word.AT_RISK),
        ([PAID, look("settlement", FAIL, DEGRADE)], Word.DOWN),
        ([PAID, look("settlement", UNKNOWN, DEGRADE)], Word.UNKNOWN),
        ([look("gateway", FAIL), look("settlement", OK, DEGRADE)], Word.AT_RISK),
    ],
)
def test_settlement(looks: list[Look], settlement: Word) -> None:
    assert decide(looks).settlement is settlement


def test_the_first_broken_link_of_the_chain_decides_whatever_the_order_of_answers() -> None:
    looks = [look("tls", FAIL), look("dns", FAIL), look("interface", FAIL), look("gateway", FAIL)]
    for order in (looks, looks[::-1]):
        culprit = decide(order).decided_by
        assert culprit is not None
        assert culprit.probe.kind == "interface"


def test_reading_order_is_trouble_first_and_then_from_the_cord_to_the_bank() -> None:
    looks = [look("tls", OK), look("power", OK, DEGRADE), look("disk", WARN, DEGRADE), look("dns", FAIL)]
    assert [found.probe.kind for found in in_order(looks)] == ["dns", "disk", "power", "tls"]
