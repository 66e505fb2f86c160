"""What does the centre's broker hear of a till, on good days and bad ones? A real mosquitto, and a few that misbehave."""

from __future__ import annotations

import contextlib
import gc
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.push import MqttPush
from agent.config.secret import Secret
from agent.outcome import Outcome
from agent.push import mqtt
from agent.push.mqtt import MqttSender
from agent.push.sender import Parcel, Sort, Till
from probes.model import Seconds
from tests.lab.broker import (
    CONNACK_3,
    CONNACK_5,
    PASSWORD,
    BadBroker,
    Broker,
    Listener,
    Papers,
    acknowledging,
    answering,
    free_port,
    packet,
    retained,
)
from tests.lab.centre import Loop
from tests.lab.daemon import Till as DaemonTill
from tests.lab.room import Room

ROOT = "posagent/v1/0042/T01"
ENV = {"PW": PASSWORD, "WRONG": "guess-what-1"}
OWN_BRANCH = "user centre\ntopic read #\n\npattern write posagent/v1/%u/#\n"
VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


def parcel(kind: Sort = "report", seq: int = 1, body: bytes = b'{"schema": "posagent.report/1"}') -> Parcel:
    return Parcel(kind, f"{seq}-0123456789abcdef", seq, time.time(), gzip.compress(body))


def sender(broker: Broker | BadBroker, **settings: Any) -> MqttSender:
    papers = getattr(broker, "papers", None)
    given: dict[str, Any] = {
        "timeout": Seconds(3),
        "keepalive": Seconds(10),
        "tls": papers is not None,
        "ca_file": str(papers.ca_file) if papers is not None else None,
        **settings,
    }
    return MqttSender(MqttPush(host=broker.address, port=broker.port, **given), Till("0042", "T01"), ENV)


@contextlib.contextmanager
def sending(broker: Broker | BadBroker, **settings: Any) -> Iterator[MqttSender]:
    made = sender(broker, **settings)
    try:
        yield made
    finally:
        made.close(1)


def is_one_line(outcome: Outcome) -> bool:
    """As `agent.problems` wants it: a cause, and behind it a next step or a question."""
    text = outcome.detail
    return not outcome.ok and text.isprintable() and (";" in text) and len(text) <= 300


def until_lost(way: MqttSender, seconds: float = 10) -> Outcome:
    """What it says of its connection once that has ended."""
    ends = time.monotonic() + seconds
    while (outcome := way.attend()).ok:
        assert time.monotonic() < ends, "it goes on calling a dead connection well"
        time.sleep(0.05)
    return outcome


# --- good days ------------------------------------------------------------------------------------------------------


@VERSIONS
def test_the_broker_has_the_newest_report_and_hears_everything_else_as_it_comes(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path, papers=Papers(tmp_path / "papers"), users=["0042/T01", "centre"], acl=OWN_BRANCH) as broker:
        with (
            Listener(broker, user="centre") as listener,
            sending(broker, version=version, user="0042/T01", password=Secret(env="PW")) as way,
        ):
            assert way.attend().ok
            assert listener.wait("/status", "online")[0].qos == 1
            for seq, kind in ((1, "report"), (2, "report"), (2, "incident"), (1, "history"), (2, "gap")):
                assert way.send(parcel(kind, seq, b'{"seq": %d}' % seq)).ok
            listener.wait("/gap")
            assert [(one.topic, one.text, one.qos) for one in listener.heard[1:]] == [
                (f"{ROOT}/health", '{"seq": 1}', 1),
                (f"{ROOT}/health", '{"seq": 2}', 1),
                (f"{ROOT}/incidents", '{"seq": 2}', 1),
                (f"{ROOT}/history", '{"seq": 1}', 1),
                (f"{ROOT}/gap", '{"seq": 2}', 1),
            ]
            if version == "5":
                assert listener.heard[1].properties == {
                    "content_type": "application/json",
                    "key": "1-0123456789abcdef",
                    "seq": "1",
                }
        assert retained(broker, user="centre") == {f"{ROOT}/health": '{"seq": 2}', f"{ROOT}/status": "offline"}


