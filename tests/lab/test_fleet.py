"""Two thousand tills lose their centre and find it again: nothing is lost, and they do not come all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.fleet import accounts, traffic
from tests.lab.fleet.__main__ import table
from tests.lab.fleet.accounts import Made, settle
from tests.lab.fleet.receivers import Arrival
from tests.lab.fleet.run import Outcome, play, scratch
from tests.lab.fleet.scene import Scene

TILLS = int(os.environ.get("POSAGENT_LAB_TILLS", "2000"))
FAIR = 3.0
"""No tenth of a splay brings more than so many times its share, were they spread evenly over one."""
AT_MOST_KB = 1500
"""Of a simulated till: two TLS connections and their contexts, three threads, a state file and what waits."""


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    """One scene for all questions; it takes some minutes."""
    with scratch() as home:
        yield play(Scene(tills=TILLS), home, print)


@pytest.mark.timeout(480)
def test_nothing_is_lost_and_all_is_in_order(outcome: Outcome) -> None:
    """Every report of every till is at both receivers or named by a gap, doubles have one key, the newest came first,
    incidents are in order; the broker holds the newest of each till, and knows who is there."""
    print(table(outcome))
    assert outcome.faults == []
    assert outcome.left == [], "at the end no till has anything to complain of"
    for account in outcome.accounts.values():
        assert account.reports + account.in_gaps == sum(len(each.reports) for each in outcome.told.values())
        assert account.disordered <= 0.1 * TILLS, "a busy receiver lets an attempt fail now and then"
        assert account.gaps >= TILLS // 20, "those with a small quota lost something, and said so"


@pytest.mark.timeout(480)
def test_they_come_back_one_after_another(outcome: Outcome) -> None:
    splay_s = outcome.scene.splay_s
    for way, account in outcome.accounts.items():
        assert len(account.first_contacts) == TILLS
        assert accounts.peak(account.first_contacts, splay_s) <= FAIR, f"{way}: {outcome.tenths(way)}"
        assert accounts.peak(account.history, splay_s) <= FAIR, f"{way}: {outcome.history(way)}"


@pytest.mark.timeout(480)
def test_the_tills_stay_small(outcome: Outcome) -> None:
    assert max(outcome.memory_kb.values()) <= AT_MOST_KB
    assert outcome.memory_kb["drained"] <= 1.5 * outcome.memory_kb["healthy"], outcome.memory_kb


@pytest.mark.timeout(480)
def test_an_outage_is_told_in_few_words(outcome: Outcome) -> None:
    """Each till says the same of the same centre; what differs is how far each one got when it ended."""
    causes = {text.partition(": ")[2].partition(";")[0] for text in outcome.problems}
    assert causes
    assert len(causes) <= 12, causes


@pytest.mark.timeout(180)
def test_a_day_on_the_wire() -> None:
    """What docs/fleet.md says of a till's day; a tenth more is a change that somebody should want."""
    with scratch() as home:
        found = traffic.measured(home, days=False)
    print(traffic.table(found))
    assert found["https: a heartbeat"].octets / 20 < 9500
    assert found["https: reports that waited, in one burst"].octets / traffic.WAITING < 4500
    assert found["mqtt: a heartbeat"].octets / 20 < 15500
    assert found["mqtt: pings"].octets / traffic.PINGS_S < 300


# --- does the account see what it is for? -----------------------------------------------------------------------------

NOTHING_WRONG = [
    (2.0, "report", 1),
    (101.0, "report", 4),
    (102.0, "history", 2),
    (103.0, "history", 3),
]


def account(*came: tuple[float, str, int], gap: tuple[int, int, int] | None = None) -> list[str]:
    """Of one till that made reports 1 to 4, through one way; the receivers were back at 100 s."""
    told = {"0000/T01": Made({seq: 10.0 * seq for seq in (1, 2, 3, 4)}, [], [])}
    arrived = [
        Arrival(at, "0000/T01", topic, accounts.REPORT, seq, 0, 0, 0, "", f"{seq}-x", "", 1) for at, topic, seq in came
    ]
    if gap is not None:
        low, high, lost = gap
        arrived.append(Arrival(104.0, "0000/T01", "gap", accounts.GAP, low, high, lost, 0, "", "gap", "", 1))
    return settle("https", 100.0, told, arrived).faults


def test_a_peak_is_the_fullest_tenth_of_a_splay() -> None:
    assert accounts.peak([float(second) for second in range(40)], 40.0) == 1.0
    assert accounts.peak([70.1, 70.2, 73.0, 90.0], 40.0) == 5.0
    assert accounts.peak([], 40.0) == 0.0


def test_a_clean_account_has_no_fault() -> None:
    assert account(*NOTHING_WRONG) == []
    assert account(*NOTHING_WRONG, (104.0, "history", 2)) == [], "twice with one key is no fault"
    assert account(*NOTHING_WRONG[:2], NOTHING_WRONG[3], gap=(2, 2, 1)) == []


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (account(*NOTHING_WRONG[:3]), "reports [3] of 4 are lost"),
        (account(*NOTHING_WRONG[:3], gap=(1, 2, 1)), "reports [3] of 4 are lost"),
        (account(*NOTHING_WRONG[:3], gap=(1, 4, 2)), "its gaps speak of 2"),
        (account(*NOTHING_WRONG, (104.0, "history", 5)), "[5] came and were never made"),
        (account(NOTHING_WRONG[0], *NOTHING_WRONG[2:], NOTHING_WRONG[1]), "history 2 came first"),
        (account(NOTHING_WRONG[0], gap=(2, 4, 3)), "gap 2 came first after the outage, not report 4"),
        (account(NOTHING_WRONG[0]), "had nothing to say after the outage"),
    ],
)
def test_the_account_sees(found: list[str], what: str) -> None:
    assert any(what in fault for fault in found), found
