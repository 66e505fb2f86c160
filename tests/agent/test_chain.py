"""Does the chain show where it is broken, and say nothing of what nobody can see?"""

from __future__ import annotations

from agent.chain import chain
from agent.report import DiagnosisPart, ProbePart
from probes.model import Impact, Status

NOW = "2026-11-22T10:00:00.000Z"


def probe(
    name: str, kind: str, status: str = "ok", *, explained_by: str | None = None, impact: str = "stop"
) -> ProbePart:
    return ProbePart(
        name=name,
        kind=kind,
        label=name,
        target="",
        status=Status(status),
        reason="",
        summary="",
        impact=Impact(impact),
        confirmed=True,
        since=NOW,
        checked_at=NOW,
        duration_ms=1.0,
        measurements={},
        evidence=[],
        explained_by=explained_by,
        next_check_at=None,
    )


def diagnosis(cause: str, *explains: str) -> DiagnosisPart:
    return DiagnosisPart(
        cause=cause,
        party="store",
        category="network",
        confidence="certain",
        title="",
        explanation="",
        steps=[],
        technician_steps=[],
        warnings=[],
        still_works=[],
        contact=None,
        explains=list(explains),
        evidence=[],
        ruled_out=[],
        alternatives=[],
        alternative_titles=[],
        fingerprint="",
    )


TILL = (
    ("mains", "power"),
    ("reader", "usb"),
    ("eth0", "interface"),
    ("gateway", "gateway"),
    ("names", "dns"),
    ("acquirer", "tls"),
    ("batch", "settlement"),
)


def told(probes: list[ProbePart], *diagnoses: DiagnosisPart, terminals: frozenset[str] = frozenset()) -> dict[str, str]:
    return {str(part.link): str(part.status.value) for part in chain(probes, diagnoses, terminals)}


def test_a_healthy_till_is_whole_and_the_firewall_was_passed() -> None:
    assert told([probe(name, kind) for name, kind in TILL]) == {
        "power": "ok",
        "terminal": "ok",
        "cable": "ok",
        "router": "ok",
        "internet": "ok",
        "firewall": "ok",
        "bank": "ok",
        "settlement": "ok",
    }


def test_what_nobody_looks_at_is_skipped_not_well() -> None:
    assert set(told([]).values()) == {"skipped"}
    assert told([probe("mains", "power", "skipped")])["power"] == "skipped"


def test_beyond_the_broken_link_nothing_is_known() -> None:
    torn = "lan.cable_unplugged"
    probes = [probe("mains", "power"), probe("eth0", "interface", "fail", explained_by=torn)]
    probes += [probe(name, kind, "fail", explained_by=torn) for name, kind in TILL[3:6]]
    assert told([*probes, probe("batch", "settlement")], diagnosis(torn, "eth0", "gateway", "names", "acquirer")) == {
        "power": "ok",
        "terminal": "skipped",
        "cable": "fail",
        "router": "unknown",
        "internet": "unknown",
        "firewall": "unknown",
        "bank": "unknown",
        "settlement": "ok",
    }


def test_the_firewall_is_broken_only_when_a_diagnosis_says_so() -> None:
    blocked = "firewall.port_blocked"
    probes = [probe("acquirer", "port", "fail", explained_by=blocked), probe("other", "tls")]
    [link] = [part for part in chain(probes, [diagnosis(blocked, "acquirer")], frozenset()) if part.link == "firewall"]
    assert (link.status, link.cause, link.probes) == (Status.FAIL, blocked, ["acquirer"])
    assert told([probe("acquirer", "port", "fail")]) | {"firewall": "unknown", "bank": "fail"} == told(
        [probe("acquirer", "port", "fail")]
    )


def test_a_dead_bank_leaves_all_before_it_well() -> None:
    dead = "acquirer.unreachable"
    seen = told(
        [*(probe(name, kind) for name, kind in TILL[:5]), probe("acquirer", "tls", "fail", explained_by=dead)],
        diagnosis(dead, "acquirer"),
    )
    assert seen["internet"] == "ok"
    assert seen["bank"] == "fail"
    assert seen["firewall"] == "unknown"  # nothing proves that it was passed


def test_what_fails_for_the_sake_of_another_link_hides_none_that_is_well() -> None:
    torn = "lan.cable_unplugged"
    late = probe("time", "clock", "unknown", explained_by=torn)
    broken = [probe("eth0", "interface", "fail", explained_by=torn), late]
    assert told([*broken, probe("reader", "usb")], diagnosis(torn, "eth0", "time"))["terminal"] == "ok"
    assert told(broken, diagnosis(torn, "eth0", "time"))["terminal"] == "unknown"


def test_a_terminal_on_the_lan_is_no_bank() -> None:
    assert told([probe("reader", "port")], terminals=frozenset({"reader"})) | {
        "terminal": "ok",
        "bank": "skipped",
    } == told([probe("reader", "port")], terminals=frozenset({"reader"}))


def test_what_no_payment_stands_on_never_breaks_a_link() -> None:
    assert told([probe("cpu", "cpu", "fail", impact="none")])["terminal"] == "warn"
    assert told([probe("heat", "temperature", "unknown", impact="none")])["terminal"] == "skipped"


def test_a_fault_that_no_rule_knows_is_shown_where_its_probes_are() -> None:
    seen = chain(
        [probe("names", "dns", "fail", explained_by="unclassified")], [diagnosis("unclassified", "names")], frozenset()
    )
    assert {part.link: part.cause for part in seen if part.cause} == {"internet": "unclassified"}


def test_every_cause_has_a_link() -> None:
    from agent.causes import CAUSES

    for cause in CAUSES:
        broken = [
            part.link for part in chain([probe("x", "cpu", "fail")], [diagnosis(cause, "x")], frozenset()) if part.cause
        ]
        assert len(broken) == 1, cause
