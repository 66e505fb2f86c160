"""What would a first configuration of this PC say? The text that `posagent config init` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.config import toml
from agent.discovery import Tables

HEAD = """\
# posagent: a configuration to start from, filled in with what this PC has.
# Every setting with its default: config.example.toml and `posagent kinds KIND`. Check this file: posagent config check

# language = "zh-CN"            # auto (as this PC is set), en, zh-CN

[site]
# store = "0042"
# terminal = "T01"

[contacts]                      # whom to call; shown in the advice
# it = ""
# isp = ""
# acquirer = ""

# Who is told, and how; docs/channels.md has a ready example of each way. Try it with: posagent drill
# [channels.staff]
# kind = "desktop"              # on the screen of whoever is logged in: needs no network
# [channels.it]
# kind = "email"
# host = "smtp.store.example"
# sender = "till@store.example"
# to = ["it@store.example"]

# The bank's side: ask the acquirer for names and ports. Without them nobody can tell whether cards can be taken.
# [probes.auth]
# kind = "tls"
# host = "auth.acquirer.example"
# port = 443
#
# Or one of the lists that payment companies publish (posagent kinds tls):
# [probes.hosts]
# kind = "tls"
# preset = "adyen-eu"

# The card terminal, where it is on the network:
# [probes.terminal]
# kind = "port"
# host = "192.0.2.50"
# port = 8443
# role = "terminal"

# The POS software, and the batch close as it records it:
# [probes.pos]
# kind = "process"
# name = "pos"
# [probes.settlement]
# kind = "settlement"
# file = "/var/lib/pos/settlement.json"
# format = "json"
# deadline = "23:30"

# What was found on this PC:
"""


def text(tables: Tables) -> str:
    """The commented file: the site's blanks to fill in, then one table per thing found."""
    return HEAD + "".join(f"\n[probes.{toml.key(name)}]\n{''.join(_settings(table))}" for name, table in tables.items())


def _settings(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        yield f"{toml.key(name)} = {toml.value(value)}\n"
