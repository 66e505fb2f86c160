"""How does a robot in a WeCom group say it? https://developer.work.weixin.qq.com/document/path/91770"""

from __future__ import annotations

from typing import Any

from agent.channels import marks, web
from agent.channels.errand import Errand, fitted
from agent.config.channels import WeCom
from agent.outcome import Outcome

TEXT_BYTES, MARKDOWN_BYTES = 2048, 4096

_judge = web.service_judge(
    "errcode",
    "errmsg",
    words={93000: "the key in the robot's address is wrong, or the robot was removed", 40058: "a bad parameter"},
    busy={45009: 60.0, -1: None, 45033: 60.0},
)


def deliver(errand: Errand[WeCom]) -> Outcome:
    """Tell the group; the robot may speak twenty times a minute."""
    return web.post(errand, errand.secrets["url"].strip(), _body(errand), _judge)


def _body(errand: Errand[WeCom]) -> dict[str, Any]:
    mention = errand.channel.mention
    if errand.channel.format == "text":
        content: dict[str, Any] = {"content": fitted(errand.text, TEXT_BYTES, of_bytes=True)}
        phones = [name for name in mention if name.isdecimal() and len(name) >= 11]
        names = [name for name in mention if name not in phones]
        content |= {"mentioned_list": names} if names else {}
        content |= {"mentioned_mobile_list": phones} if phones else {}
        return {"msgtype": "text", "text": content}
    called = "".join(f"\n<@{name}>" for name in mention)
    text = fitted(marks.without_tails(errand.markdown), MARKDOWN_BYTES - len(called.encode()), of_bytes=True)
    return {"msgtype": "markdown", "markdown": {"content": text + called}}
