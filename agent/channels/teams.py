"""How does a Teams workflow take it? As an adaptive card:
https://learn.microsoft.com/power-automate/teams/create-adaptive-cards"""

from __future__ import annotations

from typing import Any

from agent.answers import said
from agent.channels import marks, web
from agent.channels.errand import Errand, fitting
from agent.config.channels import Teams
from agent.outcome import Outcome, failed
from probes.host.http import Answer

MOST_BYTES = 28000
COLOURS = {"critical": "Attention", "warning": "Warning", "info": "Default"}


def deliver(errand: Errand[Teams]) -> Outcome:
    """Hand the card to the workflow, which posts it."""
    message = errand.message
    whole = message.text if errand.channel.format == "text" else message.markdown
    body = fitting(lambda text: _card(errand, text), whole, MOST_BYTES)
    return web.post(errand, errand.secrets["url"].strip(), body, _judge)


def _card(errand: Errand[Teams], text: str) -> dict[str, Any]:
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": _blocks(errand, text),
        "msteams": {"width": "Full"},
    }
    card = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [card]}


def _blocks(errand: Errand[Teams], text: str) -> list[dict[str, Any]]:
    message = errand.message
    colour = "Good" if message.what == "resolved" else COLOURS.get(message.severity, "Default")
    title = {"type": "TextBlock", "text": message.subject, "weight": "Bolder", "size": "Medium", "color": colour}
    if errand.channel.format == "text":
        texts = [part.replace("\n", "\n\n") for part in text.split("\n\n")]
    else:
        texts = marks.for_teams(text)
    return [title | {"wrap": True}, *({"type": "TextBlock", "text": one, "wrap": True} for one in texts if one)]


def _judge(answer: Answer) -> Outcome | None:
    """A workflow answers 202 and nothing; the connectors before it answered 200 to what Teams then refused."""
    text = said(answer)
    if answer.status < 400 and ("error" in text.lower() or "failed" in text.lower()):
        return failed(f"answered {answer.status}, but with: {text}")
    return None
