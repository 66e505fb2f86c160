"""What is somebody told about a cause: what broke, what to do now, what to leave alone, what still works?

The words are data: `en.toml` and `zh-CN.toml` beside this file, one table per cause of agent/diagnosis/model.py. A site
may put its own words over them, any subset, in a file of its own (docs/advice.md):

    [zh-CN."lan.router_down"]
    cashier = ["重启柜台下方的路由器，等三分钟。"]
    contact = "门店 IT 分机 8001"
"""

from __future__ import annotations

import functools
import string
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from agent import texts
from agent.diagnosis.model import CAUSES

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config.model import Config
    from agent.config.problems import Path as KeyPath
    from agent.config.typed import Notes
    from agent.texts import Language

FOLDER = __file__.rpartition("/")[0]
PLACEHOLDERS = ("subject",)
"""The facts that a text may name. Every diagnosis has them, or `subject` of the table stands in."""

Line = Annotated[str, Meta(min_length=1, max_length=1000, title="text of at most 1000 characters")]
Steps = Annotated[tuple[Line, ...], Meta(min_length=1, max_length=12)]
Items = Annotated[tuple[Line, ...], Meta(max_length=12)]


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about one fault, in one language. `contact` is the site's own for this cause, or empty."""

    title: str
    explanation: str
    cashier: tuple[str, ...]
    technician: tuple[str, ...]
    warnings: tuple[str, ...]
    works: tuple[str, ...]
    contact: str = ""


class SiteTexts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a site says about one cause in its own words. A list stands in for the whole list of ours."""

    title: Line | None = None
    explanation: Line | None = None
    cashier: Steps | None = None
    technician: Steps | None = None
    warnings: Items | None = None
    works: Items | None = None
    contact: Line | None = None


SiteAdvice = Mapping[str, Mapping[str, SiteTexts]]
"""By language, by cause."""


def advice(cause: str, language: Language, facts: Mapping[str, object] = {}, site: SiteAdvice | None = None) -> Advice:
    """The texts of a cause, filled from the facts; an unknown cause has those of "unclassified"."""
    known = cause if cause in CAUSES else "unclassified"
    words: dict[str, Any] = dict(_catalogue(language)[known])
    ready = {"subject": words.pop("subject", "?")} | {
        name: fact for name, fact in facts.items() if fact not in ("", None)
    }
    own = (site or {}).get(language, {}).get(known)
    if own is not None:
        words |= {name: value for name, value in msgspec.structs.asdict(own).items() if value is not None}
    return Advice(**{name: _filled(value, ready, language) for name, value in words.items()})


def site_of(config: Config) -> SiteAdvice:
    """What the configuration's `[advice] file` says; nothing where none is set. Raises ConfigError."""
    from pathlib import Path

    return load_site(Path(config.advice.file)) if config.advice.file else {}


def load_site(path: Path) -> SiteAdvice:
    """A site's own texts. Raises agent.config.problems.ConfigError with every problem at once."""
    from agent.config import read
    from agent.config.problems import ConfigError, Problem
    from agent.config.typed import Notes

    given = read.source(path, {})
    if given is None or not given.data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise ConfigError([Problem(str(path), (), "the file is empty; was it cut off while being written?")])
    notes = Notes(given.name)
    found = {language: dict(causes) for language, causes in _languages(read.table(given), notes)}
    if notes.problems:
        raise ConfigError(notes.problems)
    return found


def _languages(table: Mapping[str, Any], notes: Notes) -> Iterator[tuple[str, list[tuple[str, SiteTexts]]]]:
    from agent.config.problems import unknown

    for language, causes in table.items():
        if language in texts.LANGUAGES and isinstance(causes, dict):
            yield language, list(_causes(language, causes, notes))
        elif language in texts.LANGUAGES:
            notes.expected((language,), "a table", causes)
        elif language.partition(".")[0] in _families():
            notes.add((language,), 'expected a language first, as in [en."lan.cable_unplugged"]')
        else:
            notes.add((language,), unknown(language, texts.LANGUAGES, "language"))


def _causes(language: str, causes: Mapping[str, Any], notes: Notes) -> Iterator[tuple[str, SiteTexts]]:
    from agent.config import typed

    for cause, written in causes.items():
        path = (language, cause)
        if cause not in CAUSES:
            notes.add(path, _unknown_cause(language, cause, written))
            continue
        converted = typed.convert(written, SiteTexts, path, notes)
        if isinstance(written, dict):
            _check_braces(written, path, notes)
        if converted is not typed.NO_VALUE:
            yield cause, converted


def _unknown_cause(language: str, cause: str, written: object) -> str:
    from agent.config.problems import suggestion

    families = _families()
    if cause in families and isinstance(written, dict):
        return f'expected the whole cause in quotes, as in [{language}."{cause}.{next(iter(written), "…")}"]'
    family = cause.partition(".")[0]
    nearest = suggestion(cause, CAUSES)
    if nearest or family not in families:
        return f"unknown cause{nearest or '; causes begin with ' + ', '.join(families)}"
    return "unknown cause; known here: " + ", ".join(one for one in CAUSES if one.startswith(f"{family}."))


def _families() -> list[str]:
    return list(dict.fromkeys(cause.partition(".")[0] for cause in CAUSES))


def _check_braces(written: Mapping[str, Any], path: KeyPath, notes: Notes) -> None:
    for name, value in written.items():
        if name not in SiteTexts.__struct_fields__:
            continue
        for place, text in enumerate(value if isinstance(value, list) else (value,)):
            fault = _braces_fault(text) if isinstance(text, str) else ""
            if fault:
                notes.add((*path, name, place) if isinstance(value, list) else (*path, name), fault)


def _braces_fault(text: str) -> str:
    from agent.config.problems import got, suggestion

    try:
        fields = [field for _, *field in string.Formatter().parse(text) if field[0] is not None]
    except ValueError:
        return f"expected braces in pairs, got {got(text)}; write {{{{ and }}}} for braces that are meant"
    for name, spec, conversion in fields:
        if name not in PLACEHOLDERS:
            nearest = suggestion(name, PLACEHOLDERS) or "; write {{ and }} for braces that are meant"
            return f"expected no placeholder but {{subject}}, got {got('{' + str(name) + '}')}{nearest}"
        if spec or conversion:
            return "expected {subject} as it stands, without a format"
    return ""


def _filled(value: Any, facts: Mapping[str, object], language: Language) -> Any:
    if isinstance(value, str):
        return texts.fill(value, facts, language)
    return tuple(texts.fill(item, facts, language) for item in value)


@functools.cache
def _catalogue(language: Language) -> dict[str, dict[str, Any]]:
    import tomllib

    with open(f"{FOLDER}/{language}.toml", "rb") as file:  # noqa: PTH123 -- pathlib is not worth its import here
        return tomllib.load(file)
