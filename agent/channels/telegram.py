"""How does a bot of Telegram say it? https://core.telegram.org/bots/api#sendmessage"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from agent.answers import LONGEST_WAIT_S, said
from agent.channels import marks, web
from agent.channels.errand import Errand, fitted
from agent.config.channels import Telegram
from agent.outcome import Outcome, delivered, failed, refused
from probes.host.http import Answer

MOST = 4096
"""Characters, marks not counted."""


def deliver(errand: Errand[Telegram]) -> Outcome:
    """Write into the chat."""
    channel = errand.channel
    body: dict[str, Any] = {"chat_id": channel.chat, "link_preview_options": {"is_disabled": True}}
    if channel.thread is not None:
        body["message_thread_id"] = channel.thread
    if channel.format == "text":
        body["text"] = fitted(errand.text, MOST)
    else:
        body |= {"text": marks.for_telegram(fitted(errand.markdown, MOST)), "parse_mode": "HTML"}
    token = quote(errand.secrets["token"].strip(), safe=":")
    return web.post(errand, f"{channel.api.rstrip('/')}/bot{token}/sendMessage", body, _judge)


def _judge(answer: Answer) -> Outcome | None:
    found = web.read_json(answer)
    if found.get("ok") is True and answer.status < 400:
        return delivered()
    number = found.get("error_code", answer.status)
    extra = found.get("parameters")
    parameters: dict[str, Any] = extra if isinstance(extra, dict) else {}
    detail = f"answered {number}: {found.get('description') or said(answer)}"
    if "migrate_to_chat_id" in parameters:
        return refused(f'{detail}; set chat = "{parameters["migrate_to_chat_id"]}"')
    wait = parameters.get("retry_after")
    if isinstance(wait, (int, float)) and not isinstance(wait, bool):
        return failed(detail, min(max(0.0, float(wait)), LONGEST_WAIT_S))
    if found.get("ok") is False and number in (400, 401, 403, 404):
        return refused(detail)
    return None if answer.status >= 400 else failed(f"answered {answer.status}, but not ok: {said(answer)}")
