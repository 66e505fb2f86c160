"""What did the POS software write down? Rows of six texts, from JSON, CSV or log lines, and nothing else.

Pure, and the place where card data stops for this kind: of each row only time, status, amount, type, reference and
pending are taken, and `kept` cleans them before any of it goes on. A broken line costs that line, never the rest.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from probes.model import Text, Told
from probes.redact import is_card, scrub

Format = Literal["json", "csv", "log"]
Encoding = Literal["auto", "utf-8", "gb18030", "big5", "utf-16", "cp1252"]

NAMES = ("time", "status", "amount", "type", "reference", "pending")
MOST = 20_000
"""So many rows at the end are looked at: weeks of a busy till."""
LINE = 8192
"""A longer line is no record of a POS system."""
_VALUE = 64
_DECISIVE = ("status", "type", "pending")
_FEW = 6
"""So many digits of a card number may be shown: its issuer's."""
_AMOUNT = re.compile(r"[^\d\s]{0,4}\s?[-+]?[0-9]{1,12}(?:[.,' ][0-9]{3}){0,3}(?:[.,][0-9]{1,6})?\s?[^\d\s]{0,4}")
_MASKED = re.compile(r"(?<=[:\[,\s])(\*+\d{0,4})(?=\s*[,}\]])")


class Unreadable(Told):
    """The whole of it makes no sense; the text says why."""


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where each fact stands: a path such as `last.batch.time` in JSON; a column's name, or `#3`, in CSV."""

    time: Annotated[Text | None, Meta(description="when it happened; default: time")] = None
    status: Annotated[Text | None, Meta(description="how it ended; default: status")] = None
    amount: Annotated[Text | None, Meta(description="of a transaction; default: amount")] = None
    type: Annotated[Text | None, Meta(description="sale, refund, batch close …; default: type")] = None
    reference: Annotated[Text | None, Meta(description="trace or reference number; default: reference")] = None
    pending: Annotated[Text | None, Meta(description="the number of transactions not sent yet; default: pending")] = (
        None
    )


class Row(msgspec.Struct, frozen=True):
    """One record as it was written, not yet cleaned: see `kept`. A fact that was not written is ""."""

    time: str = ""
    status: str = ""
    amount: str = ""
    type: str = ""
    reference: str = ""
    pending: str = ""
    line: str = ""
    """The log line that it was found in, by `pattern`."""
    pattern: re.Pattern[str] | None = None


class Chunk(msgspec.Struct, frozen=True):
    """Bytes of one source."""

    data: bytes
    head: bytes = b""
    """The beginning of the file, where `data` is only its end."""
    torn: bool = False
    """The last line may still be in writing."""


def from_json(chunk: Chunk, fields: Fields, records: str | None, encoding: Encoding) -> list[Row]:
    """Rows of a document, of the list `records` in it, or of one document per line. Raises Unreadable."""
    try:
        if chunk.head:
            raise ValueError("only the end of the file was read")
        text = _MASKED.sub(r'"\1"', _decode(chunk.data, encoding))
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _json_lines(chunk, fields, encoding, error)
    inner = _look_up(document, records) if records is not None else document
    if records is not None and not isinstance(inner, list):
        raise Unreadable(f"there is no list at {records!r}", why="no_list", where=records)
    items = inner if isinstance(inner, list) else [inner]
    rows = [_json_row(item, fields) for item in items if isinstance(item, dict)]
    counted = _json_row(document, fields).pending if isinstance(document, dict) and document is not inner else ""
    return [*rows, Row(pending=counted)] if counted else rows


def from_csv(chunk: Chunk, fields: Fields, encoding: Encoding) -> list[Row]:
    """Rows of a table with a header line, or of one without where every field is a number such as `#3`."""
    wanted = {name: getattr(fields, name) or name for name in NAMES}
    given = [name for name in NAMES if getattr(fields, name) is not None]
    numbered = bool(given) and all(re.fullmatch(r"#[1-9][0-9]{0,2}", wanted[name]) for name in given)
    found = lines(chunk, encoding)
    header = next(lines(Chunk(chunk.head), encoding), "") if chunk.head else next(found, "")
    delimiter = max(",;\t|", key=header.count)
    columns = [cell.strip().casefold() for cell in _cells(header, delimiter)]
    places = {}
    for name, where in wanted.items():
        if re.fullmatch(r"#[1-9][0-9]{0,2}", where):
            places[name] = int(where[1:]) - 1
        elif where.strip().casefold() in columns:
            places[name] = columns.index(where.strip().casefold())
        elif name in given and header:
            seen = scrub(header)[:200]
            raise Unreadable(f"there is no column {where!r} in: {seen}", why="no_column", where=where, seen=seen)
    if numbered and not chunk.head:
        found = lines(chunk, encoding)
    return list(deque((row for line in found if (row := _csv_row(_cells(line, delimiter), places)) != Row()), MOST))


