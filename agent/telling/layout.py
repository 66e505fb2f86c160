"""How is a message set, as plain text and as Markdown? And in what form do times and outside texts go into it? Pure."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from probes.redact import scrub

if TYPE_CHECKING:
    from agent.texts import Language

COLON = {"en": ": ", "zh-CN": "："}
_TAME = str.maketrans({"*": "∗", "`": "'", "<": "‹", ">": "›"})


class Part(NamedTuple):
    """A paragraph with a heading, or one of lines alone."""

    heading: str
    items: Sequence[str]
    numbered: bool = False
    foreign: bool = False
    """From outside, so that nothing in it is Markdown."""


def line(text: str) -> str:
    """One line from outside: no card data, no line breaks, nothing invisible."""
    clean = scrub(text)
    return "".join(char if char.isprintable() else " " for char in clean).strip()


def clock(moment: float, zone: datetime.tzinfo | None, *, form: str = "%Y-%m-%d %H:%M") -> str:
    """As the clock on the store's wall shows it; readers elsewhere see by how much theirs differs."""
    try:
        told = datetime.datetime.fromtimestamp(moment, datetime.UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return "?"
    ahead = f"{told:%z}"
    return f"{told.strftime(form)} (UTC{ahead[:3]}:{ahead[3:5]})"


def offset(moment: float, zone: datetime.tzinfo | None) -> int:
    """By how many seconds that clock is ahead of UTC."""
    try:
        ahead = datetime.datetime.fromtimestamp(moment, datetime.UTC).astimezone(zone).utcoffset()
    except (ValueError, OverflowError, OSError):
        ahead = None
    return round(ahead.total_seconds()) if ahead is not None else 0


def plain(headline: str, parts: Sequence[Part], language: Language) -> str:
    """As text: what is one line stands behind its heading."""
    blocks = [headline]
    for part in parts:
        marks = (
            [f"{number}. " for number in range(1, len(part.items) + 1)] if part.numbered else ["- "] * len(part.items)
        )
        listed = part.heading and (len(part.items) > 1 or part.foreign)
        lines = [f"{mark}{item}" if listed else item for mark, item in zip(marks, part.items, strict=True)]
        if part.items and part.heading and not listed:
            lines[0] = f"{part.heading}{COLON[language]}{lines[0]}"
        elif part.items and part.heading:
            lines.insert(0, part.heading)
        if lines:
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def markdown(headline: str, parts: Sequence[Part]) -> str:
    """As Markdown that the plainest of chats can read: bold, lists, nothing else."""
    blocks = [f"**{_tame(headline)}**"]
    for part in parts:
        items = [_tame(item) if part.foreign or not part.heading else item for item in part.items]
        if part.heading:
            marks = [f"{number}. " if part.numbered else "- " for number in range(1, len(items) + 1)]
            lines = [f"**{part.heading}**", "", *(f"{mark}{item}" for mark, item in zip(marks, items, strict=True))]
        else:
            lines = [f"{item}  " for item in items]
        if items:
            blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks) + "\n"


def _tame(text: str) -> str:
    """Text from outside in which nothing is Markdown: no link, no mention, no code."""
    return text.translate(_TAME).replace("](", "] (")
