"""Does the fault lie between this PC and its router? Interface, address, route, router, and how well they carry."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from agent.diagnosis.model import Diagnosis
from agent.diagnosis.scene import DEGRADED, Scene, Test, fact, host_of
from agent.runner import Look

LOST, LOST_SHARE = 2, 0.05
"""Pings of the router that may get lost by chance: a single one, or one in twenty."""


def interface(scene: Scene) -> Iterator[Diagnosis]:
    """An interface that carries nothing. It explains the rest only where no other one leads out."""
    for found in scene.bad(
        "interface.off", "interface.absent", "interface.no_carrier", "interface.no_address", "interface.self_assigned"
    ):
        cause = _interface_cause(found)
        leads = cause == "lan.address_conflict" or not scene.answered_beyond()
        hang = scene.silent(_stands_on(found)) if leads and not _way_around(scene, found) else ()
        yield scene.diagnose(cause, [found], hang)


def route(scene: Scene) -> Iterator[Diagnosis]:
    """The PC has an address but no way out, or one that leads nowhere."""
    for found in scene.bad("gateway.no_route"):
        yield scene.diagnose("lan.no_route", [found, *scene.bad("port.no_route")], scene.silent(_not_local(scene)))
    for found in scene.bad("gateway.no_reply"):
        if scene.answered_beyond():
            continue  # something passed it: it only ignores pings
        yield from _gateway_gone(scene, found)


def _gateway_gone(scene: Scene, gateway: Look) -> Iterator[Diagnosis]:
    """Is the router dead, or is it elsewhere? Its other services (names, time) answer at its true address."""
    lan_resolver = [f for f in scene.looks if f.probe.kind == "dns" and _heard_from_another(f, gateway)]
    neighbours = scene.good("port", "tls", "http", "ping", where=scene.is_lan)
    silent = scene.silent(lambda found: not scene.is_lan(found) or not neighbours)
    silent += scene.bad("dns.", "internet.", "clock.")
    if lan_resolver:
        yield scene.diagnose(
            "lan.no_route", [gateway, *lan_resolver], silent, confidence="likely", alternatives=("lan.router_down",)
        )
        return
    against = [("lan.cable_unplugged", found) for found in scene.good("interface")]
    against += [("lan.interface_off", found) for found in scene.good("interface")]
    against += [("lan.cable_unplugged", found) for found in neighbours]
    yield scene.diagnose(
        "lan.router_down", [gateway], silent, confidence="likely", alternatives=("lan.no_route",), against=against
    )


def quality(scene: Scene) -> Iterator[Diagnosis]:
    """Loss or delay that is there already at the router."""
    weak = scene.bad("interface.weak_signal")
    cable = scene.bad("interface.slow", "interface.half_duplex", "interface.errors", "interface.flapping")
    poor = scene.bad("gateway.loss", "gateway.slow")
    losing = [] if weak or cable or poor else _losing(scene)
    hang = scene.bad(*DEGRADED, "dns.servfail", "tls.closed") if poor or weak or cable or losing else []
    if weak:
        yield scene.diagnose("lan.wifi_weak", [*weak, *poor], hang)
    elif cable or poor:
        yield scene.diagnose("lan.poor", [*cable, *poor], hang)
    elif losing:
        yield scene.diagnose("lan.poor", losing, hang, confidence="likely")


def _losing(scene: Scene) -> list[Look]:
    """Pings of the router that got lost while others suffer. A few look well by luck: all looks are taken together."""
    routers = {address for found in scene.looks for address in fact(found, "answering") or () if _is_gateway(found)}
    pings = [f for f in scene.looks if _is_gateway(f) or (f.probe.kind == "ping" and host_of(f) in routers)]
    sent = sum(int(fact(found, "sent") or 0) for found in pings)
    lost = [f for f in pings if int(fact(f, "sent") or 0) > int(fact(f, "received") or 0)]
    count = sum(int(fact(found, "sent")) - int(fact(found, "received") or 0) for found in lost)
    suffers = [found for found in scene.bad(*DEGRADED) if found not in pings]
    return lost if suffers and count >= LOST and count >= LOST_SHARE * sent else []


def _is_gateway(found: Look) -> bool:
    return found.probe.kind == "gateway"


def terminal_on_lan(scene: Scene) -> Iterator[Diagnosis]:
    """The card terminal does not answer, though the LAN lives."""
    reasons = ("port.", "tls.", "http.", "ping.no_reply", "ping.unreachable", "ping.unresolved")
    gone = scene.bad(*reasons, where=scene.is_terminal)
    if not gone:
        return
    against = [("lan.router_down", found) for found in scene.good("gateway")]
    against += [("lan.cable_unplugged", found) for found in scene.good("interface")]
    yield scene.diagnose("terminal.unreachable", gone, against=against)


def _interface_cause(found: Look) -> str:
    reason = found.observation.reason.removeprefix("interface.")
    if fact(found, "conflicting_address"):
        return "lan.address_conflict"
    if reason == "no_carrier":
        return "lan.wifi_weak" if fact(found, "wireless") else "lan.cable_unplugged"
    return "lan.no_address" if reason in ("no_address", "self_assigned") else "lan.interface_off"


def _stands_on(broken: Look) -> Test:
    """What needs this interface. A conflict leaves the other family alone: what works over it still does."""
    conflict = str(fact(broken, "conflicting_address") or "")
    version = 6 if ":" in conflict else 4

    def stands(found: Look) -> bool:
        outcomes = {4: fact(found, "ipv4"), 6: fact(found, "ipv6")}
        if any(outcomes.values()):
            return outcomes[version] not in (None, "ok")
        return _version(fact(found, "address") or fact(found, "server") or host_of(found)) in (None, version)

    return stands if conflict else lambda _found: True


def _version(address: object) -> int | None:
    try:
        return ipaddress.ip_address(str(address).partition("%")[0]).version
    except ValueError:
        return None


def _way_around(scene: Scene, broken: Look) -> bool:
    """Another interface leads to a router that answers."""
    return any(fact(found, "interface") not in (None, fact(broken, "name")) for found in scene.good("gateway"))


def _not_local(scene: Scene) -> Test:
    return lambda found: scene.place(found) not in ("here", "lan")


def _heard_from_another(found: Look, gateway: Look) -> bool:
    """Somebody answered this resolver's question who is not the silent gateway: with a name, or with a refusal."""
    server = fact(found, "server")
    answered = found.observation.reason in ("ok", "dns.servfail", "dns.refused", "dns.slow", "dns.no_such_name")
    return answered and isinstance(server, str) and "," not in server and server != fact(gateway, "gateway")
