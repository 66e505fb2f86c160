"""What does one round of looks say to people and to the centre? From answers and diagnoses to a report."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from agent import __version__, texts
from agent.advice import Advice, SiteAdvice, advice
from agent.chain import chain
from agent.diagnosis import Diagnosis, Explanation
from agent.diagnosis.scene import owner_of
from agent.report import (
    AgentPart,
    DiagnosisPart,
    EventPart,
    EvidencePart,
    IncidentPart,
    ProbePart,
    Report,
    RuledOutPart,
    SitePart,
    VerdictPart,
    WaitingPart,
    stamp,
)
from agent.runner import Look
from agent.verdict import Finding, Word, in_order, watches_payment
from probes.model import Measurement, Probe, Status

if TYPE_CHECKING:
    from agent.texts import Language

NOTHING_EXPLAINED = Explanation()
SUBJECTS = 2


class Standing(msgspec.Struct, frozen=True):
    """How firm a probe's answer is, for who looks more than once. Times are Unix seconds."""

    confirmed: bool
    since: float
    next_check_at: float | None = None
    flapping: bool = False


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says besides the answers. Times are Unix seconds."""

    seq: int
    mode: Literal["check", "run"]
    started_at: float
    now: float
    problems: Sequence[str] = ()
    boot_id: str = ""
    config_sha256: str | None = None
    store: str = ""
    terminal: str = ""
    host: str = ""
    tags: Mapping[str, str] = {}
    contacts: Mapping[str, str] = {}
    site_advice: SiteAdvice | None = None
    language: Language = "en"
    valid_for: float | None = None
    verdict_since: float | None = None
    standings: Mapping[str, Standing] = {}
    incidents: Sequence[IncidentPart] = ()
    events: Sequence[EventPart] = ()
    silenced_until: float | None = None
    waiting: WaitingPart = WaitingPart()
    terminals: frozenset[str] = frozenset()
    """The probes whose target is the card terminal itself."""


def render(
    looks: Sequence[Look], finding: Finding, about: Circumstances, explained: Explanation = NOTHING_EXPLAINED
) -> Report:
    """The report of one round of looks. Pure but for the texts it reads."""
    probes = [_probe(found, explained, about) for found in in_order(looks)]
    diagnoses = [diagnosis_part(each, looks, about) for each in explained.diagnoses]
    valid_for = about.valid_for or max([60.0, *(2 * float(found.probe.interval) for found in looks)])
    return Report(
        schema="posagent.report/1",
        seq=about.seq,
        generated_at=stamp(about.now),
        valid_until=stamp(about.now + valid_for),
        boot_id=about.boot_id,
        config_sha256=about.config_sha256,
        agent=AgentPart(
            version=__version__,
            mode=about.mode,
            started_at=stamp(about.started_at),
            healthy=not about.problems,
            problems=list(about.problems),
            events=list(about.events),
            language=about.language,
            silenced_until=stamp(about.silenced_until) if about.silenced_until else None,
            waiting=about.waiting,
        ),
        site=SitePart(
            store=about.store,
            terminal=about.terminal,
            host=about.host,
            tags=dict(about.tags),
            contacts=dict(about.contacts),
        ),
        verdict=VerdictPart(
            payments=finding.payments,
            settlement=finding.settlement,
            headline=headline(finding, explained, about),
            since=stamp(about.verdict_since or about.now),
        ),
        diagnosis=diagnoses,
        probes=probes,
        incidents=list(about.incidents),
        not_checked=not_checked([found.probe for found in looks], about.language),
        chain=chain(probes, diagnoses, about.terminals),
    )


def headline(finding: Finding, explained: Explanation, about: Circumstances) -> str:
    """One line: the verdict and, where something is wrong, the first broken link."""
    verdict = texts.phrase(f"verdict.{finding.payments}", about.language)
    if finding.decided_by is None:
        unproven = finding.payments is Word.UNKNOWN
        return texts.phrase("verdict.unproven", about.language) if unproven else verdict
    what = f"{finding.decided_by.probe.label}: {summary(finding.decided_by, about.language)}"
    known = [each.title for each in about.incidents if finding.decided_by.probe.name in each.probes and each.title]
    if explained.diagnoses and explained.diagnoses[0].cause != "unclassified":
        what = advice_on(explained.diagnoses[0], about).title
    elif known and not explained.diagnoses:  # it looks better, which is not yet confirmed
        what = known[0]
    return texts.phrase("verdict.because", about.language, verdict=verdict, what=what)


def advice_on(diagnosis: Diagnosis, about: Circumstances) -> Advice:
    """The texts for one diagnosis, the site's own first."""
    return advice(diagnosis.cause, about.language, {"subject": _subject(diagnosis, about.language)}, about.site_advice)


def title_of(cause: str, about: Circumstances) -> str:
    """What people call a cause, of nobody in particular."""
    return advice(cause, about.language, {}, about.site_advice).title


def titled(incident: IncidentPart, explained: Explanation, about: Circumstances, *, anew: bool) -> IncidentPart:
    """An incident as readers of the language call it. `anew`: it was opened in another language."""
    for each in explained.diagnoses:
        if each.cause == incident.cause and not set(incident.probes).isdisjoint(each.explains):
            return msgspec.structs.replace(incident, title=advice_on(each, about).title)
    return msgspec.structs.replace(incident, title=title_of(incident.cause, about)) if anew else incident


