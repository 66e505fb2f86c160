"""Mail leaves through a real SMTP server: STARTTLS, login, refusals of every sort, and servers that hang."""

from __future__ import annotations

import contextlib
import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from agent.config.channels import Email
from probes.host import resolve
from tests.agent.doubles import MESSAGE, SECRET, Town, deliver, place
from tests.probes import talk

NAME = "smtp.example"


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    """Every name of the world leads to loopback."""
    monkeypatch.setattr(resolve, "_getaddrinfo", lambda name: ("127.0.0.1",))
    return Town(tmp_path)


class Postbox:
    """What arrived; `says` may refuse a command: {"RCPT": "550 no such user"}."""

    def __init__(self, **says: str) -> None:
        self.says = says
        self.mails: list[EmailMessage] = []
        self.readers: list[list[str]] = []
        self.encrypted: list[bool] = []
        self.logged_in: list[bool] = []

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, to: str, _options: Any) -> str:
        refusal = self.says.get(f"RCPT {to}") or self.says.get("RCPT")
        if refusal:
            return refusal
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if "DATA" in self.says:
            return self.says["DATA"]
        content = cast(bytes, envelope.content)
        self.mails.append(cast(EmailMessage, email.message_from_bytes(content, policy=email.policy.default)))
        self.readers.append(list(envelope.rcpt_tos))
        self.encrypted.append(session.ssl is not None)
        self.logged_in.append(bool(session.authenticated))
        return "250 taken"


