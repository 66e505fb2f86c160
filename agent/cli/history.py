"""posagent history: how much of the opening hours was each thing well, when was nobody looking, what changed?"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from agent import screen, texts
from agent.cli import USAGE, Complaint, past
from agent.cli.configured import configured_language, speaks

if TYPE_CHECKING:
    from agent.state import Transition
    from agent.store import Event, Store
    from agent.texts import Language

BARS = "▁▂▃▄▅▆▇█"
NOT_SEEN = "·"
BAR_CELLS = 20
DAYS_WIDE = 7
"""Up to so many days stand side by side with their percentages, fewer on a narrow terminal; of more there are bars."""
AT_MOST = 100_000
EVENTS_SHOWN, CHANGES_SHOWN = 30, 50
PLAIN_EVENTS = ("agent.started", "agent.stopped", "reloaded")
"""Told only in JSON: what an administrator did on purpose."""


class Share(NamedTuple):
    """Seconds inside opening hours."""

    good: float = 0.0
    bad: float = 0.0
    blind: float = 0.0

    def __add__(self, other: tuple[float, ...]) -> Share:  # type: ignore[override]  # adds up, as seconds do
        return Share(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def percent(self) -> float | None:
        """How much of what was seen was good; None where nothing was. A second of trouble is never rounded away."""
        seen = self.good + self.bad
        if seen <= 0:
            return None
        exact = 100 * self.good / seen
        return 100.0 if self.bad <= 0 else min(99.99, int(exact * 100) / 100)


def run(arguments: argparse.Namespace) -> int:
    """Print it; 0, whatever it tells."""
    from agent.store import StoreError

    language = speaks(arguments.lang or configured_language(arguments.config))
    store = past.opened()
    try:
        history = _History(store, arguments.days, arguments.probe)
    except StoreError as error:
        raise Complaint(f"posagent: {error}; try again", past.NOTHING_KEPT) from None
    finally:
        store.close()
    if arguments.json:
        past.print_json(history.data(language))
    else:
        past.print_lines(list(history.lines(language)))
    return 0


class _History:
    """What the state file knows of the last days."""

    def __init__(self, store: Store, days: int, probe: str | None) -> None:
        today = datetime.now().astimezone().date()
        self.days = [(today - timedelta(days=back)).isoformat() for back in reversed(range(days))]
        since = datetime.fromisoformat(self.days[0]).astimezone().timestamp()
        rows = store.availability(self.days[0])
        changes = store.transitions(since, None, AT_MOST)
        names = {row[1] for row in rows} | {change.probe for change in changes}
        if probe is not None and probe not in names:
            raise Complaint(_unknown(probe, names), USAGE)
        self.probe = probe
        self.shares = {
            name: {row[0]: Share(*row[2:]) for row in rows if row[1] == name}
            for name in sorted(names)
            if probe in (None, name)
        }
        ahead = {row[0] for row in rows} - set(self.days)  # the store's zone may be ahead of this PC's
        self.days += sorted(day for day in ahead if day > self.days[-1])
        self.events: Sequence[Event] = store.events(since, AT_MOST)
        self.changes: Sequence[Transition] = [change for change in changes if probe in (None, change.probe)]

    def total(self, name: str) -> Share:
        """Of all the days."""
        return sum(self.shares[name].values(), Share())

    def data(self, language: Language) -> dict[str, Any]:
        """For programs."""
        from agent.report import stamp

        return {
            "days": self.days,
            "availability": [
                {"day": day, "probe": name, "good_s": share.good, "bad_s": share.bad, "blind_s": share.blind}
                | {"percent": share.percent}
                for name, by_day in self.shares.items()
                for day, share in sorted(by_day.items())
            ],
            "events": [
                {
                    "at": stamp(each.at),
                    "what": each.what,
                    "text": texts.event(each.what, language, each.facts),
                    "facts": each.facts,
                }
                for each in self.events
            ],
            "transitions": [
                {"at": stamp(each.at), "probe": each.probe, "old": each.old, "new": each.new, "reason": each.reason}
                for each in self.changes
            ],
        }

    def lines(self, language: Language) -> Iterator[str]:
        """For people."""
        if not self.shares and not self.events:
            yield texts.phrase("history.none", language)
            return
        yield texts.phrase("history.availability", language)
        table = self._matrix(language) if self.probe is None else self._days_of(self.probe, language)
        yield from (f"  {line}" for line in table)
        events = [each for each in self.events if each.what not in PLAIN_EVENTS]
        yield from _listed(
            texts.phrase("history.events", language),
            [f"{_clock(each.at)}  {texts.event(each.what, language, each.facts)}" for each in events],
            EVENTS_SHOWN,
            language,
        )
        yield from _listed(
            texts.phrase("history.changes", language),
            [f"{_clock(each.at)}  {self._turned(each, language)}" for each in self.changes],
            CHANGES_SHOWN if self.probe is None else AT_MOST,
            language,
        )

    def _turned(self, change: Transition, language: Language) -> str:
        word = texts.phrase(f"status.{change.new}", language)
        steps = word if change.old is None else f"{texts.phrase(f'status.{change.old}', language)} → {word}"
        return f"{change.probe}: {steps}  {change.reason}"

    def _matrix(self, language: Language) -> list[str]:
        """A row per probe: all days together, a bar per day, the days' percentages, for how long it was out."""
        for count in range(len(self.days) if len(self.days) <= DAYS_WIDE else 0, -1, -1):
            table = self._table(self.days[len(self.days) - count :], language)
            if all(screen.cells(line) <= _room() for line in table):
                break
        return table

    def _table(self, side_by_side: Sequence[str], language: Language) -> list[str]:
        head = ["", texts.phrase("history.total", language), "", *(day[5:] for day in side_by_side)]
        rows = [[*head, texts.phrase("history.out", language), texts.phrase("history.blind", language)]]
        for name, by_day in self.shares.items():
            total = self.total(name)
            spark = "".join(_bar(by_day.get(day)) for day in self.days)
            days = [_percent(by_day.get(day)) for day in side_by_side]
            rows.append([name, _percent(total), spark, *days, _span(total.bad, language), _span(total.blind, language)])
        return past.columns(rows, right=frozenset({1, *range(3, len(rows[0]))}))

    def _days_of(self, name: str, language: Language) -> list[str]:
        """A row per day of one probe, the newest last."""
        rows = [["", "", name, texts.phrase("history.out", language), texts.phrase("history.blind", language)]]
        for day in self.days:
            share = self.shares[name].get(day)
            out, blind = (share.bad, share.blind) if share else (0.0, 0.0)
            rows.append([day, _percent(share), _long_bar(share), _span(out, language), _span(blind, language)])
        return past.columns(rows, right=frozenset({1, 3, 4}))


