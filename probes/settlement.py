"""Did the last batch close go through, and is nothing waiting unsent, as the POS software records it?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from probes import batches, moments, records
from probes.batches import Close, Reading
from probes.host import Host, command, tail, zone
from probes.host.command import Command
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    NotFitted,
    Observation,
    PathText,
    Pattern,
    Seconds,
    Settings,
    Status,
    Text,
    fail,
    ok,
    warn,
)
from probes.records import Encoding, Fields, Format, Row
from probes.redact import scrub_data

SETTLING = 10
"""A last line without an end, written less than these seconds ago, may still be in writing."""

Clock = Annotated[str, Meta(pattern=r"^((?:[01][0-9]|2[0-3]):[0-5][0-9])?$", title='a time such as "23:30", or ""')]
ZoneName = Annotated[str, Meta(min_length=1, max_length=64, title="a time zone such as Asia/Shanghai")]
Values = tuple[Text, ...]

SUCCESS = (
    *("ok", "success", "successful", "succeeded", "settled", "closed", "complete", "completed", "done"),
    *("approved", "accepted", "true", "0", "00", "000", "成功", "已结算", "结算成功", "已结批", "已完成", "完成"),
)
WAITING = (
    *("pending", "unsent", "queued", "waiting", "offline", "processing", "running", "started", "in progress", "open"),
    *("未上送", "待上送", "未结算", "待结算", "处理中", "结算中", "进行中"),
)
CLOSE = (
    *("settlement", "settle", "batch", "batch close", "batch_close", "batchclose", "close", "eod", "end of day"),
    *("end_of_day", "reconciliation", "结算", "批结算", "结批", "日结", "日终结算"),
)


class SettlementSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the POS software records its batch closes, how to read that, and by when a batch must be closed."""

    file: Annotated[
        PathText | None,
        Meta(description="the record; with `*` the newest files that fit, such as /opt/pos/log/pos-*.log"),
    ] = None
    command: Annotated[Command | None, Meta(description="a program that prints the record")] = None
    format: Annotated[Format, Meta(description="json (a document, or one per line), csv or log")] = "json"
    records: Annotated[
        Text | None, Meta(description="json: the path of the list of records; default: the document itself")
    ] = None
    fields: Annotated[Fields, Meta(description="json and csv: where each fact stands")] = Fields()
    patterns: Annotated[
        tuple[Pattern, ...],
        Meta(description="log: regular expressions with groups named time, status, amount, type, reference, pending"),
    ] = ()
    success: Annotated[
        Values,
        Meta(description="values of status that mean settled or approved; []: only what went through is recorded"),
    ] = SUCCESS
    waiting: Annotated[Values, Meta(description="values of status that mean not sent or not finished yet")] = WAITING
    close: Annotated[
        Values, Meta(description="values of type that mean a batch close; a record without a type is one, too")
    ] = CLOSE
    time_format: Annotated[
        Text | None, Meta(description='of strptime, such as "%d/%m/%Y %H:%M:%S"; default: the usual ones are known')
    ] = None
    timezone: Annotated[
        ZoneName | None, Meta(description="of the deadline and of times that name none; default: this PC's")
    ] = None
    encoding: Annotated[Encoding, Meta(description="auto: UTF-8, and line by line GB 18030 where it is not")] = "auto"
    deadline: Annotated[
        Clock, Meta(description='local time by which the day\'s batch must be closed; may be after midnight; "": none')
    ] = "23:30"
    days: Annotated[tuple[moments.Day, ...], Meta(description="days that end with a batch close", min_length=1)] = (
        moments.DAYS
    )
    max_age: Annotated[Seconds | None, Meta(description="the longest time between two batch closes")] = None
    max_pending: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="more unsent transactions than this are too many")
    ] = None
    max_pending_age: Annotated[
        Seconds | None, Meta(description="the longest that a transaction may wait to be sent")
    ] = None


def problems(settings: SettlementSettings) -> Iterable[tuple[str, str]]:
    """One source; patterns for a log and only there; formats and zones that exist."""
    if (settings.file is None) == (settings.command is None):
        yield "file", f"expected exactly one of file, command, got {'none' if settings.file is None else 'both'}"
    if settings.file is not None and "**" in settings.file:
        yield "file", 'expected a path in which "*" stands for a part of one name, got "**"'
    yield from _format_problems(settings)
    if settings.time_format is not None and not _is_format(settings.time_format):
        yield "time_format", f'expected a format such as "%Y-%m-%d %H:%M:%S", got "{settings.time_format}"'
    if settings.timezone is not None and not zone.is_known(settings.timezone):
        yield "timezone", f'expected a time zone such as Asia/Shanghai, got "{settings.timezone}"'


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


def target_of(settings: SettlementSettings) -> str:
    """The file or program that holds the record."""
    return settings.file or (settings.command or ("",))[0]


def _format_problems(settings: SettlementSettings) -> Iterable[tuple[str, str]]:
    if settings.records is not None and settings.format != "json":
        yield "records", f'expected none, as the format is "{settings.format}"'
    if settings.format != "log":
        if settings.patterns:
            yield "patterns", f'expected none, as the format is "{settings.format}"'
        return
    if settings.fields != Fields():
        yield "fields", "expected none, as the format is log: the groups of `patterns` name what they find"
    groups = {name for pattern in settings.patterns for name in re.compile(pattern).groupindex}
    if "time" not in groups and "pending" not in groups:
        yield "patterns", "expected regular expressions with groups such as (?P<time>…) and (?P<status>…)"
    for name in sorted(groups - set(records.NAMES)):
        yield "patterns", f"expected groups named {', '.join(records.NAMES)}, got {name}"


def _is_format(form: str) -> bool:
    sample = datetime(2026, 11, 22, 23, 1, 2)  # noqa: DTZ001 - only tries the format
    dated = form if "%Y" in form else f"%Y {form}"  # a day without a year cannot know 29 February
    try:
        datetime.strptime(sample.strftime(dated), dated)  # noqa: DTZ007
    except (ValueError, re.error):
        return False
    return "%" in form


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
