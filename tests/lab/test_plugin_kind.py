"""plugin against Debian's monitoring-plugins: their exit codes, texts and performance data, as they really come."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from probes.model import Observation, Status
from probes.plugin import KIND, PluginSettings
from tests.lab.dead_server import dead_mount

PLUGINS = Path("/usr/lib/nagios/plugins")


@pytest.fixture(autouse=True)
def _plugins_are_here() -> None:
    assert (PLUGINS / "check_load").exists(), "missing: the Debian package monitoring-plugins-basic"


def look(name: str, *arguments: str, seconds: float = 5) -> Observation:
    from probes.host import Host

    settings = PluginSettings(kind="plugin", command=(str(PLUGINS / name), *arguments))
    return KIND.judge(settings, KIND.read(settings, Host(ends=time.monotonic() + seconds)), {})


@pytest.mark.parametrize(
    ("code", "status", "reason", "word"),
    [
        ("0", Status.OK, "ok", "OK"),
        ("1", Status.WARN, "plugin.warning", "WARNING"),
        ("2", Status.FAIL, "plugin.critical", "CRITICAL"),
        ("3", Status.UNKNOWN, "plugin.unknown", "UNKNOWN"),
    ],
)
def test_check_dummy_answers_with_every_code(code: str, status: Status, reason: str, word: str) -> None:
    seen = look("check_dummy", code, "drawer open")
    assert (seen.status, seen.reason) == (status, reason)
    assert seen.measurements["text"] == f"{word}: drawer open"


def test_check_load_gives_three_loads() -> None:
    seen = look("check_load", "-w", "900,900,900", "-c", "999,999,999")
    assert seen.status is Status.OK
    assert {"load1", "load5", "load15"} <= set(seen.measurements)
    assert str(seen.measurements["text"]).startswith(("OK - load average:", "LOAD OK - "))


def test_check_disk_gives_bytes() -> None:
    seen = look("check_disk", "-w", "0%", "-c", "0%", "-p", "/")
    assert seen.status is Status.OK
    used = seen.measurements["root_bytes"]
    assert isinstance(used, int)
    assert used > 1 << 20
    assert look("check_disk", "-w", "100%", "-c", "100%", "-p", "/").reason == "plugin.critical"
    assert look("check_disk", "-w", "1%", "-c", "1%", "-p", "/no/such/place").reason == "plugin.critical"


def test_check_procs_counts() -> None:
    seen = look("check_procs", "-c", "1:")
    assert seen.status is Status.OK
    assert seen.measurements["procs"]
    assert look("check_procs", "-C", "no-such-program", "-c", "1:").reason == "plugin.critical"


def test_check_swap_and_users_and_file_age(tmp_path: Path) -> None:
    assert look("check_users", "-w", "900", "-c", "999").measurements["users"] is not None
    (tmp_path / "log").write_text("x")
    assert look("check_file_age", "-w", "60", "-c", "600", str(tmp_path / "log")).status is Status.OK


def test_check_tcp_on_a_closed_port_is_critical() -> None:
    seen = look("check_tcp", "-H", "127.0.0.1", "-p", "9", "-t", "2")
    assert seen.reason == "plugin.critical"


def test_a_wrong_argument_is_unknown_with_the_plugins_own_words() -> None:
    seen = look("check_load", "--no-such-option")
    assert (seen.status, seen.reason) == (Status.UNKNOWN, "plugin.unknown")
    assert seen.measurements["text"] != "no output"


def test_check_disk_on_a_hung_mount_is_killed_in_time(tmp_path: Path) -> None:
    with dead_mount(tmp_path / "dead") as dead:
        begin = time.monotonic()
        seen = look("check_disk", "-w", "1%", "-c", "1%", "-p", str(dead), seconds=1)
        assert (seen.status, seen.reason) == (Status.UNKNOWN, "plugin.timeout")
        assert time.monotonic() - begin < 1.2
