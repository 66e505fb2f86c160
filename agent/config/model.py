"""Which sections may the file have, and what holds where it is silent?

A new section is one struct and one field of `Sections`: validation, `config.example.toml`, the JSON Schema and
`posagent config show` follow from it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.causes import Party
from agent.config.escalation import Level, NotifySettings
from agent.config.push import Push
from agent.config.section import Label, Section
from agent.config.web import Web
from probes.model import PathText, Seconds, Settings, Text

LanguageChoice = Literal["auto", "en", "zh-CN"]
Format = Literal["text", "markdown"]
Count = Annotated[int, Meta(ge=1, le=100)]


class Site(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which till this is. Every report and message carries it."""

    store: Annotated[Label, Meta(description="the store's number or name", examples=["0042"])] = ""
    terminal: Annotated[Label, Meta(description="this till's number or name", examples=["T01"])] = ""
    tags: Annotated[
        dict[str, Text],
        Meta(description="words of your own that the centre can sort by", examples=[{"region": "east"}]),
    ] = msgspec.field(default_factory=dict)
    timezone: Annotated[
        Text | None,
        Meta(
            description="the store's time zone, for opening hours and settlement deadlines; default: that of this PC",
            examples=["Asia/Shanghai"],
        ),
    ] = None


class Schedule(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often to look, and when to believe it. What a probe sets itself goes before."""

    interval: Annotated[
        Seconds, Meta(description="time between two looks of a probe; kinds may have their own default")
    ] = Seconds(30)
    retry_interval: Annotated[
        Seconds, Meta(description="time between two looks while something seems wrong but is not confirmed")
    ] = Seconds(5)
    timeout: Annotated[Seconds, Meta(description="deadline of one look; kinds may have their own default")] = Seconds(3)
    fail_after: Annotated[Count, Meta(description="looks in a row before trouble is confirmed")] = 3
    recover_after: Annotated[Count, Meta(description="looks in a row before recovery is confirmed")] = 2
    opening_hours: Annotated[
        tuple[Text, ...],
        Meta(
            description='when the store sells, in its own time zone: "mon-sat 09:00-22:00", "daily 00:00-24:00", '
            '"fri,sat 18:00-02:00"; default: always',
            examples=[["mon-sat 09:00-22:00"]],
        ),
    ] = ()
    holidays: Annotated[
        tuple[Text, ...],
        Meta(
            description='days on which the store stays closed: "2026-10-01", "2026-10-01..2026-10-07", or every year '
            '"12-25", "12-31..01-02"',
            examples=[["2026-10-01..2026-10-07", "01-01"]],
        ),
    ] = ()
    window: Annotated[
        Count,
        Meta(
            description="trouble is also confirmed when fail_after of this many last looks saw it: what comes and goes"
        ),
    ] = 5
    reopen_within: Annotated[
        Seconds,
        Meta(
            description="a fault that returns this soon after it was gone is flapping: its incident stays open until "
            "all was well for twice this time; 0 switches this off"
        ),
    ] = Seconds(300)


class ReportSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the health report goes."""

    path: Annotated[
        PathText | None,
        Meta(
            description="the file that `posagent run` and `posagent check --write` replace; default: health.json in "
            "the state directory",
            examples=["/var/lib/posagent/health.json"],
        ),
    ] = None
    heartbeat: Annotated[
        Seconds,
        Meta(
            description="time between two reports of the daemon while nothing changes (10s to 1d); a reader may call "
            "the report stale after twice this time and a little"
        ),
    ] = Seconds(600)
    textfile: Annotated[
        PathText | None,
        Meta(
            description="a file NAME.prom that the daemon replaces with each report, for node_exporter's textfile "
            "collector; default: none",
            examples=["/var/lib/prometheus/node-exporter/posagent.prom"],
        ),
    ] = None


class History(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of the past is kept in the state file."""

    keep: Annotated[
        Seconds,
        Meta(
            description="how long incidents, changes and availability are kept, at least 1d; open incidents are never "
            "dropped"
        ),
    ] = Seconds(90 * 86400)
    max_size_mb: Annotated[
        Annotated[int, Meta(ge=1, le=10000)],
        Meta(description="size of the state file above which the oldest of the past is dropped earlier"),
    ] = 20


class AdviceSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people are told about a fault: texts and contacts of your own."""

    file: Annotated[
        Annotated[
            str, Meta(pattern=r"^/", max_length=4096, title='an absolute path such as "/etc/posagent/advice.toml"')
        ]
        | None,
        Meta(
            description="a file with your own texts and contacts for some causes; docs/advice.md says how it is "
            "written; default: posagent's own texts",
            examples=["/etc/posagent/advice.toml"],
        ),
    ] = None


class Channel(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to reach people: what every kind of channel takes. The kinds are in `agent.config.channels`."""

    kind: Annotated[Text, Meta(description="which way it is; docs/channels.md describes them all")]
    enabled: Annotated[bool, Meta(description="false: configured, but not used")] = True
    language: Annotated[
        LanguageChoice, Meta(description="what its readers read; auto: as `language` of the file says")
    ] = "auto"
    fallback: Annotated[
        Text | None,
        Meta(description="the name of the channel that is told instead when this one is dead", examples=["mail"]),
    ] = None
    timeout: Annotated[Seconds, Meta(description="deadline of one delivery, from name to answer (1s to 5m)")] = Seconds(
        15
    )


class Sections(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    language: Annotated[LanguageChoice, Meta(description="what people read: auto (as this PC is set), en, zh-CN")] = (
        "auto"
    )
    site: Site = Site()
    contacts: Annotated[
        dict[Party, Text],
        Meta(
            description="whom to call, shown in the advice, by who can mend a fault: store, it (the store's network "
            "or IT staff), isp, acquirer, vendor (of terminal or POS software)",
            examples=[{"isp": "10000", "acquirer": "95516"}],
        ),
    ] = {}
    advice: AdviceSettings = AdviceSettings()
    schedule: Schedule = Schedule()
    report: ReportSettings = ReportSettings()
    history: History = History()
    web: Web = Web()
    push: Push = Push()
    channels: Annotated[
        dict[str, Channel], Meta(description="one table per way to reach people: [channels.NAME]; none: nobody is told")
    ] = {}
    escalation: Annotated[
        tuple[Level, ...],
        Meta(
            description="who is told of a fault, and when: one table per level; none: all channels in opening hours, "
            "at once when payments are down, after 15 minutes when they are at risk",
            title="a table for each level: [[escalation]]",
        ),
    ] = ()
    notify: NotifySettings = NotifySettings()
    probes: Annotated[
        dict[str, Settings], Meta(description="one table per probe: [probes.NAME]; none: what this PC has is looked at")
    ] = {}


class Config(Sections, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration that holds together. `source` is the file's name as given, None where there is no file."""

    source: str | None = None
    sha256: str | None = None

    @property
    def discovered(self) -> bool:
        """True when the file names no probe, or there is no file: built-in discovery decides what to look at."""
        return not self.probes


PROBE_NAME = re.compile(r"\w[\w.-]{0,99}")
NAME_EXPECTED = "expected a name of letters, digits, '.', '_' and '-', at most 100, not starting with '.' or '-'"
