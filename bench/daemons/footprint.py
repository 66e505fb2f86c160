"""What does each daemon cost, with the same sixteen checks every 30 s and all well?"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.daemons import cost
from bench.daemons.checks import sixteen
from bench.daemons.exporters import Exporters, Prometheus
from bench.daemons.icinga import Icinga
from bench.daemons.monit import Monit
from bench.daemons.peers import Peer
from bench.daemons.posagent import Posagent
from bench.daemons.shop import Shop
from bench.daemons.zabbix import Zabbix

PARTINGS_AN_HOUR = 2
"""What a daemon writes when it is told to stop it had kept in memory: posagent for half an hour at most."""
CAST = {
    "posagent": Posagent,
    "Monit": Monit,
    "blackbox + node_exporter": Exporters,
    "Prometheus (their scraper)": Prometheus,
    "Zabbix agent 2": Zabbix,
    "Icinga 2": Icinga,
}


def cast(shop: Shop, names: Iterable[str] | None = None) -> list[Peer]:
    """Start these daemons, or all, with the sixteen checks."""
    checks = sixteen()
    shop.serve(checks)
    peers: list[Peer] = [CAST[name](name, shop, checks) for name in names or CAST]
    for peer in peers:
        peer.start()
    return peers


def measure(directory: Path, warm_up: float, seconds: float) -> dict[str, Any]:
    """Let all run side by side; start-up is not counted."""
    with Shop(directory) as shop:
        peers = cast(shop)
        threading.Event().wait(warm_up)
        for peer in peers:
            peer.must_live()
        before = [cost.counters(peer.roots) for peer in peers]
        threading.Event().wait(seconds)
        costs = {}
        for peer, then in zip(peers, before, strict=True):
            peer.must_live()
            if peer.broken():
                raise SystemExit(f"{peer.name} holds {peer.broken()} for broken, and nothing is")
            costs[peer.name] = cost.between(then, cost.counters(peer.roots), peer.roots)
        for peer in peers:
            parting = sum(map(cost.parting_kb, peer.processes))
            kept = costs[peer.name].written_kb_per_hour + parting * PARTINGS_AN_HOUR
            costs[peer.name] = dataclasses.replace(costs[peer.name], written_kb_per_hour=kept)
    return {"seconds": seconds, "costs": costs}
