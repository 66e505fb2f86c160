"""What does the centre read? `posagent.report/1`: its fields, its JSON, and a file that is whole or not there.

The field order below is the order in the file. Fields are public API: they are added, never renamed.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from agent.diagnosis.model import Category, Confidence, Party
from agent.verdict import Word
from probes.model import Impact, Measurement, Status

SCHEMA = "posagent.report/1"
Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        description="RFC 3339, UTC, milliseconds",
        extra_json_schema={"format": "date-time"},
    ),
]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object of the report."""


class EventPart(Part, frozen=True, kw_only=True):
    """Something that happened to the agent or its PC: a start, dark hours, a clock that jumped, a reload."""

    at: Time
    what: str
    text: str


class WaitingPart(Part, frozen=True, kw_only=True):
    """What has not left this PC yet."""

    notices: Annotated[int, Meta(ge=0, description="to people")] = 0
    reports: Annotated[int, Meta(ge=0, description="to the centre")] = 0
    dropped_reports: Annotated[
        int, Meta(ge=0, description="that the centre will never get, as too many were waiting, since the agent started")
    ] = 0


class AgentPart(Part, frozen=True, kw_only=True):
    """The agent that looked."""

    version: str
    mode: Literal["check", "run"]
    started_at: Time
    healthy: bool
    problems: list[str]
    events: Annotated[list[EventPart], Meta(description="the newest few, oldest first; empty for one look")] = []
    language: Annotated[Literal["en", "zh-CN"], Meta(description="of every sentence in this report")]
    silenced_until: Annotated[Time | None, Meta(description="planned work: until then nobody is told of anything")] = (
        None
    )
    waiting: WaitingPart = WaitingPart()


class SitePart(Part, frozen=True, kw_only=True):
    """The till that was looked at."""

    store: str
    terminal: str
    host: str
    tags: dict[str, str]
    contacts: Annotated[dict[str, str], Meta(description="whom to call, by who can mend a fault")] = {}


class VerdictPart(Part, frozen=True, kw_only=True):
    """Can it take card payments, and will settlement go through?"""

    payments: Word
    settlement: Word
    headline: str
    since: Time


class EvidencePart(Part, frozen=True, kw_only=True):
    """One observation that speaks for a diagnosis."""

    probe: str
    reason: str
    detail: str


class RuledOutPart(Part, frozen=True, kw_only=True):
    """A cause that an observation speaks against."""

    cause: str
    title: str
    because: str


class DiagnosisPart(Part, frozen=True, kw_only=True):
    """The first broken link of one fault."""

    cause: str
    party: Party
    category: Category
    confidence: Confidence
    title: str
    explanation: str
    steps: Annotated[list[str], Meta(description="for the person at the counter")]
    technician_steps: list[str]
    warnings: list[str]
    still_works: list[str]
    contact: str | None
    explains: list[str]
    evidence: list[EvidencePart]
    ruled_out: list[RuledOutPart]
    alternatives: list[str]
    alternative_titles: list[str]
    fingerprint: str


class ProbePart(Part, frozen=True, kw_only=True):
    """One probe's last answer."""

    name: str
    kind: str
    label: str
    target: str
    status: Status
    reason: str
    summary: str
    impact: Impact
    confirmed: bool
    since: Time
    checked_at: Time
    duration_ms: float
    measurements: dict[str, Measurement]
    evidence: list[str]
    explained_by: str | None
    next_check_at: Time | None
    flapping: Annotated[bool, Meta(description="its confirmed status changed often of late")] = False


class AcknowledgedPart(Part, frozen=True, kw_only=True):
    """Who took charge of an incident."""

    by: str
    at: Time
    note: str
    until: Annotated[Time | None, Meta(description="then it is nobody's again; null: until the incident is over")] = (
        None
    )


Link = Literal["power", "terminal", "cable", "router", "internet", "firewall", "bank", "settlement"]
LINKS: tuple[Link, ...] = get_args(Link)
"""The way of a payment, from the cord to the batch at night."""


class LinkPart(Part, frozen=True, kw_only=True):
    """One link of that way."""

    link: Link
    status: Annotated[Status, Meta(description="skipped: nothing here looks at it; unknown: an earlier link hides it")]
    cause: Annotated[str | None, Meta(description="of the diagnosis that breaks this link")]
    probes: list[str]


class IncidentPart(Part, frozen=True, kw_only=True):
    """An open incident."""

    id: str
    cause: str
    opened_at: Time
    level: Annotated[int, Meta(description="how far it was escalated; 0: nobody was told yet")]
    acknowledged: AcknowledgedPart | None
    silenced_until: Time | None
    title: str = ""
    party: Party = "it"
    impact: Impact = Impact.DEGRADE
    flapping: bool = False
    probes: list[str] = []
    fingerprint: str = ""


class Report(Part, frozen=True, kw_only=True):
    """The health of one till at one moment."""

    schema: Literal["posagent.report/1"]
    seq: Annotated[int, Meta(ge=0, description="rises by one per report; 0 where no state could be kept")]
    generated_at: Time
    valid_until: Annotated[Time, Meta(description="after this a reader must treat the report as stale")]
    boot_id: str
    config_sha256: str | None
    agent: AgentPart
    site: SitePart
    verdict: VerdictPart
    diagnosis: list[DiagnosisPart]
    probes: list[ProbePart]
    incidents: list[IncidentPart]
    not_checked: list[str]
    chain: Annotated[
        list[LinkPart], Meta(description="all eight links from the cord to the settlement, in this order")
    ] = []


def stamp(moment: float) -> str:
    """Unix seconds as RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(report: Report) -> bytes:
    """The report as it goes to file, HTTP and every push: UTF-8 JSON, two spaces a level, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def as_data(report: Report) -> dict[str, Any]:
    """The report as plain dicts and lists, as a reader of the JSON sees it."""
    data: dict[str, Any] = msgspec.to_builtins(report)
    return data


def schema() -> dict[str, Any]:
    """The published JSON Schema of a report."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        **msgspec.json.schema(Report),
    }


def write(path: Path, content: bytes) -> None:
    """Replace `path` so that a reader sees the old or the new report, whole, also after a power cut. Mode 0640.

    Raises OSError; the old report then stands and nothing is left beside it.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o640)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
