"""How does a technician's one look go? All probes at once, doubted, remembered, explained, weighed, rendered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent import rendering, runner, store, vantage, verdict
from agent.advice import site_of
from agent.diagnosis.early import enough
from agent.diagnosis.scene import DEGRADED, NETWORK, is_trouble
from agent.report import Report
from agent.runner import Look
from probes.model import Probe, Status

if TYPE_CHECKING:
    from agent.config import Config
    from agent.texts import Language

Progress = Callable[[Sequence[Look], Sequence[Probe]], None]
"""Called after each answer with what is known and what is still awaited."""

QUICK_S = 1.2
"""A trouble told sooner than this rests on one packet and is looked at again; a time-out has tried for seconds."""
TRANSIENT = (*NETWORK, "interface")
FLEETING = ("usb",)


def check(
    config: Config,
    probes: Sequence[Probe],
    language: Language,
    timeout: float | None = None,
    progress: Progress = lambda _done, _awaited: None,
) -> Report:
    """Look once at `probes` and return the report. `timeout` (seconds) bounds the whole run. Keeps memory if it can."""
    started_at, problems = time.time(), list[str]()
    ends = time.monotonic() + timeout if timeout is not None else None
    state = _open(problems)
    looks = _look(probes, _memories(state, problems), timeout, progress)
    looks = _doubt(looks, ends)
    seq = _keep(state, looks, problems)
    extra, explained = vantage.explained(looks, language, ends)
    looks = vantage.merged(looks, extra)
    about = rendering.Circumstances(
        seq=seq,
        mode="check",
        started_at=started_at,
        problems=problems,
        config_sha256=config.sha256,
        store=config.site.store,
        terminal=config.site.terminal,
        tags=config.site.tags,
        contacts={str(party): contact for party, contact in config.contacts.items()},
        site_advice=site_of(config),
        language=language,
        **rendering.circumstances_of_this_machine(),
    )
    return rendering.render(looks, verdict.decide(looks, explained.harmless), about, explained)


def _look(
    probes: Sequence[Probe], memories: Mapping[str, Any], timeout: float | None, progress: Progress
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
    left = None if ends is None else ends - time.monotonic()
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


def _open(problems: list[str]) -> store.Store | None:
    try:
        state = store.Store(store.directory() / "state.sqlite")
    except store.StoreError as error:
        problems.append(f"{error}; growth since the last look (errors, reconnections, issuers) is not seen")
        return None
    problems.extend(state.problems)
    return state


def _memories(state: store.Store | None, problems: list[str]) -> Mapping[str, Any]:
    try:
        return state.memories() if state else {}
    except store.StoreError as error:
        problems.append(str(error))
        return {}


def _keep(state: store.Store | None, looks: Sequence[Look], problems: list[str]) -> int:
    if state is None:
        return 0
    try:
        seq = state.next_seq()
        state.remember({found.probe.name: found.observation.memory for found in looks if found.observation.memory})
    except store.StoreError as error:
        problems.append(str(error))
        return 0
    finally:
        state.close()
    return seq
