"""Which metrics are there? Name, labels and meaning of each, and where it comes from: the table of docs/metrics.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.metrics import sources
from agent.metrics.sources import STATUS, Source, at, counted, incidents, info, measured, moment, probes, verdict

SCALE = "0 ok, 1 warn, 2 fail, 3 unknown, 4 skipped"


@dataclass(frozen=True)
class Family:
    """One metric, with one series per set of label values."""

    name: str
    type: Literal["gauge", "counter", "info"]
    labels: tuple[str, ...]
    help: str
    values: Source

    @property
    def ending(self) -> str:
        """What OpenMetrics adds to the name of a family of this type."""
        return {"gauge": "", "counter": "total", "info": "info"}[self.type]


def _gauge(name: str, text: str, values: Source, *labels: str) -> Family:
    return Family(f"posagent_{name}", "gauge", labels, text, values)


def _counter(name: str, text: str, values: Source) -> Family:
    return Family(f"posagent_{name}", "counter", (), text, values)


def _info(name: str, text: str, part: str, *labels: str) -> Family:
    return Family(f"posagent_{name}", "info", labels, text, info(part, *labels))


def _process(name: str, text: str, key: str, sort: Literal["gauge", "counter"] = "gauge") -> Family:
    return Family(f"process_{name}", sort, (), text, counted(key))


_PROBE = ("probe", "kind")
FAMILIES: tuple[Family, ...] = (
    _gauge(
        "payments",
        "Can this till take card payments? 1 for the word that holds, else 0",
        verdict("payments"),
        "verdict",
    ),
    _gauge(
        "settlement", "Will settlement go through? 1 for the word that holds, else 0", verdict("settlement"), "verdict"
    ),
    _gauge("verdict_since_timestamp_seconds", "Since when both verdicts are what they are", at("verdict", "since")),
    _gauge("link_status", f"A link of the chain from power to settlement: {SCALE}", sources.links, "link"),
    _gauge("probe_status", f"The probe's last answer: {SCALE}", probes(lambda probe: STATUS[probe["status"]]), *_PROBE),
    _gauge(
        "probe_confirmed",
        "Did that answer hold for as many checks as it takes to count?",
        probes(lambda probe: float(probe["confirmed"])),
        *_PROBE,
    ),
    _gauge(
        "probe_trouble",
        "1 while the probe warns, fails or cannot look, and why; absent while it is well",
        sources.troubles,
        *_PROBE,
        "reason",
    ),
    _gauge(
        "probe_info",
        "What the probe looks at, and what its failure means for payments; always 1",
        sources.about_probes,
        *_PROBE,
        "target",
        "impact",
    ),
    _gauge(
        "probe_duration_seconds",
        "How long the last look took",
        probes(lambda probe: round(probe["duration_ms"] / 1000, 9)),
        *_PROBE,
    ),
    _gauge(
        "probe_rtt_seconds", "Round trip of an echo or of a question for the time", measured("rtt_ms", 0.001), *_PROBE
    ),
    _gauge(
        "probe_loss_ratio",
        "Share of the recent echoes that went unanswered, 0 to 1",
        measured("recent_loss_percent", 0.01),
        *_PROBE,
    ),
    _gauge("probe_connect_seconds", "How long the TCP connection took", measured("connect_ms", 0.001), *_PROBE),
    _gauge("probe_handshake_seconds", "How long the TLS handshake took", measured("handshake_ms", 0.001), *_PROBE),
    _gauge(
        "certificate_expiry_timestamp_seconds",
        "When the first certificate of the host's chain runs out",
        sources.expiries,
        "probe",
        "target",
    ),
    _gauge(
        "clock_offset_seconds",
        "How far this PC's clock is ahead (+) of the time server or behind (-)",
        measured("offset_s", kind="clock"),
        *_PROBE,
    ),
    _gauge(
        "incident_open",
        "1 per open incident; fingerprint is equal on tills with the same outside fault",
        sources.about_incidents,
        "id",
        "cause",
        "party",
        "impact",
        "fingerprint",
    ),
    _gauge(
        "incident_opened_timestamp_seconds",
        "When it was opened",
        incidents(lambda each: moment(each["opened_at"])),
        "id",
    ),
    _gauge(
        "incident_level",
        "How far the till itself escalated it; 0: nobody was told",
        incidents(lambda each: float(each["level"])),
        "id",
    ),
    _gauge(
        "incident_acknowledged",
        "Did somebody take charge of it?",
        incidents(lambda each: float(each["acknowledged"] is not None)),
        "id",
    ),
    _gauge("report_seq", "Number of the newest report; rises by one per report, over restarts", at("seq")),
    _gauge("report_timestamp_seconds", "When it was made, by the till's clock", at("generated_at")),
    _gauge("report_valid_until_timestamp_seconds", "After this it is stale, by the till's clock", at("valid_until")),
    _info("agent_info", "The agent; always 1", "agent", "version", "mode", "language"),
    _info("site_info", "Which till this is by its own configuration; always 1", "site", "store", "terminal", "host"),
    _gauge("agent_healthy", "Is the agent itself well?", at("agent", "healthy")),
    _gauge("agent_problems", "How many problems of its own the agent tells of", sources.problems),
    _gauge("agent_silenced", "Is work planned here, so that nobody is to be told of anything?", sources.silenced),
    _gauge(
        "outbox_waiting",
        "What has not left this PC yet: notices to people, reports to the centre",
        sources.waiting,
        "queue",
    ),
    _counter(
        "notices_delivered_total", "Notices that a channel took, since the agent's start", counted("notices_delivered")
    ),
    _counter(
        "reports_pushed_total", "Reports that the centre took, since the agent's start", counted("reports_pushed")
    ),
    _counter("reports_dropped_total", "Reports dropped unsent, as more waited than the quota allows", sources.dropped),
    _gauge("time_seconds", "The till's clock at this scrape", counted("now")),
    _process("cpu_seconds_total", "Processor time of the agent, user and system", "cpu_seconds", "counter"),
    _process("resident_memory_bytes", "Resident memory of the agent", "resident_bytes"),
    _process("virtual_memory_bytes", "Virtual memory of the agent", "virtual_bytes"),
    _process("open_fds", "Open files of the agent", "open_fds"),
    _process("threads", "Threads of the agent", "threads"),
    _process("start_time_seconds", "When the agent was started", "start_time"),
)
