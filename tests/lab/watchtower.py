"""A centre that watches, in small: Debian's Prometheus, Alertmanager and node_exporter with the files of fleet/, and tills.

Time is lapsed: what takes a minute in fleet/ takes four seconds here, everywhere alike, and nothing else of the files is
changed but addresses.
"""

from __future__ import annotations

import http.server
import json
import re
import shutil
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent import metrics
from tests.agent.test_metrics import incident, probe, report
from tests.agent.webpages import free_port, until

FLEET = Path(__file__).parents[2] / "fleet"
LAPSE = 15
REPORT_S = 600 / LAPSE / 2
"""A till whose state stays makes a report each ten minutes; here twice as often."""
SECONDS = {"s": 1, "m": 60, "h": 3600}
SPANS = (
    "for|keep_firing_for|group_wait|group_interval|repeat_interval|scrape_interval|evaluation_interval|refresh_interval"
)


def lapsed(text: str) -> str:
    """The same configuration, fifteen times faster."""

    def faster(found: re.Match[str]) -> str:
        return f"{found[1]}: {int(found[2]) * SECONDS[found[3]] * 1000 // LAPSE}ms"

    return re.sub(rf"\b({SPANS}): (\d+)([smh])\b", faster, text).replace("scrape_timeout: 10s", "scrape_timeout: 4s")


def stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))


