"""Where do the configuration and the last report lie, and which language does the reader want? Imports little."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from agent import homes
from agent.cli import CONFIGURATION, Complaint

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from agent.config import Config
    from agent.texts import Language

SERVICE_STATE = "/var/lib/posagent"
SERVICE_REPORT = "/var/lib/posagent/health.json"
SERVICE_CONFIG = "/etc/posagent/config.toml"
LIMIT = 16 << 20


def load(named: str | None) -> Config:
    """The configuration, every problem with it or with its file of advice on stderr, one a line. Exit code 78."""
    from pathlib import Path

    from agent import config

    try:
        found = config.load(Path(named) if named else None)
        if found.advice.file:
            from agent import advice

            advice.site_of(found)
        return found
    except config.ConfigError as error:
        raise Complaint(str(error), CONFIGURATION) from None


def speaks(wanted: str, env: Mapping[str, str] = os.environ) -> Language:
    """The language asked for; "auto" follows LC_ALL, LC_MESSAGES, LANG."""
    if wanted == "en":
        return "en"
    if wanted == "zh-CN":
        return "zh-CN"
    locale = next((env[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if env.get(name)), "")
    return "zh-CN" if locale.lower().startswith("zh") else "en"


def report_path(named: str | None, env: Mapping[str, str] = os.environ) -> str:
    """Where the last report lies, read from the configuration without validating the rest of it.

    Plain text and not a Path: `posagent status` has no time to import pathlib.
    """
    configured = _path_in(_text(named, env))
    if configured:
        return configured
    if not env.get("STATE_DIRECTORY") and os.access(SERVICE_REPORT, os.F_OK):
        return SERVICE_REPORT
    state = homes.state(env)
    if state is None:
        raise Complaint(
            "posagent: cannot find the report: this user has no home directory; set report.path or $XDG_STATE_HOME", 3
        )
    return state + "/health.json"


def state_directory(env: Mapping[str, str] = os.environ) -> str:
    """Where the daemon keeps its state: the service's, if this PC has one, else where this user's own would."""
    if not env.get("STATE_DIRECTORY") and os.access(SERVICE_STATE + "/state.sqlite", os.F_OK):
        return SERVICE_STATE
    state = homes.state(env)
    if state is None:
        raise Complaint(
            "posagent: cannot find the state: this user has no home directory; set $STATE_DIRECTORY or $XDG_STATE_HOME",
            3,
        )
    return state


def daemon_pid(directory: str) -> int | None:
    """The daemon that keeps its state there; 0 where surely none does, None where that is not seen.

    The lock itself is tried only where its holder seems to be gone: a daemon that starts in this moment must get it.
    (/proc/locks would tell without touching it, and stops every lock of the PC for 15 ms.)
    """
    lock = directory + "/daemon.lock"
    try:
        pid = int(read_file(lock) or b"0")
    except ValueError:
        pid = 0
    except OSError:
        return None
    if pid > 0 and _lives(pid):
        return pid
    return None if _is_locked(lock) else 0


def _lives(pid: int) -> bool:
    """Whether this process is there and may be an agent: numbers are given out again."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # another user's
    except (OSError, OverflowError):
        return False
    try:
        return b"agent" in read_file(f"/proc/{pid}/cmdline")  # of a dead one nobody has waited for it is empty
    except OSError:
        return True


def _is_locked(path: str) -> bool:
    """Whether somebody we cannot see (in a container) holds it, or we may not know."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def configured_language(named: str | None, env: Mapping[str, str] = os.environ) -> str:
    """The configuration's `language`, found without reading all of the file as TOML; "auto" where it has none."""
    for line in _text(named, env).splitlines():
        key, _equals, value = line.partition("=")
        if key.strip() == "language":
            return value.partition("#")[0].strip().strip("\"'")
        if key.lstrip().startswith("["):
            break
    return "auto"


def read_file(path: str) -> bytes:
    """A regular file's bytes; nothing else is waited for. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 -- a number
        if os.fstat(handle).st_mode & 0o170000 != 0o100000:  # S_ISREG, without the import
            raise OSError(errno.EINVAL, "it is no regular file", path)
        return file.read(LIMIT)


def _text(named: str | None, env: Mapping[str, str]) -> str:
    wanted = named or env.get("POSAGENT_CONFIG")
    try:
        return read_file(wanted or SERVICE_CONFIG).decode("utf-8-sig", "replace")
    except OSError as error:
        if wanted:
            raise Complaint(f"{wanted}: cannot be read: {error.strerror}", CONFIGURATION) from None
        return ""


def _path_in(text: str) -> str | None:
    if "report" not in text:
        return None  # spare the reader the import
    try:
        return _plain_path(text)
    except _NotPlain:
        import tomllib

    try:
        path = tomllib.loads(text).get("report", {}).get("path")
    except (ValueError, AttributeError, RecursionError):
        return None
    return path if isinstance(path, str) else None


class _NotPlain(Exception):
    """Only a reader of TOML can tell what this means."""


def _plain_path(text: str) -> str | None:
    """`path` of a plainly written `[report]`, by its lines alone: tomllib takes a third of the time that status has.

    Raises _NotPlain for everything else that might speak of the report.
    """
    if '"""' in text or "'''" in text:
        raise _NotPlain
    seen, inside, path = False, False, None
    for line in map(str.strip, text.split("\n")):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            inside = _is_report(line)
            if inside and seen:
                raise _NotPlain
            seen = seen or inside
        elif inside:
            path = _value(line, path)
        elif line.lstrip("\"'").startswith("report"):
            raise _NotPlain
    return path


def _is_report(heading: str) -> bool:
    """Whether a line that begins with a bracket is `[report]`: some are the middle of a list."""
    name = heading.partition("#")[0].strip()
    if "report" in name and name != "[report]":
        raise _NotPlain
    return name == "[report]"


def _value(line: str, path: str | None) -> str | None:
    """The path, if this line of the table sets it, else what it was."""
    key, equals, value = line.partition("=")
    if not equals or ("path" in key and key.strip() != "path"):
        raise _NotPlain
    if "path" not in key:
        return path
    value = value.strip()
    content, closing, rest = value[1:].partition(value[:1] or "=")
    is_text = value[:1] in ("'", '"') and closing and "\\" not in content
    if path is not None or not is_text or rest.lstrip()[:1] not in ("", "#"):
        raise _NotPlain
    return content
