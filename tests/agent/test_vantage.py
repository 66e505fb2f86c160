"""Vantage: extra looks are taken only in doubt, within their time, and only what they tell is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from agent import vantage
from agent.diagnosis import Explanation
from agent.runner import Look
from probes.host import nftables
from probes.model import Denied, Impact, Probe, Role
from tests.agent import looks as by_hand

CABLE = "cable interface @lan ok name=eth0"
ROUTER = 'gateway gateway @lan ok sent=5 received=5 gateway=192.0.2.1 answering=["192.0.2.1"]'
NET = "internet internet @beyond ok anchors_alive=3"
B_LIVES = "b tls ok host=auth.b.example port=443 address=203.0.113.21 ipv4=ok"
A_SILENT = "a tls fail port.timeout host=auth.a.example port=443 address=203.0.113.11 ipv4=timeout"
A_SAID = " ! 203.0.113.11: no answer within 2.9 s"
LINE = "line ping ok host=203.0.113.31 address=203.0.113.31 sent=5 received=4"


class Bench:
    """Answers extra looks from a table by name (status, reason and facts as in looks.py); counts who was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, str] = {}
        self.asked: list[Probe] = []
        self.rules: list[Any] | None = None
        self.places: dict[str, Any] = {}
        monkeypatch.setattr(vantage.runner, "look_at_all", self._look)
        monkeypatch.setattr(vantage, "places", self._places)
        monkeypatch.setattr(nftables, "read", self._rules)
        monkeypatch.setattr(vantage.net, "route_to", lambda _host, _address: vantage.net.Hop("eth0"))

    def explain(self, *lines: str, ends: float | None = None) -> tuple[list[Look], Explanation]:
        looks, self.places = by_hand.read(lines)
        extra, explained = vantage.explained(looks, "en", ends)
        return vantage.merged(looks, extra), explained

    def causes(self, *lines: str) -> list[str]:
        return [found.cause for found in self.explain(*lines)[1].diagnoses]

    def names(self) -> list[str]:
        return sorted(probe.name for probe in self.asked)

    def _look(self, probes: Sequence[Probe], _memories: object, timeout: float) -> Iterator[Look]:
        assert timeout <= vantage.EXTRA_S
        assert all(probe.timeout <= vantage.EXTRA_S for probe in probes)
        self.asked += probes
        for probe in probes:
            answer = self.answers.get(probe.name, "unknown probe.denied")
            host = getattr(probe.settings, "host", "x")
            ((found, *_), _) = by_hand.read([f"{probe.name} {probe.kind} {answer} host={host} address={host}"])
            yield Look(probe, found.observation, found.checked_at, found.duration)

    def _places(self, looks: Sequence[Look]) -> Mapping[str, Any]:
        near = {f.probe.name: "lan" if f.probe.target == "192.0.2.1" else "beyond" for f in looks}
        return {**near, **self.places}

    def _rules(self, _host: object) -> list[Any]:
        if self.rules is None:
            raise Denied("not root")
        return self.rules


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_a_healthy_till_and_a_settled_cause_are_asked_nothing(bench: Bench) -> None:
    assert bench.causes(CABLE, ROUTER, NET, B_LIVES) == []
    assert bench.causes("cable interface @lan fail interface.no_carrier", A_SILENT) == ["lan.cable_unplugged"]
    assert bench.causes(CABLE, ROUTER, NET, "a port fail port.blocked_here host=a.example port=443") == [
        "firewall.local_rule"
    ]
    assert bench.asked == []


def test_a_silent_payment_host_that_answers_pings_is_filtered(bench: Bench) -> None:
    bench.answers = {"ping/auth.a.example": "ok sent=3 received=3"}
    looks, explained = bench.explain(CABLE, ROUTER, NET, B_LIVES, A_SILENT)
    assert [found.cause for found in explained.diagnoses] == ["firewall.port_blocked"]
    (extra,) = [found for found in looks if found.probe.name == "ping/auth.a.example"]
    assert (extra.probe.kind, extra.probe.impact, extra.probe.role) == ("ping", Impact.NONE, Role.SERVICE)
    assert extra.observation.evidence[0] == "an extra look, taken to tell causes apart"
    assert extra.observation.memory == {}


