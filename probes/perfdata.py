"""What does a Nagios-compatible plugin say? Its output as the Monitoring Plugins guidelines lay it out. Pure.

DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968        first line | performance data
/ 15272 MB (77%);                                                         long output, any number of lines
/boot 68 MB (69%); | /boot=68MB;88;93;0;98                                after the next | all is performance data
'used swap'=1.5e3KB 'it''s=quoted'=3c;@10:20;~:5                          'label'=value[unit];[warn];[crit];[min];[max]
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import msgspec

MOST = 60
"""Performance data that are kept; a plugin may print thousands."""

_DATUM = re.compile(
    r"(?<!\S)(?:'((?:[^']|''){1,200})'|([^\s'=]{1,200}))="
    r"(?:U|([-+]?[0-9]{1,40}(?:[.,][0-9]{0,40})?(?:[eE][-+]?[0-9]{1,3})?))([^\s;0-9]{0,20})"
    r"((?:;[^\s;]{0,80}){0,4})"
)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = re.compile(r"(?:([kmgtp])i?)?b(?:ytes?)?", re.IGNORECASE)
_SUFFIXES = {"": "", "%": "_percent", "c": "_count", "s": "_s", "ms": "_ms", "us": "_us", "µs": "_us", "ns": "_ns"}


class Datum(msgspec.Struct, frozen=True):
    """One performance datum; the thresholds as the plugin wrote them. No value: the plugin could not tell (`U`)."""

    label: str
    value: float | None = None
    unit: str = ""
    warn: str = ""
    crit: str = ""
    min: str = ""
    max: str = ""


class Output(msgspec.Struct, frozen=True):
    """The three parts of a plugin's output."""

    text: str = ""
    details: tuple[str, ...] = ()
    performance: tuple[Datum, ...] = ()


def parse(stdout: str) -> Output:
    """Any text gives an output."""
    first, _newline, rest = stdout.lstrip("\n").partition("\n")
    text, _bar, performance = first.partition("|")
    details, _bar, more = rest.partition("|")
    lines = [_printable(line) for line in details.splitlines()]
    return Output(
        text=_printable(text),
        details=tuple(line for line in lines if line),
        performance=tuple(parse_performance(f"{performance} {more}")),
    )


def parse_performance(text: str) -> list[Datum]:
    """Every datum that can be made out; what is broken is passed over."""
    found = []
    for label, bare, value, unit, limits in _DATUM.findall(text):
        number = float(value.replace(",", ".")) if value else None
        if number is not None and not math.isfinite(number):
            continue
        warn, crit, least, most = [*limits.split(";")[1:], "", "", "", ""][:4]
        name = _printable(label.replace("''", "'") or bare)
        found.append(Datum(name, number, unit, warn, crit, least, most))
        if len(found) == MOST:
            break
    return found


def measurements(performance: Iterable[Datum], reserved: Iterable[str]) -> dict[str, float | int]:
    """Name and value of each datum, the unit in the name: `load1`, `rta_ms`, `root_bytes`. Never a reserved name."""
    named: dict[str, float | int] = dict.fromkeys(reserved, 0)
    kept: dict[str, float | int] = {}
    for datum in performance:
        if datum.value is None:
            continue
        power, suffix = _unit(datum.unit)
        base = re.sub(r"\W+", "_", datum.label).strip("_")[:64] or ("root" if datum.label == "/" else "value")
        key = base + suffix
        number = 2
        while key in named:
            key = f"{base}_{number}{suffix}"
            number += 1
        value = float(datum.value) * 1024**power
        named[key] = kept[key] = int(value) if value.is_integer() and abs(value) < 2**53 else value
    return kept


def _unit(unit: str) -> tuple[int, str]:
    """Powers of 1024 to multiply with, and the suffix; plugins count kB, MB and GB in 1024s whatever they call them."""
    size = _SIZE.fullmatch(unit)
    if size is not None:
        return _POWERS.get((size[1] or "").lower(), 0), "_bytes"
    if unit in _SUFFIXES:
        return 0, _SUFFIXES[unit]
    word = re.sub(r"\W+", "_", unit).strip("_").lower()
    return 0, f"_{word}" if word else ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()
