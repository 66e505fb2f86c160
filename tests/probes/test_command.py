"""command: other programs run in time, and nothing of them is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.host import Host, command
from probes.host.command import Outcome
from probes.model import Denied, NotFitted, OutOfTime, Unsupported


def run(*argv: str, seconds: float = 5.0, **options: object) -> Outcome:
    return command.run(Host(ends=time.monotonic() + seconds), argv, **options)  # type: ignore[arg-type]


def sh(script: str, **options: object) -> Outcome:
    return run("/bin/sh", "-c", script, **options)


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Whatever a test does, this process has no more children and no more descriptors than before."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    for pid in _children():
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state != "Z", "a zombie is left"
    assert len(os.listdir("/proc/self/fd")) <= before


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def alive(mark: str) -> list[int]:
    """Processes (not zombies) with `mark` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found


def gone(mark: str) -> bool:
    """Whether every such process is gone within a second; killing is at once, dying takes the scheduler."""
    ends = time.monotonic() + 1
    while alive(mark):
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


def test_a_program_says_and_ends() -> None:
    outcome = sh("echo one; echo two >&2; exit 3")
    assert outcome == Outcome(exit_code=3, stdout="one\n", stderr="two\n", truncated=False, signal=None)


def test_there_is_no_shell_between() -> None:
    assert run("echo", "$HOME; `id` *").stdout == "$HOME; `id` *\n"


def test_the_environment_is_small_and_english() -> None:
    os.environ["SECRET_OF_THE_AGENT"] = "x"
    try:
        lines = run("env", env={"EXTRA": "1"}).stdout.splitlines()
    finally:
        del os.environ["SECRET_OF_THE_AGENT"]
    assert sorted(line.partition("=")[0] for line in lines) == ["EXTRA", "LC_ALL", "PATH"]
    assert "LC_ALL=C.UTF-8" in lines


def test_it_reads_nothing_unless_it_is_given_something() -> None:
    assert run("cat").stdout == ""
    assert run("cat", stdin="零钱".encode()).stdout == "零钱"


def test_a_large_input_and_output_do_not_block_each_other() -> None:
    outcome = run("cat", stdin=b"x" * 3_000_000, limit=1 << 20)
    assert (outcome.exit_code, len(outcome.stdout), outcome.truncated) == (0, 1 << 20, True)


def test_a_program_may_ignore_its_input() -> None:
    assert run("true", stdin=b"x" * 1_000_000).exit_code == 0


def test_card_data_is_masked_even_where_the_output_was_cut() -> None:
    assert sh("echo card 4111 1111 1111 1111").stdout == "card **** **** **** 1111\n"
    assert sh("echo card 4111 1111 1111 1111; echo more", limit=22).stdout == "card"


def test_bad_utf8_is_replaced() -> None:
    assert sh(r"printf 'a\377b'").stdout == "a\ufffdb"


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["/no/such/program"], NotFitted),
        (["no-such-program-at-all"], NotFitted),
        (["/etc/passwd/x"], NotFitted),
        (["/etc/passwd"], Denied),
        (["/"], Denied),
        ([], Unsupported),
        ([""], Unsupported),
        (["echo", "a\0b"], Unsupported),
    ],
)
def test_what_cannot_be_run_says_why(argv: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        run(*argv)


def test_a_script_without_its_first_line_is_no_program(tmp_path: Path) -> None:
    script = tmp_path / "check"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    with pytest.raises(Unsupported, match="first line like #!/bin/sh"):
        run(str(script))


def test_a_script_whose_interpreter_is_missing_is_not_fitted(tmp_path: Path) -> None:
    script = tmp_path / "check"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(NotFitted, match="or none to interpret it"):
        run(str(script))


def test_a_death_by_signal_is_named() -> None:
    outcome = sh("kill -SEGV $$")
    assert (outcome.exit_code, outcome.signal) == (None, "SIGSEGV")


def test_who_hangs_is_killed_at_the_deadline_and_its_last_words_are_kept() -> None:
    begin = time.monotonic()
    with pytest.raises(OutOfTime, match="it had said: asking the terminal"):
        sh("echo asking the terminal; sleep 3601.1", seconds=0.4)
    assert 0.3 < time.monotonic() - begin < 0.6
    assert gone("3601.1")


def test_neither_ignoring_signals_nor_a_crowd_of_children_helps() -> None:
    script = (
        "trap '' TERM INT HUP; for n in 1 2 3; do (trap '' TERM; sleep 3601.2) & done; while :; do sleep 3601.2; done"
    )
    with pytest.raises(OutOfTime):
        sh(script, seconds=0.4)
    assert gone("3601.2")


def test_a_child_that_keeps_the_pipes_open_delays_nothing_and_is_killed() -> None:
    begin = time.monotonic()
    assert sh("sleep 3601.3 & echo done").stdout == "done\n"
    assert time.monotonic() - begin < 1
    assert gone("3601.3")


def test_a_daemon_that_left_the_group_cannot_hold_us_up() -> None:
    begin = time.monotonic()
    try:
        outcome = sh("setsid sleep 3601.4 & sleep 0.1; echo done")
        assert (outcome.stdout, time.monotonic() - begin < 2) == ("done\n", True)
    finally:
        for pid in alive("3601.4"):
            os.kill(pid, 9)


def test_a_program_that_closes_its_output_and_goes_on_is_still_waited_for() -> None:
    assert sh("exec >&- 2>&-; sleep 0.2; exit 7").exit_code == 7


@pytest.mark.parametrize("program", [["yes"], ["cat", "/dev/zero"], ["/bin/sh", "-c", "yes >&2"]])
def test_endless_output_ends_early_and_takes_no_memory(program: list[str]) -> None:
    begin = time.monotonic()
    outcome = run(*program, seconds=10)
    assert time.monotonic() - begin < 5
    assert (outcome.exit_code, outcome.signal, outcome.truncated) == (None, "SIGKILL", True)
    assert len(outcome.stdout) + len(outcome.stderr) <= command.LIMIT


def test_endless_output_of_a_grandchild_does_not_hold_us_up() -> None:
    begin = time.monotonic()
    assert sh("yes 3601.5 & exit 2", seconds=10).exit_code == 2
    assert time.monotonic() - begin < 5
    assert gone("3601.5")


def test_a_kernel_without_process_handles_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", none)
    assert sh("sleep 0.1; echo ok; sleep 3601.6 & exit 1") == Outcome(exit_code=1, stdout="ok\n")
    assert gone("3601.6")


def test_a_hundred_runs_leave_nothing_behind() -> None:
    before = len(_children())
    for _run in range(100):
        run("true")
    assert len(_children()) <= before


def test_the_clock_of_the_wall_may_jump_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert sh("sleep 0.1; echo ok").stdout == "ok\n"


def test_other_threads_go_on_while_a_child_is_started() -> None:
    """Starting by vfork would hold the interpreter until exec is done; the switch for it must be off."""
    assert subprocess._USE_VFORK is False  # type: ignore[attr-defined]
    assert sys.platform == "linux"
