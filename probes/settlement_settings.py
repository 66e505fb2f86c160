"""Where does the POS software record its batch closes, how is that read, and by when must a batch be closed?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from msgspec import Meta

from probes import moments, records
from probes.host import zone
from probes.host.command import Command
from probes.model import PathText, Pattern, Seconds, Settings, Text
from probes.records import Encoding, Fields, Format

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
