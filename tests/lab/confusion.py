"""Does diagnosis name what was broken? `python -m tests.lab.confusion [--rounds N] [--only REGEX] [--write]` (as root).

Every fault and every healthy variant of the lab is made in turn, and `posagent check --json` runs in the till, as a
technician would run it. What it says is held against what was broken. `--write` puts the table into docs/diagnosis.md.
Beside it stands what Debian's monitoring-plugins say about the same targets, all started at once.

Ends with 1 where fewer than 95 % of the faults have the right cause named first, 98 % the right party, or where a
healthy variant has a diagnosis.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from tests.lab.conftest import SYSTEM_PATH
from tests.lab.faults import PARTIES, Expected, Fault
from tests.lab.healthy import Variant
from tests.lab.store import A_AUTH, A_BATCH, B_AUTH, B_BATCH, ROUTER, TERMINAL, TIME, TMS, Store
from tests.lab.wider import FAULTS, VARIANTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "diagnosis.md"
MARK = "<!-- the table below is written by `python -m tests.lab.confusion --rounds 3 --write` -->\n"
CHECK = (sys.executable, "-m", "agent", "check", "--json")
ENOUGH_CAUSE, ENOUGH_PARTY, ENOUGH_HEALTHY = 95.0, 98.0, 100.0
PLUGINS = "/usr/lib/nagios/plugins"
PLUGIN_TIMEOUT_S = 3


@dataclass(frozen=True)
class Outcome:
    """One case, looked at once."""

    case: Fault | Variant
    report: dict[str, Any]
    seconds: float
    plugins: tuple[int, int, float] = (0, 0, 0.0)
    """Red lines, all lines, seconds."""
    problems: tuple[str, ...] = field(default=())

    @property
    def causes(self) -> list[str]:
        """Every cause named, in order."""
        return [each["cause"] for each in self.report["diagnosis"]]

    @property
    def strays(self) -> list[str]:
        """Causes that nobody expected."""
        expected = self.case.expected if isinstance(self.case, Fault) else ()
        return [each["cause"] for each in self.report["diagnosis"] if not any(answers(each, one) for one in expected)]


def look(store: Store, case: Fault | Variant) -> Outcome:
    """Run one check in the till. The fault is on already."""
    began = time.monotonic()
    done = store.run_in_till(CHECK)
    seconds = time.monotonic() - began
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"{case.name}: no report (exit {done.returncode}): {done.stdout}{done.stderr}") from None
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text())
    jsonschema.validate(report, schema)
    problems = tuple(wrongs(case, report))
    return Outcome(case, report, seconds, problems=problems)


def wrongs(case: Fault | Variant, report: dict[str, Any]) -> Iterator[str]:
    """What is wrong with this report, a line each: cause, party, verdict."""
    said = report["diagnosis"]
    if isinstance(case, Variant):
        yield from (f"cause: {each['cause']} named where all is well" for each in said)
        if report["verdict"]["payments"] != "ready":
            yield f"verdict: {report['verdict']['payments']}, not ready"
        return
    for one in case.expected:
        if not any(answers(each, one) for each in said):
            known = ", ".join(f"{each['cause']} (or {each['alternatives']})" for each in said)
            yield f"cause: {one.cause} (or {list(one.alternatives)}) is not named, but {known or 'nothing'}"
    if said and not any(answers(said[0], one) for one in may_be_first(case)):
        yield f"cause: {said[0]['cause']} is named first"
    if not said or said[0]["party"] not in parties(case):
        yield f"party: {said[0]['party'] if said else 'nobody'}, not {' or '.join(sorted(parties(case)))}"
    if report["verdict"]["payments"] not in case.payments:
        yield f"verdict: {report['verdict']['payments']}, not {' or '.join(case.payments)}"


def answers(said: dict[str, Any], expected: Expected) -> bool:
    """A diagnosis is right when it names the cause, or one that looks the same; and then all others beside it."""
    alike = {expected.cause, *expected.alternatives}
    return said["cause"] in alike and alike - {said["cause"]} <= set(said["alternatives"])


def may_be_first(case: Fault) -> list[Expected]:
    """The first of two, and the second where both stop payments: then neither outranks the other."""
    parts = [FAULTS[name] for name in case.name.split("+") if name in FAULTS]
    stops = [one for part in parts if "down" in part.payments for one in part.expected]
    return [case.expected[0], *(one for one in case.expected[1:] if case.expected[0] in stops and one in stops)]


def parties(case: Fault) -> set[str]:
    """Whom the first diagnosis may send for: whoever mends what may be named first."""
    causes = [cause for one in may_be_first(case) for cause in (one.cause, *one.alternatives)]
    return {PARTIES.get(cause) or PARTIES[cause.split(".")[0]] for cause in causes}


def red_list(store: Store) -> tuple[int, int, float]:
    """What monitoring-plugins say of the same targets: lines that are not OK, all lines, seconds until the last one."""
    feed = store.run / "plugins"
    feed.write_text("\n".join(plugin_lines(store)) + "\n")
    each = 'said=$(eval "$1" 2>&1); echo "$? $(echo "$said" | head -n 1)"'
    began = time.monotonic()
    done = store.run_in_till(["xargs", "-a", str(feed), "-d", "\\n", "-P", "0", "-n", "1", "sh", "-c", each, "sh"])
    seconds = time.monotonic() - began
    codes = [line.split(" ", 1)[0] for line in done.stdout.splitlines()]
    return sum(code != "0" for code in codes), len(codes), seconds


def plugin_lines(store: Store) -> list[str]:
    """One command per probe of the till's configuration for which there is a plugin."""
    wait = f"-t {PLUGIN_TIMEOUT_S}"
    pairs = [(A_AUTH, 443), (A_AUTH, 8443), (A_BATCH, 443), (B_AUTH, 443)]
    tls = [f"check_http -S --sni -H {host} -p {port} -C 30 {wait}" for host, port in pairs]
    tcp = [f"check_tcp -H {host} -p 9000 {wait}" for host in (A_BATCH, B_BATCH)]
    anchors = [f"check_tcp -H 203.0.113.{number} -p {port} {wait}" for number, port in ((31, 443), (32, 443), (33, 53))]
    words = [
        f"check_ping -H {store.lan.host(ROUTER)} -w 100,20% -c 500,60% -p 5 {wait}",
        f"check_ping -H 203.0.113.31 -w 300,20% -c 800,60% -p 5 {wait}",
        f"check_ntp_time -H {TIME} -w 30 -c 60 {wait}",
        f"check_tcp -H {store.lan.host(TERMINAL)} -p 8443 {wait}",
        f"check_http -H {TMS} -u /health {wait}",
        "check_http -H portal.example -u /generate_204 -e 204 " + wait,
        f"check_disk -w 10% -c 5% -p {shlex.quote(str(store.run / 'disk'))} {wait}",
        f"check_procs -c 1: -C {store.pos_name} {wait}",
        f"check_ups -H 127.0.0.1 -u till {wait}",
        f"check_file_age -w 172800 -c 172800 -W 0 -C 0 -f {shlex.quote(str(store.run / 'settlement.json'))}",
        *tls,
        *tcp,
        *anchors,
    ]
    return [f"{PLUGINS}/{one}" for one in words]


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Totals:
    """Shares in percent."""

    cause: float
    party: float
    verdict: float
    healthy: float
    strays: int

    @property
    def suffice(self) -> bool:
        """As good as promised."""
        return self.cause >= ENOUGH_CAUSE and self.party >= ENOUGH_PARTY and self.healthy >= ENOUGH_HEALTHY


