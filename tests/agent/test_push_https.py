"""A receiver of the centre gets each report whole; whatever it answers, one clear outcome comes of it, in time."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.push import HttpsPush
from agent.config.secret import Secret
from agent.outcome import Outcome
from agent.push.https import HttpsSender
from agent.push.sender import Parcel, Till
from probes.host import resolve
from probes.model import Seconds
from tests.agent.doubles import SECRET, Asked, Town, always, answer, read_request
from tests.probes import talk

NAME = "centre.example"
BODY = json.dumps({"schema": "posagent.report/1", "seq": 7}).encode()
PARCEL = Parcel("report", "7-0123456789abcdef", 7, 1.0, gzip.compress(BODY))
TOKEN = Secret(env="TOKEN")
ENV = {"TOKEN": SECRET + "\n", "PROXY": "http://user:pass-word@127.0.0.1:9"}


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    """Servers of any name, all on loopback."""
    monkeypatch.setattr(resolve, "_getaddrinfo", lambda name: ("127.0.0.1",))
    return Town(tmp_path)


@contextlib.contextmanager
def sender(url: str, town: Town | None = None, **more: Any) -> Iterator[HttpsSender]:
    timeout = Seconds(more.pop("timeout", 5))
    made = HttpsSender(
        HttpsPush(url=url, ca_file=town.ca_file if town else None, timeout=timeout, **more), Till("0042/ö", "T 1"), ENV
    )
    try:
        yield made
    finally:
        made.close(0.1)


def sent(url: str, town: Town | None = None, parcel: Parcel = PARCEL, **more: Any) -> Outcome:
    """What comes of it; always in time, on one line, without a secret."""
    began = time.monotonic()
    with sender(url, town, **more) as made:
        outcome = made.send(parcel)
    assert time.monotonic() - began < more.get("timeout", 5) + 0.5
    assert "own fault" not in outcome.detail
    assert "\n" not in outcome.detail
    assert SECRET not in outcome.detail
    return outcome


def test_the_receiver_gets_the_whole_report(town: Town) -> None:
    with town.serving(NAME, always(answer("204 No Content"))) as double:
        assert sent(f"{double.url}/v1/reports?x=1", town, token=TOKEN).ok
    (asked,) = double.asked
    assert (asked.method, asked.target) == ("POST", "/v1/reports?x=1")
    assert gzip.decompress(asked.body) == BODY
    told = {name: asked.headers[name] for name in asked.headers if name not in ("host", "content-length")}
    assert told == {
        "authorization": f"Bearer {SECRET}",
        "content-type": "application/json",
        "content-encoding": "gzip",
        "idempotency-key": "7-0123456789abcdef",
        "posagent-kind": "report",
        "posagent-seq": "7",
        "posagent-till": "0042%2F%C3%B6/T%201",
        "user-agent": "posagent",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "keep-alive",
    }


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "409 Conflict"])
def test_taken(status: str, town: Town) -> None:
    with town.serving(NAME, always(answer(status, b"" if "204" in status else b'{"ok": true}'))) as double:
        assert sent(double.url, town).ok


@pytest.mark.parametrize(
    ("status", "step"),
    [
        ("401 Unauthorized", "check `token` in [push.https]"),
        ("403 Forbidden", "check `token` or the certificate in [push.https], and what the centre lets this till do"),
        ("404 Not Found", "check `url` in [push.https]"),
        ("405 Method Not Allowed", "check `url` in [push.https]"),
        ("407 Proxy Authentication Required", "check `proxy` in [push.https]"),
        ("408 Request Timeout", "ask the centre"),
        ("500 Internal Server Error", "ask the centre"),
        ("502 Bad Gateway", "ask the centre"),
    ],
)
def test_what_somebody_can_mend_passes(status: str, step: str, town: Town) -> None:
    with town.serving(NAME, always(answer(status, b"no such thing"))) as double:
        outcome = sent(double.url, town)
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert outcome.detail == f"answered {status}: no such thing; {step}"


@pytest.mark.parametrize("status", ["400 Bad Request", "410 Gone", "413 Too Large", "415 Unsupported", "422 Nope"])
def test_what_will_never_be_taken_is_final(status: str, town: Town) -> None:
    with town.serving(NAME, always(answer(status, {"error": "seq"}))) as double:
        outcome = sent(double.url, town)
    assert outcome.permanent
    assert outcome.detail == f'refused this report for good: answered {status}: {{"error":"seq"}}; ask the centre' or (
        outcome.detail == f'refused this report for good: answered {status}: {{"error": "seq"}}; ask the centre'
    )


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_busy_centre_is_given_the_time_it_asks_for(status: str, town: Town) -> None:
    with town.serving(NAME, always(answer(status, b"", "Retry-After: 120"))) as double:
        assert sent(double.url, town).retry_after == 120
    with town.serving(NAME, always(answer(status, b"", "Retry-After: soon"))) as double:
        outcome = sent(double.url, town)
    assert (outcome.permanent, outcome.retry_after) == (False, None)


PAGE = b"\xef\xbb\xbf\r\n<!DOCTYPE html><html><h1>Welcome to nginx!</h1></html>"


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (answer("200 OK", PAGE), "answered 200 OK with a page that no receiver sends; check `url` in [push.https]"),
        (
            answer("301 Moved Permanently", b"", "Location: https://portal.example/login"),
            (
                "answered 301 Moved Permanently, which leads on to portal.example and is not followed; "
                "set `url` in [push.https]"
            ),
        ),
        (
            answer("302 Found", b"", "Location: /login"),
            "answered 302 Found, which leads on to another place and is not followed; set `url` in [push.https]",
        ),
        (
            answer("400 Bad Request", b"<html>No required SSL certificate was sent</html>"),
            (
                "answered 400 Bad Request, from a server before the receiver; "
                "check the certificate and `url` in [push.https]"
            ),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the answer 200 broke off; ask the centre"),
    ],
)
def test_nonsense_passes_and_says_what_to_do(reply: bytes, detail: str, town: Town) -> None:
    with town.serving(NAME, always(reply)) as double:
        outcome = sent(double.url, town)
    assert (outcome.ok, outcome.permanent, outcome.detail) == (False, False, detail)


def garbage(connection: socket.socket, _over: threading.Event) -> None:
    connection.sendall(b"\x00\xff SMTP ready\r\n" * 100)


def nothing(connection: socket.socket, over: threading.Event) -> None:
    over.wait(10)


def drip(connection: socket.socket, over: threading.Event) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000:
        connection.sendall(bytes([byte]))
        if over.wait(0.02):
            return


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"x" * 65536)


def hang_up(connection: socket.socket, _over: threading.Event) -> None:
    socket.socket.shutdown(connection, socket.SHUT_RDWR)


@pytest.mark.parametrize("how", [garbage, nothing, drip, endless, hang_up])
def test_a_centre_that_misbehaves_keeps_nobody_waiting(how: Callable[..., None], town: Town) -> None:
    with town.serving(NAME, how, raw=True) as double:
        outcome = sent(double.url, town, timeout=1)
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert "; " in outcome.detail


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_whatever_it_answers_an_outcome_comes_of_it(town: Town, reply: bytes) -> None:
    with talk.serving(talk.http(reply)) as (port, _):
        outcome = sent(f"http://127.0.0.1:{port}/", timeout=1)
    assert not outcome.ok or reply.startswith(b"HTTP/1.")


def test_several_go_over_one_connection_and_one_that_was_ended_is_made_anew(town: Town) -> None:
    """The centre may close an idle connection at any time: nothing is lost by it."""
    connections, requests = [], []
    most = 3

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        connections.append(connection)
        with context.wrap_socket(connection.dup(), server_side=True) as wrapped:
            for _ in range(most):
                asked = read_request(wrapped)
                if asked is None:
                    return
                requests.append(asked)
                wrapped.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            wrapped.unwrap()

    context = talk.server_context(town.authority.issue_cert(NAME))
    with talk.serving(serve) as (port, _), sender(f"https://{NAME}:{port}/", town) as made:
        for _ in range(2 * most):
            assert made.send(PARCEL).ok
    assert (len(connections), len(requests)) == (2, 2 * most)


@pytest.mark.parametrize("early", ["102 Processing", "103 Early Hints", "199 Whatever"])
def test_what_only_announces_an_answer_is_none_and_what_follows_is_not_the_next_ones(early: str, town: Town) -> None:
    served = []

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        while (asked := read_request(connection)) is not None:
            served.append(asked)
            if len(served) == 1:  # taken without more: the connection is kept
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif len(served) == 2:
                connection.sendall(f"HTTP/1.1 {early}\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".encode())
            else:
                connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")

    with talk.serving(serve) as (port, _), sender(f"http://127.0.0.1:{port}/") as made:
        first, second, third = (made.send(PARCEL) for _ in range(3))
    assert first.ok
    assert (second.ok, second.permanent) == (False, False)
    assert second.detail == f"answered {early}, which is no receiver's answer; check `url` in [push.https]"
    assert third.detail == "answered 500 Oh; ask the centre", "not the 204 that was left over"


def test_a_certificate_that_changes_is_taken_without_a_restart(town: Town, tmp_path: Path) -> None:
    """Ours on the disk, renewed in time: the next report goes out with the new one."""
    seen: list[str] = []
    context = talk.server_context(town.authority.issue_cert(NAME))
    context.load_verify_locations(town.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        with context.wrap_socket(connection.dup(), server_side=True) as wrapped:
            while read_request(wrapped) is not None:
                names: Any = wrapped.getpeercert()
                seen.append(names["subjectAltName"][0][1])
                wrapped.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def renew(name: str) -> None:
        leaf = town.authority.issue_cert(name)
        leaf.private_key_and_cert_chain_pem.write_to_path(str(own))

    own = tmp_path / "till.pem"
    renew("old.till.example")
    with (
        talk.serving(serve) as (port, _),
        sender(f"https://{NAME}:{port}/", town, certificate_file=str(own)) as made,
    ):
        assert made.send(PARCEL).ok
        assert made.send(PARCEL).ok
        renew("new.till.example")
        assert made.send(PARCEL).ok
    assert seen == ["old.till.example", "old.till.example", "new.till.example"]


def test_a_receiver_that_wants_a_certificate(town: Town) -> None:
    context = talk.server_context(town.authority.issue_cert(NAME))
    context.load_verify_locations(town.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        with context.wrap_socket(connection.dup(), server_side=True) as wrapped:
            read_request(wrapped)

    with talk.serving(serve) as (port, _):
        outcome = sent(f"https://{NAME}:{port}/", town)
    assert not outcome.permanent
    assert "certificate" in outcome.detail


def test_a_centre_that_shows_a_strangers_certificate_hears_nothing(town: Town) -> None:
    with town.serving(NAME, always(answer("204 No Content")), leaf=town.stranger.issue_cert(NAME)) as double:
        outcome = sent(double.url, town, token=TOKEN)
    assert double.asked == []
    assert not outcome.permanent
    assert "is not trusted" in outcome.detail
    assert outcome.detail.endswith("; check `ca_file` and `url` in [push.https]")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "/nowhere/ca.pem does not exist"),
        ({"certificate_file": "/nowhere/till.pem"}, "certificate_file /nowhere/till.pem does not exist"),
        ({"certificate_file": "{here}", "key_file": "/nowhere/till.key"}, "key_file /nowhere/till.key does not exist"),
        ({"certificate_file": "{here}"}, "holds no PEM certificate with its key, without a password"),
        ({"token": Secret(file="/nowhere/token")}, "cannot read secret"),
    ],
)
def test_files_that_are_no_good_are_named(files: dict[str, Any], said: str, tmp_path: Path) -> None:
    here = tmp_path / "nonsense.pem"
    here.write_text("nonsense")
    files = {name: str(here) if each == "{here}" else each for name, each in files.items()}
    made = HttpsSender(HttpsPush(url="https://127.0.0.1:9/", timeout=Seconds(2), **files), Till("1", "2"), ENV)
    outcome = made.send(PARCEL)
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert said in outcome.detail
    assert "[push.https]" in outcome.detail


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = sent(f"http://127.0.0.1:{port}/")
    assert outcome.detail.startswith(f"cannot reach 127.0.0.1 port {port}: 127.0.0.1 refused")


def test_a_proxy_is_gone_through_and_its_password_is_not_told(town: Town) -> None:
    heard: list[bytes] = []

    def refuse(connection: socket.socket, _over: threading.Event) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 403 Forbidden pass-word\r\n\r\n")

    with talk.serving(refuse) as (port, _):
        made = HttpsSender(
            HttpsPush(url=f"https://{NAME}/", proxy=Secret(env="PROXY"), ca_file=town.ca_file, timeout=Seconds(3)),
            Till("1", "2"),
            {"PROXY": f"http://user:pass-word@127.0.0.1:{port}"},
        )
        outcome = made.send(PARCEL)
    assert heard[0].startswith(b"CONNECT centre.example:443 HTTP/1.1")
    assert "pass-word" not in outcome.detail
    assert outcome.detail.endswith("; check `proxy` in [push.https]")


def test_a_centre_that_repeats_the_token_does_not_spread_it(town: Town) -> None:
    def parrot(asked: Asked) -> bytes:
        return answer("401 Unauthorized", f"bad token {asked.headers['authorization']}".encode())

    with town.serving(NAME, parrot) as double:
        assert "bad token" in sent(double.url, town, token=TOKEN).detail


def test_where_it_leads_is_told_without_what_may_be_secret() -> None:
    made = HttpsSender(HttpsPush(url="https://user:pw@centre.example:8443/a?key=secret"), Till("1", "2"), {})
    assert made.where == "https://centre.example:8443/a"
