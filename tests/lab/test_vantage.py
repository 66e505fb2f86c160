"""Two devices with one address, loss that begins at the router, this PC's own rules: told apart on a real store."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.faults import FAULTS, chain
from tests.lab.store import A_AUTH, SQUATTER_MAC, TILL, Store, address

CHECK = (sys.executable, "-m", "agent", "check", "--json")
RULINGS = """
import json
from probes.host import Host, nftables
from probes.host.nftables import Packet
rules = nftables.read(Host())
print(json.dumps([nftables.ruling(rules, Packet(a, p, "eth0")) for a, p in json.loads(input())]))
"""


def check(store: Store) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(store.run_in_till(CHECK).stdout)
    return told


def named(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [probe for probe in report["probes"] if probe["name"] == name]
    return found


def test_another_device_with_the_tills_address_is_named_with_its_mac(store: Store) -> None:
    with store.fault(FAULTS["address_conflict"]):
        report = check(store)
    first = report["diagnosis"][0]
    assert (first["cause"], first["confidence"]) == ("lan.address_conflict", "certain")
    cable = named(report, "cable")
    assert (cable["status"], cable["reason"]) == ("fail", "interface.no_address")
    assert cable["measurements"]["conflicting_address"] == store.lan.host(TILL)
    assert cable["measurements"]["conflicting_mac"] == SQUATTER_MAC


def test_an_ordinary_user_claims_nothing(store: Store) -> None:
    with store.fault(FAULTS["address_conflict"]):
        seen = store.run_in_till([*("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"), *CHECK]).stdout
    assert named(json.loads(seen), "cable")["status"] == "ok"


def test_asking_disturbs_nobody(store: Store, tmp_path: Path) -> None:
    """The squatter has the address but is silent, as a PC that just came up: it answers, and learns nothing."""
    store.ip("squatter", f"addr add {store.lan.with_mask(TILL)} dev eth0")
    store.ip("switch", "link set squatter up")
    try:
        store.await_link("squatter")
        store.sh("till", "ip neigh flush all")  # what the tests before this one left would still be made sure of
        before = store.sh("router", "ip neigh flush all; echo")
        seen = store.run_in_till([*CHECK, "cable"]).stdout
        after = store.sh("router", f"ip neigh show {store.lan.host(TILL)}")
        known = store.sh("squatter", f"ip neigh show {store.lan.host(TILL)}")
    finally:
        store.ip("switch", "link set squatter down")
        store.ip("squatter", "addr flush dev eth0 scope global")
        store.forget()
    assert named(json.loads(seen), "cable")["measurements"]["conflicting_mac"] == SQUATTER_MAC
    assert (before.strip(), after, known) == ("", "", "")


def test_a_healthy_check_takes_no_extra_look_and_no_longer(store: Store) -> None:
    report = check(store)
    assert report["verdict"]["payments"] == "ready"
    assert not [probe for probe in report["probes"] if probe["name"].startswith(("ping/", "nftables"))]
    assert named(report, "cable")["duration_ms"] < 600


@pytest.mark.parametrize(("fault", "cause"), [("loss_on_lan", "lan.poor"), ("loss_beyond_lan", "isp.poor")])
def test_where_packets_are_lost(fault: str, cause: str, store: Store) -> None:
    with store.fault(FAULTS[fault]):
        assert check(store)["diagnosis"][0]["cause"] == cause


def test_a_dead_host_was_pinged_and_this_pcs_own_rules_were_read(store: Store) -> None:
    with store.fault(FAULTS["acquirer_dead"]):
        report = check(store)
    first = report["diagnosis"][0]
    assert first["cause"] == "acquirer.unreachable"
    assert {"firewall.local_rule", "isp.down"} <= {each["cause"] for each in first["ruled_out"]}
    extra = named(report, f"ping/{A_AUTH}")
    assert (extra["impact"], extra["reason"], extra["explained_by"]) == (
        "none",
        "ping.no_reply",
        "acquirer.unreachable",
    )


def test_the_kernels_own_ruleset_is_understood(store: Store) -> None:
    four, six = address(A_AUTH), address(A_AUTH, 6)
    rules = f"""
    set ports {{ type inet_service; flags interval; elements = {{ 9000, 8000-8100 }}; }}
    chain side {{ tcp dport vmap {{ 443 : drop, 80 : accept }}; ip daddr . tcp dport {{ {four} . 81 }} reject; }}
    """
    out = chain("output", 'oifname "lo" accept\nct state established,related accept\ntcp dport @ports drop\njump side')
    asked = [[four, 443], [six, 443], [four, 80], [four, 81], [six, 81], [six, 8050], [four, 9000], [four, 22]]
    with store.rules("till", rules + out):
        done = store.run_in_till(
            ["sh", "-c", 'echo "$1" | "$2" -c "$3"', "sh", json.dumps(asked), sys.executable, RULINGS]
        )
    words = [word for word, _rule in json.loads(done.stdout)]
    assert words == ["blocked", "blocked", "passed", "blocked", "passed", "blocked", "blocked", "passed"]