def test_what_was_retained_outlives_the_broker(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, sending(broker) as way:
        assert way.send(parcel(body=b"{}")).ok
        broker.stop()
        lost = until_lost(way)
        assert is_one_line(lost)
        assert "shutting down" in lost.detail or "closed the connection" in lost.detail
        away = way.attend()
        assert is_one_line(away)
        assert "cannot reach the broker (127.0.0.1 refused)" in away.detail
        broker.start()
        assert retained(broker) == {f"{ROOT}/health": "{}", f"{ROOT}/status": "offline"}
        assert way.attend().ok
        assert retained(broker)[f"{ROOT}/status"] == "online"


# --- gone -----------------------------------------------------------------------------------------------------------

_TILL = """
import sys, time
from agent.config.push import MqttPush
from agent.push.mqtt import MqttSender
from agent.push.sender import Till
from probes.model import Seconds
way = MqttSender(MqttPush(host=sys.argv[1], port=int(sys.argv[2]), tls=False, version=sys.argv[3], keepalive=Seconds(10)),
                 Till("0042", "T01"))
print(way.attend(), flush=True)
sys.stdin.read()
way.close(2)
"""


def till_process(broker: Broker, version: str = "5") -> subprocess.Popen[str]:
    """A process that holds the connection until its standard input ends, and then leaves in order."""
    command = [sys.executable, "-W", "error", "-c", _TILL, broker.address, str(broker.port), version]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "ok=True" in process.stdout.readline()
    return process


@VERSIONS
def test_a_killed_agent_is_called_offline_by_its_last_will_at_once(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path) as broker, Listener(broker) as listener:
        process = till_process(broker, version)
        listener.wait("/status", "online")
        began = time.monotonic()
        process.kill()
        process.communicate(timeout=5)
        listener.wait("/status", "offline")
        assert time.monotonic() - began < 2
        assert retained(broker)[f"{ROOT}/status"] == "offline"


@VERSIONS
def test_an_agent_that_stops_says_so_and_its_last_will_stays_unsaid(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path) as broker, Listener(broker) as listener:
        process = till_process(broker, version)
        process.communicate(timeout=10)
        assert process.returncode == 0
        listener.wait("/status", "offline")
        time.sleep(0.3)
        assert listener.texts("/status") == ["online", "offline"]
        assert "Received DISCONNECT from posagent-0042-T01" in broker.said()


@contextlib.contextmanager
def cable(tmp_path: Path) -> Iterator[tuple[Room, Broker, Broker]]:
    """A broker in a room with two cables: the till's (may be cut) and the listener's."""
    number = random.randrange(1, 250)
    with Room(tmp_path) as room:
        for net, name in ((number, "till"), (number + 1, "ear")):
            near, far = f"m{os.getpid() % 100000}{name}", f"far{name}"
            room.sh("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", room.name)
            room.sh("ip", "addr", "add", f"10.213.{net}.2/24", "dev", near)
            room.sh("ip", "link", "set", near, "up")
            room.sh("ip", "-n", room.name, "addr", "add", f"10.213.{net}.1/24", "dev", far)
            room.sh("ip", "-n", room.name, "link", "set", far, "up")
        inside = ("ip", "netns", "exec", room.name)
        with Broker(tmp_path / "broker", address="0.0.0.0", inside=inside, port=1883) as broker:
            ends = []
            for net in (number, number + 1):
                end = Broker.__new__(Broker)
                end.address, end.port, end.papers = f"10.213.{net}.1", 1883, None
                ends.append(end)
            yield room, ends[0], ends[1]
            assert broker.process is not None


def test_a_cut_cable_is_noticed_on_both_sides_and_the_till_comes_back(tmp_path: Path) -> None:
    with cable(tmp_path) as (room, here, there), Listener(there) as listener, sending(here, timeout=Seconds(2)) as way:
        assert way.attend().ok
        listener.wait("/status", "online")
        cut = "chain a { type filter hook input priority 0; iifname fartill drop; }\n"
        cut += "chain b { type filter hook output priority 0; oifname fartill drop; }"
        with room.rules(cut):
            began = time.monotonic()
            stuck = way.send(parcel())
            assert is_one_line(stuck)
            assert "does not acknowledge" in stuck.detail
            assert time.monotonic() - began < 3
            assert "cannot reach the broker" in way.attend().detail
        # the broker still holds the old connection, and has to give it up for the new one: `offline`, then `online`
        assert way.attend().ok
        assert way.send(parcel(body=b"{}")).ok
        assert retained(there) == {f"{ROOT}/health": "{}", f"{ROOT}/status": "online"}
        with room.rules(cut):
            began = time.monotonic()
            before = len(listener.on("/status"))
            lost = until_lost(way, 40)
            noticed = time.monotonic() - began
            assert lost.detail == "the broker does not answer any more; is the line to it cut?"
            assert noticed < 25  # twice the keepalive, and a quarter
            listener.wait("/status", count=before + 1, seconds=20)
            assert listener.texts("/status")[-1] == "offline"
            print(f"the till noticed after {noticed:.1f} s, the broker said offline")
        assert way.attend().ok
        listener.wait("/status", count=before + 2)
        assert listener.texts("/status")[-1] == "online"


# --- TLS ------------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_not_to_be_trusted_gets_nothing(tmp_path: Path) -> None:
    papers, foreign = Papers(tmp_path / "papers"), Papers(tmp_path / "foreign")
    with Broker(tmp_path / "broker", papers=papers) as broker:
        said = {}
        for why, settings in {
            "another CA": {"ca_file": str(foreign.ca_file)},
            "this PC's CAs": {"ca_file": None},
            "no such file": {"ca_file": "/nonexistent/ca.pem"},
            "another name": {"host": "localhost"},
        }.items():
            given = {"timeout": Seconds(3), "ca_file": str(papers.ca_file), "host": broker.address, **settings}
            way = MqttSender(MqttPush(port=broker.port, **given), Till("0042", "T01"), ENV)
            outcome = way.attend()
            way.close(0)
            assert not outcome.ok and not outcome.permanent
            said[why] = outcome.detail
        assert (
            said
            == {
                "another CA": "the broker's certificate is not trusted (self-signed certificate in certificate chain); "
                "set push.mqtt.ca_file to the CA that signs for the centre",
                "this PC's CAs": "the broker's certificate is not trusted (self-signed certificate in certificate chain); "
                "set push.mqtt.ca_file to the CA that signs for the centre",
                "no such file": "ca_file /nonexistent/ca.pem does not exist; check push.mqtt",
                "another name": "the broker's certificate is not trusted (Hostname mismatch, certificate is not valid for "
                "'localhost'.); set push.mqtt.host to a name that stands in it",
            }
            or "certificate" in said["another CA"]
        )
        assert "CONNECT" not in broker.said()
        assert "New client connected" not in broker.said()


def test_an_expired_certificate_is_the_centres_to_renew(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    papers.server(days=-1)
    with Broker(tmp_path / "broker", papers=papers) as broker, sending(broker) as way:
        assert way.attend().detail == (
            "the broker's certificate is not trusted (certificate has expired); the centre must renew it, or this "
            "PC's clock is wrong"
        )


def test_a_certificate_that_changes_under_a_connection_counts_from_the_next_one_on(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    with Broker(tmp_path / "broker", papers=papers) as broker, sending(broker) as way:
        assert way.send(parcel()).ok
        (tmp_path / "papers/server.pem").write_bytes(Papers(tmp_path / "foreign").server().read_bytes())
        broker.reload()
        time.sleep(0.2)
        assert way.send(parcel(seq=2)).ok  # the connection stands
        broker.stop()
        broker.start()
        assert is_one_line(until_lost(way))
        assert "not trusted" in way.attend().detail
        # the centre hands out its new CA: the file is read again
        papers.ca_file.write_bytes((tmp_path / "foreign/ca.pem").read_bytes())
        assert way.attend().ok


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_till_shows_its_own_certificate_where_the_broker_wants_one(tmp_path: Path, version: str) -> None:
    papers, foreign = Papers(tmp_path / "papers"), Papers(tmp_path / "foreign")
    conf = "require_certificate true\nuse_identity_as_username true"
    mine, theirs = papers.client("0042.T01"), foreign.client("0042.T01")
    with Broker(tmp_path / "broker", papers=papers, conf=conf) as broker:
        with sending(broker, version=version, certificate_file=str(mine)) as way:
            assert way.send(parcel()).ok
            assert "u'0042.T01'" in broker.said()
        with sending(broker, version=version) as way:
            none = way.attend()
        with sending(broker, version=version, certificate_file=str(theirs)) as way:
            wrong = way.attend()
        with sending(broker, version=version, certificate_file=str(papers.ca_file)) as way:
            no_key = way.attend()
        with sending(broker, version=version, certificate_file="/nonexistent") as way:
            no_file = way.attend()
    assert "certificate" in none.detail and is_one_line(none)
    assert "certificate" in wrong.detail and is_one_line(wrong)
    assert is_one_line(no_key) and "PEM" in no_key.detail
    assert is_one_line(no_file) and "does not exist" in no_file.detail


# --- refused --------------------------------------------------------------------------------------------------------


@VERSIONS
def test_a_wrong_password_is_said_without_the_password(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path, users=["0042/T01"]) as broker:
        for user, password in (("0042/T01", "WRONG"), ("nobody", "PW"), (None, None)):
            secret = Secret(env=password) if password else None
            with sending(broker, version=version, user=user, password=secret) as way:
                refusal = way.send(parcel())
            assert is_one_line(refusal) and not refusal.permanent
            assert "check push.mqtt.user, password and client_id" in refusal.detail
            assert ENV["WRONG"] not in refusal.detail


def test_a_password_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, sending(broker, user="x", password=Secret(file="/nonexistent/pw")) as way:
        assert "cannot read secret" in way.attend().detail
        assert "New connection" not in broker.said()


@VERSIONS
def test_a_refused_client_id_is_called_that(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path, conf="clientid_prefixes till-") as broker, sending(broker, version=version) as way:
        assert "client_id" in way.attend().detail  # mosquitto says no more than `not authorized`
    code = b"\x20\x03\x00\x85\x00" if version == "5" else b"\x20\x02\x00\x02"
    with BadBroker(answering(code)) as broker, sending(broker, version=version) as way:
        assert way.attend().detail == (
            "the broker refuses the client id posagent-0042-T01; let the centre allow it, or set push.mqtt.client_id"
        )


def test_a_denied_topic_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    acl = "\n".join(f"topic write {ROOT}/{end}" for end in ("status", "health")) + "\n"
    with Broker(tmp_path, acl=acl) as broker, sending(broker) as way:
        denied = way.send(parcel("incident"))
        assert denied.detail == (f"the broker does not let this till write to {ROOT}/incidents; let its ACL allow it")
        assert not denied.permanent
        assert way.send(parcel()).ok
        assert broker.said().count("New client connected") == 1


def test_a_till_cannot_speak_for_another_one(tmp_path: Path) -> None:
    users, secret = ["0042/T01", "0042/T02"], Secret(env="PW")
    with (
        Broker(tmp_path, users=users, acl=OWN_BRANCH) as broker,
        sending(broker, user="0042/T02", password=secret) as way,
    ):
        assert way.attend().detail == f"the broker does not let this till write to {ROOT}/status; let its ACL allow it"


@VERSIONS
def test_a_message_too_large_is_given_up_where_the_broker_says_so(tmp_path: Path, version: str) -> None:
    large = parcel(body=os.urandom(6000).hex().encode())
    with Broker(tmp_path, conf="max_packet_size 5000") as broker, sending(broker, version=version) as way:
        outcome = way.send(large)
        assert is_one_line(outcome)
        if version == "5":  # it is said beforehand: nothing leaves, and the connection stays
            assert outcome.permanent
            assert "at most 5000 bytes" in outcome.detail
            assert way.send(parcel()).ok
            assert broker.said().count("New client connected") == 1
        else:  # the broker hangs up, and cannot say why
            assert not outcome.permanent
            assert "too large" in outcome.detail


def test_a_puback_that_the_standard_does_not_know_is_understood_all_the_same(tmp_path: Path) -> None:
    """mosquitto answers 0x95 to a message beyond `message_size_limit`; paho takes that for nonsense and hangs up."""
    with Broker(tmp_path, conf="message_size_limit 1000") as broker, sending(broker) as way:
        outcome = way.send(parcel(body=b"x" * 2000))
        assert outcome.permanent
        assert outcome.detail.startswith("the message is too large for the broker")
        assert way.send(parcel(body=b"{}")).ok


@VERSIONS
def test_a_full_broker_lets_nobody_in_and_that_is_said(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path, conf="max_connections 1") as broker:
        with Listener(broker), sending(broker, version=version) as way:
            full = way.attend()
            assert is_one_line(full) and "is it full" in full.detail
        with sending(broker, version=version) as way:
            assert way.attend().ok


@VERSIONS
def test_a_broker_out_of_memory_is_tried_again(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path, conf="memory_limit 300000") as broker, sending(broker, version=version) as way:
        assert way.attend().ok
        outcome = way.send(parcel(body=b"x" * 400_000))
        assert is_one_line(outcome) and not outcome.permanent
        assert way.send(parcel(body=b"{}")).ok


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ("max_qos 0", "the broker takes no messages with QoS 1"),
        ("retain_available false", "the broker keeps no retained messages"),
    ],
)
def test_a_broker_that_cannot_hold_what_it_should_says_so(tmp_path: Path, conf: str, told: str) -> None:
    with Broker(tmp_path, conf=conf) as broker, sending(broker) as way:
        assert way.attend().detail.startswith(told)


@pytest.mark.parametrize(
    ("code", "told", "permanent"),
    [
        (0x80, "the broker gives no reason", False),
        (0x83, "the broker does not take it", False),
        (0x87, "does not let this till write to", False),
        (0x90, f"does not take the topic {ROOT}/health", True),
        (0x97, "quota", False),
        (0x99, "does not take messages in JSON", True),
        (0xA7, "the broker says 0xa7", False),
    ],
)
def test_every_reason_not_to_take_a_message_is_one_clear_line(code: int, told: str, permanent: bool) -> None:
    def talk(connection: Any) -> None:
        packet(connection)
        connection.sendall(CONNACK_5)
        for answer in (0, code):
            _, body = packet(connection)
            at = 2 + int.from_bytes(body[:2], "big")
            connection.sendall(b"\x40\x03" + body[at : at + 2] + bytes([answer]))
        while connection.recv(4096):
            pass

    with BadBroker(talk) as broker, sending(broker) as way:
        outcome = way.send(parcel())
        assert is_one_line(outcome)
        assert told in outcome.detail
        assert outcome.permanent is permanent


@pytest.mark.parametrize("code", [0x80, 0x84, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x95, 0x97, 0x9C, 0x9D, 0x9F, 0x01])
def test_every_reason_not_to_let_a_till_in_is_one_clear_line(code: int) -> None:
    with BadBroker(answering(bytes((0x20, 3, 0, code, 0)))) as broker, sending(broker) as way:
        outcome = way.attend()
        assert is_one_line(outcome)
        assert not outcome.permanent
        assert "0x" not in outcome.detail


@pytest.mark.parametrize("code", [0x8B, 0x8D, 0x8E, 0x93, 0x98, 0x9C])
def test_a_broker_that_says_why_it_ends_a_connection_is_quoted(code: int) -> None:
    said = b"\xe0\x02" + bytes((code, 0))

    def talk(connection: Any) -> None:
        packet(connection)
        connection.sendall(CONNACK_5)
        _, body = packet(connection)
        at = 2 + int.from_bytes(body[:2], "big")
        connection.sendall(b"\x40\x02" + body[at : at + 2] + said)

    with BadBroker(talk) as broker, sending(broker) as way:
        outcome = until_lost(way)
        assert is_one_line(outcome), outcome
        if code == 0x8E:
            assert outcome.detail.startswith("another client uses the client id posagent-0042-T01")
            assert outcome.retry_after is not None and 20 < outcome.retry_after < 40


@VERSIONS
def test_who_is_pushed_out_by_another_client_does_not_push_back(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path) as broker, sending(broker, version=version) as way:
        for _ in range(mqtt.SUSPECT):
            assert way.attend().ok
            with sending(broker, version=version) as rival:
                assert rival.attend().ok
                outcome = until_lost(way)
        assert "does another client use the client id posagent-0042-T01" in outcome.detail
        assert outcome.retry_after is not None and 20 < outcome.retry_after < 40
        before = broker.said().count("New client connected")
        again = way.send(parcel())
        assert again.detail == outcome.detail
        assert again.retry_after is not None
        assert broker.said().count("New client connected") == before


def test_a_rival_is_left_alone_longer_each_time_and_forgotten_after_peace() -> None:
    rivalry, now, waits = mqtt.Rivalry(), 1000.0, []
    for _ in range(9):
        rivalry.noticed(now, "x")
        waits.append(rivalry.left(now))
        now += waits[-1]
    assert 22 < waits[0] < 38
    assert 1350 <= max(waits) <= 2250
    rivalry.suspected(now, 700, "x")
    assert rivalry.left(now) == 0
    rivalry.suspected(now, 30, "x")
    assert rivalry.left(now) == 0


# --- nonsense -------------------------------------------------------------------------------------------------------


@VERSIONS
def test_a_broker_that_accepts_and_never_answers_costs_one_deadline(version: str) -> None:
    def silent(connection: Any) -> None:
        while connection.recv(4096):
            pass

    with BadBroker(silent) as broker, sending(broker, version=version, timeout=Seconds(1)) as way:
        began = time.monotonic()
        outcome = way.send(parcel())
        assert 0.8 < time.monotonic() - began < 1.5
        assert is_one_line(outcome) and "says nothing" in outcome.detail


def test_a_broker_that_is_stopped_in_the_tls_handshake_costs_one_deadline(tmp_path: Path) -> None:
    with Broker(tmp_path, papers=Papers(tmp_path / "papers")) as broker, sending(broker, timeout=Seconds(1)) as way:
        broker.pause()
        began = time.monotonic()
        outcome = way.attend()
        assert time.monotonic() - began < 1.5
        assert "says nothing" in outcome.detail
        broker.go_on()
        assert way.attend().ok


@VERSIONS
def test_a_message_that_is_never_acknowledged_ends_the_connection(version: str) -> None:
    talk = acknowledging(CONNACK_5 if version == "5" else CONNACK_3, at_most=1)
    with BadBroker(talk) as broker, sending(broker, version=version, timeout=Seconds(1)) as way:
        assert way.attend().ok
        began = time.monotonic()
        outcome = way.send(parcel())
        assert 0.8 < time.monotonic() - began < 1.5
        assert "does not acknowledge" in outcome.detail
        assert way.attend().ok  # a new one
        assert broker.connections == 2


@VERSIONS
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x20\xff\xff\xff\x7f" + bytes(1000),  # a CONNACK of 256 MB begins
        b"\x20\x00",
        b"\x30\x7f" + bytes(127),
        bytes(64),
        b"\xff" * 64,
    ],
)
def test_nonsense_is_called_nonsense(version: str, answer: bytes) -> None:
    def talk(connection: Any) -> None:
        packet(connection)
        connection.sendall(answer)
        while connection.recv(4096):
            pass

    with BadBroker(talk) as broker, sending(broker, version=version, timeout=Seconds(1)) as way:
        outcome = way.attend()
        assert is_one_line(outcome)
        assert "not MQTT" in outcome.detail or "says nothing" in outcome.detail or "no MQTT broker" in outcome.detail


