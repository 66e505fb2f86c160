"""Which questions does every daemon ask, every 30 seconds? Kinds that all of them can express."""

from __future__ import annotations

from dataclasses import dataclass

INTERVAL_S = 30
TIMEOUT_S = 3
NAME = "auth.acquirer.example"
ROUTER = "192.0.2.1"
TARGETS = "198.18.0.0/15"
"""The internet of the benchmark: the far end of the cable answers for every address of it."""
NAMED = "198.18.0.53"
PLAIN_PORT, TLS_PORT, HTTP_PORT = 8443, 443, 80


@dataclass(frozen=True)
class Check:
    """One question. `address` and `port` where it goes out to the network."""

    name: str
    kind: str
    address: str = ""
    port: int = 0


def sixteen() -> list[Check]:
    """Nine ports of nine hosts, TLS, HTTP, a name, a ping, disk, memory and load."""
    return [
        *(Check(f"port{n}", "port", f"198.18.0.{10 + n}", PLAIN_PORT) for n in range(9)),
        Check("tls", "tls", "198.18.0.20", TLS_PORT),
        Check("http", "http", "198.18.0.21", HTTP_PORT),
        Check("dns", "dns", ROUTER, 53),
        Check("router", "ping", ROUTER),
        Check("disk", "disk"),
        Check("memory", "memory"),
        Check("load", "load"),
    ]


def ports(count: int, lot: int) -> list[Check]:
    """`count` hosts with one port each; lot 1, 2, … are different addresses, so that the wire tells who asked."""
    return [Check(f"port{n}", "port", f"198.18.{lot * 8 + n // 250}.{n % 250 + 1}", PLAIN_PORT) for n in range(count)]
