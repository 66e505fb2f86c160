"""Which of two versions is newer? Never by comparing texts: "10" is newer than "9".

Schemes: `pep440` (Python), `semver` (semantic versions 2.0), `debian` and `rpm` (package versions), `dotted` (numbers
of any count with whatever comes after them), `date`. `auto` takes the first of date, plain dotted numbers, semver and
pep440 that fits both texts, and dotted where none does.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Literal

Scheme = Literal["auto", "pep440", "semver", "debian", "rpm", "dotted", "date"]
Key = tuple[Any, ...]

LONGEST = 128

_BEFORE_RELEASE = {"dev": -6, "snapshot": -5, "alpha": -4, "beta": -3, "pre": -2, "preview": -2, "rc": -1, "cr": -1}
_NUMBERS = re.compile(r"[vV]?[0-9]+(?:\.[0-9]+)*")
_DOTTED = re.compile(r"[vV]?([0-9]+(?:[._][0-9]+)*)(.*)", re.DOTALL)
_SEMVER = re.compile(
    r"[vV]?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_DATE = re.compile(r"((?:19|20)[0-9]{2})([-./_]?)([0-9]{1,2})(?:\2([0-9]{1,2}))?(?![0-9])((?:[-T _.+:]+[0-9]+)*)")
_COMPACT_DATE = re.compile(r"((?:19|20)[0-9]{2})()([0-9]{2})([0-9]{2})?(?![0-9])((?:[-T _.+:]+[0-9]+)*)")
_DEBIAN = re.compile(r"(?:([0-9]+):)?([0-9A-Za-z][0-9A-Za-z.+~:-]*?)(?:-([0-9A-Za-z+.~]+))?")
_RPM = re.compile(r"(?:([0-9]+):)?([^\s:-]+)(?:-([^\s:-]+))?")
_CHUNK = re.compile(r"([^0-9]*)([0-9]*)")


class Unparsable(ValueError):
    """A text that is no version of the scheme."""


def compare(one: str, other: str, scheme: Scheme = "auto") -> int:
    """-1, 0 or 1 as `one` is older than, equal to or newer than `other`. Raises Unparsable."""
    one, other = one.strip(), other.strip()
    chosen = choose(one, other) if scheme == "auto" else scheme
    if chosen == "debian":
        return _compare_debian(one, other)
    if chosen == "rpm":
        return _compare_rpm(one, other)
    return _order(_key(one, chosen), _key(other, chosen))


def check(text: str, scheme: Scheme) -> None:
    """Raises Unparsable when the text is no version of the scheme."""
    compare(text, text, scheme)


def choose(one: str, other: str) -> Scheme:
    """The scheme in which `auto` compares two texts."""
    both = (one, other)
    if all(_fits(text, _date) for text in both):
        return "date"
    # A letter at the very end is a firmware's revision (1.0.2a comes after 1.0.2), in Python it would be an alpha.
    if all(_NUMBERS.fullmatch(text) for text in both) or any(re.search(r"[0-9][A-Za-z]$", text) for text in both):
        return "dotted"
    # A strict reading makes 1.2.3-7 older than 1.2.3, yet outside of semver that is build 7: only words count here.
    if all(_is_worded_semver(text) for text in both):
        return "semver"
    return "pep440" if all(_fits(text, _pep440) for text in both) else "dotted"


def _key(text: str, scheme: Scheme) -> Key:
    keys: dict[str, Callable[[str], Key]] = {"pep440": _pep440, "semver": _semver, "dotted": _dotted, "date": _date}
    return keys[scheme](text)


def _fits(text: str, key: Callable[[str], Key]) -> bool:
    try:
        key(text)
    except Unparsable:
        return False
    return True


def _is_worded_semver(text: str) -> bool:
    found = _SEMVER.fullmatch(text)
    if found is None or "+" in text:
        return False
    word = re.match(r"[A-Za-z]+", found[4] or "rc")
    return word is not None and word[0].lower() in _BEFORE_RELEASE


def _match(pattern: re.Pattern[str], text: str, scheme: str) -> re.Match[str]:
    found = pattern.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        raise Unparsable(f"{text[:40]!r} is no version of the scheme {scheme}")
    return found


def _pep440(text: str) -> Key:
    from packaging.version import InvalidVersion, Version

    if len(text) > LONGEST:
        raise Unparsable(f"{text[:40]!r}… is too long for a version")
    try:
        return (Version(text),)
    except InvalidVersion as error:
        raise Unparsable(f"{text[:40]!r} is no version of the scheme pep440") from error


def _semver(text: str) -> Key:
    found = _match(_SEMVER, text, "semver")
    release = (int(found[1]), int(found[2]), int(found[3]))
    if found[4] is None:
        return (*release, 1)
    return (*release, 0, *((0, int(part)) if part.isdecimal() else (1, part) for part in found[4].split(".")))


def _dotted(text: str) -> Key:
    found = _match(_DOTTED, text, "dotted")
    numbers = [int(part) for part in re.split(r"[._]", found[1])]
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 1.2 and 1.2.0 are the same version
    after: list[Key] = []
    for number, word in re.findall(r"([0-9]+)|([^\W\d_]+)", found[2]):
        early = _BEFORE_RELEASE.get(word.lower())
        after.append((2, int(number)) if number else (1, word.lower()) if early is None else (early,))
    return (tuple(numbers), (*after, (0,)))


def _date(text: str) -> Key:
    plain = re.sub(r"[年月]", "-", text).replace("日", "").rstrip("-")
    found = _match(_COMPACT_DATE if re.match(r"[0-9]{6}", plain) else _DATE, plain, "date")
    year, month, day = int(found[1]), int(found[3]), int(found[4] or 0)
    try:
        datetime.date(year, month, day or 1)
    except ValueError as error:
        raise Unparsable(f"{text!r} is no date") from error
    if found[4] == "0" or found[4] == "00":
        raise Unparsable(f"{text!r} is no date")
    return (year, month, day, *(int(number) for number in re.findall("[0-9]+", found[5])))


def _compare_debian(one: str, other: str) -> int:
    """The algorithm of deb-version(7), for where there is no dpkg; a lab test holds it against dpkg."""
    left, right = _match(_DEBIAN, one, "debian"), _match(_DEBIAN, other, "debian")
    epochs = _order((int(left[1] or 0),), (int(right[1] or 0),))
    return epochs or _debian_part(left[2], right[2]) or _debian_part(left[3] or "", right[3] or "")


def _debian_part(one: str, other: str) -> int:
    def chunks(part: str) -> list[Key]:
        return [(_weights(text), int(number or 0)) for text, number in _CHUNK.findall(part) if text or number]

    for left, right in zip_longest(chunks(one), chunks(other), fillvalue=(_weights(""), 0)):
        if left != right:
            return _order(left, right)
    return 0


def _weights(text: str) -> Key:
    """A tilde comes before the end of the text, the end before letters, letters before everything else."""
    return (*(-1 if char == "~" else ord(char) if char.isalpha() else ord(char) + 256 for char in text), 0)


def _compare_rpm(one: str, other: str) -> int:
    """As rpmvercmp() does. A release counts only where both have one."""
    left, right = _match(_RPM, one, "rpm"), _match(_RPM, other, "rpm")
    epochs = _order((int(left[1] or 0),), (int(right[1] or 0),))
    releases = _order(_rpm_part(left[3]), _rpm_part(right[3])) if left[3] and right[3] else 0
    return epochs or _order(_rpm_part(left[2]), _rpm_part(right[2])) or releases


def _rpm_part(part: str) -> Key:
    key: list[Key] = []
    for number, word, mark in re.findall(r"([0-9]+)|([A-Za-z]+)|([~^])", part):
        key.append((2, int(number)) if number else (1, word) if word else (-2,) if mark == "~" else (0,))
    return (*key, (-1,))


def _order(one: Key, other: Key) -> int:
    return (one > other) - (one < other)
