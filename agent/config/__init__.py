"""What does the configuration ask for, or what is wrong with it, all at once?

read     which file, and is it TOML        typed   does each value fit its type
model    the sections and their defaults   probe_tables   kinds, presets, needs
expand   one probe per target              channel_tables   ways to reach people
hours    opening hours                    escalation   whom to tell, and when
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import escalation, probe_tables, push, read, typed, web
from agent.config.expand import probes_of
from agent.config.model import Channel, Config, Schedule, Sections, Site
from agent.config.problems import ConfigError, Problem
from agent.config.secret import CannotReadSecret, Secret, resolve_secret
from agent.config.typed import Notes

if TYPE_CHECKING:
    from agent.config.escalation import Level
    from agent.config.hours import Hours

DAY_S = 86400

__all__ = [
    "CannotReadSecret",
    "Config",
    "ConfigError",
    "Problem",
    "Secret",
    "levels_of",
    "load",
    "opening_hours",
    "parse",
    "probes_of",
    "resolve_secret",
]


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """The configuration of this PC: `path` if given, else `$POSAGENT_CONFIG`, else /etc/posagent/config.toml.

    A file that was asked for must exist; where the system's own is absent, `Config().discovered` is true. Raises
    ConfigError with every problem at once.
    """
    given = read.source(path, env)
    if given is None:
        return Config()
    return parse(given)


def parse(given: read.Source) -> Config:
    """The configuration in these bytes. Raises ConfigError with every problem at once."""
    table = read.table(given)
    notes = Notes(given.name)
    converted = typed.convert_fields(table, Sections, (), notes, skip=("channels", "escalation", "probes"))
    probes = probe_tables.read(table.get("probes", {}), notes)
    channels = _channels(table, notes)
    levels = escalation.read(table.get("escalation", []), table.get("channels", {}), notes)
    _check_together(converted if "site" in table else {**converted, "site": Site()}, notes)
    if notes.problems:
        raise ConfigError(notes.problems)
    sha256 = hashlib.sha256(given.data).hexdigest()
    tables: dict[str, Any] = {"probes": probes, "channels": channels, "escalation": levels}
    return Config(**converted, **tables, source=given.name, sha256=sha256)


def opening_hours(config: Config) -> Hours:
    """When this store sells, in its own time zone."""
    from agent.config import hours

    schedule = config.schedule
    return hours.parse(schedule.opening_hours, hours.zone_of(config.site.timezone), schedule.holidays)


def levels_of(config: Config) -> tuple[Level, ...]:
    """Whom to tell, and when: the levels of the file, or what holds without any. Channels switched off are left out."""
    usable = [name for name, channel in config.channels.items() if channel.enabled]
    return (
        escalation.with_channels(config.escalation, usable) if config.escalation else escalation.default_levels(usable)
    )


def _channels(table: Mapping[str, Any], notes: Notes) -> dict[str, Channel]:
    if "channels" not in table:
        return {}
    from agent.config import channel_tables  # only whoever has channels pays for their kinds

    return channel_tables.read(table["channels"], notes)


def _check_together(sections: Mapping[str, Any], notes: Notes) -> None:
    site, schedule = sections.get("site"), sections.get("schedule")
    report, history = sections.get("report"), sections.get("history")
    if site is not None and site.timezone is not None:
        _check_zone(site.timezone, notes)
    if schedule is not None:
        probe_tables.check_times(("schedule",), schedule, notes)
        if schedule.opening_hours or schedule.holidays:
            _check_hours(schedule, notes)
    if report is not None and not 10 <= report.heartbeat <= DAY_S:
        notes.expected(("report", "heartbeat"), "10s..1d", str(report.heartbeat))
    if history is not None and history.keep < DAY_S:
        notes.expected(("history", "keep"), "at least 1d", str(history.keep))
    if report is not None and report.textfile is not None and not report.textfile.endswith(".prom"):
        notes.expected(("report", "textfile"), "a file whose name ends in .prom", report.textfile)
    if "notify" in sections:
        escalation.check_notify(sections["notify"], notes)
    if "web" in sections:
        web.check(sections["web"], notes)
    if "push" in sections:
        store, terminal = (site.store, site.terminal) if site is not None else ("?", "?")  # noted already
        push.check(sections["push"], store, terminal, notes)


def _check_zone(name: str, notes: Notes) -> None:
    from agent.config import hours

    try:
        hours.zone_of(name)
    except ValueError as error:
        notes.expected(("site", "timezone"), str(error), name)


def _check_hours(schedule: Schedule, notes: Notes) -> None:
    from agent.config import hours

    for key, lines, read_one in (
        ("opening_hours", schedule.opening_hours, hours.spans_of),
        ("holidays", schedule.holidays, hours.holiday),
    ):
        for place, line in enumerate(lines):
            try:
                read_one(line)
            except ValueError as error:
                notes.expected(("schedule", key, place), str(error), line)
