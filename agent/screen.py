"""What does a person read? The same rows in a pipe, in a saved report and on a terminal.

Works on the report as plain data, so that a fresh look and a saved report read alike. Nothing heavy is imported here:
`posagent status` must be instant. On a terminal `live` draws these rows with rich.
"""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
from collections import namedtuple
from collections.abc import Iterator, Mapping

from agent import texts

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any

    from agent.texts import Language

TROUBLE = ("fail", "warn", "unknown")
ANSI = {"ok": "32", "ready": "32", "warn": "33", "at_risk": "33", "fail": "31", "down": "31", "unknown": "35"}
"""Green, yellow, red, magenta; what is neither good nor bad has no colour."""
NAMES_AT_MOST = 34
RECENT_S = 86400.0
PLAIN_EVENTS = ("agent.started", "agent.stopped", "reloaded")
_WIDE = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60"
_PIECE = rf"[（《「『【“]*(?:[{_WIDE}]|[^\s{_WIDE}]+)?[、。！），：；？》」』】”]*\s*"
"""What stays together on a line: a Latin word or one wide letter, with the punctuation that belongs to it.

Compiled where it is used: that takes 5 ms, and a pipe needs no folding.
"""


Row = namedtuple("Row", "status word name text below")
"""One line of the table: a status, its word, a name, a sentence, and what `--verbose` adds below it."""
Section = namedtuple("Section", "title items")
"""A titled list below the table."""
Fault = namedtuple("Fault", "title code sections")
"""One diagnosis: its title, its cause and confidence, and what is said about it."""
Page = namedtuple("Page", "headline payments settlement faults rows sections")
"""Everything a person is shown about one report."""


def page(data: Mapping[str, Any], language: Language, *, verbose: bool = False, failures_only: bool = False) -> Page:
    """Arrange a report for reading."""
    data = harmless(data)
    verdict = data["verdict"]
    probes = data["probes"] if verbose else _folded(data)
    rows = [_row(probe, language, verbose) for probe in probes]
    below = [
        ("check.incidents", [_incident(each, language) for each in data.get("incidents", ())]),
        ("check.events", _events(data)),
        ("check.problems", data["agent"]["problems"]),
    ]
    if not failures_only:
        below.append(("check.not_checked", data["not_checked"]))
    return Page(
        headline=verdict["headline"],
        payments=verdict["payments"],
        settlement=texts.phrase(f"settlement.{verdict['settlement']}", language),
        faults=[_fault(each, language, verbose or not at) for at, each in enumerate(data["diagnosis"])],
        rows=[row for row in rows if not failures_only or row.status in TROUBLE],
        sections=[
            *_silence(data["agent"].get("silenced_until"), language),
            *(Section(texts.phrase(title, language), items) for title, items in below if items),
        ],
    )


def _silence(until: str | None, language: Language) -> Iterator[Section]:
    """That nobody is told of anything, while that is so."""
    if until and seconds(until) > time.time():
        yield Section(texts.phrase("check.silenced", language, until=local(until)), ())


def print_plain(what: Page) -> None:
    """Print line by line, never wrapped; coloured only on a terminal that wants it."""
    for line in lines(what, colour=wants_colour()):
        print(line)  # noqa: T201 -- the answer itself


def lines(what: Page, *, colour: bool = False) -> Iterator[str]:
    """The page as lines of text."""
    yield paint(what.headline, what.payments, colour)
    yield what.settlement
    for fault in what.faults:
        yield ""
        yield f"{paint(fault.title, 'fail', colour)}  [{fault.code}]"
        for section in fault.sections:
            yield f"  {section.title}"
            yield from (f"    - {item}" for item in section.items)
    if what.rows:
        yield ""
        words = max(cells(row.word) for row in what.rows)
        names = min(max(cells(row.name) for row in what.rows), NAMES_AT_MOST)
        for row in what.rows:
            yield f"{paint(pad(row.word, words), row.status, colour)}  {pad(row.name, names)}  {row.text}".rstrip()
            for text in row.below:
                yield " " * (words + names + 4) + text
    for section in what.sections:
        yield ""
        yield section.title
        yield from (f"  - {item}" for item in section.items)


def paint(text: str, style: str, colour: bool) -> str:
    """The text in the style's colour, if colour is wanted."""
    return f"\x1b[1;{ANSI[style]}m{text}\x1b[0m" if colour and style in ANSI else text


def wants_colour() -> bool:
    """Colour only on a terminal, and only where NO_COLOR does not forbid it."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cells(text: str) -> int:
    """How many columns a terminal needs: two for a wide character, none for a combining or invisible one."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns: broken at spaces and, as Chinese is, between any two wide letters."""
    folded: list[str] = []
    for line in text.split("\n"):
        folded.append("")
        for piece in re.findall(_PIECE, line):
            if cells(folded[-1]) + cells(piece.rstrip()) > width and folded[-1].strip():
                folded[-1] = folded[-1].rstrip()
                folded.append("")
            for part in _slices(piece, width):
                folded[-1:] = [folded[-1] + part] if cells(folded[-1]) + cells(part) <= width else [folded[-1], part]
    return [line.rstrip() for line in folded]


def _slices(piece: str, width: int) -> Iterator[str]:
    """A word that is wider than a line, in lines."""
    part = ""
    for char in piece:
        if part and cells(part + char.rstrip()) > width:
            yield part
            part = ""
        part += char
    yield part


def pad(text: str, width: int) -> str:
    """The text filled with spaces up to `width` columns."""
    return text + " " * (width - cells(text))


