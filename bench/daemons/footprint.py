"""What does each daemon cost, with the same sixteen checks every 30 s and all well?"""

from __future__ import annotations

import dataclasses
import threading
import time
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

SAVES_AN_HOUR = 2
"""How often posagent saves what it may lose: each half hour, and for the first time after five minutes."""
SETTLED_S, SAVE_S, HEARTBEAT_S = 30.0, (285.0, 330.0), 600.0
"""When start-up is over, when the first save falls, and how far posagent's reports are apart while nothing changes."""
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
        began = time.monotonic()
        marks = [wait_and_count(peers, began, at) for at in sorted({SETTLED_S, *SAVE_S, warm_up}) if at <= warm_up]
        for peer in peers:
            peer.must_live()
        before = marks[-1]
        after = wait_and_count(peers, began, warm_up + seconds)
        costs = {}
        for number, peer in enumerate(peers):
            peer.must_live()
            if peer.broken():
                raise SystemExit(f"{peer.name} holds {peer.broken()} for broken, and nothing is")
            costs[peer.name] = cost.between(before[number], after[number], peer.roots)
        for number, peer in enumerate(peers):
            totals = [each[number].written / 1024 for each in (*marks, after)]
            kept = an_hour(totals, warm_up + seconds, peer)
            costs[peer.name] = dataclasses.replace(costs[peer.name], written_kb_per_hour=kept)
    return {"seconds": seconds, "costs": costs}


def wait_and_count(peers: Iterable[Peer], began: float, at: float) -> list[cost.Counters]:
    """What each has used up so many seconds after the start."""
    threading.Event().wait(max(0.0, began + at - time.monotonic()))
    return [cost.counters(peer.roots) for peer in peers]


def an_hour(totals: list[float], ran: float, peer: Peer) -> float:
    """KB an hour, from what was written until each mark: posagent's saves are told from its heartbeats.

    Where there was no time for these, what it writes when told to stop stands for a save: that, and more.
    """
    written = totals[-1] - totals[0]
    if ran < HEARTBEAT_S + SETTLED_S:
        return written * 3600 / (ran - SETTLED_S) + sum(map(cost.parting_kb, peer.processes)) * SAVES_AN_HOUR
    if peer.name != "posagent":
        return written * 3600 / (ran - SETTLED_S)
    save = totals[2] - totals[1]
    return (written - save) * 3600 / HEARTBEAT_S + save * SAVES_AN_HOUR