def totals(outcomes: Sequence[Outcome]) -> Totals:
    """Count all rounds together."""
    faults = [one for one in outcomes if isinstance(one.case, Fault)]
    healthy = [one for one in outcomes if isinstance(one.case, Variant)]

    def share(what: str, among: Sequence[Outcome]) -> float:
        good = sum(not any(line.startswith(what) for line in one.problems) for one in among)
        return 100.0 * good / len(among) if among else 100.0

    return Totals(
        share("cause", faults),
        share("party", faults),
        share("verdict", faults),
        share("cause", healthy),
        sum(bool(one.strays) for one in faults),
    )


def table(outcomes: Sequence[Outcome], rounds: int) -> str:
    """The whole result as Markdown."""
    sums = totals(outcomes)
    faults, healthy = by_case(outcomes, Fault), by_case(outcomes, Variant)
    found = sorted(statistics_of(faults))
    lines = [
        f"{len(faults)} faults and {len(healthy)} healthy variants, {rounds} round{'s' if rounds > 1 else ''} in a row:",
        "",
        "| | share | asked for |",
        "|---|---|---|",
        f"| the cause named first is right | {sums.cause:.1f} % | {ENOUGH_CAUSE:.0f} % |",
        f"| the party sent for is right | {sums.party:.1f} % | {ENOUGH_PARTY:.0f} % |",
        f"| the verdict is right | {sums.verdict:.1f} % | |",
        f"| healthy variants without a diagnosis | {sums.healthy:.1f} % | {ENOUGH_HEALTHY:.0f} % |",
        f"| checks of a fault that named a cause too many | {sums.strays} of {sum(map(len, faults))} | |",
        f"| median seconds to the verdict | {found[len(found) // 2]:.1f} | |" if found else "",
        "",
        "| fault | expected | found first | right | party | verdict | confidence | alternatives | s | red list |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(fault_line(group) for group in faults),
        "",
        "| healthy variant | diagnosis | verdict | s | red list |",
        "|---|---|---|---|---|",
        *(healthy_line(group) for group in healthy),
    ]
    return "\n".join(lines) + "\n"


