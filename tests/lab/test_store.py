"""Is the lab itself true? Plain sockets say so: healthy is healthy, each fault is real, and nothing remembers it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab.faults import Fault
from tests.lab.healthy import Variant
from tests.lab.store import (
    A_AUTH,
    A_BATCH,
    ANCHORS,
    B_AUTH,
    NOBODY,
    PORTAL,
    ROUTER,
    TERMINAL,
    TILL,
    TIME,
    TMS,
    Store,
    address,
)
from tests.lab.wider import FAULTS, VARIANTS

LOOK = Path(__file__).with_name("look.py")
ALIASES = {
    "a": A_AUTH,
    "a2": A_BATCH,
    "b": B_AUTH,
    "anchor": ANCHORS[0],
    "anchor2": ANCHORS[1],
    "portal": PORTAL,
    "tms": TMS,
    "time": TIME,
}
LOCAL = {"gw": ROUTER, "till": TILL, "terminal": TERMINAL, "nobody": NOBODY}
HEALTHY = {
    "carrier": "1",
    "addresses": r"192\.0\.2\.10/24 2001:db8:1::a/64",
    "neighbour gw": "REACHABLE|DELAY|STALE",
    "taken till": "free",
    "ping4 gw": "ok",
    "ping6 gw": "ok",
    "ping4 a": "ok",
    "ping4 a 1400": "ok",
    "loss gw 20": "0",
    "dns a": r"NOERROR 203\.0\.113\.11",
    "dns b": r"NOERROR 203\.0\.113\.21",
    "resolve a": "ok",
    "tcp4 anchor 443": "ok",
    "tcp4 anchor 53": "ok",
    "http portal": "204",
    "ntp time": "stratum 2 offset 0",
    "tcp4 a 443": "ok",
    "tls4 a 443": "ok",
    "tls6 a 443": "ok",
    "tls4 a 8443": "ok",
    "tcp4 a 9000": "ok",
    "tcp6 a2 9000": "ok",
    "tls4 a2 443": "ok",
    "tls4 b 443": "ok",
    "tls6 b 8443": "ok",
    "tcp4 terminal 8443": "ok",
    "http tms": "200",
    "udp a": "sent",
    "run upsc till@127.0.0.1 ups.status": "OL",
    "run cat /sys/bus/usb/devices/1-1/idVendor": "0b00",
    "run pgrep -x {pos}": r"\d+",
    "run df --output=pcent {run}/disk": "Use% 0%",
}


def look(store: Store, looks: tuple[str, ...], wait: float = 1.2) -> dict[str, str]:
    """Take looks from inside the till."""
    hosts = {alias: {"name": name, "4": address(name), "6": address(name, 6)} for alias, name in ALIASES.items()}
    for alias, number in LOCAL.items():
        hosts[alias] = {"name": alias, "4": store.lan.host(number), "6": store.lan.host(number, 6)}
    spelled = {look.replace("{run}", str(store.run)).replace("{pos}", store.pos_name): look for look in looks}
    plan = {"wait": wait, "roots": str(store.run / "roots.pem"), "hosts": hosts, "looks": list(spelled)}
    done = store.run_in_till([sys.executable, "-I", "-S", str(LOOK), json.dumps(plan)])
    assert done.returncode == 0, done.stderr
    return {spelled[key]: answer for key, answer in json.loads(done.stdout).items()}


def assert_seen(store: Store, expected: Mapping[str, str], wait: float = 1.2) -> None:
    """Every look must answer as expected, at one of three times: some faults lose packets, and so does a busy machine."""
    missed: list[dict[str, str]] = []
    for _ in range(3):
        seen = look(store, tuple(expected), wait)
        missed.append(
            {key: f"{seen[key]!r}, not {rule!r}" for key, rule in expected.items() if not re.fullmatch(rule, seen[key])}
        )
        if not missed[-1]:
            return
    assert not missed


def test_a_healthy_store_is_healthy(store: Store) -> None:
    """All is well, by both families, to every host and port."""
    assert_seen(store, HEALTHY)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_what_it_says_and_leaves_nothing_behind(store: Store, fault: Fault) -> None:
    """While it lasts a plain program sees what LAB.md says; afterwards the store is healthy at once."""
    with store.fault(fault):
        assert_seen(store, fault.seen, fault.wait)
    assert_seen(store, HEALTHY)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_healthy_variant_can_pay(store: Store, variant: Variant) -> None:
    """Odd but sound: every payment host answers, and the oddity is real."""
    with store.fault(variant):
        assert_seen(store, variant.seen, variant.wait)
    assert_seen(store, HEALTHY)


def test_the_store_is_up_in_seconds_and_gone_without_a_trace() -> None:
    """A second store beside the first one, and nothing of it afterwards."""
    start = time.monotonic()
    other = Store(owner=1)  # no store is ever owned by init: the name is free
    with other:
        took = time.monotonic() - start
        assert_seen(other, {"tls4 a 443": "ok"})
    assert took < 6  # most of it is the UPS monitor getting to know its driver
    assert not list(Path("/run/netns").glob("pl1-*"))
    assert not other.run.exists()
