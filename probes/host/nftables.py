"""Would this PC's own nftables rules let a new TCP connection out?

`nft -j list ruleset` needs root. The rules are walked as the kernel would walk them for the first packet, in three
values: what a condition that is not understood here might do leaves the answer open. Rules of the old iptables, which
`nft` does not list, leave it open as well.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from probes.host import Host, command, files
from probes.model import Denied, Unsupported

LIMIT = 512 * 1024
DEPTH = 16  # jumps within jumps: the kernel's own limit
HOOKS = ("output", "postrouting")
FAMILIES = ("inet", "ip", "ip6")
IDLE = frozenset({"counter", "log", "comment", "notrack", "set", "map", "ct helper", "ct timeout", "meter"})
LEGACY = ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")
Word = Literal["blocked", "passed", "unclear"]
Rules = Sequence[Mapping[str, Any]]


class Ruling(NamedTuple):
    """What the rules do to a connection, and by which rule it is stopped."""

    word: Word
    rule: str = ""


class Packet(NamedTuple):
    """The first packet of a connection: a SYN to a numeric address and a port, through an interface."""

    address: str
    port: int
    interface: str = ""


UNCLEAR = Ruling("unclear")


def read(host: Host) -> Rules:
    """The whole ruleset. Raises Denied, NotFitted (no nft here), Unsupported, OutOfTime."""
    if os.geteuid() != 0:
        raise Denied("only root may read the nftables rules")
    said = command.run(host, ("nft", "-j", "list", "ruleset"), limit=LIMIT)
    if said.exit_code != 0 or said.truncated:
        raise Unsupported(f"nft does not tell its rules: {said.stderr.strip()[:200] or 'there are too many'}")
    rules = parse(said.stdout)
    if any(_text(host, path).strip() for path in LEGACY):
        return (*rules, {"legacy": {}})
    return rules


def parse(text: str) -> Rules:
    """The entries of nft's JSON. Raises Unsupported for what is no such thing."""
    with contextlib.suppress(ValueError, RecursionError):
        told = json.loads(text)
        entries = told.get("nftables") if isinstance(told, dict) else None
        if isinstance(entries, list):
            return tuple(entry for entry in entries if isinstance(entry, dict))
    raise Unsupported("nft does not speak JSON as expected")


def ruling(rules: Rules, packet: Packet) -> Ruling:
    """What these rules do to this packet."""
    try:
        return _Walk(rules, packet).ruling()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        return UNCLEAR  # rules of a shape that is not known here


class _Stopped(Exception):
    """A rule drops or rejects the packet for certain."""


