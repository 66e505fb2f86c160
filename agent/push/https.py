"""How does a report reach a web server of the centre? docs/push.md tells whoever writes that server what it gets.

POST, gzipped JSON, nothing followed, TLS always verified; a connection is kept for a burst. What the receiver means by
its answer: 2xx and 409 taken, 429 and 503 later, what configuration may mend is tried again, other refusals are final.
A page for people in answer is no receiver's answer, whatever its status says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec

from agent.config.secret import CannotReadSecret, Secret, resolve_secret
from agent.outcome import Outcome, concealed, delivered, failed, refused
from agent.push.sender import Parcel, Sort, Till

if TYPE_CHECKING:
    from agent.config.push import HttpsPush
    from probes.host import Host
    from probes.host.http import Answer, Exchange, Session

MENDABLE = {
    401: "check `token` in [push.https]",
    403: "check `token` or the certificate in [push.https], and what the centre lets this till do",
    404: "check `url` in [push.https]",
    405: "check `url` in [push.https]",
    407: "check `proxy` in [push.https]",
    408: "",
    421: "check `url` in [push.https]",
    425: "",
    429: "the centre asks for patience",
}
"""Refusals that somebody can mend without a change here, and how."""
ENOUGH = 16 * 1024
"""Of an answer nobody needs more."""


class HttpsSender:
    """One connection to the receiver, as long as there is something to send."""

    sorts: frozenset[Sort] = frozenset({"report", "history", "gap"})
    attends = False

    def __init__(self, settings: HttpsPush, till: Till, env: Mapping[str, str] = os.environ) -> None:
        self._settings, self._env = settings, env
        self.where = _where(settings.url)
        self._till = f"{quote(till.store, safe='')}/{quote(till.terminal, safe='')}"
        self._session: tuple[object, Session] | None = None

    def send(self, parcel: Parcel) -> Outcome:
        """Bring it there, within `timeout`."""
        began = time.monotonic()
        secrets: list[str] = []
        outcome = self._try(parcel, began + float(self._settings.timeout), secrets)
        return msgspec.structs.replace(
            outcome, detail=concealed(outcome.detail, secrets), took_s=time.monotonic() - began
        )

    def attend(self) -> Outcome:
        """Nothing to look after."""
        return delivered()

    def close(self, grace: float) -> None:
        """End the connection."""
        if self._session is not None:
            self._session[1].close()
        self._session = None

    def _try(self, parcel: Parcel, ends: float, secrets: list[str]) -> Outcome:
        from probes.host import Host
        from probes.model import CannotAnswer, OutOfTime

        try:
            token, proxy = self._secret(self._settings.token, secrets), self._proxy(secrets)
            wrong = _unusable(token, proxy)
            if wrong:
                return failed(wrong)
            return self._ask(parcel, Host(ends=ends), token, proxy)
        except CannotReadSecret as error:
            return failed(f"{error}; mend it, or `token` and `proxy` in [push.https]")
        except OutOfTime:
            return failed("no answer in time; is it reachable from here?")
        except (CannotAnswer, OSError) as error:
            return failed(f"{error}; check the files that [push.https] names")

    def _secret(self, secret: Secret | None, secrets: list[str]) -> str:
        if secret is None:
            return ""
        secrets.append(found := resolve_secret(secret, self._env).strip())
        return found

    def _proxy(self, secrets: list[str]) -> str | None:
        proxy = self._settings.proxy
        return self._secret(proxy, secrets) if isinstance(proxy, Secret) else proxy

    def _ask(self, parcel: Parcel, host: Host, token: str, proxy: str | None) -> Outcome:
        from probes.host.http import Request

        headers = {
            "Connection": "keep-alive",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "Idempotency-Key": parcel.key,
            "Posagent-Kind": parcel.kind,
            "Posagent-Seq": str(parcel.seq),
            "Posagent-Till": self._till,
        }
        if token:
            headers["Authorization"] = token if " " in token else f"Bearer {token}"
        request = Request(self._settings.url, "POST", headers, parcel.packed, most=ENOUGH)
        return _meaning(self._to(proxy).ask(host, request), urlsplit(self._settings.url).hostname or "")

    def _to(self, proxy: str | None) -> Session:
        """The connection, unless what it was made with has changed on the disk."""
        from probes.host import tls
        from probes.host.http import Session

        settings, own = self._settings, None
        if settings.certificate_file is not None:
            own = tls.Certificate(settings.certificate_file, settings.key_file)
        made_with = (proxy, tls.context(settings.ca_file, own) if settings.url.startswith("https:") else None)
        if self._session is None or self._session[0] != made_with:
            self.close(0.0)
            self._session = (made_with, Session(settings.ca_file, proxy, own))
        return self._session[1]


def _where(url: str) -> str:
    """Without what may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _unusable(token: str, proxy: str | None) -> str:
    from agent.answers import leads_somewhere

    if any(not 32 <= ord(char) <= 255 or ord(char) == 127 for char in token):
        return "the secret of `token` holds a line break or a character that headers cannot hold; mend it"
    if proxy is not None and not leads_somewhere(proxy):
        return "the secret of `proxy` is no URL such as http://192.0.2.3:3128; mend it"
    return ""


