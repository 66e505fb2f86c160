"""What was made against what came: is anything lost, twice, in the wrong order, or all at once?"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.lab.fleet.receivers import Arrival
from tests.lab.fleet.scene import names

REPORT, GAP, INCIDENT = "posagent.report/1", "posagent.gap/1", "posagent.incident/1"
NEWEST = {"https": "report", "mqtt": "health"}
TENTHS = 10


@dataclass
class Made:
    """What one till said."""

    reports: dict[int, float] = field(default_factory=dict)
    """When, by seq."""
    sizes: list[int] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)


def made(home: Path) -> dict[str, Made]:
    """By till, as it was written down before it left."""
    found: dict[str, Made] = defaultdict(Made)
    for path in sorted(home.glob("made-*.jsonl")):
        for line in path.read_text().splitlines():
            kind, number, what, at, *more = json.loads(line)
            one = found["/".join(names(number))]
            if kind == "report":
                one.reports[what] = at
                one.sizes.append(more[0])
            else:
                one.incidents.append(f"{what} {more[0]}")
    return dict(found)


@dataclass
class Account:
    """One way's."""

    way: str
    faults: list[str] = field(default_factory=list)
    arrived: int = 0
    reports: int = 0
    doubles: int = 0
    gaps: int = 0
    in_gaps: int = 0
    incidents: int = 0
    first_contacts: list[float] = field(default_factory=list)
    """Seconds after the receivers came back."""
    history: list[float] = field(default_factory=list)

    disordered: int = 0
    """Tills whose older reports did not come oldest first: one that fails lets the next ones pass."""

    def wrong(self, what: str) -> None:
        self.faults.append(f"{self.way}: {what}")


def settle(way: str, back: float, told: dict[str, Made], came: Sequence[Arrival]) -> Account:
    """Hold one receiver's book against those of all tills."""
    account = Account(way, arrived=len(came))
    by_till: dict[str, list[Arrival]] = defaultdict(list)
    for one in came:
        if one.wrong:
            account.wrong(f"{one.till} {one.topic}: {one.wrong}")
        by_till[one.till].append(one)
    for stranger in by_till.keys() - told.keys():
        account.wrong(f"{stranger} made nothing and is heard")
    for till, made_here in told.items():
        mine = by_till.get(till, [])
        _count(account, till, made_here, mine)
        _order(account, till, made_here, mine, back)
        if way == "mqtt":
            _incidents(account, till, made_here, mine)
    return account


def _count(account: Account, till: str, made_here: Made, mine: list[Arrival]) -> None:
    keys: dict[int, set[str]] = defaultdict(set)
    gaps: dict[str, Arrival] = {}
    for one in mine:
        if one.schema == REPORT:
            keys[one.seq].add(one.key)
        elif one.schema == GAP:
            gaps[one.key] = one
    for seq, found in keys.items():
        if len(found) > 1:
            account.wrong(f"{till}: report {seq} came with {len(found)} keys")
    account.reports += len(keys)
    account.doubles += sum(count - 1 for key, count in Counter(one.key for one in mine).items() if key)
    missing = made_here.reports.keys() - keys.keys()
    if extra := keys.keys() - made_here.reports.keys():
        account.wrong(f"{till}: reports {sorted(extra)} came and were never made")
    named = [seq for seq in missing if any(gap.seq <= seq <= gap.to_seq for gap in gaps.values())]
    if len(named) < len(missing):
        account.wrong(f"{till}: reports {sorted(missing - set(named))} of {len(made_here.reports)} are lost, in no gap")
    if (said := sum(gap.lost for gap in gaps.values())) != len(missing):
        account.wrong(f"{till}: {len(missing)} reports are missing, its gaps speak of {said}")
    account.gaps += len(gaps)
    account.in_gaps += len(missing)


def _order(account: Account, till: str, made_here: Made, mine: list[Arrival], back: float) -> None:
    """The newest first, and what is older in order."""
    after = [one for one in mine if one.at >= back]
    if account.way == "mqtt":  # before that come messages which the broker had already
        at = next((count for count, one in enumerate(after) if one.topic == "status" and one.what == "online"), None)
        if at is None:
            account.wrong(f"{till} never came back")
            return
        account.first_contacts.append(after[at].at - back)
        after = [one for one in after[at:] if one.topic != "status"]
    elif after:
        account.first_contacts.append(after[0].at - back)
    if not after:
        account.wrong(f"{till} had nothing to say after the outage")
        return
    newest = max((seq for seq, at in made_here.reports.items() if at <= back), default=0)
    if after[0].topic != NEWEST[account.way] or after[0].seq < newest:
        account.wrong(f"{till}: {after[0].topic} {after[0].seq} came first after the outage, not report {newest}")
    seqs = list(dict.fromkeys(one.seq for one in after if one.topic == "history"))  # one may come again, later
    account.history += [one.at - back for one in after if one.topic == "history"]
    account.disordered += seqs != sorted(seqs)


def _incidents(account: Account, till: str, made_here: Made, mine: list[Arrival]) -> None:
    arrived = list(dict.fromkeys(one.what for one in mine if one.schema == INCIDENT))
    account.incidents += len(arrived)
    lost = sum(one.lost_incidents for one in {one.key: one for one in mine if one.schema == GAP}.values())
    kept = iter(made_here.incidents)
    if not all(any(what == other for other in kept) for what in arrived):
        account.wrong(f"{till}: of its incidents came {arrived}, what happened is {made_here.incidents}")
    if len(arrived) + lost != len(made_here.incidents):
        account.wrong(
            f"{till}: {len(made_here.incidents)} things happened to incidents, {len(arrived)} came, {lost} are in gaps"
        )


def tenths(moments: Iterable[float], window: float) -> list[int]:
    """How many fall into each tenth of the window; the last number is of those that came later."""
    found = [0] * (TENTHS + 1)
    for moment in moments:
        found[min(TENTHS, max(0, int(moment / window * TENTHS)))] += 1
    return found


def peak(moments: Sequence[float], splay_s: float) -> float:
    """The fullest tenth of a splay, whenever it was, against one tenth of all of them."""
    counts = Counter(int(moment / splay_s * TENTHS) for moment in moments)
    return max(counts.values(), default=0) * TENTHS / max(1, len(moments))


def retained(told: dict[str, Made], found: dict[tuple[str, str], bytes]) -> list[str]:
    """What the broker would tell a newcomer, against the newest of each till."""
    faults = []
    for till, made_here in told.items():
        body = found.get((till, "health"))
        seq = msgspec.json.decode(body)["seq"] if body else 0
        if seq != max(made_here.reports):
            faults.append(f"retained: the broker holds report {seq} of {till}, its newest is {max(made_here.reports)}")
    return faults + [f"retained: {topic} of {till}" for till, topic in found if topic not in ("health", "status")]


def histogram(title: str, counts: Sequence[int], unit_s: float) -> str:
    """To be looked at."""
    fair = max(1.0, sum(counts) / TENTHS)
    lines = [f"{title} ({sum(counts)}; a fair tenth is {fair:.0f})"]
    for at, count in enumerate(counts):
        name = f"{at * unit_s:5.1f} s" if at < TENTHS else "  later"
        lines.append(f"  {name} {count:6} {'#' * round(20 * count / fair)}")
    return "\n".join(lines)
