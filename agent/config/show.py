"""What holds, defaults and all, without a secret? Text that `load` reads back to the same configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import fields

from agent.config import toml
from agent.config.expand import in_the_stores_zone
from agent.config.model import Config, Sections
from agent.config.problems import is_secret
from probes import registry
from probes.model import Settings

HIDDEN = "(not shown)"

_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=([^&#\s]*)")
_OPTION = re.compile(r"(--?[A-Za-z][\w-]*)(=?)(.*)", re.DOTALL)


def show(config: Config) -> str:
    """The effective configuration as TOML. Values that look like secrets, and passwords in commands, are hidden."""
    lines = [f"# {config.source}" if config.source else "# no configuration file: built-in discovery"]
    tables: list[str] = []
    for info in fields(Sections):
        value = getattr(config, info.name)
        if info.name == "probes":
            for name, settings in value.items():
                tables += ["", f"[probes.{toml.key(name)}]", *_items(_effective(settings, config))]
        elif isinstance(value, (msgspec.Struct, dict)):
            tables += ["", f"[{info.encode_name}]", *_items(value)]
        else:
            lines.append(f"{info.encode_name} = {toml.value(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _effective(settings: Settings, config: Config) -> dict[str, Any]:
    kind, schedule = registry.find(settings.kind), config.schedule
    settings = in_the_stores_zone(settings, config)
    given = {info.encode_name: getattr(settings, info.name) for info in fields(settings)}
    fallback = {
        "interval": kind.interval or schedule.interval,
        "timeout": kind.timeout or schedule.timeout,
        "fail_after": schedule.fail_after,
        "recover_after": schedule.recover_after,
        "impact": kind.impact,
    }
    return {key: fallback.get(key) if value is None else value for key, value in given.items()}


def _items(table: Any) -> Iterator[str]:
    """Each setting of a table; what has no value is shown as a comment, since TOML knows no null."""
    if isinstance(table, msgspec.Struct):
        table = {info.encode_name: getattr(table, info.name) for info in fields(table)}
    for key, value in table.items():
        if value is None:
            yield f"# {toml.key(key)}: not set"
        else:
            yield f"{toml.key(key)} = {toml.value(_without_secrets(key, value))}"


def _without_secrets(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return HIDDEN if is_secret(key) else _QUERY.sub(_without_value, value)
    if isinstance(value, dict):
        return {name: _without_secrets(name, item) for name, item in value.items()}
    if isinstance(value, (tuple, list)) and all(isinstance(item, str) for item in value):
        return [HIDDEN if hide else item for item, hide in _arguments(value)]
    return value


def _without_value(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if is_secret(found[1]) else found[0]


def _arguments(words: Any) -> Iterator[tuple[str, bool]]:
    """A command's words, each with whether it must be hidden: what follows `--password`, or stands in `--token=…`."""
    hide_next = False
    for word in words:
        option = _OPTION.fullmatch(word)
        secret = option is not None and is_secret(option[1].strip("-"))
        yield word, hide_next or (secret and option is not None and bool(option[2]))
        hide_next = secret and option is not None and not option[2]
