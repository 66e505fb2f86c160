"""How do Prometheus and its exporters look at the same? Scraped every 30 s by Debian's prometheus.

On a real till the exporters run and Prometheus somewhere central: its cost is told apart. Broken is an alert
that fires: rules every 15 s, `for: 30s`, so that two scrapes agree.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from typing import Any

from bench.daemons.checks import INTERVAL_S, NAME, TIMEOUT_S, Check
from bench.daemons.peers import Peer, write
from bench.daemons.shop import TILL_ADDRESS

BLACKBOX, NODE, PROMETHEUS = "127.0.0.1:9115", "127.0.0.1:9100", f"{TILL_ADDRESS}:9090"
LOCAL = {"disk": "filesystem", "memory": "meminfo", "load": "loadavg"}


class Exporters(Peer):
    """blackbox_exporter, and node_exporter with the collectors that are asked for and no other."""

    def start(self) -> None:
        """Start them; nobody asks them anything yet."""
        modules: dict[str, dict[str, Any]] = {
            "port": {"prober": "tcp"},
            "ping": {"prober": "icmp"},
            "http": {"prober": "http"},
            "tls": {"prober": "tcp", "tcp": {"tls": True, "tls_config": {"insecure_skip_verify": True}}},
            "dns": {"prober": "dns", "dns": {"query_name": NAME, "query_type": "A"}},
        }
        timed = {name: {**module, "timeout": f"{TIMEOUT_S}s"} for name, module in modules.items()}
        config = write(self.home / "blackbox.yml", json.dumps({"modules": timed}))  # JSON is YAML
        self.processes.append(
            self.shop.start(
                ["prometheus-blackbox-exporter", f"--config.file={config}", f"--web.listen-address={BLACKBOX}"]
            )
        )
        collectors = [f"--collector.{LOCAL[check.kind]}" for check in self.checks if check.kind in LOCAL]
        if collectors:
            command = ["prometheus-node-exporter", f"--web.listen-address={NODE}", "--collector.disable-defaults"]
            self.processes.append(self.shop.start([*command, *collectors]))

    def broken(self) -> set[str]:
        """Exporters do not know; Prometheus does."""
        return set()


class Prometheus(Peer):
    """The scraper, with one rule that tells when a check is broken."""

    def start(self) -> None:
        """Scrape every check, spread over the interval as Prometheus does it."""
        rule = {"alert": "Broken", "expr": "probe_success == 0", "for": "30s"}
        rules = write(self.home / "rules.yml", json.dumps({"groups": [{"name": "checks", "rules": [rule]}]}))
        config = {
            "global": {"scrape_interval": f"{INTERVAL_S}s", "scrape_timeout": "10s", "evaluation_interval": "15s"},
            "rule_files": [str(rules)],
            "scrape_configs": list(_jobs(self.checks)),
        }
        path = write(self.home / "prometheus.yml", json.dumps(config))
        self.processes.append(
            self.shop.start(
                [
                    "prometheus",
                    f"--config.file={path}",
                    f"--storage.tsdb.path={self.home}/data",
                    f"--web.listen-address={PROMETHEUS}",
                ]
            )
        )

    def broken(self) -> set[str]:
        """By the alerts that fire."""
        try:
            with urllib.request.urlopen(f"http://{PROMETHEUS}/api/v1/alerts", timeout=2) as answer:
                alerts = json.load(answer)["data"]["alerts"]
        except OSError:
            return set()
        return {alert["labels"]["check"] for alert in alerts if alert["state"] == "firing"}


def _jobs(checks: Iterable[Check]) -> Iterable[dict[str, Any]]:
    for kind in ("port", "tls", "http", "dns", "ping"):
        asked = [check for check in checks if check.kind == kind]
        if asked:
            yield {
                "job_name": kind,
                "metrics_path": "/probe",
                "params": {"module": [kind]},
                "static_configs": [{"targets": [_target(check)], "labels": {"check": check.name}} for check in asked],
                "relabel_configs": [
                    {"source_labels": ["__address__"], "target_label": "__param_target"},
                    {"source_labels": ["__param_target"], "target_label": "instance"},
                    {"target_label": "__address__", "replacement": BLACKBOX},
                ],
            }
    if any(check.kind in LOCAL for check in checks):
        yield {"job_name": "node", "static_configs": [{"targets": [NODE]}]}


def _target(check: Check) -> str:
    if check.kind == "http":
        return f"http://{check.address}:{check.port}/"
    return check.address if check.kind == "ping" else f"{check.address}:{check.port}"
