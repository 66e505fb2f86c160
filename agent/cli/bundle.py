"""posagent bundle: everything support needs, in one file that may leave the store."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from agent import __version__, texts
from agent.cli import OUTPUT, USAGE, Complaint
from agent.cli.configured import SERVICE_CONFIG, configured_language, load, report_path, speaks, state_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.bundle import Entry
    from agent.config import Config


def run(arguments: argparse.Namespace) -> int:
    """Write the archive; `-` is stdout. 0 also where some pieces could not be had: they are named."""
    from probes.host import command

    config, problems = _configuration(arguments.config)
    now = time.time()
    try:
        if arguments.file == "-":
            _refuse_terminal()
            entries = _write(sys.stdout.buffer, config, problems, arguments.config, now)
            sys.stdout.buffer.flush()
            name = ""
        else:
            name = arguments.file or _name(config, now)
            entries = _to_file(Path(name), config, problems, arguments.config, now)
    finally:
        command.stop_all()
    _tell(name, entries, speaks(arguments.lang or configured_language(arguments.config)))
    return 0


def _configuration(named: str | None) -> tuple[Config | None, str]:
    """The configuration, or why there is none: a broken one is what support has to see."""
    try:
        return load(named), ""
    except Complaint as complaint:
        return None, str(complaint)


def _refuse_terminal() -> None:
    if sys.stdout.isatty():
        raise Complaint(
            "posagent: cannot write the bundle: it is an archive, and this is a terminal; "
            "name a file, or `posagent bundle - | ssh HOST 'cat > bundle.tar.gz'`",
            USAGE,
        )


def _name(config: Config | None, now: float) -> str:
    site = config.site if config else None
    words = [site.store, site.terminal] if site else []
    names = ["".join(c if c.isalnum() else "_" for c in word) for word in words if word] or [socket.gethostname()]
    return "-".join(["posagent", *names, time.strftime("%Y%m%d-%H%M%S", time.localtime(now))]) + ".tar.gz"


def _to_file(path: Path, config: Config | None, problems: str, named: str | None, now: float) -> Sequence[Entry]:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Complaint(f"posagent: cannot write {path}: it exists; name another file", 73) from None
    except OSError as error:
        raise Complaint(
            f"posagent: cannot write {path}: {error.strerror}; name a file elsewhere, or - for stdout", 73
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            return _write(file, config, problems, named, now)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Complaint(
            f"posagent: cannot write {path}: {error.strerror}; name a file on another disk, or send it away: "
            "`posagent bundle - | ssh HOST 'cat > bundle.tar.gz'`",
            OUTPUT,
        ) from None


def _write(file: IO[bytes], config: Config | None, problems: str, named: str | None, now: float) -> Sequence[Entry]:
    from agent import bundle, bundled

    source = config.source if config else named or os.environ.get("POSAGENT_CONFIG") or SERVICE_CONFIG
    facts: dict[str, object] = {
        "posagent": __version__,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "host": socket.gethostname(),
        "store": config.site.store if config else "",
        "terminal": config.site.terminal if config else "",
    }
    try:
        report = Path(report_path(named))
    except Complaint:
        report = Path(state_directory()) / "health.json"
    found = bundled.pieces(config, problems, source, report, Path(state_directory()))
    return bundle.write(file, found, facts, bundled.secrets(config, os.environ) if config else (), now)


def _tell(name: str, entries: Sequence[Entry], language: texts.Language) -> None:
    """On stderr: stdout may be the archive."""
    missing = [entry for entry in entries if entry.missing is not None]
    if name:
        print(texts.phrase("bundle.written", language, file=name, count=len(entries) - len(missing)), file=sys.stderr)  # noqa: T201
    for entry in missing:
        print(texts.phrase("bundle.missing", language, piece=entry.name, cause=entry.missing), file=sys.stderr)  # noqa: T201
