"""What does one coherent round say? All probes at once, doubted, then explained, with extra looks where doubt is left.

The technician's one look is one examination; the daemon takes one whenever something seems wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from agent import runner, vantage
from agent.diagnosis import Explanation
from agent.diagnosis.early import enough
from agent.diagnosis.scene import DEGRADED, NETWORK, is_trouble
from agent.runner import Look
from probes.model import Memory, Probe, Status

if TYPE_CHECKING:
    from agent.texts import Language

Progress = Callable[[Sequence[Look], Sequence[Probe]], None]
"""Called after each answer with what is known and what is still awaited."""

QUICK_S = 1.2
"""A trouble told sooner than this rests on one packet and is looked at again; a time-out has tried for seconds."""
TRANSIENT = (*NETWORK, "interface")
FLEETING = ("usb",)


def unwatched(_done: Sequence[Look], _awaited: Sequence[Probe]) -> None:
    """Nobody is watching."""


class Recent(NamedTuple):
    """What is known besides: the newest looks at other probes, and extra looks of a moment ago, not taken anew.

    `before`: the newest looks at the probes themselves. `silent`: those that do not answer just now, as it seems.
    """

    beside: Sequence[Look] = ()
    extra: Sequence[Look] = ()
    before: Sequence[Look] = ()
    silent: frozenset[str] = frozenset()


NOTHING_RECENT = Recent()


class Findings(NamedTuple):
    """One look per probe, the extra ones that were taken to tell causes apart, and what explains them."""

    looks: list[Look]
    extra: list[Look]
    explanation: Explanation


def examine(
    probes: Sequence[Probe],
    memories: Mapping[str, Memory],
    language: Language,
    *,
    ends: float | None = None,
    progress: Progress = unwatched,
    recent: Recent = NOTHING_RECENT,
) -> Findings:
    """Look at `probes` until the monotonic instant `ends`. What is recent counts as well, while it tells anything."""
    ahead = _ahead(recent, language)
    taken = _look([*probes, *(each.probe for each in ahead.values())], memories, _left(ends), progress)
    looks = _doubt([found for found in taken if found.probe.name not in ahead], ends)
    known = [*recent.extra, *vantage.telling([found for found in taken if found.probe.name in ahead], ahead)]
    extra, explanation = vantage.explained([*looks, *recent.beside, *known], language, ends)
    explanation = _without(explanation, {found.probe.name for found in known})
    newer = {found.probe.name for found in extra}
    kept = [f for f in known if f.probe.name not in newer and f.probe.name in _named(explanation)]
    return Findings(looks, [*kept, *extra], explanation)


def _ahead(recent: Recent, language: Language) -> Mapping[str, vantage.Foreseen]:
    """The extra looks that will be wished for if who is silent stays so: taken now, they cost no extra time."""
    if not recent.silent:
        return {}
    return vantage.foreseen([*recent.before, *recent.beside, *recent.extra], recent.silent, language)


def _without(explanation: Explanation, names: set[str]) -> Explanation:
    """Nobody is told of an extra look that by now nothing explains."""
    told = tuple(each for each in explanation.diagnoses if not (names and names >= set(each.explains)))
    return replace(explanation, diagnoses=told) if len(told) < len(explanation.diagnoses) else explanation


def _named(explanation: Explanation) -> set[str]:
    """Every look that a diagnosis speaks of."""
    names = set[str]()
    for each in explanation.diagnoses:
        names.update(each.explains)
        names.update(clue.probe for clue in each.evidence)
        names.update(against.probe for against in each.ruled_out)
    return names


def _left(ends: float | None) -> float | None:
    return None if ends is None else ends - time.monotonic()


def _look(
    probes: Sequence[Probe], memories: Mapping[str, Memory], timeout: float | None, progress: Progress
) -> list[Look]:
    """Everything at once, until all have answered or the rest cannot change what is known."""
    looks: list[Look] = []
    awaited = {probe.name: probe for probe in probes}
    began = time.monotonic()
    certain: list[str] = []

    def settled() -> bool:
        cause = enough(looks, list(awaited.values()), time.monotonic() - began)
        certain[:] = [cause] if cause else []
        return bool(cause)

    answers = runner.look_at_all(probes, memories, timeout, settled)
    progress(looks, list(awaited.values()))  # draws, and so imports, while the probes already wait for the network
    for found in answers:
        looks.append(found)
        awaited.pop(found.probe.name, None)
        progress(looks, list(awaited.values()))
    return looks + [runner.not_awaited(probe, cause) for cause in certain for probe in awaited.values()]


def _doubt(looks: Sequence[Look], ends: float | None) -> list[Look]:
    """Trouble that was told at once is looked at once more: a resolver's hiccup or a lost packet is no cause.

    So is what may come and go between two looks: a terminal with a loose plug was perhaps just there.
    """
    doubtful = [f for f in looks if is_trouble(f) and f.probe.kind in TRANSIENT and f.duration < QUICK_S]
    poor = any(is_trouble(found) and found.observation.reason in DEGRADED for found in looks)
    fleeting = (*FLEETING, "gateway") if poor else FLEETING  # does the loss begin at the router already?
    doubtful += [
        found
        for found in looks
        if found.probe.kind in fleeting and found not in doubtful and found.observation.status is not Status.FAIL
    ]
    left = _left(ends)
    proven = any(f.observation.measurements.get("conflicting_address") and is_trouble(f) for f in looks)
    if proven or not doubtful or (left is not None and left < QUICK_S):
        return list(looks)
    memories = {found.probe.name: found.observation.memory for found in doubtful}
    again = {f.probe.name: f for f in runner.look_at_all([found.probe for found in doubtful], memories, left)}
    return [_together(found, again.get(found.probe.name)) for found in looks]


def _together(first: Look, second: Look | None) -> Look:
    """The second look, unless it could not look."""
    if second is None or second.observation.status is Status.UNKNOWN:
        return first
    return second
