"""What does a file say? A kind as a third party might write it: it answers as it is told, or hangs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from probes.host import Host
from probes.model import Impact, Kind, Memory, Observation, PathText, Settings, Status


class LabSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the word stands, and where each look is noted."""

    word: Annotated[PathText, Meta(description="a file that says ok, warn, fail, unknown, hang or wait; none: ok")]
    log: Annotated[PathText, Meta(description="a file to which each look adds the monotonic time")]


def read(settings: LabSettings, _host: Host) -> str:
    """Read the word; at `hang` for ever, as from a dead file server, at `wait` until the word is another one."""
    with Path(settings.log).open("a") as log:
        log.write(f"{time.monotonic():.3f}\n")
    word = _word(settings)
    if word == "hang":
        os.read(os.pipe()[0], 1)
    while word == "wait":
        time.sleep(0.5)
        word = _word(settings)
    return word


def _word(settings: LabSettings) -> str:
    try:
        return Path(settings.word).read_text()
    except FileNotFoundError:
        return "ok"


def judge(_settings: LabSettings, word: str, memory: Memory) -> Observation:
    """As it is told; remembers how often it was asked."""
    count = {"looks": memory.get("looks", 0) + 1}
    return Observation(status=Status(word), reason="ok" if word == "ok" else "lab.told", memory=count)


KIND = Kind(
    name="lab",
    summary="a kind for the lab",
    settings=LabSettings,
    read=read,
    judge=judge,
    target=lambda settings: Path(settings.word).name,
    impact=Impact.DEGRADE,
    reasons={"lab.told": "it was told so"},
    example={"word": "/tmp/word", "log": "/tmp/log"},
)
