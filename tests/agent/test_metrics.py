"""The metrics: the names that are documented, values that are the report's, text that scrapers can parse."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent import metrics
from agent.metrics.families import FAMILIES

DOCUMENT = Path(__file__).parents[2] / "docs/metrics.md"
NOW = "2026-11-22T10:55:45.070Z"
NOW_S = 1795344945.07


def probe(name: str = "gateway", **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "kind": "gateway", "label": name, "target": "default route", "status": "ok", "reason": "ok",
        "summary": "", "impact": "stop", "confirmed": True, "since": NOW, "checked_at": NOW, "duration_ms": 12.5,
        "measurements": {}, "evidence": [], "explained_by": None, "next_check_at": None, "flapping": False,
    } | changes  # fmt: skip


def incident(**changes: Any) -> dict[str, Any]:
    return {
        "id": "a1b2", "cause": "isp.down", "opened_at": NOW, "level": 2, "acknowledged": None, "silenced_until": None,
        "title": "", "party": "isp", "impact": "stop", "flapping": False, "probes": [], "fingerprint": "f00d",
    } | changes  # fmt: skip


def report(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "posagent.report/1",
        "seq": 42,
        "generated_at": NOW,
        "valid_until": "2026-11-22T11:16:45.070Z",
        "boot_id": "b",
        "config_sha256": None,
        "agent": {
            "version": "0.1.0", "mode": "run", "started_at": NOW, "healthy": True, "problems": [], "events": [],
            "language": "en", "silenced_until": None, "waiting": {"notices": 1, "reports": 7, "dropped_reports": 3},
        },
        "site": {"store": "0042", "terminal": "T01", "host": "till", "tags": {}},
        "verdict": {"payments": "ready", "settlement": "unknown", "headline": "", "since": NOW},
        "chain": [{"link": "power", "status": "ok", "cause": None, "probes": []},
                  {"link": "bank", "status": "skipped", "cause": None, "probes": []}],
        "diagnosis": [],
        "probes": [probe()],
        "incidents": [],
        "not_checked": [],
    } | changes  # fmt: skip


def read(
    found: dict[str, Any], own: dict[str, float] | None = None
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample as a scraper reads it; held to be the same in both formats."""
    texts = {flag: metrics.render(found, own or {}, openmetrics=flag).decode() for flag in (False, True)}
    said = []
    for families in (parse_text(texts[False]), parse_openmetrics(texts[True])):
        samples = [sample for family in families for sample in family.samples]
        as_map = {(each.name, tuple(sorted(each.labels.items()))): each.value for each in samples}
        assert len(as_map) == len(samples), "a series twice makes a scrape fail"
        said.append(as_map)
    assert said[0] == said[1]
    return said[0]


def test_the_documented_names_are_the_codes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$", DOCUMENT.read_text(), re.M)
    documented = [(name, sort, tuple(re.findall(r"`(\w+)`", labels)), text) for name, sort, labels, text in rows]
    assert documented == [(each.name, each.type, each.labels, each.help) for each in FAMILIES]


def test_a_full_report_tells_every_documented_metric() -> None:
    full = report(
        probes=[
            probe(measurements={"rtt_ms": 3.5, "recent_loss_percent": 25.0}, status="warn", reason="gateway.loss"),
            probe("auth", kind="tls", target="auth.acquirer.example:443",
                  measurements={"connect_ms": 20.0, "handshake_ms": 31.0, "not_after": "2026-12-24 18:00 UTC"}),
            probe("clock", kind="clock", measurements={"offset_s": -2.5}),
        ],
        incidents=[incident()],
    )  # fmt: skip
    counts = {"notices_delivered": 5.0, "reports_pushed": 6.0}
    found = read(full, metrics.own_numbers() | counts)
    assert {name for name, _ in found} == {each.name for each in FAMILIES}
    assert {
        (name, tuple(key for key, _ in labels)) for name, labels in found
    } == {(each.name, tuple(sorted(each.labels))) for each in FAMILIES}  # fmt: skip


def test_the_verdict_is_one_word_of_four() -> None:
    found = read(report(verdict={"payments": "at_risk", "settlement": "down", "headline": "", "since": NOW}))
    assert [found["posagent_payments", (("verdict", word),)] for word in ("ready", "at_risk", "down", "unknown")] == [
        0, 1, 0, 0,
    ]  # fmt: skip
    assert found["posagent_settlement", (("verdict", "down"),)] == 1
    assert found["posagent_verdict_since_timestamp_seconds", ()] == pytest.approx(NOW_S)


