"""Doubles of the services that take messages: real sockets, real TLS, and the answers that each one documents."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

from agent.channels import Outcome, send
from agent.config.model import Channel
from agent.config.secret import Secret
from agent.telling.message import Message
from tests.probes import talk

SECRET = "hunter2-7f3a9c51"
MESSAGE = Message(
    key="20261122-0901-lan/opened/1",
    what="opened",
    subject="0042 T01: card payments down: network cable unplugged",
    text="Network cable unplugged.\nSince 09:01.\n\n1. Push the cable in until it clicks.\nCall: 10000 <isp> & co",
    markdown="## Network cable unplugged\n\n**Since** 09:01, `eth0`\n\n- Push the cable in\n- Call [the ISP](https://isp.example/a?b=1&c=2)",
    severity="critical",
    data={
        "incident": "20261122-0901-lan",
        "cause": "lan.cable_unplugged",
        "party": "store",
        "verdict": "down",
        "store": "0042",
        "terminal": "T01",
    },
)
GONE = Message(
    key="20261122-0901-lan/resolved",
    what="resolved",
    subject="0042 T01: over",
    text="It is over.",
    markdown="It is over.",
    severity="info",
    data=MESSAGE.data,
)


@dataclass
class Asked:
    """One request that a double got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answering = Callable[[Asked], bytes]


def answer(status: str, body: bytes | str | dict[str, Any] = b"", *headers: str) -> bytes:
    """An HTTP answer."""
    if isinstance(body, dict):
        body, headers = json.dumps(body), ("Content-Type: application/json", *headers)
    coded = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(coded)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + coded


def always(reply: bytes) -> Answering:
    """The same, whatever is asked."""
    return lambda _asked: reply


@dataclass
class Double:
    """One server: where it is, and what it was asked."""

    port: int
    name: str
    ca_file: str
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address by its own name."""
        return f"https://{self.name}:{self.port}"


class Town:
    """A CA, and servers of any name on loopback that have its certificates."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)

    @contextlib.contextmanager
    def serving(
        self, name: str, answering: Answering | talk.Talk, *, raw: bool = False, leaf: trustme.LeafCert | None = None
    ) -> Iterator[Double]:
        """A server called `name`. `raw`: it is given the connection itself, after the handshake."""
        context = talk.server_context(leaf or self.authority.issue_cert(name))
        double = Double(0, name, self.ca_file)

        def serve(connection: socket.socket, over: threading.Event) -> None:
            with context.wrap_socket(connection.dup(), server_side=True) as wrapped:
                asked = read_request(wrapped)
                if asked is None:
                    return
                double.asked.append(asked)
                if raw:
                    answering(wrapped, over)  # type: ignore[call-arg, arg-type]
                else:
                    wrapped.sendall(answering(asked))  # type: ignore[call-arg, arg-type]
                with contextlib.suppress(OSError, ssl.SSLError):
                    wrapped.unwrap()

        with talk.serving(serve) as (port, _):
            double.port = port
            yield double


def read_request(connection: socket.socket) -> Asked | None:
    """A whole request."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return None
        head += piece
    top, _, body = head.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    return Asked(method, target, headers, body)


def deliver(channel: Channel, message: Message = MESSAGE, **env: str) -> Outcome:
    """Send, and hold what every delivery must keep: in time, without a secret, on one line."""
    began = time.monotonic()
    outcome = send(channel, message, env={"SECRET": SECRET, **env})
    assert time.monotonic() - began < channel.timeout + 0.5
    assert 0 <= outcome.took_s <= channel.timeout + 0.5
    said = repr(outcome) + repr(channel)
    for secret in (SECRET, *env.values()):
        assert secret not in said
    assert "own fault" not in outcome.detail
    assert "\n" not in outcome.detail
    return outcome


def place(name: str = "SECRET") -> Secret:
    """A secret in the environment."""
    return Secret(env=name)


# ---- what the services document ----


def wecom(asked: Asked) -> bytes:
    """https://developer.work.weixin.qq.com/document/path/91770"""

    def said(code: int, text: str) -> bytes:
        return answer("200 OK", {"errcode": code, "errmsg": text})

    if asked.path != "/cgi-bin/webhook/send" or asked.query.get("key") != SECRET:
        return said(93000, f"invalid webhook url, hint: [{asked.target}]")
    if not asked.headers["content-type"].startswith("application/json") or asked.method != "POST":
        return said(40008, "invalid message type")
    body = asked.json
    most = {"text": 2048, "markdown": 4096}.get(body.get("msgtype"))
    if most is None:
        return said(40008, "invalid message type")
    content = body[body["msgtype"]]["content"]
    if not content:
        return said(44004, "text content is empty")
    return said(40058, "markdown.content exceed max length") if len(content.encode()) > most else said(0, "ok")


