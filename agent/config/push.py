"""Which centre hears of this till by itself? `[push.https]`, `[push.mqtt]`: reports, on change and as a heartbeat."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from agent.config.problems import got
from agent.config.secret import Secret
from agent.config.section import Section
from agent.config.typed import Notes
from probes.model import HostName, PathText, Port, Seconds, Text, Url

Quota = Annotated[int, Meta(ge=10, le=100_000)]
_LEVEL = re.compile(r"[^/+#\x00-\x1f\x7f]+")
_NO_HOST = re.compile(r"[\s\\%\x00-\x1f\x7f]")
LONGEST_LABEL = 63
"""Of a host name: what stands between two dots."""


class Centre(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every way to a centre takes."""

    ca_file: Annotated[
        PathText | None,
        Meta(
            description="trust the certificates in this PEM file and no others; default: those of this PC",
            examples=["/etc/posagent/centre-ca.pem"],
        ),
    ] = None
    certificate_file: Annotated[
        PathText | None,
        Meta(description="this till's own certificate (mutual TLS), PEM", examples=["/etc/posagent/till.pem"]),
    ] = None
    key_file: Annotated[
        PathText | None,
        Meta(description="its private key, PEM; default: in certificate_file too", examples=["/etc/posagent/till.key"]),
    ] = None
    timeout: Annotated[Seconds, Meta(description="deadline of one attempt (1s to 5m)")] = Seconds(15)
    splay: Annotated[
        Seconds,
        Meta(
            description="over how long the tills of a centre that comes back spread themselves (1s to 1h): none waits "
            "longer between two attempts, unless the centre itself asks for that (Retry-After, at most 1h)"
        ),
    ] = Seconds(300)
    quota: Annotated[
        Quota,
        Meta(
            description="how many reports may wait while the centre cannot be reached; beyond it the oldest ones that "
            "told of no change are dropped first, and that is said"
        ),
    ] = 1000


class HttpsPush(Centre, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A web server of the centre is sent each report as JSON. docs/fleet.md describes it."""

    url: Annotated[Url, Meta(description="where to (POST)", examples=["https://centre.example/v1/reports"])]
    token: Annotated[
        Secret | None,
        Meta(description="sent as `Authorization: Bearer …`; one with a space in it, such as `Basic …`, as it is"),
    ] = None
    proxy: Annotated[
        Url | Secret | None,
        Meta(
            description="the HTTP proxy to go through; one with a password in it is a secret. The proxy variables of "
            "the environment are never heeded",
            examples=["http://192.0.2.3:3128"],
        ),
    ] = None


class MqttPush(Centre, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A broker of the centre holds the newest report of each till. docs/fleet.md describes the topics."""

    host: Annotated[HostName, Meta(description="the broker", examples=["mqtt.centre.example"])]
    port: Annotated[Port, Meta(description="its port")] = 8883
    tls: Annotated[bool, Meta(description="false only for a broker on this PC itself")] = True
    version: Annotated[Literal["5", "3.1.1"], Meta(description="of MQTT")] = "5"
    user: Annotated[Text | None, Meta(description="who this till is to the broker", examples=["0042/T01"])] = None
    password: Annotated[Secret | None, Meta(description="and its password")] = None
    client_id: Annotated[
        Annotated[str, Meta(pattern=r"^[^\s+#/]+\Z", max_length=200, title="text without blanks, /, + or #")] | None,
        Meta(
            description="by which the broker knows this connection; default: posagent-STORE-TERMINAL",
            examples=["till-0042-T01"],
        ),
    ] = None
    prefix: Annotated[Text, Meta(description="what its topics begin with: PREFIX/STORE/TERMINAL/health")] = (
        "posagent/v1"
    )
    keepalive: Annotated[
        Seconds,
        Meta(
            description="how often the connection proves itself (10s to 1h): the broker calls a till offline after 1.5"
        ),
    ] = Seconds(60)


class Push(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The centre. None: nothing leaves this PC by itself."""

    https: Annotated[HttpsPush | None, Meta(description="[push.https]; default: none")] = None
    mqtt: Annotated[MqttPush | None, Meta(description="[push.mqtt]; default: none")] = None


def check(push: Push, store: str, terminal: str, notes: Notes) -> None:
    """A centre must know which till it hears, and nobody else may listen."""
    centres = {name: each for name, each in (("https", push.https), ("mqtt", push.mqtt)) if each is not None}
    for name, centre in centres.items():
        _check_centre(centre, name, notes)
    for key, value in (("store", store), ("terminal", terminal)):
        if centres and not value:
            notes.add(("site", key), "expected a name, as [push] tells the centre which till it is; got nothing")
    if push.https is not None:
        _check_https(push.https, notes)
    if push.mqtt is not None:
        _check_mqtt(push.mqtt, store, terminal, notes)


def _check_centre(centre: Centre, name: str, notes: Notes) -> None:
    for key, value, low, high in (("timeout", centre.timeout, 1, 300), ("splay", centre.splay, 1, 3600)):
        if not low <= value <= high:
            notes.expected(("push", name, key), f"{Seconds(low)}..{Seconds(high)}", str(value))
    if centre.key_file is not None and centre.certificate_file is None:
        notes.add(
            ("push", name, "certificate_file"), "expected the certificate that `key_file` belongs to, got nothing"
        )


def _check_https(https: HttpsPush, notes: Notes) -> None:
    if not _leads_somewhere(https.url):
        notes.expected(("push", "https", "url"), "a URL with a host, and a port of 1..65535 if any", https.url)
    elif urlsplit(https.url).scheme != "https" and not _is_this_pc(urlsplit(https.url).hostname or ""):
        notes.expected(("push", "https", "url"), "https:// (plain http only to this PC itself)", https.url)
    if isinstance(https.proxy, str) and not _leads_somewhere(https.proxy):
        notes.expected(("push", "https", "proxy"), "a URL with a host, and a port of 1..65535 if any", https.proxy)


def _leads_somewhere(url: str) -> bool:
    """Whether its host can be one, and its port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        labels = host.removesuffix(".").split(".")
        encoded = [label if label.isascii() else label.encode("idna").decode("ascii") for label in labels]
    except ValueError:  # UnicodeError is one
        return False
    if ":" in host:
        return _is_address(host) and port != 0
    return port != 0 and all(0 < len(label) <= LONGEST_LABEL for label in encoded) and _NO_HOST.search(host) is None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_mqtt(mqtt: MqttPush, store: str, terminal: str, notes: Notes) -> None:
    if not mqtt.tls and not _is_this_pc(mqtt.host):
        notes.add(("push", "mqtt", "tls"), f"expected true: {got(mqtt.host)} is not this PC")
    if not mqtt.tls and (mqtt.ca_file or mqtt.certificate_file):
        notes.add(("push", "mqtt", "tls"), "expected true beside certificates")
    if mqtt.password is not None and mqtt.user is None:
        notes.add(("push", "mqtt", "user"), "expected the user that `password` belongs to, got nothing")
    if not 10 <= mqtt.keepalive <= 3600:
        notes.expected(("push", "mqtt", "keepalive"), "10s..1h", str(mqtt.keepalive))
    if any(_LEVEL.fullmatch(level) is None for level in mqtt.prefix.split("/")):
        notes.expected(
            ("push", "mqtt", "prefix"), "levels of a topic without + and #, such as posagent/v1", mqtt.prefix
        )
    for key, value in (("store", store), ("terminal", terminal)):
        if value and _LEVEL.fullmatch(value) is None:
            notes.expected(("site", key), "a name without /, + and #, as it is a level of MQTT topics", value)


def _is_this_pc(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