def from_log(
    chunk: Chunk, patterns: Sequence[re.Pattern[str]], encoding: Encoding, still: Callable[[], object] = bool
) -> list[Row]:
    """A row of each line that one of the patterns finds itself in. `still` is called now and then, and may raise."""
    rows: deque[Row] = deque(maxlen=MOST)
    for number, line in enumerate(lines(chunk, encoding)):
        if number % 1000 == 0:
            still()
        for pattern in patterns:
            found = pattern.search(line)
            if found is not None:
                said = {name: text.strip() for name, text in found.groupdict("").items()}
                rows.append(_row(said, line, pattern))
                break
    return list(rows)


def lines(chunk: Chunk, encoding: Encoding) -> Iterator[str]:
    """Whole lines. A torn first or last one is left out, as is what a power cut left of blocks never written."""
    data, mark = chunk.data, (chunk.head or chunk.data)[:2]
    if encoding == "utf-16" or (encoding == "auto" and mark in (b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16-be" if mark == b"\xfe\xff" else "utf-16-le", "replace").encode("utf-8", "replace")
        encoding = "utf-8"
    parts = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if chunk.head and parts:
        parts = parts[1:]
    if chunk.torn and parts:
        parts = parts[:-1]
    for part in parts:
        if len(part) <= LINE and (line := _decode(part, encoding).replace("\0", "").strip()):
            yield line


def clean(value: str) -> str:
    """One kept value: no card data, no control characters, short."""
    plain = "".join(char if char.isprintable() else " " for char in value[: 4 * _VALUE])
    return scrub(plain, cut=len(value) > 4 * _VALUE).strip()[:_VALUE]


def clean_amount(value: str) -> str:
    """An amount with its currency; "" for anything that is none, such as a card number in the wrong column."""
    plain = clean(value)
    digits = sum(char.isdigit() for char in plain)
    return plain if _AMOUNT.fullmatch(plain) and digits <= 12 else ""


def clean_reference(value: str) -> str:
    """A trace or reference number. One that could be a card's, however it is spaced, keeps its last four digits."""
    digits = re.sub(r"[\s.\-_/:]", "", value)
    if digits.isascii() and digits.isdecimal() and is_card(digits):
        return "*" * (len(digits) - 4) + digits[-4:]
    return clean(value)


def kept(row: Row) -> Row:
    """The five or six facts, each clean. Only this goes on.

    A log line is scrubbed as a whole before it is taken apart, or half a card number could pass for a trace number.
    What says whether a batch was closed is taken from the line as it was: a masked response code would look like a
    failure.
    """
    values = _values(row)
    if row.pattern is not None:
        scrubbed = row.pattern.search(scrub(row.line))
        decisive = {name: text for name, text in values.items() if _is_decisive(name, text)}
        values = {**(scrubbed.groupdict("") if scrubbed else {}), **decisive}
    cleaners = {"amount": clean_amount, "reference": clean_reference}
    return _row({name: cleaners.get(name, clean)(values.get(name, "")) for name in NAMES})


def _row(values: Mapping[str, str], line: str = "", pattern: re.Pattern[str] | None = None) -> Row:
    time, status, amount, kind, reference, pending = (values.get(name, "") for name in NAMES)
    return Row(time, status, amount, kind, reference, pending, line, pattern)


def _values(row: Row) -> dict[str, str]:
    return {name: getattr(row, name) for name in NAMES}


def _is_decisive(name: str, text: str) -> bool:
    return name == "time" or (name in _DECISIVE and sum(char.isdigit() for char in text) <= _FEW)


def _decode(data: bytes, encoding: Encoding) -> str:
    if encoding != "auto":
        return data.decode(encoding, "replace").removeprefix("\ufeff")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", "replace")  # what Chinese POS software on Windows writes


def _json_lines(chunk: Chunk, fields: Fields, encoding: Encoding, error: Exception) -> list[Row]:
    rows = []
    for line in lines(chunk, encoding):
        try:
            item = json.loads(_MASKED.sub(r'"\1"', line))
        except (ValueError, RecursionError):
            continue
        if isinstance(item, dict):
            rows.append(_json_row(item, fields))
    if not rows and chunk.data.strip():
        said = scrub(str(error))[:200]
        raise Unreadable(f"it is no JSON: {said}", why="no_json", said=said)
    return rows


def _json_row(item: Any, fields: Fields) -> Row:
    values = {}
    for name in NAMES:
        found = _look_up(item, getattr(fields, name) or name)
        if name == "pending" and isinstance(found, list):
            found = len(found)  # the unsent ones themselves stand there: their number is all we want
        if isinstance(found, bool):
            values[name] = str(found).lower()
        elif isinstance(found, (str, int, float)):
            values[name] = str(found).strip()
    return _row(values)


def _look_up(item: Any, path: str) -> Any:
    """What stands at a path such as `batches.-1.time`; None where there is nothing."""
    if isinstance(item, dict) and path in item:
        return item[path]
    for part in path.split("."):
        if isinstance(item, dict):
            item = item.get(part)
        elif isinstance(item, list) and re.fullmatch(r"-?[0-9]{1,6}", part) and -len(item) <= int(part) < len(item):
            item = item[int(part)]
        else:
            return None
    return item


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _csv_row(cells: list[str], places: dict[str, int]) -> Row:
    return _row({name: cells[place].strip() for name, place in places.items() if place < len(cells)})
