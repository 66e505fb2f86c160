"""What does a configuration with every setting look like? `config.example.toml`, made from the code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_origin

import msgspec
from msgspec.structs import fields

from agent.config import toml, typed
from agent.config.channels import KINDS as CHANNELS
from agent.config.channels import WebChannel
from agent.config.describe import (
    Setting,
    common_channel_settings,
    common_settings,
    is_network,
    network_settings,
    own_channel_settings,
    own_settings,
    settings_of,
    summary_of,
    table_of,
    web_channel_settings,
    wrap,
)
from agent.config.escalation import Level
from agent.config.model import Sections
from probes import registry
from probes.model import Kind

HEAD = """\
# posagent: every setting, at its default.
#
# This file is made from the code. As it stands it changes nothing: without any [probes.NAME] table, posagent looks at
# what this PC has. A line that starts with "# " explains; remove the "#" of a setting to change it. Where a setting has
# no default, the value is an example.
#
# Durations are "500ms", "30s", "5m", "2h", "1d", or seconds. Secrets are never in this file: where one is wanted, write
# { file = "/path" }, { env = "NAME" } or { credential = "NAME" } (systemd's LoadCredential).
# `posagent config check` names every problem at once; `posagent config show` prints what holds.
"""
WIDTH = 118


def example() -> str:
    """The whole text of config.example.toml."""
    scalars: list[str] = []
    tables: list[str] = []
    for info, setting in zip(fields(Sections), settings_of(Sections), strict=True):
        core, _ = typed.peel(info.type)
        if info.name in ("probes", "channels", "escalation"):
            continue
        if isinstance(core, type) and issubclass(core, msgspec.Struct):
            tables += _section(setting.name, core)
        elif get_origin(core) is dict:
            tables += ["", *wrap(_sentence(setting.description), WIDTH, "# "), f"[{setting.name}]"]
            tables += [f"#{toml.key(key)} = {toml.value(value)}" for key, value in setting.sample.items()]
        else:
            scalars += _settings([setting])
    return "\n".join([HEAD.rstrip("\n"), *scalars, *tables, *_channels(), *_levels(), *_probes()]) + "\n"


def _section(name: str, struct: type[msgspec.Struct], mark: str = "") -> Iterator[str]:
    """A table and those in it; `mark` comments it out where it is there only when somebody writes it."""
    settings = settings_of(struct)
    inner = [setting for setting in settings if table_of(setting.of)]
    yield from ("", *wrap(summary_of(struct), WIDTH, "# "), f"{mark}[{name}]")
    yield from _settings(setting for setting in settings if setting not in inner)
    for setting in inner:
        table = table_of(setting.of)
        if table is not None:
            yield from _section(f"{name}.{setting.name}", table, "#")


def _channels() -> Iterator[str]:
    yield from ("", "", "# ---- Channels ----", "")
    yield from wrap(
        "One table per way to reach people; its name is yours to choose. docs/channels.md has a ready example of each. "
        "This is what every channel takes:",
        WIDTH,
        "# ",
    )
    yield "#[channels.NAME]"
    yield from _settings(common_channel_settings())
    yield from ("", "# Those over HTTPS also take:")
    yield from _settings(web_channel_settings())
    for name, kind in CHANNELS.items():
        yield from ("", "")
        over = " Over HTTPS." if issubclass(kind, WebChannel) else ""
        yield from wrap(f"{name}: {summary_of(kind)}{over}", WIDTH, "# ")
        yield f"#[channels.{name}]"
        yield f'#kind = "{name}"'
        yield from _settings(own_channel_settings(kind))


def _levels() -> Iterator[str]:
    yield from ("", "", "# ---- Escalation ----", "")
    yield from wrap(
        "One table per level: who is told of a fault when nobody has taken charge of it. docs/escalation.md says "
        "what follows. Without any, all channels are told in opening hours: at once when payments are down, after 15 "
        "minutes when they are at risk.",
        WIDTH,
        "# ",
    )
    yield "#[[escalation]]"
    yield from _settings(settings_of(Level))


def _probes() -> Iterator[str]:
    yield from ("", "", "# ---- Probes ----", "")
    yield from wrap(
        "One table per probe; its name is yours to choose. This is what every probe takes, whatever its kind:",
        WIDTH,
        "# ",
    )
    yield "#[probes.NAME]"
    yield from _settings(common_settings())
    yield from ("", "# Kinds that speak to another host also take:")
    yield from _settings(network_settings())
    for name in registry.names():
        yield from _kind(registry.find(name))


def _kind(kind: Kind[Any, Any]) -> Iterator[str]:
    yield from ("", "")
    yield from wrap(f"{kind.name}: {kind.summary}.", WIDTH, "# ")
    defaults = [f"impact {kind.impact.value}"]
    defaults += [f"interval {kind.interval}"] if kind.interval else []
    defaults += [f"timeout {kind.timeout}"] if kind.timeout else []
    also = "; takes `role`" if is_network(kind) else ""
    yield f"# By default: {', '.join(defaults)}{also}."
    yield f"#[probes.{kind.name}]"
    yield f'#kind = "{kind.name}"'
    yield from _settings(own_settings(kind))


def _settings(settings: Iterable[Setting]) -> Iterator[str]:
    for setting in settings:
        note = ""
        if setting.required:
            note = " (must be set)"
        elif setting.default is None and "default" not in setting.description:
            note = " (default: none)"
        yield ""
        yield from wrap(f"{setting.description}{note}", WIDTH, "# ")
        yield f"#{setting.name} = {_shown(setting)}"


def _shown(setting: Setting) -> str:
    empty = setting.default in (None, '""', "[]", "{}")
    return toml.value(setting.sample) if empty or setting.default is None else setting.default


def _sentence(text: str) -> str:
    return text if not text else text[0].upper() + text[1:]
