"""Does anything get out to the internet, and is it really the internet that answers?"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from probes import endpoints
from probes.host import Host, portal, tcp
from probes.model import (
    Impact,
    Kind,
    Measurement,
    Memory,
    NetworkSettings,
    Observation,
    OutOfTime,
    Seconds,
    Text,
    fail,
    ok,
    warn,
)

PATIENCE = Seconds(2.2)
"""One lost SYN is sent again after a second; nobody waits longer for one anchor among several."""
MARGIN = 0.1
MOST_ANCHORS = 16
OK, NO_CONTENT, SERVER_ERROR, LOGIN_REQUIRED = 200, 204, 500, 511

ANCHORS = (
    "223.5.5.5:443",
    "1.12.12.12:443",
    "180.76.76.76:53",
    "1.1.1.1:443",
    "9.9.9.9:443",
)
"""Public resolvers: addresses that their operators publish as fixed and keep on many continents at once (anycast).
Connections are opened and closed; nothing is sent. No single country's filter or outage takes half of them.

    223.5.5.5     Alibaba Public DNS, mainland China and abroad     https://www.alidns.com/
    1.12.12.12    Tencent DNSPod Public DNS, mainland China         https://www.dnspod.cn/products/publicdns
    180.76.76.76  Baidu Public DNS, mainland China                  https://dudns.baidu.com/
    1.1.1.1       Cloudflare, worldwide                             https://developers.cloudflare.com/1.1.1.1/ip-addresses/
    9.9.9.9       Quad9, worldwide                                  https://quad9.net/service/service-addresses-and-features/
"""

PORTAL_URL = "http://captive.apple.com/hotspot-detect.html"
PORTAL_BODY = "<BODY>Success</BODY>"
"""The page that Apple devices ask for in every network they join, in mainland China as elsewhere. Apple lists the host
for firewalls in "Use Apple products on enterprise networks", https://support.apple.com/101555. It needs no account and
tells nothing about the till."""

PlainUrl = Annotated[
    str, Meta(pattern=r"^$|^http://[^\s/]+", title='a URL such as "http://host/path" (not https), or ""')
]


class InternetSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fixed points of the internet, and a page that a captive portal cannot imitate by accident."""

    anchors: Annotated[
        tuple[Text, ...],
        Meta(
            description='several "host:port" that are never all down; half of them dead is a warning. By default '
            "public resolvers: Alibaba, Tencent and Baidu in mainland China, Cloudflare and Quad9 worldwide; connected "
            "to, sent nothing"
        ),
    ] = ANCHORS
    portal_url: Annotated[
        PlainUrl,
        Meta(description='page that unmasks captive portals: must answer 204 or contain portal_body; "" asks none'),
    ] = PORTAL_URL
    portal_body: Annotated[Text, Meta(description="what the page contains when nobody is in between")] = PORTAL_BODY


class Reading(msgspec.Struct, frozen=True):
    """What became of each anchor (seconds, or what happened instead), and what the portal page was."""

    alive: dict[str, float] = {}
    dead: dict[str, str] = {}
    page: portal.Page | None = None
    no_page: str = ""


def read(settings: InternetSettings, host: Host) -> Reading:
    """All anchors and the page at once."""
    sooner = Host(root=host.root, ends=host.ends - min(MARGIN, host.left() / 4))
    patient = Host(root=host.root, ends=min(sooner.ends, time.monotonic() + PATIENCE))
    alive: dict[str, float] = {}
    dead: dict[str, str] = {}
    with ThreadPoolExecutor(len(settings.anchors) + 1, "internet") as pool:  # every worker ends at its deadline
        page = pool.submit(_page, sooner, settings.portal_url)
        for anchor, outcome in zip(
            settings.anchors, pool.map(lambda anchor: _reach(patient, anchor), settings.anchors), strict=True
        ):
            if isinstance(outcome, float):
                alive[anchor] = outcome
            else:
                dead[anchor] = outcome
        found = page.result()
    if isinstance(found, str):
        return Reading(alive, dead, None, found)
    return Reading(alive, dead, found)


