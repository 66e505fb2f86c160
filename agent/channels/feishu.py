"""How does a robot in a Feishu group say it? https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

from agent.channels import marks, web
from agent.channels.errand import Errand, fitting
from agent.config.channels import Feishu
from agent.outcome import Outcome

MOST_BYTES = 20000
COLOURS = {"critical": "red", "warning": "orange", "info": "blue"}

_judge = web.service_judge(
    "code",
    "msg",
    words={
        19001: "the robot's address is wrong, or the robot was removed",
        19021: "the secret of `sign` is wrong, or this PC's clock is",
        19022: "the robot's security settings do not take this address of yours",
        19024: "the robot's security settings ask for a keyword",
    },
    busy={11232: 60.0, 11233: 60.0},
    clock=19021,
)


def deliver(errand: Errand[Feishu]) -> Outcome:
    """Tell the group; the robot may speak a hundred times a minute."""
    body = _body(errand)
    if "sign" in errand.secrets:
        at = int(time.time())
        body = {"timestamp": str(at), "sign": signature(errand.secrets["sign"].strip(), at), **body}
    return web.post(errand, errand.secrets["url"].strip(), body, _judge)


def signature(secret: str, at: int) -> str:
    """Feishu's own way: time and secret are the key, and nothing is signed with it."""
    return base64.b64encode(hmac.new(f"{at}\n{secret}".encode(), b"", hashlib.sha256).digest()).decode()


def _body(errand: Errand[Feishu]) -> dict[str, Any]:
    message = errand.message
    if errand.channel.format == "text":
        return fitting(lambda text: {"msg_type": "text", "content": {"text": text}}, errand.text, MOST_BYTES)
    return fitting(lambda text: _card(errand, text), message.markdown, MOST_BYTES)


def _card(errand: Errand[Feishu], text: str) -> dict[str, Any]:
    message = errand.message
    colour = "green" if message.what == "resolved" else COLOURS.get(message.severity, "blue")
    card = {
        "config": {"wide_screen_mode": True},
        "header": {"title": {"tag": "plain_text", "content": message.subject}, "template": colour},
        "elements": [{"tag": "markdown", "content": marks.for_cards(text)}],
    }
    return {"msg_type": "interactive", "card": card}
