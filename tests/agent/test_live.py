"""live: a round of very many probes is shown as quickly as one of a few."""

from __future__ import annotations

import io
import re
import sys
import time
from typing import Any

import pytest

from agent.live import Progress
from agent.runner import Look
from probes.model import ok
from tests.agent.kinds import make_probe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_ten_times_a_second_however_many_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", Terminal())
    probe = make_probe("[::1]:443", "sample")
    done: list[Look] = []
    awaited: list[Any] = [probe] * 40_000
    began = time.monotonic()
    with Progress("en") as progress:
        for _ in range(40_000):
            done.append(Look(probe, ok({}), 0.0, 0.0))
            awaited.pop()
            progress(done, awaited)
        took = time.monotonic() - began
        while "checking 40000 of 40000" not in screen.getvalue() and time.monotonic() < began + 10:
            time.sleep(0.02)
        drawn = len(re.findall(r"checking \d+ of 40000", screen.getvalue()))
        lasted = time.monotonic() - began
    assert took < 3
    assert "checking 40000 of 40000" in screen.getvalue(), "what came last is shown"
    assert "waiting for [::1]:443, [::1]:443" in screen.getvalue()
    assert drawn <= 10 * lasted + 3


def test_a_pipe_sees_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = io.StringIO()
    monkeypatch.setattr(sys, "stderr", quiet)
    with Progress("en") as progress:
        progress([], [make_probe("a", "sample")])
    assert not quiet.getvalue()
