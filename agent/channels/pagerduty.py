"""How does an incident open and close in PagerDuty? https://developer.pagerduty.com/docs/events-api-v2-overview

One `dedup_key` for all notices of one incident: reminders do not open it anew, and its end resolves it.
"""

from __future__ import annotations

from typing import Any

from agent.channels import web
from agent.channels.errand import Errand, fitted
from agent.config.channels import PagerDuty
from agent.outcome import Outcome, delivered, failed, refused
from probes.host.http import Answer

RESOLVING = ("resolved", "joined")
SUMMARY, DEDUP = 1024, 255


def deliver(errand: Errand[PagerDuty]) -> Outcome:
    """Trigger or resolve."""
    return web.post(errand, errand.channel.url, _body(errand), _judge)


def _body(errand: Errand[PagerDuty]) -> dict[str, Any]:
    message = errand.message
    what = ["drill"] if message.what == "drill" else []  # an exercise never touches what is real
    places = [errand.fact(name) for name in ("store", "terminal")]
    event: dict[str, Any] = {
        "routing_key": errand.secrets["routing_key"].strip(),
        "event_action": "resolve" if message.what in RESOLVING else "trigger",
        "dedup_key": "/".join(["posagent", *what, *places, errand.fact("incident") or message.key])[:DEDUP],
    }
    if event["event_action"] == "resolve":
        return event
    severity = message.severity if message.severity in ("critical", "warning", "error", "info") else "error"
    payload = {
        "summary": fitted(message.subject, SUMMARY),
        "source": " ".join(place for place in places if place) or "posagent",
        "severity": severity,
        "component": errand.fact("cause") or None,
        "group": places[0] or None,
        "class": errand.fact("party") or None,
        "custom_details": {"text": message.text, **message.data},
    }
    return event | {
        "client": "posagent",
        "payload": {key: value for key, value in payload.items() if value is not None},
    }


def _judge(answer: Answer) -> Outcome | None:
    """202 and "success"; what is wrong with an event stands in `errors`."""
    found = web.read_json(answer)
    errors = found.get("errors")
    listed = [str(one) for one in errors] if isinstance(errors, list) else []
    detail = "; ".join([str(found.get("message", "")), *listed]).strip("; ")
    if answer.status < 400:
        return delivered() if found.get("status") == "success" else failed(f"answered {answer.status}: {detail}")
    return refused(f"answered 400: {detail}") if answer.status == 400 else web.by_status(answer, detail)
