"""How does a channel over HTTPS ask, and what do the answers mean?

One request, nothing followed, TLS always verified, everything before the deadline. A 2xx is a success only if the
service's own `judge` finds none of its errors in it. What the receiver would refuse again is permanent; what a network,
a clock, a portal or a busy server may have caused is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from agent.answers import broke_off, handshake_words, in_short, leads_somewhere, reach_words, retry_after, said
from agent.channels.errand import Errand
from agent.config.channels import WebChannel
from agent.outcome import Outcome, delivered, failed, refused
from probes.host import http
from probes.host.http import Answer, Exchange, Request

PASSING = frozenset({408, 421, 423, 425, 429})
"""The refusals that time mends; so does everything from 500 on."""

Judge = Callable[[Answer], Outcome | None]
"""What a service's own answer means; None where its status says it all."""


def post(errand: Errand[WebChannel], url: str, body: object, judge: Judge | None = None) -> Outcome:
    """Send JSON and understand the answer."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return ask(errand, Request(url, "POST", headers, json.dumps(body, ensure_ascii=False).encode()), judge)


def ask(errand: Errand[WebChannel], request: Request, judge: Judge | None = None) -> Outcome:
    """Send one request and understand the answer."""
    for name, value in request.headers.items():
        if any(not 32 <= ord(char) <= 255 or ord(char) == 127 for char in value):
            return refused(f"the header {name} holds a line break or a character that headers cannot hold")
    proxy = errand.value("proxy")
    for what, where in (("url", request.url), ("proxy", proxy)):
        if where is not None and not leads_somewhere(where):
            return refused(f"the secret of `{what}` is no URL such as https://host/path")
    return _meaning(http.ask(errand.host, request, errand.channel.ca_file, proxy), request, judge)


def read_json(answer: Answer) -> dict[str, Any]:
    """The object in an answer; an empty one where there is none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def by_status(answer: Answer, detail: str = "") -> Outcome:
    """What a status above 399 means."""
    text = f"answered {answer.status}" + (f" {answer.phrase}" if answer.phrase else "")
    text += f": {detail}" if detail else ""
    if answer.status in PASSING or answer.status >= 500:
        return failed(text, retry_after(answer))
    return refused(text)


def _meaning(exchange: Exchange, request: Request, judge: Judge | None) -> Outcome:
    name, answer, handshake = urlsplit(request.url).hostname or "", exchange.answer, exchange.handshake
    if exchange.proxy_answer is not None:
        return failed(f"the proxy {exchange.reach.host} gave no way through: {in_short(exchange.proxy_answer)}")
    if handshake is not None and not handshake.complete:
        return failed(handshake_words(handshake, name))
    if answer is None:
        return failed(reach_words(exchange.reach))
    if answer.status == 0 or answer.timed_out or (broke_off(answer) and answer.status < 400):
        return failed(f"{name}: {in_short(answer)}")
    return _answered(answer, request, judge)


def _answered(answer: Answer, request: Request, judge: Judge | None) -> Outcome:
    """What a whole answer means."""
    if 300 <= answer.status < 400:
        return _redirected(answer, request)
    outcome = judge(answer) if judge is not None else None
    if outcome is not None:
        return outcome
    return by_status(answer, said(answer)) if answer.status >= 400 else delivered(f"answered {answer.status}")


def _redirected(answer: Answer, request: Request) -> Outcome:
    """A lasting redirect over TLS is the server's own word; any other may be a portal that catches what comes."""
    to = urlsplit(answer.location).hostname or "itself"
    text = f"answered {answer.status}: leads on to {to}, which is not followed; set the address it leads to"
    lasting = answer.status in (301, 308) and request.url.lower().startswith("https:")
    return refused(text) if lasting else failed(text)


def service_judge(
    code: str, text: str, words: Mapping[int, str], busy: Mapping[int, float | None], clock: int | None = None
) -> Judge:
    """For the robots that answer 200 and a number: 0 is well, `busy` numbers pass, `clock` may be our clock's fault."""

    def judge(answer: Answer) -> Outcome | None:
        found = read_json(answer)
        number = found.get(code)
        if isinstance(number, bool) or not isinstance(number, int):
            return (
                None if answer.status >= 400 else failed(f"answered {answer.status} without `{code}`: {said(answer)}")
            )
        if number == 0:
            return delivered() if answer.status < 400 else None
        detail = f"{code} {number}: {found.get(text, '')}"
        if number in busy:
            return failed(detail, busy[number] if busy[number] is not None else retry_after(answer))
        detail += f" ({words[number]})" if number in words else ""
        if number == clock or answer.status >= 500 or answer.status == 429:
            return failed(detail, retry_after(answer))
        return refused(detail)

    return judge
