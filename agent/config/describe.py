"""What is to be said about each setting? One definition, the struct's own, for example file, pages and schema."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import fields

from agent.config import toml, typed
from agent.config.channels import WebChannel
from agent.config.model import Channel
from agent.config.probe_tables import PRESET, takes_targets
from agent.config.samples import SAMPLES
from agent.config.secret import Secret
from probes.model import Kind, NetworkSettings, Seconds, Settings

PRESET_TEXT = "a shipped list of hosts that stands in for `targets`; docs/probes.md lists them"
PRESET_EXAMPLE = "adyen-eu"

_SAMPLES = {
    "a host name or address": "host.example",
    "a path": "/path/to/it",
    'a URL such as "https://host/path"': "https://host.example/path",
    "a regular expression": "^text$",
}


@dataclass(frozen=True)
class Setting:
    """One setting: what it is called, what it takes, what holds without it, and a value to show."""

    name: str
    takes: str
    description: str
    default: str | None
    """As TOML, None where there is none."""
    required: bool
    sample: Any
    of: Any


def settings_of(struct: type[msgspec.Struct], example: Mapping[str, Any] | None = None) -> list[Setting]:
    """Every setting of a struct, in its order; samples come from `example` where it has one."""
    return [_setting(info, example or {}) for info in fields(struct)]


def own_settings(kind: Kind[Any, Any]) -> list[Setting]:
    """What a kind takes besides what every probe takes."""
    common = {info.name for info in fields(NetworkSettings)}
    examples = {**SAMPLES.get(kind.name, {}), **kind.example}
    own = [setting for setting in settings_of(kind.settings, examples) if setting.name not in common]
    if takes_targets(kind) and all(setting.name != PRESET for setting in own):
        own.append(Setting(PRESET, "the name of a preset", PRESET_TEXT, None, False, PRESET_EXAMPLE, str))
    return own


def common_settings() -> list[Setting]:
    """What every probe takes."""
    return settings_of(Settings, _COMMON_SAMPLES)


def network_settings() -> list[Setting]:
    """What every network kind takes as well."""
    common = {info.name for info in fields(Settings)}
    return [setting for setting in settings_of(NetworkSettings) if setting.name not in common]


def common_channel_settings() -> list[Setting]:
    """What every channel takes."""
    return settings_of(Channel, {"kind": "journal"})


def web_channel_settings() -> list[Setting]:
    """What every channel over HTTPS takes as well."""
    common = {info.name for info in fields(Channel)}
    return [setting for setting in settings_of(WebChannel) if setting.name not in common]


def own_channel_settings(kind: type[Channel]) -> list[Setting]:
    """What one kind of channel takes besides."""
    common = {info.name for info in fields(WebChannel if issubclass(kind, WebChannel) else Channel)}
    return [setting for setting in settings_of(kind) if setting.name not in common]


def is_network(kind: Kind[Any, Any]) -> bool:
    """Whether a kind speaks to another host."""
    return issubclass(kind.settings, NetworkSettings)


def table_of(of: Any) -> type[msgspec.Struct] | None:
    """The struct of a setting that is a table of its own; a secret is a value."""
    core, _ = typed.peel(of)
    return core if isinstance(core, type) and issubclass(core, msgspec.Struct) and core is not Secret else None


def summary_of(struct: type[msgspec.Struct]) -> str:
    """The first line of a struct's docstring."""
    return (struct.__doc__ or "").strip().partition("\n")[0]


def _setting(info: Any, example: Mapping[str, Any]) -> Setting:
    _, metas = typed.peel(info.type)
    description = next((meta.description for meta in metas if meta.description), "")
    required = typed.is_required(info)
    default = None if required else typed.default_of(info)
    shown = next((meta.examples[0] for meta in metas if meta.examples), None)
    if info.encode_name in example:
        shown = example[info.encode_name]
    return Setting(
        name=info.encode_name,
        takes=_takes(info.type),
        description=description,
        default=None if default is None else toml.value(default),
        required=required,
        sample=shown if shown is not None else _sample(info.type),
        of=info.type,
    )


def _takes(of: Any) -> str:
    core, _ = typed.peel(of)
    if isinstance(core, type) and issubclass(core, msgspec.Struct) and core is not Secret:
        return "a table of " + ", ".join(info.encode_name for info in fields(core))
    return (
        typed.words(of)
        .replace(Seconds.EXPECTED, "a duration")
        .replace("list of a ", "list of ")
        .replace("list of one of", "list of")
    )


def _sample(of: Any) -> Any:
    core, metas = typed.peel(typed.first_of(of))
    title = next((meta.title for meta in metas if meta.title), "")
    choices = typed.choices_of(core)
    if choices:
        return choices[0]
    if core in (int, float):
        low = next((meta.ge for meta in metas if meta.ge is not None), 0)
        return core(max(low, 1))
    if get_origin(core) in (tuple, list):
        return [_sample(get_args(core)[0])]
    if get_origin(core) is dict or (isinstance(core, type) and issubclass(core, msgspec.Struct) and core is not Secret):
        return {}
    return _plain_sample(core, title)


def _plain_sample(core: Any, title: str) -> Any:
    if core is bool:
        return True
    if core is Seconds:
        return Seconds(30)
    if core is Secret:
        return Secret(file="/etc/posagent/secret")
    return _SAMPLES.get(title, "text")


_COMMON_SAMPLES: Mapping[str, Any] = {
    "kind": "disk",
    "label": "Sales disk",
    "interval": Seconds(30),
    "timeout": Seconds(3),
    "fail_after": 3,
    "recover_after": 2,
    "impact": "degrade",
    "needs": [],
}


def wrap(text: str, width: int, indent: str) -> Iterator[str]:
    """Lines of at most `width`, each with the indent."""
    import textwrap

    yield from textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False) or []


def plain(value: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Seconds):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
