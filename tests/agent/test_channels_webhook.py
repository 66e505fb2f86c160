"""A webhook sends what was asked for; a server that fails in any way gives the right outcome before the deadline."""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import answers
from agent.channels import webhook
from agent.config.channels import Webhook
from agent.config.secret import Secret
from probes.host import resolve
from probes.host.http import Answer
from tests.agent.doubles import MESSAGE, SECRET, Asked, Town, always, answer, deliver, place, read_request
from tests.probes import talk

NAME = "centre.example"


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    """Every name of the world leads to loopback."""
    monkeypatch.setattr(resolve, "_getaddrinfo", lambda name: ("127.0.0.1",))
    return Town(tmp_path)


def hook(url: Any, **more: Any) -> Webhook:
    return Webhook(kind="webhook", url=url, **({"timeout": 2} | more))


def asked_of(
    town: Town, *, reply: bytes = answer("204 No Content"), env: dict[str, str] | None = None, **more: Any
) -> Asked:
    with town.serving(NAME, always(reply)) as double:
        outcome = deliver(hook(f"{double.url}/hook?a=1", ca_file=double.ca_file, **more), **(env or {}))
        assert outcome.ok, outcome.detail
        return double.asked[0]


def test_it_sends_the_whole_message_as_json(town: Town) -> None:
    asked = asked_of(town)
    assert (asked.method, asked.target) == ("POST", "/hook?a=1")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["idempotency-key"] == MESSAGE.key
    assert asked.json == {
        "schema": "posagent.notice/1",
        "key": MESSAGE.key,
        "what": "opened",
        "severity": "critical",
        "subject": MESSAGE.subject,
        "text": MESSAGE.text,
        "markdown": MESSAGE.markdown,
        "data": MESSAGE.data,
    }
    assert "authorization" not in asked.headers


def test_method_headers_and_token_are_as_set(town: Town) -> None:
    asked = asked_of(town, method="PUT", token=place(), headers={"X-Store": "0042", "X-Api-Key": place()})
    assert asked.method == "PUT"
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert (asked.headers["x-store"], asked.headers["x-api-key"]) == ("0042", SECRET)


def test_a_token_with_a_space_is_sent_as_it_is(town: Town) -> None:
    asked = asked_of(town, token=place("BASIC"), env={"BASIC": "Basic dGlsbDpodW50ZXIy"})
    assert asked.headers["authorization"] == "Basic dGlsbDpodW50ZXIy"


