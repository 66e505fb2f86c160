"""How does a robot in a DingTalk group say it, and prove that it may?

https://open.dingtalk.com/document/robots/custom-robot-access
The signature holds the time, and DingTalk takes none that is an hour off: where it is refused, this PC's clock may be
wrong.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any
from urllib.parse import quote_plus

from agent.channels import marks, web
from agent.channels.errand import Errand, fitting
from agent.config.channels import DingTalk
from agent.outcome import Outcome

MOST_BYTES = 20000
_judge = web.service_judge(
    "errcode",
    "errmsg",
    words={
        310000: "the robot's security settings: signature, keyword or address; or this PC's clock is wrong",
        300001: "the access_token in the robot's address is wrong",
    },
    busy={130101: 60.0, 410100: 60.0, 660026: 60.0, -1: None},
    clock=310000,
)


def deliver(errand: Errand[DingTalk]) -> Outcome:
    """Tell the group; the robot may speak twenty times a minute."""
    url = errand.secrets["url"].strip()
    if "sign" in errand.secrets:
        url += ("&" if "?" in url else "?") + signature(errand.secrets["sign"].strip(), int(time.time() * 1000))
    return web.post(errand, url, _body(errand), _judge)


def signature(secret: str, at_ms: int) -> str:
    """What is added to the address: `timestamp` and `sign`."""
    code = hmac.new(secret.encode(), f"{at_ms}\n{secret}".encode(), hashlib.sha256).digest()
    return f"timestamp={at_ms}&sign={quote_plus(base64.b64encode(code))}"


def _body(errand: Errand[DingTalk]) -> dict[str, Any]:
    if errand.channel.format == "text":
        return fitting(lambda text: _text(errand, text), errand.text, MOST_BYTES)
    return fitting(lambda text: _markdown(errand, text), errand.markdown, MOST_BYTES)


def _text(errand: Errand[DingTalk], text: str) -> dict[str, Any]:
    called, at = _mention(errand)
    return {"msgtype": "text", "text": {"content": text + called}, "at": at}


def _markdown(errand: Errand[DingTalk], text: str) -> dict[str, Any]:
    called, at = _mention(errand)
    text = marks.for_dingtalk(text) + (f"\n\n{called.strip()}" if called else "")
    return {"msgtype": "markdown", "markdown": {"title": errand.message.subject, "text": text}, "at": at}


def _mention(errand: Errand[DingTalk]) -> tuple[str, dict[str, Any]]:
    """Who is called must stand in the text as well."""
    mention = errand.channel.mention
    phones = [name for name in mention if name != "@all"]
    called = "".join(f" @{phone}" for phone in phones)
    return called, {"atMobiles": phones, "isAtAll": "@all" in mention}
