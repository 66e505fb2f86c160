"""A kind for the tests of the configuration, with a setting of every sort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from agent.config.secret import Secret
from probes.host import Host
from probes.model import (
    HostName,
    Impact,
    Kind,
    Memory,
    NetworkSettings,
    Observation,
    PathText,
    Pattern,
    Percent,
    Port,
    Seconds,
    Text,
    Url,
    ok,
)


class SampleSettings(NetworkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A setting of every sort."""

    host: Annotated[HostName | None, Meta(description="where to")] = None
    port: Annotated[Port, Meta(description="which port")] = 443
    targets: Annotated[tuple[Text, ...], Meta(description="several at once")] = ()
    url: Annotated[Url | None, Meta(description="what to fetch")] = None
    path: Annotated[PathText, Meta(description="what to read")] = "/"
    count: Annotated[int, Meta(ge=1, description="how many")] = 3
    weight: Annotated[float, Meta(gt=0, description="how much")] = 1.5
    level: Annotated[int, Meta(le=0, description="how deep")] = 0
    ratio: Annotated[Percent, Meta(description="what part")] = 50
    flag: Annotated[bool, Meta(description="whether at all")] = False
    mode: Annotated[Literal["json", "csv"], Meta(description="in which form")] = "json"
    max_time: Annotated[Seconds, Meta(description="how long")] = Seconds(1)
    match: Annotated[Pattern | None, Meta(description="what to look for")] = None
    token: Annotated[Secret | None, Meta(description="what nobody may see")] = None
    access_key: Annotated[Text | None, Meta(description="what nobody should write here")] = None
    command: Annotated[tuple[Text, ...], Meta(description="what to run", max_length=4)] = ()
    limits: Annotated[dict[str, int], Meta(description="how much of each")] = {}  # noqa: RUF012 - msgspec copies it
    expect: Annotated[str | int, Meta(description="one or the other")] = ""


def problems(settings: SampleSettings) -> Iterator[tuple[str, str]]:
    if settings.host and settings.targets:
        yield "host", "expected either host or targets, not both"
    if not settings.host and not settings.targets:
        yield "host", "expected host, or targets"


def read(_settings: SampleSettings, _host: Host) -> None:
    return None


def judge(_settings: SampleSettings, _reading: None, _memory: Memory) -> Observation:
    return ok({})


KIND = Kind(
    name="sample",
    summary="a kind for tests",
    settings=SampleSettings,
    read=read,
    judge=judge,
    target=lambda settings: f"{settings.host}:{settings.port}",
    impact=Impact.STOP,
    interval=Seconds(60),
    problems=problems,
    reasons={"sample.bad": "it is bad"},
    example={"host": "auth.acquirer.example"},
)
