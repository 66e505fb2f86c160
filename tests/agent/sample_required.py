"""A kind for the tests of the configuration, with a setting that must be set and no port of its own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from probes.model import Kind, Port, Settings, Text
from tests.agent.sample import judge


class RequiredSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One setting has no default."""

    unit: Annotated[Text, Meta(description="what must be named")]
    host: Text | None = None
    port: Port | None = None
    targets: tuple[Text, ...] = ()


KIND: Kind[RequiredSettings, None] = Kind(
    name="required",
    summary="a kind for tests that wants one setting",
    settings=RequiredSettings,
    read=lambda settings, host: None,
    judge=lambda settings, reading, memory: judge(None, reading, memory),  # type: ignore[arg-type]
    target=lambda settings: settings.unit,
    timeout=None,
    reasons={},
    example={"unit": "pos.service"},
)
