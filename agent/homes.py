"""Where does this agent keep what it writes? Imports nothing: `posagent status` asks here too."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping


def state(env: Mapping[str, str] = os.environ) -> str | None:
    """The state directory: $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/posagent, else ~/.local/state/posagent.

    None where this user has no home: a directory made up for one would be a stranger's.
    """
    if env.get("STATE_DIRECTORY"):
        return env["STATE_DIRECTORY"].split(":")[0]
    if env.get("XDG_STATE_HOME", "").startswith("/"):  # a relative one is to be ignored, says its specification
        return env["XDG_STATE_HOME"] + "/posagent"
    home = env.get("HOME", "")
    return f"{home}/.local/state/posagent" if home.startswith("/") else None
