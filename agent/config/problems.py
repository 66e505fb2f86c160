"""What is wrong with the file, in words that name the file, the setting and what was expected?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Key = str | int
Path = tuple[Key, ...]
"""Where a setting stands: ("probes", "auth", "port"), or ("probes", "auth", "targets", 1) for a list's second."""

GOT_LENGTH = 60

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECRET_WORD = re.compile(
    r"(?i)(?:^|[^a-z])(?:pass|password|passwd|passphrase|pwd|token|secret|key|pin|pan|auth|authorization|credential)s?"
    r"(?:[^a-z]|$)"
)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class Problem:
    """One thing to mend. An empty path means the file itself."""

    file: str
    path: Path
    message: str

    def __str__(self) -> str:
        """One line, as printed: `config.toml: probes.acquirer.port: expected 1..65535, got 99999`."""
        where = f"{dotted(self.path)}: " if self.path else ""
        return f"{self.file}: {where}{self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has all of it at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Path) -> str:
    """The path as TOML writes it: `probes."a.b".targets[1]`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            bare = key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)
            text += f".{bare}" if text else bare
    return text


def is_secret(key: str) -> bool:
    """Whether a setting of this name may hold a secret: its value is never repeated. The name of a file is none."""
    return not key.lower().endswith("_file") and _SECRET_WORD.search(key.replace("_", " ")) is not None


def got(value: object, path: Path = ()) -> str:
    """How a value is repeated to the person who wrote it; secrets and card data are not."""
    names = [key for key in path if isinstance(key, str)]
    if isinstance(value, dict):
        return "a table"
    if names and is_secret(names[-1]):
        return "a value that is not shown here"
    return _short(_repeated(value))


def _repeated(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join("[…]" if isinstance(item, list) else got(item) for item in value[:50]) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        from probes.redact import scrub  # paid for by those who made a mistake

        return json.dumps(_USER_INFO.sub("…@", scrub(value)), ensure_ascii=False)
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a number of more than 18 digits"
    return str(value)


def suggestion(word: object, known: Iterable[str]) -> str:
    """`; did you mean "port"?` for a near miss, else nothing."""
    if not isinstance(word, str) or not any(letter.isalpha() for letter in word):
        return ""
    from difflib import get_close_matches  # only somebody who made a typing mistake pays for it

    plain = {name.lower(): name for name in known}
    near = [name for name in plain if len(word) > 1 and name.startswith(word.lower())]
    for spelling in (word.lower().replace("-", "_"), word.lower()):
        near = near or get_close_matches(spelling, plain, n=1, cutoff=0.6)
    return f"; did you mean {json.dumps(plain[near[0]], ensure_ascii=False)}?" if near else ""


def unknown(word: str, known: Sequence[str], what: str = "setting") -> str:
    """What to say of a key that nothing knows: the nearest known one, or all of them."""
    near = suggestion(word, known)
    return f"unknown {what}{near}" if near else f"unknown {what}; known here: {', '.join(known)}"


def _short(text: str) -> str:
    return text if len(text) <= GOT_LENGTH else text[: GOT_LENGTH - 1] + "…"
