"""Does each `[probes.NAME]` table make a probe, and do the probes fit together?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.config import presets, typed
from agent.config.model import NAME_EXPECTED, PROBE_NAME
from agent.config.problems import Path, got, suggestion
from agent.config.targets import TARGETS_EXPECTED, host_problems, parse_target
from agent.config.typed import Notes
from probes import registry
from probes.model import Kind, Seconds, Settings

KIND_EXPECTED = "expected a probe kind (`posagent kinds` lists them)"
PRESET = "preset"

TIMES: Mapping[str, tuple[Seconds, Seconds]] = {
    "interval": (Seconds(1), Seconds(7 * 86400)),
    "retry_interval": (Seconds(1), Seconds(86400)),
    "timeout": (Seconds(0.1), Seconds(600)),
}


def read(tables: object, notes: Notes) -> dict[str, Settings]:
    """Every probe that is well-formed; everything wrong with any of them goes to `notes`."""
    if not isinstance(tables, dict):
        notes.expected(("probes",), "a table for each probe: [probes.NAME]", tables)
        return {}
    probes = {}
    for name, table in tables.items():
        settings = _read_one(name, table, notes)
        if settings is not None:
            probes[name] = settings
    _check_needs(probes, tables, notes)
    return probes


def check_times(path: Path, settings: Any, notes: Notes) -> None:
    """Lengths of time that would spin, or never come round."""
    for key, (least, most) in TIMES.items():
        value = getattr(settings, key, None)
        if value is not None and not least <= value <= most:
            notes.add((*path, key), f"expected {least}..{most}, got {got(str(value))}")


def takes_targets(kind: Kind[Any, Any]) -> bool:
    """Whether one table of this kind may name several targets."""
    return any(info.name == "targets" for info in typed.fields(kind.settings))


def _read_one(name: str, table: object, notes: Notes) -> Settings | None:
    path: Path = ("probes", name)
    if PROBE_NAME.fullmatch(name) is None:
        notes.add(path, NAME_EXPECTED)
    if not isinstance(table, dict):
        notes.expected(path, f"a table: [probes.{name}]", table)
        return None
    kind = _kind(name, table, path, notes)
    if kind is None:
        return None
    before = len(notes.problems)
    skip = (PRESET,) if takes_targets(kind) else ()
    given = _with_preset(table, path, notes) if skip else table
    converted = typed.convert_fields(given, kind.settings, path, notes, skip)
    if len(notes.problems) != before:
        return None
    settings: Settings = kind.settings(**converted)
    check_times(path, settings, notes)
    _check_targets(kind, settings, path, notes)
    for key, message in kind.problems(settings):
        repeated = f", got {got(table[key], (key,))}" if key in table and ", got " not in message else ""
        notes.add((*path, key), message + repeated)
    return settings


def _kind(name: str, table: Mapping[str, Any], path: Path, notes: Notes) -> Kind[Any, Any] | None:
    asked = table.get("kind")
    if not isinstance(asked, str):
        said = got(asked) if "kind" in table else "nothing"
        hint = f'; did you mean kind = "{name}"?' if name in registry.names() else ""
        notes.add((*path, "kind"), f"{KIND_EXPECTED}, got {said}{hint}")
        return None
    try:
        return registry.find(asked)
    except KeyError:
        near = suggestion(asked, registry.names())
        notes.add((*path, "kind"), f"{KIND_EXPECTED}, got {got(asked)}{near}")
    except (ImportError, AttributeError, SyntaxError) as error:
        notes.add((*path, "kind"), f"the package that brings the kind {got(asked)} cannot be loaded: {error}")
    return None


def _with_preset(table: dict[str, Any], path: Path, notes: Notes) -> dict[str, Any]:
    """The table with the preset's hosts in its `targets`."""
    if PRESET not in table:
        return table
    rest = {key: value for key, value in table.items() if key != PRESET}
    name = table[PRESET]
    also = [key for key in ("targets", "host", "port") if key in rest]
    if also:
        notes.add((*path, PRESET), f"stands in for `targets`; leave out {' and '.join(f'`{key}`' for key in also)}")
        return rest
    try:
        preset = presets.find(name if isinstance(name, str) else "")
    except KeyError:
        known = presets.names()
        hint = suggestion(name, known) or f"; there are {', '.join(known)}"
        notes.expected((*path, PRESET), "the name of a preset", name, hint)
        return {**rest, "targets": ["stand-in:1"]}  # so that nobody is told of missing targets as well
    return {**rest, "targets": list(preset.targets)}


def _check_targets(kind: Kind[Any, Any], settings: Any, path: Path, notes: Notes) -> None:
    if not takes_targets(kind):
        return
    seen: set[tuple[str, int]] = set()
    for place, text in enumerate(settings.targets or ()):
        target = parse_target(text, settings.port)
        if target is None:
            notes.expected((*path, "targets", place), TARGETS_EXPECTED, text)
        elif target in seen:
            notes.add((*path, "targets", place), f"{got(text)} is named twice")
        else:
            seen.add(target)
            for key, message in host_problems("targets", target[0]):
                notes.add((*path, key, place), f"{message}, got {got(text)}")


def _check_needs(probes: Mapping[str, Settings], tables: Mapping[str, Any], notes: Notes) -> None:
    for name, settings in probes.items():
        for place, needed in enumerate(settings.needs or ()):
            if not _is_known(needed, probes, tables):
                notes.expected(
                    ("probes", name, "needs", place), "the name of a probe", needed, suggestion(needed, tables)
                )
    edges = {name: [need.partition("/")[0] for need in settings.needs or ()] for name, settings in probes.items()}
    for circle in _circles(edges):
        notes.add(("probes", circle[0], "needs"), f"goes round in a circle: {' → '.join(circle)}")


def _is_known(needed: str, probes: Mapping[str, Settings], tables: Mapping[str, Any]) -> bool:
    base, slash, target = needed.partition("/")
    if base not in tables:
        return False
    if not slash or base not in probes:
        return True
    return target in (getattr(probes[base], "targets", None) or ())


def _circles(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Every circle once, as the names on it with the first one again at the end."""
    done: set[str] = set()
    for start in edges:
        yield from _walk(start, edges, done)


def _walk(start: str, edges: Mapping[str, Iterable[str]], done: set[str]) -> Iterator[list[str]]:
    """Depth first without recursion: a chain of a thousand probes is a legal configuration."""
    if start in done:
        return
    trail: dict[str, Iterator[str]] = {start: iter(edges[start])}  # in the order of walking
    while trail:
        name, rest = next(reversed(trail.items()))
        following = next(rest, None)
        if following is None:
            done.add(name)
            del trail[name]
        elif following in trail:
            names = list(trail)
            yield [*names[names.index(following) :], following]
        elif following in edges and following not in done:
            trail[following] = iter(edges[following])