def judge(settings: InternetSettings, reading: Reading, _memory: Memory) -> Observation:
    """A false page outranks all: who forges it may as well accept or drop every connection."""
    total = len(reading.alive) + len(reading.dead)
    facts: dict[str, Measurement] = {
        "anchors": total,
        "anchors_alive": len(reading.alive),
        "dead": list(reading.dead),
    }
    if reading.alive:
        facts["connect_ms"] = round(min(reading.alive.values()) * 1000, 2)
    if reading.dead and set(reading.dead.values()) == {tcp.BLOCKED_HERE}:
        facts["blocked_here"] = True
    evidence = [f"{anchor}: {outcome}" for anchor, outcome in reading.dead.items()]
    if reading.no_page:
        evidence.append(f"no word on captive portals: {reading.no_page}")
    genuine = reading.page is not None and _is_genuine(settings, reading.page)
    if reading.page is not None and not genuine and _is_forged(reading.page):
        facts["portal"] = reading.page.location[:200] or settings.portal_url
        return fail("internet.captive_portal", facts, _describe(settings, reading.page), *evidence)
    if not reading.alive and not genuine:
        return fail("internet.unreachable", facts, *evidence)
    if not reading.alive or (len(reading.dead) > 1 and len(reading.dead) * 2 >= total):
        return warn("internet.partial", facts, *evidence)
    return ok(facts, *evidence)


def _is_genuine(settings: InternetSettings, page: portal.Page) -> bool:
    return page.status == NO_CONTENT or (page.status == OK and settings.portal_body in page.body)


def _is_forged(page: portal.Page) -> bool:
    """A server in trouble of its own (5xx) proves nothing; 511 was made for portals (RFC 6585)."""
    return page.status < SERVER_ERROR or page.status == LOGIN_REQUIRED


def _describe(settings: InternetSettings, page: portal.Page) -> str:
    where = f" to {page.location[:200]}" if page.location else ""
    return f"{settings.portal_url} answered {page.status}{where}, {len(page.body)} bytes that are not the expected page"


def _reach(host: Host, anchor: str) -> float | str:
    """The seconds a connection took, or what happened instead."""
    try:
        with tcp.reaching(host, *endpoints.split(anchor)) as (reach, connection):
            if connection is not None:
                return reach.seconds
            return ", ".join(attempt.outcome for attempt in reach.attempts) or f"unresolved: {reach.unresolved}"
    except OutOfTime:
        return tcp.TIMEOUT
    except OSError as error:
        return error.strerror or str(error)


def _page(host: Host, url: str) -> portal.Page | str:
    """The page, or why there is none."""
    if not url:
        return ""
    try:
        return portal.get(host, url)
    except (portal.NoPage, OutOfTime, OSError) as error:
        return str(error)


def _problems(settings: InternetSettings) -> Iterable[tuple[str, str]]:
    if not 1 <= len(settings.anchors) <= MOST_ANCHORS:
        yield "anchors", f'expected several "host:port", {MOST_ANCHORS} at most'
    for anchor in settings.anchors:
        try:
            host, _port = endpoints.split(anchor)
            yield from endpoints.without_zone("anchors", host)
        except ValueError as error:
            yield "anchors", f"expected {error}"
    if settings.portal_url:
        try:
            parts = urlsplit(settings.portal_url)
            valid = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        except ValueError:
            valid = False
        if not valid:
            yield "portal_url", 'expected a URL such as "http://host/path", or ""'


KIND = Kind(
    name="internet",
    summary="several fixed points of the internet at once, and a page that unmasks captive portals",
    settings=InternetSettings,
    read=read,
    judge=judge,
    target=lambda settings: f"{len(settings.anchors)} anchors",
    impact=Impact.DEGRADE,
    problems=_problems,
    example={"anchors": ["223.5.5.5:443", "1.1.1.1:443", "9.9.9.9:443"]},
    reasons={
        "internet.unreachable": "no anchor can be reached, and no page came back",
        "internet.captive_portal": "somebody else answers for the page, such as a login page of the network in between",
        "internet.partial": "half of the anchors or more, and more than one, cannot be reached",
    },
)
