"""Who has an incident in hand, and is anybody to be told at all? What the lists of the command line say about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from agent import screen, texts

if TYPE_CHECKING:
    from agent.store import Note, Silence
    from agent.texts import Language


def holder(notes: Sequence[Note], now: float) -> Note | None:
    """Who took charge last, if that still holds."""
    last = notes[-1] if notes else None
    return last if last is not None and (last.until is None or last.until > now) else None


def remark(note: Note, language: Language) -> str:
    """For one line of a list."""
    if note.until is None:
        return _say("by", language, by=note.by)
    return _say("by_until", language, by=note.by, until=screen.local(note.until))


def line(note: Note, language: Language) -> str:
    """All of a note but when it was written."""
    text = note.text or texts.sentence("problem", "problem.took_charge", {}, language)
    if note.until is not None:
        text = texts.sentence("problem", "problem.until", {"text": text, "until": screen.local(note.until)}, language)
    return f"{note.by}: {text}"


def silent(silences: Iterable[Silence], language: Language) -> Iterator[str]:
    """A line for each that lasts."""
    for each in silences:
        yield _say("now_silent", language, until=screen.local(each.until), by=each.by, reason=each.reason)


def data(note: Note | None) -> dict[str, Any] | None:
    """As the report tells it."""
    if note is None:
        return None
    from agent.report import stamp

    until = None if note.until is None else stamp(note.until)
    return {"by": note.by, "at": stamp(note.at), "note": note.text, "until": until}


def _say(name: str, language: Language, /, **facts: object) -> str:
    return texts.sentence("charge", f"charge.{name}", facts, language)
