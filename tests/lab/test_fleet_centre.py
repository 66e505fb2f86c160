"""The rest of fleet/ as it is: mosquitto and nginx with our files, and the consumer behind both, on what real senders send."""

from __future__ import annotations

import gzip
import http.client
import importlib.util
import json
import re
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.config.push import MqttPush
from agent.push.mqtt import MqttSender
from agent.push.sender import Parcel, Till
from tests.agent.test_metrics import report
from tests.agent.webpages import free_port, until
from tests.lab.broker import Papers
from tests.lab.watchtower import FLEET

CENTRE = FLEET / "consumer/centre.py"


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as started:
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()
            if sys.exc_info()[0] is not None:
                print(log.read_text(errors="replace")[-3000:])


def listening(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def certificate(papers: Papers, name: str) -> Path:
    """A till's: its CN is no host name, STORE/TERMINAL."""
    issued = papers.ca.issue_cert("till.example", common_name=name)
    path = papers.home / f"{name.replace('/', '-')}.pem"
    path.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    return path


@contextmanager
def broker(home: Path, papers: Papers) -> Iterator[int]:
    """mosquitto with fleet/mosquitto/mosquitto.conf; only its paths and its port are ours."""
    port = free_port()
    served = papers.server()
    (home / "acl").write_text((FLEET / "mosquitto/acl").read_text())
    (home / "acl").chmod(0o600)
    conf = (FLEET / "mosquitto/mosquitto.conf").read_text()
    for was, now in {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/etc/mosquitto/posagent/server.pem": str(served),
        "/etc/mosquitto/posagent/server.key": str(served),
        "/etc/mosquitto/posagent/tills-ca.pem": str(papers.ca_file),
        "/etc/mosquitto/posagent/acl": str(home / "acl"),
        "/var/lib/mosquitto/": f"{home}/",
    }.items():
        assert was in conf
        conf = conf.replace(was, now)
    (home / "mosquitto.conf").write_text(f"user root\nlog_dest stderr\n{conf}")
    with process(["mosquitto", "-c", str(home / "mosquitto.conf")], home / "mosquitto.log") as started:
        until(lambda: started.poll() is not None or listening(port), 10)
        assert started.poll() is None, (home / "mosquitto.log").read_text()
        yield port


@contextmanager
def consumer(home: Path, *args: str) -> Iterator[Path]:
    kept = home / "centre.db"
    with process([sys.executable, str(CENTRE), str(kept), *args], home / "centre.log"):
        yield kept


def rows(kept: Path, question: str) -> list[tuple[Any, ...]]:
    if not kept.exists():
        return []
    with closing(sqlite3.connect(kept, timeout=10)) as file:
        try:
            return file.execute(question).fetchall()
        except sqlite3.OperationalError:  # not made yet
            return []


def body(
    seq: int,
    store: str = "0042",
    terminal: str = "T01",
    payments: str = "ready",
    at: str = "",
    started: str = "2026-11-22T09:00:00.000Z",
) -> bytes:
    verdict = {"payments": payments, "settlement": "ready", "headline": "", "since": "2026-11-22T10:00:00.000Z"}
    site = {"store": store, "terminal": terminal, "host": "till", "tags": {}}
    made = report(seq=seq, site=site, verdict=verdict, generated_at=at or f"2026-11-22T11:{seq:02}:00.000Z")
    made["agent"] = {**made["agent"], "started_at": started}
    return json.dumps(made).encode()


def gap(first: int, last: int) -> bytes:
    said = {"schema": "posagent.gap/1", "store": "0042", "terminal": "T01", "from_seq": first, "to_seq": last}
    return json.dumps(said | {"reports": last - first + 1, "incidents": 0, "causes": ["quota"]}).encode()


def parcel(kind: Any, seq: int, content: bytes) -> Parcel:
    return Parcel(kind, f"{seq}-0123456789abcdef", seq, time.time(), gzip.compress(content))


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path / "papers")


