"""What is this USB device likely to be? Known ids, what it says of itself, and its class, in that order.

The table is data (`probes/data/devices.toml`), each row with its source and confidence. Ids collide and change with the
firmware, so the answer is a family with a confidence; an id nobody knows is never a reason to call a terminal absent.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import msgspec

Confidence = Literal["certain", "likely", "possible"]
TABLE = Path(__file__).parent.parent / "data" / "devices.toml"
PAYMENT = frozenset({"terminal", "pin pad"})
BY_CLASS = {
    0x02: "terminal",
    0x0A: "terminal",
    0x09: "hub",
    0x07: "printer",
    0x0B: "card reader",
    0x08: "storage",
    0x03: "input",
    0xE0: "wireless",
}
"""What an unknown device most resembles, by the first of these classes it has. A serial class may be a terminal."""


class Identity(msgspec.Struct, frozen=True):
    """What a device probably is. `driver` is the one it needs, empty where programs drive it themselves."""

    family: str = ""
    role: str = "unknown"
    confidence: Confidence = "possible"
    driver: str = ""

    @property
    def takes_cards(self) -> bool:
        """Whether it may be the card terminal."""
        return self.role in PAYMENT


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table. `product` may hold wildcards; `text` is what such a device says of itself."""

    family: str
    role: str
    source: str
    confidence: Confidence
    vendor: str = ""
    product: str = "*"
    driver: str = ""
    text: str = ""


def identify(vendor: str, product: str, texts: Iterable[str] = (), interface_classes: Sequence[int] = ()) -> Identity:
    """The likeliest identity of a device; never raises, never says nothing about a serial class."""
    said = " ".join(texts)
    row = _by_id(vendor.lower(), product.lower())
    spoken = next((name for name in _names() if re.search(name.text, said)), None)
    if row is not None and (spoken is None or row.role in PAYMENT):
        return Identity(row.family, row.role, "certain" if _agrees(row, spoken) else row.confidence, row.driver)
    if spoken is not None:
        return Identity(spoken.family, spoken.role, spoken.confidence, row.driver if row is not None else "")
    return Identity(role=next((role for code, role in BY_CLASS.items() if code in interface_classes), "unknown"))


def _agrees(row: Row, spoken: Row | None) -> bool:
    """The device's own words name the maker that its id belongs to."""
    return spoken is not None and spoken.family.split()[0] == row.family.split()[0]


def _by_id(vendor: str, product: str) -> Row | None:
    exact = [row for row in _rows() if row.vendor == vendor and fnmatchcase(product, row.product)]
    return min(exact, key=lambda row: row.product.count("*") * 10 + row.product.count("?"), default=None)


@functools.cache
def _table() -> dict[str, Any]:
    with TABLE.open("rb") as file:
        return tomllib.load(file)


@functools.cache
def _rows() -> tuple[Row, ...]:
    return msgspec.convert(_table()["device"], tuple[Row, ...])


@functools.cache
def _names() -> tuple[Row, ...]:
    return msgspec.convert(_table()["name"], tuple[Row, ...])
