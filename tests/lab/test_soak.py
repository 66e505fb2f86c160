"""Does every fault of a day become exactly one incident, and every repair end it, while memory and files stay flat?

Three minutes; half an hour where POSAGENT_NIGHTLY=1. `python -m tests.lab.soak --minutes 600` takes as long as you like.
"""

from __future__ import annotations

import os

import pytest

from tests.lab.soak import live_through
from tests.lab.store import Store

NIGHTLY = os.environ.get("POSAGENT_NIGHTLY") == "1"
MINUTES = 32.0 if NIGHTLY else 3.0
SEED = int(os.environ.get("POSAGENT_SOAK_SEED", "6"))


@pytest.mark.timeout(60 * MINUTES + 240)
def test_a_day_in_the_lab(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        day = live_through(store, 60 * MINUTES, SEED)
        print(day.summary())
    assert day.wrong == []
    assert len(day.episodes) >= 2 * MINUTES, "a day with few faults proves little"
