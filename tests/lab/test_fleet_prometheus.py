"""The files of fleet/ on real servers: Prometheus, promtool, Alertmanager, amtool, node_exporter. What is told, and how often?"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from agent.config.web import Web, WebTls
from agent.textfile import Textfile
from agent.web import Page, Sight
from tests.agent.test_metrics import incident, probe, report
from tests.agent.webpages import free_port, until
from tests.lab import watchtower
from tests.lab.watchtower import FLEET, Alertmanager, Prometheus, Till, fault

TOKEN = "a-token-of-this-test"
FOLDED = 500


def run(*command: str, stdin: bytes = b"", cwd: Path | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, cwd=cwd, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


# What the tools say of the files.


@pytest.mark.parametrize("found", [report(), report(incidents=[incident()], probes=[probe('odd "\\\n name')])])
def test_promtool_finds_nothing_to_say_about_the_metrics(found: dict[str, Any]) -> None:
    from agent import metrics

    text = metrics.render(found, metrics.own_numbers(), openmetrics=False)
    assert run("promtool", "check", "metrics", stdin=text) == ""


def test_promtool_takes_the_configuration_the_rules_and_their_tests(tmp_path: Path) -> None:
    home = watchtower.prepare(tmp_path / "prometheus", {}, ca=trustme.CA().cert_pem.bytes().decode())
    shutil.copytree(FLEET / "prometheus/targets", home / "targets", dirs_exist_ok=True)
    said = run("promtool", "check", "config", "--lint-fatal", "prometheus.yml", cwd=home)
    assert said.count("SUCCESS") == 4
    said = run("promtool", "test", "rules", *map(str, (FLEET / "prometheus/tests").glob("*.yml")))
    assert "SUCCESS" in said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=PosagentFleetFault severity=critical scope=fleet fingerprint=beef party=isp", "pager"),
        ("alertname=PosagentPaymentsDown severity=critical scope=till fingerprint=beef party=store", "pager"),
        ("alertname=PosagentPaymentsAtRisk severity=warning scope=till fingerprint=beef party=isp", "network"),
        ("alertname=PosagentPaymentsAtRisk severity=warning scope=till fingerprint=beef party=it", "desk"),
        ("alertname=PosagentPaymentsDownUnexplained severity=critical scope=till", "pager"),
        ("alertname=PosagentTillSilent severity=warning scope=till", "desk"),
        ("alertname=PosagentProviderSilent severity=critical scope=fleet isp=telecom", "pager"),
        ("alertname=PosagentReportsLost severity=info scope=till", "nobody"),
        ("alertname=PosagentWatchdog severity=none scope=chain", "deadman"),
    ],
)
def test_who_is_told_what(labels: str, receiver: str) -> None:
    file = str(FLEET / "alertmanager/alertmanager.yml")
    assert "SUCCESS" in run("amtool", "check-config", file)
    said = run("amtool", "config", "routes", "test", f"--config.file={file}", *labels.split())
    assert said.splitlines()[0] == receiver


# The Alertmanager alone.


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    with watchtower.alertmanager(tmp_path_factory.mktemp("manager") / "am") as found:
        yield found


def alert(name: str, **labels: str) -> dict[str, Any]:
    return {"labels": {"alertname": name, "scope": "till", "severity": "warning"} | labels}


def test_a_fault_of_500_tills_is_one_notification_even_without_an_alert_of_the_fleet(manager: Alertmanager) -> None:
    of_all = [
        alert(
            "PosagentPaymentsDown",
            severity="critical",
            fingerprint="feed",
            store=f"{n:04}",
            instance=f"i{n}",
            id=f"x{n}",
        )
        for n in range(FOLDED)
    ]
    manager.post([*of_all, alert("PosagentPaymentsDown", severity="critical", fingerprint="cafe", instance="alone")])
    until(lambda: manager.inbox.of("pager", fingerprint="feed") and manager.inbox.of("pager", fingerprint="cafe"), 30)
    (told,) = manager.inbox.of("pager", fingerprint="feed")
    assert len(told["alerts"]) + told["truncatedAlerts"] == FOLDED
    assert len(manager.inbox.of("pager", fingerprint="cafe")) == 1


def test_the_greater_silences_the_lesser(manager: Alertmanager) -> None:
    manager.post(
        [
            alert("PosagentTillSilent", instance="s"),
            alert("PosagentAgentUnhealthy", instance="s"),
            alert("PosagentAgentUnhealthy", instance="t"),
            alert("PosagentPaymentsDown", severity="critical", fingerprint="f1", instance="u"),
            alert("PosagentOutboxStuck", instance="u"),
            alert("PosagentFleetRisk", scope="fleet", fingerprint="f2"),
            alert("PosagentPaymentsAtRisk", fingerprint="f2", instance="v"),
            alert("PosagentPaymentsAtRisk", fingerprint="f3", instance="v"),
            alert("PosagentProviderSilent", scope="fleet", severity="critical", isp="telecom"),
            alert("PosagentTillSilent", instance="w", isp="telecom"),
            alert("PosagentTillSilent", instance="x"),
        ]
    )

    def muted(**labels: str) -> bool:
        (found,) = manager.alerts(**labels)
        return bool(found["status"]["inhibitedBy"])

    # An inhibition is worked out when its alert is looked at: the next flush of its group.
    until(lambda: muted(alertname="PosagentAgentUnhealthy", instance="s"), 30)
    until(lambda: muted(alertname="PosagentOutboxStuck", instance="u"), 30)
    until(lambda: muted(alertname="PosagentPaymentsAtRisk", fingerprint="f2"), 30)
    until(lambda: muted(alertname="PosagentTillSilent", instance="w"), 30)
    assert not muted(alertname="PosagentAgentUnhealthy", instance="t")
    assert not muted(alertname="PosagentPaymentsAtRisk", fingerprint="f3")
    assert not muted(alertname="PosagentTillSilent", instance="x"), "no label isp is no provider in common"
    assert not muted(alertname="PosagentTillSilent", instance="s")
    assert not muted(alertname="PosagentFleetRisk")


# All of it: tills, Prometheus, Alertmanager.


class Fleet(NamedTuple):
    prometheus: Prometheus
    alertmanager: Alertmanager
    tills: dict[str, Till]


def populated() -> dict[str, Till]:
    """500 tills with a fault of one acquirer, one with a cable pulled, some well, at risk, stale or under work."""
    beef = fault("acquirer.silent", "acquirer", "beef")
    every = {f"t{n:04}": Till(f"{n:04}", payments="down", incidents=beef) for n in range(FOLDED)}
    every["alone"] = Till("9000", payments="down", incidents=fault("lan.cable_unplugged", "store", "cab1e"))
    every |= {f"well{n}": Till(f"91{n:02}", labels={"isp": "mobile", "acquirer": "other"}) for n in range(20)}
    full = fault("host.disk_full", "it", "d15c", impact="degrade")
    every |= {f"risk{n}": Till(f"92{n:02}", payments="at_risk", incidents=full) for n in range(12)}
    every["blind"] = Till("9300", payments="unknown")
    every["stale"] = Till("9301")
    every["stale"].fresh_for = -300.0
    every["work"] = Till("9302", payments="down", incidents=fault("lan.router_down", "store", "wrk1"))
    every["work"].silenced = True
    return every


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    every = populated()
    with watchtower.tills(every) as port, watchtower.alertmanager(home / "am") as told:
        groups = [
            {"targets": [f"127.0.0.1:{port}"],
             "labels": till.labels | {"__scheme__": "http", "__metrics_path__": f"/{name}", "instance": name}}
            for name, till in every.items()
        ]  # fmt: skip
        gone = {"targets": [f"127.0.0.1:{free_port()}"], "labels": {"store": "9400", "terminal": "T01", "__scheme__": "http", "instance": "gone"}}  # fmt: skip
        ca = trustme.CA().cert_pem.bytes().decode()
        prepared = watchtower.prepare(home / "prometheus", {"posagent-all": [*groups, gone]}, told.port, ca=ca)
        with watchtower.prometheus(prepared) as found:
            yield Fleet(found, told, every)


@pytest.mark.timeout(240)
def test_500_tills_with_one_fault_are_one_notification_and_a_fault_of_one_till_is_its_own(fleet: Fleet) -> None:
    heard = fleet.alertmanager.inbox
    until(lambda: heard.of("pager", fingerprint="beef") and heard.of("pager", fingerprint="cab1e"), 120)
    until(lambda: fleet.prometheus.value("posagent:fault_stops:tills{fingerprint='beef'}") == FOLDED, 60)
    until(lambda: len(fleet.prometheus.firing("PosagentPaymentsDown")) == FOLDED + 1, 60)
    time.sleep(25)  # more than a group_interval: whoever tells twice does it now
    (told,) = heard.of("pager", fingerprint="beef")
    (only,) = told["alerts"]
    assert only["labels"] == {
        "alertname": "PosagentFleetFault", "cause": "acquirer.silent", "fingerprint": "beef", "party": "acquirer",
        "scope": "fleet", "severity": "critical",
    }  # fmt: skip
    (single,) = heard.of("pager", fingerprint="cab1e")
    (cable,) = single["alerts"]
    assert cable["labels"]["alertname"] == "PosagentPaymentsDown"
    assert cable["labels"]["store"] == "9000"
    assert cable["annotations"]["summary"] == "9000/T01 cannot take cards: lan.cable_unplugged"
    assert heard.of("pager", fingerprint="wrk1") == [], "planned work pages nobody"
    assert all(told["alerts"][0]["labels"]["alertname"] == "PosagentWatchdog" for told in heard.of("deadman"))
    assert heard.of("deadman")


@pytest.mark.timeout(240)
def test_the_alerts_of_a_till_name_it(fleet: Fleet) -> None:
    until(lambda: fleet.prometheus.firing("PosagentTillSilent"), 120)
    until(lambda: fleet.prometheus.firing("PosagentReportStale"), 120)
    assert [each["labels"]["instance"] for each in fleet.prometheus.firing("PosagentTillSilent")] == ["gone"]
    assert [each["labels"]["instance"] for each in fleet.prometheus.firing("PosagentReportStale")] == ["stale"]
    until(lambda: fleet.prometheus.firing("PosagentFleetRisk"), 150)
    (risk,) = fleet.prometheus.firing("PosagentFleetRisk")
    assert risk["labels"]["fingerprint"] == "d15c"
    assert risk["annotations"]["summary"] == "12 tills are at risk: host.disk_full, one and the same fault"


def panels(name: str) -> list[Any]:
    board = json.loads((FLEET / f"grafana/{name}.json").read_text())
    return [
        pytest.param(target["expr"], id=f"{name}-{panel['id']}{target['refId']}")
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "expression", [*panels("posagent-fleet"), *panels("posagent-store"), *panels("posagent-cause")]
)
def test_every_panel_of_the_dashboards_answers(fleet: Fleet, expression: str) -> None:
    asked = expression.replace("$store", "9000").replace("$fingerprint", "beef").replace("$__rate_interval", "1m")
    assert "$" not in asked
    until(lambda: fleet.prometheus.query(asked), 60)


def test_the_variables_of_the_dashboards_have_values(fleet: Fleet) -> None:
    for name in ("posagent-store", "posagent-cause"):
        board = json.loads((FLEET / f"grafana/{name}.json").read_text())
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = variable["definition"].removeprefix("label_values(").rstrip(")").split(", ")
                until(lambda: fleet.prometheus.query(f"group by ({label}) ({metric})"), 60)  # noqa: B023 - at once


# A real page, and a real node_exporter.


@pytest.mark.timeout(180)
def test_prometheus_scrapes_a_real_page_over_tls_with_its_token_and_no_other(tmp_path: Path) -> None:
    authority = trustme.CA()
    served = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "page.pem", tmp_path / "page.key"
    certificate.write_bytes(b"".join(each.bytes() for each in served.cert_chain_pems))
    key.write_bytes(served.private_key_pem.bytes())
    port = free_port()
    tls = WebTls(certificate_file=str(certificate), key_file=str(key))
    (tmp_path / "token").write_text(TOKEN)
    from agent.config.secret import Secret

    web = Web(listen=f"127.0.0.1:{port}", token=Secret(file=str(tmp_path / "token")), tls=tls)
    sight = Sight(lambda _language: None)
    now = time.time()
    sight.put(
        "en", json.dumps(report(generated_at=watchtower.stamp(now), valid_until=watchtower.stamp(now + 900))).encode()
    )
    sight.counts = {"notices_delivered": 3.0}
    page = Page(web, sight, None, {})
    page.start()
    assert page.problems() == []
    try:
        target = [{"targets": [f"127.0.0.1:{port}"], "labels": {"store": "0042", "terminal": "T01"}}]
        ca = authority.cert_pem.bytes().decode()
        right = watchtower.prepare(tmp_path / "right", {"posagent-page": target}, ca=ca, token=TOKEN)
        wrong = watchtower.prepare(tmp_path / "wrong", {"posagent-page": target}, ca=ca, token="another")
        with watchtower.prometheus(right) as found, watchtower.prometheus(wrong) as refused:
            until(lambda: found.value("up") == 1, 30)
            until(lambda: refused.value("up") == 0, 30)
            assert found.value("posagent_report_seq{store='0042', terminal='T01', job='posagent'}") == 42
            assert found.value("posagent_payments{verdict='ready'}") == 1
            assert found.value("posagent_notices_delivered_total") == 3
            assert found.value("process_resident_memory_bytes") > 1e7  # type: ignore[operator]
            until(lambda: found.value("posagent:report_overdue:seconds") is not None, 30)
            assert -1000 < found.value("posagent:report_overdue:seconds") < 0  # type: ignore[operator]
            assert abs(found.value("posagent:clock_ahead:seconds")) < 5  # type: ignore[arg-type]
            assert refused.query("posagent_report_seq") == []
    finally:
        page.stop(1.0)


@pytest.mark.timeout(180)
def test_node_exporter_shows_the_textfile_and_the_rules_take_it(tmp_path: Path) -> None:
    folder = tmp_path / "collector"
    folder.mkdir()
    textfile = Textfile(str(folder / "posagent.prom"))
    now = time.time()
    assert textfile.write(
        json.dumps(report(generated_at=watchtower.stamp(now), valid_until=watchtower.stamp(now + 900), probes=[probe('a "b" \\')])).encode()
    )  # fmt: skip
    port = free_port()
    exporter = [
        "prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile", "--collector.time",
        f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with watchtower.running(exporter, f"http://127.0.0.1:{port}/metrics", tmp_path / "node.log"):
        target = [{"targets": [f"127.0.0.1:{port}"], "labels": {"store": "0043", "terminal": "T01"}}]
        home = watchtower.prepare(
            tmp_path / "prometheus", {"node-till": target}, ca=trustme.CA().cert_pem.bytes().decode()
        )
        with watchtower.prometheus(home) as found:
            until(lambda: found.value("posagent_report_seq") == 42, 30)
            assert found.value("node_textfile_scrape_error") == 0
            assert found.query("posagent_probe_status")[0]["metric"]["probe"] == 'a "b" \\'
            until(lambda: found.value("posagent:report_overdue:seconds{store='0043'}") is not None, 30)
            assert -1000 < found.value("posagent:report_overdue:seconds") < 0  # type: ignore[operator]
            textfile.write(json.dumps(report(seq=43)).encode())
            until(lambda: found.value("posagent_report_seq") == 43, 30)
