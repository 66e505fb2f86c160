"""How does a technician's one look go? All probes at once, doubted, remembered, explained, weighed, rendered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent import rendering, store, vantage, verdict
from agent.advice import site_of
from agent.examination import Progress, examine, unwatched
from agent.places import terminals
from agent.report import Report
from agent.runner import Look
from probes.model import Probe

if TYPE_CHECKING:
    from agent.config import Config
    from agent.texts import Language


def check(
    config: Config,
    probes: Sequence[Probe],
    language: Language,
    timeout: float | None = None,
    progress: Progress = unwatched,
) -> Report:
    """Look once at `probes` and return the report. `timeout` (seconds) bounds the whole run. Keeps memory if it can."""
    started_at, problems = time.time(), list[str]()
    ends = time.monotonic() + timeout if timeout is not None else None
    state = _open(problems)
    found = examine(probes, _memories(state, problems), language, ends=ends, progress=progress)
    seq = _keep(state, found.looks, problems)
    looks = vantage.merged(found.looks, found.extra)
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
        terminals=terminals(looks, {}),
        **rendering.circumstances_of_this_machine(),
    )
    return rendering.render(looks, verdict.decide(looks, found.explanation.harmless), about, found.explanation)


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
