"""A kind for the tests of the configuration that never has more than one target."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from probes.model import Kind, Settings, Text, ok


class SingleSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One setting of its own."""

    unit: Annotated[Text, Meta(description="what to look at")] = "all"


KIND: Kind[SingleSettings, None] = Kind(
    name="single",
    summary="a kind for tests with one setting",
    settings=SingleSettings,
    read=lambda settings, host: None,
    judge=lambda settings, reading, memory: ok({}),
    target=lambda settings: settings.unit,
    reasons={},
)
