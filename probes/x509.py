"""Whose certificate is this, who signed it, and when does it run out?

A small reader of DER, for exactly these questions: the package that answers them all weighs 16 MB. It reads what it was
given and nothing else: whatever the bytes, it ends, with a Certificate or with ValueError.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

import msgspec

from probes.redact import scrub

_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_TEXT = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
_COMMON_NAME, _ORGANISATION, _UNIT = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x0b"
_LONGEST = 200


class Name(msgspec.Struct, frozen=True):
    """The parts of a distinguished name that people know a party by."""

    common_name: str = ""
    organisation: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return " / ".join(part for part in (self.organisation or self.unit, self.common_name) if part) or "(no name)"


class Certificate(msgspec.Struct, frozen=True):
    """Names, and the time of validity in Unix seconds."""

    subject: Name
    issuer: Name
    not_before: float
    not_after: float


def parse(der: bytes) -> Certificate:
    """Read one certificate. Raises ValueError for anything else."""
    certificate = _only(der, _SEQUENCE)
    fields = list(_items(_first(certificate, _SEQUENCE)))
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    tags = [tag for tag, _ in fields[2:5]]
    if tags != [_SEQUENCE] * 3:  # after serial number and algorithm: issuer, validity, subject
        raise ValueError("not a certificate")
    times = [_time(tag, value) for tag, value in _items(fields[3][1])]
    if len(times) != 2:
        raise ValueError("a validity has two times")
    return Certificate(_name(fields[4][1]), _name(fields[2][1]), *times)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every tag and value that follow each other in `data`."""
    at = 0
    while at < len(data):
        tag, start, end = _header(data, at)
        yield tag, data[start:end]
        at = end


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, and where its value starts and ends."""
    if len(data) < at + 2 or data[at] & 0x1F == 0x1F:
        raise ValueError("cut short, or a tag that no certificate has")
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or len(data) < start + size:
            raise ValueError("a length that no certificate has")
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if start + length > len(data):
        raise ValueError("cut short")
    return tag, start, start + length


def _first(data: bytes, wanted: int) -> bytes:
    tag, start, end = _header(data, 0)
    if tag != wanted:
        raise ValueError("not a certificate")
    return data[start:end]


def _only(data: bytes, wanted: int) -> bytes:
    if _header(data, 0)[2] != len(data):
        raise ValueError("more than a certificate")
    return _first(data, wanted)


def _name(data: bytes) -> Name:
    found: dict[bytes, str] = {}
    for tag, relative in _items(data):
        for inner, pair in _items(relative) if tag == _SET else ():
            parts = list(_items(pair)) if inner == _SEQUENCE else []
            if len(parts) == 2 and parts[0][0] == _OID:
                found.setdefault(parts[0][1], _text(*parts[1]))
    return Name(found.get(_COMMON_NAME, ""), found.get(_ORGANISATION, ""), found.get(_UNIT, ""))


def _text(tag: int, value: bytes) -> str:
    """A name for people: whoever wrote the certificate may have put anything in."""
    text = value.decode(_TEXT.get(tag, "latin-1"), "replace")
    return scrub(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+", " ", text).strip()[:_LONGEST])


def _time(tag: int, value: bytes) -> float:
    """RFC 5280: UTCTime has two digits of the year, 50 and up mean the last century."""
    digits = {_UTC_TIME: rb"(\d\d)(\d{10})Z", _GENERALIZED_TIME: rb"(\d{4})(\d{10})Z"}.get(tag)
    found = re.fullmatch(digits, value) if digits else None
    if found is None:
        raise ValueError("not a time")
    year = int(found[1])
    if tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000
    month, day, hour, minute, second = (int(found[2][at : at + 2]) for at in range(0, 10, 2))
    return datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC).timestamp()
