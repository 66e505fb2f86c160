"""http: answers right, wrong, late, endless and enormous, on real servers."""

from __future__ import annotations

import gzip
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.host import Host
from probes.http import KIND, HttpSettings
from probes.model import Memory, Observation, Status
from tests.probes import talk


def look(host: Host, url: str, memory: Memory | None = None, **more: Any) -> Observation:
    asked = HttpSettings(kind="http", url=url, **more)
    return KIND.judge(asked, KIND.read(asked, host), memory or {})


def look_at(host: Host, server: talk.Talk, path: str = "/health", **more: Any) -> Observation:
    with talk.serving(server) as (port, _):
        return look(host, f"http://127.0.0.1:{port}{path}", **more)


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def soon(seconds: float = 0.5) -> Host:
    return Host(ends=time.monotonic() + seconds)


def test_a_good_answer_is_ok(host: Host) -> None:
    seen = look_at(host, talk.http(answer("200 OK", b"all well")), expect_body="al+ well")
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["answer"] == "200 OK"
    assert (seen.measurements["status"], seen.measurements["body_bytes"]) == (200, 8)
    assert "body begins: all well" in seen.evidence


def test_the_request_is_a_plain_get_without_anything_of_the_environment(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login till password secret\n")
    for name, value in (
        ("NETRC", str(netrc)),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
    ):
        monkeypatch.setenv(name, value)
    heads: list[bytes] = []

    def keep(connection: socket.socket, over: Any) -> None:
        heads.append(connection.recv(65536))
        connection.sendall(answer("204 No Content"))

    with talk.serving(keep) as (port, _):
        assert look(host, f"http://127.0.0.1:{port}/a?token=x").status is Status.OK
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "GET /a?token=x HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in lines
    assert not any(line.lower().startswith(("authorization", "cookie")) for line in lines)


@pytest.mark.parametrize(
    ("reply", "more", "status", "reason"),
    [
        ("503 Service Unavailable", {}, "fail", "http.status"),
        ("404 Not Found", {"expect_status": 404}, "ok", "ok"),
        ("200 OK", {"expect_status": 204}, "fail", "http.status"),
        ("204 No Content", {"expect_status": (200, 204)}, "ok", "ok"),
        ("200 OK", {"expect_body": "well"}, "fail", "http.body"),
        ("200 OK", {"max_time": 0.0}, "warn", "http.slow"),
    ],
)
def test_status_body_and_time_are_held_against_what_is_expected(
    host: Host, reply: str, more: dict[str, Any], status: str, reason: str
) -> None:
    seen = look_at(host, talk.http(answer(reply, b"" if "204" in reply else b"broken")), **more)
    assert (seen.status, seen.reason) == (status, reason)


@pytest.mark.parametrize(
    ("location", "reason"),
    [("/login", "ok"), ("http://127.0.0.1/other", "ok"), ("http://portal.example/login?u=1", "http.status"), ("http://[", "http.status")],
)  # fmt: skip
def test_a_redirect_elsewhere_is_how_a_captive_portal_answers(host: Host, location: str, reason: str) -> None:
    seen = look_at(host, talk.http(answer("302 Found", b"", f"Location: {location}")))
    assert seen.reason == reason
    assert not any("u=1" in line for line in seen.evidence)


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(talk.stall, id="says nothing"),
        pytest.param(talk.http(answer("200 OK", b"x" * 1000), drip=0.02), id="drips its headers"),
        pytest.param(talk.http(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100, drip=0.015), id="drips its body"),
        pytest.param(talk.http(b"HTTP/1.1 100 Continue\r\n\r\n" * 50, drip=0.02), id="continues for ever"),
    ],
)
def test_whatever_drips_ends_at_the_deadline(server: talk.Talk) -> None:
    with talk.serving(server) as (port, _):
        began = time.monotonic()
        seen = look(soon(), f"http://127.0.0.1:{port}/")
        took = time.monotonic() - began
    assert (seen.status, seen.reason) == (Status.FAIL, "http.timeout")
    assert took < 0.8


