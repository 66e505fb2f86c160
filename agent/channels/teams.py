"""How does a Teams workflow take it? As an adaptive card:
https://learn.microsoft.com/power-automate/teams/create-adaptive-cards"""

from __future__ import annotations

from typing import Any

from agent.channels import marks, web
from agent.channels.errand import Errand, fitted
from agent.channels.outcome import Outcome, failed
from agent.config.channels import Teams
from probes.host.http import Answer

MOST_BYTES = 20000
"""Of 28 KB for the whole message."""
COLOURS = {"critical": "Attention", "warning": "Warning", "info": "Default"}


def deliver(errand: Errand[Teams]) -> Outcome:
    """Hand the card to the workflow, which posts it."""
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": _blocks(errand),
        "msteams": {"width": "Full"},
    }
    card = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    body = {"type": "message", "attachments": [card]}
    return web.post(errand, errand.secrets["url"].strip(), body, _judge)


def _blocks(errand: Errand[Teams]) -> list[dict[str, Any]]:
    message = errand.message
    colour = "Good" if message.what == "resolved" else COLOURS.get(message.severity, "Default")
    title = {"type": "TextBlock", "text": message.subject, "weight": "Bolder", "size": "Medium", "color": colour}
    if errand.channel.format == "text":
        texts = fitted(message.text, MOST_BYTES, of_bytes=True).replace("\n", "\n\n").split("\n\n\n\n")
    else:
        texts = marks.for_teams(fitted(message.markdown, MOST_BYTES, of_bytes=True))
    return [title | {"wrap": True}, *({"type": "TextBlock", "text": text, "wrap": True} for text in texts)]


def _judge(answer: Answer) -> Outcome | None:
    """A workflow answers 202 and nothing; the connectors before it answered 200 to what Teams then refused."""
    text = web.said(answer)
    if answer.status < 400 and ("error" in text.lower() or "failed" in text.lower()):
        return failed(f"answered {answer.status}, but with: {text}")
    return None
