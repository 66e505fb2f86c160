"""Who is told of a fault, when, and how often again? `[[escalation]]` and `[notify]`.

The settings, what is wrong with them, and what holds where the file has channels but no levels. What follows from them
at a given moment is decided in `agent.escalation`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from agent.causes import CAUSES, Party
from agent.config.problems import Path, got, suggestion
from agent.config.section import Label, Section
from agent.config.typed import NO_VALUE, Notes, convert
from probes.model import Seconds, Text

ImpactWord = Literal["stop", "degrade", "none"]
DAY_S = 86400
PATTERN_EXPECTED = 'the code of a cause such as "lan.cable_unplugged", or several such as "lan.*"'
_PATTERN = re.compile(r"[a-z0-9_.*]+")


class Level(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to tell of a fault that nobody has taken charge of, and after how long."""

    name: Annotated[Label, Meta(min_length=1, description="what you call this level", examples=["store"])]
    channels: Annotated[
        tuple[Text, ...],
        Meta(min_length=1, description="the [channels.NAME] that are told, all at once", examples=[["staff"]]),
    ]
    after: Annotated[
        Seconds, Meta(description="how long after the fault was confirmed, or became graver (at most 30d)")
    ] = Seconds(0)
    causes: Annotated[
        tuple[Text, ...],
        Meta(
            description='only for these causes (docs/diagnosis.md lists them); "lan.*" is all of the LAN; default: all',
            examples=[["lan.*", "isp.down"]],
        ),
    ] = ()
    parties: Annotated[
        tuple[Party, ...],
        Meta(description="only for faults that these mend; default: all", examples=[["store", "it"]]),
    ] = ()
    impacts: Annotated[
        tuple[ImpactWord, ...],
        Meta(
            min_length=1,
            description="only for faults that mean this for payments: stop (they are down), degrade (at risk), none",
        ),
    ] = ("stop", "degrade")
    hours: Annotated[
        Literal["always", "open"],
        Meta(
            description="open: outside opening hours this level waits until the store opens, unless the fault would "
            "break tonight's settlement"
        ),
    ] = "always"
    remind_every: Annotated[
        Seconds,
        Meta(
            description="tell again after this long (1m to 30d), each time waiting twice as long; 0: tell once. It "
            "stops when somebody takes charge (`posagent ack`)"
        ),
    ] = Seconds(1800)
    remind_at_most: Annotated[Seconds, Meta(description="the longest wait between two reminders (at most 30d)")] = (
        Seconds(4 * 3600)
    )


class NotifySettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How people are told, whoever they are."""

    before_settlement: Annotated[
        Seconds,
        Meta(
            description="this long before the deadline of a settlement probe the clock tightens for faults that would "
            "break the batch: the less time is left, the sooner the next level; 0 switches this off (at most 1d)"
        ),
    ] = Seconds(3600)
    fallback_after: Annotated[
        Seconds,
        Meta(description="how long a channel may be dead before its `fallback` is told instead (10s to 1d)"),
    ] = Seconds(600)
    quota: Annotated[
        Annotated[int, Meta(ge=100, le=1000000)],
        Meta(
            description="how many notices may wait for a way out; beyond it the oldest about faults that are over are "
            "dropped first, and that is said"
        ),
    ] = 10000


def default_levels(channels: Iterable[str]) -> tuple[Level, ...]:
    """What makes sense for whoever has channels and no policy: all of them, in opening hours."""
    names = tuple(channels)
    if not names:
        return ()
    return (
        Level(name="payments down", channels=names, impacts=("stop",), hours="open"),
        Level(name="payments at risk", channels=names, after=Seconds(900), impacts=("degrade",), hours="open"),
    )


def with_channels(levels: Iterable[Level], usable: Collection[str]) -> tuple[Level, ...]:
    """The levels with these channels only; one that has none of them is left out."""
    left = (replace(each, channels=tuple(name for name in each.channels if name in usable)) for each in levels)
    return tuple(level for level in left if level.channels)


def read(tables: object, channels: object, notes: Notes) -> tuple[Level, ...]:
    """Every level that is well-formed; everything wrong goes to `notes`. `channels`: by their names."""
    if not isinstance(tables, list):
        notes.expected(("escalation",), "a table for each level: [[escalation]]", tables)
        return ()
    known = tuple(channels) if isinstance(channels, dict) else ()
    levels: list[Level] = []
    for place, table in enumerate(tables):
        path: Path = ("escalation", place)
        level = convert(table, Level, path, notes)
        if level is NO_VALUE:
            continue
        if any(level.name == other.name for other in levels):
            notes.add((*path, "name"), f"two levels are called {got(level.name)}")
        levels.append(level)
        _check_times(level, path, notes)
        _check_channels(level.channels, known, path, notes)
        for number, pattern in enumerate(level.causes):
            _check_pattern(pattern, (*path, "causes", number), notes)
    return tuple(levels)


def check_notify(notify: NotifySettings, notes: Notes) -> None:
    """Lengths of time that make no sense."""
    if notify.before_settlement > DAY_S:
        notes.expected(("notify", "before_settlement"), "0s..1d", str(notify.before_settlement))
    if not 10 <= notify.fallback_after <= DAY_S:
        notes.expected(("notify", "fallback_after"), "10s..1d", str(notify.fallback_after))


def _check_times(level: Level, path: Path, notes: Notes) -> None:
    month = Seconds(30 * DAY_S)
    if level.after > month:
        notes.expected((*path, "after"), "at most 30d", str(level.after))
    if level.remind_every and not 60 <= level.remind_every <= month:
        notes.expected((*path, "remind_every"), "1m..30d, or 0 for no reminders", str(level.remind_every))
    elif level.remind_every and not level.remind_every <= level.remind_at_most <= month:
        notes.expected(
            (*path, "remind_at_most"), f"{level.remind_every} (remind_every) to 30d", str(level.remind_at_most)
        )


def _check_channels(names: Sequence[str], known: Sequence[str], path: Path, notes: Notes) -> None:
    for number, name in enumerate(names):
        where = (*path, "channels", number)
        if name in names[:number]:
            notes.add(where, f"{got(name)} is named twice")
        elif name not in known:
            hint = suggestion(name, known) or (f"; there are {', '.join(known)}" if known else "; there is none yet")
            notes.expected(where, "the name of a channel, as in [channels.NAME]", name, hint)


def _check_pattern(pattern: str, path: Path, notes: Notes) -> None:
    if _PATTERN.fullmatch(pattern) is None or not any(matches(cause, (pattern,)) for cause in CAUSES):
        families = [f"{family}.*" for family in dict.fromkeys(cause.partition(".")[0] for cause in CAUSES)]
        notes.expected(path, PATTERN_EXPECTED, pattern, suggestion(pattern, [*families, *CAUSES]))


def matches(cause: str, patterns: Iterable[str]) -> bool:
    """Whether a cause is one of these; a `*` stands for anything. Only letters, digits, `_`, `.` and `*` get here."""
    return any(fnmatchcase(cause, pattern) for pattern in patterns)