@pytest.mark.parametrize("status", ["200 OK", "302 Found"])
def test_a_gzip_bomb_is_cut_at_a_megabyte(host: Host, status: str) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    seen = look_at(host, talk.http(answer(status, bomb, "Content-Encoding: gzip", "Location: /")))
    assert seen.status is Status.OK
    assert seen.measurements["body_bytes"] == 1 << 20
    assert "the body is longer than 1 MB: the rest was not read" in seen.evidence


def test_a_body_that_breaks_off_is_a_wrong_body(host: Host) -> None:
    seen = look_at(host, talk.http(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    assert (seen.status, seen.reason) == (Status.FAIL, "http.body")
    assert any(line.startswith("the body broke off: IncompleteRead") for line in seen.evidence)


@pytest.mark.parametrize("data", [b"", b"220 smtp.example ESMTP\r\n", b"\x00\xff" * 50, b"HTTP/1.1 999999 x\r\n\r\n"])
def test_what_is_no_http_is_a_wrong_status(host: Host, data: bytes) -> None:
    seen = look_at(host, talk.http(data))
    assert (seen.status, seen.reason) == (Status.FAIL, "http.status")
    assert seen.measurements["answer"]


def test_a_card_number_in_an_answer_stops_here(host: Host) -> None:
    seen = look_at(host, talk.http(answer("200 OK", b"last card 4111111111111111")))
    assert not any("4111111111111111" in line for line in seen.evidence)


def test_a_closed_port_keeps_its_name(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert look(host, f"http://127.0.0.1:{port}/").reason == "port.refused"


class Pki:
    def __init__(self, home: Path) -> None:
        self.authority = trustme.CA(organization_name="Vendor Trust")
        self.ca_file = str(home / "vendor.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)

    def server(self, then: talk.Talk, **leaf: Any) -> talk.Talk:
        leaf.setdefault("not_after", talk.days(90))
        context = talk.server_context(self.authority.issue_cert("127.0.0.1", "localhost", **leaf))

        def serve(connection: socket.socket, over: Any) -> None:
            with context.wrap_socket(connection.dup(), server_side=True) as wrapped:
                then(wrapped, over)

        return serve


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def test_https_is_answered_over_the_connection_that_was_checked(host: Host, pki: Pki) -> None:
    with talk.serving(pki.server(talk.http(answer("200 OK", b"secure")))) as (port, left):
        seen = look(host, f"https://localhost:{port}/", ca_file=pki.ca_file, expect_body="^secure$")
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["tls_version"] == "1.3"
    assert seen.memory["issuers"] == ["Vendor Trust"]
    assert len(left) == 1  # one connection for the check and the request


def test_https_that_drips_ends_at_the_deadline(pki: Pki) -> None:
    with talk.serving(pki.server(talk.http(answer("200 OK", b"x" * 1000), drip=0.02))) as (port, _):
        began = time.monotonic()
        seen = look(soon(), f"https://127.0.0.1:{port}/", ca_file=pki.ca_file)
        assert seen.reason == "http.timeout"
        assert time.monotonic() - began < 0.8


@pytest.mark.parametrize(
    ("leaf", "status", "reason"),
    [
        ({"not_before": talk.days(-60), "not_after": talk.days(-1)}, "fail", "tls.expired"),
        ({"not_after": talk.days(5)}, "warn", "tls.expiring"),
    ],
)
def test_faults_of_the_certificate_have_the_names_they_have_elsewhere(
    host: Host, pki: Pki, leaf: dict[str, Any], status: str, reason: str
) -> None:
    with talk.serving(pki.server(talk.http(answer("200 OK")), **leaf)) as (port, _):
        seen = look(host, f"https://127.0.0.1:{port}/", ca_file=pki.ca_file)
    assert (seen.status, seen.reason) == (status, reason)


def test_an_https_server_without_tls_fails_its_handshake(host: Host, pki: Pki) -> None:
    with talk.serving(talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as (port, _):
        assert look(host, f"https://127.0.0.1:{port}/", ca_file=pki.ca_file).reason == "tls.handshake_failed"


def proxy(reply: bytes) -> talk.Talk:
    """A proxy that gives `reply` to CONNECT and passes bytes on, or answers a plain request itself."""

    def serve(connection: socket.socket, over: Any) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        method, where, _ = head.split(b" ", 2)
        connection.sendall(reply if method == b"CONNECT" else answer("200 OK", b"by proxy: " + where))
        if method != b"CONNECT" or not reply.startswith(b"HTTP/1.1 200"):
            connection.shutdown(socket.SHUT_WR)
            return
        with socket.create_connection(("127.0.0.1", int(where.rpartition(b":")[2])), timeout=5) as onward:
            pass_on(connection, onward)

    return serve


def pass_on(one: socket.socket, other: socket.socket) -> None:
    import select

    while True:
        ready, _, _ = select.select([one, other], [], [], 5)
        for end in ready:
            data = end.recv(65536)
            if not data:
                return
            (other if end is one else one).sendall(data)
        if not ready:
            return


def test_a_proxy_is_asked_for_a_tunnel_and_the_server_behind_it_checked(host: Host, pki: Pki) -> None:
    with (
        talk.serving(pki.server(talk.http(answer("200 OK", b"behind")))) as (port, _),
        talk.serving(proxy(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")) as (gate, _),
    ):
        seen = look(host, f"https://localhost:{port}/", ca_file=pki.ca_file, proxy=f"http://127.0.0.1:{gate}")
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["target"] == f"localhost:{port}"
    assert "body begins: behind" in seen.evidence


def test_a_proxy_that_refuses_is_named(host: Host, pki: Pki) -> None:
    with talk.serving(proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as (gate, _):
        seen = look(host, "https://vendor.example/", ca_file=pki.ca_file, proxy=f"http://127.0.0.1:{gate}")
    assert (seen.status, seen.reason) == (Status.FAIL, "http.status")
    assert seen.measurements["answer"] == "proxy: 407 Proxy Authentication Required"


def test_a_proxy_gets_the_whole_url_of_a_plain_request(host: Host) -> None:
    with talk.serving(proxy(b"")) as (gate, _):
        seen = look(
            host, "http://vendor.example/x", proxy=f"http://127.0.0.1:{gate}", expect_body="http://vendor.example/x$"
        )
    assert seen.status is Status.OK


def test_a_proxy_that_says_nothing_ends_at_the_deadline(pki: Pki) -> None:
    with talk.serving(talk.stall) as (gate, _):
        seen = look(soon(), "https://vendor.example/", ca_file=pki.ca_file, proxy=f"http://127.0.0.1:{gate}")
    assert seen.reason == "http.timeout"


def test_a_server_that_wants_our_certificate_is_no_working_service(host: Host, pki: Pki) -> None:
    context = talk.server_context(pki.authority.issue_cert("127.0.0.1", not_after=talk.days(90)))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    with talk.serving(talk.tls(context)) as (port, _):
        seen = look(host, f"https://127.0.0.1:{port}/", ca_file=pki.ca_file)
    assert (seen.status, seen.reason) == (Status.FAIL, "http.status")
    assert seen.measurements["answer"] == "a request for a client certificate"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.booleans())
def test_whatever_a_server_says_there_is_an_observation(data: bytes, is_answer: bool) -> None:
    host = Host(ends=time.monotonic() + 3)
    seen = look_at(host, talk.http(b"HTTP/1.1 200 OK\r\n" + data if is_answer else data))
    assert seen.reason in {"ok", "http.status", "http.body"}


@pytest.mark.parametrize(
    ("more", "keys"),
    [
        ({}, []),
        ({"url": "https://user:pw@vendor.example/"}, ["url"]),
        ({"url": "https://vendor.example:99999/"}, ["url"]),
        ({"url": "http://[::1"}, ["url"]),
        ({"proxy": "https://proxy.store:3128"}, ["proxy"]),
        ({"proxy": "http://me@proxy.store:3128"}, ["proxy"]),
        ({"expect_body": "("}, ["expect_body"]),
    ],
)
def test_settings_that_cannot_work(more: dict[str, Any], keys: list[str]) -> None:
    asked = HttpSettings(**{"kind": "http", "url": "https://vendor.example/", **more})
    assert [key for key, _ in KIND.problems(asked)] == keys