@pytest.mark.parametrize(("status", "number"), [("ok", 0), ("warn", 1), ("fail", 2), ("unknown", 3), ("skipped", 4)])
def test_a_probes_status_is_a_number_and_its_trouble_has_a_reason(status: str, number: int) -> None:
    reason = {"ok": "ok", "skipped": "probe.not_fitted"}.get(status, "gateway.slow")
    found = read(report(probes=[probe(status=status, reason=reason, confirmed=False)]))
    labels = (("kind", "gateway"), ("probe", "gateway"))
    assert found["posagent_probe_status", labels] == number
    assert found["posagent_probe_confirmed", labels] == 0
    assert found["posagent_probe_duration_seconds", labels] == 0.0125
    trouble = found.get(("posagent_probe_trouble", (*labels, ("reason", reason))))
    assert trouble == (None if status in ("ok", "skipped") else 1)


def test_measurements_come_in_base_units() -> None:
    found = read(
        report(
            probes=[
                probe(measurements={"rtt_ms": 3.5, "recent_loss_percent": 25.0, "connect_ms": 20}),
                probe("auth", kind="tls", target="a.example:443", measurements={"not_after": "2026-12-24 18:00 UTC"}),
                probe("ntp", kind="clock", measurements={"offset_s": -2.5, "rtt_ms": 12.0}),
                probe("dns", kind="dns", measurements={"rtt_ms": "soon", "offset_s": 3, "not_after": "never"}),
            ]
        )
    )
    at = (("kind", "gateway"), ("probe", "gateway"))
    assert found["posagent_probe_rtt_seconds", at] == 0.0035
    assert found["posagent_probe_loss_ratio", at] == 0.25
    assert found["posagent_probe_connect_seconds", at] == 0.02
    expiry = ("posagent_certificate_expiry_timestamp_seconds", (("probe", "auth"), ("target", "a.example:443")))
    assert found[expiry] == 1798135200
    assert found["posagent_clock_offset_seconds", (("kind", "clock"), ("probe", "ntp"))] == -2.5
    assert not [key for key in found if ("probe", "dns") in key[1] and not key[0].startswith("posagent_probe_")]
    assert ("posagent_probe_rtt_seconds", (("kind", "dns"), ("probe", "dns"))) not in found


def test_incidents_carry_what_folds_a_fleet() -> None:
    taken = {"by": "Li", "at": NOW, "note": "", "until": None}
    found = read(report(incidents=[incident(), incident(id="c3", fingerprint="f00d", acknowledged=taken, level=0)]))
    labels = (("cause", "isp.down"), ("fingerprint", "f00d"), ("id", "a1b2"), ("impact", "stop"), ("party", "isp"))
    assert found["posagent_incident_open", labels] == 1
    assert found["posagent_incident_acknowledged", (("id", "a1b2"),)] == 0
    assert found["posagent_incident_acknowledged", (("id", "c3"),)] == 1
    assert found["posagent_incident_level", (("id", "a1b2"),)] == 2
    assert found["posagent_incident_opened_timestamp_seconds", (("id", "a1b2"),)] == pytest.approx(NOW_S)


def test_the_agent_the_report_and_what_waits() -> None:
    found = read(report())
    assert found["posagent_report_seq", ()] == 42
    assert found["posagent_report_timestamp_seconds", ()] == pytest.approx(NOW_S)
    assert found["posagent_report_valid_until_timestamp_seconds", ()] == pytest.approx(NOW_S + 1260)
    assert found["posagent_agent_healthy", ()] == 1
    assert found["posagent_agent_problems", ()] == 0
    assert found["posagent_agent_silenced", ()] == 0
    assert found["posagent_site_info", (("host", "till"), ("store", "0042"), ("terminal", "T01"))] == 1
    assert found["posagent_outbox_waiting", (("queue", "notices"),)] == 1
    assert found["posagent_outbox_waiting", (("queue", "reports"),)] == 7
    assert found["posagent_reports_dropped_total", ()] == 3
    assert found["posagent_link_status", (("link", "power"),)] == 0
    assert found["posagent_link_status", (("link", "bank"),)] == 4
    troubled = report()["agent"] | {"healthy": False, "problems": ["a", "b"], "silenced_until": NOW}
    found = read(report(agent=troubled), {"notices_waiting": 0, "reports_waiting": 8, "reports_dropped": 4})
    assert found["posagent_agent_healthy", ()] == 0
    assert found["posagent_agent_problems", ()] == 2
    assert found["posagent_agent_silenced", ()] == 1
    assert found["posagent_outbox_waiting", (("queue", "notices"),)] == 0
    assert found["posagent_outbox_waiting", (("queue", "reports"),)] == 8
    assert found["posagent_reports_dropped_total", ()] == 4


