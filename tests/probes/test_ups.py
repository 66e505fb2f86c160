"""ups: every state a NUT server can tell of, and servers that are dead, deaf, or no NUT servers at all."""

from __future__ import annotations

import re
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, nut
from probes.model import Denied, Seconds, Status
from probes.ups import KIND, Reading, UpsSettings
from tests.probes.streams import Talk, closed, hangs_up, says, serving, stalls

# What Debian's upsd 2.8.0 says of its own dummy-ups, shortened.
VARIABLES = {
    "battery.charge": "100",
    "battery.runtime": "1800",
    "input.voltage": "230.4",
    "ups.load": "20",
    "ups.mfr": "APC",
    "ups.model": "Back-UPS ES 700",
    "ups.status": "OL",
}


def settings(**given: object) -> UpsSettings:
    return UpsSettings(**{"kind": "ups", **given})  # type: ignore[arg-type]


def reading(status: str, **others: str) -> Reading:
    changed = {key.replace("_", "."): value for key, value in others.items()}
    return Reading("till", {**VARIABLES, "ups.status": status, **changed})


def judge(seen: Reading, **given: object) -> tuple[Status, str]:
    observation = KIND.judge(settings(**given), seen, {})
    assert observation.reason == "ok" or observation.reason in KIND.reasons
    return observation.status, observation.reason


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(reading("OL"), (Status.OK, "ok"), id="on mains"),
        pytest.param(reading("OL CHRG", battery_charge="55"), (Status.OK, "ok"), id="charging"),
        pytest.param(
            reading("OL CHRG", battery_charge="12"), (Status.WARN, "ups.low_battery"), id="charging, still low"
        ),
        pytest.param(reading("OL", battery_runtime="0"), (Status.OK, "ok"), id="a runtime made up while on mains"),
        pytest.param(reading("OL TRIM"), (Status.OK, "ok"), id="trimming"),
        pytest.param(reading("OL BOOST"), (Status.OK, "ok"), id="boosting"),
        pytest.param(reading("OB DISCHRG", battery_charge="70"), (Status.WARN, "ups.on_battery"), id="on battery"),
        pytest.param(reading("OB", battery_charge="29"), (Status.FAIL, "ups.low_battery"), id="below min_charge"),
        pytest.param(reading("OB", battery_runtime="299"), (Status.FAIL, "ups.low_battery"), id="below min_runtime"),
        pytest.param(reading("OB LB DISCHRG"), (Status.FAIL, "ups.low_battery"), id="the UPS says low"),
        pytest.param(
            reading("FSD OB DISCHRG LB", battery_charge="1"), (Status.FAIL, "ups.low_battery"), id="shutting down"
        ),
        pytest.param(reading("OL RB"), (Status.WARN, "ups.replace_battery"), id="worn"),
        pytest.param(reading("OB RB"), (Status.WARN, "ups.on_battery"), id="worn and on battery"),
        pytest.param(reading("OL OVER", ups_load="130"), (Status.FAIL, "ups.overload"), id="overload"),
        pytest.param(reading("OFF"), (Status.FAIL, "ups.off"), id="off"),
        pytest.param(reading("OL OFF"), (Status.FAIL, "ups.off"), id="off, with mains"),
        pytest.param(reading("OL BYPASS"), (Status.WARN, "ups.off"), id="bypass"),
        pytest.param(reading("BYPASS"), (Status.WARN, "ups.off"), id="bypass alone"),
        pytest.param(reading("CAL OB"), (Status.OK, "ok"), id="calibrating, on purpose"),
        pytest.param(reading("CAL OB LB"), (Status.FAIL, "ups.low_battery"), id="calibrated too far"),
        pytest.param(reading("ol"), (Status.OK, "ok"), id="small letters"),
        pytest.param(reading("WAIT"), (Status.WARN, "ups.stale"), id="the driver is starting"),
        pytest.param(reading(""), (Status.WARN, "ups.stale"), id="no status"),
        pytest.param(reading("OL COMMBAD"), (Status.WARN, "ups.stale"), id="the driver lost the UPS"),
        pytest.param(reading("ALARM OL", ups_alarm="Fan failure"), (Status.OK, "ok"), id="an alarm is evidence"),
        pytest.param(Reading(error="DATA-STALE", text="DATA-STALE"), (Status.WARN, "ups.stale"), id="stale"),
        pytest.param(
            Reading(error="DRIVER-NOT-CONNECTED", text="DRIVER-NOT-CONNECTED"),
            (Status.WARN, "ups.stale"),
            id="no driver",
        ),
        pytest.param(Reading(error="UNKNOWN-UPS", text="UNKNOWN-UPS"), (Status.WARN, "ups.unknown_ups"), id="unknown"),
        pytest.param(Reading(error="TLS-REQUIRED", text="x"), (Status.WARN, "ups.unreachable"), id="any other error"),
        pytest.param(Reading(unreachable="Connection refused"), (Status.WARN, "ups.unreachable"), id="no server"),
    ],
)
def test_each_state_of_a_ups_has_its_own_reason(seen: Reading, expected: tuple[Status, str]) -> None:
    assert judge(seen) == expected


