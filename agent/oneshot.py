"""How does a technician's one look go? All probes at once, weighed, remembered, rendered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent import report, runner, store, verdict
from agent.report import Report
from agent.runner import Look
from probes.model import Probe

if TYPE_CHECKING:
    from agent.config import Config
    from agent.texts import Language

Progress = Callable[[Sequence[Look], Sequence[Probe]], None]
"""Called after each answer with what is known and what is still awaited."""


def check(
    config: Config,
    probes: Sequence[Probe],
    language: Language,
    timeout: float | None = None,
    progress: Progress = lambda _done, _awaited: None,
) -> Report:
    """Look once at `probes` and return the report. `timeout` (seconds) bounds the whole run. Keeps memory if it can."""
    started_at, problems = time.time(), list[str]()
    state = _open(problems)
    looks = _look(probes, state.memories() if state else {}, timeout, progress)
    seq = _keep(state, looks, problems)
    about = report.Circumstances(
        seq=seq,
        mode="check",
        started_at=started_at,
        problems=problems,
        config_sha256=config.sha256,
        store=config.site.store,
        terminal=config.site.terminal,
        tags=config.site.tags,
        language=language,
        **report.circumstances_of_this_machine(),
    )
    return report.render(looks, verdict.decide(looks), about)


def _look(
    probes: Sequence[Probe], memories: Mapping[str, Any], timeout: float | None, progress: Progress
) -> list[Look]:
    looks: list[Look] = []
    awaited = {probe.name: probe for probe in probes}
    answers = runner.look_at_all(probes, memories, timeout)
    progress(looks, list(awaited.values()))  # draws, and so imports, while the probes already wait for the network
    for found in answers:
        looks.append(found)
        awaited.pop(found.probe.name, None)
        progress(looks, list(awaited.values()))
    return looks


def _open(problems: list[str]) -> store.Store | None:
    try:
        state = store.Store(store.directory() / "state.sqlite")
    except store.StoreError as error:
        problems.append(f"{error}; growth since the last look (errors, reconnections, issuers) is not seen")
        return None
    problems.extend(state.problems)
    return state


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
