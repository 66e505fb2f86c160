"""Which host and port does a target mean?"""

from __future__ import annotations

import ipaddress
import re

TARGETS_EXPECTED = '"host:port", such as "auth.acquirer.example:443" or "[2001:db8::1]:443"'

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.%\w]+)\](?::(\d{1,5}))?")
_PLAIN = re.compile(r"([^\s/:\[\]@]+)(?::(\d{1,5}))?")


def parse_target(text: str, default_port: int | None = None) -> tuple[str, int] | None:
    """Host and port, None where it is no target. The port may be left out where the kind has one of its own."""
    found = _BRACKETED.fullmatch(text)
    if found is not None and not _is_address(found[1]):
        return None
    found = found or _PLAIN.fullmatch(text)
    if found is None:
        return (text, default_port) if default_port is not None and _is_address(text) else None
    port = int(found[2]) if found[2] else default_port
    return (found[1], port) if port is not None and 1 <= port <= 65535 else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
