"""How long does a fault go unnoticed? From the moment it happens to the moment each daemon holds it for proven.

A port's service dies (its host answers with a reset), or a firewall swallows what goes to it. One try hits all daemons
at once, at a random moment of the interval; tries are spread over the interval by the clock that all shops share, so
that few tell as much as many: each daemon has its looks at the same phases of that clock in every shop.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.daemons import footprint
from bench.daemons.checks import INTERVAL_S, sixteen
from bench.daemons.peers import Peer
from bench.daemons.shop import Shop, until

WARM_UP_S, PATIENCE_S = 40.0, 120.0
EXPORTER = "blackbox + node_exporter"


def measure(directory: Path, lane: float, lanes: float, tries: float, everybody: float) -> dict[str, Any]:
    """Some of the tries; other lanes, in shops of their own, do the rest."""
    with Shop(directory) as shop:
        peers = footprint.cast(shop, None if everybody else ("posagent", "Monit"))
        threading.Event().wait(WARM_UP_S)
        found = [_try(shop, peers, int(lane + lanes * n), int(lanes * tries)) for n in range(int(tries))]
    return {"tries": found}


def _try(shop: Shop, peers: Sequence[Peer], number: int, of: int) -> dict[str, Any]:
    """One fault, from a quiet shop to a quiet shop."""
    tellers = [peer for peer in peers if peer.name != EXPORTER]
    until("a quiet shop", PATIENCE_S, lambda: not any(peer.broken() for peer in tellers))
    phase = (number + random.random()) / of * INTERVAL_S
    threading.Event().wait((phase - time.monotonic()) % INTERVAL_S)
    ports = [check for check in sixteen() if check.kind == "port"]
    check, refused = ports[number % len(ports)], number % 2 == 0
    began = time.monotonic()
    if refused:
        shop.stop_listening(check.address)
    else:
        shop.swallow([check.address])
    seen: dict[str, float] = {}
    while len(seen) < len(tellers) and time.monotonic() < began + PATIENCE_S:
        for peer in tellers:
            if peer.name not in seen and check.name in peer.broken():
                seen[peer.name] = time.monotonic() - began
        threading.Event().wait(0.1)
    for peer in peers:
        peer.must_live()
    shop.repair(check.address)
    return {"fault": "refused" if refused else "swallowed", "seconds": seen}
