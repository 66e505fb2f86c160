"""Kinds of probe that behave as badly as a third party's can, for tests of the runner and the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from probes import registry
from probes.host import Host
from probes.model import Impact, Kind, Memory, Observation, Probe, Role, Seconds, Settings, ok


def make_kind(
    name: str, read: Callable[[Any, Host], Any], judge: Callable[..., Observation] | None = None
) -> Kind[Any, Any]:
    def well(_settings: Settings, reading: Any, _memory: Memory) -> Observation:
        return ok({"reading": str(reading)})

    return Kind(
        name=name,
        summary="a kind for tests",
        settings=Settings,
        read=read,
        judge=judge or well,
        target=lambda _settings: "here",
        reasons={},
    )


def make_probe(
    name: str, kind: str, *, timeout: float = 0.3, impact: Impact = Impact.STOP, role: Role | None = None
) -> Probe:
    return Probe(
        name=name,
        kind=kind,
        settings=Settings(kind=kind),
        label=name,
        target="here",
        impact=impact,
        interval=Seconds(30),
        timeout=Seconds(timeout),
        fail_after=3,
        recover_after=2,
        needs=None,
        role=role,
    )


def teach(monkeypatch: pytest.MonkeyPatch, *kinds: Kind[Any, Any]) -> None:
    """Make these kinds known to the registry for one test."""
    known = {kind.name: kind for kind in kinds}
    real = registry.find
    monkeypatch.setattr(registry, "find", lambda name: known[name] if name in known else real(name))


def sleep_for(seconds: float) -> Callable[[Any, Host], str]:
    def read(_settings: Settings, _host: Host) -> str:
        time.sleep(seconds)
        return f"slept {seconds}"

    return read


def raising(error: BaseException) -> Callable[[Any, Host], str]:
    def read(_settings: Settings, _host: Host) -> str:
        raise error

    return read