def _meaning(exchange: Exchange, name: str) -> Outcome:
    """What came of it."""
    from agent.answers import broke_off, in_short, reach_words

    answer, handshake = exchange.answer, exchange.handshake
    if exchange.proxy_answer is not None:
        said = in_short(exchange.proxy_answer)
        return failed(f"the proxy {exchange.reach.host} gave no way through: {said}; check `proxy` in [push.https]")
    if handshake is not None and not handshake.complete:
        return failed(_no_session(exchange, name))
    if answer is None:
        return failed(f"{reach_words(exchange.reach)}; is the centre down, or does a firewall stand between?")
    if answer.status == 0 and exchange.handshake is not None and exchange.handshake.wants_certificate:
        return failed(f"{name} ended the connection ({in_short(answer)}); does it trust this till's certificate?")
    if answer.status == 0 or answer.timed_out or (broke_off(answer) and answer.status < 400):
        return failed(f"{in_short(answer)}; ask the centre")
    return _answered(answer)


def _no_session(exchange: Exchange, name: str) -> str:
    from agent.answers import handshake_words
    from probes.host import tls

    handshake = exchange.handshake
    if handshake is None:
        return ""
    if handshake.outcome == tls.OK:
        return f"{name} wants a certificate that it trusts; check `certificate_file` in [push.https]"
    step = "check `ca_file` and `url` in [push.https]" if handshake.outcome == tls.UNTRUSTED else "ask the centre"
    return f"{handshake_words(handshake, name)}; {step}"


def _answered(answer: Answer) -> Outcome:
    """What a whole answer means."""
    from agent.answers import is_page

    status, words = answer.status, f"answered {answer.status} {answer.phrase}".rstrip()
    if status == 409:
        return delivered(words)
    if status < 200:  # 103 and its like announce an answer; 101 speaks another protocol from here on
        return failed(f"{words}, which is no receiver's answer; check `url` in [push.https]")
    if status < 300 and (answer.cut or is_page(answer)):
        return failed(f"{words} with a page that no receiver sends; check `url` in [push.https]")
    if status < 300:
        return delivered(words)
    if status < 400:
        to = urlsplit(answer.location).hostname or "another place"
        return failed(f"{words}, which leads on to {to} and is not followed; set `url` in [push.https]")
    return _refusal(answer, words)


def _refusal(answer: Answer, words: str) -> Outcome:
    """Which refusals pass, and which are final."""
    from agent.answers import is_page, retry_after, said

    status = answer.status
    text = f"{words}: {told}" if (told := said(answer)) else words
    if status in MENDABLE or status >= 500:
        step = MENDABLE.get(status) or "ask the centre"
        return failed(f"{text}; {step}", retry_after(answer) if status in (429, 503) else None)
    if status == 400 and is_page(answer):  # not the receiver speaks, but a server in front of it: nginx says so of TLS
        return failed(f"{words}, from a server before the receiver; check the certificate and `url` in [push.https]")
    return refused(f"refused this report for good: {text}; ask the centre")