def dingtalk(asked: Asked, secret: str = "SEC" + SECRET, now: Callable[[], float] = time.time) -> bytes:
    """https://open.dingtalk.com/document/robots/custom-robot-access"""

    def said(code: int, text: str) -> bytes:
        return answer("200 OK", {"errcode": code, "errmsg": text})

    if asked.path != "/robot/send" or asked.query.get("access_token") != SECRET:
        return said(300001, "token is not exist")
    at = asked.query.get("timestamp", "0")
    if abs(int(at) / 1000 - now()) > 3600:
        return said(310000, "invalid timestamp")
    code = hmac.new(secret.encode(), f"{at}\n{secret}".encode(), hashlib.sha256).digest()
    if asked.query.get("sign") != base64.b64encode(code).decode():
        return said(310000, "sign not match")
    body = asked.json
    if body.get("msgtype") == "markdown":
        taken = bool(body["markdown"].get("title")) and bool(body["markdown"].get("text"))
    else:
        taken = body.get("msgtype") == "text" and bool(body["text"].get("content"))
    return said(0, "ok") if taken and len(asked.body) <= 20000 else said(400105, "unsupported msgtype")


def feishu(asked: Asked, secret: str = "SIGN" + SECRET) -> bytes:
    """https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot"""

    def said(code: int, text: str) -> bytes:
        return answer("200 OK", {"code": code, "msg": text, "data": {}})

    if asked.path != f"/open-apis/bot/v2/hook/{SECRET}":
        return said(19001, "param invalid: incoming webhook access token invalid")
    body = asked.json
    at = body.get("timestamp", "0")
    code = base64.b64encode(hmac.new(f"{at}\n{secret}".encode(), digestmod=hashlib.sha256).digest()).decode()
    if body.get("sign") != code or abs(int(at) - time.time()) > 3600:
        return said(19021, "sign match fail or timestamp is not within one hour from current time")
    if len(asked.body) > 20 * 1024:
        return said(9499, "Bad Request: too large")
    if body.get("msg_type") == "text" and body["content"]["text"]:
        return said(0, "success")
    card = body.get("card", {})
    is_card = body.get("msg_type") == "interactive" and card["header"]["title"]["tag"] == "plain_text"
    return said(0, "success") if is_card and card["elements"][0]["tag"] == "markdown" else said(9499, "Bad Request")


def slack(asked: Asked) -> bytes:
    """https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""
    if asked.path != f"/services/T000/B000/{SECRET}":
        return answer("404 Not Found", "no_service")
    body = asked.json
    if not isinstance(body.get("text"), str) or not body["text"]:
        return answer("400 Bad Request", "no_text")
    return answer("200 OK", "ok")


def teams(asked: Asked) -> bytes:
    """https://learn.microsoft.com/power-automate/teams/create-adaptive-cards"""
    if asked.query.get("sig") != SECRET:
        error = {"code": "DirectApiAuthorizationRequired", "message": "The request must be authenticated"}
        return answer("401 Unauthorized", {"error": error})
    body = asked.json
    [card] = body["attachments"]
    fits = (
        body["type"] == "message"
        and card["contentType"] == "application/vnd.microsoft.card.adaptive"
        and card["content"]["type"] == "AdaptiveCard"
        and all(block["type"] == "TextBlock" and block["text"] for block in card["content"]["body"])
        and len(asked.body) <= 28 * 1024
    )
    return answer("202 Accepted") if fits else answer("400 Bad Request", {"error": {"code": "InvalidRequestContent"}})


TELEGRAM_TAGS = {"<b>", "</b>", "<code>", "</code>", "</a>"}


def telegram(asked: Asked) -> bytes:
    """https://core.telegram.org/bots/api#sendmessage"""

    def no(status: str, text: str, **more: Any) -> bytes:
        found = {"ok": False, "error_code": int(status[:3]), "description": text, **more}
        return answer(status, found)

    if asked.path != f"/bot123:{SECRET}/sendMessage":
        return no("401 Unauthorized", "Unauthorized")
    body = asked.json
    if body.get("chat_id") != "-100200":
        return no("400 Bad Request", "Bad Request: chat not found")
    text = body.get("text", "")
    if not text or len(text) > 8192:
        return no("400 Bad Request", "Bad Request: message is too long")
    if body.get("parse_mode") == "HTML":
        import re

        tags = re.findall(r"<[^>]*>", text)
        opened = [tag for tag in tags if not tag.startswith("</")]
        known = all(tag in TELEGRAM_TAGS or re.fullmatch(r'<a href="[^"<>]*">', tag) for tag in tags)
        if not known or len(opened) * 2 != len(tags) or re.search(r"&(?!(amp|lt|gt|quot);)", text):
            return no("400 Bad Request", "Bad Request: can't parse entities")
    return answer("200 OK", {"ok": True, "result": {"message_id": 7}})


def pagerduty(asked: Asked) -> bytes:
    """https://developer.pagerduty.com/docs/send-alert-event"""
    body, errors = asked.json, []
    if body.get("routing_key") != SECRET:
        errors.append("'routing_key' is invalid")
    if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        errors.append("'event_action' is invalid")
    if body.get("event_action") == "trigger":
        payload = body.get("payload", {})
        blank = [name for name in ("summary", "source", "severity") if not payload.get(name)]
        errors += [f"'payload.{name}' is missing or blank" for name in blank]
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            errors.append(
                "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
            )
    elif not body.get("dedup_key"):
        errors.append("'dedup_key' is missing or blank")
    if errors or asked.path != "/v2/enqueue":
        found = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        return answer("400 Bad Request", found)
    return answer("202 Accepted", {"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]})