class _Walk:
    """One packet's way through the rules."""

    def __init__(self, rules: Rules, packet: Packet) -> None:
        self.rules = rules
        self.packet = packet
        self.address = ipaddress.ip_address(packet.address.partition("%")[0])
        self.may_stop = any("legacy" in entry for entry in rules)
        self.may_pass = False
        self.at = ""

    def ruling(self) -> Ruling:
        bases = [chain for chain in self._all("chain") if chain.get("hook") in HOOKS and chain["family"] in FAMILIES]
        own = f"ip{6 if self.address.version == 6 else ''}"
        for base in sorted(bases, key=lambda chain: (HOOKS.index(chain["hook"]), int(chain.get("prio", 0)))):
            if base["family"] not in ("inet", own) or self._is_dormant(base):
                continue
            self.may_pass = False  # what one chain accepts, the next may still drop
            try:
                end = self._chain(base, 0)
                if end != "accept" and base.get("policy") == "drop":
                    self.at = f"{base['family']} {base['table']} {base['name']}, policy drop"
                    raise _Stopped
            except _Stopped:
                if not self.may_pass:
                    return Ruling("blocked", self.at)
                self.may_stop = True
        return UNCLEAR if self.may_stop else Ruling("passed")

    def _chain(self, chain: Mapping[str, Any], depth: int) -> str:
        """How it ends: "accept", or "" at its end. Raises _Stopped."""
        if depth > DEPTH:
            raise RecursionError
        for rule in self._all("rule"):
            if all(rule.get(key) == chain[own] for key, own in (("family",) * 2, ("table",) * 2, ("chain", "name"))):
                self.at = f"{rule['family']} {rule['table']} {rule['chain']}, rule handle {rule.get('handle', '?')}"
                end = self._rule(rule, depth)
                if end == "return":
                    return ""
                if end:
                    return end
        return ""

    def _rule(self, rule: Mapping[str, Any], depth: int) -> str:
        sure = True
        for statement in rule.get("expr", []):
            [(name, body)] = statement.items()
            if name == "match":
                holds = self._holds(body)
                if holds is False:
                    return ""
                sure = sure and holds is True
            elif name == "vmap":
                return self._verdict_map(body, rule, sure, depth)
            elif name not in IDLE:
                end = self._verdict(name, body, rule, sure, depth)
                if end is not None:
                    return end
                sure = False
        return ""

    def _verdict(self, name: str, body: Any, rule: Mapping[str, Any], sure: bool, depth: int) -> str | None:
        """What a statement decides; None for one that is not known here, and so a condition nobody can check."""
        if name in ("accept", "return") and sure:
            return name
        if name in ("drop", "reject") and sure:
            raise _Stopped
        if name in ("jump", "goto") and sure:
            ended = self._chain(self._chain_named(rule, body["target"]), depth + 1)
            return ended or ("return" if name == "goto" else "")
        self.may_stop |= name not in ("accept", "return")
        self.may_pass |= name not in ("drop", "reject")
        return "" if name in ("accept", "return", "drop", "reject", "jump", "goto", "continue") else None

    def _verdict_map(self, body: Mapping[str, Any], rule: Mapping[str, Any], sure: bool, depth: int) -> str:
        value, data = self._value(body["key"]), body["data"]
        entries = self._named(rule, data) if isinstance(data, str) else data["set"]
        if value is None:
            self.may_stop = self.may_pass = True
            return ""
        for key, verdict in entries:
            holds = self._is(value, key, rule)
            if holds is not False:
                [(name, target)] = verdict.items()
                return self._verdict(name, target, rule, sure and holds is True, depth) or ""
        return ""

    def _holds(self, match: Mapping[str, Any]) -> bool | None:
        """Whether a condition holds; None where nobody here can tell."""
        value = self._value(match["left"])
        if value is None:
            return None
        if value == "absent":
            return False
        holds = self._is(value, match["right"], match)
        if holds is None or match.get("op") not in ("==", "!=", "in"):
            return None
        return not holds if match["op"] == "!=" else holds

    def _value(self, left: Mapping[str, Any]) -> Any:
        """What the packet has in this place; "absent" for a field of the other family; None for what is not known."""
        if "concat" in left:
            values = [self._value(part) for part in left["concat"]]
            return None if None in values else "absent" if "absent" in values else values
        six = self.address.version == 6
        if "payload" in left:
            name = (left["payload"].get("protocol"), left["payload"].get("field"))
            if name in (("udp", "dport"), ("ip" if six else "ip6", "daddr"), ("ip", "protocol") if six else ()):
                return "absent"
            fields = {
                ("tcp", "dport"): self.packet.port,
                ("th", "dport"): self.packet.port,
                ("ip6" if six else "ip", "daddr"): str(self.address),
                ("ip", "protocol"): "tcp",
                ("ip6", "nexthdr"): "tcp",
            }
            return fields.get(name)
        if left.get("ct", {}).get("key") == "state":
            return "new"
        metas = {
            "l4proto": "tcp",
            "nfproto": f"ipv{self.address.version}",
            "protocol": "ip6" if six else "ip",
            "oifname": self.packet.interface or None,
            "oif": self.packet.interface or None,
        }
        return metas.get(left.get("meta", {}).get("key", ""))

    def _is(self, value: Any, right: Any, where: Mapping[str, Any]) -> bool | None:  # noqa: PLR0911 -- one for each shape
        """Whether a value is, or is in, what stands on the right."""
        if isinstance(right, str) and right.startswith("@"):
            return self._any(value, self._named(where, right), where)
        if isinstance(right, list):
            return self._any(value, right, where)
        if not isinstance(right, dict):
            return _equal(value, right)
        if "set" in right:
            return self._any(value, right["set"], where)
        if "elem" in right:
            return self._is(value, right["elem"]["val"], where)
        if "concat" in right:
            parts = [self._is(one, other, where) for one, other in zip(value, right["concat"], strict=True)]
            return False if False in parts else None if None in parts else True
        if "range" in right:
            low, high = (_number(end) for end in right["range"])
            return low <= _number(value) <= high
        if "prefix" in right:
            network = ipaddress.ip_network(f"{right['prefix']['addr']}/{right['prefix']['len']}", strict=False)
            return ipaddress.ip_address(value) in network
        return None

    def _any(self, value: Any, entries: Iterable[Any], where: Mapping[str, Any]) -> bool | None:
        answers = [self._is(value, entry, where) for entry in ([entries] if isinstance(entries, str) else entries)]
        return True if True in answers else None if None in answers else False

    def _named(self, where: Mapping[str, Any], reference: str) -> list[Any]:
        """The entries of a named set or map; of the rule's own table where the rule is known."""
        for entry in (*self._all("set"), *self._all("map")):
            same = all(where.get(key, entry[key]) == entry[key] for key in ("family", "table"))
            if entry["name"] == reference.removeprefix("@") and same:
                return list(entry.get("elem", []))
        raise KeyError(reference)

    def _chain_named(self, rule: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        for chain in self._all("chain"):
            if (chain["family"], chain["table"], chain["name"]) == (rule["family"], rule["table"], name):
                return chain
        raise KeyError(name)

    def _is_dormant(self, chain: Mapping[str, Any]) -> bool:
        for table in self._all("table"):
            if (table["family"], table["name"]) == (chain["family"], chain["table"]):
                return "dormant" in table.get("flags", [])
        return False

    def _all(self, what: str) -> list[Mapping[str, Any]]:
        return [entry[what] for entry in self.rules if what in entry]


def _equal(value: Any, right: Any) -> bool:
    if isinstance(right, bool) or isinstance(value, list):
        raise TypeError
    if {str(value), str(right)} == {"tcp", "6"}:
        return True
    if isinstance(right, str) and right.endswith("*"):
        return str(value).startswith(right[:-1])  # an interface's name such as "eth*"
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(value) == ipaddress.ip_address(right)
    return str(value) == str(right)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else int(ipaddress.ip_address(value))


def _text(host: Host, path: str) -> str:
    with contextlib.suppress(OSError):
        return files.read_text(host.path(path))
    return ""