def test_what_a_till_says_to_the_broker_is_kept_once_and_what_is_missing_is_known(
    tmp_path: Path, papers: Papers
) -> None:
    own, of_centre = certificate(papers, "0042/T01"), certificate(papers, "centre")
    with broker(tmp_path, papers) as port:
        settings = MqttPush(host="127.0.0.1", port=port, ca_file=str(papers.ca_file), certificate_file=str(own))
        listen = (
            "mqtt", "--host", "127.0.0.1", "--port", str(port), "--ca", str(papers.ca_file), "--certificate",
            str(of_centre),
        )  # fmt: skip
        way = MqttSender(settings, Till("0042", "T01"), {})
        try:
            with consumer(tmp_path, *listen) as kept:
                until(lambda: "connected" in (tmp_path / "centre.log").read_text(), 20)
                assert way.attend().ok
                assert way.send(parcel("report", 1, body(1))).ok
                assert way.send(parcel("report", 2, body(2, payments="down"))).ok
                assert way.send(parcel("report", 2, body(2, payments="down"))).ok, "told twice"
                until(lambda: rows(kept, "SELECT payments, online FROM tills") == [("down", 1)])
                assert way.send(parcel("incident", 2, b"nonsense")).ok, "the broker does not read it"
                refused = "refused what came as 'posagent/v1/0042/T01/incidents': not of posagent"
                until(lambda: refused in (tmp_path / "centre.log").read_text())
            # The consumer is away: the broker keeps what is said for it.
            assert way.send(parcel("report", 9, body(9))).ok
            assert way.send(parcel("history", 3, body(3))).ok
            assert way.send(parcel("gap", 6, gap(5, 6))).ok
            with consumer(tmp_path, *listen) as kept:
                until(lambda: len(rows(kept, "SELECT seq FROM parcels")) == 5)
                assert rows(kept, "SELECT seq, payments FROM tills") == [(9, "ready")]
                found = rows(kept, "SELECT kind, seq FROM parcels ORDER BY kind, seq")
                assert found == [("gap", 6), ("report", 1), ("report", 2), ("report", 3), ("report", 9)]
                said = subprocess.run(
                    [sys.executable, CENTRE, kept, "missing"], capture_output=True, text=True, check=True
                )
                assert said.stdout == "0042/T01: 4..8\n", "the gap explains 5 and 6 only"
                assert way.send(parcel("gap", 8, gap(4, 8))).ok
                until(lambda: len(rows(kept, "SELECT seq FROM parcels")) == 6)
                said = subprocess.run(
                    [sys.executable, CENTRE, kept, "missing"], capture_output=True, text=True, check=True
                )
                assert said.stdout == ""
                way.close(1.0)
                until(lambda: rows(kept, "SELECT online FROM tills") == [(0,)])
        finally:
            way.close(1.0)


def test_a_till_writes_its_own_branch_and_reads_nothing(tmp_path: Path, papers: Papers) -> None:
    own, other = certificate(papers, "0042/T01"), Till("0042", "T02")
    with broker(tmp_path, papers) as port:
        settings = MqttPush(host="127.0.0.1", port=port, ca_file=str(papers.ca_file), certificate_file=str(own))
        way = MqttSender(settings, other, {})
        try:
            assert "does not let this till write to posagent/v1/0042/T02/status" in way.attend().detail
        finally:
            way.close(1.0)
        heard: list[str] = []
        spy = paho.Client(CallbackAPIVersion.VERSION2, client_id="spy", protocol=MQTTProtocolVersion.MQTTv5)
        spy.tls_set(str(papers.ca_file), str(own))
        answers: list[Any] = []
        spy.on_connect = lambda *_: spy.subscribe("#", qos=1)
        spy.on_subscribe = lambda _c, _d, _m, codes, _p: answers.append(codes)
        spy.on_message = lambda _c, _d, message: heard.append(message.topic)
        spy.connect("127.0.0.1", port)
        spy.loop_start()
        until(lambda: answers)
        writing = MqttSender(settings, Till("0042", "T01"), {})
        try:
            assert writing.attend().ok
            assert writing.send(parcel("report", 1, body(1))).ok
            time.sleep(0.5)
            assert heard == []
        finally:
            writing.close(1.0)
            spy.disconnect()
            spy.loop_stop()
        nobody = MqttPush(host="127.0.0.1", port=port, ca_file=str(papers.ca_file))
        unknown = MqttSender(nobody, Till("0042", "T01"), {})
        try:
            assert not unknown.attend().ok, "without a certificate nobody comes in"
        finally:
            unknown.close(1.0)


@contextmanager
def nginx(home: Path, papers: Papers, collector: int) -> Iterator[int]:
    """nginx with fleet/nginx/posagent.conf; only its paths and ports are ours."""
    port = free_port()
    served = papers.server()
    conf = (FLEET / "nginx/posagent.conf").read_text()
    for was, now in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/posagent/server.pem": str(served),
        "/etc/nginx/posagent/server.key": str(served),
        "/etc/nginx/posagent/tills-ca.pem": str(papers.ca_file),
        "127.0.0.1:8787": f"127.0.0.1:{collector}",
    }.items():
        assert was in conf
        conf = conf.replace(was, now)
    temporary = "".join(
        f"{each}_temp_path {home}/{each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"daemon off;\nuser root;\npid {home}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{conf}\n}}\n"
    )
    with process(["nginx", "-c", str(home / "nginx.conf"), "-p", str(home)], home / "nginx.log") as started:
        until(lambda: started.poll() is not None or listening(port), 10)
        assert started.poll() is None, (home / "nginx.log").read_text()
        yield port