def statistics_of(groups: Sequence[Sequence[Outcome]]) -> list[float]:
    """The seconds of every check."""
    return [one.seconds for group in groups for one in group]


def by_case(outcomes: Sequence[Outcome], what: type) -> list[list[Outcome]]:
    """The rounds of each case together."""
    grouped: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if isinstance(one.case, what):
            grouped.setdefault(one.case.name, []).append(one)
    return list(grouped.values())


def fault_line(group: Sequence[Outcome]) -> str:
    """One fault over all rounds: what was said last, and how often it was right."""
    case, last = group[0].case, group[-1]
    assert isinstance(case, Fault)
    first = last.report["diagnosis"][0] if last.causes else {}
    good = sum(not one.problems for one in group)
    also = last.causes[1:]
    named = (first.get("cause") or "nothing") + (f" · then {', '.join(also)}" if also else "")
    red, every, plugin_s = group[0].plugins
    cells = (
        f"`{case.name}` {case.title}",
        " + ".join(one.cause for one in case.expected),
        named,
        "yes" if good == len(group) else f"{good} of {len(group)}",
        first.get("party", ""),
        last.report["verdict"]["payments"],
        first.get("confidence", ""),
        ", ".join(first.get("alternatives", ())),
        seconds_of(group),
        f"{red} of {every} lines, {plugin_s:.1f} s" if every else "",
    )
    return f"| {' | '.join(cells)} |"


def healthy_line(group: Sequence[Outcome]) -> str:
    """One healthy variant over all rounds."""
    last = group[-1]
    named = ", ".join(sorted({cause for one in group for cause in one.causes})) or "none"
    red, every, plugin_s = group[0].plugins
    words = f"{red} of {every} lines, {plugin_s:.1f} s" if every else ""
    return (
        f"| `{last.case.name}` {last.case.title} | {named} | {last.report['verdict']['payments']} "
        f"| {seconds_of(group)} | {words} |"
    )


def seconds_of(group: Sequence[Outcome]) -> str:
    """The median."""
    return f"{sorted(one.seconds for one in group)[len(group) // 2]:.1f}"


# --- the command ------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run, tell, perhaps write."""
    words = argparse.ArgumentParser(prog="python -m tests.lab.confusion", description=__doc__)
    words.add_argument("--rounds", type=int, default=1)
    words.add_argument("--only", default="", metavar="REGEX", help="cases whose name matches")
    words.add_argument("--write", action="store_true", help="write docs/diagnosis.md")
    words.add_argument("--no-plugins", action="store_true", help="do not run monitoring-plugins beside it")
    words.add_argument("--keep", type=Path, metavar="DIR", help="keep every report there")
    asked = words.parse_args()
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    cases: list[Fault | Variant] = [*FAULTS.values(), *VARIANTS.values()]
    cases = [case for case in cases if re.search(asked.only, case.name)]
    outcomes: list[Outcome] = []
    with Store() as store:
        store.run_in_till(CHECK)  # compiles, and warms what every till has warm
        for number in range(asked.rounds):
            for case in cases:
                outcomes.append(one_case(store, case, plugins=number == 0 and not asked.no_plugins))
                tell(outcomes[-1])
                if asked.keep:
                    asked.keep.mkdir(parents=True, exist_ok=True)
                    (asked.keep / f"{case.name}.{number}.json").write_text(json.dumps(outcomes[-1].report, indent=1))
    text = table(outcomes, asked.rounds)
    if asked.write:
        head = PAGE.read_text().partition(MARK)[0]
        PAGE.write_text(f"{head}{MARK}\n{text}")
    print(text)
    return 0 if totals(outcomes).suffice else 1


def one_case(store: Store, case: Fault | Variant, *, plugins: bool) -> Outcome:
    """Break, look, mend."""
    with store.fault(case):
        seen = look(store, case)
        if plugins:
            seen = Outcome(seen.case, seen.report, seen.seconds, red_list(store), seen.problems)
    return seen


def tell(outcome: Outcome) -> None:
    """One line on stderr while it runs."""
    state = "WRONG " + "; ".join(outcome.problems) if outcome.problems else "right"
    if outcome.strays and not outcome.problems:
        state = f"right, and {', '.join(outcome.strays)} too many"
    print(f"{outcome.case.name:44} {outcome.seconds:5.1f} s  {state}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
