"""Does each `[channels.NAME]` table make a way to reach people, and does each fallback lead to another one?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from string import Template
from typing import Any

from agent.config import typed
from agent.config.channels import KINDS, Email, Webhook, WeCom
from agent.config.model import NAME_EXPECTED, PROBE_NAME, Channel
from agent.config.problems import Path, got, is_secret, suggestion
from agent.config.typed import Notes

KIND_EXPECTED = "expected a kind of channel"
TEMPLATE_NAMES = (
    "key",
    "what",
    "severity",
    "subject",
    "text",
    "markdown",
    "data",
    "store",
    "terminal",
    "incident",
    "cause",
    "party",
    "verdict",
    "url",
)
"""What a webhook's template may ask for."""


def read(tables: object, notes: Notes) -> dict[str, Channel]:
    """Every channel that is well-formed; everything wrong with any of them goes to `notes`."""
    if not isinstance(tables, dict):
        notes.expected(("channels",), "a table for each channel: [channels.NAME]", tables)
        return {}
    channels = {}
    for name, table in tables.items():
        channel = _read_one(name, table, notes)
        if channel is not None:
            channels[name] = channel
    _check_fallbacks(channels, tables, notes)
    return channels


def _read_one(name: str, table: object, notes: Notes) -> Channel | None:
    path: Path = ("channels", name)
    if PROBE_NAME.fullmatch(name) is None:
        notes.add(path, NAME_EXPECTED)
    if not isinstance(table, dict):
        notes.expected(path, f"a table: [channels.{name}]", table)
        return None
    kind = _kind(name, table, path, notes)
    if kind is None:
        return None
    before = len(notes.problems)
    converted = typed.convert_fields(table, kind, path, notes)
    if len(notes.problems) != before:
        return None
    channel = kind(**converted)
    if not 1 <= channel.timeout <= 300:
        notes.expected((*path, "timeout"), "1s..5m", str(channel.timeout))
    for where, message in _problems(channel):
        notes.add((*path, *where), message)
    return channel


def _kind(name: str, table: Mapping[str, Any], path: Path, notes: Notes) -> type[Channel] | None:
    asked = table.get("kind")
    known = KINDS.get(asked) if isinstance(asked, str) else None
    if known is None:
        said = got(asked) if "kind" in table else "nothing"
        near = f'; did you mean kind = "{name}"?' if name in KINDS and "kind" not in table else suggestion(asked, KINDS)
        notes.add((*path, "kind"), f"{KIND_EXPECTED} ({', '.join(KINDS)}), got {said}{near}")
    return known


def _problems(channel: Channel) -> Iterator[tuple[Path, str]]:
    if isinstance(channel, Webhook):
        yield from _header_problems(channel)
        yield from _template_problems(channel)
    elif isinstance(channel, Email):
        yield from _email_problems(channel)
    elif isinstance(channel, WeCom) and channel.format == "markdown" and "@all" in channel.mention:
        yield ("mention",), 'expected format = "text" beside "@all": WeCom calls everybody from plain text only'


def _header_problems(channel: Webhook) -> Iterator[tuple[Path, str]]:
    for name, value in channel.headers.items():
        if isinstance(value, str) and is_secret(name):
            yield ("headers", name), 'expected a secret such as { file = "…" } for a header of this name'
        elif isinstance(value, str) and any(ord(char) < 32 or ord(char) > 126 for char in value):
            yield ("headers", name), "expected ASCII text on one line"


def _template_problems(channel: Webhook) -> Iterator[tuple[Path, str]]:
    if channel.template is None:
        return
    template = Template(channel.template)
    if not template.is_valid():
        yield ("template",), "expected $name or ${name} behind each $; a $ itself is $$"
        return
    unknown = [name for name in template.get_identifiers() if name not in TEMPLATE_NAMES]
    if unknown:
        near = suggestion(unknown[0], TEMPLATE_NAMES) or f"; there are {', '.join(TEMPLATE_NAMES)}"
        yield ("template",), f"nothing is called ${unknown[0]}{near}"
    elif "json" in channel.content_type.lower():
        try:
            json.loads(template.substitute(dict.fromkeys(TEMPLATE_NAMES, '"text"')))
        except ValueError as error:
            yield ("template",), f'expected JSON (names stand for whole values: write $text, not "$text"), got {error}'


def _email_problems(channel: Email) -> Iterator[tuple[Path, str]]:
    if channel.password is not None and channel.user is None:
        yield ("user",), "expected the user that `password` belongs to, got nothing"
    if channel.user is not None and channel.password is None:
        yield ("password",), "expected the password of `user`, got nothing"
    if channel.password is not None and channel.security == "none":
        yield ("security",), 'expected "starttls" or "tls": a password never travels in the clear'


def _check_fallbacks(channels: Mapping[str, Channel], tables: Mapping[str, Any], notes: Notes) -> None:
    for name, channel in channels.items():
        path: Path = ("channels", name, "fallback")
        if channel.fallback is not None and channel.fallback not in tables:
            notes.expected(path, "the name of another channel", channel.fallback, suggestion(channel.fallback, tables))
    told: set[str] = set()
    for name in channels:
        trail = [name]
        while (after := channels[trail[-1]].fallback) in channels and after is not None and after not in trail:
            trail.append(after)
        circle = trail[trail.index(after) :] if after in trail and after is not None else []
        if circle and not told.intersection(circle):
            told.update(circle)
            notes.add(
                ("channels", circle[0], "fallback"), f"goes round in a circle: {' → '.join([*circle, circle[0]])}"
            )
