"""What may the file hold, for editors and other programs? A JSON Schema (2020-12) made from the structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import fields

from agent.config import describe, presets, typed
from agent.config.channels import KINDS as CHANNELS
from agent.config.model import PROBE_NAME, Channel, Sections
from agent.config.probe_tables import PRESET, takes_targets
from agent.config.secret import Secret
from probes import registry
from probes.model import Kind, Seconds

Schema = dict[str, Any]

DURATION: Schema = {
    "description": Seconds.EXPECTED,
    "anyOf": [
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"},
        {"type": "number", "minimum": 0},
    ],
}


def schema() -> Schema:
    """The schema of the whole file, each kind told by its `kind`."""
    top = _struct(Sections)
    kinds = {name: registry.find(name) for name in registry.names()}
    top["properties"]["probes"] |= _by_kind({name: name for name in kinds})
    top["properties"]["channels"] |= _by_kind({name: f"channel-{name}" for name in CHANNELS})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "posagent.config/1",
        "title": "posagent configuration",
        **top,
        "$defs": {
            "duration": DURATION,
            **{name: _kind(kind) for name, kind in kinds.items()},
            **{f"channel-{name}": _channel(name, kind) for name, kind in CHANNELS.items()},
        },
    }


def _by_kind(definitions: Mapping[str, str]) -> Schema:
    """Tables with names of the user's own, each of which a definition describes, told by its `kind`."""
    return {
        "propertyNames": {"pattern": f"^{PROBE_NAME.pattern}$"},
        "additionalProperties": {
            "type": "object",
            "required": ["kind"],
            "properties": {"kind": {"enum": list(definitions)}},
            "allOf": [
                {
                    "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
                    "then": {"$ref": f"#/$defs/{definition}"},
                }
                for name, definition in definitions.items()
            ],
        },
    }


def _channel(name: str, kind: type[Channel]) -> Schema:
    made = _struct(kind)
    made["properties"]["kind"] = {"const": name}
    return made


def _kind(kind: Kind[Any, Any]) -> Schema:
    made = _struct(kind.settings)
    made["description"] = kind.summary
    made["properties"]["kind"] = {"const": kind.name}
    if takes_targets(kind):
        made["properties"][PRESET] = {"enum": presets.names(), "description": describe.PRESET_TEXT}
    return made


def _struct(of: type[msgspec.Struct]) -> Schema:
    properties: Schema = {}
    for info in fields(of):
        made = _value(info.type)
        default = describe.plain(typed.default_of(info))
        if not typed.is_required(info) and default is not None and not isinstance(default, msgspec.Struct):
            made["default"] = default
        properties[info.encode_name] = made
    made = {"type": "object", "description": describe.summary_of(of), "properties": properties}
    required = [info.encode_name for info in fields(of) if typed.is_required(info)]
    if required:
        made["required"] = required
    if of is Secret:
        made |= {"minProperties": 1, "maxProperties": 1}
    return made | {"additionalProperties": False}


def _value(of: Any) -> Schema:
    core, metas = typed.peel(of)
    made = _core(core)
    for meta in metas:
        made |= _bounds(meta, core)
    description = next((meta.description for meta in metas if meta.description), None)
    return made if description is None else {"description": description, **made}


def _core(core: Any) -> Schema:
    origin, arguments = get_origin(core), get_args(core)
    choices = typed.choices_of(core)
    if choices:
        return {"enum": choices}
    if origin in (tuple, list):
        return {"type": "array", "items": _value(arguments[0])}
    if origin is dict:
        return _dict(*arguments)
    if isinstance(core, type):
        return _class(core)
    return {"anyOf": [_value(member) for member in arguments if member is not type(None)]}


def _class(core: type) -> Schema:
    if issubclass(core, msgspec.Struct):
        return _struct(core)
    if core is Seconds:
        return {"$ref": "#/$defs/duration"}
    return {"type": {bool: "boolean", int: "integer", float: "number", str: "string"}[core]}


def _dict(key: Any, item: Any) -> Schema:
    item_core, _ = typed.peel(item)
    if isinstance(item_core, type) and issubclass(item_core, msgspec.Struct):
        return {"type": "object"}
    names = typed.choices_of(typed.peel(key)[0])
    if not names:
        return {"type": "object", "additionalProperties": _value(item)}
    return {"type": "object", "properties": {name: _value(item) for name in names}, "additionalProperties": False}


_WORDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum", "pattern": "pattern"}


def _bounds(meta: msgspec.Meta, core: Any) -> Schema:
    made = {word: getattr(meta, name) for name, word in _WORDS.items() if getattr(meta, name) is not None}
    length, items = ("Length", "Items")
    what = length if core is str else items
    if meta.min_length is not None:
        made[f"min{what}"] = meta.min_length
    if meta.max_length is not None:
        made[f"max{what}"] = meta.max_length
    if meta.examples:
        made["examples"] = [describe.plain(one) for one in meta.examples]
    return made
