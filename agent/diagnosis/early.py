"""Is the cause already certain, so that nobody need wait for the rest to time out?"""

from __future__ import annotations

from collections.abc import Sequence

from agent.diagnosis import explain
from agent.diagnosis.scene import CONNECTING, NETWORK
from agent.runner import Look
from probes.model import Probe, Status

CONCLUSIVE = frozenset(
    {"lan.cable_unplugged", "lan.interface_off", "lan.no_address", "lan.no_route", "lan.router_down", "lan.wifi_weak"}
)
"""With one of these nothing beyond this PC can be reached: whoever is still waiting waits in vain."""

ROUTER_S = 0.9


def enough(looks: Sequence[Look], awaited: Sequence[Probe], elapsed: float) -> str | None:
    """The cause that already explains every probe still awaited, None while one of them may change the picture.

    A router that answers says so in well under a second; one still awaited after `elapsed` seconds is no way around.
    """
    if not awaited or any(probe.kind not in NETWORK for probe in awaited):
        return None
    if elapsed < ROUTER_S and any(probe.kind == "gateway" for probe in awaited):
        return None
    links = [found for found in looks if found.probe.kind in ("interface", "gateway")]
    if not any(found.observation.status is Status.FAIL for found in links):
        return None
    alive = [f for f in looks if f.probe.kind in ("gateway", "internet", *CONNECTING)]
    if any(found.observation.status is Status.OK for found in alive):
        return None
    diagnoses = explain(looks, {}).diagnoses
    return next((found.cause for found in diagnoses if found.cause in CONCLUSIVE), None)
