"""Does what is free go back to the kernel, and is what lives for ever left alone?"""

from __future__ import annotations

import gc
import re
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


def test_threads_share_one_heap() -> None:
    script = FRAGMENTED + "\nprint(open('/proc/self/maps').read())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    arenas = re.findall(r"^[0-9a-f]+-[0-9a-f]{5,}4000000 ---p 00000000 00:00 0", told.stdout, re.MULTILINE)
    assert arenas == [], "64 MB are set aside for each heap of a thread"


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
