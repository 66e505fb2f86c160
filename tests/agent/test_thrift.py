"""Does what is free go back to the kernel, and is what lives for ever left alone?"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from agent import thrift

FRAGMENTED = """
import threading, sys
from agent import thrift
thrift.begin()
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4
held = [bytes(2000) for _ in range(30000)]
workers = [threading.Thread(target=lambda: held.extend(bytes(3000) for _ in range(300))) for _ in range(20)]
[each.start() for each in workers]
[each.join() for each in workers]
del held[::2], held[1::2]
held[100:] = []
before = resident()
thrift.give_back()
print(before, resident())
"""


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_free_between_what_is_in_use_goes_back_to_the_kernel() -> None:
    told = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, check=True, timeout=60)
    before, after = map(int, told.stdout.split())
    assert after < before
    assert after < 40_000


@pytest.mark.parametrize(("begin", "heaps"), [("thrift.begin()", 1), ("", 2)])
def test_threads_share_one_heap(begin: str, heaps: int) -> None:
    script = FRAGMENTED.replace("thrift.begin()", begin) + "\nthrift._library().malloc_stats()"
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60, env=env
    )
    found = told.stderr.count("Arena ")
    assert found == 1 if heaps == 1 else found >= heaps


def test_what_is_there_is_set_apart_and_what_comes_later_is_still_found() -> None:
    thrift.settle()
    assert gc.get_freeze_count() > 1000
    found: list[int] = []

    class Ring(SimpleNamespace):
        def __del__(self) -> None:
            found.append(1)

    ring = Ring()
    ring.itself = ring
    del ring
    thrift.give_back()
    assert found == [1]


def test_what_was_set_apart_by_mistake_is_found_the_next_time() -> None:
    found: list[int] = []

    class Ring(SimpleNamespace):
        def __del__(self) -> None:
            found.append(1)

    ring = Ring()
    ring.itself = ring
    thrift.settle()
    del ring
    thrift.give_back()
    assert found == []
    thrift.settle()
    assert found == [1]


def test_a_c_library_without_such_settings_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thrift, "_library", SimpleNamespace)
    thrift.begin()
    thrift.give_back()
    thrift.settle()