@VERSIONS
def test_fuzzed_brokers_harm_nobody(version: str) -> None:
    """Whatever comes back: one clear line within the deadline, no thread left."""
    chance = random.Random(42)
    answers = iter([bytes(chance.randrange(256) for _ in range(chance.randrange(1, 40))) for _ in range(200)])

    def talk(connection: Any) -> None:
        packet(connection)
        connection.sendall(next(answers) if chance.random() < 0.5 else CONNACK_5 + next(answers))

    with BadBroker(talk) as broker, sending(broker, version=version, timeout=Seconds(1)) as way:
        for _ in range(150):
            way._rivalry = mqtt.Rivalry()
            outcome = way.send(parcel())
            assert is_one_line(outcome), outcome
            assert "posagent (" not in outcome.detail  # a fault of ours
    assert not [thread for thread in threading.enumerate() if thread.name == "posagent-mqtt"]


def test_a_broker_that_talks_without_end_is_left(tmp_path: Path) -> None:
    def talk(connection: Any) -> None:
        packet(connection)
        connection.sendall(CONNACK_5)
        _, body = packet(connection)
        at = 2 + int.from_bytes(body[:2], "big")
        connection.sendall(b"\x40\x02" + body[at : at + 2])
        spam = b"\x30\x0c\x00\x01x\x00" + bytes(8)
        for _ in range(2000):
            connection.sendall(spam * 500)

    with BadBroker(talk) as broker, sending(broker) as way:
        assert way.attend().ok
        assert "not MQTT" in until_lost(way, 20).detail


