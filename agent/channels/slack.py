"""How does an incoming webhook of Slack take it? https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks

`text` alone and no blocks: Mattermost, Rocket.Chat and others take the same address form, and read only that.
"""

from __future__ import annotations

from agent.answers import said
from agent.channels import marks, web
from agent.channels.errand import Errand, fitted
from agent.config.channels import Slack
from agent.outcome import Outcome, delivered, failed
from probes.host.http import Answer

MOST = 12000


def deliver(errand: Errand[Slack]) -> Outcome:
    """Write into the webhook's channel."""
    if errand.channel.format == "text":
        body = {"text": marks.escaped_for_slack(fitted(errand.text, MOST)), "mrkdwn": False}
    else:
        body = {"text": marks.for_slack(fitted(errand.markdown, MOST))}
    return web.post(errand, errand.secrets["url"].strip(), body, _judge)


def _judge(answer: Answer) -> Outcome | None:
    """Slack says `ok` and its kin the same in JSON; its refusals are a status and a word."""
    if answer.status >= 400:
        return None
    found = web.read_json(answer)
    if answer.body.strip() == b"ok" or found.get("ok") is True or found.get("success") is True:
        return delivered()
    return failed(f"answered {answer.status}, but not ok: {said(answer)}")
