"""What does a technician at a terminal see while waiting, and then? Drawn with rich, imported only here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agent import screen, texts

if TYPE_CHECKING:
    from agent.runner import Look
    from agent.screen import Page
    from agent.texts import Language
    from probes.model import Probe

STYLES = {
    "ok": "green",
    "ready": "bold white on green",
    "warn": "bold yellow",
    "at_risk": "bold black on yellow",
    "fail": "bold red",
    "down": "bold white on red",
    "unknown": "magenta",
    "skipped": "dim",
}

REDRAWS = 10
"""So many times a second the line of progress is drawn anew."""
NARROW = 60
"""On a terminal with fewer columns a name stands above its sentence and not beside it."""


class Progress:
    """A live line on the terminal while probes are looking; silent in a pipe. rich loads while the probes wait."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._live: Any = None
        self._done: Sequence[Look] = ()
        self._awaited: Sequence[Probe] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, done: Sequence[Look], awaited: Sequence[Probe]) -> None:
        """Show how far it is and whom it waits for."""
        if not (sys.stderr.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
            return
        self._done, self._awaited = done, awaited
        if self._live is None:
            from rich.console import Console
            from rich.status import Status

            # It is drawn when its own clock asks for it, however often somebody answers.
            self._live = Status(self, console=Console(stderr=True), refresh_per_second=REDRAWS)
            self._live.start()

    def __rich__(self) -> Any:
        """How it stands now, for rich."""
        from rich.text import Text

        done, awaited = self._done, self._awaited
        looking = texts.phrase("check.looking", self._language, done=len(done), all=len(done) + len(awaited))
        names = ", ".join(probe.name for probe in awaited[:4]) + (" …" if len(awaited) > 4 else "")
        waiting = texts.phrase("check.waiting_for", self._language, names=names) if names else ""
        return Text(f"{looking}  {waiting}")  # not as markup: [::1] is an address here


class _Folded:
    """Styled texts below each other, folded as their language is: rich alone breaks Chinese only at spaces."""

    def __init__(self, *texts: tuple[str, str]) -> None:
        self._texts = texts

    def __rich_console__(self, _console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        for text, style in self._texts:
            for line in screen.fold(text, options.max_width):
                yield Text(line, style=style, no_wrap=True)

    def __rich_measure__(self, _console: Any, options: Any) -> Any:
        from rich.measure import Measurement

        widest = max(screen.cells(line) for text, _style in self._texts for line in text.split("\n"))
        return Measurement(min(widest, 8), widest).clamp(1, options.max_width)


def draw(page: Page) -> None:
    """The page on a terminal: the verdict as a coloured bar, long sentences wrapped under themselves."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Padding(Text(page.headline), (0, 1), style=STYLES.get(page.payments, "")))
    console.print(Padding(Text(page.settlement), (0, 1)))
    for fault in page.faults:
        console.print()
        console.print(Padding(Text.assemble((fault.title, "bold red"), f"  [{fault.code}]"), (0, 1)))
        steps = Table(box=None, show_header=False, padding=(0, 1), expand=False)
        steps.add_column(no_wrap=True, style="bold")
        steps.add_column(overflow="fold")
        for section in fault.sections:
            for at, item in enumerate(section.items):
                steps.add_row("" if at else section.title, _Folded((item, "")))
        console.print(Padding(steps, (0, 1)))
    is_narrow = console.width < NARROW
    table = Table(box=None, show_header=False, padding=(0, 1), expand=False)
    table.add_column(no_wrap=True)
    if not is_narrow:
        table.add_column(overflow="fold", max_width=34)
    table.add_column(overflow="fold")
    for row in page.rows:
        text = [(row.text, ""), *((line, "dim") for line in row.below)]
        style = STYLES.get(row.status, "")
        cells = [_Folded((row.name, "bold"), *text)] if is_narrow else [Text(row.name), _Folded(*text)]
        table.add_row(Text(row.word, style=style), *cells)
    console.print()
    console.print(table)
    for section in page.sections:
        console.print()
        console.print(Padding(Text(section.title, style="bold"), (0, 1)))
        for item in section.items:
            console.print(Padding(_Folded(("- " + item, "dim")), (0, 1)))
