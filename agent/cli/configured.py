"""Where do the configuration and the last report lie, and which language does the reader want? Imports little."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agent.cli import CONFIGURATION, Complaint

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from agent.config import Config
    from agent.texts import Language

SERVICE_REPORT = "/var/lib/posagent/health.json"
SERVICE_CONFIG = "/etc/posagent/config.toml"


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
    configured = _path_in(named or env.get("POSAGENT_CONFIG") or SERVICE_CONFIG)
    if configured:
        return configured
    if env.get("STATE_DIRECTORY"):
        return env["STATE_DIRECTORY"].split(":")[0] + "/health.json"
    if os.access(SERVICE_REPORT, os.F_OK):
        return SERVICE_REPORT
    return (env.get("XDG_STATE_HOME") or f"{env.get('HOME', '')}/.local/state") + "/posagent/health.json"


def _path_in(source: str) -> str | None:
    try:
        with open(source, encoding="utf-8-sig") as file:  # noqa: PTH123 -- see report_path
            text = file.read()
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
