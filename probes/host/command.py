"""What does another program say, and how do we stop listening when it never stops talking?

A command is a list of texts, run without a shell. It gets a process group of its own, an empty standard input, a
minimal environment and the probe's deadline. At the end, however it ends, the whole group is killed; only a process
that made itself a session of its own (a daemon) outlives it, and cannot hold us up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from probes.host import Host, hanging
from probes.model import Denied, NotFitted, OutOfTime, Text, Unsupported
from probes.redact import scrub

Command = Annotated[
    tuple[Text, ...], Meta(min_length=1, title='a list of texts such as ["/path/to/program", "argument"]')
]
"""A program and its arguments in a setting. A single text is not taken: splitting one is where shells surprise."""

LIMIT = 64 * 1024
BABBLE = 16
"""A program that says this many times more than is kept is stopped."""
ENVIRONMENT: Mapping[str, str] = {
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
_CHUNK = 64 * 1024
_running: set[_Run] = set()
"""Started and not yet buried: their process numbers cannot have been given to anybody else."""

# vfork would hold the whole interpreter still while exec waits for a dead file server; this is the documented switch.
setattr(subprocess, "_USE_VFORK", False)  # noqa: B010 - the name is absent from the type stubs


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended and what it said. Texts are free of card data."""

    exit_code: int | None
    """None when it did not end by itself: see `signal`."""
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    """More was said than is kept here."""
    signal: str | None = None
    """The signal it died of, such as `SIGSEGV`; `SIGKILL` also when we stopped it for endless output."""


def run(
    host: Host,
    argv: Sequence[str],
    *,
    limit: int = LIMIT,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> Outcome:
    """Run a program to its end, keeping `limit` bytes each of what it writes. `env` is added to the minimal one.

    Raises OutOfTime at the deadline, NotFitted when there is no such program, Denied when it may not be run.
    """
    # A moment is kept back so that the answer "too slow" is still in time itself.
    ends = host.ends - min(0.05, host.left() / 10)
    words = [str(word) for word in argv]
    if not words or not words[0] or any("\0" in word for word in words):
        raise Unsupported("an empty command, or one with a NUL character, cannot be run", why="empty_command")
    environment = {**ENVIRONMENT, **(env or {})}
    return hanging.answer(
        host,
        ("run", *words),
        lambda: _Run(words, environment, stdin, limit, ends).outcome(),
        OutOfTime(
            f"{words[0]} does not answer: it could not even be started, or killed, in time",
            why="program_hangs",
            program=words[0],
        ),
    )


def stop_all() -> None:
    """Kill what is still running: whoever started it is about to leave. Safe from any thread."""
    for child in list(_running):
        child.kill()


class _Run:
    """One child process, from its start until nothing of it is left."""

    def __init__(self, words: list[str], env: Mapping[str, str], stdin: bytes | None, limit: int, ends: float) -> None:
        self.name = words[0]
        self.limit = limit
        self.ends = ends
        self.unsent = memoryview(stdin or b"")
        self.heard = {"stdout": bytearray(), "stderr": bytearray()}
        self.count = 0
        self.selector = selectors.DefaultSelector()
        try:
            self.process = _start(words, env, subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        except BaseException:
            self.selector.close()
            raise
        _running.add(self)
        self.exit_handle = _exit_handle(self.process.pid)

    def outcome(self) -> Outcome:
        try:
            self._listen()
        finally:
            self._stop()
        code = self.process.wait()
        return Outcome(
            exit_code=code if code >= 0 else None,
            stdout=self._text("stdout"),
            stderr=self._text("stderr"),
            truncated=any(len(kept) > self.limit for kept in self.heard.values()),
            signal=_signal_name(-code) if code < 0 else None,
        )

    def _listen(self) -> None:
        """Until the program itself has ended (not its children), has said too much, or time is up."""
        for name in ("stdin", "stdout", "stderr"):
            pipe = getattr(self.process, name)
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                event = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
                self.selector.register(pipe, event, name)
        if self.exit_handle is not None:
            self.selector.register(self.exit_handle, selectors.EVENT_READ, "exit")
        while not self._has_ended():
            left = self.ends - time.monotonic()
            if left <= 0:
                raise self._late()
            # Without a handle on its exit (Linux before 5.3) look fifty times a second.
            self._serve(self.selector.select(left if self.exit_handle is not None else min(left, 0.02)))
            if self.count > BABBLE * self.limit:
                return
        while self.count <= BABBLE * self.limit and self._serve(self.selector.select(0)):
            pass  # what it said last may still be in the pipes; whoever else holds them is not waited for

    def _serve(self, ready: list[tuple[selectors.SelectorKey, int]]) -> bool:
        """Move bytes; says whether any moved."""
        moved = False
        for key, _events in ready:
            if key.data == "stdin":
                self._send(key.fileobj)
            elif key.data != "exit":
                moved |= self._hear(key.fileobj, key.data)
        return moved

    def _hear(self, pipe: Any, name: str) -> bool:
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self.selector.unregister(pipe)
            return False
        self.count += len(chunk)
        kept = self.heard[name]
        kept += chunk[: max(0, self.limit + 1 - len(kept))]  # the one byte more says that there was more
        return True

    def _send(self, pipe: Any) -> None:
        try:
            self.unsent = self.unsent[os.write(pipe.fileno(), self.unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.unsent = memoryview(b"")  # it does not want to hear more
        if not self.unsent:
            self.selector.unregister(pipe)
            pipe.close()

    def _has_ended(self) -> bool:
        """Whether it has exited; it stays a zombie until `_stop`, so that its group's number is not given away."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _stop(self) -> None:
        """Kill the group, close the pipes, bury the dead."""
        self.kill()
        self.selector.close()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        if self.exit_handle is not None:
            os.close(self.exit_handle)
        # A program in the hands of a dead driver cannot die yet: whoever asked has left this thread by then, and this
        # thread keeps a second copy from being started.
        _running.discard(self)
        self.process.wait()

    def kill(self) -> None:
        """Kill the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Not permitted: what remains became another user (sudo), and will find its pipes closed.
            os.killpg(self.process.pid, signal.SIGKILL)

    def _text(self, name: str) -> str:
        kept = self.heard[name]
        text = bytes(kept[: self.limit]).decode("utf-8", "replace")
        return scrub(text, cut=len(kept) > self.limit)

    def _late(self) -> OutOfTime:
        said = (self._text("stdout") or self._text("stderr")).strip()[:200]
        if not said:
            return OutOfTime(f"{self.name} did not end in time", why="program_late", program=self.name)
        text = f"{self.name} did not end in time; it had said: {said}"
        return OutOfTime(text, why="program_late_saying", program=self.name, said=said)


def _start(words: list[str], env: Mapping[str, str], stdin: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            env=env,
            cwd="/",
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFitted(
            f"there is no program {words[0]}, or none to interpret it", why="no_program", program=words[0]
        ) from error
    except PermissionError as error:
        raise Denied(
            f"{words[0]} may not be run by this user", why="program_not_permitted", program=words[0]
        ) from error
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        raise Unsupported(
            f"{words[0]} is no program for this machine: a script needs a first line like #!/bin/sh",
            why="not_executable",
            program=words[0],
        ) from error


def _exit_handle(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the kernel has none to give."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
