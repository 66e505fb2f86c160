"""Which host and which port does a text such as "host:443" or "[2001:db8::1]:53" mean?"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]\s]+)\]|(?P<host>[^:\s/\[\]]+)):(?P<port>[0-9]{1,5})")


def split(text: str, port: int | None = None) -> tuple[str, int]:
    """Host and port. `port` stands in where the text has none. Raises ValueError saying what was expected."""
    found = _WITH_PORT.fullmatch(text)
    if found:
        number = int(found["port"])
        if 1 <= number <= 65535 and (found["host"] or is_address(found["v6"])):
            return found["host"] or found["v6"], number
        raise ValueError(f'"host:port" with a port in 1..65535, got {text!r}')
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if port is not None and (is_address(bare) or re.fullmatch(r"[^:\s/\[\]]+", bare)):
        return bare, port
    raise ValueError(f'"host:port" (an IPv6 address in brackets: "[2001:db8::1]:443"), got {text!r}')


def join(host: str, port: int) -> str:
    """The text that `split` takes apart again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_address(text: str | None) -> bool:
    """Whether a text is a numeric IPv4 or IPv6 address (`fe80::1%eth0` included)."""
    try:
        ipaddress.ip_address(text or "")
    except ValueError:
        return False
    return True


def without_zone(key: str, host: str | None) -> Iterator[tuple[str, str]]:
    """The problem of a link-local address that does not name its interface: the kernel refuses it (EINVAL)."""
    try:
        address = ipaddress.ip_address((host or "").strip("[]"))
    except ValueError:
        return
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local and address.scope_id is None:
        yield key, f"expected a zone such as {address}%eth0"
