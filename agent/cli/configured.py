"""Where do the configuration and the last report lie, and which language does the reader want? Imports little."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli import CONFIGURATION, Complaint

if TYPE_CHECKING:
    from agent.config import Config
    from agent.texts import Language

SERVICE_REPORT = Path("/var/lib/posagent/health.json")
SERVICE_CONFIG = Path("/etc/posagent/config.toml")


def load(named: str | None) -> Config:
    """The configuration, every problem with it on stderr, one a line. Exit code 78."""
    from agent import config

    try:
        return config.load(Path(named) if named else None)
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


def report_path(named: str | None, env: Mapping[str, str] = os.environ) -> Path:
    """Where the last report lies, read from the configuration without validating the rest of it."""
    source = Path(named) if named else Path(env.get("POSAGENT_CONFIG") or SERVICE_CONFIG)
    path = _path_in(source)
    if path:
        return Path(path)
    if env.get("STATE_DIRECTORY"):
        return Path(env["STATE_DIRECTORY"].split(":")[0]) / "health.json"
    if SERVICE_REPORT.exists():
        return SERVICE_REPORT
    state = Path(env["XDG_STATE_HOME"]) if env.get("XDG_STATE_HOME") else Path.home() / ".local/state"
    return state / "posagent/health.json"


def _path_in(source: Path) -> str | None:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    if "[report]" not in text and "report." not in text:
        return None  # spare the reader the import
    import tomllib

    try:
        path = tomllib.loads(text).get("report", {}).get("path")
    except (tomllib.TOMLDecodeError, AttributeError):
        return None
    return path if isinstance(path, str) else None
