"""nftables: what this PC's own rules do to a connection, as `nft -j list ruleset` tells them; unclear where in doubt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import nftables
from probes.host.nftables import Packet
from probes.model import Unsupported

TABLE = {"table": {"family": "inet", "name": "t", "handle": 1}}
HERE = {"family": "inet", "table": "t"}
PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
TO4 = {"payload": {"protocol": "ip", "field": "daddr"}}
TO6 = {"payload": {"protocol": "ip6", "field": "daddr"}}
DROP, ACCEPT, REJECT = {"drop": None}, {"accept": None}, {"reject": {"type": "tcp reset"}}
FOUR, SIX = Packet("203.0.113.11", 443, "eth0"), Packet("2001:db8:ff::b", 443, "eth0")


def base(name: str = "c", policy: str = "accept", **more: Any) -> dict[str, Any]:
    kind = {"type": "filter", "hook": "output", "prio": 0}
    return {"chain": {**HERE, "name": name, "handle": 2, **kind, "policy": policy, **more}}


def rule(*expr: Any, chain: str = "c", handle: int = 9) -> dict[str, Any]:
    return {"rule": {**HERE, "chain": chain, "handle": handle, "expr": list(expr)}}


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def word(packet: Packet, *entries: Any) -> str:
    return nftables.ruling([TABLE, *entries], packet).word


def test_no_rules_let_everything_out() -> None:
    assert word(FOUR) == "passed"
    assert word(FOUR, base()) == "passed"


def test_a_rule_is_named_by_table_chain_and_handle() -> None:
    found = nftables.ruling([TABLE, base(), rule(match(PORT, 443), {"counter": {}}, REJECT, handle=15)], FOUR)
    assert found == ("blocked", "inet t c, rule handle 15")
    assert nftables.ruling([TABLE, base(policy="drop")], SIX) == ("blocked", "inet t c, policy drop")


PORTS = {"set": [53, 443, {"range": [8000, 9000]}]}


@pytest.mark.parametrize(
    ("packet", "left", "right", "expected"),
    [
        (FOUR, PORT, 443, "blocked"),
        (FOUR, PORT, 444, "passed"),
        (FOUR, PORT, PORTS, "blocked"),
        (FOUR._replace(port=8443), PORT, PORTS, "blocked"),
        (FOUR._replace(port=9001), PORT, PORTS, "passed"),
        (FOUR, {"payload": {"protocol": "udp", "field": "dport"}}, 443, "passed"),
        (FOUR, {"payload": {"protocol": "th", "field": "dport"}}, 443, "blocked"),
        (FOUR, TO4, "203.0.113.11", "blocked"),
        (FOUR, TO4, {"prefix": {"addr": "203.0.113.0", "len": 24}}, "blocked"),
        (FOUR, TO4, {"set": ["203.0.113.12", {"prefix": {"addr": "10.0.0.0", "len": 8}}]}, "passed"),
        (FOUR, TO4, {"range": ["203.0.113.10", "203.0.113.20"]}, "blocked"),
        (FOUR, TO6, "2001:db8:ff::b", "passed"),
        (SIX, TO6, "2001:db8:ff:0::b", "blocked"),
        (SIX, TO4, "203.0.113.11", "passed"),
        (FOUR, {"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}, "blocked"),
        (FOUR, {"meta": {"key": "l4proto"}}, 6, "blocked"),
        (FOUR, {"meta": {"key": "nfproto"}}, "ipv6", "passed"),
        (FOUR, {"meta": {"key": "oifname"}}, "lo", "passed"),
        (FOUR, {"meta": {"key": "oifname"}}, "eth*", "blocked"),
        (FOUR, {"meta": {"key": "skuid"}}, 33, "unclear"),
        (FOUR, {"concat": [TO4, PORT]}, {"set": [{"concat": ["203.0.113.11", 443]}]}, "blocked"),
        (FOUR, {"concat": [TO4, PORT]}, {"set": [{"concat": ["203.0.113.11", 444]}]}, "passed"),
        (FOUR, PORT, "@ports", "blocked"),
        (FOUR._replace(port=7), PORT, "@ports", "passed"),
        (FOUR, PORT, "@gone", "unclear"),
        (FOUR, {"numgen": {"mode": "random"}}, 5, "unclear"),
    ],
)
def test_each_condition(packet: Packet, left: Any, right: Any, expected: str) -> None:
    ports = {"set": {**HERE, "name": "ports", "type": "inet_service", "elem": [{"elem": {"val": 443}}, 80]}}
    assert word(packet, base(), ports, rule(match(left, right), DROP)) == expected


def test_established_connections_are_not_ours_and_new_ones_are() -> None:
    state = {"ct": {"key": "state"}}
    old = rule(match(state, ["established", "related"], "in"), ACCEPT)
    assert word(FOUR, base(policy="drop"), old) == "blocked"
    assert word(FOUR, base(policy="drop"), old, rule(match(state, "new", "in"), ACCEPT)) == "passed"


def test_what_one_chain_accepts_the_next_may_drop_and_nothing_undoes_a_drop() -> None:
    late = base("late", prio=10)
    assert word(FOUR, base(), rule(ACCEPT), late, rule(DROP, chain="late")) == "blocked"
    assert word(FOUR, base(), rule(DROP), late, rule(ACCEPT, chain="late")) == "blocked"


def test_chains_are_jumped_to_and_returned_from() -> None:
    side = {"chain": {**HERE, "name": "side", "handle": 4}}
    jump, goto = {"jump": {"target": "side"}}, {"goto": {"target": "side"}}
    back = rule(match(PORT, 80), DROP, chain="side")
    assert word(FOUR, base(), side, back, rule(jump), rule(DROP)) == "blocked"
    assert word(FOUR, base(), side, back, rule(goto), rule(DROP)) == "passed"
    assert word(FOUR, base(), side, rule(DROP, chain="side"), rule(jump)) == "blocked"
    assert word(FOUR, base(), side, rule({"return": None}, chain="side"), rule(jump), rule(REJECT)) == "blocked"


def test_verdict_maps() -> None:
    def mapped(*entries: Any) -> dict[str, Any]:
        return {"vmap": {"key": PORT, "data": {"set": list(entries)}}}

    assert word(FOUR, base(), rule(mapped([80, ACCEPT], [443, DROP]))) == "blocked"
    assert word(FOUR, base(), rule(mapped([80, DROP], [443, ACCEPT])), rule(DROP)) == "passed"
    assert word(FOUR, base(), rule(mapped([80, DROP])), rule(DROP)) == "blocked"
    named = {"map": {**HERE, "name": "m", "map": "verdict", "elem": [[443, DROP]]}}
    assert word(FOUR, base(), named, rule({"vmap": {"key": PORT, "data": "@m"}})) == "blocked"


def test_what_cannot_be_known_is_unclear_in_both_directions() -> None:
    user = match({"meta": {"key": "skuid"}}, 33)
    assert word(FOUR, base(), rule(user, ACCEPT), rule(DROP)) == "unclear"
    assert word(FOUR, base(), rule(user, DROP), rule(ACCEPT)) == "unclear"
    assert word(FOUR, base(), rule(user, ACCEPT)) == "passed", "accepted or not, nothing drops it"
    assert word(FOUR, base(), rule(user, DROP), rule(REJECT)) == "blocked", "dropped or not, nothing saves it"
    assert word(FOUR, base(), rule(user, {"counter": {}})) == "passed"
    assert word(FOUR, base(), rule({"limit": {"rate": 5}}, ACCEPT), rule(DROP)) == "unclear"
    assert word(FOUR, base(), rule({"xt": {"type": "target", "name": "REJECT"}})) == "unclear"
    assert word(FOUR, {"legacy": {}}) == "unclear", "the old iptables has rules of its own"
    assert word(FOUR, {"legacy": {}}, base(), rule(DROP)) == "blocked"


def test_other_hooks_families_and_sleeping_tables_do_not_count() -> None:
    assert word(FOUR, base(hook="input"), rule(DROP)) == "passed"
    assert word(FOUR, {"chain": {**base()["chain"], "family": "ip6"}}) == "passed"
    asleep = {"table": {"family": "inet", "name": "t", "flags": ["dormant"]}}
    assert nftables.ruling([asleep, base(), rule(DROP)], FOUR).word == "passed"


def test_a_loop_of_chains_ends() -> None:
    side = {"chain": {**HERE, "name": "side"}}
    again = rule({"jump": {"target": "side"}}, chain="side")
    assert word(FOUR, base(), side, again, rule({"jump": {"target": "side"}})) == "unclear"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"nftables": 3}', "[" * 100_000])
def test_what_is_no_ruleset_is_refused(text: str) -> None:
    with pytest.raises(Unsupported):
        nftables.parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["ip", "@s", "dport"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["match", "left", "right", "op", "payload", "set", "range", "vmap", "key", "data", "drop", "meta"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["rule", "chain", "set", "table", "map"]))
def test_whatever_stands_in_the_rules_there_is_a_word(garbage: Any, what: str) -> None:
    entries = nftables.parse(json.dumps({"nftables": [TABLE, base(), {what: garbage}, rule(garbage)]}))
    assert nftables.ruling(entries, FOUR).word in ("blocked", "passed", "unclear")