def authenticator(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
    right = given.login == b"till" and given.password == SECRET.encode()
    return AuthResult(success=right, handled=False)


@contextlib.contextmanager
def post_office(
    town: Town, box: Postbox, *, tls: str = "starttls", leaf: Any = None, login: bool = False
) -> Iterator[int]:
    """A mail server on loopback; yields its port."""
    context = talk.server_context(leaf or town.authority.issue_cert(NAME)) if tls != "none" else None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more: dict[str, Any] = {"authenticator": authenticator, "auth_required": True} if login else {}
    if tls == "starttls":
        more |= {"tls_context": context, "require_starttls": True}
    controller = Controller(box, hostname="127.0.0.1", port=port, ssl_context=context if tls == "tls" else None, **more)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def mail(town: Town, port: int, **more: Any) -> Email:
    settings = {"host": NAME, "port": port, "sender": "till@store.example", "to": ("it@store.example",), "timeout": 5}
    return Email(kind="email", ca_file=town.ca_file, **(settings | more))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_arrives_encrypted_and_whole(security: str, town: Town) -> None:
    box = Postbox()
    nasty = msgspec.structs.replace(
        MESSAGE, subject="0042 断网\r\nBcc: x@evil.example " + "长" * 200, text="断网。\n.\nFrom x\n" + "é" * 5000
    )
    with post_office(town, box, tls=security) as port:
        for message in (MESSAGE, nasty):
            outcome = deliver(mail(town, port, security=security, to=("it@store.example", "b@store.example")), message)
            assert outcome.ok, outcome.detail
    first, second = box.mails
    assert box.readers == [["it@store.example", "b@store.example"]] * 2
    assert box.encrypted == [security == "starttls"] * 2  # by the other way the server takes nothing but TLS
    assert (first["Subject"], first["From"]) == (MESSAGE.subject, "till@store.example")
    assert first["To"] == "it@store.example, b@store.example"
    assert first.get_content().replace("\r\n", "\n").rstrip("\n") == MESSAGE.text
    assert (first["Auto-Submitted"], first["Importance"], first["X-Posagent-Key"]) == (
        "auto-generated",
        "high",
        MESSAGE.key,
    )
    assert second["Subject"].startswith("0042 断网 Bcc: x@evil.example 长长")
    assert second["Bcc"] is None
    assert second.get_content().replace("\r\n", "\n").rstrip("\n") == nasty.text


def test_every_attempt_at_one_message_is_the_same_mail(town: Town) -> None:
    box = Postbox()
    with post_office(town, box) as port:
        for message in (MESSAGE, MESSAGE, msgspec.structs.replace(MESSAGE, key="another")):
            assert deliver(mail(town, port), message).ok
    first, again, other = (one["Message-ID"] for one in box.mails)
    assert first == again != other


def test_mail_in_the_clear_only_where_the_settings_say_so(town: Town) -> None:
    box = Postbox()
    with post_office(town, box, tls="none") as port:
        refused = deliver(mail(town, port))
        assert refused.detail == "smtp.example does not offer STARTTLS; nothing was sent"
        assert (refused.ok, refused.permanent) == (False, False)
        assert box.mails == []
        assert deliver(mail(town, port, security="none")).ok
    assert box.encrypted == [False]


def test_a_login_with_the_password_from_its_place(town: Town) -> None:
    box = Postbox()
    with post_office(town, box, login=True) as port:
        assert deliver(mail(town, port, user="till", password=place())).ok
        wrong = deliver(mail(town, port, user="till", password=place("WRONG")), WRONG="not-the-password")
        without = deliver(mail(town, port))
    assert box.logged_in == [True]
    assert (wrong.ok, wrong.permanent) == (False, True)
    assert "535" in wrong.detail
    assert (without.ok, without.permanent) == (False, True)


@pytest.mark.parametrize(
    ("says", "permanent"),
    [
        ({"RCPT": "550 no such user"}, True),
        ({"RCPT": "450 mailbox busy"}, False),
        ({"RCPT": "452 mailbox full"}, False),
        ({"DATA": "554 looks like spam"}, True),
        ({"DATA": "451 try later"}, False),
        ({"DATA": "552 too big"}, True),
    ],
)
def test_what_the_server_refuses(says: dict[str, str], permanent: bool, town: Town) -> None:
    with post_office(town, Postbox(**says)) as port:
        outcome = deliver(mail(town, port))
    assert (outcome.ok, outcome.permanent) == (False, permanent)
    [reply] = says.values()
    assert reply.partition(" ")[2] in outcome.detail


def test_a_reader_who_is_refused_is_told_of(town: Town) -> None:
    box = Postbox(**{"RCPT gone@store.example": "550 no such user"})
    with post_office(town, box) as port:
        outcome = deliver(mail(town, port, to=("it@store.example", "gone@store.example")))
    assert outcome.ok
    assert outcome.detail == "but not to gone@store.example: 550 no such user"
    assert box.readers == [["it@store.example"]]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_bad_certificate_gets_no_mail_and_no_password(security: str, town: Town) -> None:
    for leaf, word in (
        (town.stranger.issue_cert(NAME), "not trusted"),
        (town.authority.issue_cert("other.example"), "not trusted"),
        (town.authority.issue_cert(NAME, not_after=talk.days(-1)), "expired"),
    ):
        box = Postbox()
        with post_office(town, box, tls=security, leaf=leaf) as port:
            outcome = deliver(mail(town, port, security=security, user="till", password=place()))
        assert box.mails == []
        assert (outcome.ok, outcome.permanent) == (False, False)
        assert word in outcome.detail


def drip(connection: socket.socket, over: threading.Event) -> None:
    with contextlib.suppress(OSError):
        for _ in range(200):
            connection.sendall(b"220-x\r\n"[:1])
            if over.wait(0.05):
                return


def stuck_after(*replies: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Answer so many commands, then none."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        for reply in replies:
            connection.sendall(reply)
            connection.recv(65536)
        over.wait(10)

    return serve


def goes_after(*replies: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def serve(connection: socket.socket, _over: threading.Event) -> None:
        for reply in replies:
            connection.sendall(reply)
            connection.recv(65536)
        connection.close()

    return serve


HELLO, EHLO, OK = b"220 smtp.example ESMTP\r\n", b"250 smtp.example\r\n", b"250 OK\r\n"
FAULTS = {
    "says nothing": (talk.stall, "in time"),
    "drips": (drip, "in time"),
    "hangs after its greeting": (stuck_after(HELLO), "in time"),
    "hangs after the mail": (stuck_after(HELLO, EHLO, OK, OK, b"354 go\r\n"), "in time"),
    "closes at once": (talk.close_at_once, "broke off"),
    "closes after its greeting": (goes_after(HELLO), "broke off"),
    "closes in the mail": (goes_after(HELLO, EHLO, OK, OK, b"354 go\r\n"), "broke off"),
    "speaks HTTP": (talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ""),
    "is busy": (talk.say(b"421 too many connections\r\n"), "421"),
    "answers nonsense": (talk.say(b"\xff\xfe\x00\r\n" * 50), ""),
    "answers one endless line": (talk.say(b"2" * 100_000), ""),
}


@pytest.mark.parametrize("how", FAULTS)
def test_a_server_that_fails_on_the_way_is_passing_and_keeps_nobody_waiting(how: str, town: Town) -> None:
    server, word = FAULTS[how]
    with talk.serving(server) as (port, _):
        began = time.monotonic()
        outcome = deliver(mail(town, port, security="none", timeout=1))
    assert time.monotonic() - began < 1.6
    assert (outcome.ok, outcome.permanent) == (False, False), outcome.detail
    assert word in outcome.detail


@pytest.mark.parametrize("reply", [b"221 bye\r\n", b"421 whatever\r\n", b"", b"500 what?\r\n"])
def test_mail_that_was_taken_is_delivered_however_the_talk_ends(reply: bytes, town: Town) -> None:
    def serve(connection: socket.socket, over: threading.Event) -> None:
        for said in (HELLO, EHLO, OK, OK, b"354 go\r\n", OK):
            connection.sendall(said)
            connection.recv(65536)
        connection.sendall(reply)
        if not reply:
            over.wait(10)

    with talk.serving(serve) as (port, _):
        outcome = deliver(mail(town, port, security="none", timeout=1))
    assert outcome.ok, outcome.detail


def test_nobody_listens(town: Town) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = deliver(mail(town, port))
    assert outcome.detail == f"cannot reach smtp.example port {port}: 127.0.0.1 refused"


def test_no_name_is_asked_for_but_the_servers(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """smtplib by itself asks the resolver for this PC's own name, without a deadline."""
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("the resolver was asked"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("the resolver was asked"))
    with talk.serving(talk.say(b"421 busy\r\n")) as (port, _):
        assert "421" in deliver(mail(town, port)).detail


def test_the_context_of_mail_is_as_strict_as_that_of_the_probes(town: Town) -> None:
    from probes.host import tls

    context = tls.context(town.ca_file)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
