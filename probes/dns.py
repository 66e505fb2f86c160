"""Do names turn into the right addresses, at every resolver this PC is told to use and by its own way of asking?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import msgspec
from msgspec import Meta

from probes import endpoints, names
from probes.host import Host, dns, net, resolve
from probes.host.dns import Answer
from probes.model import (
    HostName,
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    Seconds,
    Text,
    fail,
    ok,
    warn,
)

MARGIN = 0.15  # seconds kept back from the deadline for thinking
SYSTEM = "this PC's own lookup"
GRAVEST = ("wrong_answer", "private_answer", "no_such_name", "no_address", "servfail", "refused", "timeout")
"""Of several, the one that programs get: they take an answer, even a wrong one, before they take silence."""
ALIVE = ("dns.no_such_name", "dns.no_address")


class DnsSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name, and whom to ask for it."""

    name: Annotated[HostName, Meta(description="the name to ask for")] = "example.com"
    server: Annotated[
        HostName | None,
        Meta(description="ask only this resolver (address or address:port); default: every configured one"),
    ] = None
    expect: Annotated[
        tuple[Text, ...], Meta(description="addresses or networks that every answer must lie in; default: any public")
    ] = ()
    max_time: Annotated[Seconds, Meta(description="an answer that takes longer is slow")] = Seconds(0.5)


class Reading(msgspec.Struct, frozen=True):
    """What each resolver said, and what this PC's own lookup said (None: not asked)."""

    answers: tuple[Answer, ...] = ()
    system: Answer | None = None
    local: bool = False
    gateways: tuple[str, ...] = ()
    stub: str = ""


class _Voice(msgspec.Struct, frozen=True):
    """One answer and what is wrong with it; no reason when nothing is."""

    answer: Answer
    reason: str = ""
    note: str = ""

    def __str__(self) -> str:
        said = ", ".join(self.answer.addresses) or self.answer.detail or self.answer.outcome
        return f"{self.answer.server}: {said}" + (f" ({self.note})" if self.note else "")


def read(settings: DnsSettings, host: Host) -> Reading:
    """Ask all resolvers and the system's own path at once."""
    sooner = Host(root=host.root, ends=host.ends - min(MARGIN, host.left() / 4))
    known = dns.configured(host)
    local = names.is_local(settings.name, known.search)
    servers = tuple((address, dns.PORT) for address in known.servers)
    if settings.server:
        servers = (endpoints.split(settings.server, dns.PORT),)
    canary = not local and not settings.expect
    with ThreadPoolExecutor(1, "dns-system") as pool:
        ask_system = not settings.server and host.is_this_machine
        system = pool.submit(_system, sooner, settings.name) if ask_system else None
        answers = dns.ask_all(sooner, servers, names.full_names(settings.name, known.search), canary)
        return Reading(
            answers=answers,
            system=system.result() if system else None,
            local=local,
            gateways=tuple(route.gateway for route in net.routes(host) if route.gateway),
            stub=known.stub,
        )


def judge(settings: DnsSettings, reading: Reading, _memory: Memory) -> Observation:
    """One resolver that answers well keeps the till going; a wrong answer by the system's path never does."""
    voices = [_weigh(settings, reading, answer) for answer in reading.answers]
    system = _weigh(settings, reading, reading.system) if reading.system else None
    good = [voice for voice in voices if not voice.reason]
    bad = [voice for voice in voices if voice.reason]
    facts = _facts(settings, voices, system)
    evidence = [str(voice) for voice in (*voices, *([system] if system else []))]
    if not good:
        return _no_good(bad, system, facts, evidence)
    if system and system.reason:
        return _system_trouble(system, voices, facts, evidence)
    if bad:
        return _blame(warn, bad[0], facts, evidence)
    if _is_slow(settings, good, system):
        return warn("dns.slow", facts, *evidence)
    return ok(facts, *evidence)


def _no_good(
    bad: list[_Voice], system: _Voice | None, facts: dict[str, Measurement], evidence: list[str]
) -> Observation:
    """No resolver gives the address; this PC may know it from elsewhere, if only the resolvers are alive."""
    if system and not system.reason and all(voice.reason in ALIVE for voice in bad):
        return ok(facts, *evidence, "not from a resolver: hosts file, mDNS or another source of names")
    if not bad:
        return fail("dns.no_resolver", facts, *evidence)
    return _blame(fail, min(bad, key=_gravity), facts, evidence)


def _system_trouble(
    system: _Voice, voices: list[_Voice], facts: dict[str, Measurement], evidence: list[str]
) -> Observation:
    """Resolvers answer, but this PC's programs do not get it."""
    dead = next((voice for voice in voices if voice.reason), None)
    if system.reason == "dns.timeout" and dead:
        # the C library waits five seconds for a dead first resolver before it asks the next: slow, not broken
        return _blame(warn, dead, facts, evidence)
    if system.reason == "dns.timeout" and any(voice.answer.silent for voice in voices):
        return warn("dns.slow", facts, *evidence, "a record type is never answered; programs wait for it")
    return _blame(fail, system, facts, [*evidence, "resolvers answer when asked directly"])


def _blame(
    status: Callable[..., Observation], voice: _Voice, facts: dict[str, Measurement], evidence: list[str]
) -> Observation:
    facts = {**facts, "server": voice.answer.server, "addresses": list(voice.answer.addresses)}
    if voice.answer.blocked_here:
        facts["blocked_here"] = True
    return status(voice.reason, facts, *evidence)