def test_one_that_does_not_is_dead_and_the_ping_is_explained(bench: Bench) -> None:
    bench.answers = {"ping/auth.a.example": "fail ping.no_reply"}
    _, explained = bench.explain(CABLE, ROUTER, NET, B_LIVES, LINE, A_SILENT)
    (found,) = explained.diagnoses
    assert found.cause == "acquirer.unreachable"
    assert "ping/auth.a.example" in found.explains


def test_no_right_to_ping_leaves_everything_as_it_was(bench: Bench) -> None:
    looks, explained = bench.explain(CABLE, ROUTER, NET, B_LIVES, A_SILENT)
    assert [found.cause for found in explained.diagnoses] == ["acquirer.unreachable"]
    assert len(looks) == 5


SLOW = "b tls warn port.slow host=auth.b.example port=443 address=203.0.113.21 ipv4=ok"


def test_loss_at_the_router_is_the_lans_though_five_pings_got_through(bench: Bench) -> None:
    bench.answers = {
        "ping/192.0.2.1": "warn ping.loss sent=20 received=15",
        "ping/203.0.113.31": "warn ping.loss sent=20 received=14",
    }
    assert bench.causes(CABLE, ROUTER, NET, LINE, SLOW) == ["lan.poor"]


def test_loss_beyond_a_clean_router_is_the_providers(bench: Bench) -> None:
    bench.answers = {
        "ping/192.0.2.1": "ok sent=20 received=20",
        "ping/203.0.113.31": "warn ping.loss sent=20 received=14 loss_percent=30",
    }
    _, explained = bench.explain(CABLE, ROUTER, NET, SLOW, "far ping ok host=203.0.113.31 address=203.0.113.31")
    assert [found.cause for found in explained.diagnoses][:1] == ["isp.poor"]
    assert "lan.poor" in {each.cause for each in explained.diagnoses[0].ruled_out}


def test_a_port_that_answers_the_second_time_is_nobodys_fault(bench: Bench) -> None:
    bench.answers = {"a": "ok", "ping/auth.a.example": "ok sent=3 received=3"}
    looks, explained = bench.explain(CABLE, ROUTER, NET, B_LIVES, LINE, A_SILENT)
    assert explained.diagnoses == ()
    assert [found.observation.reason for found in looks if found.probe.name == "a"] == ["ok"]
    assert "a" in bench.names()


def test_where_foreseen_pings_got_lost_a_silent_port_is_tried_once_more_and_else_not(bench: Bench) -> None:
    bench.answers = {"a": "ok"}
    taken = [
        "ping/auth.a.example ping ok host=auth.a.example address=203.0.113.11 sent=3 received=3",
        "ping/203.0.113.31 ping {} host=203.0.113.31 address=203.0.113.31 sent=20 received=15",
        "ping/203.0.113.21 ping ok host=203.0.113.21 address=203.0.113.21 sent=20 received=20",
        "ping/192.0.2.1 ping @lan ok host=192.0.2.1 address=192.0.2.1 sent=20 received=20",
    ]
    lines = (CABLE, ROUTER, NET, B_LIVES, LINE, A_SILENT)
    bench.explain(*lines, *(line.format("ok") for line in taken))
    assert bench.names() == []
    looks, _ = bench.explain(*lines, *(line.format("warn ping.loss") for line in taken))
    assert "a" in bench.names()
    assert [found.observation.reason for found in looks if found.probe.name == "a"] == ["ok"]


def test_never_more_than_eight_looks_and_no_port_that_is_not_configured(bench: Bench) -> None:
    many = [A_SILENT.replace("a tls", f"h{n} tls").replace("auth.a.", f"auth.a{n}.") for n in range(12)]
    bench.explain(CABLE, ROUTER, NET, B_LIVES, LINE, *many)
    assert 0 < len(bench.asked) <= 8
    configured = {f"h{n}" for n in range(12)}
    assert all(probe.kind == "ping" or probe.name in configured for probe in bench.asked)


