"""What does a person see? One glance at a terminal, plain lines in a pipe, the same content in both.

Works on the report as plain data, so that a fresh look and a saved report read alike.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from agent import texts

if TYPE_CHECKING:
    from agent.runner import Look
    from agent.texts import Language
    from probes.model import Probe

TROUBLE = ("fail", "warn", "unknown")
STYLES = {"ok": "32", "ready": "32", "warn": "33", "at_risk": "33", "fail": "31", "down": "31", "unknown": "35"}
"""ANSI colours: green, yellow, red, magenta; what is neither good nor bad has none."""
NAMES_AT_MOST = 34


class Row(NamedTuple):
    """One line of the table: a status word, a name, a sentence, and what `--verbose` adds below it."""

    status: str
    word: str
    name: str
    text: str
    below: tuple[str, ...]


def show(data: Mapping[str, Any], language: Language, *, verbose: bool = False, failures_only: bool = False) -> None:
    """Print a report: verdict, then what is wrong, then what is well, then what was not looked at."""
    colour = wants_colour()
    width = _columns() if sys.stdout.isatty() else 0
    for line in lines(data, language, verbose=verbose, failures_only=failures_only, colour=colour, width=width):
        print(line)  # noqa: T201 -- the answer itself


def hint(name: str, language: Language) -> None:
    """Print one sentence of advice."""
    print("\n" + texts.phrase(name, language))  # noqa: T201 -- the answer itself


def lines(
    data: Mapping[str, Any],
    language: Language,
    *,
    verbose: bool = False,
    failures_only: bool = False,
    colour: bool = False,
    width: int = 0,
) -> Iterator[str]:
    """The report as lines; `width` 0 means: never wrap."""
    verdict = data["verdict"]
    yield paint(verdict["headline"], verdict["payments"], colour, bold=True)
    yield paint(texts.phrase(f"settlement.{verdict['settlement']}", language), "", colour)
    rows = [_row(probe, language, verbose) for probe in data["probes"]]
    shown = [row for row in rows if not failures_only or row.status in TROUBLE]
    if shown:
        yield ""
        yield from _table(shown, colour, width)
    yield from _section("check.problems", data["agent"]["problems"], language, width)
    if not failures_only:
        yield from _section("check.not_checked", data["not_checked"], language, width)


def paint(text: str, style: str, colour: bool, *, bold: bool = False) -> str:
    """The text in the style's colour, if colour is wanted."""
    codes = [code for code in ("1" if bold else "", STYLES.get(style, "")) if code]
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if colour and codes else text


def wants_colour() -> bool:
    """Colour only on a terminal, and only where NO_COLOR does not forbid it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cells(text: str) -> int:
    """How many columns a terminal needs: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _row(probe: Mapping[str, Any], language: Language, verbose: bool) -> Row:
    below: list[str] = []
    if verbose:
        below.append(f"{probe['kind']} {probe['target']} · {probe['reason']} · {probe['duration_ms']:.0f} ms")
        facts = ", ".join(f"{key}={value}" for key, value in probe["measurements"].items())
        below.extend([facts] if facts else [])
        below.extend(probe["evidence"])
    name = probe["name"] if probe["label"] in (probe["name"], "") else probe["label"]
    word = texts.phrase(f"status.{probe['status']}", language)
    return Row(probe["status"], word, name, probe["summary"], tuple(below))


def _table(rows: Sequence[Row], colour: bool, width: int) -> Iterator[str]:
    words = max(cells(row.word) for row in rows)
    names = min(max(cells(row.name) for row in rows), NAMES_AT_MOST)
    indent = words + names + 4
    for row in rows:
        head = paint(_pad(row.word, words), row.status, colour, bold=row.status in TROUBLE)
        first, *rest = wrap(row.text, width - indent if width else 0)
        yield f"{head}  {_pad(row.name, names)}  {first}".rstrip()
        for line in rest:
            yield " " * indent + line
        for text in row.below:
            for line in wrap(text, width - indent if width else 0):
                yield " " * indent + line


def _section(title: str, items: Sequence[str], language: Language, width: int) -> Iterator[str]:
    if not items:
        return
    yield ""
    yield texts.phrase(title, language)
    for item in items:
        first, *rest = wrap(item, width - 4 if width else 0)
        yield f"  - {first}"
        for line in rest:
            yield f"    {line}"


def wrap(text: str, width: int) -> list[str]:
    """Break at spaces, and between wide characters, which need none. A width under 20 is no width: never wrap."""
    if width < 20 or cells(text) <= width:
        return [text]
    broken, line, used = [], "", 0
    for piece in _pieces(text):
        if used + cells(piece.rstrip()) > width and line:
            broken.append(line.rstrip())
            line, used = "", 0
        line += piece
        used += cells(piece)
    return [*broken, line.rstrip()]


def _pieces(text: str) -> Iterator[str]:
    piece = ""
    for char in text:
        wide = unicodedata.east_asian_width(char) in "WF"
        if wide and piece and char not in "，。：；、）":
            yield piece
            piece = ""
        piece += char
        if char == " ":
            yield piece
            piece = ""
    if piece:
        yield piece


def _pad(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80


class Progress:
    """A live line on the terminal while probes are looking; silent in a pipe. Import of rich overlaps the probes."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._live: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, done: Sequence[Look], awaited: Sequence[Probe]) -> None:
        """Show how far it is and whom it waits for."""
        if not sys.stderr.isatty():
            return
        if self._live is None:
            from rich.console import Console
            from rich.status import Status

            self._live = Status("", console=Console(stderr=True))
            self._live.start()
        looking = texts.phrase("check.looking", self._language, done=len(done), all=len(done) + len(awaited))
        names = ", ".join(probe.name for probe in awaited[:4]) + (" …" if len(awaited) > 4 else "")
        waiting = texts.phrase("check.waiting_for", self._language, names=names) if names else ""
        self._live.update(f"{looking}  {waiting}")
