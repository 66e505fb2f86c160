"""Does the engine name the first broken link, explain every trouble once, and survive whatever it is told?"""

from __future__ import annotations

import dataclasses
import random
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.diagnosis import CAUSES, RULES, Explanation, explain
from agent.diagnosis.model import Place
from agent.diagnosis.scene import is_trouble, owner_of
from agent.runner import Look
from probes import registry
from probes.model import Impact, Role, Status
from tests.agent import looks as by_hand
from tests.lab.wider import FAULTS

CASES: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[1] / "cases" / "diagnosis.toml").read_text("utf-8")
)


# --- recorded cases ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_recorded_case_means_what_it_says(case: dict[str, Any]) -> None:
    looks, places = by_hand.read(case["looks"])
    found = explain(looks, places)
    wanted = [_wanted(text) for text in case["causes"]]
    said = [(each.cause, each.explains) for each in found.diagnoses]
    expected = [(cause, explains) for cause, _, explains in wanted]
    if case.get("any_order"):
        said, expected = sorted(said), sorted(expected)
    assert said == expected
    for cause, others, explains in wanted:
        diagnosis = next(each for each in found.diagnoses if (each.cause, each.explains) == (cause, explains))
        assert others <= set(diagnosis.alternatives)
    assert sorted(found.harmless) == case.get("harmless", [])


def _wanted(text: str) -> tuple[str, set[str], tuple[str, ...]]:
    causes, _, names = text.partition("=")
    cause, *others = (word.strip() for word in causes.split("|"))
    return cause, set(others), tuple(names.split())


def test_every_cause_is_reached_by_a_case_or_a_fault_of_the_lab() -> None:
    recorded = {_wanted(text)[0] for case in CASES.values() for text in case["causes"]}
    in_the_lab = {one.cause for fault in FAULTS.values() for one in fault.expected}
    assert set(CAUSES) == recorded | in_the_lab


def test_what_nobody_knows_carries_its_evidence() -> None:
    looks, places = by_hand.read(["scale acme fail acme.on_fire ! smoke"])
    (only,) = explain(looks, places).diagnoses
    assert (only.cause, only.explains, only.confidence) == ("unclassified", ("scale",), "possible")
    assert only.evidence == (("scale", "acme.on_fire"),)
    assert (only.party, only.category) == ("it", "system")


def test_what_stops_payments_is_named_first() -> None:
    looks, places = by_hand.read(
        [
            "ups ups warn ups.on_battery",
            "auth tls fail tls.expired host=auth.a.example",
            "pay tls ok host=pay.b.example",
        ]
    )
    assert [each.cause for each in explain(looks, places).diagnoses] == [
        "acquirer.certificate_expired",
        "power.mains_lost",
    ]


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("auth.acquirer-a.example", "acquirer-a.example"),
        ("a.b.pay.com.cn", "pay.com.cn"),
        ("203.0.113.11", "203.0.113.11"),
        ("2001:db8::1", "2001:db8::1"),
        ("localhost", "localhost"),
        ("", ""),
        ("Auth.Pay.Example.", "pay.example"),
    ],
)
def test_the_owner_of_a_host_is_told_by_its_name(host: str, owner: str) -> None:
    assert owner_of(host) == owner


# --- whatever it is told ----------------------------------------------------------------------------------------------