def test_a_stale_ups_and_a_dead_driver_read_differently() -> None:
    said = [
        KIND.judge(settings(), Reading(error=code, text=code), {}).measurements["said"]
        for code in ("DATA-STALE", "DRIVER-NOT-CONNECTED")
    ]
    assert said == ["the UPS no longer answers its driver", "the driver of the UPS is not running"]


def test_what_the_ups_measures_is_told_with_its_unit() -> None:
    facts = KIND.judge(settings(), reading("OL"), {}).measurements
    assert facts["charge_percent"] == 100
    assert facts["runtime_s"] == 1800
    assert facts["load_percent"] == 20
    assert facts["input_volts"] == 230.4
    assert facts["model"] == "APC Back-UPS ES 700"


@pytest.mark.parametrize("charge", ["n/a", "", "-1", "250", "1e9", "nan", "٣"])
def test_a_charge_that_cannot_be_is_no_measurement(charge: str) -> None:
    seen = KIND.judge(settings(), reading("OL", battery_charge=charge), {})
    assert "charge_percent" not in seen.measurements
    assert seen.reason == "ok"


@given(st.dictionaries(st.sampled_from([*VARIABLES, "ups.alarm", "battery.date"]), st.text(max_size=40)))
def test_whatever_the_variables_an_observation_comes_back(variables: dict[str, str]) -> None:
    judge(Reading("till", variables))


# --- the conversation ---------------------------------------------------------------------------------------------------


def upsd(*names: str, variables: dict[str, str] | None = None, error: str = "") -> Talk:
    """A NUT server with these UPSes, one line at a time; with `error` it answers LIST VAR so."""

    def talk(peer: socket.socket) -> None:
        with peer.makefile("rw", newline="\n") as lines:
            for asked in lines:
                words = asked.split()
                if words == ["LIST", "UPS"]:
                    inside = "".join(f'UPS {name} "a \\"quoted\\" name"\n' for name in names)
                    lines.write(f"BEGIN LIST UPS\n{inside}END LIST UPS\n")
                elif words[:2] == ["LIST", "VAR"] and (error or words[2] not in names):
                    lines.write(f"ERR {error or 'UNKNOWN-UPS'}\n")
                elif words[:2] == ["LIST", "VAR"]:
                    inside = "".join(
                        f'VAR {words[2]} {key} "{value}"\n' for key, value in (variables or VARIABLES).items()
                    )
                    lines.write(f"BEGIN LIST VAR {words[2]}\n{inside}END LIST VAR {words[2]}\n")
                elif words == ["LOGOUT"]:
                    lines.write("OK Goodbye\n")
                    lines.flush()
                    return
                lines.flush()

    return talk


def look(talk: Talk, seconds: float = 2.0, **given: object) -> Reading:
    with serving(talk) as port:
        began = time.monotonic()
        seen = KIND.read(settings(port=port, **given), Host(ends=began + seconds))
        assert time.monotonic() - began < seconds + 0.3
    return seen


def test_the_only_ups_needs_no_name() -> None:
    assert look(upsd("till")) == Reading("till", VARIABLES)


