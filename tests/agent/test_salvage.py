"""What was open is read from the last report, whatever stands in that file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import salvage
from agent.incidents import Incident

DIAGNOSIS = {"fingerprint": "5dd1", "confidence": "certain", "category": "network"}
TOLD = {
    "id": "261122-ABCD",
    "cause": "lan.cable_unplugged",
    "opened_at": "2026-11-22T07:35:00.250Z",
    "level": 0,
    "acknowledged": None,
    "silenced_until": None,
    "title": "The network cable is out",
    "party": "store",
    "impact": "stop",
    "flapping": True,
    "probes": ["cable", "gateway"],
    "fingerprint": "5dd1",
}
KEPT = Incident(
    id="261122-ABCD",
    cause="lan.cable_unplugged",
    party="store",
    category="network",
    confidence="certain",
    fingerprint="5dd1",
    impact="stop",
    began_at=1795332900.25,
    opened_at=1795332900.25,
    probes=("cable", "gateway"),
    headline="The network cable is out",
    flapping=True,
)


def report(**more: object) -> bytes:
    return json.dumps({"diagnosis": [DIAGNOSIS], "incidents": [TOLD]} | more).encode()


def test_an_open_incident_comes_back_as_it_was_told() -> None:
    assert salvage.open_incidents(report()) == (KEPT,)


def test_without_its_diagnosis_it_is_only_possible() -> None:
    (found,) = salvage.open_incidents(report(diagnosis=[]))
    assert (found.category, found.confidence, found.id) == ("system", "possible", "261122-ABCD")


def test_a_report_without_incidents_tells_of_none() -> None:
    assert salvage.open_incidents(report(incidents=[])) == ()


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff\x00", report()[:-30], report(incidents=[{}])])
def test_what_is_no_report_tells_nothing(content: bytes) -> None:
    assert salvage.open_incidents(content) == ()


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from([TOLD, DIAGNOSIS]),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*TOLD, "incidents", "diagnosis"]), inner),
    ).map(lambda data: json.dumps(data).encode())
)
def test_whatever_the_file_holds_nothing_is_raised(content: bytes) -> None:
    assert isinstance(salvage.open_incidents(content), tuple)
