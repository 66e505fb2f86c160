"""What did the technician type? The shortest way from there to the answer."""

from __future__ import annotations

import os
import sys

from agent import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. `--version` pays for no import."""
    words = sys.argv[1:] if arguments is None else arguments
    if words in (["--version"], ["-V"]):
        print(f"posagent {__version__}")  # noqa: T201 -- the answer itself
        return 0
    from agent.cli import run

    code = run(words)
    threading = sys.modules.get("threading")
    if arguments is None and threading and threading.active_count() > 1:
        # A probe that hangs was left behind in a thread; the interpreter's own exit might wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