KINDS = (*registry.names(), "acme")
REASONS = {
    **{name: sorted(registry.find(name).reasons) for name in registry.names()},
    "acme": ["acme.on_fire", "", ".", "port", "port.", "unclassified"],
}
HOSTS = (
    "auth.a.example",
    "batch.a.example",
    "pay.b.example",
    "tms.v.example",
    "203.0.113.11",
    "203.0.113.21",
    "2001:db8::11",
    "192.0.2.20",
    "terminal",
)
OUTCOMES = st.sampled_from(["ok", "timeout", "refused", "rejected", "no_route", "blocked_here"])
SANE: dict[str, st.SearchStrategy[Any]] = {
    "host": st.sampled_from(HOSTS),
    "port": st.sampled_from([443, 8443, 9000]),
    "address": st.sampled_from(["203.0.113.11", "2001:db8::11", "192.0.2.1", "192.0.2.20"]),
    "ipv4": OUTCOMES,
    "ipv6": OUTCOMES,
    "issuer": st.sampled_from(["Bank CA", "Gateway CA"]),
    "tls_version": st.just("1.3"),
    "not_before": st.sampled_from(["2025-01-01 00:00 UTC", "2025-12-01 00:00 UTC"]),
    "not_after": st.sampled_from(["2025-02-01 00:00 UTC", "2026-12-01 00:00 UTC"]),
    "offset_s": st.floats(-1e8, 1e8),
    "loss_percent": st.floats(0, 100),
    "rtt_ms": st.floats(0, 5000),
    "connect_ms": st.floats(0, 5000),
    "anchors_alive": st.integers(0, 5),
    "addresses": st.lists(st.sampled_from(["203.0.113.11", "192.0.2.1"])),
    "dead": st.lists(st.just("203.0.113.31:443")),
    "name": st.sampled_from(["auth.a.example", "eth0"]),
    "interface": st.sampled_from(["eth0", "wlan0"]),
    "gateway": st.just("192.0.2.1"),
    "server": st.sampled_from(["192.0.2.1", "203.0.113.53", "time.example", "192.0.2.1, 203.0.113.53"]),
    "blocked_here": st.booleans(),
    "wireless": st.booleans(),
    "conflicting_address": st.just("192.0.2.10"),
    "url": st.sampled_from(["http://tms.v.example/", "https://tms.v.example/"]),
}
NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.lists(st.text(max_size=4), max_size=3),
)
EVIDENCE = st.sampled_from(["", "rejected (EACCES)", "connected in 1.0 s; the first SYN was lost, 1 sent again"])
PLACES = st.sampled_from(["here", "lan", "beyond", "unknown"])


@st.composite
def a_look(draw: st.DrawFn, name: str, *, well: bool | None = None, wild: bool = False) -> tuple[Look, Place]:
    """One look of any kind; `well` decides whether it found trouble, `wild` whether its measurements make sense."""
    kind = draw(st.sampled_from(KINDS))
    statuses = ["ok"] if well else ["warn", "fail"] if well is False else ["ok", "warn", "fail", "unknown", "skipped"]
    status = draw(st.sampled_from(statuses))
    trouble = status in ("warn", "fail")
    reasons = REASONS[kind] + (["acme.on_fire", "port.blocked_here", "tls."] if wild else [])
    reason = draw(st.sampled_from(reasons)) if trouble else "ok" if status == "ok" else "probe.timeout"
    facts = {key: draw(SANE[key]) for key in draw(st.lists(st.sampled_from(sorted(SANE)), unique=True, max_size=8))}
    if wild:
        facts |= draw(st.dictionaries(st.sampled_from(sorted(SANE)), NONSENSE, max_size=6))
    if well:  # without a blemish: no loss, no delay
        facts = {key: value for key, value in facts.items() if key not in ("loss_percent", "rtt_ms", "connect_ms")}
    evidence = "" if well else draw(EVIDENCE)
    found = by_hand.look(
        name,
        kind,
        status,
        reason,
        facts,
        role=draw(st.sampled_from(["", "", *Role])),
        evidence=(evidence,) if evidence else (),
        impact=draw(st.sampled_from(list(Impact))),
    )
    return found, draw(PLACES)


@st.composite
def some_looks(draw: st.DrawFn, *, wild: bool = False, most: int = 12) -> tuple[list[Look], dict[str, Place]]:
    """A round of looks and where their targets lie."""
    names = [f"p{number}" for number in range(draw(st.integers(0, most)))]
    pairs = {name: draw(a_look(name, wild=wild)) for name in names}
    places = {name: place for name, (_, place) in pairs.items() if draw(st.integers(0, 5))}
    return [found for found, _ in pairs.values()], places


def _assert_each_trouble_is_explained_once(looks: list[Look], found: Explanation) -> None:
    troubles = sorted(each.probe.name for each in looks if is_trouble(each))
    explained = sorted([name for each in found.diagnoses for name in each.explains] + list(found.harmless))
    assert explained == troubles


@settings(max_examples=400, deadline=None)
@given(some_looks(wild=True))
def test_every_trouble_is_explained_exactly_once_whatever_was_seen(case: tuple[list[Look], dict[str, Place]]) -> None:
    looks, places = case
    found = explain(looks, places)
    _assert_each_trouble_is_explained_once(looks, found)
    for each in found.diagnoses:
        assert each.evidence
        assert each.cause in CAUSES
        assert each.cause not in each.alternatives
        assert set(each.alternatives) <= set(CAUSES)
        assert len(set(each.alternatives)) == len(each.alternatives)
        assert all(against.cause in CAUSES for against in each.ruled_out)
        assert not {against.cause for against in each.ruled_out} & {each.cause, *each.alternatives}


