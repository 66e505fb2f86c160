"""Does one daemon bear many probes, and does one dead target hold up the others? `port` probes every 30 s.

Every daemon has targets of its own, so that the wire tells when each was looked at; all run side by side.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from bench.daemons import cost, footprint
from bench.daemons.checks import INTERVAL_S, ports
from bench.daemons.detection import EXPORTER
from bench.daemons.looks import Looks
from bench.daemons.peers import Peer
from bench.daemons.shop import Shop

SCRAPER = "Prometheus (their scraper)"
LOTS = {"posagent": 1, "Monit": 2, EXPORTER: 3, SCRAPER: 3, "Icinga 2": 4}
"""Which addresses each one looks at; the exporter looks where its scraper tells it to."""
DEAD_SHARE = 10
ASKED_EVERY_S = 5.0


def measure(directory: Path, count: float, settle: float, seconds: float, everybody: float) -> dict[str, Any]:
    """`count` probes each: all well, then with a tenth of the targets dead."""
    names = list(LOTS) if everybody else ["posagent", "Monit"]
    with Shop(directory) as shop:
        shop.serve_all()
        looks = Looks("far0")
        peers = [footprint.CAST[name](name, shop, ports(int(count), LOTS[name])) for name in names]
        for peer in peers:
            peer.start()
        well = _phase(peers, looks, settle, seconds)
        shop.swallow({check.address for peer in peers for check in peer.checks[::DEAD_SHARE]})
        dead = _phase(peers, looks, settle, seconds, {check.name for check in peers[0].checks[::DEAD_SHARE]})
    return {"count": int(count), "seconds": seconds, "dead_s": settle + seconds, "well": well, "dead": dead}


def _phase(
    peers: Sequence[Peer], looks: Looks, settle: float, seconds: float, dead: Set[str] = frozenset()
) -> dict[str, Any]:
    """Let the change be known to all, then measure. `known_s`: until all that is dead is held for that."""
    known: dict[str, float] = {}
    began = time.monotonic()
    _watch(peers, dead, known, began, began + settle)
    since, before = time.monotonic(), [cost.counters(peer.roots) for peer in peers]
    _watch(peers, dead, known, began, since + seconds)
    till, found = time.monotonic(), {}
    for peer, then in zip(peers, before, strict=True):
        peer.must_live()
        found[peer.name] = {
            "cost": cost.between(then, cost.counters(peer.roots), peer.roots),
            "looks": looks.regularity((check.address for check in peer.checks), INTERVAL_S, since, till),
            "known_s": known.get(peer.name),
        }
    return found


def _watch(peers: Sequence[Peer], dead: Set[str], known: dict[str, float], began: float, ends: float) -> None:
    """Note who knows of all the dead. Asked seldom: answering costs a daemon something."""
    while (left := ends - time.monotonic()) > 0:
        threading.Event().wait(min(left, ASKED_EVERY_S))
        for peer in peers:
            if dead and peer.name not in known and dead <= peer.broken():
                known[peer.name] = time.monotonic() - began