def harmless(value: Any) -> Any:
    """The same, all the way down, without the characters by which a device's own text could move a reader's cursor."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(_printable(char) for char in value)
    if isinstance(value, Mapping):
        return {key: harmless(item) for key, item in value.items()}
    return [harmless(item) for item in value] if isinstance(value, (list, tuple)) else value


def _printable(char: str) -> str:
    if char.isspace():
        return " "
    is_invisible_letter = char in "\u200c\u200d"  # joiners, which some scripts cannot do without
    return char if char.isprintable() or is_invisible_letter else "?"


def _fault(diagnosis: Mapping[str, Any], language: Language, whole: bool) -> Fault:
    """What is said about one fault; of those that come second not the technician's part."""
    ruled_out = [texts.phrase("diagnosis.ruled_out_item", language, **each) for each in diagnosis["ruled_out"]]
    alternatives = zip(diagnosis["alternative_titles"], diagnosis["alternatives"], strict=True)
    said = [
        ("why", [diagnosis["explanation"]]),
        ("because", [f"{each['probe']}: {each['detail']}" for each in diagnosis["evidence"]]),
        ("ruled_out", ruled_out if whole else ()),
        ("alternatives", [f"{title}  [{code}]" for title, code in alternatives]),
        ("now", diagnosis["steps"]),
        ("technician", diagnosis["technician_steps"] if whole else ()),
        ("careful", diagnosis["warnings"]),
        ("works", diagnosis["still_works"] if whole else ()),
        ("call", [_call(diagnosis, language)]),
    ]
    confidence = texts.phrase(f"confidence.{diagnosis['confidence']}", language)
    sections = [Section(texts.phrase(f"diagnosis.{name}", language), items) for name, items in said if items]
    return Fault(diagnosis["title"], f"{diagnosis['cause']}, {confidence}", sections)


def _incident(incident: Mapping[str, Any], language: Language) -> str:
    """An open incident on one line: what, since when, and who has it in hand."""
    said = [
        texts.phrase(
            "incident.line",
            language,
            id=incident["id"],
            title=incident.get("title") or incident["cause"],
            since=local(incident["opened_at"]),
            age=time.time() - seconds(incident["opened_at"]),
        )
    ]
    taken = incident["acknowledged"]
    if taken:
        until = local(taken["until"]) if taken.get("until") else ""
        name = "incident.taken_until" if until else "incident.taken"
        said.append(texts.phrase(name, language, by=taken["by"], at=local(taken["at"]), until=until))
        said.extend([taken["note"]] if taken["note"] else [])
    if incident["silenced_until"]:
        said.append(texts.phrase("incident.silenced", language, until=local(incident["silenced_until"])))
    if incident.get("flapping"):
        said.append(texts.phrase("incident.flapping", language))
    return " · ".join(said)


def _events(data: Mapping[str, Any]) -> list[str]:
    """What happened to this PC or to posagent itself within a day, the newest first; plain starts and stops are not."""
    since = time.time() - RECENT_S
    return [
        f"{local(event['at'])}  {event['text']}"
        for event in reversed(data["agent"].get("events", ()))
        if event["what"] not in PLAIN_EVENTS and seconds(event["at"]) > since
    ]


def seconds(stamp: str) -> float:
    """A report's time as Unix seconds."""
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()


def local(stamp: str | float) -> str:
    """A moment as the clock on the wall had it, with the day where that was not today."""
    moment = time.localtime(stamp if isinstance(stamp, float) else seconds(str(stamp)))
    today = moment[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", moment)


def _call(diagnosis: Mapping[str, Any], language: Language) -> str:
    party = texts.phrase(f"party.{diagnosis['party']}", language)
    if diagnosis["contact"]:
        return texts.phrase("diagnosis.call_item", language, party=party, contact=diagnosis["contact"])
    return texts.phrase("diagnosis.no_contact", language, party=party, code=diagnosis["party"])


def _folded(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a fault explains is told once, by the probe that proves it; the others are named in its row."""
    faults = [each for each in data["diagnosis"] if each["cause"] != "unclassified"]  # of these each is one of its own
    proof = {name: each["evidence"][0]["probe"] for each in faults if each["evidence"] for name in each["explains"]}
    in_vain = {each["cause"]: each["evidence"][0]["probe"] for each in faults if each["evidence"]}
    leaders = [proof.get(probe["name"]) or in_vain.get(probe["explained_by"]) for probe in data["probes"]]
    shown: list[Mapping[str, Any]] = []
    for probe, leader in zip(data["probes"], leaders, strict=True):
        if leader in (None, probe["name"]):
            theirs = [other for other, by in zip(data["probes"], leaders, strict=True) if by == probe["name"]]
            names = [other["label"] or other["name"] for other in theirs if other["name"] != probe["name"]]
            shown.append({**probe, "folded": names})
    return shown


def _row(probe: Mapping[str, Any], language: Language, verbose: bool) -> Row:
    below: list[str] = []
    if probe.get("folded"):
        names = probe["folded"]
        below.append(texts.phrase("check.folded", language, count=len(names), names=names))
    if verbose:
        below.append(f"{probe['kind']} {probe['target']} · {probe['reason']} · {probe['duration_ms']:.0f} ms")
        facts = ", ".join(f"{key}={_told(value)}" for key, value in probe["measurements"].items())
        below.extend([facts] if facts else [])
        below.extend(probe["evidence"])
    word = texts.phrase(f"status.{probe['status']}", language)
    return Row(probe["status"], word, probe["label"] or probe["name"], probe["summary"], tuple(below))


def _told(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