@settings(max_examples=200, deadline=None)
@given(some_looks(wild=True), st.randoms(use_true_random=False))
def test_the_order_of_the_looks_changes_nothing(case: tuple[list[Look], dict[str, Place]], luck: random.Random) -> None:
    looks, places = case
    mixed = list(looks)
    luck.shuffle(mixed)
    assert explain(mixed, places) == explain(looks, places)


@settings(max_examples=200, deadline=None)
@given(some_looks())
def test_where_nothing_is_wrong_nothing_is_diagnosed(case: tuple[list[Look], dict[str, Place]]) -> None:
    looks, places = case
    well = [each for each in looks if not is_trouble(each)]
    assert explain(well, places) == Explanation()


STAGE = {
    "power": 0,
    "lan": 1,
    "lan.poor": 2,
    "lan.wifi_weak": 2,
    "isp": 2,
    "dns": 2,
    "firewall.local_rule": 2,
    "firewall.all_blocked": 2,
    "firewall.tls_inspection": 3,
    "network": 3,
    "clock": 3,
}
"""How much of the way a cause concerns: the lower, the more depends on it. Whatever is not named concerns one thing."""


def _stage(cause: str) -> int:
    return STAGE.get(cause, STAGE.get(cause.partition(".")[0], 4))


@settings(max_examples=500, deadline=None)
@given(some_looks(), a_look("zz-good", well=True))
def test_good_news_never_adds_a_cause(case: tuple[list[Look], dict[str, Place]], good: tuple[Look, Place]) -> None:
    """One more healthy look may acquit, or narrow a broad cause down to the parts that are left; it is never blamed
    itself, and for no trouble does it bring up a cause of wider reach than was named (or held possible) without it."""
    looks, places = case
    before = explain(looks, places)
    after = explain([*looks, good[0]], {**places, "zz-good": good[1]})
    _assert_each_trouble_is_explained_once(looks, after)
    blamed = {name: each for each in before.diagnoses for name in each.explains}
    for each in after.diagnoses:
        for name in each.explains:
            held = blamed.get(name)
            possible = {held.cause, *held.alternatives} if held else set()
            widest = min((_stage(cause) for cause in possible), default=4)
            assert _stage(each.cause) >= widest, (name, possible, each.cause)


@settings(max_examples=200, deadline=None)
@given(some_looks(), st.sampled_from(["disk", "process", "usb", "settlement", "acme"]), st.data())
def test_a_healthy_look_at_something_else_changes_nothing(
    case: tuple[list[Look], dict[str, Place]], kind: str, data: st.DataObject
) -> None:
    looks, places = case
    good = by_hand.look("zz-good", kind, "ok")
    assert explain([*looks, good], {**places, "zz-good": data.draw(PLACES)}) == explain(looks, places)


@settings(max_examples=100, deadline=None)
@given(some_looks(wild=True), a_look("zz-unknown"))
def test_what_could_not_look_is_no_cause(case: tuple[list[Look], dict[str, Place]], more: tuple[Look, Place]) -> None:
    looks, places = case
    blind = dataclasses.replace(more[0], observation=by_hand.look("x", "port", "unknown", "probe.crashed").observation)
    assert explain([*looks, blind], {**places, "zz-unknown": more[1]}).diagnoses == explain(looks, places).diagnoses


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}")
def test_every_rule_says_what_it_knows(rule: Any) -> None:
    assert rule.__doc__


def test_two_hundred_looks_are_explained_at_once() -> None:
    """A till with 200 probes that all fail in their own way waits 50 ms at most."""
    luck = random.Random(7)
    connecting = ("port", "tls", "http", "ping", "dns", "clock", "internet")
    worst = [
        by_hand.look(
            f"p{number}",
            kind := luck.choice(connecting),
            "fail",
            luck.choice(REASONS[kind]),
            {"host": f"host{number}.owner{number}.example", "issuer": f"issuer {number}", "ipv4": "timeout"},
        )
        for number in range(200)
    ]
    took = []
    for _ in range(5):
        began = time.perf_counter()
        found = explain(worst, {})
        took.append(time.perf_counter() - began)
    _assert_each_trouble_is_explained_once(worst, found)
    assert min(took) < (0.3 if "coverage" in sys.modules else 0.05)


def test_statuses_that_are_no_trouble_are_left_alone() -> None:
    silent = [by_hand.look(status, "port", status, "probe.timeout") for status in (Status.UNKNOWN, Status.SKIPPED)]
    assert explain(silent, {}) == Explanation()
