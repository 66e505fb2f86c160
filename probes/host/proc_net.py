"""What do the kernel's files in /proc/net say of routes, neighbours, addresses and Wi-Fi signals?

Where netlink is not to be had, these files alone tell. A line that makes no sense is left out.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Mapping

import msgspec

from probes.host import Host, files
from probes.host.netlink import Assigned

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Table = list[tuple[Network, "Route"]]
RTF_UP, RTF_REJECT = 0x1, 0x200


class Route(msgspec.Struct, frozen=True):
    """One default route. No `gateway` on point-to-point lines; `refused` for blackhole, prohibit and unreachable."""

    family: int
    interface: str
    gateway: str = ""
    metric: int = 0
    refused: bool = False


def content(host: Host, path: str) -> str:
    """One of these files, or "" where it cannot be read."""
    try:
        # Not read_text: a run of hexadecimal digits in a routing table is no card number.
        return files.read_bytes(host.path(path)).decode("ascii", "replace")
    except OSError:
        return ""


def table(host: Host) -> Table:
    """Every route of both families."""
    return parse_route(content(host, "/proc/net/route")) + parse_ipv6_route(content(host, "/proc/net/ipv6_route"))


def addresses(host: Host, index: Mapping[str, int]) -> list[Assigned]:
    """The addresses of all interfaces, given each interface's index by its name."""
    found = parse_if_inet6(content(host, "/proc/net/if_inet6"))
    for address in parse_fib_trie(content(host, "/proc/net/fib_trie")):
        bare = ipaddress.ip_address(address)
        nets = [(net, route) for net, route in table(host) if not route.gateway and route.family == 4 and bare in net]
        nets = [entry for entry in nets if entry[0].prefixlen]
        if bare.is_loopback or not nets:
            continue
        net, route = max(nets, key=lambda entry: entry[0].prefixlen)
        found.append(Assigned(address, net.prefixlen, index.get(route.interface, 0)))
    return found


def parse_route(text: str) -> Table:
    """/proc/net/route. Addresses are in the byte order of the machine."""
    found: Table = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        with contextlib.suppress(ValueError, IndexError, OverflowError):
            flags, metric = int(fields[3], 16), int(fields[6])
            network = ipaddress.IPv4Network((_v4(fields[1]), _v4(fields[7])))
            gateway = "" if int(fields[2], 16) == 0 else _v4(fields[2])
            if flags & RTF_UP:
                refused = bool(flags & RTF_REJECT) or fields[0] == "*"
                found.append((network, Route(4, fields[0], gateway, metric, refused)))
    return found


def parse_ipv6_route(text: str) -> Table:
    """/proc/net/ipv6_route, without the kernel's own closing "nowhere" entry."""
    found: Table = []
    for line in text.splitlines():
        fields = line.split()
        with contextlib.suppress(ValueError, IndexError, OverflowError):
            network = ipaddress.IPv6Network((int(fields[0], 16), int(fields[1], 16)))
            hop, metric, flags = ipaddress.IPv6Address(int(fields[4], 16)), int(fields[5], 16), int(fields[8], 16)
            gateway = "" if int(hop) == 0 else f"{hop}%{fields[9]}" if hop.is_link_local else str(hop)
            if flags & RTF_UP or (flags & RTF_REJECT and metric != 0xFFFFFFFF):
                found.append((network, Route(6, fields[9], gateway, metric, bool(flags & RTF_REJECT))))
    return found


def parse_arp(text: str) -> list[tuple[str, str, str]]:
    """/proc/net/arp as (address, interface, MAC); an empty MAC where the neighbour did not answer."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        with contextlib.suppress(ValueError, IndexError):
            address = str(ipaddress.IPv4Address(fields[0]))
            found.append((address, fields[5], fields[3] if int(fields[2], 16) & 0x2 else ""))
    return found


def parse_wireless(text: str) -> list[tuple[str, int]]:
    """/proc/net/wireless as (interface, dBm). Drivers that tell a percentage instead are left out."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            level = int(rest.split()[2].rstrip("."))
            level -= 256 if level > 127 else 0  # one unsigned byte in some drivers
            if -120 < level < 0:
                found.append((name.strip(), level))
    return found


def parse_if_inet6(text: str) -> list[Assigned]:
    """/proc/net/if_inet6."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        with contextlib.suppress(ValueError, IndexError, OverflowError):
            address = str(ipaddress.IPv6Address(int(fields[0], 16)))
            flags = int(fields[4], 16)
            tentative, duplicate = bool(flags & 0x40) and not flags & 0x04, bool(flags & 0x08)
            bad = tentative or duplicate
            found.append(Assigned(address, int(fields[2], 16), int(fields[1], 16), not bad, duplicate))
    return found


def parse_fib_trie(text: str) -> list[str]:
    """This PC's own IPv4 addresses from /proc/net/fib_trie, each once."""
    found: dict[str, None] = {}
    leaf = ""
    for line in text.splitlines():
        if "|-- " in line:
            leaf = line.partition("|-- ")[2].strip()
        elif "host LOCAL" in line and "/32" in line:
            with contextlib.suppress(ValueError):
                found[str(ipaddress.IPv4Address(leaf))] = None
    return list(found)


def _v4(word: str) -> str:
    return socket.inet_ntoa(int(word, 16).to_bytes(4, sys.byteorder))
