"""Is the backup recent, does the log still move?"""

from __future__ import annotations

import fnmatch
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Annotated

import msgspec
from msgspec import Meta

from probes.host import Host, hanging
from probes.model import Impact, Kind, Measurement, Memory, Observation, PathText, Seconds, Settings, fail, ok
from probes.recall import keep, recall
from probes.redact import scrub

SKEW_S = 60.0
"""A file may be this far in the future: file servers have clocks of their own."""


class AgeSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that has to change now and then."""

    path: Annotated[
        PathText,
        Meta(
            description="a file; or a directory, whose newest entry counts (not looking deeper, nor at hidden files); "
            'or a pattern in the last part, such as "/backup/pos-*.tar.gz", of which the newest match counts'
        ),
    ]
    max_age: Annotated[Seconds, Meta(description="how long ago the last change may be")] = Seconds(86400)


class Reading(msgspec.Struct, frozen=True):
    """The newest entry; times in seconds since 1970."""

    now: float
    name: str = ""
    changed_at: float | None = None
    size: int = 0


class Past(msgspec.Struct, frozen=True):
    """A change that lies in the future, and when it was first seen: from then on it grows old like any other."""

    changed_at: float | None = None
    seen_at: float = 0.0


def problems(settings: AgeSettings) -> Iterator[tuple[str, str]]:
    """A relative path would mean something else in every shell."""
    if not settings.path.startswith("/") or "\0" in settings.path:
        yield "path", "expected an absolute path"


def read(settings: AgeSettings, host: Host) -> Reading:
    """Ask for the times, not for the contents; a dead file server costs the deadline and no more."""
    question = ("age", str(host.root), settings.path)
    name, newest = hanging.answer(
        host, question, lambda: _newest(host, settings.path), hanging.file_system(settings.path)
    )
    if newest is None:
        return Reading(time.time())
    return Reading(time.time(), scrub(name), newest.st_mtime, newest.st_size)


def judge(settings: AgeSettings, reading: Reading, memory: Memory) -> Observation:
    """Old by its time of change; one that lies in the future is no sign of freshness."""
    facts: dict[str, Measurement] = {"path": settings.path, "max_age_s": float(settings.max_age)}
    facts["max_age"] = str(settings.max_age)
    if reading.changed_at is None:
        return fail("age.absent", facts)
    past = recall(memory, Past)
    age = reading.now - reading.changed_at
    evidence, written = [f"{reading.name} is the newest"] if reading.name else [], {}
    if age < -SKEW_S:
        if past.changed_at != reading.changed_at or past.seen_at > reading.now:
            past = Past(reading.changed_at, reading.now)
        evidence.append(f"its time lies {_span(-age)} in the future: a clock jumped; its age is counted from our look")
        age, written = reading.now - past.seen_at, keep(past)
    age = max(0.0, age)
    facts |= {"age_s": round(age, 1), "age": _span(age), "size_bytes": reading.size}
    if age > settings.max_age:
        return fail("age.old", facts, *evidence, memory=written)
    return ok(facts, *evidence, memory=written)


def _newest(host: Host, path: str) -> tuple[str, os.stat_result | None]:
    """Name (empty for the path itself) and state of what counts; None where there is nothing."""
    place = host.path(path)
    try:
        found = place.stat()
    except (FileNotFoundError, NotADirectoryError):
        pattern = PurePath(path).name
        if not any(char in pattern for char in "*?["):
            return "", None
        return _newest_in(host, str(place.parent), pattern)
    return _newest_in(host, str(place), "*") if stat.S_ISDIR(found.st_mode) else ("", found)


def _newest_in(host: Host, directory: str, pattern: str) -> tuple[str, os.stat_result | None]:
    best: tuple[str, os.stat_result | None] = ("", None)
    try:
        entries = os.scandir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return best
    with entries:
        for entry in _matching(entries, pattern):
            host.left()
            try:
                found = entry.stat()
            except FileNotFoundError:
                continue  # gone since, or a link to nowhere
            if best[1] is None or found.st_mtime > best[1].st_mtime:
                best = (entry.name, found)
    return best


def _matching(entries: Iterable[os.DirEntry[str]], pattern: str) -> Iterator[os.DirEntry[str]]:
    hidden = pattern.startswith(".")
    for entry in entries:
        if (hidden or not entry.name.startswith(".")) and fnmatch.fnmatchcase(entry.name, pattern):
            yield entry


def _span(seconds: float) -> str:
    """A length of time in its two largest units: "3d 4h", "2h 5m", "12s"."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size}{unit}")
        left %= size
    return " ".join(parts[:2]) or "0s"


KIND = Kind(
    name="age",
    summary="age of a file, or of the newest in a directory: a backup, a log that must move",
    settings=AgeSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.path,
    impact=Impact.DEGRADE,
    problems=problems,
    reasons={
        "age.old": "the last change was longer ago than `max_age`",
        "age.absent": "there is no such file, or nothing in the directory",
    },
    example={"path": "/var/backups/pos", "max_age": "26h"},
)
