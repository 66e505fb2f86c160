"""power: mains, several batteries, USB-C, a mouse's battery, a Raspberry Pi, a desktop that cannot tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from probes.host import Host, power
from probes.model import CannotAnswer, NotFitted, Observation, Status, Unsupported
from probes.power import KIND, PowerSettings

Tree = Callable[[dict[str, str]], Host]


def supply(name: str, **attributes: object) -> dict[str, str]:
    return {f"/sys/class/power_supply/{name}/{key}": f"{value}\n" for key, value in attributes.items()}


def mains(online: int) -> dict[str, str]:
    return supply("AC", type="Mains", online=online)


def battery(status: str, percent: int, name: str = "BAT0", **more: object) -> dict[str, str]:
    return supply(name, type="Battery", present=1, status=status, capacity=percent, scope="System", **more)


def look(host: Host, **settings: Any) -> Observation:
    wanted = PowerSettings(kind="power", **settings)
    return KIND.judge(wanted, KIND.read(wanted, host), {})


PI_GOOD = {"/sys/class/hwmon/hwmon1/name": "rpi_volt\n", "/sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n"}
PI_WEAK = {**PI_GOOD, "/sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}
USB_C = supply("ucsi-source-psy-USBC000:001", type="USB", online=1)
USB_C_IDLE = supply("ucsi-source-psy-USBC000:001", type="USB", online=0)
MOUSE = supply("hidpp_battery_0", type="Battery", scope="Device", status="Discharging", capacity=5, online=1)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param(mains(1), (Status.OK, "ok"), id="desktop that reports its mains"),
        pytest.param({**mains(1), **battery("Charging", 5)}, (Status.OK, "ok"), id="charging from empty"),
        pytest.param({**mains(1), **battery("Full", 100)}, (Status.OK, "ok"), id="full"),
        pytest.param({**mains(1), **battery("Not charging", 80)}, (Status.OK, "ok"), id="held at 80 percent"),
        pytest.param({**mains(1), **battery("Unknown", 80)}, (Status.OK, "ok"), id="unknown on the mains"),
        pytest.param({**mains(0), **battery("Discharging", 80)}, (Status.WARN, "power.on_battery"), id="mains gone"),
        pytest.param({**mains(0), **battery("Unknown", 80)}, (Status.WARN, "power.on_battery"), id="unknown, no mains"),
        pytest.param({**mains(0), **battery("Full", 100)}, (Status.WARN, "power.on_battery"), id="status lags behind"),
        pytest.param({**mains(0), **battery("Discharging", 19)}, (Status.FAIL, "power.battery_low"), id="19 percent"),
        pytest.param({**mains(0), **battery("Discharging", 20)}, (Status.WARN, "power.on_battery"), id="20 percent"),
        pytest.param(
            {**mains(0), **battery("Discharging", 60, capacity_level="Critical")},
            (Status.FAIL, "power.battery_low"),
            id="the battery itself says critical",
        ),
        pytest.param(
            {**mains(1), **battery("Discharging", 10)}, (Status.FAIL, "power.battery_low"), id="a cord too weak"
        ),
        pytest.param({**mains(0), **USB_C, **battery("Charging", 50)}, (Status.OK, "ok"), id="fed by USB-C"),
        pytest.param({**USB_C_IDLE, **battery("Discharging", 50)}, (Status.WARN, "power.on_battery"), id="USB-C idle"),
        pytest.param({**USB_C_IDLE, **battery("Full", 100)}, (Status.OK, "ok"), id="a USB port that feeds nobody"),
        pytest.param(battery("Discharging", 50), (Status.WARN, "power.on_battery"), id="a battery and nothing else"),
        pytest.param({**mains(1), **MOUSE}, (Status.OK, "ok"), id="the mouse's empty battery is not the till's"),
        pytest.param(
            {**mains(0), **battery("Discharging", 60), **battery("Full", 100, "BAT1")},
            (Status.WARN, "power.on_battery"),
            id="two batteries, the first is drained",
        ),
        pytest.param(PI_GOOD, (Status.OK, "ok"), id="Raspberry Pi, well fed"),
        pytest.param(PI_WEAK, (Status.WARN, "power.undervoltage"), id="Raspberry Pi, weak adapter"),
    ],
)
def test_each_state_of_the_power_has_its_own_reason(
    tree: Tree, machine: dict[str, str], expected: tuple[Status, str]
) -> None:
    seen = look(tree(machine))
    assert (seen.status, seen.reason) == expected


@pytest.mark.parametrize(
    "machine",
    [{}, MOUSE, USB_C_IDLE, USB_C, mains(0), supply("BAT0", type="Battery", present=0)],
    ids=["nothing", "only a mouse", "an idle USB-C port", "a busy USB-C port", "mains that are off", "an empty bay"],
)
def test_a_pc_that_nothing_reports_on_is_not_called_well(tree: Tree, machine: dict[str, str]) -> None:
    with pytest.raises(NotFitted, match="a UPS can be watched with kind ups"):
        look(tree({**machine, "/sys/class/net/lo/ifindex": "1"}))


def test_a_battery_that_says_nothing_is_not_guessed(tree: Tree) -> None:
    with pytest.raises(Unsupported):
        look(tree(battery("Unknown", 80)))


def test_two_batteries_count_by_their_size_and_give_a_runtime(tree: Tree) -> None:
    machine = {
        **mains(0),
        **battery("Discharging", 10, "BAT0", energy_now=4_000_000, energy_full=40_000_000, power_now=8_000_000),
        **battery("Unknown", 50, "BAT1", energy_now=5_000_000, energy_full=10_000_000, power_now=0),
    }
    seen = look(tree(machine))
    assert seen.reason == "power.battery_low"
    assert seen.measurements["charge_percent"] == 18.0
    assert seen.measurements["runtime_s"] == 1800
    assert seen.measurements["batteries"] == ["BAT0", "BAT1"]


def test_charge_counters_stand_in_for_energy_and_percent(tree: Tree) -> None:
    machine = supply(
        "BAT0",
        type="Battery",
        status="Discharging",
        charge_now=2_000_000,
        charge_full=4_000_000,
        current_now=-1_000_000,
    )
    (found,) = power.supplies(tree(machine))
    assert (found.percent, found.seconds_left) == (50, 7200.0)


def test_min_charge_is_heeded(tree: Tree) -> None:
    host = tree({**mains(0), **battery("Discharging", 40)})
    assert look(host, min_charge=50.0).reason == "power.battery_low"
    assert look(host, min_charge=0.0).reason == "power.on_battery"


@given(
    st.dictionaries(
        st.sampled_from(["type", "online", "status", "capacity", "energy_now", "energy_full", "power_now", "present"]),
        st.one_of(st.sampled_from([b"Battery", b"Mains", b"1", b"0", b"-1", b"Discharging"]), st.binary(max_size=30)),
    )
)
@hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_driver_says_an_answer_comes_back(tree: Tree, attributes: dict[str, bytes]) -> None:
    host = tree(battery("Full", 100))
    for name, content in attributes.items():
        host.path(f"/sys/class/power_supply/BAT0/{name}").write_bytes(content)
    with contextlib.suppress(CannotAnswer):
        assert look(host).reason in {"ok", *KIND.reasons}
