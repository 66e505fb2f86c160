"""What does a technician at a terminal see while waiting, and then? Drawn with rich, imported only here."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
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
MARK = "◂"
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

    console = Console(highlight=False)
    for part in _parts(page, console.width):
        console.print(part)


class Window:
    """The whole terminal, drawn anew when asked and given back as it was."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, page: Page | None, above: Sequence[tuple[str, str]], marked: Collection[str] = ()) -> None:
        """Draw the page (None: there is none yet) below these lines, each with its style; name what is `marked`."""
        from rich.console import Group
        from rich.padding import Padding

        lines = [Padding(_Folded((text, STYLES.get(style, style))), (0, 1)) for text, style in above]
        parts = () if page is None else _parts(page, self._console.width, marked)
        self._live.update(Group(*lines, *parts), refresh=True)


def _parts(page: Page, width: int, marked: Collection[str] = ()) -> Iterator[Any]:
    """The page in parts below each other, for rich."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    yield Padding(Text(page.headline), (0, 1), style=STYLES.get(page.payments, ""))
    yield Padding(Text(page.settlement), (0, 1))
    for fault in page.faults:
        yield Text()
        yield Padding(Text.assemble((fault.title, "bold red"), f"  [{fault.code}]"), (0, 1))
        steps = Table(box=None, show_header=False, padding=(0, 1), expand=False)
        steps.add_column(no_wrap=True, style="bold")
        steps.add_column(overflow="fold")
        for section in fault.sections:
            for at, item in enumerate(section.items):
                steps.add_row("" if at else section.title, _Folded((item, "")))
        yield Padding(steps, (0, 1))
    yield Text()
    yield _rows(page, width < NARROW, marked)
    for section in page.sections:
        yield Text()
        yield Padding(Text(section.title, style="bold"), (0, 1))
        for item in section.items:
            yield Padding(_Folded(("- " + item, "dim")), (0, 1))


def _rows(page: Page, is_narrow: bool, marked: Collection[str]) -> Any:
    """The table of probes; a marked one is shown in reverse, with a sign for who sees no colours."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 1), expand=False)
    table.add_column(no_wrap=True)
    if not is_narrow:
        table.add_column(overflow="fold", max_width=screen.NAMES_AT_MOST)
    table.add_column(overflow="fold")
    for row in page.rows:
        is_marked = row.name in marked
        name, shade = (f"{row.name} {MARK}", "reverse") if is_marked else (row.name, "")
        text = [(row.text, ""), *((line, "dim") for line in row.below)]
        cells = [_Folded((name, f"bold {shade}"), *text)] if is_narrow else [Text(name, style=shade), _Folded(*text)]
        table.add_row(Text(row.word, style=STYLES.get(row.status, "")), *cells)
    return table
