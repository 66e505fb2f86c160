"""What can be asked of a till, and in which words does the answer come?

The vocabulary of every probe: `Status`, `Impact`, `Observation`, `Settings`, `Kind`, and the ways of not answering.

    CannotAnswer
    ├── NotFitted      the thing does not exist on this PC           -> skipped, probe.not_fitted
    ├── Denied         this user may not look                        -> unknown, probe.denied
    ├── Unsupported    this kernel or system cannot tell             -> unknown, probe.unsupported
    └── OutOfTime      the probe's own deadline passed               -> unknown, probe.timeout
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from probes.host import Host

S = TypeVar("S", bound="Settings")
R = TypeVar("R")
Scalar = bool | int | float | str
Measurement = Scalar | list[str] | None
Memory = Mapping[str, Any]
"""What a kind wrote down at its last look: plain JSON values, handed back to `judge`. Empty at the first look."""

EVIDENCE_BYTES = 512
CENTURY_S = 3.2e9


class Status(enum.StrEnum):
    """How one answer stands; never `ok` for silence."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Impact(enum.StrEnum):
    """What a failure means for payments."""

    STOP = "stop"
    DEGRADE = "degrade"
    NONE = "none"


class Role(enum.StrEnum):
    """Whom a network target serves."""

    PAYMENT = "payment"
    TERMINAL = "terminal"
    SERVICE = "service"


def because(text: str, why: str = "", **facts: Scalar) -> dict[str, Measurement]:
    """Measurements from which a sentence makes its `{detail}`, in any language: see `Told`."""
    return {**facts, "detail": text, **({"why": why} if why else {})}


class Told(Exception):
    """The text says in English what is wrong, as everywhere in Python; people read it in their own language.

    `why` is a short stable word for the text, under which agent/texts/why.toml has it in every language, filled from
    `facts`. Without one people read the English.
    """

    why: str = ""
    facts: Mapping[str, Scalar] = MappingProxyType({})

    def __init__(self, *text: object, why: str = "", **facts: Scalar) -> None:
        super().__init__(*text)
        self.why = why
        self.facts = facts

    @property
    def because(self) -> dict[str, Measurement]:
        """This as measurements."""
        return because(str(self), self.why, **self.facts)


class CannotAnswer(Told):
    """A probe could not look; the text says why and what would mend it."""

    status = Status.UNKNOWN
    reason = "probe.crashed"


class NotFitted(CannotAnswer):
    """The thing asked about is not part of this PC."""

    status = Status.SKIPPED
    reason = "probe.not_fitted"


class Denied(CannotAnswer):
    """This user may not look; the text names the right that is missing."""

    reason = "probe.denied"


class Unsupported(CannotAnswer):
    """This kernel, system or library cannot tell."""

    reason = "probe.unsupported"


class OutOfTime(CannotAnswer):
    """The probe's own deadline passed before it had an answer."""

    reason = "probe.timeout"


PROBE_REASONS: Mapping[str, str] = {
    "probe.crashed": "the probe itself failed; a fault of posagent, not of the till",
    "probe.timeout": "the probe did not finish within its own deadline",
    "probe.denied": "this user lacks the right to look; the summary names it",
    "probe.unsupported": "this system cannot tell",
    "probe.not_fitted": "this PC has no such thing",
}


class Seconds(float):
    """A length of time in seconds, written `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"` or as a number of seconds."""

    __slots__ = ()
    UNITS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    EXPECTED = 'a duration such as "500ms", "30s", "5m", "2h", "1d" or a number of seconds'

    @classmethod
    def parse(cls, value: object) -> Seconds:
        """Read a duration as written in TOML. Raises ValueError naming what was expected."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            number = float(value) if abs(value) < CENTURY_S else CENTURY_S  # an int may be too large for a float
        else:
            found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", value) if isinstance(value, str) else None
            if found is None:
                raise ValueError(cls.EXPECTED)
            number = float(found[1]) * cls.UNITS[found[2]]
        if not 0 <= number < CENTURY_S:  # also refuses nan and inf
            raise ValueError(cls.EXPECTED)
        return cls(number)

    def __str__(self) -> str:
        """The shortest exact spelling: 0.5 -> "500ms", 7200 -> "2h"."""
        for unit in ("d", "h", "m", "s"):
            if self and self % self.UNITS[unit] == 0:
                return f"{int(self // self.UNITS[unit])}{unit}"
        return f"{round(self * 1000)}ms" if self else "0s"


HostName = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[^\s/]+\Z", title="a host name or address")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Percent = Annotated[float, Meta(ge=0, le=100)]
PathText = Annotated[str, Meta(min_length=1, max_length=4096, title="a path")]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s/]+", title='a URL such as "https://host/path"')]
Text = Annotated[str, Meta(min_length=1, max_length=4096, title="text")]
Pattern = Annotated[str, Meta(min_length=1, title="a regular expression")]
"""Each `title` is what an error message says was expected."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that every probe takes, whatever its kind."""

    kind: Annotated[str, Meta(description="which question to ask; see `posagent kinds`")]
    enabled: Annotated[bool, Meta(description="false switches the probe off and keeps its settings")] = True
    label: Annotated[Text | None, Meta(description="the name people see; default: the probe's name")] = None
    interval: Annotated[Seconds | None, Meta(description="time between two looks; default: schedule.interval")] = None
    timeout: Annotated[Seconds | None, Meta(description="deadline of one look; default: schedule.timeout")] = None
    fail_after: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | None,
        Meta(description="looks in a row before trouble is confirmed; default: schedule.fail_after"),
    ] = None
    recover_after: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | None,
        Meta(description="looks in a row before recovery is confirmed; default: schedule.recover_after"),
    ] = None
    impact: Annotated[
        Impact | None,
        Meta(description="what a failure means: stop = payments are down, degrade = at risk, none; default: by kind"),
    ] = None
    needs: Annotated[
        tuple[Text, ...] | None,
        Meta(description="names of probes it stands on; default: worked out from the kind and the route"),
    ] = None


class NetworkSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of every kind that speaks to another host."""

    role: Annotated[
        Role | None,
        Meta(
            description="payment, terminal or service; default: payment for port and tls beyond the LAN, "
            "terminal on the LAN, service for http"
        ),
    ] = None


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one probe at one moment.

    `measurements` are scalars whose key carries the unit (`rtt_ms`, `free_bytes`); texts are filled from them.
    `evidence` is raw and short, in no particular language. `memory` is what `judge` wants back next time.
    `detail` is one English sentence for an answer that no text catalogue knows (crashes, third-party kinds).
    """

    status: Status
    reason: str
    measurements: dict[str, Measurement] = {}
    evidence: tuple[str, ...] = ()
    memory: dict[str, Any] = {}
    detail: str = ""

    def __post_init__(self) -> None:
        """Cap evidence: a till's report must stay small whatever a device babbles."""
        if any(len(line) > EVIDENCE_BYTES for line in self.evidence) or len(self.evidence) > 20:
            capped = tuple(line[:EVIDENCE_BYTES] for line in self.evidence[:20])
            msgspec.structs.force_setattr(self, "evidence", capped)


def ok(measurements: Mapping[str, Measurement], *evidence: str, memory: Memory | None = None) -> Observation:
    """All is well, and this was measured."""
    return Observation(
        status=Status.OK, reason="ok", measurements=dict(measurements), evidence=evidence, memory=dict(memory or {})
    )


def warn(
    reason: str, measurements: Mapping[str, Measurement], *evidence: str, memory: Memory | None = None
) -> Observation:
    """Works, but not as it should."""
    return Observation(
        status=Status.WARN,
        reason=reason,
        measurements=dict(measurements),
        evidence=evidence,
        memory=dict(memory or {}),
    )


def fail(
    reason: str, measurements: Mapping[str, Measurement], *evidence: str, memory: Memory | None = None
) -> Observation:
    """Does not work."""
    return Observation(
        status=Status.FAIL,
        reason=reason,
        measurements=dict(measurements),
        evidence=evidence,
        memory=dict(memory or {}),
    )


def _no_problems(_settings: Any) -> Iterable[tuple[str, str]]:
    return ()


@dataclass(frozen=True)
class Kind(Generic[S, R]):
    """One kind of probe: how to look (`read`), what the answer means (`judge`), and all that is said about it.

    `read` touches the machine and may raise `CannotAnswer` or OSError; `judge` is pure: it sees the settings, the
    reading and the memory of the last look, and reads no clock (a reading that needs the time carries it).
    `problems` yields (key, "expected …") for settings that are well-typed but cannot work together.
    """

    name: str
    summary: str
    settings: type[S]
    read: Callable[[S, Host], R]
    judge: Callable[[S, R, Memory], Observation]
    target: Callable[[S], str]
    reasons: Mapping[str, str]
    impact: Impact = Impact.DEGRADE
    interval: Seconds | None = None
    timeout: Seconds | None = None
    problems: Callable[[S], Iterable[tuple[str, str]]] = _no_problems
    example: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """One configured question: a kind, its settings with every default filled in, and one target."""

    name: str
    kind: str
    settings: Settings
    label: str
    target: str
    impact: Impact
    interval: Seconds
    timeout: Seconds
    fail_after: int
    recover_after: int
    needs: tuple[str, ...] | None
    role: Role | None = None
