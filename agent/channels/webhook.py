"""How does a web server of one's own get a message, and how does it know that it is from us?

The signature is that of standardwebhooks.com: HMAC-SHA256 over id, time and body. The id is the message's key, the same
for every attempt: a receiver that has seen it has the message already.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from string import Template
from urllib.parse import quote_plus

from agent.answers import said
from agent.channels import web
from agent.channels.errand import Errand
from agent.config.channels import Webhook
from agent.config.secret import Secret
from agent.outcome import Outcome, failed
from probes.host.http import Answer, Request

_FACTS = ("store", "terminal", "incident", "cause", "party", "verdict", "url")
_PREFIX = "whsec_"


def deliver(errand: Errand[Webhook]) -> Outcome:
    """Send the message as the settings say."""
    channel = errand.channel
    body = _body(errand)
    headers = {"Content-Type": channel.content_type, "Idempotency-Key": _header_text(errand.message.key)}
    if "token" in errand.secrets:
        token = errand.secrets["token"].strip()
        headers["Authorization"] = token if " " in token else f"Bearer {token}"
    for name, value in channel.headers.items():
        headers[name] = errand.secrets[f"headers.{name}"] if isinstance(value, Secret) else value
    if "signature" in errand.secrets:
        headers |= signed(errand.secrets["signature"].strip(), headers["Idempotency-Key"], int(time.time()), body)
    request = Request(errand.value("url") or "", channel.method, headers, body)
    return web.ask(errand, request, lambda answer: _judge(answer, channel.expect))


def signed(secret: str, key: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks."""
    content = b".".join((key.encode(), str(at).encode(), body))
    code = base64.b64encode(hmac.new(_key_of(secret), content, hashlib.sha256).digest()).decode()
    return {"webhook-id": key, "webhook-timestamp": str(at), "webhook-signature": f"v1,{code}"}


def _key_of(secret: str) -> bytes:
    """What follows whsec_ is base64; any other secret is its own key."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def _body(errand: Errand[Webhook]) -> bytes:
    channel, values = errand.channel, errand.json()
    if channel.template is None:
        return json.dumps(values, ensure_ascii=False).encode()
    values |= {name: errand.fact(name) for name in _FACTS}
    del values["schema"]
    content_type = channel.content_type.lower()
    if "json" in content_type:
        filled = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    else:
        filled = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        if "urlencoded" in content_type:
            filled = {name: quote_plus(value) for name, value in filled.items()}
    return Template(channel.template).substitute(filled).encode()


def _header_text(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)[:200]


def _judge(answer: Answer, expect: str | None) -> Outcome | None:
    """A 2xx that says no is a no."""
    if answer.status >= 400:
        return None
    found = web.read_json(answer)
    if expect is not None and not re.search(expect, answer.body.decode("utf-8", "replace")):
        return failed(f"answered {answer.status} without the text that `expect` asks for: {said(answer)}")
    if found.get("ok") is False or found.get("success") is False or found.get("errcode") not in (None, 0):
        return failed(f"answered {answer.status}, but with: {said(answer)}")
    return None