def test_without_time_nothing_more_is_asked(bench: Bench) -> None:
    _, explained = bench.explain(CABLE, ROUTER, NET, B_LIVES, A_SILENT, ends=time.monotonic() + 0.2)
    assert [found.cause for found in explained.diagnoses] == ["acquirer.unreachable"]
    assert bench.asked == []


A_LIVED = "a tls ok host=auth.a.example port=443 address=203.0.113.11 ipv4=ok"


def foreseen(bench: Bench, late: str, *lines: str) -> dict[str, vantage.Foreseen]:
    looks, bench.places = by_hand.read(lines)
    return vantage.foreseen(looks, {late}, "en")


def test_while_a_connection_waits_the_pings_are_foreseen_that_its_silence_would_bring(bench: Bench) -> None:
    lines = (CABLE, ROUTER, NET, B_LIVES, LINE)
    bench.explain(*lines, A_SILENT)
    wished = {name for name in bench.names() if name.startswith("ping/")}
    found = foreseen(bench, "a", *lines, A_LIVED)
    assert found.keys() == wished
    assert "ping/auth.a.example" in wished
    assert all(each.probe.kind == "ping" and each.probe.timeout <= vantage.PING_S for each in found.values())


def test_nothing_is_foreseen_where_nobody_is_late_or_where_it_was_pinged_already(bench: Bench) -> None:
    assert foreseen(bench, "nobody", CABLE, ROUTER, NET, B_LIVES, LINE, A_LIVED) == {}
    pinged = "ping/auth.a.example ping ok host=auth.a.example address=203.0.113.11 sent=3 received=3"
    assert "ping/auth.a.example" not in foreseen(bench, "a", CABLE, ROUTER, NET, B_LIVES, LINE, A_LIVED, pinged)


def test_a_late_resolver_brings_no_pings(bench: Bench) -> None:
    names = "names dns @lan ok server=192.0.2.1"
    assert foreseen(bench, "names", CABLE, ROUTER, NET, B_LIVES, names) == {}


def test_of_the_foreseen_only_what_says_something_is_told(bench: Bench) -> None:
    lines = (CABLE, ROUTER, NET, B_LIVES, LINE, A_LIVED)
    planned = foreseen(bench, "a", *lines)
    said, _ = by_hand.read(f"{name} ping unknown probe.denied" for name in planned)
    assert vantage.telling(said, planned) == []
    said, _ = by_hand.read(["ping/auth.a.example ping fail ping.no_reply"])
    (found,) = vantage.telling(said, planned)
    assert found.observation.evidence[0] == "an extra look, taken to tell causes apart"


CHAIN = {"chain": {"family": "inet", "table": "t", "name": "out", "hook": "output", "prio": 0, "policy": "accept"}}
PORT = {"payload": {"protocol": "tcp", "field": "dport"}}


def drop(port: int) -> dict[str, Any]:
    expr = [{"match": {"op": "==", "left": PORT, "right": port}}, {"drop": None}]
    return {"rule": {"family": "inet", "table": "t", "chain": "out", "handle": 7, "expr": expr}}


def test_this_pcs_own_rule_is_found_and_named(bench: Bench) -> None:
    bench.rules = [CHAIN, drop(443)]
    looks, explained = bench.explain(CABLE, ROUTER, NET, B_LIVES, A_SILENT + A_SAID)
    assert [found.cause for found in explained.diagnoses] == ["firewall.local_rule"]
    (found,) = [found for found in looks if found.probe.name == "a"]
    assert "an nftables rule of this PC stops it: inet t out, rule handle 7" in found.observation.evidence
    assert bench.asked == []


def test_rules_that_let_it_pass_rule_the_own_firewall_out(bench: Bench) -> None:
    bench.rules = [CHAIN, drop(8443)]
    looks, explained = bench.explain(CABLE, ROUTER, NET, B_LIVES, A_SILENT + A_SAID)
    (found,) = explained.diagnoses
    assert ("firewall.local_rule", "nftables", "ok") in found.ruled_out
    assert [found.observation.measurements for found in looks if found.probe.name == "nftables"] == [
        {"targets": "auth.a.example:443"}
    ]
