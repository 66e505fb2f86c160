"""Which host and port does a target mean?"""

from __future__ import annotations

from collections.abc import Iterable

TARGETS_EXPECTED = '"host:port", such as "auth.acquirer.example:443" or "[2001:db8::1]:443"'


def parse_target(text: str, default_port: int | None = None) -> tuple[str, int] | None:
    """Host and port, None where it is no target. The port may be left out where the kind has one of its own."""
    from probes import endpoints  # only a configuration with targets pays for it

    try:
        return endpoints.split(text, default_port)
    except ValueError:
        return None


def host_problems(key: str, host: str) -> Iterable[tuple[str, str]]:
    """What is wrong with a target's host, though it is one: (key, "expected …")."""
    from probes import endpoints

    return endpoints.without_zone(key, host)
