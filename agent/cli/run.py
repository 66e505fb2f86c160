"""posagent run: the daemon, in the foreground, until it is told to stop."""

from __future__ import annotations

import argparse

from agent.cli import Complaint
from agent.cli.configured import load, speaks

TEMPORARY = 75
"""EX_TEMPFAIL of sysexits.h."""


def run(arguments: argparse.Namespace) -> int:
    """Look, remember and report until SIGTERM, SIGINT or Ctrl-C; 0 on a clean stop."""
    from agent import daemon
    from agent.discovery import probes_to_check
    from agent.journal import Journal
    from agent.lock import AlreadyRunning
    from agent.plan import Plan

    def plan() -> Plan:
        config = load(arguments.config)
        return Plan(config, probes_to_check(config), speaks(config.language))

    journal = Journal()
    try:
        return daemon.run(plan, journal)
    except AlreadyRunning as error:
        raise Complaint(f"posagent: {error}", TEMPORARY) from None
    finally:
        journal.close()
