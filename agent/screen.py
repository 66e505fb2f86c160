"""What does a person read? The same rows in a pipe, in a saved report and on a terminal.

Works on the report as plain data, so that a fresh look and a saved report read alike. Nothing heavy is imported here:
`posagent status` must be instant. On a terminal `live` draws these rows with rich.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import namedtuple
from collections.abc import Iterator, Mapping

from agent import texts

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any

    from agent.texts import Language

TROUBLE = ("fail", "warn", "unknown")
ANSI = {"ok": "32", "ready": "32", "warn": "33", "at_risk": "33", "fail": "31", "down": "31", "unknown": "35"}
"""Green, yellow, red, magenta; what is neither good nor bad has no colour."""
NAMES_AT_MOST = 34


Row = namedtuple("Row", "status word name text below")
"""One line of the table: a status, its word, a name, a sentence, and what `--verbose` adds below it."""
Section = namedtuple("Section", "title items")
"""A titled list below the table."""
Page = namedtuple("Page", "headline payments settlement rows sections")
"""Everything a person is shown about one report."""


def page(data: Mapping[str, Any], language: Language, *, verbose: bool = False, failures_only: bool = False) -> Page:
    """Arrange a report for reading."""
    verdict = data["verdict"]
    rows = [_row(probe, language, verbose) for probe in data["probes"]]
    below = [("check.problems", data["agent"]["problems"])]
    if not failures_only:
        below.append(("check.not_checked", data["not_checked"]))
    return Page(
        headline=verdict["headline"],
        payments=verdict["payments"],
        settlement=texts.phrase(f"settlement.{verdict['settlement']}", language),
        rows=[row for row in rows if not failures_only or row.status in TROUBLE],
        sections=[Section(texts.phrase(title, language), items) for title, items in below if items],
    )


def print_plain(what: Page) -> None:
    """Print line by line, never wrapped; coloured only on a terminal that wants it."""
    for line in lines(what, colour=wants_colour()):
        print(line)  # noqa: T201 -- the answer itself


def lines(what: Page, *, colour: bool = False) -> Iterator[str]:
    """The page as lines of text."""
    yield paint(what.headline, what.payments, colour)
    yield what.settlement
    if what.rows:
        yield ""
        words = max(cells(row.word) for row in what.rows)
        names = min(max(cells(row.name) for row in what.rows), NAMES_AT_MOST)
        for row in what.rows:
            yield f"{paint(pad(row.word, words), row.status, colour)}  {pad(row.name, names)}  {row.text}".rstrip()
            for text in row.below:
                yield " " * (words + names + 4) + text
    for section in what.sections:
        yield ""
        yield section.title
        yield from (f"  - {item}" for item in section.items)


def paint(text: str, style: str, colour: bool) -> str:
    """The text in the style's colour, if colour is wanted."""
    return f"\x1b[1;{ANSI[style]}m{text}\x1b[0m" if colour and style in ANSI else text


def wants_colour() -> bool:
    """Colour only on a terminal, and only where NO_COLOR does not forbid it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cells(text: str) -> int:
    """How many columns a terminal needs: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, width: int) -> str:
    """The text filled with spaces up to `width` columns."""
    return text + " " * (width - cells(text))


def _row(probe: Mapping[str, Any], language: Language, verbose: bool) -> Row:
    below: list[str] = []
    if verbose:
        below.append(f"{probe['kind']} {probe['target']} · {probe['reason']} · {probe['duration_ms']:.0f} ms")
        facts = ", ".join(f"{key}={value}" for key, value in probe["measurements"].items())
        below.extend([facts] if facts else [])
        below.extend(probe["evidence"])
    word = texts.phrase(f"status.{probe['status']}", language)
    return Row(probe["status"], word, probe["label"] or probe["name"], probe["summary"], tuple(below))
