"""What can be wrong with a till, who mends it, and of which category is it? CONTRACT.md section 5, as one table."""

from __future__ import annotations

from typing import Literal, NamedTuple

Party = Literal["store", "it", "isp", "acquirer", "vendor"]
Category = Literal["system", "network", "operation", "third_party", "exceptional"]


class Kin(NamedTuple):
    """Who mends a cause, and which category it belongs to."""

    party: Party
    category: Category


CAUSES: dict[str, Kin] = {
    "power.mains_lost": Kin("store", "exceptional"),
    "power.battery_exhausted": Kin("store", "exceptional"),
    "power.ups_battery_worn": Kin("it", "system"),
    "power.ups_overloaded": Kin("it", "system"),
    "power.ups_unmonitored": Kin("it", "system"),
    "power.supply_weak": Kin("store", "system"),
    "terminal.unplugged": Kin("store", "system"),
    "terminal.port_denied": Kin("it", "system"),
    "terminal.port_taken": Kin("it", "system"),
    "terminal.driver_missing": Kin("it", "system"),
    "terminal.cable_poor": Kin("store", "system"),
    "terminal.autosuspend": Kin("it", "system"),
    "lan.interface_off": Kin("it", "network"),
    "lan.cable_unplugged": Kin("store", "network"),
    "lan.wifi_weak": Kin("it", "network"),
    "lan.address_conflict": Kin("it", "network"),
    "lan.no_address": Kin("it", "network"),
    "lan.no_route": Kin("it", "network"),
    "lan.router_down": Kin("store", "network"),
    "lan.poor": Kin("it", "network"),
    "isp.captive_portal": Kin("isp", "network"),
    "isp.down": Kin("isp", "network"),
    "isp.poor": Kin("isp", "network"),
    "dns.down": Kin("it", "network"),
    "dns.tampered": Kin("it", "network"),
    "dns.name_missing": Kin("it", "network"),
    "firewall.local_rule": Kin("it", "network"),
    "firewall.all_blocked": Kin("it", "network"),
    "firewall.port_blocked": Kin("it", "network"),
    "network.mtu": Kin("it", "network"),
    "clock.wrong": Kin("it", "system"),
    "firewall.tls_inspection": Kin("it", "network"),
    "acquirer.certificate_expired": Kin("acquirer", "third_party"),
    "acquirer.certificate_invalid": Kin("acquirer", "third_party"),
    "acquirer.unreachable": Kin("acquirer", "third_party"),
    "acquirer.refusing": Kin("acquirer", "third_party"),
    "acquirer.silent": Kin("acquirer", "third_party"),
    "terminal.unreachable": Kin("store", "system"),
    "service.unreachable": Kin("vendor", "third_party"),
    "service.error": Kin("vendor", "third_party"),
    "network.ipv6_broken": Kin("it", "network"),
    "host.disk_full": Kin("it", "system"),
    "host.disk_read_only": Kin("it", "system"),
    "host.memory_low": Kin("it", "system"),
    "host.overloaded": Kin("it", "system"),
    "host.overheating": Kin("it", "system"),
    "software.not_running": Kin("vendor", "system"),
    "software.outdated": Kin("vendor", "system"),
    "software.restart_pending": Kin("vendor", "system"),
    "settlement.failed": Kin("store", "operation"),
    "settlement.overdue": Kin("store", "operation"),
    "settlement.unsent": Kin("store", "operation"),
    "unclassified": Kin("it", "system"),
}
"""Every cause there is, from the cord to the bank: of two faults that weigh the same, the earlier is named first."""