def _weigh(settings: DnsSettings, reading: Reading, answer: Answer) -> _Voice:
    """What is wrong with one answer."""
    if answer.outcome != "addresses":
        return _Voice(answer, f"dns.{answer.outcome}")
    reason, note = _wrong(settings, reading, answer)
    if not reason and answer.silent:
        note = f"no answer for {' and '.join(answer.silent)}"
    elif not reason and answer.canary:
        note = f"names that do not exist get {', '.join(answer.canary)}"
    return _Voice(answer, reason, note)


def _wrong(settings: DnsSettings, reading: Reading, answer: Answer) -> tuple[str, str]:
    """Why these addresses cannot be right: a reason and a note, both empty when they can."""
    if settings.expect:
        stranger = names.unexpected(settings.expect, answer.addresses)
        return ("dns.wrong_answer", f"{stranger} is not expected") if stranger else ("", "")
    if reading.local:
        return "", ""
    for address in answer.addresses:
        if address in reading.gateways:
            return "dns.private_answer", f"{address} is this PC's own gateway"
        if names.is_private(address):
            return "dns.private_answer", f"{address} is a private address"
    if set(answer.canary) & set(answer.addresses):
        return "dns.wrong_answer", "the same address for a name that does not exist"
    return "", ""


def _facts(settings: DnsSettings, voices: list[_Voice], system: _Voice | None) -> dict[str, Measurement]:
    """Server and addresses are those of the first good answer; the resolvers come before the system's path."""
    everyone = [*voices, *([system] if system else [])]
    first = next((voice.answer for voice in everyone if not voice.reason), None)
    waited = max((voice.answer.seconds for voice in everyone), default=0.0)
    facts: dict[str, Measurement] = {
        "name": settings.name,
        "server": first.server if first else ", ".join(voice.answer.server for voice in voices),
        "servers": [voice.answer.server for voice in voices],
        "servers_asked": len(voices),
        "servers_answering": sum(not voice.reason for voice in voices),
        "addresses": list(first.addresses) if first else [],
        "slowest_ms": round(waited * 1000, 2),
        "max_time_ms": round(settings.max_time * 1000, 1),
    }
    if first:
        facts["time_ms"] = round(first.seconds * 1000, 2)
    if system and system.answer.seconds:
        facts["system_ms"] = round(system.answer.seconds * 1000, 2)
    return facts


def _is_slow(settings: DnsSettings, good: list[_Voice], system: _Voice | None) -> bool:
    """Slow when programs wait, when no resolver is quick, or when one kind of record is never answered."""
    quickest = min(voice.answer.seconds for voice in good)
    programs = system.answer.seconds if system else 0.0
    return max(quickest, programs) > settings.max_time or any(voice.answer.silent for voice in good)


def _system(host: Host, name: str) -> Answer:
    """The way every program on this PC asks: getaddrinfo."""
    began = time.monotonic()
    try:
        found = resolve.resolve(host, name)
    except resolve.Unresolved as error:
        outcome = "servfail" if error.reason == "failed" else error.reason
        return Answer(SYSTEM, outcome, str(error), seconds=time.monotonic() - began)
    return Answer(SYSTEM, "addresses", "", found.addresses, found.seconds)


def _gravity(voice: _Voice) -> int:
    return GRAVEST.index(voice.reason.removeprefix("dns."))


def _problems(settings: DnsSettings) -> Iterable[tuple[str, str]]:
    if endpoints.is_address(settings.name):
        yield "name", "expected a name to look up, not an address"
    if settings.server is not None and not _is_server(settings.server):
        yield "server", 'expected an address such as "192.168.1.1", "192.168.1.1:53" or "[2001:db8::1]:53"'
    elif settings.server is not None:
        yield from endpoints.without_zone("server", endpoints.split(settings.server, dns.PORT)[0])
    for text in settings.expect:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield "expect", f'expected addresses or networks such as "203.0.113.7" or "10.8.0.0/16", got "{text}"'


def _is_server(text: str) -> bool:
    try:
        return endpoints.is_address(endpoints.split(text, dns.PORT)[0])
    except ValueError:
        return False


KIND = Kind(
    name="dns",
    summary="names become addresses: every configured resolver asked directly, and the system's own path",
    settings=DnsSettings,
    read=read,
    judge=judge,
    target=lambda settings: settings.name,
    impact=Impact.STOP,
    interval=Seconds(60),
    problems=_problems,
    example={"name": "auth.acquirer.example"},
    reasons={
        "dns.timeout": "a resolver does not answer in time, or cannot be reached; warn while another one answers",
        "dns.refused": "a resolver refuses: nothing listens, it answers REFUSED, or this PC's firewall forbids it",
        "dns.servfail": "a resolver answers that it cannot find out (SERVFAIL), as when it has no upstream",
        "dns.no_such_name": "a resolver says that the name does not exist (NXDOMAIN)",
        "dns.no_address": "the name exists, but has neither an IPv4 nor an IPv6 address",
        "dns.wrong_answer": "an address outside `expect`, or the same address as for a name that does not exist",
        "dns.private_answer": "a private address, or this PC's gateway, for a public name: captive portal or filter",
        "dns.slow": "the answer takes longer than `max_time`, or one record type is never answered",
        "dns.no_resolver": "no resolver is configured, and nothing else on this PC knows the name",
    },
)
