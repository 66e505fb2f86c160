"""How does a program of one's own get a message? As JSON on its standard input; no shell, and never past the deadline.

Its exit code says how it went, as sysexits.h has it: 0 delivered; 64 to 69, 77 and 78 refused for good; any other, or
none before the deadline, may be tried again.
"""

from __future__ import annotations

import json

from agent.channels.errand import Errand
from agent.config.channels import CommandChannel
from agent.outcome import Outcome, delivered, failed, refused
from probes.host import command

REFUSALS = frozenset({64, 65, 66, 67, 68, 69, 77, 78})


def deliver(errand: Errand[CommandChannel]) -> Outcome:
    """Run the program; at the deadline its whole process group is killed."""
    message = errand.message
    env = {"POSAGENT_KEY": message.key, "POSAGENT_WHAT": message.what, "POSAGENT_SEVERITY": message.severity}
    env |= {name: errand.secrets[f"secrets.{name}"] for name in errand.channel.secrets}
    stdin = json.dumps(errand.json(), ensure_ascii=False).encode()
    return meaning(command.run(errand.host, errand.channel.command, stdin=stdin, env=env), errand.channel.command[0])


def meaning(ended: command.Outcome, name: str) -> Outcome:
    """What an exit code means."""
    said = (ended.stderr.strip() or ended.stdout.strip()).rpartition("\n")[2]
    if ended.exit_code == 0:
        return delivered(said)
    how = f"ended with {ended.exit_code}" if ended.exit_code is not None else f"died of {ended.signal}"
    detail = f"{name} {how}" + (f": {said}" if said else "")
    return refused(detail) if ended.exit_code in REFUSALS else failed(detail)
