"""Which probes does a configuration come to, every default filled in?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from agent.config import typed
from agent.config.model import Config
from agent.config.targets import parse_target
from probes import registry
from probes.model import Kind, Probe, Settings


def probes_of(config: Config) -> tuple[Probe, ...]:
    """Every enabled probe. A table with `targets` comes to one per target, named `NAME/TARGET`.

    `role` stays None where the table names none: whether a target lies on the LAN is only known while running. So does
    `needs`: what a probe stands on follows from its kind and the route to its target. Needs that are switched off are
    left out, and a need with several targets means all of them.
    """
    tables = {
        name: _expand(name, in_the_stores_zone(settings, config))
        for name, settings in config.probes.items()
        if settings.enabled
    }
    members = {name: tuple(settings) for name, settings in tables.items()}
    return tuple(
        _probe(config, probe_name, name, settings, members)
        for name, table in tables.items()
        for probe_name, settings in table.items()
    )


def in_the_stores_zone(settings: Settings, config: Config) -> Settings:
    """Deadlines and times of a kind that knows time zones are the store's, unless the probe names another."""
    if config.site.timezone is None or getattr(settings, "timezone", "") is not None:
        return settings
    return msgspec.structs.replace(settings, timezone=config.site.timezone)


def _expand(name: str, settings: Any) -> dict[str, Settings]:
    targets = getattr(settings, "targets", None)
    if not targets:
        return {name: settings}
    none = next(typed.default_of(info) for info in typed.fields(type(settings)) if info.name == "targets")
    expanded = {}
    for text in targets:
        target = parse_target(text, settings.port)
        if target is None:
            raise ValueError(f"not a target: {text}")
        expanded[f"{name}/{text}"] = msgspec.structs.replace(settings, host=target[0], port=target[1], targets=none)
    return expanded


def _probe(
    config: Config, probe_name: str, name: str, settings: Settings, members: Mapping[str, tuple[str, ...]]
) -> Probe:
    kind: Kind[Any, Any] = registry.find(settings.kind)
    schedule = config.schedule
    target = probe_name.removeprefix(name).removeprefix("/")
    return Probe(
        name=probe_name,
        kind=settings.kind,
        settings=settings,
        label=f"{settings.label} {target}".rstrip() if settings.label else probe_name,
        target=kind.target(settings),
        impact=settings.impact or kind.impact,
        interval=settings.interval or kind.interval or schedule.interval,
        timeout=settings.timeout or kind.timeout or schedule.timeout,
        fail_after=settings.fail_after or schedule.fail_after,
        recover_after=settings.recover_after or schedule.recover_after,
        needs=None if settings.needs is None else tuple(dict.fromkeys(_needs(settings.needs, members))),
        role=getattr(settings, "role", None),
    )


def _needs(needs: tuple[str, ...], members: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for need in needs:
        base = need.partition("/")[0]
        if need in members:
            yield from members[need]
        elif need in members.get(base, ()):
            yield need
