"""temperature: each sensor by its own limits; broken ones never raise an alarm and never stand in for a cool PC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, sensors
from probes.host.sensors import Sensor
from probes.model import NotFitted, Observation, Status
from probes.temperature import KIND, Reading, TemperatureSettings

Tree = Callable[[dict[str, str]], Host]


def chip(number: int, name: str, **attributes: object) -> dict[str, str]:
    base = f"/sys/class/hwmon/hwmon{number}"
    return {f"{base}/name": f"{name}\n", **{f"{base}/{key}": f"{value}\n" for key, value in attributes.items()}}


CORE = chip(0, "coretemp", temp1_input=52000, temp1_max=80000, temp1_crit=100000, temp1_label="Package id 0")
NVME = chip(1, "nvme", temp1_input=38850, temp1_max=81850, temp1_crit=84850, temp1_label="Composite")


def look(host: Host, **settings: Any) -> Observation:
    wanted = TemperatureSettings(kind="temperature", **settings)
    return KIND.judge(wanted, KIND.read(wanted, host), {})


def judge(*found: Sensor, **settings: Any) -> tuple[Status, str, object]:
    seen = KIND.judge(TemperatureSettings(kind="temperature", **settings), Reading(found), {})
    return seen.status, seen.reason, seen.measurements["sensor"]


@pytest.mark.parametrize(
    ("found", "settings", "expected"),
    [
        ([Sensor("cpu", 52, 80, 100)], {}, (Status.OK, "ok", "cpu")),
        ([Sensor("cpu", 82, 80, 100)], {}, (Status.WARN, "temperature.high", "cpu")),
        ([Sensor("cpu", 100, 80, 100)], {}, (Status.FAIL, "temperature.critical", "cpu")),
        ([Sensor("zone", 81)], {}, (Status.WARN, "temperature.high", "zone")),
        ([Sensor("zone", 95)], {}, (Status.FAIL, "temperature.critical", "zone")),
        ([Sensor("disk", 60, 55, 70), Sensor("cpu", 78, 80, 100)], {}, (Status.WARN, "temperature.high", "disk")),
        ([Sensor("disk", 71, 55, 70), Sensor("cpu", 99, 80, 100)], {}, (Status.FAIL, "temperature.critical", "disk")),
        ([Sensor("cpu", 85, 100, 100)], {}, (Status.WARN, "temperature.high", "cpu")),
        ([Sensor("cpu", 66, 80, 100)], {"warn": 60.0}, (Status.WARN, "temperature.high", "cpu")),
        ([Sensor("cpu", 66, 80, 100)], {"fail": 65.0}, (Status.FAIL, "temperature.critical", "cpu")),
        ([Sensor("cpu", 90, 80, 100)], {"warn": 96.0}, (Status.OK, "ok", "cpu")),
    ],
    ids=[
        *("cool", "above its own maximum", "at its own critical", "80 where it has no maximum", "95 likewise"),
        *("hot for a disk", "critical goes before high", "a maximum equal to critical warns of nothing"),
        *("warn set", "fail set", "a higher warn"),
    ],
)
def test_each_temperature_has_its_own_reason(
    found: list[Sensor], settings: dict[str, float], expected: tuple[Status, str, str]
) -> None:
    assert judge(*found, **settings) == expected


def test_sensors_are_read_with_their_labels_and_limits(tree: Tree) -> None:
    assert sensors.temperatures(tree({**CORE, **NVME})) == [
        Sensor("coretemp Package id 0", 52.0, 80.0, 100.0),
        Sensor("nvme Composite", 38.85, 81.85, 84.85),
    ]


def test_thermal_zones_count_with_their_lowest_trip_points(tree: Tree) -> None:
    zone = "/sys/class/thermal/thermal_zone0"
    host = tree(
        {
            f"{zone}/type": "cpu-thermal\n",
            f"{zone}/temp": "61234\n",
            f"{zone}/trip_point_0_type": "critical\n",
            f"{zone}/trip_point_0_temp": "105000\n",
            f"{zone}/trip_point_1_type": "hot\n",
            f"{zone}/trip_point_1_temp": "90000\n",
            "/sys/class/thermal/cooling_device0/type": "Processor\n",
        }
    )
    assert sensors.temperatures(host) == [Sensor("cpu-thermal", 61.234, 90.0, 105.0)]


@pytest.mark.parametrize("broken", ["0", "-273150", "127000", "127500", "255000", "-128000", "", "N/A"])
def test_what_only_a_broken_sensor_says_is_passed_over(tree: Tree, broken: str) -> None:
    host = tree({**CORE, **chip(2, "nct6775", temp7_input=broken, temp7_label="CPUTIN")})
    assert [sensor.name for sensor in sensors.temperatures(host)] == ["coretemp Package id 0"]


def test_faulty_unconnected_unreadable_and_slow_sensors_are_passed_over(tree: Tree) -> None:
    host = tree(
        {
            **CORE,
            **chip(2, "nct6775", temp3_input=113000, temp3_label="AUXTIN0", temp4_input=60000, temp4_fault=1),
            **chip(3, "w1_slave_temp", temp1_input=21000),
            "/sys/class/hwmon/hwmon4/name": "acpitz\n",
            "/sys/class/hwmon/hwmon4/temp1_input/is_a_directory": "",
        }
    )
    assert [sensor.name for sensor in sensors.temperatures(host)] == ["coretemp Package id 0"]


def test_nonsense_limits_of_a_drive_are_not_believed(tree: Tree) -> None:
    host = tree(chip(0, "nvme", temp1_input=40000, temp1_max=65261850, temp1_crit=-273150))
    assert sensors.temperatures(host) == [Sensor("nvme temp1", 40.0)]


def test_drivers_of_old_keep_their_files_one_level_deeper(tree: Tree) -> None:
    base = "/sys/class/hwmon/hwmon0/device"
    assert sensors.temperatures(tree({f"{base}/name": "k8temp\n", f"{base}/temp1_input": "45000\n"})) == [
        Sensor("k8temp temp1", 45.0)
    ]


def test_frost_in_a_kiosk_is_no_broken_sensor(tree: Tree) -> None:
    assert look(tree(chip(0, "lm75", temp1_input=-8000))).measurements["celsius"] == -8.0


def test_a_pc_without_sensors_is_not_cold(tree: Tree) -> None:
    with pytest.raises(NotFitted):
        look(tree(chip(2, "nct6775", temp1_input=0)))


def test_a_warning_comes_before_a_failure() -> None:
    wrong = TemperatureSettings(kind="temperature", warn=90.0, fail=70.0)
    assert list(KIND.problems(wrong)) == [("warn", "expected no more than fail (70)")]


@given(
    st.lists(
        st.builds(
            Sensor,
            st.text(max_size=9),
            st.floats(-55, 126),
            st.none() | st.floats(30, 126),
            st.none() | st.floats(30, 126),
        ),
        min_size=1,
    )
)
def test_whatever_sensors_say_one_speaks_for_all(found: list[Sensor]) -> None:
    status, reason, name = judge(*found)
    assert reason in {"ok", *KIND.reasons}
    assert name in {sensor.name for sensor in found}
    assert (status is Status.FAIL) == any(sensor.celsius >= (sensor.critical or 95.0) for sensor in found)