def test_the_published_example_of_standard_webhooks_is_signed_as_published() -> None:
    """From the specification at standardwebhooks.com."""
    body = b'{"event_type":"ping","data":{"success":true}}'
    assert webhook.signed("whsec_plJ3nmyCDGBKInavdOK15jsl", "msg_loFOjxBNrRLzqYUf", 1731705121, body) == {
        "webhook-id": "msg_loFOjxBNrRLzqYUf",
        "webhook-timestamp": "1731705121",
        "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }


def test_what_is_sent_can_be_verified_by_who_gets_it(town: Town) -> None:
    asked = asked_of(town, signature=place())
    at = asked.headers["webhook-timestamp"]
    content = f"{MESSAGE.key}.{at}.".encode() + asked.body
    code = base64.b64encode(hmac.digest(SECRET.encode(), content, hashlib.sha256)).decode()
    assert asked.headers["webhook-signature"] == f"v1,{code}"
    assert asked.headers["webhook-id"] == MESSAGE.key
    assert abs(int(at) - time.time()) < 10


def test_a_template_makes_any_json(town: Town) -> None:
    nasty = msgspec.structs.replace(MESSAGE, text='"quoted" \\ \n $data 断网')
    with town.serving(NAME, always(answer("200 OK"))) as double:
        template = '{"title": $subject, "body": ${text}, "cost": "$$5", "at": [$store, $incident, $data]}'
        assert deliver(hook(double.url, ca_file=double.ca_file, template=template), nasty).ok
        assert double.asked[0].json == {
            "title": MESSAGE.subject,
            "body": nasty.text,
            "cost": "$5",
            "at": ["0042", "20261122-0901-lan", MESSAGE.data],
        }


@pytest.mark.parametrize(
    ("content_type", "template", "body"),
    [
        (
            "application/x-www-form-urlencoded",
            "to=1&text=$cause $severity&m=$subject",
            b"to=1&text=lan.cable_unplugged critical&m=0042+T01%3A+card+payments+down%3A+network+cable+unplugged",
        ),
        (
            "text/plain; charset=utf-8",
            "[$store] $subject",
            b"[0042] 0042 T01: card payments down: network cable unplugged",
        ),
    ],
)
def test_a_template_makes_forms_and_text(content_type: str, template: str, body: bytes, town: Town) -> None:
    asked = asked_of(town, template=template, content_type=content_type)
    assert (asked.headers["content-type"], asked.body) == (content_type, body)


# ---- what servers do ----

STATUSES = [
    ("200 OK", True, False),
    ("202 Accepted", True, False),
    ("204 No Content", True, False),
    ("400 Bad Request", False, True),
    ("401 Unauthorized", False, True),
    ("403 Forbidden", False, True),
    ("404 Not Found", False, True),
    ("405 Method Not Allowed", False, True),
    ("410 Gone", False, True),
    ("413 Payload Too Large", False, True),
    ("408 Request Timeout", False, False),
    ("425 Too Early", False, False),
    ("429 Too Many Requests", False, False),
    ("500 Internal Server Error", False, False),
    ("502 Bad Gateway", False, False),
    ("503 Service Unavailable", False, False),
    ("599 Odd", False, False),
]


@pytest.mark.parametrize(("status", "ok", "permanent"), STATUSES)
def test_each_status_is_a_delivery_a_lasting_or_a_passing_refusal(
    status: str, ok: bool, permanent: bool, town: Town
) -> None:
    with town.serving(NAME, always(answer(status, "why not"))) as double:
        outcome = deliver(hook(double.url, ca_file=double.ca_file))
    assert (outcome.ok, outcome.permanent) == (ok, permanent)
    if not ok:
        assert outcome.detail == f"answered {status}: why not"


DATE = "Date: Sun, 22 Nov 2026 09:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Retry-After: 120"], 120.0),
        (["Retry-After: 0"], 0.0),
        ([DATE, "Retry-After: Sun, 22 Nov 2026 09:02:00 GMT"], 120.0),
        ([DATE, "Retry-After: Sun, 22 Nov 2026 08:00:00 GMT"], 0.0),
        ([DATE, "Retry-After: Sun, 22 Nov 2099 08:00:00 GMT"], 86400.0),
        (["Retry-After: 99999999999999999999999"], 86400.0),
        (["Retry-After: soon"], None),
        (["Retry-After: -5"], None),
        (["Retry-After: 1e9"], None),
        ([DATE, "Retry-After: Sun, 99 Nov 2026 08:00:00 GMT"], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_retry_after_is_honoured_as_seconds_and_as_a_date_by_the_servers_own_clock(
    headers: list[str], expected: float | None, status: str, town: Town
) -> None:
    with town.serving(NAME, always(answer(status, "", *headers))) as double:
        outcome = deliver(hook(double.url, ca_file=double.ca_file))
    assert outcome.retry_after == expected


def test_without_the_servers_clock_our_own_has_to_do() -> None:
    later = email.utils.format_datetime(
        datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90), usegmt=True
    )
    waits = answers.retry_after(Answer(status=503, retry_after=later))
    assert waits is not None
    assert 85 < waits <= 90


@pytest.mark.parametrize(
    ("status", "permanent"), [("301", True), ("308", True), ("302", False), ("303", False), ("307", False)]
)
def test_a_redirect_is_not_followed(status: str, permanent: bool, town: Town) -> None:
    with town.serving(NAME, always(answer("200 OK"))) as other:
        reply = answer(f"{status} Moved", "", f"Location: {other.url}/{SECRET}")
        with town.serving(NAME, always(reply)) as double:
            outcome = deliver(hook(double.url, ca_file=double.ca_file, token=place()))
        assert other.asked == []
    assert (outcome.ok, outcome.permanent) == (False, permanent)
    assert "leads on to centre.example" in outcome.detail


def test_a_portal_that_catches_plain_http_is_passing(town: Town) -> None:
    """Before the guest network's login, every address answers so."""
    with talk.serving(talk.http(answer("301 Moved", "", "Location: http://portal.example/login"))) as (port, _):
        outcome = deliver(hook(f"http://{NAME}:{port}/"))
    assert (outcome.ok, outcome.permanent) == (False, False)


