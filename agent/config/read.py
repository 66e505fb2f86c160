"""Which file is it, and can it be read as TOML at all?"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config.problems import ConfigError, Problem

DEFAULT_PATH = Path("/etc/posagent/config.toml")
MAX_BYTES = 4 << 20

_PLACE = re.compile(r"\(at (?:line (\d+), column (\d+)|(end of document))\)")
_HINTS = {
    "Unescaped '\\' in a string": "write paths with a backslash in 'single quotes'",
    "Invalid hex value": "write paths with a backslash in 'single quotes'",
    "Cannot overwrite a value": "the same name is used twice",
    "Invalid value": 'text needs "quotes"; true and false are written small',
}


@dataclass(frozen=True)
class Source:
    """What a file holds: `name` as given by the user, `data` as it lies on the disk."""

    name: str
    data: bytes


def find(path: Path | None, env: Mapping[str, str]) -> tuple[Path, bool]:
    """The file to read, and whether it must exist: `--config`, else `$POSAGENT_CONFIG`, else the system's."""
    if path is not None:
        return path, True
    named = env.get("POSAGENT_CONFIG")
    return (Path(named), True) if named else (DEFAULT_PATH, False)


def source(path: Path | None, env: Mapping[str, str]) -> Source | None:
    """The file's bytes, None where there is no file and none was asked for. Raises ConfigError."""
    file, required = find(path, env)
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise _fault(str(file), "is a directory, not a file" if file.is_dir() else "is not a regular file")
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not required:
            return None
        raise _fault(str(file), "there is no such file") from error
    except PermissionError as error:
        raise _fault(str(file), "this user may not read it (permission denied)") from error
    except (OSError, ValueError) as error:
        raise _fault(str(file), f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise _fault(str(file), "is larger than 4 MiB; is it the right file?")
    return Source(str(file), data)


def table(given: Source) -> dict[str, Any]:
    """The TOML in it. Raises ConfigError with line and column."""
    text = _text(given)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax(given.name, text, str(error)) from error
    except RecursionError as error:
        raise _fault(given.name, "is not TOML that anybody meant: nested too deeply") from error
    except ValueError as error:  # tomllib lets a few through, such as a number of 5000 digits or 31 February
        raise _fault(given.name, f"is not valid TOML: {error}") from error


def _text(given: Source) -> str:
    if not given.data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise _fault(
            given.name,
            "the file is empty; was it cut off while being written? (a file of comments only is fine: "
            "posagent then looks at what this PC has)",
        )
    if given.data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _fault(given.name, "is UTF-16; save it as UTF-8")
    if b"\0" in given.data:
        line = given.data[: given.data.index(b"\0")].count(b"\n") + 1
        raise _fault(given.name, f"line {line}: holds a NUL byte; it is not a text file, or it was damaged")
    try:
        return given.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = given.data[: error.start].count(b"\n") + 1
        raise _fault(
            given.name, f"line {line}: is not UTF-8 (byte 0x{given.data[error.start]:02x}); save it as UTF-8"
        ) from error


def _syntax(name: str, text: str, said: str) -> ConfigError:
    found = _PLACE.search(said)
    said = _PLACE.sub("", said).strip()
    hint = next((f"; {hint}" for start, hint in _HINTS.items() if said.startswith(start)), "")
    if found is None:
        return _fault(name, f"{said}{hint}")
    line, column = (found[1], found[2]) if found[1] else _end(text)
    return _fault(name, f"line {line}, column {column}: {said}{hint}")


def _end(text: str) -> tuple[str, str]:
    lines = text.split("\n")
    return str(len(lines)), str(len(lines[-1]) + 1)


def _fault(name: str, message: str) -> ConfigError:
    return ConfigError([Problem(name, (), message)])
