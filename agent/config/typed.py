"""Does a value fit the type of its setting, and if not, in plain words, what would?

msgspec reports the first error of a document; a technician wants all of them. So structs, tables and lists are walked
here, and msgspec judges each single value.
"""

from __future__ import annotations

import enum
import math
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta
from msgspec.structs import FieldInfo
from msgspec.structs import fields as _fields

from agent.config.problems import Path, Problem, got, suggestion, unknown
from agent.config.secret import EXPECTED as SECRET_EXPECTED
from agent.config.secret import Secret
from probes.model import Pattern, Seconds

_FIELDS: dict[type[msgspec.Struct], tuple[FieldInfo, ...]] = {}

NO_VALUE: Any = object()
"""Stands for a value that could not be had; the problem is already noted."""

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_PATTERN_TITLE = next(meta.title for meta in Pattern.__metadata__)  # type: ignore[attr-defined]
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PASSWORD_IN_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s@:]*:[^/\s@]+@", re.IGNORECASE)


def fields(struct: type[msgspec.Struct]) -> tuple[FieldInfo, ...]:
    """The settings of a struct. Resolving their types takes long: once per struct, not once per probe."""
    if struct not in _FIELDS:
        _FIELDS[struct] = _fields(struct)
    return _FIELDS[struct]


@dataclass
class Notes:
    """Where problems are written down while a file is read."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, message: str) -> None:
        """Write one down."""
        self.problems.append(Problem(self.file, path, message))

    def expected(self, path: Path, expected: str, value: object, hint: str = "") -> None:
        """Write down that something else was expected."""
        self.add(path, f"expected {expected}, got {got(value, path)}{hint}")


def peel(of: Any) -> tuple[Any, tuple[Meta, ...]]:
    """A type without `Annotated` and `| None`, and every Meta on the way, the outermost first."""
    metas: tuple[Meta, ...] = ()
    while True:
        if get_origin(of) is Annotated:
            of, *found = get_args(of)
            metas += tuple(meta for meta in found if isinstance(meta, Meta))
        elif _is_union(of) and len(_members(of)) == 1:
            of = _members(of)[0]
        else:
            return of, metas


def convert(value: Any, of: Any, path: Path, notes: Notes) -> Any:
    """The value as its type, or NO_VALUE with everything that is wrong in `notes`."""
    core, _ = peel(of)
    if core is Secret or (isinstance(value, dict) and _is_union(core) and Secret in _members(core)):
        return _secret(value, path, notes)
    if isinstance(core, type) and issubclass(core, msgspec.Struct):
        return _struct(value, core, path, notes)
    origin, arguments = get_origin(core), get_args(core)
    if origin in (tuple, list) and isinstance(value, list) and (origin is list or arguments[-1] is Ellipsis):
        return _sequence(value, of, arguments[0], path, notes)
    if origin is dict and isinstance(value, dict):
        return _dict(value, arguments, path, notes)
    return _single(value, of, path, notes)


def convert_fields(
    value: Mapping[str, Any], of: type[msgspec.Struct], path: Path, notes: Notes, skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Each setting of a table by itself; what is missing or wrong is left out and noted. `skip` is read elsewhere."""
    known = {info.encode_name: info for info in fields(of) if info.encode_name not in skip}
    names = [*known, *skip]
    for key in value:
        if key not in names:
            notes.add((*path, key), unknown(key, names))
    converted = {}
    for key, info in known.items():
        if key in value:
            result = convert(value[key], info.type, (*path, key), notes)
            if result is not NO_VALUE:
                converted[info.name] = result
        elif is_required(info):
            notes.add((*path, key), f"expected {words(info.type)}, got nothing")
    return converted


def is_required(info: FieldInfo) -> bool:
    """Whether a setting has no default."""
    return info.default is NODEFAULT and info.default_factory is NODEFAULT


def default_of(info: FieldInfo) -> Any:
    """A setting's default; NODEFAULT where it has none."""
    return info.default_factory() if info.default_factory is not NODEFAULT else info.default


def words(of: Any) -> str:
    """What an error message says was expected."""
    core, metas = peel(of)
    title = next((meta.title for meta in metas if meta.title), None)
    if title is not None:
        return title
    if core is Seconds:
        return Seconds.EXPECTED
    if core in (int, float):
        return _number_words(core, metas)
    if core in _PLAIN:
        return _PLAIN[core]
    choices = choices_of(core)
    if choices:
        return "one of " + ", ".join(f'"{choice}"' for choice in choices)
    return _compound_words(core)


def first_of(of: Any) -> Any:
    """The first of several types that a setting takes."""
    core, _ = peel(of)
    return _members(core)[0] if _is_union(core) else of


def choices_of(core: Any) -> list[str]:
    """The values of an enumeration or Literal; none for any other type."""
    if isinstance(core, type) and issubclass(core, enum.Enum):
        return [str(member.value) for member in core]
    return [str(choice) for choice in get_args(core)] if get_origin(core) is Literal else []


def decode(of: type, value: Any) -> Any:
    """msgspec's door for our own types."""
    if of is Seconds:
        try:
            return Seconds.parse(value)
        except OverflowError as error:
            raise ValueError(Seconds.EXPECTED) from error
    raise NotImplementedError(of)