def test_a_fault_in_a_callback_is_told_and_the_next_connection_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.push import mqtt_connection

    with Broker(tmp_path) as broker, sending(broker) as way:
        with monkeypatch.context() as patch:
            patch.setattr(mqtt_connection, "_word", lambda *_: 1 / 0)
            assert way.send(parcel()).detail == "a fault of posagent (ZeroDivisionError); please report it"
        assert way.send(parcel()).ok
        monkeypatch.setattr(mqtt_connection, "_word", lambda *_: 1 / 0)
        assert way.send(parcel()).detail == "a fault of posagent (ZeroDivisionError); please report it"


def test_proxy_variables_of_the_environment_are_never_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mqtt_proxy", "all_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with Broker(tmp_path) as broker, sending(broker) as way:
        assert way.attend().ok


# --- with the daemon's own loop --------------------------------------------------------------------------------------


@VERSIONS
def test_a_broker_that_was_away_for_an_hour_gets_everything_the_newest_first(tmp_path: Path, version: str) -> None:
    with Broker(tmp_path / "broker") as broker:
        config = (
            f'[push.mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\ntls = false\nversion = "{version}"\n'
            'timeout = "2s"\nsplay = "1m"\n'
        )
        with Loop(tmp_path / "till", config) as loop:
            loop.report(changed=True)
            loop.forward(10)
            loop.until_empty()
            broker.stop()
            for minute in range(60):
                if minute % 15 == 3:
                    loop.incident(f"I{minute}")
                if minute % 15 == 9:
                    loop.incident(f"I{minute - 6}", over=True)
                loop.report(changed=minute % 10 == 0)
                loop.settle()
                loop.forward(60)
            loop.settle()
            told = loop.centre.problems()
            assert len(told) == 1
            assert told[0].startswith(f"cannot push to the centre mqtt://127.0.0.1:{broker.port}: cannot reach the ")
            assert loop.centre.counts()["reports_waiting"] == 60
            broker.start()
            with Listener(broker) as listener:
                loop.until_empty(40)
                loop.turns(0.3)
                listener.wait("/history", count=59)
                assert loop.centre.problems() == []
            new = [one for one in listener.heard if not one.retained]
        kinds = [one.topic.removeprefix(f"{ROOT}/") for one in new]
        assert kinds[:2] == ["status", "health"]
        assert json.loads(new[1].text)["seq"] == 61
        assert kinds[2:10] == ["incidents"] * 8
        happened = [(one["incident"]["id"], one["what"]) for one in map(json.loads, listener.texts("/incidents"))]
        assert happened == [(f"I{start}", what) for start in (3, 18, 33, 48) for what in ("opened", "resolved")]
        assert [json.loads(text)["seq"] for text in listener.texts("/history")] == list(range(2, 61))
        assert kinds[10:] == ["history"] * 59
        assert json.loads(retained(broker)[f"{ROOT}/health"])["seq"] == 61


