"""What did the technician type? The shortest way from there to the answer."""

from __future__ import annotations

import os
import sys

from agent.cli import run


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    threading = sys.modules.get("threading")
    if arguments is None and threading and threading.active_count() > 1:
        # A probe that hangs was left behind in a thread; the interpreter's own exit might wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
