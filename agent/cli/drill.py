"""posagent drill: is everybody reached who is to be told? An exercise through the whole path, marked as one."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import screen, texts
from agent.cli import USAGE, Complaint, past, writing
from agent.cli.check import stop_on_signals
from agent.cli.configured import SERVICE_STATE, daemon_pid, load, read_file, report_path, speaks, state_directory

if TYPE_CHECKING:
    from agent.config import Config
    from agent.drill import Answer, Exercise
    from agent.store import Store
    from agent.texts import Language

SHORTEST_S, LONGEST_S = 5.0, 600.0
MISSED = 1
"""Exit code where somebody was not reached, or nobody could be."""


def run(arguments: argparse.Namespace) -> int:
    """0 when every channel was reached."""
    from agent.drill import Exercise, unused

    cause = _cause(arguments.cause)
    seconds = writing.length("--timeout", arguments.timeout, SHORTEST_S, LONGEST_S, "5s to 10m")
    config = load(arguments.config)
    own = speaks(config.language)
    language = speaks(arguments.lang) if arguments.lang else own
    exercise = Exercise(config, cause, own, time.time())
    remarks = [_say("unused", language, channel=name) for name in unused(config)]
    telling = _Telling(exercise, language, seconds, writing.person(None), arguments.json, remarks)
    stop_on_signals()
    if not exercise.channels:
        names = list(config.channels)
        remarks.append(_say("off" if names else "none", language, channels=names))
    elif _is_there(state_directory()):
        if _is_other(arguments.config, config):
            remarks.append(_say("another", language))
        telling.through_daemon(_again(arguments))
    else:
        _check_reach()
        telling.directly()
    return telling.end()


def _cause(wanted: str) -> str:
    from agent.causes import CAUSES

    if wanted in CAUSES:
        return wanted
    from difflib import get_close_matches

    near = get_close_matches(wanted, CAUSES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "docs/diagnosis.md lists them"
    raise Complaint(f"posagent: cannot exercise {wanted!r}: there is no such cause; {hint}", USAGE)


def _again(arguments: argparse.Namespace) -> str:
    """The command as somebody who may would type it."""
    words = ["posagent", "drill", arguments.cause, "--timeout", arguments.timeout]
    return shlex.join([*words, *(["--config", arguments.config] if arguments.config else [])])


def _is_there(directory: str) -> bool:
    """Whether a daemon keeps its state there, or may: its lock cannot be read. Where none ever did there is no lock."""
    pid = daemon_pid(directory)
    return pid != 0 and (pid is not None or os.access(f"{directory}/daemon.lock", os.F_OK))


def _check_reach() -> None:
    """Raises Complaint where a service may well run whose state this user may not even see."""
    hidden = not os.environ.get("STATE_DIRECTORY") and Path(SERVICE_STATE).is_dir()
    if hidden and not os.access(SERVICE_STATE, os.X_OK):
        raise Complaint(
            f"posagent: cannot see whether the daemon runs: it keeps its state in {SERVICE_STATE}, for its group only; "
            "run `sudo posagent drill`",
            writing.NOT_PERMITTED,
        )


def _is_other(named: str | None, config: Config) -> bool:
    """Whether the daemon says that it runs with another one."""
    try:
        told = json.loads(read_file(report_path(named)))
        return bool(told["agent"]["mode"] == "run" and told["config_sha256"] != config.sha256)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _say(name: str, language: Language, /, **facts: object) -> str:
    return texts.sentence("drill", f"drill.{name}", facts, language)


@dataclass
class _Telling:
    """One exercise as somebody watches it."""

    exercise: Exercise
    language: Language
    seconds: float
    by: str
    as_json: bool
    remarks: list[str]
    answers: list[Answer] = field(default_factory=list)
    way: str = "nobody"

    def through_daemon(self, command: str) -> None:
        """Raises Complaint where this user may not write to its outbox."""
        from agent import drill
        from agent.store import Batch

        past.opened().close()  # or it is said why there is nothing to write to
        directory = state_directory()

        def tell(store: Store) -> None:
            self._watch(
                "daemon", drill.through_daemon(self.exercise, store, self.seconds, lambda: _is_there(directory))
            )
            store.save(Batch(events=[self.exercise.event(self.answers, self.by)]), durable=True)

        writing.write(command, tell)
        if self.missed and not _is_there(directory):
            self.remarks.append(_say("ended", self.language))

    def directly(self) -> None:
        """By this process, with what it may read."""
        from agent import drill
        from agent.config.secret import secrets_of
        from agent.store import Batch, Store, StoreError
        from probes.host import command

        try:
            self._watch("itself", drill.directly(self.exercise, self.seconds))
        finally:
            command.stop_all()
        for name in self.missed:
            if any(secret.credential for secret in secrets_of(self.exercise.channels[name]).values()):
                self.remarks.append(_say("credential", self.language, channel=name))
        path = Path(state_directory()) / "state.sqlite"
        try:
            Store(path, read_only=True).close()  # none is made here: whose would it be?
            with contextlib.closing(Store(path)) as store:
                store.save(Batch(events=[self.exercise.event(self.answers, self.by)]), durable=True)
        except StoreError as error:
            self.remarks.append(_say("not_kept", self.language, cause=error))

    @property
    def missed(self) -> list[str]:
        """The channels that were not reached."""
        return [each.channel for each in self.answers if not each.reached]

    def _watch(self, way: str, answers: Generator[Answer | None, None, None]) -> None:
        """Print each answer as it comes; on a terminal also who is still waited for."""
        self.way = way
        self._print(_say("begin", self.language, **self._facts()))
        self._print(_say(f"by_{way}", self.language, count=len(self.exercise.channels), seconds=self.seconds))
        ends, shows = time.monotonic() + self.seconds, sys.stdout.isatty() and not self.as_json
        with contextlib.closing(answers):
            for answer in answers:
                if answer is not None:
                    self.answers.append(answer)
                    self._print(self._line(answer), over=shows)
                elif shows:
                    self._wait_visibly(ends - time.monotonic())
        self._print("", over=shows)

    def _facts(self) -> dict[str, Any]:
        from agent.advice import advice

        title = advice(self.exercise.cause, self.language, {"subject": ""}, None).title
        return {"id": self.exercise.id, "cause": self.exercise.cause, "title": title}

    def _wait_visibly(self, left: float) -> None:
        answered = {each.channel for each in self.answers}
        names = [name for name in self.exercise.channels if name not in answered]
        line = _say("waiting", self.language, channels=names, left=max(1.0, left))
        room = shutil.get_terminal_size().columns - 1
        sys.stdout.write(f"\r\x1b[K{line[: room // 2] if screen.cells(line) > room else line}")
        sys.stdout.flush()

    def _line(self, answer: Answer) -> str:
        language = self.language
        states = [_say(f"state.{state}", language) for state in ("reached", "refused", "failed", "late")]
        word = screen.pad(_say(f"state.{answer.state}", language), max(screen.cells(each) for each in states))
        word = screen.paint(word, "ok" if answer.reached else "fail", screen.wants_colour())
        name = screen.pad(answer.channel, max(screen.cells(each) for each in self.exercise.channels))
        detail = _say("late", language) if answer.state == "late" else str(screen.harmless(answer.detail))
        if answer.attempts > 1:
            detail = _say("attempts", language, detail=detail, attempts=answer.attempts)
        took = _say("took", language, took_s=f"{answer.took_s:.1f}")
        return f"  {word}  {name}  {answer.kind}  {took}  {detail}".rstrip()

    def _print(self, line: str, *, over: bool = False) -> None:
        if self.as_json or (not line and not over):
            return
        end = "\n" if line else ""
        sys.stdout.write(("\r\x1b[K" if over else "") + line + end)
        sys.stdout.flush()

    def end(self) -> int:
        """Say what came of it, and return the exit code."""
        reached = len(self.answers) - len(self.missed)
        if self.as_json:
            past.print_json(self._data(reached))
        elif self.answers:
            facts = {"reached": reached, "of": len(self.answers), "id": self.exercise.id}
            self._print(_say("some" if self.missed else "all", self.language, **facts))
        for remark in self.remarks:
            self._print(str(screen.harmless(remark)))
        return 0 if self.answers and not self.missed else MISSED

    def _data(self, reached: int) -> dict[str, Any]:
        from agent.report import stamp

        about = self.exercise
        return {
            "id": about.id,
            "cause": about.cause,
            "at": stamp(about.at),
            "by": self.by,
            "through": self.way,
            "reached": reached,
            "of": len(self.answers),
            "channels": [
                {"channel": each.channel, "kind": each.kind, "state": each.state}
                | {"took_s": round(each.took_s, 3), "attempts": each.attempts, "detail": each.detail}
                for each in self.answers
            ],
            "remarks": self.remarks,
        }
