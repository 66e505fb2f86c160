"""A till for tests of what the daemon believes: its probes, its looks by hand, and a clock that only the test moves."""

from __future__ import annotations

from dataclasses import replace

from agent.diagnosis import Diagnosis, explain
from agent.examination import Findings
from agent.incidents import Change, Incident
from agent.knowledge import Knowledge, Rules
from agent.runner import Look
from probes.model import Probe, Role
from tests.agent.looks import look

NOON = 1_760_000_000.0


def describe(found: Diagnosis) -> tuple[str, str]:
    return f"title of {found.cause}", f"print of {found.cause}"


class Till:
    """A till of these probes, each `NAME KIND`, and a clock that only the test moves."""

    def __init__(self, *lines: str, rules: Rules | None = None) -> None:
        self.now = NOON
        self.ids = 0
        self.probes = {probe.name: probe for probe in map(probe_of, lines)}
        self.known = self.another_life(rules or Rules())

    def another_life(self, rules: Rules) -> Knowledge:
        return Knowledge(dict(self.probes), describe, self.new_id, rules)

    def new_id(self, _now: float) -> str:
        self.ids += 1
        return f"i{self.ids}"

    def look(self, name: str, status: str = "ok", reason: str = "ok", **facts: str | float) -> Look:
        made = look(name, self.probes[name].kind, status, reason, dict(facts))
        return Look(self.probes[name], made.observation, self.now, 0.1)

    def see(self, name: str, status: str = "ok", reason: str = "ok", *, times: int = 1, **facts: str | float) -> None:
        for _ in range(times):
            self.now += 1
            self.known.take(self.look(name, status, reason, **facts))

    def examine(self, *looks: Look, valid: bool = True) -> list[Change]:
        """One examination that saw these and the newest looks of all others."""
        seen = [*looks, *self.known.beside(found.probe for found in looks)]
        return self.known.examined(Findings(list(looks), [], explain(seen, {})), self.now, valid=valid)

    def confirm(self, name: str, status: str = "fail", reason: str = "port.timeout") -> Incident:
        """Trouble, up to its incident."""
        self.see(name, status, reason, times=3)
        for _ in range(2):
            self.now += 1
            self.examine(self.look(name, status, reason))
        return next(each for each in self.known.book.open if name in each.probes)


def probe_of(line: str) -> Probe:
    name, kind, *role = line.split()
    return replace(look(name, kind, "ok").probe, role=Role(role[0]) if role else None)
