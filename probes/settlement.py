"""Did the last batch close go through, and is nothing waiting unsent, as the POS software records it?"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from probes import batches, moments, records
from probes.batches import Close, Reading
from probes.host import Host, command, tail, zone
from probes.model import Impact, Kind, Measurement, Memory, NotFitted, Observation, Seconds, Status, fail, ok, warn
from probes.records import Row
from probes.redact import scrub_data
from probes.settlement_settings import SettlementSettings, problems, target_of

SETTLING = 10
"""A last line without an end, written less than these seconds ago, may still be in writing."""
REMEMBERED = 60
"""So many failed transactions are remembered for the problem report of an incident."""


def read(settings: SettlementSettings, host: Host) -> Reading:
    """Read the end of the record and work out which deadline passed last."""
    now = time.time()
    here = zone.of(host, settings.timezone)
    try:
        rows = _rows(settings, host)
    except records.Unreadable as error:
        return Reading(now=now, problem=scrub_data(error.because))
    meanings = batches.Meanings.of(settings.success, settings.waiting, settings.close, settings.format == "log")
    said = [(moments.parse(row.time, settings.time_format, here, now) if row.time else None, row) for row in rows]
    reading = batches.understand(said, meanings, here, now)
    passed = moments.settlement_day(now, here, settings.deadline, settings.days) if settings.deadline else None
    if passed is None:
        return reading
    began, due = passed
    return msgspec.structs.replace(reading, began=began, due=due, due_local=moments.spoken(due, here))


def judge(settings: SettlementSettings, reading: Reading, memory: Memory) -> Observation:
    """A failed close first, then a missed one, then what waits unsent."""
    source = target_of(settings)
    remembered = memory if memory.get("source") == source else {}
    last = _later(reading.last, remembered.get("last"))
    settled = _later(reading.settled, remembered.get("settled"))
    kept = {"source": source, "last": msgspec.to_builtins(last), "settled": msgspec.to_builtins(settled)}
    failed = _failures(reading.failed, remembered.get("failed"))
    if failed:
        kept["failed"] = failed
    facts = _facts(settings, reading, last, settled)
    if reading.problem:
        return Observation(
            status=Status.UNKNOWN,
            reason="settlement.unreadable",
            measurements={**facts, **reading.problem},
            evidence=(str(reading.problem["detail"]),),
            memory=kept,
        )
    evidence = [*reading.notes, *(f"failed: {line}" for line in reading.failed[-3:])]
    wants_close = bool(settings.deadline) or settings.max_age is not None
    if last is None and wants_close:
        return warn("settlement.no_record", facts, *evidence, memory=kept)
    if last is not None and not last.settled:
        return fail("settlement.failed", facts, *evidence, memory=kept)
    late = _late(settings, reading, settled) if wants_close else 0.0
    if late > 0:
        return fail("settlement.overdue", {**facts, "overdue_s": round(late)}, *evidence, memory=kept)
    if _is_unsent(settings, reading):
        return warn("settlement.unsent", facts, *evidence, memory=kept)
    return ok(facts, *evidence, memory=kept)


def _rows(settings: SettlementSettings, host: Host) -> list[Row]:
    """Raises Unreadable; PermissionError is left to the runner, which names the missing right."""
    rows: list[Row] = []
    for chunk in _chunks(settings, host):
        host.left()
        if settings.format == "json":
            rows += records.from_json(chunk, settings.fields, settings.records, settings.encoding)
        elif settings.format == "csv":
            rows += records.from_csv(chunk, settings.fields, settings.encoding)
        else:
            patterns = [re.compile(pattern) for pattern in settings.patterns]
            rows += records.from_log(chunk, patterns, settings.encoding, host.left)
    return rows


def _chunks(settings: SettlementSettings, host: Host) -> list[records.Chunk]:
    if settings.command is not None:
        return [_output(settings.command, host)]
    try:
        # A JSON document is rewritten in place: what logrotate put aside beside it is no part of it.
        pieces = tail.pieces(host, settings.file or "", generations=settings.format != "json")
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise records.Unreadable(f"there is no file {settings.file}", why="no_file", path=str(settings.file)) from error
    except OSError as error:
        path, said = str(settings.file), error.strerror or str(error)
        raise records.Unreadable(f"{path}: {said}", why="file_unreadable", path=path, said=said) from error
    now = time.time()
    return [
        records.Chunk(piece.data, piece.head, not piece.terminated and 0 <= now - piece.modified < SETTLING)
        for piece in pieces
    ]


def _output(argv: tuple[str, ...], host: Host) -> records.Chunk:
    try:
        outcome = command.run(host, argv, limit=tail.LIMIT)
    except NotFitted as error:
        raise records.Unreadable(str(error), why=error.why, **error.facts) from error
    if outcome.exit_code != 0:
        how = outcome.signal or f"exit code {outcome.exit_code}"
        said = (outcome.stderr or outcome.stdout).strip()[:200] or "-"
        raise records.Unreadable(
            f"{argv[0]} ended with {how}: {said}", why="program_failed", program=argv[0], how=how, said=said
        )
    return records.Chunk(outcome.stdout.encode("utf-8", "replace"), torn=outcome.truncated)


def _later(seen: Close | None, remembered: Any) -> Close | None:
    """The later of what is seen and what was seen before a log was rotated away."""
    try:
        before = msgspec.convert(remembered, Close | None)
    except msgspec.ValidationError:
        before = None
    if before is None or (seen is not None and seen.at >= before.at):
        return seen
    return before


def _failures(seen: Sequence[str], remembered: Any) -> list[str]:
    """The last that failed, those too that the record no longer shows: a problem report must list them."""
    before = [line for line in remembered if isinstance(line, str)] if isinstance(remembered, list) else []
    return sorted({*before, *seen})[-REMEMBERED:]  # each begins with its time


def _facts(
    settings: SettlementSettings, reading: Reading, last: Close | None, settled: Close | None
) -> dict[str, Measurement]:
    facts: dict[str, Measurement | None] = {
        "source": target_of(settings),
        "last_close": last.local if last else None,
        "last_close_at": moments.rfc3339(last.at) if last else None,
        "last_status": last.status if last else None,
        "last_settled": settled.local if settled else None,
        "last_settled_at": moments.rfc3339(settled.at) if settled else None,
        "last_settled_age_s": max(0, round(reading.now - settled.at)) if settled else None,
        "deadline": settings.deadline or None,
        "due": reading.due_local or None,
        "max_age_s": float(settings.max_age) if settings.max_age is not None else None,
        "pending_count": reading.pending,
        "max_pending_count": settings.max_pending,
        "oldest_pending_s": max(0, round(reading.now - reading.oldest_pending)) if reading.oldest_pending else None,
        "failed_transactions": list(reading.failed),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _late(settings: SettlementSettings, reading: Reading, settled: Close | None) -> float:
    """Seconds since a batch should have been closed; 0 when none is owed."""
    since = settled.at if settled is not None else 0.0
    late = 0.0
    if reading.due is not None and reading.began is not None and since < reading.began:
        late = reading.now - reading.due
    if settings.max_age is not None:
        late = max(late, reading.now - since - settings.max_age)
    return late


def _is_unsent(settings: SettlementSettings, reading: Reading) -> bool:
    too_many = (
        settings.max_pending is not None and reading.pending is not None and reading.pending > settings.max_pending
    )
    too_old = (
        settings.max_pending_age is not None
        and reading.oldest_pending is not None
        and reading.now - reading.oldest_pending > settings.max_pending_age
    )
    return too_many or too_old


KIND = Kind(
    name="settlement",
    summary="the last batch close and the unsent transactions, as the POS software records them",
    settings=SettlementSettings,
    read=read,
    judge=judge,
    target=target_of,
    impact=Impact.DEGRADE,
    interval=Seconds(60),
    problems=problems,
    example={"file": "/var/lib/pos/settlement.json", "format": "json"},
    reasons={
        "settlement.failed": "the last batch close did not go through",
        "settlement.overdue": "the deadline passed without a batch close that day, or the last is older than `max_age`",
        "settlement.unsent": "more transactions wait to be sent than `max_pending`, or longer than `max_pending_age`",
        "settlement.no_record": "the record can be read, but no batch close is in it",
        "settlement.unreadable": "the record is missing or makes no sense in this format",
    },
)