def post(
    port: int, papers: Papers, own: Path | None, content: bytes, path: str = "/v1/reports", **headers: str
) -> tuple[int, str | None]:
    context = ssl.create_default_context(cafile=str(papers.ca_file))
    if own is not None:
        context.load_cert_chain(own)
    caller = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        caller.request("POST", path, content, headers)
        answer = caller.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    finally:
        caller.close()


def test_the_https_receiver_takes_a_till_at_its_certificate_and_keeps_a_report_once(
    tmp_path: Path, papers: Papers
) -> None:
    own = certificate(papers, "0042/T01")
    collector = free_port()
    with (
        consumer(tmp_path, "https", "--listen", f"127.0.0.1:{collector}") as kept,
        nginx(tmp_path, papers, collector) as port,
    ):
        until(lambda: listening(collector))
        zipped = gzip.compress(body(1))
        plain = {"Content-Type": "application/json", "Idempotency-Key": "1-0123456789abcdef"}
        sent = plain | {"Content-Encoding": "gzip"}
        assert post(port, papers, own, zipped, **sent) == (204, None)
        assert post(port, papers, own, zipped, **sent) == (409, None), "had it already"
        assert post(port, papers, own, body(2), **plain) == (204, None)
        assert post(port, papers, own, gzip.compress(body(3, terminal="T02")), **sent)[0] == 400, "another till's"
        assert post(port, papers, own, b"nonsense", **plain)[0] == 400
        assert post(port, papers, own, zipped[:-9], **sent)[0] == 400
        assert post(port, papers, own, gzip.compress(b" " * 50_000_000), **sent)[0] == 400, "a bomb"
        assert post(port, papers, own, zipped, "/elsewhere")[0] == 404
        assert post(port, papers, None, zipped, **sent)[0] == 400, "nginx: no certificate was sent"
        assert rows(kept, "SELECT store, terminal, seq, payments FROM tills") == [("0042", "T01", 2, "ready")]
        assert [seq for (seq,) in rows(kept, "SELECT seq FROM parcels ORDER BY seq")] == [1, 2]
        answers = [post(port, papers, own, zipped, **sent) for _ in range(120)]
        assert (429, "30") in answers, "a till that is out of its mind is slowed down"
        assert {status for status, _ in answers} == {409, 429}


def test_history_never_overwrites_the_present_whatever_the_tills_clock_says(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("consumer_of_the_fleet", CENTRE)
    assert spec is not None
    assert spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    store = code.Store(str(tmp_path / "centre.db"))

    def shown() -> tuple[Any, ...]:
        found: list[tuple[Any, ...]] = rows(tmp_path / "centre.db", "SELECT seq, payments FROM tills")
        return found[0]

    noon, earlier = "2026-11-22T12:00:00.000Z", "2026-11-22T11:30:00.000Z"
    store.take("0042", "T01", body(20, at=earlier), newest=True)
    store.take("0042", "T01", body(10, payments="down", at=noon))
    assert shown() == (20, "ready"), "made before its clock was set back"
    store.take("0042", "T01", body(11, payments="down", at=noon), newest=True)
    assert shown() == (20, "ready"), "late: the same agent has said more since"
    store.take("0042", "T01", body(21, payments="at_risk", at="2026-11-22T11:00:00.000Z"))
    assert shown() == (21, "at_risk"), "a higher number is newer however it came"
    later = "2026-11-23T09:00:00.000Z"
    new_disk = body(1, payments="unknown", at="2026-11-22T10:00:00.000Z", started=later)
    store.take("0042", "T01", body(2, payments="down", started=later))
    assert shown() == (21, "at_risk"), "history"
    store.take("0042", "T01", new_disk, newest=True)
    assert shown() == (1, "unknown"), "a new disk"
    store.take("0042", "T01", body(3, started=later), newest=True)
    assert not store.take("0042", "T01", body(20, at=earlier), newest=True)
    assert shown() == (3, "ready"), "said again: no news"


def test_the_schemas_of_the_document_are_those_of_the_consumer() -> None:
    said = (FLEET.parent / "docs/fleet.md").read_text()
    code = CENTRE.read_text()
    for table in ("parcels", "tills"):
        columns = re.search(rf"CREATE TABLE IF NOT EXISTS {table} \((.*?)\n\)", code, re.S)[1]  # type: ignore[index]
        names = re.findall(r"(\w+) (?:TEXT|INTEGER|REAL)", columns)
        documented = re.search(rf"CREATE TABLE {table} \((.*?)\n\)", said, re.S)[1]  # type: ignore[index]
        assert [name for name in names if not re.search(rf"\b{name}\b", documented)] == []