def _subject(diagnosis: Diagnosis, language: Language) -> str:
    """The targets concerned; of many the first ones and how many more."""
    shown, more = diagnosis.subjects[:SUBJECTS], len(diagnosis.subjects) - SUBJECTS
    if more <= 0:
        return texts.phrase("subject.all", language, shown=list(shown))
    return texts.phrase("subject.more", language, shown=list(shown), more=more)


def summary(found: Look, language: Language) -> str:
    """What a person reads about one answer."""
    seen = found.observation
    return texts.sentence(found.probe.kind, seen.reason, seen.measurements, language, otherwise=seen.detail)


def not_checked(probes: Sequence[Probe], language: Language) -> list[str]:
    """What these probes leave out of sight: said aloud, so that nobody takes silence for health."""
    kinds = {probe.kind for probe in probes}
    missing = [
        *([] if any(watches_payment(p) and p.kind in ("port", "tls") for p in probes) else ["payment_hosts"]),
        *([] if any(watches_payment(p) and p.kind in ("usb", "serial") for p in probes) else ["terminal"]),
        *(name for name in ("settlement", "process", "version") if name not in kinds),
        "bank_side",
    ]
    return [texts.phrase(f"not_checked.{name}", language) for name in missing]


def circumstances_of_this_machine(root: Path = Path("/")) -> dict[str, Any]:
    """`boot_id`, `host` and `now`, for `Circumstances`."""
    try:
        boot_id = (root / "proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot_id = ""
    return {"boot_id": boot_id, "host": socket.gethostname(), "now": time.time()}


def diagnosis_part(diagnosis: Diagnosis, looks: Sequence[Look], about: Circumstances) -> DiagnosisPart:
    """A diagnosis as the report tells it."""
    named = {clue.probe for clue in diagnosis.evidence} | {each.probe for each in diagnosis.ruled_out}
    said = {found.probe.name: summary(found, about.language) for found in looks if found.probe.name in named}
    text = advice_on(diagnosis, about)
    ruled_out = {each.cause: each for each in reversed(diagnosis.ruled_out)}.values()  # one reason for each will do
    contact = text.contact or about.contacts.get(diagnosis.party)
    return DiagnosisPart(
        cause=diagnosis.cause,
        party=diagnosis.party,
        category=diagnosis.category,
        confidence=diagnosis.confidence,
        title=text.title,
        explanation=text.explanation,
        steps=list(text.cashier),
        technician_steps=list(text.technician),
        warnings=list(text.warnings),
        still_works=list(text.works),
        contact=contact,
        explains=list(diagnosis.explains),
        evidence=[
            EvidencePart(probe=c.probe, reason=c.reason, detail=said.get(c.probe, "")) for c in diagnosis.evidence
        ],
        ruled_out=[
            RuledOutPart(
                cause=each.cause,
                title=title_of(each.cause, about),
                because=f"{each.probe}: {said.get(each.probe, each.reason)}",
            )
            for each in ruled_out
        ],
        alternatives=list(diagnosis.alternatives),
        alternative_titles=[title_of(cause, about) for cause in diagnosis.alternatives],
        fingerprint=fingerprint(diagnosis, contact, about.store),
    )


def fingerprint(diagnosis: Diagnosis, contact: str | None, store: str) -> str:
    """Equal on two tills that suffer the same fault, so that a centre can fold their reports into one.

    A fault of a host is told by who runs the host, one of the provider by whom the site calls about it, one of the
    store by the store.
    """
    if diagnosis.party in ("acquirer", "vendor"):
        where = " ".join(sorted({owner_of(target.rpartition(":")[0] or target) for target in diagnosis.subjects}))
    else:
        where = contact or "" if diagnosis.party == "isp" else store
    return hashlib.sha256(f"{diagnosis.cause}\0{where}".encode()).hexdigest()[:16]


def _probe(found: Look, explained: Explanation, about: Circumstances) -> ProbePart:
    probe, seen = found.probe, found.observation
    first = Standing(confirmed=seen.status is Status.OK, since=found.checked_at)
    standing = about.standings.get(probe.name, first)
    return ProbePart(
        name=probe.name,
        kind=probe.kind,
        label=probe.label,
        target=probe.target,
        status=seen.status,
        reason=seen.reason,
        summary=summary(found, about.language),
        impact=probe.impact,
        confirmed=standing.confirmed,
        since=stamp(standing.since),
        checked_at=stamp(found.checked_at),
        duration_ms=round(found.duration * 1000, 1),
        measurements=_finite(seen.measurements),
        evidence=list(seen.evidence),
        explained_by=explained.of(probe.name) or _in_vain(found),
        next_check_at=stamp(standing.next_check_at) if standing.next_check_at is not None else None,
        flapping=standing.flapping,
    )


def _in_vain(found: Look) -> str | None:
    """The cause for whose sake nobody waited for this probe."""
    cause = found.observation.measurements.get("explained_by")
    return cause if isinstance(cause, str) else None


def _finite(measurements: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """JSON knows no infinity: such a measurement says nothing and is left out, as are those that were not taken."""
    return {
        key: value
        for key, value in measurements.items()
        if value is not None and not (isinstance(value, float) and value - value != 0)
    }
