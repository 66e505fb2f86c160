"""posagent run: the daemon, in the foreground, until it is told to stop."""

from __future__ import annotations

import argparse


def run(arguments: argparse.Namespace) -> int:
    """Look, remember and report until SIGTERM, SIGINT or Ctrl-C; 0 on a clean stop."""
    from agent import daemon
    from agent.journal import Journal

    journal = Journal()
    try:
        return daemon.run(arguments.config, journal)
    finally:
        journal.close()