class Till:
    """One of many: its report is rendered by the agent's own code at each scrape."""

    def __init__(
        self, name: str, *, payments: str = "ready", labels: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        self.name, self.more, self.payments = name, more, payments
        usual = {"store": name, "terminal": "T01", "region": "south", "isp": "telecom", "acquirer": "unionpay"}
        self.labels = usual | dict(labels or {})
        self.fresh_for = 1260.0
        self.silenced = False
        self._drawn: dict[bool, tuple[float, bytes]] = {}

    def page(self, openmetrics: bool) -> bytes:
        """As its last report was: 130 of them are asked for in a second, and this machine has other things to do."""
        at, body = self._drawn.get(openmetrics, (0.0, b""))
        if time.time() - at > REPORT_S:
            self._drawn[openmetrics] = at, body = time.time(), self._draw(openmetrics, time.time())
        return body

    def _draw(self, openmetrics: bool, now: float) -> bytes:
        down = self.payments == "down"
        payment = {"connect_ms": 20.0, "handshake_ms": 30.0, "not_after": "2031-12-24 18:00 UTC"}
        probes = [
            probe(measurements={"rtt_ms": 2.0, "recent_loss_percent": 0.0}),
            probe("auth", kind="tls", target="auth.acquirer.example:443", status="fail" if down else "ok",
                  reason="tls.handshake_timeout" if down else "ok", measurements=payment),
        ]  # fmt: skip
        statuses = {"power": "ok", "router": "ok", "bank": "fail" if down else "ok"}
        chain = [{"link": link, "status": status, "cause": None, "probes": []} for link, status in statuses.items()]
        verdict = {"payments": self.payments, "settlement": "ready", "headline": "", "since": stamp(now)}
        found = report(
            generated_at=stamp(now), valid_until=stamp(now + self.fresh_for), verdict=verdict, probes=probes, chain=chain,
            agent=report()["agent"] | {"silenced_until": stamp(now + 3600) if self.silenced else None}, **self.more,
        )  # fmt: skip
        return metrics.render(found, metrics.own_numbers(), openmetrics=openmetrics)


def fault(cause: str, party: str, fingerprint: str, impact: str = "stop") -> list[dict[str, Any]]:
    return [incident(id=f"{fingerprint}-1", cause=cause, party=party, fingerprint=fingerprint, impact=impact)]


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True
        request_queue_size = 200

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Prometheus may be gone before its answer is: when a test ends."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextmanager
def tills(every: Mapping[str, Till]) -> Iterator[int]:
    """All of them behind one port, each at its path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            till = every.get(self.path.strip("/"))
            openmetrics = "application/openmetrics-text" in self.headers.get("Accept", "")
            body = b"" if till is None else till.page(openmetrics)
            self.send_response(404 if till is None else 200)
            self.send_header("Content-Type", metrics.OPENMETRICS if openmetrics else metrics.TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with serving(Handler) as port:
        yield port


class Inbox:
    """What the Alertmanager told whom: (receiver, payload) in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []
        self.port = 0

    def of(self, receiver: str, **labels: str) -> list[dict[str, Any]]:
        """Notifications to it whose group has these labels."""
        wanted = labels.items()
        return [told for name, told in list(self.all) if name == receiver and wanted <= told["groupLabels"].items()]


@contextmanager
def inbox() -> Iterator[Inbox]:
    found = Inbox()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.all.append((self.path.strip("/"), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with serving(Handler) as found.port:
        yield found


@contextmanager
def running(command: list[str], ready: str, log: Path) -> Iterator[None]:
    """A daemon of Debian's until the end of the test; `ready` is a URL that answers 200 when it is."""
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            until(lambda: process.poll() is not None or answers(ready), 30)
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


class Alertmanager:
    """The Alertmanager with fleet/alertmanager/alertmanager.yml."""

    def __init__(self, port: int, inbox: Inbox) -> None:
        self.url, self.inbox, self.port = f"http://127.0.0.1:{port}", inbox, port

    def post(self, alerts: list[dict[str, Any]]) -> None:
        data = json.dumps(alerts).encode()
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        wanted = labels.items()
        return [each for each in get(f"{self.url}/api/v2/alerts") if wanted <= each["labels"].items()]


@contextmanager
def alertmanager(home: Path) -> Iterator[Alertmanager]:
    home.mkdir(parents=True, exist_ok=True)
    with inbox() as heard:
        text = lapsed((FLEET / "alertmanager/alertmanager.yml").read_text())
        assert "127.0.0.1:9099" in text
        text = text.replace("127.0.0.1:9099", f"127.0.0.1:{heard.port}")
        # A test at night in Shanghai is no reason to be muted.
        text = text.replace("mute_time_intervals: [closed]", "mute_time_intervals: []")
        (home / "alertmanager.yml").write_text(text)
        port = free_port()
        command = [
            "prometheus-alertmanager", f"--config.file={home}/alertmanager.yml", f"--storage.path={home}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        ]  # fmt: skip
        with running(command, f"http://127.0.0.1:{port}/-/ready", home / "alertmanager.log"):
            yield Alertmanager(port, heard)


class Prometheus:
    """Prometheus with the configuration and the rules of fleet/prometheus."""

    def __init__(self, port: int, home: Path) -> None:
        self.url, self.home = f"http://127.0.0.1:{port}", home

    def query(self, expression: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": expression})
        try:
            found = get(f"{self.url}/api/v1/query?{asked}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        assert found["status"] == "success"
        result = found["data"]["result"]
        return result if found["data"]["resultType"] == "vector" else [{"metric": {}, "value": result}]

    def value(self, expression: str) -> float | None:
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def firing(self, alert: str) -> list[dict[str, Any]]:
        every = get(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return [each for each in every if each["labels"]["alertname"] == alert and each["state"] == "firing"]


def prepare(
    home: Path,
    targets: Mapping[str, list[dict[str, Any]]],
    alertmanager_port: int = 9,
    *,
    ca: str = "",
    token: str = "t",
) -> Path:
    """A copy of fleet/prometheus with these targets; time lapsed."""
    shutil.copytree(FLEET / "prometheus", home)
    for each in (*home.glob("rules/*.yml"), home / "prometheus.yml"):
        each.write_text(lapsed(each.read_text()).replace("127.0.0.1:9093", f"127.0.0.1:{alertmanager_port}"))
    for each in home.glob("targets/*.yml"):
        each.unlink()
    for name, groups in targets.items():
        (home / f"targets/{name}.yml").write_text(json.dumps(groups))  # JSON is YAML
    (home / "secrets").mkdir()
    (home / "secrets/posagent-token").write_text(token)
    (home / "secrets/tills-ca.pem").write_text(ca)
    return home


@contextmanager
def prometheus(home: Path) -> Iterator[Prometheus]:
    port = free_port()
    command = [
        "prometheus", f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
        f"--web.listen-address=127.0.0.1:{port}", f"--rules.alert.resend-delay={60 // LAPSE}s",
    ]  # fmt: skip
    with running(command, f"http://127.0.0.1:{port}/-/ready", home / "prometheus.log"):
        yield Prometheus(port, home)
