"""Who may look at this till's page, and from where? `[web]`, `[web.tls]`: only this PC, unless the file says more."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from msgspec import Meta

from agent.config.problems import got
from agent.config.secret import Secret
from agent.config.section import Section
from agent.config.typed import Notes
from probes.model import HostName, PathText

LISTEN_EXPECTED = 'an address and a port such as "127.0.0.1:9187", or "" for no page'


class WebTls(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The certificate of the page, needed where others than this PC may look."""

    certificate_file: Annotated[
        PathText,
        Meta(description="the certificate and those it stands on, PEM", examples=["/etc/posagent/page.pem"]),
    ]
    key_file: Annotated[PathText, Meta(description="its private key, PEM", examples=["/etc/posagent/page.key"])]
    client_ca_file: Annotated[
        PathText | None,
        Meta(
            description="only who has a certificate of this authority may look (mutual TLS); PEM",
            examples=["/etc/posagent/readers-ca.pem"],
        ),
    ] = None


class Web(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The status page, /health.json, /metrics and /healthz: read-only."""

    listen: Annotated[
        Annotated[str, Meta(max_length=100, title=LISTEN_EXPECTED)],
        Meta(
            description='where: an address of this PC and a port; "" for no page. Anything but loopback needs '
            "[web.tls], and a token or client certificates"
        ),
    ] = "127.0.0.1:9187"
    hosts: Annotated[
        tuple[HostName, ...],
        Meta(
            description="names by which browsers and scrapers call this PC, beside its address and localhost; others "
            "are refused (DNS rebinding)",
            examples=[["t01.store.example"]],
        ),
    ] = ()
    token: Annotated[
        Secret | None,
        Meta(
            description="who wants to look sends it as `Authorization: Bearer …`, or in a browser as the password of "
            "any user"
        ),
    ] = None
    tls: Annotated[WebTls | None, Meta(description="[web.tls]; default: plain HTTP, for this PC only")] = None


def address(listen: str) -> tuple[str, int]:
    """The address and port of `web.listen`. Raises ValueError for what is neither."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(listen)
    if host.startswith("[") != host.endswith("]"):
        raise ValueError(listen)
    return str(ipaddress.ip_address(host.strip("[]"))), int(port)


def is_loopback(listen: str) -> bool:
    """Whether only this PC can get there. Raises ValueError as `address` does."""
    return ipaddress.ip_address(address(listen)[0]).is_loopback


def url(web: Web) -> str:
    """The page's own address, as who reads of it may type it; empty where there is none."""
    if not web.listen:
        return ""
    host, port = address(web.listen)
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"
    name = web.hosts[0] if web.hosts else f"[{host}]" if ":" in host else host
    return f"{'http' if web.tls is None else 'https'}://{name}:{port}/"


def check(web: Web, notes: Notes) -> None:
    """Whoever opens the page to others must say who these are."""
    if not web.listen:
        return
    try:
        here = is_loopback(web.listen)
    except ValueError:
        notes.expected(("web", "listen"), LISTEN_EXPECTED, web.listen)
        return
    if here:
        return
    if web.tls is None:
        wanted = f"certificate_file and key_file, as {got(web.listen)} lets others than this PC look"
        notes.add(("web", "tls"), f"expected {wanted}, got nothing")
    if web.token is None and (web.tls is None or web.tls.client_ca_file is None):
        notes.add(
            ("web", "token"),
            "expected a token here, or client_ca_file in [web.tls], before others may look; got nothing",
        )
