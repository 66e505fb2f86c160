"""How is a value written in TOML? The standard library only reads it."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import fields

from probes.model import Seconds

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def key(name: str) -> str:
    """A key, quoted where TOML wants it."""
    return name if _BARE.fullmatch(name) else text(name)


def text(value: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL and surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def value(of: Any) -> str:
    """A value on one line. None has no spelling in TOML: raises TypeError."""
    if isinstance(of, (tuple, list)):
        return "[" + ", ".join(value(item) for item in of) + "]"
    if isinstance(of, (msgspec.Struct, Mapping)):
        return _inline_table(of)
    return _scalar(of)


def _scalar(of: Any) -> str:
    if isinstance(of, enum.Enum):
        return text(str(of.value))
    if isinstance(of, bool):
        return "true" if of else "false"
    if isinstance(of, Seconds):
        return _seconds(of)
    if isinstance(of, (int, float)):
        whole = isinstance(of, float) and of.is_integer() and abs(of) < 1e15
        return str(int(of)) if whole else repr(of)
    if isinstance(of, str):
        return text(of)
    raise TypeError(f"TOML has no spelling for {of!r}")


def _seconds(of: Seconds) -> str:
    written = str(of)
    return text(written) if Seconds.parse(written) == of else repr(float(of))


def _inline_table(of: msgspec.Struct | Mapping[str, Any]) -> str:
    if isinstance(of, msgspec.Struct):
        of = {info.encode_name: getattr(of, info.name) for info in fields(of)}
    written = ", ".join(f"{key(name)} = {value(item)}" for name, item in of.items() if item is not None)
    return f"{{ {written} }}" if written else "{}"
