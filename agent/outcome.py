"""What became of one delivery, and does saying so betray a secret? Never: every text for people passes `concealed`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit

import msgspec

from probes.redact import scrub

LONGEST = 300
HIDDEN = "(not shown)"
_SHORTEST_PIECE = 4
"""Pieces of a secret address shorter than this are too common to betray it."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one delivery. `permanent`: another try would be refused again. `detail` holds no secret."""

    ok: bool
    permanent: bool = False
    detail: str = ""
    retry_after: float | None = None
    """The seconds that the other side asks us to wait."""
    took_s: float = 0.0


def delivered(detail: str = "") -> Outcome:
    """It arrived."""
    return Outcome(ok=True, detail=detail)


def failed(detail: str, retry_after: float | None = None) -> Outcome:
    """It did not arrive; another try may."""
    return Outcome(ok=False, detail=detail, retry_after=retry_after)


def refused(detail: str) -> Outcome:
    """It did not arrive and never will: somebody must change something first."""
    return Outcome(ok=False, permanent=True, detail=detail)


def concealed(text: str, secrets: Iterable[str]) -> str:
    """One line of at most LONGEST characters without any of the secrets, parts of secret addresses, or card data."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    pieces = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    for piece in pieces:
        text = text.replace(piece, HIDDEN)
    for piece in pieces:  # somebody may have cut the text in the middle of one
        for size in range(min(len(piece) - 1, len(text)), _SHORTEST_PIECE - 1, -1):
            if text.endswith(piece[:size]):
                text = text[:-size] + HIDDEN
                break
    text = scrub(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _forms(secret: str) -> Iterator[str]:
    """A secret as it may turn up in a text: whole, in parts, and written as addresses and JSON write it."""
    for piece in (secret.strip(), *_parts(secret)):
        if piece:
            yield from (piece, quote(piece), quote(piece, safe=""), unquote(piece), json.dumps(piece)[1:-1])


def _parts(secret: str) -> Iterator[str]:
    if "://" not in secret:
        yield from (line for line in secret.split() if len(line) >= _SHORTEST_PIECE)
        return
    try:
        parts = urlsplit(secret.strip())
    except ValueError:
        return
    rest = f"{parts.path}?{parts.query}#{parts.fragment}"
    yield f"{parts.path}?{parts.query}"
    for piece in (parts.username or "", parts.password or "", *_words(rest)):
        if len(piece) >= _SHORTEST_PIECE and piece not in _COMMON:
            yield piece


def _words(text: str) -> list[str]:
    for mark in "/?&=#;:":
        text = text.replace(mark, " ")
    return text.split()


_COMMON = frozenset(
    {
        "send", "hook", "hooks", "webhook", "webhooks", "services", "robot", "open-apis", "workflows", "triggers",
        "paths", "invoke", "manual", "access_token", "cgi-bin", "api-version",
    }
)  # fmt: skip
"""Words of the services' own addresses, which everybody knows and error messages need."""
