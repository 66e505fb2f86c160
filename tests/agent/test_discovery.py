"""Discovery: what a PC has becomes tables that hold as a configuration; what nobody can plug a terminal into does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent import discovery
from agent.config import ConfigError, parse
from agent.config.read import Source
from agent.starter import text
from probes.host import Host
from probes.model import OutOfTime

Tree = Callable[[dict[str, str]], Host]
ETH = {
    "type": "1",
    "flags": "0x1003",
    "operstate": "up",
    "carrier": "1",
    "ifindex": "2",
    "device/uevent": "",
}
USB = {
    "idVendor": "2fb8",
    "idProduct": "2205",
    "manufacturer": "PAX",
    "product": "PAX USB Serial",
    "bDeviceClass": "02",
    "speed": "12",
    "devnum": "4",
    "busnum": "1",
    "devpath": "2",
}


def link(name: str, **more: str) -> dict[str, str]:
    return {f"/sys/class/net/{name}/{key}": value + "\n" for key, value in (ETH | more).items()}


def device(path: str, **more: str) -> dict[str, str]:
    return {f"/sys/bus/usb/devices/{path}/{key}": value + "\n" for key, value in (USB | more).items()}


ROUTE = {
    "/proc/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    "eth1\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
}


def test_every_pc_is_asked_for_power_route_names_internet_time_disk_and_health(tree: Tree) -> None:
    assert set(discovery.tables(tree({"/sys/x": ""}))) == {
        "power", "gateway", "dns", "internet", "clock", "disk", "memory", "cpu", "temperature",
    }  # fmt: skip


def test_only_the_interface_that_leads_out_can_stop_payments(tree: Tree) -> None:
    found = discovery.tables(tree({**link("eth0"), **link("eth1"), **ROUTE}))
    assert found["interface-eth0"]["impact"] == "none"
    assert "impact" not in found["interface-eth1"]


def test_loopback_tunnels_and_bridge_ports_are_not_offered(tree: Tree) -> None:
    found = discovery.tables(
        tree(
            {
                **link("lo", flags="0x9", type="772"),
                **link("tun0", type="65534"),
                **link("eth0"),
                "/sys/class/net/eth0/master": "-> ../br0",
                "/sys/class/net/br0/bridge/bridge_id": "x",
            }
        )
    )
    assert not [name for name in found if name.startswith("interface")]


def test_a_terminal_is_named_by_what_it_probably_is_and_pinned_to_its_port(tree: Tree) -> None:
    found = discovery.tables(tree(device("1-2")))
    (name,) = (name for name in found if name.startswith("terminal"))
    assert found[name] == {
        "kind": "usb",
        "label": found[name]["label"],
        "vendor": "2fb8",
        "product": "2205",
        "path": "1-2",
    }
    assert "PAX" in found[name]["label"]


def test_an_unknown_serial_device_is_a_possible_terminal_and_cannot_stop_payments(tree: Tree) -> None:
    found = discovery.tables(tree(device("1-3", idVendor="dead", idProduct="beef", manufacturer="", product="Thing")))
    assert found["terminal-1-3"]["impact"] == "degrade"


def test_a_mouse_is_left_alone(tree: Tree) -> None:
    mouse = device(
        "1-4", idVendor="046d", idProduct="c077", bDeviceClass="03", manufacturer="Logitech", product="Mouse"
    )
    assert not [name for name in discovery.tables(tree(mouse)) if name.endswith("1-4")]


def test_the_kernels_console_is_no_port_for_a_terminal(tree: Tree) -> None:
    uart = {f"/sys/class/tty/{name}/{key}": "4\n" for name in ("ttyS0", "ttyS1") for key in ("type", "device/uevent")}
    found = discovery.tables(tree({**uart, "/sys/class/tty/console/active": "tty0 ttyS0\n"}))
    assert "serial-ttyS0" not in found
    assert found["serial-ttyS1"] == {"kind": "serial", "device": "/dev/ttyS1", "impact": "none"}


def test_what_is_found_is_a_configuration_that_holds(tree: Tree) -> None:
    host = tree({**link("eth0"), **ROUTE, **device("1-2"), **device("1-3", product='odd "name" \\ here')})
    try:
        config = parse(Source("init.toml", text(discovery.tables(host)).encode()))
    except ConfigError as error:
        pytest.fail(str(error))
    assert "gateway" in config.probes


def test_odd_names_and_a_device_that_talks_to_the_terminal_make_names_and_labels_that_hold(tree: Tree) -> None:
    evil = device("1-2", idVendor="dead", idProduct="beef", manufacturer="", product="\x1b[31mThing\x07 ")
    host = tree({**link("we+ird", ifindex="2"), **link("we@ird", ifindex="3"), **evil})
    found = discovery.tables(host)
    assert found["interface-we_ird"]["name"] == "we+ird"
    assert found["interface-we_ird_2"]["name"] == "we@ird"
    config = parse(Source("init.toml", text(found).encode()))
    assert "\x1b" not in str(config.probes["terminal-1-2"].label)
    assert "Thing" in str(config.probes["terminal-1-2"].label)


@pytest.mark.parametrize("error", [OSError(1, "sandbox"), OutOfTime("slow")])
def test_what_cannot_be_listed_is_left_out_and_the_rest_is_looked_at(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(_host: Host) -> list:
        raise error

    monkeypatch.setattr(discovery.net, "links", refuse)
    monkeypatch.setattr(discovery.usb, "devices", refuse)
    assert {"gateway", "internet", "disk"} <= set(discovery.tables(tree({"/sys/x": ""})))
