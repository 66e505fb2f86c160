"""What is there to say about each kind of probe? For the terminal and for docs/probes.md, both from the code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from agent.config import presets, toml
from agent.config.describe import (
    Setting,
    common_settings,
    is_network,
    network_settings,
    own_settings,
    wrap,
)
from agent.config.probe_tables import takes_targets
from probes import registry
from probes.model import PROBE_REASONS, Impact, Kind

WIDTH = 100
IMPACTS = {Impact.STOP: "payments are down", Impact.DEGRADE: "payments are at risk", Impact.NONE: "payments go on"}
PAGE_HEAD = """\
# Probe kinds

This page is made from the code; `posagent kinds` and `posagent kinds KIND` print the same in the terminal, and
`config.example.toml` shows every setting in its place. `reason` codes are part of the public contract.
"""


def kinds_text() -> str:
    """Every kind with its summary, one line each."""
    kinds = [registry.find(name) for name in registry.names()]
    width = max(len(kind.name) for kind in kinds)
    return "".join(f"{kind.name:{width}}  {kind.summary}\n" for kind in kinds)


def kind_text(kind: Kind[Any, Any]) -> str:
    """All about one kind, for a terminal."""
    lines = [f"{kind.name}: {kind.summary}", "", *wrap(_defaults(kind), WIDTH, ""), "", "Settings"]
    for setting in own_settings(kind):
        lines += [f"  {setting.name} = {_default(setting)}", *wrap(_explained(setting), WIDTH, "      ")]
    common = [setting.name for setting in (*common_settings(), *(network_settings() if is_network(kind) else ()))]
    lines += [*wrap(f"as every probe: {', '.join(common)}", WIDTH, "  "), "", "Reasons"]
    lines += ["  ok", "      all is well"]
    for reason, meaning in kind.reasons.items():
        lines += [f"  {reason}", *wrap(meaning, WIDTH, "      ")]
    lines += wrap(f"as every probe: {', '.join(PROBE_REASONS)}; docs/probes.md has their meaning", WIDTH, "  ")
    if takes_targets(kind):
        lines += [
            "",
            "Presets (docs/probes.md has their hosts and sources)",
            *wrap(", ".join(presets.names()), WIDTH, "  "),
        ]
    lines += ["", "Example", *(f"  {line}" for line in _example(kind))]
    return "\n".join(lines) + "\n"


def probes_page() -> str:
    """The whole text of docs/probes.md."""
    kinds = [registry.find(name) for name in registry.names()]
    index = ", ".join(f"[{kind.name}](#{kind.name})" for kind in kinds)
    parts = [PAGE_HEAD, f"{index}\n", *_common(), *(part for kind in kinds for part in _section(kind)), *_presets()]
    return "\n".join(parts)


def _common() -> Iterator[str]:
    yield "## What every probe takes\n"
    yield from _settings_table(common_settings())
    yield "\nKinds that speak to another host also take:\n"
    yield from _settings_table(network_settings())
    yield "\nEvery kind may also answer:\n"
    yield from _reasons_table(PROBE_REASONS.items())
    yield ""


def _section(kind: Kind[Any, Any]) -> Iterator[str]:
    yield f"## {kind.name}\n"
    yield f"{_sentence(kind.summary)}. {_defaults(kind)}\n"
    own = own_settings(kind)
    if own:
        yield from _settings_table(own)
        yield ""
    yield from _reasons_table(kind.reasons.items())
    yield "\n```toml"
    yield from _example(kind)
    yield "```\n"


def _presets() -> Iterator[str]:
    yield "## Presets\n"
    yield (
        '`preset = "NAME"` stands in for `targets` of a `port` or `tls` probe. None is on by default. Vendors\' lists'
        " change: the source and the day it was read are given, and how far to trust it: A is the vendor's own page or"
        " that of its partner, B public code or a community page: check with your acquirer.\n"
    )
    yield "| preset | hosts | ports | trust | read | sources |"
    yield "|---|---|---|---|---|---|"
    for name in presets.names():
        preset = presets.find(name)
        note = " ".join(text for text in (preset.note, preset.wildcard_note) if text)
        hosts = " ".join(f"`{host}`" for host in preset.hosts)
        sources = " ".join(f"<{url}>" for url in preset.source_url)
        ports = ", ".join(str(port) for port in preset.ports)
        about = f"{preset.title}. {hosts}<br>{note}" if note else f"{preset.title}. {hosts}"
        yield _row(f"`{name}`", about, ports, preset.confidence, preset.retrieved, sources)
    yield ""


def _settings_table(settings: Iterable[Setting]) -> Iterator[str]:
    yield "| setting | takes | default | meaning |"
    yield "|---|---|---|---|"
    for setting in settings:
        default = "must be set" if setting.required else f"`{setting.default}`" if setting.default else ""
        yield _row(f"`{setting.name}`", setting.takes, default, setting.description)


def _reasons_table(reasons: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "| reason | meaning |"
    yield "|---|---|"
    for reason, meaning in reasons:
        yield _row(f"`{reason}`", meaning)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _defaults(kind: Kind[Any, Any]) -> str:
    text = f"A failure means `{kind.impact.value}`: {IMPACTS[kind.impact]}."
    if kind.interval:
        text += f" Looks every {kind.interval} unless told otherwise."
    if kind.timeout:
        text += f" Gives up after {kind.timeout} unless told otherwise."
    return text


def _default(setting: Setting) -> str:
    return "(must be set)" if setting.required else setting.default or "(not set)"


def _explained(setting: Setting) -> str:
    return f"{setting.description} ({setting.takes})" if setting.description else setting.takes


def _example(kind: Kind[Any, Any]) -> Iterator[str]:
    yield f"[probes.{toml.key(kind.name)}]"
    yield f"kind = {toml.text(kind.name)}"
    for name, value in kind.example.items():
        yield f"{toml.key(name)} = {toml.value(value)}"


def _sentence(text: str) -> str:
    return text if not text else text[0].upper() + text[1:]
