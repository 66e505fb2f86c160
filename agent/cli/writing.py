"""May this person write to the state that the daemon keeps, and what is their name? For what people tell the daemon.

The daemon need not run: what is written is heeded when it does. A file is never made here, and a damaged one is left
to the daemon to mend.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent import screen, texts
from agent.cli import USAGE, Complaint, past
from agent.cli.configured import daemon_pid, state_directory

if TYPE_CHECKING:
    from agent.store import Store
    from agent.texts import Language

T = TypeVar("T")
NOT_PERMITTED, NOT_KEPT = 77, 74
"""EX_NOPERM and EX_IOERR of sysexits.h."""
NAME, TEXT = 100, 1000


def write(command: str, way: Callable[[Store], T]) -> T:
    """Do this with the open state file. Raises Complaint: `command` is what is to be typed by who may."""
    from agent.store import Store, StoreError

    path = Path(state_directory()) / "state.sqlite"
    _check_rights(path, command)
    try:
        store = Store(path)
        try:
            return way(store)
        finally:
            store.close()
    except StoreError as error:
        next_step = "free some space and try again" if "full" in str(error) else "try again"
        raise Complaint(f"posagent: {error}; {next_step}", NOT_KEPT) from None


def _check_rights(path: Path, command: str) -> None:
    """Raises Complaint with whose file it is; that there is one has been seen."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise Complaint(f"posagent: cannot write {path}: the disk is read-only; see `posagent check`", NOT_KEPT)
    owner, group = _names(path)
    raise Complaint(
        f"posagent: cannot write {path}: only {owner} may, and group {group} may only read; run `sudo {command}`",
        NOT_PERMITTED,
    )


def _names(path: Path) -> tuple[str, str]:
    try:
        return path.owner(), path.group()
    except (KeyError, OSError):
        return "its owner", "of the file"


def person(named: str | None) -> str:
    """Who says it: the name given, else who is logged in, also behind sudo."""
    from probes.redact import scrub

    if named is None:
        named = os.environ.get("SUDO_USER") or _login() or "?"
    return scrub(one_line("--by", scrub(named), NAME))


def _login() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def said(option: str, text: str) -> str:
    """What somebody typed, without what might be card data: it goes to many people."""
    from probes.redact import scrub

    return scrub(one_line(option, scrub(text), TEXT))


def one_line(option: str, text: str, most: int) -> str:
    """Printable, on one line, not empty. Raises Complaint."""
    line = " ".join(str(screen.harmless(text.encode("utf-8", "replace").decode())).split())
    if not 1 <= len(line) <= most:
        raise Complaint(f"posagent: {option}: expected a text of 1 to {most} characters, got {len(line)}", USAGE)
    return line


def length(option: str, text: str, least: float, most: float, limits: str) -> float:
    """A length of time within limits. Raises Complaint."""
    seconds = past.seconds(option, text)
    if not least <= seconds <= most:
        raise Complaint(f"posagent: {option}: expected {limits}, got {text!r}", USAGE)
    return seconds


def tell(line: str, language: Language) -> None:
    """Print the answer, and that nobody heeds it yet where no daemon runs."""
    lines = [line]
    if daemon_pid(state_directory()) == 0:
        lines.append(texts.sentence("charge", "charge.no_daemon", {}, language))
    past.print_lines(lines)
    sys.stdout.flush()
