"""Does a web service answer as it should: the terminal management, a loyalty server, a shop's own page?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from probes import reach as reaching
from probes import trust
from probes.host import Host, http
from probes.host.http import Answer
from probes.host.tcp import Reach
from probes.host.tls import Handshake
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    PathText,
    Pattern,
    Seconds,
    Status,
    Url,
)
from probes.reach import Finding
from probes.redact import scrub

HttpStatus = Annotated[int, Meta(ge=100, le=599)]


class HttpSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of a web service."""

    url: Annotated[Url, Meta(description="what to GET; no redirect is followed")]
    expect_status: Annotated[
        HttpStatus | tuple[HttpStatus, ...],
        Meta(description="status or list of them; default: any 2xx, or a redirect within the same host"),
    ] = ()
    expect_body: Annotated[
        Pattern | None, Meta(description="regular expression to be found in the first MB of the body")
    ] = None
    max_time: Annotated[Seconds, Meta(description="an answer that takes longer is slow")] = Seconds(2)
    ca_file: Annotated[
        PathText | None, Meta(description="file with the certificates to trust (PEM); default: the system's")
    ] = None
    proxy: Annotated[Url | None, Meta(description="proxy to go through; the environment's is never used")] = None


class Reading(msgspec.Struct, frozen=True):
    """What came of one request. The body itself is not kept: what it held, and how it begins where that is evidence."""

    reach: Reach
    handshake: Handshake | None = None
    proxy_answer: Answer | None = None
    answer: Answer | None = None
    found: bool | None = None
    begins: str = ""
    size: int = 0
    seconds: float = 0.0
    now: float = 0.0


def read(settings: HttpSettings, host: Host) -> Reading:
    """Ask once and look into the body."""
    exchange = http.get(host, settings.url, settings.ca_file, settings.proxy)
    answer, found, begins, size = exchange.answer, None, "", 0
    if answer is not None:
        text = answer.body.decode("utf-8", "replace")
        size = len(answer.body)
        found = bool(re.search(settings.expect_body, text)) if settings.expect_body else None
        begins = " ".join(scrub(text[:2000]).split())[:160]
        answer = msgspec.structs.replace(answer, body=b"")
    return Reading(
        exchange.reach,
        exchange.handshake,
        exchange.proxy_answer,
        answer,
        found,
        begins,
        size,
        exchange.seconds,
        time.time(),
    )


def judge(settings: HttpSettings, reading: Reading, memory: Memory) -> Observation:
    """From the connection upwards; the first thing that fails is the reason, else the first warning."""
    where = http.site(settings.url)
    expected = trust.Expected(target=f"{where.host}:{where.port}", name=where.host)
    reached = reaching.judge(reading.reach, float("inf"))
    facts: dict[str, Measurement] = {"url": shown(settings.url), **reaching.facts(reading.reach)}
    evidence = reaching.evidence(reading.reach)
    findings, shaken = [reached], None
    if reading.handshake is not None:
        shaken = trust.judge(expected, reading.handshake, reading.now, memory)
        findings.append(shaken)
        facts["target"] = expected.target  # the connection itself may have been a proxy's
        facts |= trust.facts(expected, reading.handshake, reading.now)
        evidence += trust.evidence(reading.handshake, reading.now)
    if not any(finding.status is Status.FAIL for finding in findings):
        findings.append(_answered(settings, reading))
        facts |= _facts(settings, reading)
        evidence += _evidence(reading)
    found = _gravest(findings)
    return Observation(
        status=found.status,
        reason=found.reason,
        measurements={**facts, **found.facts},
        evidence=tuple(evidence),
        memory=trust.remember(expected, reading.handshake, shaken or found, memory),
    )


def shown(url: str) -> str:
    """A URL as it may be printed: what follows the `?` may be a secret."""
    return url.partition("?")[0].partition("#")[0]