def _listed(title: str, lines: Sequence[str], most: int, language: Language) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield title
    yield from (f"  {line}" for line in lines[:most])
    if len(lines) > most:
        yield "  " + texts.phrase("history.left_out", language, count=len(lines) - most)


def _percent(share: Share | None) -> str:
    percent = None if share is None else share.percent
    if percent is None:
        return "–"
    return "100 %" if percent == 100 else f"{percent:.2f} %" if percent >= 99 else f"{int(percent * 10) / 10:.1f} %"


def _bar(share: Share | None) -> str:
    """One letter: full where all was well, the first step where the least thing was, half where half was."""
    percent = None if share is None else share.percent
    if percent is None:
        return NOT_SEEN
    return BARS[-1] if percent == 100 else BARS[min(len(BARS) - 2, int(percent / 100 * (len(BARS) - 1)))]


def _long_bar(share: Share | None) -> str:
    """Twenty letters: good, bad and not seen, each as long as it lasted; the least trouble has one of them."""
    if share is None or sum(share) <= 0:
        return ""
    cells = [round(BAR_CELLS * part / sum(share)) for part in share]
    for at in (1, 2):
        if share[at] > 0 and cells[at] == 0:
            cells[at] = 1
    cells[0] = max(0, BAR_CELLS - cells[1] - cells[2])
    return "█" * cells[0] + "░" * cells[1] + NOT_SEEN * cells[2]


def _span(seconds: float, language: Language) -> str:
    return texts.phrase("incidents.length", language, length=seconds) if seconds >= 1 else "–"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _room() -> int:
    """Columns of the terminal; a pipe has as many as are wanted."""
    return shutil.get_terminal_size().columns - 2 if sys.stdout.isatty() else 1 << 30


def _unknown(probe: str, names: set[str]) -> str:
    import difflib

    near = difflib.get_close_matches(probe, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(names)) or 'none'}"
    return f"posagent: cannot show the history of {probe!r}: no probe of this name is recorded; {hint}"
