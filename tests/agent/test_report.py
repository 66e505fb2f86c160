"""The report: held against its published schema, written whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import jsonschema
import pytest

from agent import rendering, report
from agent.runner import Look
from agent.verdict import decide
from probes.model import Impact, Observation, Role, Status, ok, warn
from tests.agent.kinds import make_probe

ROOT = Path(__file__).parents[2]
ABOUT = rendering.Circumstances(
    seq=7, mode="check", started_at=1_700_000_000.0, now=1_700_000_001.5, boot_id="b", host="till"
)


def schema() -> dict:
    return json.loads((ROOT / "docs/report.schema.json").read_text())


def rendered(looks: list[Look], about: rendering.Circumstances = ABOUT) -> dict:
    data = json.loads(report.encode(rendering.render(looks, decide(looks), about)))
    jsonschema.validate(data, schema(), cls=jsonschema.Draft202012Validator)
    return data


def test_the_published_schema_is_the_codes() -> None:
    assert schema() == report.schema(), "run: python -m agent.documents"


def test_a_report_says_all_that_the_contract_lists() -> None:
    probe = make_probe("disk", "disk", impact=Impact.DEGRADE)
    data = rendered(
        [Look(probe, ok({"path": "/", "free_bytes": 5e9, "total_bytes": 1e10, "free_percent": 50.0}), 1.7e9, 0.0123)]
    )
    assert list(data) == [
        "schema", "seq", "generated_at", "valid_until", "boot_id", "config_sha256", "agent", "site", "verdict",
        "diagnosis", "probes", "incidents", "not_checked", "chain",
    ]  # fmt: skip
    assert data["schema"] == "posagent.report/1"
    assert data["generated_at"] == "2023-11-14T22:13:21.500Z"
    assert data["valid_until"] == "2023-11-14T22:14:21.500Z"
    (probe_part,) = data["probes"]
    assert list(probe_part) == [
        "name", "kind", "label", "target", "status", "reason", "summary", "impact", "confirmed", "since", "checked_at",
        "duration_ms", "measurements", "evidence", "explained_by", "next_check_at", "flapping",
    ]  # fmt: skip
    assert probe_part["summary"] == "/: 5 GB of 10 GB free (50 %)"
    assert probe_part["duration_ms"] == 12.3


def test_the_headline_names_the_first_broken_link_in_the_readers_language() -> None:
    probe = make_probe("till disk", "disk", impact=Impact.DEGRADE)
    low = warn("disk.low", {"path": "/", "free_percent": 4.0, "min_free_percent": 10})
    data = rendered([Look(probe, low, 1.7e9, 0.01)])
    assert data["verdict"]["payments"] == "at_risk"
    assert data["verdict"]["headline"] == (
        "AT RISK: cards can be taken, but something is wrong. till disk: / is nearly full: 4 % free, 10 % wanted"
    )
    chinese = rendering.Circumstances(seq=7, mode="check", started_at=0, now=1.7e9, language="zh-CN")
    told = rendered([Look(probe, low, 1.7e9, 0.01)], chinese)
    assert (data["agent"]["language"], told["agent"]["language"]) == ("en", "zh-CN")
    assert told["verdict"]["headline"] == "有风险：可以刷卡，但存在异常。till disk: / 空间不足：剩余 4%，要求至少 10%"


def test_numbers_that_json_cannot_say_are_left_out() -> None:
    probe = make_probe("p", "disk")
    data = rendered([Look(probe, ok({"a": float("inf"), "b": float("nan"), "c": None, "d": 1}), 1.7e9, 0.0)])
    assert data["probes"][0]["measurements"] == {"d": 1}


def test_a_kind_without_texts_is_shown_by_its_own_sentence() -> None:
    probe = make_probe("p", "third-party-kind")
    odd = Observation(status=Status.FAIL, reason="third.odd", detail="the drawer is open")
    assert rendered([Look(probe, odd, 1.7e9, 0.0)])["probes"][0]["summary"] == "the drawer is open"


def test_what_is_not_looked_at_is_said() -> None:
    everything = rendered([])["not_checked"]
    assert len(everything) == 6
    assert everything[0].startswith("payment hosts: none is configured")
    with_host = rendered([Look(make_probe("t", "tls", role=Role.PAYMENT), ok({}), 1.7e9, 0.0)])["not_checked"]
    assert not any(line.startswith("payment hosts") for line in with_host)


def test_writing_replaces_the_report_whole_with_mode_0640_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    path.write_text("old")
    os.umask(os.umask(0o077))
    report.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_report_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "health.json"
    path.write_text("old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        report.write(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
