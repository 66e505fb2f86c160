"""posagent watch: what changes while somebody wiggles the cables, as it changes.

Follows the report of the daemon. Where nobody renews that, it says so and looks by itself. On a terminal the page is
drawn anew within 0.2 s of a change; a pipe gets one line per change.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from agent import screen, texts
from agent.cli.check import stop_on_signals
from agent.cli.configured import configured_language, speaks
from agent.cli.watched import Sight, Source

if TYPE_CHECKING:
    from types import TracebackType

    from agent.texts import Language

POLL_S = 0.1
REDRAW_S = 1.0
"""The age of what is shown grows in steps of this."""
MARKED_S = 10.0
SHOWN_CHANGES = 6


def run(arguments: argparse.Namespace) -> int:
    """Follow until Ctrl-C, which is the way to end it: 0."""
    from probes.host import command

    stop_on_signals()
    language = speaks(arguments.lang or configured_language(arguments.config))
    source = Source(arguments.config, language)
    try:
        with _view(arguments, language) as view:
            while True:
                view.turn(source.turn())
                time.sleep(POLL_S)
    except KeyboardInterrupt as stopped:
        if stopped.args and stopped.args[0] != signal.SIGINT:
            raise
        return 0
    finally:
        source.stop()
        command.stop_all()  # nothing that a probe started may run on


def changes(old: Mapping[str, Any] | None, new: Mapping[str, Any], language: Language) -> Iterator[tuple[str, str]]:
    """What the new report says that the old one did not: a probe's label ("" for the whole) and a sentence."""
    if old is None or old["verdict"]["payments"] != new["verdict"]["payments"]:
        yield "", new["verdict"]["headline"]
    elif old["verdict"]["settlement"] != new["verdict"]["settlement"]:
        yield "", texts.phrase(f"settlement.{new['verdict']['settlement']}", language)
    before = {} if old is None else {probe["name"]: probe for probe in old["probes"]}
    for probe in new["probes"]:
        was = before.get(probe["name"])
        if was is None and probe["status"] not in screen.TROUBLE:
            continue
        if was is None or (was["status"], was["reason"]) != (probe["status"], probe["reason"]):
            yield probe["label"] or probe["name"], _turned(was, probe, language)
    yield from _incidents(old, new, language)


def _turned(was: Mapping[str, Any] | None, probe: Mapping[str, Any], language: Language) -> str:
    word = texts.phrase(f"status.{probe['status']}", language)
    steps = word if was is None else f"{texts.phrase('status.' + was['status'], language)} → {word}"
    return texts.phrase("watch.turned", language, steps=steps, summary=probe["summary"])


def _incidents(old: Mapping[str, Any] | None, new: Mapping[str, Any], language: Language) -> Iterator[tuple[str, str]]:
    """Only a daemon knows incidents: between it and looks of our own nothing begins or ends."""
    if old is None or {old["agent"].get("mode"), new["agent"].get("mode")} != {"run"}:
        return
    ids = [{incident["id"]: incident for incident in report["incidents"]} for report in (old, new)]
    for word, here, there in (("opened", ids[1], ids[0]), ("resolved", ids[0], ids[1])):
        for name, incident in here.items():
            if name not in there:
                title = incident.get("title") or incident["cause"]
                yield "", texts.phrase(f"watch.{word}", language, id=name, title=title)


class View(Protocol):
    """Somewhere to show it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def turn(self, sight: Sight) -> None:
        """Show what is new."""


class Lines:
    """One line per change, for a pipe."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._shown: Mapping[str, Any] | None = None
        self._alone = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def turn(self, sight: Sight) -> None:
        """Print what is new, at once."""
        is_alone = bool(sight.alone)
        if is_alone != bool(self._alone):
            self._print(sight.about[0] if is_alone else texts.phrase("watch.daemon", self._language))
        self._alone = sight.alone
        if sight.data is None or sight.data is self._shown:
            return
        for label, sentence in changes(self._shown, sight.data, self._language):
            self._print(f"{label}  {sentence}" if label else sentence)
        self._shown = sight.data

    def _print(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')}  {screen.harmless(text)}"
        print(line, flush=True)  # noqa: T201 -- the answer itself


class Page:
    """The page on a terminal, with what changed above it and marked in it."""

    def __init__(self, language: Language, *, verbose: bool, failures_only: bool) -> None:
        from agent import live

        self._language, self._verbose, self._failures_only = language, verbose, failures_only
        self._window = live.Window()
        self._shown: Mapping[str, Any] | None = None
        self._about = ("", "")
        self._changes: list[tuple[str, str]] = []
        self._marked: dict[str, float] = {}
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._window.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._window.__exit__(kind, error, trace)

    def turn(self, sight: Sight) -> None:
        """Draw anew what changed, and once a second what became older."""
        moment = time.monotonic()
        if sight.data is not None and sight.data is not self._shown:
            self._note(sight.data, moment)
        elif sight.about[1] == self._about[1] and moment < self._drawn_at + REDRAW_S:
            return
        self._about, self._drawn_at = sight.about, moment
        self._marked = {name: until for name, until in self._marked.items() if until > moment}
        self._window.show(self._page(), [*self._above(), ("", "")], self._marked)

    def _note(self, data: Mapping[str, Any], moment: float) -> None:
        at = time.strftime("%H:%M:%S")
        if self._shown is not None:
            for label, sentence in changes(self._shown, data, self._language):
                self._changes.append((at, screen.harmless(f"{label}  {sentence}" if label else sentence)))
                if label:
                    self._marked[screen.harmless(label)] = moment + MARKED_S
        del self._changes[:-SHOWN_CHANGES]
        self._shown = data

    def _above(self) -> Iterator[tuple[str, str]]:
        yield texts.phrase("watch.title", self._language, now=time.strftime("%H:%M:%S")), "bold"
        yield self._about[0], self._about[1] or "dim"
        for at, sentence in reversed(self._changes):
            yield f"{at}  {sentence}", ""

    def _page(self) -> screen.Page | None:
        if self._shown is None:
            return None
        page = screen.page(self._shown, self._language, verbose=self._verbose, failures_only=self._failures_only)
        if self._verbose:
            return page
        # Room is short and `posagent status` has the rest: of a fault what proves it and what to do now.
        kept = {texts.phrase(f"diagnosis.{name}", self._language) for name in ("because", "now")}
        faults = [
            fault._replace(sections=[each for each in fault.sections if each.title in kept]) for fault in page.faults
        ]
        unseen = texts.phrase("check.not_checked", self._language)
        return page._replace(faults=faults, sections=[each for each in page.sections if each.title != unseen])


def _view(arguments: argparse.Namespace, language: Language) -> Lines | Page:
    import os

    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return Page(language, verbose=arguments.verbose, failures_only=arguments.failures_only)
    return Lines(language)
