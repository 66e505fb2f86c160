"""usb: three makers' terminals, present, gone, slow, without driver, dropping off, put to sleep."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agent import texts
from probes.host import Host, usb
from probes.model import Memory, Observation, Status
from probes.usb import KIND, Reading, UsbSettings
from tests.probes import hardware

Tree = Callable[[dict[str, str]], Host]


def look(host: Host, memory: Memory | None = None, **settings: Any) -> Observation:
    wanted = UsbSettings(kind="usb", **settings)
    return KIND.judge(wanted, KIND.read(wanted, host), memory or {})


@pytest.mark.parametrize(
    ("machine", "settings", "device", "node"),
    [
        pytest.param(hardware.pax(), {"vendor": "2fb8"}, "PAX terminal", "ttyACM0", id="PAX"),
        pytest.param(
            hardware.ingenico(), {"vendor": "0b00", "product": "0080"}, "Ingenico Desk/5000", "ttyACM1", id="Ingenico"
        ),
        pytest.param(hardware.verifone(), {"path": "1-4"}, "Verifone MX870/MX880", "ttyACM0", id="Verifone"),
    ],
)
def test_a_terminal_that_is_well_is_named_with_its_node(
    tree: Tree, machine: dict[str, str], settings: dict[str, str], device: str, node: str
) -> None:
    seen = look(tree(machine), **settings)
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["device"] == device
    assert seen.measurements["nodes"] == [node]
    assert seen.measurements["drivers"] == ["cdc_acm"]
    assert seen.measurements["confidence"] == "certain"


@pytest.mark.parametrize("vendor", ["0b00", "0x0B00", "b00", "0X0b00"])
def test_a_vendor_id_may_be_written_as_people_write_it(tree: Tree, vendor: str) -> None:
    assert look(tree(hardware.ingenico()), vendor=vendor).status is Status.OK


@pytest.mark.parametrize(
    ("machine", "settings", "expected"),
    [
        pytest.param(hardware.ROOT_HUB, {"vendor": "2fb8"}, (Status.FAIL, "usb.absent"), id="unplugged"),
        pytest.param(
            hardware.pax(), {"vendor": "2fb8", "path": "1-3"}, (Status.FAIL, "usb.absent"), id="in the wrong socket"
        ),
        pytest.param(
            hardware.pax(), {"vendor": "2fb8", "serial": "1850099999"}, (Status.FAIL, "usb.absent"), id="another unit"
        ),
        pytest.param(
            hardware.pax(),
            {"vendor": "2fb8", "product": "2206"},
            (Status.WARN, "usb.absent"),
            id="the maker's terminal in another firmware mode",
        ),
        pytest.param(hardware.pax(driver=""), {"vendor": "2fb8"}, (Status.FAIL, "usb.no_driver"), id="no driver"),
        pytest.param(
            hardware.pax(driver="usbfs"),
            {"vendor": "2fb8", "driver": "cdc_acm"},
            (Status.FAIL, "usb.no_driver"),
            id="another driver than the wanted one",
        ),
        pytest.param(
            hardware.ingenico(speed="12"),
            {"vendor": "0b00", "min_speed": 480.0},
            (Status.WARN, "usb.slow"),
            id="full speed where high speed is wanted",
        ),
        pytest.param(
            hardware.verifone(power__control="auto"), {"vendor": "11ca"}, (Status.WARN, "usb.autosuspend"), id="sleepy"
        ),
        pytest.param(
            hardware.verifone(power__control="auto", power__autosuspend_delay_ms="-1000"),
            {"vendor": "11ca"},
            (Status.OK, "ok"),
            id="auto with a negative delay never sleeps",
        ),
    ],
)
def test_each_fault_of_a_device_has_its_own_reason(
    tree: Tree, machine: dict[str, str], settings: dict[str, Any], expected: tuple[Status, str]
) -> None:
    seen = look(tree(machine), **settings)
    assert (seen.status, seen.reason) == expected


def test_another_product_id_of_the_same_maker_is_told_not_hidden(tree: Tree) -> None:
    seen = look(tree(hardware.pax()), vendor="2fb8", product="2206")
    assert seen.measurements["instead"] == ["PAX terminal 2fb8:2205 at 1-1"]
    assert any("other firmware mode or model?" in line for line in seen.evidence)


def test_a_device_moved_to_another_socket_is_named_with_its_new_place(tree: Tree) -> None:
    seen = look(tree(hardware.pax()), vendor="2fb8", path="1-3")
    assert seen.evidence == ("PAX terminal 2fb8:2205 at 1-1: differs in path",)


@pytest.mark.parametrize(
    ("machine", "english", "chinese"),
    [
        (hardware.ROOT_HUB, "nothing similar is plugged in", "未插有相近设备"),
        (hardware.pax(), "similar devices: PAX terminal 2fb8:2205 at 1-1", "相近设备：PAX terminal 2fb8:2205 at 1-1"),
    ],
    ids=["nothing", "another socket"],
)
def test_what_is_there_instead_is_said_in_words(
    tree: Tree, machine: dict[str, str], english: str, chinese: str
) -> None:
    seen = look(tree(machine), vendor="2fb8", path="1-3")
    wanted = "vendor=2fb8 path=1-3"
    assert texts.sentence("usb", seen.reason, seen.measurements, "en") == f"not found on USB: {wanted}; {english}"
    assert texts.sentence("usb", seen.reason, seen.measurements, "zh-CN") == f"USB 上未找到：{wanted}；{chinese}"


def test_root_hubs_are_never_offered_instead(tree: Tree) -> None:
    seen = look(tree(hardware.ROOT_HUB), vendor="2fb8")
    assert seen.measurements["instead"] == "-"
    assert seen.measurements["wanted"] == "vendor=2fb8"


@pytest.mark.parametrize(
    ("usb_class", "expected"),
    [("ff", (Status.OK, "ok")), ("07", (Status.OK, "ok")), ("03", (Status.FAIL, "usb.no_driver"))],
    ids=["vendor-specific: programs drive it", "printer: CUPS may drive it", "keyboard-like"],
)
def test_an_interface_that_programs_drive_needs_no_kernel_driver(
    tree: Tree, usb_class: str, expected: tuple[Status, str]
) -> None:
    machine = {
        **hardware.ROOT_HUB,
        **hardware.device("1-1", "dead", "beef"),
        **hardware.interface("1-1", 0, usb_class),
    }
    seen = look(tree(machine), vendor="dead")
    assert (seen.status, seen.reason) == expected


def test_a_serial_adapter_without_its_driver_is_useless(tree: Tree) -> None:
    machine = {
        **hardware.ROOT_HUB,
        **hardware.device("1-1", "0403", "6001"),
        **hardware.interface("1-1", 0, "ff"),
    }
    seen = look(tree(machine), vendor="0403")
    assert (seen.reason, seen.measurements["expected_driver"]) == ("usb.no_driver", "ftdi_sio")


def test_an_unknown_id_with_a_serial_class_may_be_a_terminal(tree: Tree) -> None:
    machine = {
        **hardware.ROOT_HUB,
        **hardware.device("1-1", "dead", "beef"),
        **hardware.interface("1-1", 0, "02", "cdc_acm", "tty/ttyACM0"),
    }
    seen = look(tree(machine), vendor="dead")
    assert seen.status is Status.OK
    assert (seen.measurements["role"], seen.measurements["confidence"]) == ("terminal", "possible")


def test_of_two_that_fit_the_worse_speaks_and_both_are_named(tree: Tree) -> None:
    machine = {
        **hardware.pax(),
        **hardware.device("1-5", "2fb8", "2205"),
        **hardware.interface("1-5", 0, "02"),
    }
    seen = look(tree(machine), vendor="2fb8")
    assert (seen.reason, seen.measurements["path"]) == ("usb.no_driver", "1-5")
    assert seen.evidence[-1] == "several devices fit: PAX terminal 2fb8:2205 at 1-1, PAX terminal 2fb8:2205 at 1-5"


def reading(number: int, now: float, boot: str = "a", **changes: Any) -> Reading:
    device = usb.Device(path="1-1", vendor="2fb8", product="2205", bus=1, number=number, speed=480.0)
    return Reading((msgspec.structs.replace(device, **changes),), now=now, boot=boot)


def replay(*readings: Reading) -> Observation:
    """What is said after the last of several looks, each with the memory of the one before, stored as JSON."""
    wanted = UsbSettings(kind="usb", vendor="2fb8")
    memory: Memory = {}
    for one in readings:
        seen = KIND.judge(wanted, one, memory)
        memory = msgspec.json.decode(msgspec.json.encode(seen.memory))
    return seen


def gone(now: float) -> Reading:
    return Reading((), now=now, boot="a")


@pytest.mark.parametrize(
    ("readings", "expected", "times"),
    [
        pytest.param([reading(5, 0), reading(5, 30)], (Status.OK, "ok"), 0, id="stays"),
        pytest.param([reading(5, 0), reading(6, 30)], (Status.WARN, "usb.reconnecting"), 1, id="once"),
        pytest.param([reading(5, 0), gone(30), reading(6, 60)], (Status.OK, "ok"), 0, id="pulled and put back"),
        pytest.param(
            [reading(5, 0), gone(10), gone(20), gone(30), reading(9, 36)], (Status.OK, "ok"), 0, id="pulled for a while"
        ),
        pytest.param(
            [reading(5, 0), gone(10), reading(6, 20), gone(30), reading(7, 40)], (Status.OK, "ok"), 0, id="pulled twice"
        ),
        pytest.param(
            [reading(5, 0), gone(10), reading(6, 20), gone(30), reading(7, 40), gone(50), reading(8, 60)],
            (Status.FAIL, "usb.reconnecting"),
            3,
            id="gone thrice is a loose plug, seen or not",
        ),
        pytest.param(
            [reading(5, 0), gone(10), reading(6, 20), gone(30), reading(7, 40), gone(3625), reading(8, 3630)],
            (Status.OK, "ok"),
            0,
            id="pulled now and then",
        ),
        pytest.param(
            [reading(5, 0), gone(10), reading(6, 20), reading(7, 30)],
            (Status.WARN, "usb.reconnecting"),
            1,
            id="pulled, then dropping off unseen",
        ),
        pytest.param(
            [reading(5, 0), reading(6, 10), reading(7, 20), gone(30), reading(8, 40), reading(9, 50)],
            (Status.FAIL, "usb.reconnecting"),
            3,
            id="flapping, once seen gone",
        ),
        pytest.param(
            [reading(5, 0), reading(6, 30), reading(7, 60), reading(8, 90)],
            (Status.FAIL, "usb.reconnecting"),
            3,
            id="three times",
        ),
        pytest.param([reading(5, 0), reading(6, 30), reading(6, 3631)], (Status.OK, "ok"), 0, id="forgiven in an hour"),
        pytest.param([reading(5, 0), reading(9, 3700)], (Status.OK, "ok"), 0, id="long gone is not flapping"),
        pytest.param([reading(5, 5000), reading(3, 20, boot="b")], (Status.OK, "ok"), 0, id="the PC restarted"),
        pytest.param([reading(126, 0), reading(2, 30)], (Status.WARN, "usb.reconnecting"), 1, id="numbers wrap"),
    ],
)
def test_reconnections_are_counted_over_an_hour(
    readings: list[Reading], expected: tuple[Status, str], times: int
) -> None:
    seen = replay(*readings)
    assert (seen.status, seen.reason) == expected
    assert seen.measurements["reconnects_per_hour"] == times


def test_what_an_older_version_remembered_is_understood() -> None:
    wanted = UsbSettings(kind="usb", vendor="2fb8")
    entry = {"id": "2fb8:2205", "number": [1, 5], "speed": 480.0, "at": 0, "again": [0]}
    seen = KIND.judge(wanted, reading(6, 30), {"boot": "a", "seen": {"1-1 2fb8": entry}})
    assert (seen.reason, seen.measurements["reconnects_per_hour"]) == ("usb.reconnecting", 2)


def test_of_two_terminals_the_one_that_was_pulled_is_forgiven() -> None:
    (stays,) = reading(4, 0, path="1-2").devices
    with_both, alone, back = reading(5, 0), gone(10), reading(6, 20)
    looks = [msgspec.structs.replace(look, devices=(*look.devices, stays)) for look in (with_both, alone, back)]
    assert replay(*looks).reason == "ok"


def test_a_device_slower_than_it_once_was_on_this_port_is_slow() -> None:
    seen = replay(reading(5, 0), reading(6, 30, speed=12.0), reading(6, 4000, speed=12.0))
    assert (seen.status, seen.reason) == (Status.WARN, "usb.slow")
    assert (seen.measurements["speed_mbps"], seen.measurements["min_speed_mbps"]) == (12.0, 480.0)


def test_another_firmware_mode_has_a_speed_of_its_own() -> None:
    seen = replay(
        reading(5, 0), reading(6, 30, speed=12.0, product="0102"), reading(6, 4000, speed=12.0, product="0102")
    )
    assert seen.reason == "ok"


def test_a_terminal_that_vanishes_during_the_walk_is_left_out(tree: Tree) -> None:
    host = tree(hardware.pax())
    shutil.rmtree(host.path(f"{hardware.USB}/1-1"))
    assert [device.path for device in usb.devices(host)] == ["usb1"]


def test_a_kernel_without_usb_says_so_beside_the_absence(tree: Tree) -> None:
    seen = look(tree({"/sys/class/net/lo/ifindex": "1"}), vendor="2fb8")
    assert (seen.status, seen.reason) == (Status.FAIL, "usb.absent")
    assert seen.evidence == ("this kernel serves no USB at all",)


def test_a_device_must_be_named_somehow() -> None:
    assert list(KIND.problems(UsbSettings(kind="usb"))) == [
        ("vendor", "expected at least one of vendor, product, serial, path")
    ]
    assert list(KIND.problems(UsbSettings(kind="usb", serial="1"))) == []


def test_settings_refuse_what_is_no_id() -> None:
    for wrong in ({"vendor": "pax"}, {"product": "12345"}, {"path": "usb1"}, {"min_speed": 0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"kind": "usb", **wrong}, UsbSettings)


def test_interfaces_of_all_makes_give_their_nodes(tree: Tree) -> None:
    machine = {
        **hardware.ROOT_HUB,
        **hardware.device("1-1", "067b", "2303"),
        **hardware.interface("1-1", 0, "ff", "pl2303", "ttyUSB0/tty/ttyUSB0"),
        **hardware.interface("1-1", 1, "07", "usblp", "usbmisc/lp0"),
        **hardware.interface("1-1", 2, "03", "usbhid", "0003:067B:2303.0001/hidraw/hidraw3"),
        **hardware.interface("1-1", 3, "e0", "rndis_host", "net/usb0"),
    }
    device = next(device for device in usb.devices(tree(machine)) if device.path == "1-1")
    assert device.nodes == ["hidraw3", "lp0", "ttyUSB0", "usb0"]
    assert device.drivers == ["pl2303", "rndis_host", "usbhid", "usblp"]


@given(
    st.dictionaries(
        st.sampled_from(["speed", "devnum", "busnum", "bDeviceClass", "serial", "power/control"]),
        st.binary(max_size=40),
    )
)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_device_says_an_answer_comes_back(tree: Tree, attributes: dict[str, bytes]) -> None:
    host = tree({})
    if not host.path(f"{hardware.USB}/1-1").exists():
        tree(hardware.pax())
    for name, content in attributes.items():
        host.path(f"{hardware.USB}/1-1/{name}").write_bytes(content)
    assert look(host, vendor="2fb8").reason in {"ok", "probe.denied", *KIND.reasons}
