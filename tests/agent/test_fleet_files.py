"""The files of fleet/ speak of metrics that exist, and the dashboards are whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent.metrics.families import FAMILIES

FLEET = Path(__file__).parents[2] / "fleet"
BOARDS = sorted((FLEET / "grafana").glob("*.json"))
RULES = sorted((FLEET / "prometheus/rules").glob("*.yml"))


def known() -> set[str]:
    recorded = re.findall(r"record: (\S+)", "".join(each.read_text() for each in RULES))
    return {each.name for each in FAMILIES} | set(recorded)


def spoken_of(text: str) -> set[str]:
    return set(re.findall(r"\b(?:posagent_\w+|posagent:[\w:]+|process_\w+)", text))


def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("path", [*RULES, *BOARDS], ids=lambda path: path.name)
def test_no_file_asks_for_a_metric_that_is_not_there(path: Path) -> None:
    found = spoken_of(path.read_text())
    assert found, "the pattern finds nothing at all"
    assert found - known() == set()


def test_every_alert_has_a_severity_a_scope_and_a_summary_and_is_routed_by_them() -> None:
    text = (FLEET / "prometheus/rules/posagent-alerts.yml").read_text()
    alerts = re.split(r"\n\s+- alert: ", text)[1:]
    assert len(alerts) >= 15
    for each in alerts:
        assert re.search(r"labels: \{ severity: (critical|warning|info|none), scope: (fleet|till|chain) \}", each), each
        assert "summary:" in each, each
    named = set(re.findall(r"Posagent[A-Z]\w+", (FLEET / "alertmanager/alertmanager.yml").read_text()))
    assert named <= {re.match(r"\w+", each)[0] for each in alerts}  # type: ignore[index]


def test_every_alert_is_tested() -> None:
    text = (FLEET / "prometheus/rules/posagent-alerts.yml").read_text()
    tests = "".join(each.read_text() for each in (FLEET / "prometheus/tests").glob("*.yml"))
    fired = {
        found[1]
        for found in re.finditer(r"alertname: (\w+)\n\s+exp_alerts:(?! \[\])", tests)
    }  # fmt: skip
    assert set(re.findall(r"- alert: (\w+)", text)) - fired == {"PosagentFleetRisk"}, "the lab lets that one fire"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_whole(path: Path) -> None:
    found = board(path)
    assert found["uid"] == path.stem
    assert found["schemaVersion"] >= 36
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["instant"] != target["range"] for target in panel["targets"])
    variables = {each["name"] for each in found["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for p in found["panels"] for t in p.get("targets", ()))))
    assert used - variables <= {"__rate_interval"}


def test_the_dashboards_link_to_one_another_and_nowhere_else() -> None:
    linked = set(re.findall(r'"url": "/d/([\w-]+)', "".join(path.read_text() for path in BOARDS)))
    assert linked <= {path.stem for path in BOARDS}
    assert linked == {"posagent-cause", "posagent-store"}
