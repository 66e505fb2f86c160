"""An extra look of a moment ago is not taken again, and is forgotten once it tells nothing."""

from __future__ import annotations

import time

import pytest

from agent import vantage
from agent.diagnosis import Diagnosis, Explanation
from agent.examination import Recent, examine
from agent.runner import Look
from probes.model import fail, ok
from tests.agent.kinds import make_kind, make_probe, teach


def test_extra_looks_that_a_diagnosis_rests_on_are_kept_and_strays_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("well", lambda _settings, _host: "seen"))
    looked = make_probe("a", "well")
    telling, stray = (
        Look(make_probe(name, "ping"), fail("ping.no_reply", {}), time.time(), 1.0) for name in ("ping/x", "ping/y")
    )
    seen: list[list[str]] = []

    def explained(looks: list[Look], *_: object) -> tuple[list[Look], Explanation]:
        seen.append([found.probe.name for found in looks])
        real = Diagnosis("acquirer.unreachable", ("a", "ping/x"), ())
        return [], Explanation((real, Diagnosis("unclassified", ("ping/y",), ())))

    monkeypatch.setattr(vantage, "explained", explained)
    other = Look(make_probe("b", "well"), ok({}), time.time(), 0.1)
    found = examine([looked], {}, "en", recent=Recent([other], [telling, stray]))
    assert seen == [["a", "b", "ping/x", "ping/y"]]
    assert [each.cause for each in found.explanation.diagnoses] == ["acquirer.unreachable"]
    assert found.extra == [telling]
    assert [each.probe.name for each in found.looks] == ["a"]


def test_without_anything_recent_nothing_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch, make_kind("well", lambda _settings, _host: "seen"))
    nobody = Explanation((Diagnosis("unclassified", (), ()),))
    monkeypatch.setattr(vantage, "explained", lambda *_: ([], nobody))
    assert examine([make_probe("a", "well")], {}, "en").explanation is nobody
