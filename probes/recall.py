"""What did a kind write down last time? Its memory, typed; a fresh one where it has none, or cannot read it."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from probes.model import Memory

P = TypeVar("P", bound=msgspec.Struct)


def recall(memory: Memory, past: type[P]) -> P:
    """The memory as `past`, whose fields all have defaults; what an older version wrote differently is forgotten."""
    try:
        return msgspec.convert(dict(memory), past)
    except msgspec.ValidationError:
        return past()


def keep(past: msgspec.Struct) -> dict[str, Any]:
    """The memory to hand back with an observation."""
    kept: dict[str, Any] = msgspec.to_builtins(past)
    return kept
