"""The command line, run as a user runs it: exit codes, what is printed where, and nothing that ends in a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
POSAGENT = Path(sys.executable).with_name("posagent")


@pytest.fixture
def posagent_env(tmp_path: Path) -> dict[str, str]:
    """An environment with a state directory and a configuration of its own."""
    config = tmp_path / "config.toml"
    config.write_text('[site]\nstore = "0042"\n[probes.disk]\nkind = "disk"\nmin_free = 0\nmin_inodes = 0\n')
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    return env | {"POSAGENT_CONFIG": str(config), "LANG": "C.UTF-8"}


@pytest.fixture
def posagent(posagent_env: dict[str, str]):
    """Run the installed command in that environment."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        full = posagent_env | env
        return subprocess.run([POSAGENT, *words], env=full, capture_output=True, text=True, timeout=30, check=False)

    return run


def test_version(posagent) -> None:
    done = posagent("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("posagent 0.")


def test_json_prints_the_report_and_nothing_else_on_stdout(posagent) -> None:
    done = posagent("check", "--json")
    data = json.loads(done.stdout)
    jsonschema.validate(data, json.loads((ROOT / "docs/report.schema.json").read_text()))
    assert done.stderr == ""
    assert data["site"]["store"] == "0042"
    assert done.returncode == 3, "nothing configured proves that cards can be taken"
    assert [probe["name"] for probe in data["probes"]] == ["disk"]


def test_seq_rises_from_check_to_check(posagent) -> None:
    assert [json.loads(posagent("check", "--json").stdout)["seq"] for _ in range(3)] == [1, 2, 3]


def test_a_home_that_cannot_be_written_is_a_problem_in_the_report_not_a_failure(posagent) -> None:
    done = posagent("check", "--json", XDG_STATE_HOME="/proc/nowhere")
    data = json.loads(done.stdout)
    assert data["seq"] == 0
    assert data["agent"]["healthy"] is False
    assert "cannot open /proc/nowhere/posagent/state.sqlite" in data["agent"]["problems"][0]


@pytest.mark.parametrize(("lang", "words"), [("en", "disk  /: "), ("zh-CN", "剩余")])
def test_plain_output_in_both_languages(posagent, lang: str, words: str) -> None:
    done = posagent("check", "--lang", lang)
    assert words in done.stdout
    assert "\x1b" not in done.stdout, "no colour in a pipe"


def test_the_language_follows_the_locale(posagent) -> None:
    assert "批结算" in posagent("check", LANG="zh_CN.UTF-8").stdout
    assert "settlement" in posagent("check", LANG="de_DE.UTF-8").stdout


def test_chinese_on_a_console_that_knows_only_ascii_is_no_traceback(posagent) -> None:
    done = posagent("check", "--lang", "zh-CN", PYTHONIOENCODING="ascii")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chekc"], "invalid choice"),
        (["check", "--frobnicate"], "unrecognized arguments"),
        (["check", "dsik"], "did you mean 'disk'?"),
        (["check", "--kind", "tls"], "no probe has this kind; there are: disk"),
        (["check", "--timeout", "soon"], "--timeout: expected a duration"),
        (["kinds", "dsk"], "did you mean 'disk'?"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_usage_errors_exit_64_and_say_what_to_type(posagent, words: list[str], message: str) -> None:
    done = posagent(*words)
    assert done.returncode == 64
    assert message in done.stderr
    assert done.stdout == ""


def test_mistakes_in_the_file_of_advice_are_configuration_errors(posagent, tmp_path: Path) -> None:
    own = tmp_path / "advice.toml"
    own.write_text('[en."lan.router_dwon"]\ntitle = "x"\n[en."lan.poor"]\ncashier = []\n')
    file = tmp_path / "wrong.toml"
    file.write_text(f'[advice]\nfile = "{own}"\n')
    done = posagent("config", "check", "--config", str(file))
    assert done.returncode == 78
    assert done.stderr.splitlines() == [
        f'{own}: en."lan.router_dwon": unknown cause; did you mean "lan.router_down"?',
        f'{own}: en."lan.poor".cashier: expected at least 1 in the list, got 0',
    ]


def test_configuration_errors_exit_78_one_line_each(posagent, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[probes.disk]\nkind = "disk"\nmin_fre = 5\nmin_inodes = 200\n')
    done = posagent("check", "--config", str(bad))
    assert done.returncode == 78
    assert done.stderr.count("\n") == 2
    assert "probes.disk.min_inodes: expected 0..100, got 200" in done.stderr
    assert 'did you mean "min_free"?' in done.stderr


def test_status_shows_the_written_report_and_its_verdict(posagent) -> None:
    written = posagent("check", "--write")
    shown = posagent("status")
    assert shown.returncode == written.returncode == 3
    assert shown.stdout.splitlines()[:4] == written.stdout.splitlines()[:4]
    assert shown.stdout.splitlines()[-1].startswith("report of ")


def test_status_without_a_report_says_so_and_what_to_do(posagent) -> None:
    done = posagent("status")
    assert done.returncode == 3
    assert "posagent: cannot read" in done.stderr
    assert "run `posagent check --write`" in done.stderr
    assert "no daemon has written one" in done.stderr


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"verdict": {"payments": 1}}', "\x00"])
def test_status_of_a_broken_report_is_one_line(posagent, tmp_path: Path, text: str) -> None:
    (tmp_path / "state/posagent").mkdir(parents=True)
    (tmp_path / "state/posagent/health.json").write_text(text)
    done = posagent("status")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "it is no posagent report" in done.stderr


def test_a_stale_report_is_called_stale_and_exits_3(posagent, tmp_path: Path) -> None:
    posagent("check", "--write")
    path = tmp_path / "state/posagent/health.json"
    data = json.loads(path.read_text())
    data["verdict"]["payments"] = "ready"
    path.write_text(json.dumps(data))
    assert posagent("status").returncode == 0
    data["valid_until"] = "2020-01-01T00:00:00.000Z"
    path.write_text(json.dumps(data))
    done = posagent("status")
    assert done.returncode == 3
    assert "STALE" in done.stdout


def test_init_writes_a_configuration_that_holds_and_never_overwrites_one(posagent, tmp_path: Path) -> None:
    target = tmp_path / "new.toml"
    assert posagent("config", "init", str(target)).returncode == 0
    checked = posagent("config", "check", "--config", str(target))
    assert checked.returncode == 0, checked.stderr
    again = posagent("config", "init", str(target))
    assert again.returncode == 73
    assert "never overwritten" in again.stderr


def test_show_prints_what_load_reads_back(posagent, tmp_path: Path) -> None:
    shown = posagent("config", "show").stdout
    copy = tmp_path / "copy.toml"
    copy.write_text(shown)
    assert posagent("config", "check", "--config", str(copy)).returncode == 0


def test_schema_is_json(posagent) -> None:
    assert json.loads(posagent("config", "schema").stdout)["$schema"]


def test_a_reader_that_stops_reading_causes_no_traceback(posagent, tmp_path: Path) -> None:
    config = tmp_path / "many.toml"
    config.write_text("".join(f'[probes.d{n}]\nkind = "disk"\n' for n in range(40)))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        f"{POSAGENT} check --verbose --config {config} | head -1",
        shell=True,
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("words", ["check", "check --json", "status", "kinds", "config show", "--version", "check -h"])
def test_a_full_disk_or_a_closed_output_is_no_traceback(posagent_env, words: str) -> None:
    for output, code in ((">/dev/full", {74}), (">&-", {0, 3}), ("<&- >&- 2>&-", {0, 3})):
        line = f"exec {POSAGENT} {words} {output}"
        done = subprocess.run(
            ["sh", "-c", line], env=posagent_env, capture_output=True, text=True, timeout=30, check=False
        )
        assert "Traceback" not in done.stderr, line
        assert "Exception ignored" not in done.stderr, line
        if words == "status":
            assert done.returncode == 3, "there is no report yet"
        else:
            assert done.returncode in code, line
            assert ("cannot print the answer: No space left on device" in done.stderr) == (code == {74})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_stops_a_look_leaves_no_child_of_a_plugin_behind(posagent_env, tmp_path: Path, number: int) -> None:
    plugin = tmp_path / "hung"
    plugin.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/child\nwait\n")
    plugin.chmod(0o755)
    config = Path(posagent_env["POSAGENT_CONFIG"])
    config.write_text(f'[probes.hung]\nkind = "plugin"\ncommand = ["{plugin}"]\ntimeout = "60s"\n')
    running = subprocess.Popen(
        [POSAGENT, "check"], env=posagent_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child = tmp_path / "child"
    ends = time.monotonic() + 20
    while not (child.exists() and child.read_text().strip()) and time.monotonic() < ends:
        time.sleep(0.02)
    running.send_signal(number)
    out, err = running.communicate(timeout=10)
    assert (running.returncode, out, err) == (128 + number, "", "")
    stat = Path(f"/proc/{child.read_text().strip()}/stat")
    while stat.exists() and ") Z " not in stat.read_text() and time.monotonic() < ends:
        time.sleep(0.02)
    assert not stat.exists() or ") Z " in stat.read_text()
