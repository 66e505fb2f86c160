"""plugin: exit codes, texts and performance data of Nagios-compatible plugins, well- and ill-behaved."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import perfdata
from probes.host import Host
from probes.model import Denied, Observation, Status
from probes.perfdata import Datum
from probes.plugin import KIND, PluginSettings, Reading


def look(*argv: str, seconds: float = 5) -> Observation:
    settings = PluginSettings(kind="plugin", command=argv)
    return KIND.judge(settings, KIND.read(settings, Host(ends=time.monotonic() + seconds)), {})


def script(tmp_path: Path, body: str) -> str:
    path = tmp_path / "check_till"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def judge(reading: Reading) -> Observation:
    return KIND.judge(PluginSettings(kind="plugin", command=("/opt/check_till",)), reading, {})


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (0, Status.OK, "ok"),
        (1, Status.WARN, "plugin.warning"),
        (2, Status.FAIL, "plugin.critical"),
        (3, Status.UNKNOWN, "plugin.unknown"),
        (4, Status.UNKNOWN, "plugin.unknown"),
        (126, Status.UNKNOWN, "plugin.unknown"),
        (255, Status.UNKNOWN, "plugin.unknown"),
    ],
)
def test_each_exit_code_has_its_meaning(tmp_path: Path, code: int, status: Status, reason: str) -> None:
    seen = look(script(tmp_path, f"echo 'TILL - a line | queue=3;5;10;0;'; exit {code}"))
    assert (seen.status, seen.reason) == (status, reason)
    assert seen.measurements == {"plugin": "check_till", "text": "TILL - a line", "exit_code": code, "queue": 3}


def test_a_plugin_that_is_not_there_is_absent() -> None:
    seen = look("/usr/lib/nagios/plugins/check_nothing")
    assert (seen.status, seen.reason, seen.measurements) == (
        Status.UNKNOWN,
        "plugin.absent",
        {"plugin": "check_nothing"},
    )


def test_a_plugin_that_may_not_be_run_is_denied(tmp_path: Path) -> None:
    path = tmp_path / "check_till"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(Denied):
        look(str(path))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("sleep 3602.1", id="hangs"),
        pytest.param("trap '' TERM; while :; do sleep 3602.2; done", id="ignores SIGTERM"),
        pytest.param("sleep 3602.3 & wait", id="forks and hangs"),
        pytest.param("while :; do echo .; sleep 0.05; done", id="babbles slowly for ever"),
    ],
)
def test_a_plugin_that_does_not_end_times_out(tmp_path: Path, body: str) -> None:
    begin = time.monotonic()
    seen = look(script(tmp_path, body), seconds=0.4)
    assert (seen.status, seen.reason) == (Status.UNKNOWN, "plugin.timeout")
    assert time.monotonic() - begin < 0.5


def test_a_plugin_that_babbles_is_unknown_before_its_deadline(tmp_path: Path) -> None:
    seen = look(script(tmp_path, "yes OK"), seconds=10)
    assert (seen.reason, seen.evidence[-1]) == ("plugin.unknown", "ended by SIGKILL for endless output")


def test_a_plugin_that_dies_is_unknown_and_its_signal_named(tmp_path: Path) -> None:
    seen = look(script(tmp_path, "echo OK; kill -SEGV $$"))
    assert (seen.reason, seen.evidence) == ("plugin.unknown", ("ended by SIGSEGV",))


def test_a_forking_plugin_that_leaves_a_child_is_not_waited_for(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert look(script(tmp_path, "sleep 3602.4 & echo OK")).reason == "ok"
    assert time.monotonic() - begin < 2


def test_what_it_complains_about_is_evidence() -> None:
    seen = judge(Reading(exit_code=3, stderr="check_till: unknown option -q\nusage: …"))
    assert seen.measurements["text"] == "check_till: unknown option -q"
    assert seen.evidence == ("stderr: check_till: unknown option -q",)


def test_silence_with_exit_code_0_is_ok_and_says_that_nothing_was_said() -> None:
    assert judge(Reading(exit_code=0)).measurements["text"] == "no output"


def test_its_own_names_cannot_be_overwritten() -> None:
    seen = judge(Reading(exit_code=0, stdout="x | text=1 exit_code=7 plugin=2"))
    assert seen.measurements == {
        "plugin": "check_till",
        "text": "x",
        "exit_code": 0,
        "text_2": 1,
        "exit_code_2": 7,
        "plugin_2": 2,
    }


def test_the_output_of_the_guidelines_is_taken_apart() -> None:
    output = perfdata.parse(
        "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n"
        "/ 15272 MB (77%);\n"
        "/boot 68 MB (69%);\n"
        "/home 69357 MB (27%); | /boot=68MB;88;93;0;98\n"
        "/home=69357MB;253404;253409;0;253414\n"
        "/var/log=818MB;970;975;0;980\n"
    )
    assert output.text == "DISK OK - free space: / 3326 MB (56%);"
    assert output.details == ("/ 15272 MB (77%);", "/boot 68 MB (69%);", "/home 69357 MB (27%);")
    assert output.performance[0] == Datum("/", 2643.0, "MB", "5948", "5958", "0", "5968")
    assert [datum.label for datum in output.performance] == ["/", "/boot", "/home", "/var/log"]
    assert perfdata.measurements(output.performance, ()) == {
        "root_bytes": 2771386368,
        "boot_bytes": 71303168,
        "home_bytes": 72726085632,
        "var_log_bytes": 857735168,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load1=0.080;5.000;10.000;0;", [Datum("load1", 0.08, "", "5.000", "10.000", "0", "")]),
        ("rta=0.337ms pl=0%;20;60;0", [Datum("rta", 0.337, "ms"), Datum("pl", 0, "%", "20", "60", "0")]),
        ("'used swap'=1.5e3KB", [Datum("used swap", 1500, "KB")]),
        ("'it''s a = b'=3c;@10:20;~:5", [Datum("it's a = b", 3, "c", "@10:20", "~:5")]),
        ("time=U;1;2", [Datum("time", None, "", "1", "2")]),
        ("a=-1.5s;;;0;10", [Datum("a", -1.5, "s", "", "", "0", "10")]),
        ("a=0,5s", [Datum("a", 0.5, "s")]),
        ("流水=12", [Datum("流水", 12)]),
        ("a = 1", []),
        ("a=x b=2 =3 c=", [Datum("b", 2)]),
        ("a=1e999", []),
        ("'unclosed=1", []),
        ("", []),
    ],
)
def test_performance_data_are_parsed_by_the_guidelines(text: str, expected: list[Datum]) -> None:
    assert perfdata.parse_performance(text) == expected


@pytest.mark.parametrize(
    ("datum", "key", "value"),
    [
        (Datum("time", 0.25, "s"), "time_s", 0.25),
        (Datum("pl", 5, "%"), "pl_percent", 5),
        (Datum("packets", 12, "c"), "packets_count", 12),
        (Datum("size", 2, "GiB"), "size_bytes", 2147483648),
        (Datum("size", 7, "B"), "size_bytes", 7),
        (Datum("temp", 41.5, "°C"), "temp_c", 41.5),
        (Datum("C:\\ Label", 1, ""), "C_Label", 1),
        (Datum("/", 1, ""), "root", 1),
        (Datum("--", 1, ""), "value", 1),
    ],
)
def test_a_measurement_carries_its_unit_in_its_name(datum: Datum, key: str, value: float) -> None:
    assert perfdata.measurements([datum], ()) == {key: value}


def test_equal_labels_are_numbered() -> None:
    data = [Datum("eth0", 1, "B"), Datum("eth0", 2, "B")]
    assert perfdata.measurements(data, ()) == {"eth0_bytes": 1, "eth0_2_bytes": 2}


@given(st.text(max_size=500) | st.lists(st.sampled_from(list("|='; \n0123456789.U%ab"))).map("".join))
def test_whatever_a_plugin_prints_an_observation_comes_back(text: str) -> None:
    for code in (0, 2, 9, None):
        seen = judge(Reading(exit_code=code, stdout=text, stderr=text, truncated=True))
        assert seen.reason in {"ok", *KIND.reasons}


def test_a_million_characters_of_nearly_performance_data_are_no_burden() -> None:
    begin = time.process_time()
    for brick in ("'", "''", "a", "a=", "=1;", "'a' ", "a=1;;;; "):
        perfdata.parse("x |" + brick * (65_536 // len(brick)))
    assert time.process_time() - begin < 5
