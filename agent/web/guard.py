"""May this one look? The Host header against DNS rebinding, then the token. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable

WRONG_HOST = "this page is not known by that name; add the name to `hosts` in [web]\n"


class Guard:
    """Who may look at the page that listens on `address`:`port`."""

    def __init__(self, address: str, port: int, hosts: Iterable[str] = (), token: str | None = None) -> None:
        self._address, self._port = ipaddress.ip_address(address), port
        self._hosts = {host.lower().rstrip(".") for host in hosts}
        self._token = None if token is None else token.encode()

    def knows(self, host: str) -> bool:
        """Is this Host header one of ours? A page on a foreign site that had its name pointed here has its own."""
        name, port = _split(host)
        if name.rstrip(".") in self._hosts:
            return True
        if port != self._port and not (port is None and self._port in (80, 443)):
            return False
        if name == "localhost":
            return self._address.is_loopback or self._address.is_unspecified
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._address.is_unspecified or address == self._address

    def admits(self, authorization: str) -> bool:
        """Is this Authorization header one with our token?"""
        if self._token is None:
            return True
        return hmac.compare_digest(_secret(authorization), self._token)


def _split(host: str) -> tuple[str, int | None]:
    """Name or address in lower case without brackets, and the port; a port that is none is 0."""
    host = host.strip().lower()
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.strip("[]"), None
    return name.strip("[]"), int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0


def _secret(authorization: str) -> bytes:
    """The token, or what a browser sends as the password of whatever user."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1", "replace")  # as WSGI hands over what came as bytes
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