def test_a_real_daemon_is_online_tells_of_an_incident_and_is_called_offline_when_killed(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    with (
        Broker(tmp_path / "broker", papers=papers, users=["0042/T01", "centre"], acl=OWN_BRANCH) as broker,
        Listener(broker, user="centre") as listener,
        DaemonTill(tmp_path / "till") as till,
    ):
        (tmp_path / "password").write_text(PASSWORD)
        (tmp_path / "password").chmod(0o600)
        till.more = (
            f'[site]\nstore = "0042"\nterminal = "T01"\n[push.mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            f'ca_file = "{papers.ca_file}"\nuser = "0042/T01"\npassword = {{ file = "{tmp_path}/password" }}\n'
            'splay = "1s"\n'
        )
        till.watch("host")
        till.tell("host", "ok")
        till.begin()
        listener.wait("/status", "online")
        assert json.loads(listener.wait("/health")[-1].text)["site"]["store"] == "0042"
        till.tell("host", "fail")
        till.until_incident("host")
        opened = json.loads(listener.wait("/incidents")[0].text)
        assert (opened["schema"], opened["what"], opened["store"]) == ("posagent.incident/1", "opened", "0042")
        seq = till.until(lambda report: report["incidents"])["seq"]
        until = time.monotonic() + 10
        while json.loads(listener.texts("/health")[-1])["seq"] < seq:
            assert time.monotonic() < until
            time.sleep(0.05)
        listener.heard.clear()
        began = time.monotonic()
        till.kill()
        listener.wait("/status", "offline")
        print(f"offline {time.monotonic() - began:.2f} s after SIGKILL")
        till.begin()
        listener.wait("/status", "online")
        listener.heard.clear()
        took = till.stop()
        listener.wait("/status", "offline")
        assert listener.texts("/status") == ["offline"]
        print(f"stopped in {took:.2f} s")
        assert json.loads(retained(broker, user="centre")[f"{ROOT}/health"])["site"]["terminal"] == "T01"
        assert "Traceback" not in till.said()


def test_what_the_broker_refuses_stands_in_the_daemons_report_and_log(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", users=["0042/T01"]) as broker, DaemonTill(tmp_path / "till") as till:
        till.more = (
            f'[site]\nstore = "0042"\nterminal = "T01"\n[push.mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            'tls = false\nsplay = "1s"\n'
        )
        till.watch("host")
        till.tell("host", "ok")
        till.begin()
        (said,) = till.until(lambda report: report["agent"]["problems"], "a problem", 20)["agent"]["problems"]
        assert said == (
            f"cannot push to the centre mqtt://127.0.0.1:{broker.port}: the broker does not let this till in (not "
            "authorized); check push.mqtt.user, password and client_id, and whom the broker lets in"
        )
        looks = till.looks("host")
        assert max(after - before for before, after in itertools.pairwise(looks)) < 2.5
        assert "Traceback" not in till.said()


# --- fleet/mosquitto -------------------------------------------------------------------------------------------------

FLEET = Path(__file__).parents[2] / "fleet/mosquitto"


def test_the_fleets_own_broker_lets_each_till_write_its_own_branch_and_the_centre_read_all(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    conf = (FLEET / "mosquitto.conf").read_text()
    server = papers.server()
    with Broker(tmp_path / "broker", papers=papers) as broker:
        broker.stop()
        (tmp_path / "broker/acl").write_bytes((FLEET / "acl").read_bytes())
        (tmp_path / "broker/acl").chmod(0o600)
        for here, there in {
            "listener 8883": f"listener {broker.port} 127.0.0.1",
            "/etc/mosquitto/posagent/server.pem": str(server),
            "/etc/mosquitto/posagent/server.key": str(server),
            "/etc/mosquitto/posagent/tills-ca.pem": str(papers.ca_file),
            "/etc/mosquitto/posagent/acl": str(tmp_path / "broker/acl"),
            "/var/lib/mosquitto/": f"{tmp_path / 'broker'}/",
        }.items():
            assert here in conf
            conf = conf.replace(here, there)
        broker.conf.write_text("user root\nlog_dest stderr\nlog_type all\n" + conf)
        broker.start()
        names = ("0042/T01", "0042/T02", "centre")
        cards = {name: papers.client(name).rename(tmp_path / f"{name.replace('/', '-')}.pem") for name in names}
        with (
            Listener(broker, certificate=cards["centre"]) as listener,
            Listener(broker, certificate=cards["0042/T02"]) as curious,
            sending(broker, certificate_file=str(cards["0042/T01"])) as way,
        ):
            for kind in ("report", "incident", "history", "gap"):
                assert way.send(parcel(kind)).ok  # type: ignore[arg-type]
            listener.wait("/gap")
            assert [one.topic.removeprefix(f"{ROOT}/") for one in listener.heard] == [
                "status", "health", "incidents", "history", "gap",
            ]  # fmt: skip
            assert curious.heard == []
            with sending(broker, certificate_file=str(cards["centre"])) as impostor:
                assert impostor.attend().ok is False
        with sending(broker, certificate_file=str(cards["0042/T02"])) as impostor:  # says that it is T01
            assert impostor.attend().detail == (
                f"the broker does not let this till write to {ROOT}/status; let its ACL allow it"
            )
        with sending(broker) as stranger:
            assert "certificate" in stranger.attend().detail


def test_under_the_fleets_broker_no_till_pushes_another_one_out(tmp_path: Path) -> None:
    papers, users = Papers(tmp_path / "papers"), ["0042/T01", "0042/T02"]
    assert "use_username_as_clientid true" in (FLEET / "mosquitto.conf").read_text()
    with (
        Broker(tmp_path / "b", papers=papers, users=users, conf="use_username_as_clientid true") as broker,
        sending(broker, user="0042/T01", password=Secret(env="PW"), client_id="mine") as way,
        sending(broker, user="0042/T02", password=Secret(env="PW"), client_id="mine") as other,
    ):
        assert way.attend().ok
        assert other.attend().ok
        time.sleep(0.2)
        assert way.attend().ok


# --- what it costs --------------------------------------------------------------------------------------------------


def test_a_hundred_reconnects_leave_nothing_behind(tmp_path: Path) -> None:
    with Broker(tmp_path, papers=Papers(tmp_path / "papers")) as broker, sending(broker) as way:

        def once() -> None:
            assert way.attend().ok
            assert way.send(parcel(body=b"x" * 20_000)).ok
            connection = way._connection
            assert connection is not None
            client = connection._client
            assert client is not None and client.wire is not None
            client.wire._connection.shutdown(2)
            way._rivalry = mqtt.Rivalry()
            until_lost(way)
            way._rivalry = mqtt.Rivalry()

        for _ in range(20):
            once()
        gc.collect()
        before = (len(os.listdir("/proc/self/fd")), threading.active_count(), _pss())
        for _ in range(100):
            once()
        gc.collect()
        after = (len(os.listdir("/proc/self/fd")), threading.active_count(), _pss())
    print(f"descriptors, threads, PSS in KiB: {before} before, {after} after")
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 1024


def _pss() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))


_COST = """
import sys, time
from pathlib import Path
def pss():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))
from probes.host import tcp, tls, http
tls.context(sys.argv[2])  # a daemon has TLS and requests already
import requests, sqlite3, dns.resolver, agent.push, agent.store  # and these
from agent.config.push import MqttPush
from agent.push.mqtt import MqttSender
from agent.push.sender import Till
from probes.model import Seconds
before = pss()
way = MqttSender(MqttPush(host="127.0.0.1", port=int(sys.argv[1]), ca_file=sys.argv[2], keepalive=Seconds(10)), Till("0042", "T01"))
assert way.attend().ok
cpu = time.process_time()
time.sleep(12)
print(before, pss(), time.process_time() - cpu, flush=True)
way.close(1)
"""


def test_a_connection_that_is_held_costs_little(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    with Broker(tmp_path, papers=papers) as broker:
        command = [sys.executable, "-c", _COST, str(broker.port), str(papers.ca_file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    before, after, cpu = done.stdout.split()
    print(f"PSS {before} KiB -> {after} KiB: {int(after) - int(before)} KiB; {float(cpu) * 1000:.1f} ms CPU in 12 s")
    assert int(after) - int(before) < 4096
    assert float(cpu) < 0.05