@pytest.mark.parametrize("body", ['{"ok": false, "why": "no"}', '{"success": false}', '{"errcode": 7}'])
def test_a_200_that_says_no_is_a_no(body: str, town: Town) -> None:
    with town.serving(NAME, always(answer("200 OK", body))) as double:
        outcome = deliver(hook(double.url, ca_file=double.ca_file))
    assert (outcome.ok, outcome.permanent) == (False, False)


def test_a_200_must_say_what_is_expected(town: Town) -> None:
    with town.serving(NAME, always(answer("200 OK", "<html>Log in</html>"))) as double:
        outcome = deliver(hook(double.url, ca_file=double.ca_file, expect="accepted|queued"))
        assert (outcome.ok, outcome.permanent) == (False, False)
    with town.serving(NAME, always(answer("200 OK", "queued as 7"))) as double:
        assert deliver(hook(double.url, ca_file=double.ca_file, expect="accepted|queued")).ok


def stall_after(data: bytes) -> talk.Talk:
    def answering(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(data)
        over.wait(10)

    return answering


def drip(data: bytes, pause: float = 0.05) -> talk.Talk:
    def answering(connection: socket.socket, over: threading.Event) -> None:
        with contextlib.suppress(OSError):
            for place_ in range(len(data)):
                connection.sendall(data[place_ : place_ + 1])
                if over.wait(pause):
                    return

    return answering


LONG_HEAD = b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"x" * 2000 + b"\r\n\r\n"
FAULTS = {
    "says nothing": stall_after(b""),
    "stops in the headers": stall_after(b"HTTP/1.1 200 OK\r\nContent-"),
    "stops in the body": stall_after(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nha"),
    "drips headers": drip(LONG_HEAD),
    "drips a body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000),
    "closes at once": lambda connection, over: None,
    "closes in the headers": talk.say(b"HTTP/1.1 200 OK\r\nContent-"),
    "closes in the body": talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nha"),
    "speaks no HTTP": talk.say(b"220 smtp.example ESMTP\r\n"),
    "babbles": talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 100),
}


@pytest.mark.parametrize("how", FAULTS)
def test_a_server_that_fails_on_the_way_is_passing_and_keeps_nobody_waiting(how: str, town: Town) -> None:
    with town.serving(NAME, FAULTS[how], raw=True) as double:
        began = time.monotonic()
        outcome = deliver(hook(double.url, ca_file=double.ca_file, timeout=1))
    assert time.monotonic() - began < 1.6
    assert (outcome.ok, outcome.permanent) == (False, False), outcome.detail
    assert outcome.detail


@pytest.mark.parametrize("how", ["stall", "close_at_once", "reset", "quiet"])
def test_a_server_that_never_shakes_hands_is_passing(how: str, town: Town) -> None:
    with talk.serving(getattr(talk, how)) as (port, _):
        outcome = deliver(hook(f"https://{NAME}:{port}", ca_file=town.ca_file, timeout=1))
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert "TLS" in outcome.detail


def bad_certificates(town: Town) -> Iterator[tuple[Any, str]]:
    yield town.stranger.issue_cert(NAME), "not trusted"
    yield town.authority.issue_cert("other.example"), "not trusted"
    yield town.authority.issue_cert(NAME, not_after=talk.days(-1)), "expired"


def test_a_bad_certificate_gets_no_message_and_is_passing(town: Town) -> None:
    """The clock may be wrong, or the portal in the way: both pass."""
    for leaf, word in bad_certificates(town):
        with town.serving(NAME, always(answer("200 OK")), leaf=leaf) as double:
            outcome = deliver(hook(double.url, ca_file=double.ca_file, token=place()))
            assert double.asked == []
        assert (outcome.ok, outcome.permanent) == (False, False)
        assert word in outcome.detail


def test_the_pcs_own_store_does_not_trust_just_anybody(town: Town) -> None:
    with town.serving(NAME, always(answer("200 OK"))) as double:
        outcome = deliver(hook(double.url))
        assert double.asked == []
    assert (outcome.ok, outcome.permanent) == (False, False)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = deliver(hook(f"https://127.0.0.1:{port}/"))
    assert outcome.detail == f"cannot reach 127.0.0.1 port {port}: 127.0.0.1 refused"
    assert not outcome.permanent


def test_a_name_that_nobody_answers_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(resolve, "_getaddrinfo", lambda name: released.wait(10) and ())
    began = time.monotonic()
    try:
        outcome = deliver(hook("https://slow.example/", timeout=1))
    finally:
        released.set()
    assert time.monotonic() - began < 1.5
    assert (outcome.ok, outcome.permanent) == (False, False)


def test_an_endless_answer_costs_no_memory(town: Town) -> None:
    def flood(connection: socket.socket, over: threading.Event) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 500 No\r\n\r\n")
            for _ in range(300):
                connection.sendall(b"x" * 100_000)

    with town.serving(NAME, flood, raw=True) as double:
        outcome = deliver(hook(double.url, ca_file=double.ca_file, timeout=5))
    assert not outcome.ok
    assert len(outcome.detail) <= 300


# ---- the proxy ----


@pytest.mark.parametrize("secret", [False, True])
def test_an_explicit_proxy_is_gone_through_and_the_environments_is_not(
    secret: bool, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    seen: list[Asked] = []

    def tunnel(connection: socket.socket, over: threading.Event) -> None:
        asked = read_request(connection)
        assert asked is not None
        seen.append(asked)
        with socket.create_connection(("127.0.0.1", int(asked.target.rpartition(":")[2]))) as there:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(there, connection))
            back.start()
            pump(connection, there)
            back.join(5)

    with town.serving(NAME, always(answer("200 OK"))) as double, talk.serving(tunnel) as (port, _):
        user = f"till:{SECRET}@" if secret else ""
        env = {"PROXY": f"http://{user}127.0.0.1:{port}"}
        proxy: Any = Secret(env="PROXY") if secret else env["PROXY"]
        outcome = deliver(hook(double.url, ca_file=double.ca_file, proxy=proxy), **(env if secret else {}))
        assert outcome.ok, outcome.detail
        assert len(double.asked) == 1
    assert (seen[0].method, seen[0].target) == ("CONNECT", f"{NAME}:{double.port}")
    expected = "Basic " + base64.b64encode(f"till:{SECRET}".encode()).decode()
    assert seen[0].headers.get("proxy-authorization") == (expected if secret else None)


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway"])
def test_a_proxy_that_gives_no_way_through_is_passing(status: str, town: Town) -> None:
    with talk.serving(talk.http(answer(status))) as (port, _):
        outcome = deliver(hook("https://centre.example/", proxy=f"http://127.0.0.1:{port}"))
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert status[:3] in outcome.detail


# ---- secrets ----


def test_a_server_that_repeats_the_secret_does_not_spread_it(town: Town) -> None:
    """In whole, in part, escaped, and cut off in the middle."""
    secret = 's3cr3t/with+signs=and"quotes'

    def parrot(asked: Asked) -> bytes:
        said = f"no: {asked.target} {asked.headers['authorization']} {json.dumps(secret)} {'.' * 30}{secret[:14]}"
        return answer("400 Bad Request", said)

    with town.serving(NAME, parrot) as double:
        outcome = deliver(
            hook(Secret(env="URL"), ca_file=double.ca_file, token=Secret(env="T")),
            URL=f"{double.url}/hook/abcdef0123456789?key=t0psecret&x=1",
            T=secret,
        )
    assert not outcome.ok
    for piece in ("abcdef", "t0psecret", "s3cr3t", "with+signs"):
        assert piece not in outcome.detail


@pytest.mark.parametrize("text", ["a\nb", "a\r\nX-Evil: 1", "line\x00", "ключ"])
def test_a_secret_that_no_header_can_hold_is_refused_and_not_shown(text: str, town: Town) -> None:
    with town.serving(NAME, always(answer("200 OK"))) as double:
        outcome = deliver(hook(double.url, ca_file=double.ca_file, token=Secret(env="T")), T=f"0123{text}4567")
        assert double.asked == []
    assert (outcome.ok, outcome.permanent) == (False, True)
    assert outcome.detail == "the header Authorization holds a line break or a character that headers cannot hold"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example/secret-one",
        "secret-one",
        "https://",
        "https://[::1/secret-one",
        "https://h .example/secret-one",
    ],
)
def test_a_secret_that_is_no_address_is_refused_and_not_shown(url: str) -> None:
    outcome = deliver(hook(Secret(env="URL")), URL=url)
    assert (outcome.ok, outcome.permanent) == (False, True)
    assert "secret-one" not in outcome.detail


def test_a_card_number_that_a_server_says_goes_nowhere(town: Town) -> None:
    with town.serving(NAME, always(answer("400 Bad Request", "bad: 4111 1111 1111 1111"))) as double:
        outcome = deliver(hook(double.url, ca_file=double.ca_file))
    assert "4111 1111" not in outcome.detail
    assert "1111" in outcome.detail
