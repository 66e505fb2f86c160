"""posagent kinds: what can be asked of a till, from the code itself."""

from __future__ import annotations

import argparse
import difflib

from agent.cli import USAGE, Complaint


def run(arguments: argparse.Namespace) -> int:
    """List all kinds, or print one with its settings, defaults and reasons."""
    from agent.kinds_page import kind_text, kinds_text
    from probes import registry

    if arguments.kind is None:
        print(kinds_text().rstrip())  # noqa: T201 -- the answer itself
        return 0
    try:
        kind = registry.find(arguments.kind)
    except KeyError:
        near = difflib.get_close_matches(arguments.kind, registry.names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else "`posagent kinds` lists them"
        raise Complaint(
            f"posagent: cannot show kind {arguments.kind!r}: there is none of this name; {hint}", USAGE
        ) from None
    print(kind_text(kind).rstrip())  # noqa: T201 -- the answer itself
    return 0