def test_no_report_yet_and_an_older_ones_fields_are_no_trouble() -> None:
    assert read({}, {"now": 5.0, "nobody_knows": 1.0}) == {("posagent_time_seconds", ()): 5.0}
    older = report()
    del older["chain"], older["agent"]["waiting"]
    found = read(older)
    assert not [name for name, _ in found if name in ("posagent_link_status", "posagent_outbox_waiting")]
    assert found["posagent_report_seq", ()] == 42


ODD = ['"', "\\", "\n", 'a"b\\c\nd', "收银台 1", "{x}", "a,b=c", "\u2028", "\\n", "#", " ", "é" * 50]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_arrive_as_they_are(name: str) -> None:
    found = read(report(probes=[probe(name, target=name)]))
    assert found["posagent_probe_status", (("kind", "gateway"), ("probe", name))] == 0
    known = {"posagent_probe_info", "posagent_probe_status"} <= {metric for metric, _ in found}
    assert known


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=40), unique=True, max_size=5
    )
)
def test_whatever_the_names_no_series_is_lost(names: list[str]) -> None:
    text = metrics.render(report(probes=[probe(name) for name in names]), {}, openmetrics=False).decode()
    lines = [line for line in text.split("\n") if line.startswith("posagent_probe_status{")]
    assert len(lines) == len(set(lines)) == len(names)


def test_a_long_target_is_cut_and_two_probes_of_it_stay_two() -> None:
    found = read(report(probes=[probe("a", target="x" * 5000), probe("b", target="x" * 5000)]))
    targets = [dict(labels)["target"] for name, labels in found if name == "posagent_probe_info"]
    assert [len(each) for each in targets] == [200, 200]


def test_a_thousand_probes_are_rendered_fast_and_small() -> None:
    many = report(
        probes=[
            probe(f"hosts/auth-{n}.acquirer.example:443", kind="tls", target=f"auth-{n}.acquirer.example:443",
                  measurements={"connect_ms": 20.5, "handshake_ms": 31.0, "not_after": "2026-12-24 18:00 UTC"})
            for n in range(1000)
        ]
    )  # fmt: skip
    metrics.render(many, {}, openmetrics=False)  # imports are paid for once
    took = []
    for _ in range(3):
        began = time.process_time()
        text = metrics.render(many, metrics.own_numbers(), openmetrics=False)
        took.append(time.process_time() - began)
    print(f"{len(text)} bytes, {text.count(b'posagent_probe_')} lines, {min(took) * 1000:.0f} ms")
    assert min(took) < 1.0
    assert len(text) < 1_500_000


def test_own_numbers_are_this_process() -> None:
    own = metrics.own_numbers()
    assert own["now"] == pytest.approx(time.time(), abs=5)
    assert own["cpu_seconds"] == pytest.approx(time.process_time(), abs=2)
    assert 5e6 < own["resident_bytes"] < own["virtual_bytes"]
    assert 3 <= own["open_fds"] < 10_000
    assert own["threads"] >= 1
    assert own["start_time"] < time.time()
    assert all(math.isfinite(value) for value in own.values())


def test_own_numbers_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_args, **_kwargs: "nothing")
    assert list(metrics.own_numbers()) == ["now"]


def test_the_content_types_are_those_of_the_formats() -> None:
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    assert CONTENT_TYPE_PLAIN_0_0_4 == metrics.TEXT
    assert metrics.OPENMETRICS.startswith("application/openmetrics-text; version=1.0.0")


def test_a_report_from_json_renders() -> None:
    assert b"posagent_report_seq 42.0" in metrics.render(json.loads(json.dumps(report())), {}, openmetrics=False)


SCRAPED_TOGETHER = """
import threading
from agent import metrics

seen, ready = [], threading.Barrier(8)

def scrape(number):
    ready.wait()
    seen.append(metrics.render({}, {"now": 1.0}, openmetrics=bool(number % 2)))

threads = [threading.Thread(target=scrape, args=(number,)) for number in range(8)]
for each in threads: each.start()
for each in threads: each.join()
assert len(seen) == 8 and all(b"posagent_time_seconds 1.0" in each for each in seen), seen
"""


def test_scrapers_that_come_first_at_the_same_moment_are_all_answered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRAPED_TOGETHER], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
