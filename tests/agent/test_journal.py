"""The log: one line an event, whatever is in it, and whoever does not read it."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal import Journal, Priority


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def journal(stream: io.StringIO, clock: Clock | None = None) -> Journal:
    return Journal(stream, env={}, clock=clock or Clock(), now=lambda: 1767225600.5)


def said(**facts: object) -> str:
    stream = io.StringIO()
    journal(stream).say(Priority.WARNING, "event", **facts)  # type: ignore[arg-type]
    return stream.getvalue()


def test_a_line_has_time_level_and_facts() -> None:
    assert (
        said(cause="lan.cable_unplugged", probes=("eth0", "auth/a:443"), age_s=1.23456789, well=True, none=None, n=3)
        == "2026-01-01T00:00:00.500Z warning event cause=lan.cable_unplugged probes=eth0,auth/a:443 age_s=1.23457"
        " well=true n=3\n"
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ('say "x"', '"say \\"x\\""'),
        ("a=b", '"a=b"'),
        ("line\nline", '"line\\nline"'),
        ("\x1b[31mred", '"?[31mred"'),
        ("网线", "网线"),
        (OSError(28, "No space left on device"), '"[Errno 28] No space left on device"'),
        (False, "false"),
        (1767225600.25, "1767225600.250"),
    ],
)
def test_a_value_is_one_word_or_quoted(value: object, told: str) -> None:
    assert said(v=value).rstrip("\n").endswith(f" event v={told}")


def test_no_card_number_and_no_password_gets_into_a_line() -> None:
    line = said(detail="paid with 4111 1111 1111 1111", number=4111111111111111, password="hunter22")
    assert "4111 1111" not in line
    assert "411111" not in line
    assert "hunter22" not in line


def test_a_long_value_is_cut_and_a_card_at_the_cut_goes() -> None:
    line = said(v="x" * 590 + " 4111111111111111")
    assert "41111" not in line
    assert "…" in line


def test_a_long_line_is_cut_where_a_letter_ends() -> None:
    line = said(**{f"f{number}": "网" * 500 for number in range(5)})
    assert len(line.encode()) <= 3501
    assert line.endswith("…\n")


@given(st.text())
def test_whatever_is_told_it_is_one_printable_line(value: str) -> None:
    line = said(v=value)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert line[:-1].isprintable()


def test_ten_at_once_then_one_a_minute_and_none_is_forgotten() -> None:
    stream, clock = io.StringIO(), Clock()
    log = journal(stream, clock)
    for number in range(30):
        log.say(Priority.INFO, "store.failed", n=number)
    log.say(Priority.INFO, "another")
    assert stream.getvalue().count("store.failed") == 10
    assert stream.getvalue().count("another") == 1
    clock.seconds += 61
    log.say(Priority.INFO, "store.failed", n=30)
    log.say(Priority.INFO, "store.failed", n=31)
    assert stream.getvalue().splitlines()[-1].endswith("store.failed n=30 suppressed=20")
    log.close()
    assert stream.getvalue().splitlines()[-1].endswith("info store.failed suppressed=1")
    clock.seconds += 3600
    for number in range(30):
        log.say(Priority.INFO, "store.failed", n=number)
    assert stream.getvalue().count("store.failed") == 10 + 1 + 1 + 10


def test_the_priority_is_told_to_the_journals_own_socket_and_to_nothing_else(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, open(tmp_path / "log", "w") as file:
        seen = os.fstat(ours.fileno())
        env = {"JOURNAL_STREAM": f"{seen.st_dev}:{seen.st_ino}"}
        with open(os.dup(ours.fileno()), "w") as stream:
            Journal(stream, env=env).say(Priority.ERROR, "x", a=1)
            assert theirs.recv(100) == b"<3>x a=1\n"
        Journal(file, env=env).say(Priority.ERROR, "x", a=1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z error x a=1\n", (tmp_path / "log").read_text())


def test_a_reader_that_hangs_costs_lines_and_never_a_wait() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as stream:
        log = Journal(stream, env={})
        started = time.monotonic()
        for number in range(500):  # a pipe holds 64 KiB
            log.say(Priority.INFO, f"event{number}", text="x" * 500)
        assert time.monotonic() - started < 5
        os.set_blocking(reading, False)
        kept = 0
        while reader.read(1 << 16):
            kept += 1
        log.say(Priority.INFO, "again")
        assert re.search(rb"again lost=\d+\n", reader.read(1 << 16) or b"")
    assert kept


@pytest.mark.parametrize("ending", ["2>&-", "2>/dev/full", "2>&1 | true"])
def test_a_stderr_that_is_closed_full_or_gone_raises_nothing(ending: str) -> None:
    script = (
        "from agent.journal import Journal\n"
        "log = Journal()\n"
        "for number in range(2000): log.say(6, f'event{number}', n=number)\n"
        "log.close()\n"
    )
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; '{sys.executable}' -c \"$1\" {ending}", "bash", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_that_was_closed_meanwhile_raises_nothing(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as file:
        log = Journal(file, env={})
    log.say(Priority.INFO, "x")


def test_lines_of_many_threads_stay_whole() -> None:
    stream = io.StringIO()
    log = journal(stream)
    threads = [
        threading.Thread(target=lambda name=name: [log.say(6, f"{name}.{n}", v="a b") for n in range(50)])
        for name in "abcdefgh"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 400
    assert all(re.fullmatch(r'\S+ info [a-h]\.\d+ v="a b"', line) for line in lines)
