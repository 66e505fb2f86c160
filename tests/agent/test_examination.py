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


def test_what_is_foreseen_is_taken_with_the_others_and_counts_as_an_extra_look(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(
        monkeypatch,
        make_kind("well", lambda _settings, _host: "seen"),
        make_kind("silent", lambda _settings, _host: "x", lambda *_: fail("ping.no_reply", {})),
    )
    late = make_probe("a", "well")
    before = Look(late, ok({}), time.time(), 0.1)
    planned = {"ping/x": vantage.Foreseen(make_probe("ping/x", "silent"), ("ok", "ping.no_reply"))}
    asked: list[object] = []

    def foreseen(looks: list[Look], names: frozenset[str], _language: str) -> dict[str, vantage.Foreseen]:
        asked.extend([looks, names])
        return planned

    def explained(looks: list[Look], *_: object) -> tuple[list[Look], Explanation]:
        asked.append(sorted(found.probe.name for found in looks))
        return [], Explanation((Diagnosis("acquirer.unreachable", ("a", "ping/x"), ()),))

    monkeypatch.setattr(vantage, "foreseen", foreseen)
    monkeypatch.setattr(vantage, "explained", explained)
    found = examine([late], {}, "en", recent=Recent((), (), [before], frozenset({"a"})))
    assert asked == [[before], frozenset({"a"}), ["a", "ping/x"]]
    assert [each.probe.name for each in found.looks] == ["a"]
    assert [each.probe.name for each in found.extra] == ["ping/x"]
    examine([late], {}, "en", recent=Recent((), (), [before]))
    assert asked[3:] == [["a"]], "nobody is late: nothing is foreseen"
