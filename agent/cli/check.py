"""posagent check: one glance at what is broken."""

from __future__ import annotations

import argparse
import fnmatch
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli import USAGE, Complaint
from agent.cli.configured import load, speaks
from agent.verdict import EXIT_CODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config import Config
    from agent.report import Report
    from agent.texts import Language
    from probes.model import Probe


def run(arguments: argparse.Namespace) -> int:
    """Look, print, and say the verdict as the exit code."""
    from agent import oneshot, report
    from agent.discovery import probes_to_check
    from probes.host import command

    stop_on_signals()
    timeout = _seconds(arguments.timeout)
    config = load(arguments.config)
    language = speaks(arguments.lang or config.language)
    probes = _selected(probes_to_check(config), arguments.names, arguments.kind)
    try:
        if arguments.json:
            found = oneshot.check(config, probes, language, timeout)
            sys.stdout.buffer.write(report.encode(found))
            sys.stdout.flush()
        else:
            found = _shown(arguments, config, probes, language, timeout)
    finally:
        command.stop_all()  # after Ctrl-C too, nothing that a probe started may run on
    if arguments.write:
        _write(config, found)
    return EXIT_CODE[found.verdict.payments]


def stop_on_signals() -> None:
    """A terminal that is closed and a `kill` end a look like Ctrl-C: the cursor is put back, children are killed."""

    def stop(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` wants us to go on
            signal.signal(number, stop)


def _shown(
    arguments: argparse.Namespace, config: Config, probes: Sequence[Probe], language: Language, timeout: float | None
) -> Report:
    from agent import live, oneshot, report, screen, texts

    with live.Progress(language) as progress:
        found = oneshot.check(config, probes, language, timeout, progress)
    page = screen.page(
        report.as_data(found), language, verbose=arguments.verbose, failures_only=arguments.failures_only
    )
    if screen.wants_colour():
        live.draw(page)
    else:
        screen.print_plain(page)
    if config.source is None:
        print("\n" + texts.phrase("check.discovered", language))  # noqa: T201 -- the answer itself
    return found


def _seconds(text: str | None) -> float | None:
    from probes.model import Seconds

    try:
        return None if text is None else Seconds.parse(float(text) if _is_number(text) else text)
    except ValueError as error:
        raise Complaint(f"posagent: --timeout: expected {error}, got {text!r}", USAGE) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _selected(probes: Sequence[Probe], names: Sequence[str], kinds: Sequence[str] | None) -> list[Probe]:
    for name in names:
        if not any(_called(probe, name) for probe in probes):
            raise Complaint(_unknown("probe", name, [probe.name for probe in probes]), USAGE)
    for kind in kinds or ():
        if not any(probe.kind == kind for probe in probes):
            raise Complaint(_unknown("kind", kind, sorted({probe.kind for probe in probes})), USAGE)
    return [
        probe
        for probe in probes
        if (not names or any(_called(probe, name) for name in names)) and (not kinds or probe.kind in kinds)
    ]


def _called(probe: Probe, name: str) -> bool:
    return probe.name == name or probe.name.startswith(name + "/") or fnmatch.fnmatchcase(probe.name, name)


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"
    return f"posagent: cannot check {name!r}: no probe has this {'name' if what == 'probe' else 'kind'}; {hint}"


def _write(config: Config, found: Report) -> None:
    from agent import report
    from agent.cli.configured import report_path

    path = Path(config.report.path or report_path(config.source))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        report.write(path, report.encode(found))
    except OSError as error:
        raise Complaint(f"posagent: cannot write {path}: {error.strerror or error}; see report.path", 74) from error
