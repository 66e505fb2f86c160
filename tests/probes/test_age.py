"""age: backups that are made, logs that move, and clocks that jump."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.age import KIND, AgeSettings, Reading
from probes.host import Host
from probes.model import Memory, Observation, OutOfTime, Seconds, Status

NOW = 1_776_256_245.0
HOUR = 3600.0


def look(path: Path | str, max_age: float = HOUR, memory: Memory | None = None) -> Observation:
    settings = AgeSettings(kind="age", path=str(path), max_age=Seconds(max_age))
    return KIND.judge(settings, KIND.read(settings, Host(ends=time.monotonic() + 5)), memory or {})


def judge(reading: Reading, memory: Memory | None = None) -> Observation:
    return KIND.judge(AgeSettings(kind="age", path="/backup", max_age=Seconds(HOUR)), reading, memory or {})


def plant(path: Path, age: float, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


@pytest.mark.parametrize(("age", "reason"), [(5, "ok"), (3500, "ok"), (3700, "age.old"), (400 * 86400, "age.old")])
def test_a_file_is_as_old_as_its_last_change(tmp_path: Path, age: float, reason: str) -> None:
    seen = look(plant(tmp_path / "pos.log", age))
    assert seen.reason == reason
    assert abs(float(str(seen.measurements["age_s"])) - age) < 5


def test_in_a_directory_the_newest_counts_but_nothing_hidden_and_nothing_deeper(tmp_path: Path) -> None:
    plant(tmp_path / "backup/monday.tar", 90000)
    plant(tmp_path / "backup/tuesday.tar", 7200, "full")
    plant(tmp_path / "backup/.wednesday.tar.part", 1)
    plant(tmp_path / "backup/old/file", 1)
    os.utime(tmp_path / "backup/old", (1, 1))
    (tmp_path / "backup/broken-link").symlink_to("nowhere")
    seen = look(tmp_path / "backup")
    assert (seen.reason, seen.evidence) == ("age.old", ("tuesday.tar is the newest",))
    assert seen.measurements["size_bytes"] == 4


def test_a_pattern_chooses_among_the_names(tmp_path: Path) -> None:
    plant(tmp_path / "pos-1.tar.gz", 90000)
    plant(tmp_path / "pos-2.tar.gz", 60)
    plant(tmp_path / "other.tar.gz", 1)
    assert look(tmp_path / "pos-*.tar.gz").evidence == ("pos-2.tar.gz is the newest",)
    assert look(tmp_path / "pos-[1].tar.gz").reason == "age.old"
    assert look(tmp_path / "nothing-*").reason == "age.absent"


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    plant(tmp_path / "log[1].txt", 10)
    assert look(tmp_path / "log[1].txt").reason == "ok"


@pytest.mark.parametrize("name", ["none", "none/deeper", "file/below"])
def test_what_is_not_there_is_absent(tmp_path: Path, name: str) -> None:
    plant(tmp_path / "file", 1)
    assert look(tmp_path / name).reason == "age.absent"


def test_an_empty_directory_is_absent(tmp_path: Path) -> None:
    seen = look(tmp_path)
    assert (seen.status, seen.reason) == (Status.FAIL, "age.absent")


def test_a_file_from_the_future_is_not_fresh_for_ever() -> None:
    future = NOW + 90 * 86400
    first = judge(Reading(now=NOW, changed_at=future))
    assert first.status is Status.OK
    assert "90d in the future: a clock jumped" in first.evidence[0]
    second = judge(Reading(now=NOW + 3500, changed_at=future), first.memory)
    assert (second.reason, second.measurements["age_s"]) == ("ok", 3500.0)
    third = judge(Reading(now=NOW + 3700, changed_at=future), second.memory)
    assert (third.status, third.reason) == (Status.FAIL, "age.old")
    moved = judge(Reading(now=NOW + 3800, changed_at=future + 1), third.memory)
    assert moved.reason == "ok"


def test_a_file_servers_clock_may_be_a_little_ahead() -> None:
    seen = judge(Reading(now=NOW, changed_at=NOW + 30))
    assert (seen.reason, seen.measurements["age_s"], seen.evidence) == ("ok", 0.0, ())


def test_a_clock_that_jumps_back_meanwhile_starts_the_count_anew() -> None:
    memory = {"changed_at": NOW + 90 * 86400, "seen_at": NOW + 80 * 86400}
    assert judge(Reading(now=NOW, changed_at=NOW + 90 * 86400), memory).measurements["age_s"] == 0.0


@pytest.mark.parametrize(
    ("age", "text"), [(0, "0s"), (59, "59s"), (61, "1m 1s"), (7500, "2h 5m"), (86400, "1d"), (100000, "1d 3h")]
)
def test_ages_are_told_in_two_units(age: float, text: str) -> None:
    assert judge(Reading(now=NOW, changed_at=NOW - age)).measurements["age"] == text


def test_a_directory_that_hangs_costs_the_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    release = threading.Event()
    monkeypatch.setattr("os.scandir", lambda _directory: release.wait(20))
    settings = AgeSettings(kind="age", path=str(tmp_path))
    begin = time.monotonic()
    try:
        with pytest.raises(OutOfTime, match="does not answer"):
            KIND.read(settings, Host(ends=begin + 0.2))
    finally:
        release.set()
    assert time.monotonic() - begin < 1


def test_only_an_absolute_path_means_the_same_everywhere() -> None:
    assert list(KIND.problems(AgeSettings(kind="age", path="x"))) == [("path", "expected an absolute path")]


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.dictionaries(st.sampled_from(["changed_at", "seen_at"]), st.floats()))
def test_whatever_the_clocks_say_an_answer_comes_back(now: float, changed_at: float, memory: Memory) -> None:
    seen = judge(Reading(now=now, changed_at=changed_at), memory)
    assert seen.reason in {"ok", "age.old"}
    assert float(str(seen.measurements["age_s"])) >= 0