def problems(settings: HttpSettings) -> Iterable[tuple[str, str]]:
    """URLs that lead somewhere and carry no password; a pattern that is one."""
    for key in ("url", "proxy"):
        url = getattr(settings, key)
        if url is not None and not _leads_somewhere(url):
            yield key, "expected a URL with a host, without user name or password"
    if settings.proxy is not None and not settings.proxy.startswith("http:"):
        yield "proxy", 'expected a URL such as "http://proxy.store:3128"'
    if settings.expect_body is not None and not _is_pattern(settings.expect_body):
        yield "expect_body", "expected a regular expression"


def _answered(settings: HttpSettings, reading: Reading) -> Finding:
    """What HTTP itself has to say."""
    answer = reading.proxy_answer or reading.answer
    if answer is None:  # a server that would not go on without a certificate of ours
        return Finding(Status.FAIL, "http.status")
    if answer.timed_out:
        return Finding(Status.FAIL, "http.timeout")
    if reading.proxy_answer is not None or not _is_wanted(settings, answer):
        return Finding(Status.FAIL, "http.status")
    if reading.found is False or (answer.error and not answer.cut):
        return Finding(Status.FAIL, "http.body")
    if reading.seconds > settings.max_time:
        return Finding(Status.WARN, "http.slow")
    return Finding(Status.OK, "ok")


def _is_wanted(settings: HttpSettings, answer: Answer) -> bool:
    if settings.expect_status:
        wanted = settings.expect_status
        return answer.status in (wanted if isinstance(wanted, tuple) else (wanted,))
    if 300 <= answer.status < 400:
        return answer.status == 304 or _stays(settings.url, answer.location)
    return 200 <= answer.status < 300


def _stays(url: str, location: str) -> bool:
    """Whether a redirect stays with its host: one to elsewhere is how a captive portal answers."""
    try:
        there = urlsplit(location).hostname
    except ValueError:
        return False
    return bool(location) and there in (None, http.site(url).host)


def _facts(settings: HttpSettings, reading: Reading) -> dict[str, Measurement]:
    facts: dict[str, Measurement] = {
        "answer": _in_words(reading),
        "time_ms": round(reading.seconds * 1000, 1),
        "max_time_ms": round(settings.max_time * 1000),
        "waited_s": round(reading.seconds, 1),
    }
    if reading.answer is not None and reading.answer.status:
        facts |= {"status": reading.answer.status, "body_bytes": reading.size}
    return facts


def _in_words(reading: Reading) -> str:
    answer = reading.proxy_answer or reading.answer
    if answer is None:
        return "a request for a client certificate"
    if not answer.status:
        return answer.error or "nothing"
    by = "proxy: " if reading.proxy_answer is not None else ""
    return f"{by}{answer.status} {answer.phrase}".rstrip()


def _evidence(reading: Reading) -> list[str]:
    lines = [f"answer: {_in_words(reading)} after {reading.seconds:.3f} s"]
    if reading.answer is None:
        return lines
    if reading.answer.location:
        lines.append(f"redirects to {scrub(shown(reading.answer.location))}")
    if reading.answer.cut:
        lines.append("the body is longer than 1 MB: the rest was not read")
    if reading.answer.status and reading.answer.error:
        lines.append(f"the body broke off: {reading.answer.error}")
    if reading.begins:
        lines.append(f"body begins: {reading.begins}")
    return lines


def _gravest(findings: list[Finding]) -> Finding:
    for status in (Status.FAIL, Status.WARN):
        for finding in findings:
            if finding.status is status:
                return finding
    return findings[-1]


def _leads_somewhere(url: str) -> bool:
    try:
        http.site(url)
        return urlsplit(url).username is None
    except ValueError:
        return False


def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


KIND = Kind(
    name="http",
    summary="an HTTP or HTTPS request: status, body, time, and every fault below it",
    settings=HttpSettings,
    read=read,
    judge=judge,
    target=lambda settings: shown(settings.url),
    impact=Impact.DEGRADE,
    interval=Seconds(60),
    problems=problems,
    example={"url": "https://tms.vendor.example/health"},
    reasons={
        **trust.REASONS,
        "http.status": "the answer has another status than expected, or is no valid HTTP",
        "http.body": "the body does not match `expect_body`, or broke off",
        "http.timeout": "no whole answer within the probe's deadline",
        "http.slow": "the answer took longer than `max_time`",
    },
)
