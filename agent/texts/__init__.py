"""What does an observation say in the reader's language? Sentences live beside this file, one TOML file per kind.

A sentence is looked up by its reason (`ok` and a kind's own name by the kind) and filled from the measurements:
`{free_bytes:bytes}` prints 1.5 GB, `{age_s:span}` 2 h 5 min, `{until:clock}` 11-22 07:35 as the PC's clock had it,
`{rtt_ms}` a number with three significant digits, a missing one prints "?", a list is joined as the language does.
`{detail}` is the text that `why.toml` has for the fact `why`, where there is one: which case of a reason this is. A
case may have a sentence of its own, under `reason:why`.
"""

from __future__ import annotations

import functools
import json
import string
import time
from collections.abc import Mapping

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any, Literal

    Language = Literal["en", "zh-CN"]

FOLDER = __file__.rpartition("/")[0]
SPANS = {"span": ("d", "h", "min", "s"), "时长": ("天", "小时", "分钟", "秒")}
"""How a sentence asks for a length of time in its own words: `{age_s:span}`, `{age_s:时长}`."""
LANGUAGES: tuple[Language, ...] = ("en", "zh-CN")


def sentence(kind: str, reason: str, facts: Mapping[str, Any], language: Language, otherwise: str = "") -> str:
    """The sentence for `reason`, filled; `otherwise` (or the bare reason) where no catalogue has one."""
    catalogue = _catalogue(kind) if reason == "ok" else _catalogue(reason.partition(".")[0])
    words = catalogue.get(f"{reason}:{facts.get('why')}") or catalogue.get(reason, {})
    template = words.get(language)
    if template is None:
        return otherwise or reason
    return fill(template, _with_detail(facts, language), language)


def _with_detail(facts: Mapping[str, Any], language: Language) -> Mapping[str, Any]:
    why = facts.get("why")
    template = _catalogue("why").get(why, {}).get(language) if isinstance(why, str) else None
    return facts if template is None else {**facts, "detail": fill(template, facts, language)}


def event(what: str, language: Language, facts: Mapping[str, Any]) -> str:
    """What happened to the agent or its PC, from `event.toml`, where `what:why` tells the cases of one apart."""
    seconds = facts.get("seconds")
    if isinstance(seconds, (int, float)) and seconds < 0:
        facts = {**facts, "why": "back", "seconds": -seconds}
    words = _catalogue("event").get(f"{what}:{facts.get('why')}") or _catalogue("event").get(what, {})
    return fill(words.get(language, what), facts, language)


def kind_name(kind: str, language: Language) -> str:
    """What people call this kind of probe."""
    return _catalogue(kind).get("kind", {}).get(language, kind)


def phrase(name: str, language: Language, **facts: Any) -> str:
    """A sentence of the interface itself, from `words.json`. Raises KeyError for an unknown name."""
    return fill(_words()[name][language], facts, language)


def fill(template: str, facts: Mapping[str, Any], language: Language = "en") -> str:
    """Fill a template; never raises for a missing or odd fact."""
    return _FORMATS[language].vformat(template, (), facts)


@functools.cache
def _words() -> dict[str, dict[str, str]]:
    """JSON and not TOML: reading TOML takes 12 ms, a quarter of what `posagent status` may take."""
    with open(f"{FOLDER}/words.json", encoding="utf-8") as file:  # noqa: PTH123 -- nor has it time for pathlib
        words: dict[str, dict[str, str]] = json.load(file)
    return words


@functools.cache
def _catalogue(name: str) -> dict[str, dict[str, str]]:
    import tomllib

    try:
        with open(f"{FOLDER}/{name}.toml", "rb") as file:  # noqa: PTH123
            return tomllib.load(file)
    except FileNotFoundError:
        return {}


class _Facts(string.Formatter):
    def __init__(self, comma: str) -> None:
        self.comma = comma

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        return kwargs.get(str(key)) if isinstance(key, str) else None

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        return self.get_value(field_name, args, kwargs), field_name

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        return value

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return "?"
        if format_spec:
            return _size(value) if format_spec == "bytes" else _when(value, format_spec)
        if isinstance(value, float):
            return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
        if isinstance(value, (list, tuple)):
            return self.comma.join(str(item) for item in value)
        return str(value)


def _size(value: Any) -> str:
    number = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _when(value: Any, format_spec: str) -> str:
    """A length of time, in the words that the sentence asks for, or a moment."""
    if format_spec in SPANS:
        return _span(value, SPANS[format_spec])
    try:
        return time.strftime("%m-%d %H:%M", time.localtime(value))
    except (ValueError, OverflowError, OSError, TypeError):
        return str(value)


def _span(value: Any, words: tuple[str, ...]) -> str:
    """At most two units: `2 d 6 h`, `2 天 6 小时`; parts of a second only where there is nothing else."""
    if 0.05 <= value < 1:
        return f"{value:.1g} {words[-1]}"
    left, parts = max(0, round(value)), []
    for word, size in zip(words, (86400, 3600, 60, 1), strict=True):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {word}")
        elif parts:
            break
    return " ".join(parts[:2]) or f"0 {words[-1]}"


_FORMATS = {"en": _Facts(", "), "zh-CN": _Facts("、")}
