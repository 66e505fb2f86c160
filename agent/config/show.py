"""What holds, defaults and all, without a secret? Text that `load` reads back to the same configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec.structs import fields

from agent.config import levels_of, toml
from agent.config.expand import in_the_stores_zone
from agent.config.model import Config, Sections
from agent.config.problems import is_secret
from agent.config.secret import Secret
from probes import registry
from probes.model import Settings

HIDDEN = "(not shown)"

_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=([^&#\s]*)")
_URL_USER = re.compile(r"(?<=://)[^/@\s]+@")
_USER = re.compile(r"([^\s:/@]+):(?!//)[^\s@]+@(?=[\w\[])")
_WORDS = re.compile(r"""\s+|(?:"[^"]*"|'[^']*'|[^\s"'])+|["']""")
_OPTION = re.compile(r"(-{1,2})([A-Za-z][\w-]*)")
_ASSIGNED = re.compile(r"(-{0,2}([A-Za-z_][\w-]*)=).+", re.DOTALL)
_HEADER = re.compile(r"(([A-Za-z][\w-]*):\s).+", re.DOTALL)
_ATTACHED = re.compile(r"(-[pP]|-[uUa][^\s:]+:(?!//)).+", re.DOTALL)
_SECRET_PART = re.compile(r"(?i)pass|pwd|secret|token")
_SECRET_OPTIONS = ("p", "P", "pw")
_USER_OPTIONS = ("u", "U", "a", "user", "proxy-user", "login")
"""What follows them may be `user:password`."""


def show(config: Config) -> str:
    """The effective configuration as TOML. Values that look like secrets, and passwords in commands, are hidden."""
    lines = [f"# {config.source}" if config.source else "# no configuration file: built-in discovery"]
    tables: list[str] = []
    for info in fields(Sections):
        value = getattr(config, info.name)
        if info.name in ("probes", "channels", "escalation") or isinstance(value, (msgspec.Struct, dict)):
            tables += _tables(info.encode_name, value, config)
        else:
            lines.append(f"{info.encode_name} = {toml.value(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _tables(section: str, value: Any, config: Config) -> Iterator[str]:
    """A section as its table, or as its many tables."""
    if section == "escalation":
        for level in value or levels_of(config):
            yield from ("", "[[escalation]]", *_items(level))
    elif section in ("probes", "channels"):
        for name, table in value.items():
            whole = _effective(table, config) if section == "probes" else table
            yield from ("", f"[{section}.{toml.key(name)}]", *_items(whole))
    else:
        yield from ("", f"[{section}]", *_items(value, section))


def _effective(settings: Settings, config: Config) -> dict[str, Any]:
    kind, schedule = registry.find(settings.kind), config.schedule
    settings = in_the_stores_zone(settings, config)
    given = {info.encode_name: getattr(settings, info.name) for info in fields(settings)}
    fallback = {
        "interval": kind.interval or schedule.interval,
        "timeout": kind.timeout or schedule.timeout,
        "fail_after": schedule.fail_after,
        "recover_after": schedule.recover_after,
        "impact": kind.impact,
    }
    return {key: fallback.get(key) if value is None else value for key, value in given.items()}


def _items(table: Any, section: str = "") -> Iterator[str]:
    """Each setting of a table, and then its own tables; what has no value is a comment, since TOML knows no null."""
    if isinstance(table, msgspec.Struct):
        table = {info.encode_name: getattr(table, info.name) for info in fields(table)}
    inner = {
        key: value
        for key, value in table.items()
        if isinstance(value, msgspec.Struct) and not isinstance(value, Secret)
    }
    for key, value in table.items():
        if key in inner:
            continue
        if value is None:
            yield f"# {toml.key(key)}: not set"
        else:
            yield f"{toml.key(key)} = {toml.value(_without_secrets(key, value))}"
    for key, value in inner.items():
        yield from ("", f"[{section}.{toml.key(key)}]", *_items(value, f"{section}.{key}"))


def _without_secrets(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return HIDDEN if is_secret(key) else _address(value)
    if isinstance(value, dict):
        return {name: _without_secrets(name, item) for name, item in value.items()}
    if isinstance(value, (tuple, list)) and all(isinstance(item, str) for item in value):
        return list(_arguments(value))
    return value


def _address(text: str) -> str:
    """Without the user of a URL and the secrets of its query."""
    return _QUERY.sub(_without_value, _URL_USER.sub(f"{HIDDEN}@", text))


def _without_value(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if is_secret(found[1]) else found[0]


def _arguments(words: Iterable[str]) -> Iterator[str]:
    """A command's words without what may be a secret there; in doubt it is one. A word may be a whole shell command."""
    before = ""
    for word in words:
        pieces = _WORDS.findall(word)
        if _takes_secret(before) or len(pieces) < 2 or _is_secret_header(word):
            yield _word(word, before)
            before = word
            continue
        shown = []
        for piece in pieces:
            shown.append(piece if piece.isspace() else _word(piece, before))
            before = before if piece.isspace() else piece
        yield "".join(shown)


def _word(word: str, before: str) -> str:
    """One word without its secret, behind the word `before`."""
    if _takes_secret(before):
        return HIDDEN
    bare = word.strip("\"'")
    option = _OPTION.fullmatch(before)
    if option and option[2] in _USER_OPTIONS and ":" in bare and "://" not in bare:
        return f"{bare.partition(':')[0]}:{HIDDEN}"
    assigned, attached = _ASSIGNED.fullmatch(bare), _ATTACHED.fullmatch(bare)
    if assigned and _may_be_secret(assigned[2]):
        return assigned[1] + HIDDEN
    if _is_secret_header(word):
        return bare.partition(":")[0] + f": {HIDDEN}"
    if attached and not _takes_secret(bare):
        return attached[1] + HIDDEN
    return _USER.sub(rf"\1:{HIDDEN}@", _address(word))


def _is_secret_header(word: str) -> bool:
    """Such as `Authorization: Bearer …`."""
    header = _HEADER.fullmatch(word.strip("\"'"))
    return header is not None and _may_be_secret(header[2])


def _takes_secret(word: str) -> bool:
    """Whether a word is an option behind which a secret stands."""
    option = _OPTION.fullmatch(word.strip("\"'"))
    return option is not None and (_may_be_secret(option[2]) or (option[1] == "-" and option[2] in _SECRET_OPTIONS))


def _may_be_secret(name: str) -> bool:
    return is_secret(name) or _SECRET_PART.search(name) is not None
