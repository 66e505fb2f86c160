"""What did a web server answer, or why did none, in words for people? For whatever leaves this PC over HTTPS."""

from __future__ import annotations

import email.utils
import time

from probes.host import http, tcp, tls
from probes.host.http import Answer

LONGEST_WAIT_S = 86400.0


def said(answer: Answer, most: int = 200) -> str:
    """What a server says, shortened for a person to read. A page of HTML says nothing."""
    text = answer.body[:4000].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else text[:most]


def is_page(answer: Answer) -> bool:
    """Whether it answered with a page for people."""
    return answer.body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def retry_after(answer: Answer) -> float | None:
    """How long the server asks us to wait, in seconds or until a date by its own clock."""
    text = answer.retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_WAIT_S)
    until, now = _moment(text), _moment(answer.date)
    if until is None:
        return None
    return max(0.0, min(until - (time.time() if now is None else now), LONGEST_WAIT_S))


def _moment(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def leads_somewhere(url: str) -> bool:
    """Whether it is a URL at all."""
    try:
        http.site(url)
    except ValueError:
        return False
    return not any(char.isspace() for char in url)


def broke_off(answer: Answer) -> bool:
    """Whether it has no proper end."""
    return bool(answer.error or answer.odd_head)


def in_short(answer: Answer) -> str:
    """Its status, or what is the matter with it."""
    if answer.timed_out:
        return f"answered {answer.status}, but no end came in time" if answer.status else "no answer in time"
    if broke_off(answer):
        return f"the answer {answer.status} broke off" if answer.status else f"no answer ({answer.error})"
    return f"answered {answer.status} {answer.phrase}".rstrip()


def reach_words(reach: tcp.Reach) -> str:
    """Why there is no connection."""
    if reach.unresolved:
        return f"cannot reach {reach.host}: {reach.unresolved_text}"
    tried = dict.fromkeys(f"{one.address} {one.outcome}" for one in reach.attempts)
    return f"cannot reach {reach.host} port {reach.port}: {', '.join(tried) or 'no address'}"


def handshake_words(handshake: tls.Handshake, name: str) -> str:
    """Why there is no TLS session."""
    if handshake.outcome == tls.UNTRUSTED:
        return f"the certificate that {name} shows is not trusted: {handshake.detail}"
    if handshake.outcome == tls.OK:
        return f"{name} wants a certificate of ours"
    return f"no TLS session with {name}: {handshake.detail or handshake.outcome}"