def _is_union(of: Any) -> bool:
    return get_origin(of) in (Union, types.UnionType)


def _members(of: Any) -> list[Any]:
    return [member for member in get_args(of) if member is not type(None)]


def _compound_words(core: Any) -> str:
    origin, arguments = get_origin(core), get_args(core)
    if _is_union(core):
        return " or ".join(words(member) for member in _members(core))
    if origin in (tuple, list):
        return f"a list of {words(arguments[0])}"
    if core is Secret:
        return SECRET_EXPECTED
    return "a table"


def _number_words(core: Any, metas: tuple[Meta, ...]) -> str:
    low = next((meta.ge for meta in metas if meta.ge is not None), None)
    high = next((meta.le for meta in metas if meta.le is not None), None)
    above = next((meta.gt for meta in metas if meta.gt is not None), None)
    if low is not None and high is not None:
        return f"{low}..{high}"
    if low is not None:
        return f"{_PLAIN[core]} of at least {low}"
    if above is not None:
        return f"{_PLAIN[core]} above {above}" + (f", at most {high}" if high is not None else "")
    if high is not None:
        return f"{_PLAIN[core]} of at most {high}"
    return _PLAIN[core]


def _single(value: Any, of: Any, path: Path, notes: Notes) -> Any:
    core, metas = peel(of)
    try:
        converted = msgspec.convert(value, of, dec_hook=decode)
    except (msgspec.ValidationError, OverflowError):
        notes.expected(path, words(of), value, _hint(value, core, words(of)))
        return NO_VALUE
    fault = next(_faults(converted, metas), None)
    if fault is None:
        return converted
    if fault:
        notes.add(path, fault)
    else:
        notes.expected(path, words(of), value)
    return NO_VALUE


def _hint(value: Any, core: Any, expected: str) -> str:
    choices = choices_of(core)
    if isinstance(value, (bool, int, float)):
        meant = str(value) in choices or (core is str and '"' not in expected)
        return '; put it in "quotes"' if meant else ""
    return suggestion(value, choices)


def _faults(value: Any, metas: tuple[Meta, ...]) -> Iterator[str]:
    """What msgspec lets pass; an empty text stands for the ordinary message."""
    if isinstance(value, float) and not math.isfinite(value):
        yield ""
    if not isinstance(value, str):
        return
    if any(meta.pattern for meta in metas) and re.search(r"[\x00-\x1f\x7f]", value):
        yield ""
    if _CONTROL.search(value):
        character = _CONTROL.search(value)
        yield f"expected text without control characters, got U+{ord(character[0]):04X} in it" if character else ""
    if _PASSWORD_IN_URL.search(value):
        yield "expected a URL without a password in it (secrets are never in this file)"
    if any(meta.title == _PATTERN_TITLE for meta in metas):
        yield from _pattern_faults(value)


def _pattern_faults(value: str) -> Iterator[str]:
    try:
        re.compile(value)
    except re.error as error:
        yield f"expected a regular expression, got {got(value)} ({error})"
    except (RecursionError, OverflowError):
        yield f"expected a regular expression, got {got(value)} (too complex)"


def _struct(value: Any, of: type[msgspec.Struct], path: Path, notes: Notes) -> Any:
    if not isinstance(value, dict):
        notes.expected(path, "a table", value)
        return NO_VALUE
    before = len(notes.problems)
    converted = convert_fields(value, of, path, notes)
    return of(**converted) if len(notes.problems) == before else NO_VALUE


def _secret(value: Any, path: Path, notes: Notes) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        what = "more or less than one of them" if isinstance(value, dict) else "a value that is not shown here"
        notes.add(path, f"expected {SECRET_EXPECTED} (secrets are never in this file), got {what}")
        return NO_VALUE
    return _struct(value, Secret, path, notes)


def _sequence(value: list[Any], of: Any, item: Any, path: Path, notes: Notes) -> Any:
    before = len(notes.problems)
    items = [convert(one, item, (*path, place), notes) for place, one in enumerate(value)]
    if len(notes.problems) != before:
        return NO_VALUE
    _, metas = peel(of)
    least = next((meta.min_length for meta in metas if meta.min_length is not None), 0)
    most = next((meta.max_length for meta in metas if meta.max_length is not None), None)
    if len(items) < least or (most is not None and len(items) > most):
        size = f"at least {least}" if len(items) < least else f"at most {most}"
        notes.add(path, f"expected {size} in the list, got {len(items)}")
        return NO_VALUE
    return items if get_origin(peel(of)[0]) is list else tuple(items)


def _dict(value: dict[str, Any], arguments: tuple[Any, ...], path: Path, notes: Notes) -> Any:
    key_type, item_type = arguments
    before = len(notes.problems)
    known = choices_of(peel(key_type)[0])
    converted = {}
    for key, item in value.items():
        if known and key not in known:
            notes.add((*path, key), unknown(key, known, "name"))
        else:
            converted[key] = convert(item, item_type, (*path, key), notes)
    return converted if len(notes.problems) == before else NO_VALUE