def test_a_named_ups_is_asked_for() -> None:
    assert look(upsd("office", "till"), ups="till").ups == "till"


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        ((), {}, "the server has none"),
        (("a", "b"), {}, "several: a, b; name one in `ups`"),
        (("a",), {"ups": "b"}, "UNKNOWN-UPS"),
    ],
)
def test_which_ups_is_meant_must_be_clear(names: tuple[str, ...], given: dict[str, object], said: str) -> None:
    seen = look(upsd(*names), **given)
    assert (seen.error, seen.text) == ("UNKNOWN-UPS", said)


@pytest.mark.parametrize("error", ["DATA-STALE", "DRIVER-NOT-CONNECTED", "DATA-STALE extra words"])
def test_the_servers_own_word_is_kept(error: str) -> None:
    assert look(upsd("till", error=error)).error == error.split(maxsplit=1)[0]


def test_a_server_that_forbids_reading_is_denied() -> None:
    with pytest.raises(Denied, match="ACCESS-DENIED"):
        look(upsd("till", error="ACCESS-DENIED"))


def test_a_dead_server_is_unreachable_at_once() -> None:
    with closed() as port:
        assert KIND.read(settings(port=port), Host()).unreachable == "Connection refused"


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        pytest.param(hangs_up, "closed the connection|reset by peer", id="hangs up"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n"), "no NUT server", id="another service"),
        pytest.param(says(b"BEGIN LIST UPS\nUPS till"), "closed the connection", id="breaks off"),
        pytest.param(says(b"x" * 100_000), "no NUT server", id="a line without end"),
        pytest.param(says(b"BEGIN LIST UPS\n" + b'UPS a "b"\n' * 40_000), "without end", id="a list without end"),
        pytest.param(says(b"\x00\xff\xfe\n"), "no NUT server", id="bytes"),
    ],
)
def test_what_is_no_nut_server_is_unreachable(talk: Talk, said: str) -> None:
    assert re.search(said, look(talk, 10.0).unreachable)  # each is told long before this deadline


def test_a_deaf_server_is_unreachable() -> None:
    assert "no answer" in look(stalls, 0.7).unreachable


def test_a_dripping_server_costs_its_deadline_and_no_more() -> None:
    def drips(peer: socket.socket) -> None:
        for _ in range(100):
            peer.sendall(b"B")
            time.sleep(0.05)

    assert look(drips, 0.5).unreachable == "no answer"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('VAR till ups.status "OL CHRG"', ["VAR", "till", "ups.status", "OL CHRG"]),
        (r'VAR till ups.model "19\" rack \\ 2U"', ["VAR", "till", "ups.model", '19" rack \\ 2U']),
        ('VAR till ups.alarm ""', ["VAR", "till", "ups.alarm", ""]),
        ("ERR DATA-STALE", ["ERR", "DATA-STALE"]),
        ('VAR till x "never closed', ["VAR", "till", "x", '"never', "closed"]),
    ],
)
def test_a_line_is_taken_apart_by_the_rules_of_the_protocol(line: str, words: list[str]) -> None:
    assert nut.words(line) == words


@given(st.text(max_size=200))
def test_any_line_has_words(line: str) -> None:
    assert all(isinstance(word, str) for word in nut.words(line))


@given(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=60))
def test_a_quoted_value_comes_back_as_it_was(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert nut.words(f'VAR till key "{quoted}"') == ["VAR", "till", "key", value]


@pytest.mark.parametrize(
    ("name", "fine"), [("till", True), ("till@localhost", False), ("two words", False), ('a"b', False)]
)
def test_a_ups_name_is_one_word(name: str, fine: bool) -> None:
    assert [key for key, _ in KIND.problems(settings(ups=name))] == ([] if fine else ["ups"])


def test_the_limits_are_settings() -> None:
    seen = reading("OB", battery_charge="60", battery_runtime="700")
    assert judge(seen, min_charge=70) == (Status.FAIL, "ups.low_battery")
    assert judge(seen, min_runtime=Seconds(900)) == (Status.FAIL, "ups.low_battery")
