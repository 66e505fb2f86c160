"""Which versions does the company want on its tills? A manifest says so, from a file or over HTTPS, in TOML or JSON.

    [products."POS software"]
    required = "4.2.0"            # older than this fails
    latest = "4.3.1"              # older than this is a warning …
    grace_until = "2026-12-01"    # … and fails from the day after this one; without it, it stays a warning

    {"products": {"POS software": {"required": "4.2.0", "latest": "4.3.1", "grace_until": "2026-12-01"}}}

Every key of a product may be left out; unknown keys are left alone, so that the format can grow.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import tomllib
from typing import Any

import msgspec

from probes.host import Host, tail
from probes.model import OutOfTime, Unsupported
from probes.redact import scrub

LIMIT = 1 << 20


class Unusable(Exception):
    """No manifest could be had, or it says nothing about this product; the text says why."""


class Entry(msgspec.Struct, frozen=True):
    """What a manifest says of one product."""

    required: str | None = None
    latest: str | None = None
    grace_until: str | None = None
    """A date such as 2026-12-01: the last day on which an older version than `latest` is only a warning."""


def of(host: Host, source: str, product: str, ca_file: str | None = None) -> Entry:
    """The entry for a product in the manifest at a path or URL. Raises Unusable."""
    # A part of the time is kept back: without the manifest there is still the version itself to report.
    hurried = dataclasses.replace(host, ends=host.ends - 0.3 * host.left())
    data = page(hurried, source, ca_file) if source.startswith("https://") else _read(hurried, source)
    return entry(data, product)


def page(host: Host, url: str, ca_file: str | None = None) -> bytes:
    """The body of a page, up to 1 MB; no redirect is followed. Raises Unusable."""
    from probes.host import http

    try:
        exchange = http.get(host, url, ca_file)
    except (OSError, ValueError, OutOfTime, Unsupported) as error:
        raise Unusable(f"{url} could not be had: {_short(error)}") from error
    answer, handshake = exchange.answer, exchange.handshake
    if answer is None:
        reached = ", ".join(attempt.outcome for attempt in exchange.reach.attempts)
        shaken = f"{handshake.outcome} {handshake.detail}".strip() if handshake is not None else ""
        raise Unusable(f"{url} could not be had: {shaken or exchange.reach.unresolved_text or reached or 'no answer'}")
    if answer.status != 200 or answer.timed_out or answer.error:
        why = "no answer in time" if answer.timed_out else answer.error or f"status {answer.status} {answer.phrase}"
        raise Unusable(f"{url} could not be had: {why.strip()}")
    return answer.body


def entry(data: bytes, product: str) -> Entry:
    """The entry for a product in a manifest's bytes, TOML or JSON. Raises Unusable."""
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"the manifest is neither TOML nor JSON: {_short(error)}") from error
    products = document.get("products") if isinstance(document, dict) else None
    found = products.get(product) if isinstance(products, dict) else None
    if not isinstance(found, dict):
        raise Unusable(f"the manifest does not name {product!r}")
    return Entry(
        required=_text(found, "required"), latest=_text(found, "latest"), grace_until=_date(found, "grace_until")
    )


def _text(found: dict[str, Any], key: str) -> str | None:
    value = found.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > 128:
        raise Unusable(f"the manifest's {key} is no version in quotes")
    return scrub(value.strip())


def _date(found: dict[str, Any], key: str) -> str | None:
    value = found.get(key)
    if value is None:
        return None
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError as error:
        raise Unusable(f"the manifest's {key} is no date such as 2026-12-01") from error


def _read(host: Host, path: str) -> bytes:
    try:
        return tail.whole(host, path, LIMIT)
    except (OSError, OutOfTime) as error:
        why = getattr(error, "strerror", None) or error
        raise Unusable(f"the manifest {path} cannot be read: {why}") from error


def _short(error: BaseException) -> str:
    return scrub(str(error))[:120]
