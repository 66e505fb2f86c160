"""posagent status: whatever lies where the report should be, one sentence and exit code 3, and never a wait."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import homes
from agent.cli import Complaint
from agent.cli.configured import configured_language, daemon_pid, report_path

POSAGENT = Path(sys.executable).with_name("posagent")
WHEN = {"generated_at": "2026-01-01T00:00:00.000Z", "valid_until": "2999-01-01T00:00:00.000Z"}
VERDICT = {"payments": "ready", "settlement": "ready", "headline": "READY"}


def status(tmp_path: Path, *words: str, config: str = "", **env: str) -> subprocess.CompletedProcess[bytes]:
    file = tmp_path / "config.toml"
    file.write_text(f'{config}\nreport = {{ path = "{tmp_path / "report.json"}" }}\n')
    return subprocess.run(
        [POSAGENT, "status", "--config", str(file), *words],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"} | env,
        capture_output=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"{}",
        b"[]",
        b"[" * 100_000,
        json.dumps(WHEN | {"verdict": {"payments": "ready"}, "probes": []}).encode(),
        json.dumps(
            WHEN | {"verdict": VERDICT, "probes": 5, "agent": {"problems": []}, "diagnosis": [], "not_checked": []}
        ).encode(),
        json.dumps(
            WHEN | {"verdict": VERDICT, "probes": [7], "agent": {"problems": []}, "diagnosis": [], "not_checked": []}
        ).encode(),
        json.dumps(WHEN | {"verdict": {"payments": []}, "probes": []}).encode(),
        json.dumps({"verdict": VERDICT, "probes": [], "generated_at": "soon", "valid_until": "later"}).encode(),
    ],
)
def test_a_file_that_is_no_report_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.json").write_bytes(content)
    done = status(tmp_path)
    assert done.returncode == 3
    assert done.stdout == b""
    assert b"report.json: it is no posagent report" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_pipe_a_device_or_a_directory_is_not_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    os.mkfifo(place)
    assert b"it is no regular file" in status(tmp_path).stderr
    place.unlink()
    place.symlink_to("/dev/zero")
    assert b"it is no regular file" in status(tmp_path).stderr
    place.unlink()
    place.mkdir()
    assert status(tmp_path).returncode == 3


@pytest.mark.parametrize(
    ("text", "path", "is_plain"),
    [
        ('[report]\npath = "/a/b.json"\n', "/a/b.json", True),
        ("[site]\nstore = '1'\n[ report ]\npath = '/a'\n", "/a", False),
        ("  [report]  # where\n# path = '/x'\n  path='/a#b'  # there\n[probes.a]\npath = '/c'\n", "/a#b", True),
        ('[report]\r\npath = "/a"\r\n', "/a", True),
        ('[report]\n#path = "/a"\n\n[probes.a]\npath = "/c"\n', None, True),
        ('[probes.a]\nlabel = "report"\n[report]\npath = "/a"\n', "/a", True),
        ('[probes.a]\ncommand = [\n  "x",\n  "report",\n]\n[report]\npath = "/a"\n', "/a", False),
        ('report = { path = "/a" }\n', "/a", False),
        ('report.path = "/a"\n', "/a", False),
        ('["report"]\npath = "/a"\n', "/a", False),
        ('[report]\n"path" = "/a"\n', "/a", False),
        ('[report]\npath = "/a\\u002fb"\n', "/a/b", False),
        ('[report]\npath = """/a"""\n', "/a", False),
        ('[probes.a]\nlabel = """\n[report]\npath = "/x"\n"""\n', None, False),
        ('[probes.report]\npath = "/x"\n[report]\npath = "/a"\n', "/a", False),
        ("[report]\npath = 5\n", None, False),
        ("[report]\npath =\n", None, False),
        ('[report]\npath = "/a" "/b"\n', None, False),
        ("[report]\npath = '/a'\n[report]\npath = '/b'\n", None, False),
    ],
)
def test_the_reports_place_is_read_by_lines_alone_where_that_is_certain(
    tmp_path: Path, text: str, path: str | None, is_plain: bool
) -> None:
    (tmp_path / "config.toml").write_text(text, newline="")
    script = (
        "import sys; from agent.cli import configured; "
        "print(configured._path_in(open(sys.argv[1], newline='').read()), 'tomllib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, tmp_path / "config.toml"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(path), str(not is_plain)]


def test_a_configuration_that_was_named_must_be_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, cause in (("nope.toml", "No such file"), ("pipe", "no regular file")):
        with pytest.raises(Complaint, match=cause) as complaint:
            report_path(str(tmp_path / name), {})
        assert complaint.value.code == 78


def test_the_report_speaks_the_configurations_language_around_it(tmp_path: Path) -> None:
    report = WHEN | {
        "verdict": VERDICT,
        "probes": [],
        "diagnosis": [],
        "agent": {"problems": []},
        "not_checked": ["批结算"],
    }
    (tmp_path / "report.json").write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")
    done = status(tmp_path, config='language = "zh-CN"  # the shop\'s')
    assert done.returncode == 0
    assert "批结算：正常" in done.stdout.decode()
    assert configured_language(str(tmp_path / "config.toml"), {}) == "zh-CN"


@pytest.mark.parametrize(
    ("words", "told", "frame"),
    [
        ((), {"language": "zh-CN"}, "批结算：正常"),
        ((), {"language": "en"}, "settlement: ready"),
        ((), {}, "settlement: ready"),
        ((), {"language": "tlh"}, "settlement: ready"),
        (("--lang", "en"), {"language": "zh-CN"}, "settlement: ready"),
    ],
)
def test_where_nobody_chose_a_language_it_is_the_reports(
    tmp_path: Path, words: tuple[str, ...], told: dict[str, str], frame: str
) -> None:
    report = {"verdict": VERDICT, "probes": [], "diagnosis": [], "not_checked": [], "agent": {"problems": []} | told}
    (tmp_path / "report.json").write_text(json.dumps(WHEN | report))
    assert frame in status(tmp_path, *words).stdout.decode()


def test_json_is_the_file_byte_for_byte_whatever_the_locale(tmp_path: Path) -> None:
    report = WHEN | {"verdict": VERDICT, "probes": [], "agent": {"problems": []}, "not_checked": ["批结算"]}
    content = json.dumps(report, ensure_ascii=False).encode()
    (tmp_path / "report.json").write_bytes(content)
    assert status(tmp_path, "--json", PYTHONIOENCODING="latin-1").stdout == content


def test_a_user_without_a_home_keeps_nothing_rather_than_in_a_strangers_place() -> None:
    assert homes.state({}) is None
    assert homes.state({"HOME": "/home/till", "XDG_STATE_HOME": "relative"}) == "/home/till/.local/state/posagent"
    assert homes.state({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/x"}) == "/var/lib/a"
    if not Path("/var/lib/posagent/health.json").exists() and not Path("/etc/posagent/config.toml").exists():
        with pytest.raises(Complaint, match="no home directory"):
            report_path(None, {})


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_report(**more: object) -> dict:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    agent = {"mode": "run", "problems": [], "events": [], "language": "en"}
    part = {"verdict": VERDICT, "probes": [], "diagnosis": [], "not_checked": [], "boot_id": boot_id, "agent": agent}
    return WHEN | part | more


def shown(tmp_path: Path, report: dict, **env: str) -> tuple[int, list[str]]:
    (tmp_path / "report.json").write_text(json.dumps(report))
    done = status(tmp_path, **{"STATE_DIRECTORY": str(tmp_path)} | env)
    assert not done.stderr
    return done.returncode, done.stdout.decode().splitlines()


def test_a_daemon_that_holds_its_lock_is_believed_and_one_that_does_not_is_said_to_be_gone(tmp_path: Path) -> None:
    assert shown(tmp_path, run_report())[1][-1].startswith("report of "), "no lock was ever made: nothing is claimed"
    with open(tmp_path / "daemon.lock", "w") as lock:
        code, lines = shown(tmp_path, run_report())
        assert (code, lines[-1][:31]) == (0, "NO DAEMON: `posagent run` has e")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        code, lines = shown(tmp_path, run_report())
        assert (code, lines[-1][:10]) == (0, "report of ")
    assert shown(tmp_path, run_report())[1][-1].startswith("NO DAEMON")


def test_the_reader_does_not_touch_the_lock_of_a_daemon_that_lives(tmp_path: Path) -> None:
    """A reader that held the lock for a moment would make a starting daemon believe that there is another one."""
    lock = tmp_path / "daemon.lock"
    with subprocess.Popen([sys.executable, "-c", "input()", "agent"], stdin=subprocess.PIPE) as process:
        lock.write_text(f"{process.pid}\n")
        script = "import sys; from agent.cli.configured import daemon_pid; "
        script += "print(daemon_pid(sys.argv[1]), 'fcntl' in sys.modules)"
        traced = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
        assert traced.stdout == f"{process.pid} False\n"
        process.kill()
        ends = time.monotonic() + 5
        while b"agent" in Path(f"/proc/{process.pid}/cmdline").read_bytes() and time.monotonic() < ends:
            time.sleep(0.01)
        assert daemon_pid(str(tmp_path)) == 0, "dead, though nobody has waited for it"


@pytest.mark.parametrize("content", ["", "\n", "soon", "-5", "0", "999999999999999999999", "4194304000"])
def test_a_lock_that_names_no_process_is_told_by_whether_it_is_held(tmp_path: Path, content: str) -> None:
    with open(tmp_path / "daemon.lock", "w") as lock:
        lock.write(content)
        lock.flush()
        assert daemon_pid(str(tmp_path)) == 0
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert daemon_pid(str(tmp_path)) is None, "held by somebody whom we cannot see"


def test_the_number_of_a_daemon_that_another_process_got_is_no_daemon(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        (tmp_path / "daemon.lock").write_text(f"{process.pid}\n")
        found = daemon_pid(str(tmp_path))
        process.kill()
    assert found == 0


def test_a_report_from_before_the_last_start_of_this_pc_is_no_longer_believed(tmp_path: Path) -> None:
    code, lines = shown(tmp_path, run_report(boot_id="00000000-0000-0000-0000-000000000000"))
    assert code == 3
    assert lines[-1].startswith("NO DAEMON: this PC was restarted and `posagent run` was not; this report of ")


def test_a_stale_report_of_the_daemon_is_stale_above_all(tmp_path: Path) -> None:
    code, lines = shown(tmp_path, run_report(valid_until="2026-01-01T00:10:00.000Z"))
    assert (code, lines[-1][:5]) == (3, "STALE")


def test_open_incidents_say_since_when_and_who_has_them_in_hand(tmp_path: Path) -> None:
    opened = datetime.now(UTC) - timedelta(days=2, hours=3, minutes=1)
    taken = {"by": "Li", "at": stamp(opened + timedelta(minutes=5)), "note": "cable ordered"}
    incident = {"id": "20260101-1", "cause": "lan.cable_unplugged", "title": "No cable", "opened_at": stamp(opened)}
    incident |= {"level": 0, "acknowledged": taken, "silenced_until": None, "flapping": True}
    other = {"id": "20260101-2", "cause": "dns.down", "opened_at": stamp(opened), "level": 0, "acknowledged": None}
    other |= {"silenced_until": "2999-01-01T12:00:00.000Z"}
    _code, lines = shown(tmp_path, run_report(incidents=[incident, other]), TZ="UTC")
    at = lines.index("Open incidents")
    assert lines[at + 1] == (
        f"  - 20260101-1  No cable, since {opened:%Y-%m-%d %H:%M} (2 d 3 h)"
        f" · Li takes care of it since {opened + timedelta(minutes=5):%Y-%m-%d %H:%M} · cable ordered · comes and goes"
    )
    assert lines[at + 2].endswith(" (2 d 3 h) · silenced until 2999-01-01 12:00")


def test_dark_hours_and_a_refused_configuration_of_the_last_day_are_said_and_older_ones_are_not(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    events = [
        {"at": stamp(now - timedelta(days=3)), "what": "dark", "text": "long ago"},
        {"at": stamp(now - timedelta(minutes=9)), "what": "dark", "text": "the power was gone for 2 h"},
        {"at": stamp(now - timedelta(minutes=8)), "what": "agent.started", "text": "started"},
        {"at": stamp(now), "what": "reload.refused", "text": "config.toml: probes.a.port: expected 1..65535"},
    ]
    agent = {"mode": "run", "problems": ["the new configuration is not in force"], "events": events, "language": "en"}
    _code, lines = shown(tmp_path, run_report(agent=agent))
    at = lines.index("Within the last day")
    assert lines[at + 1].endswith("  config.toml: probes.a.port: expected 1..65535")
    assert lines[at + 2].endswith("  the power was gone for 2 h")
    assert lines[at + 3 : at + 6] == ["", "posagent itself", "  - the new configuration is not in force"]


def test_what_the_fast_path_imports(tmp_path: Path) -> None:
    """Each import is paid for by every `posagent status`: whoever adds one here measures it first."""
    (tmp_path / "health.json").write_text(json.dumps(run_report()))
    script = "import sys; before = set(sys.modules); from agent.__main__ import main; main(['status']); "
    script += "print(*sorted(m for m in set(sys.modules) - before if m.partition('.')[0] in sys.argv[1:]))"
    heavy = ["sqlite3", "msgspec", "rich", "tomllib", "argparse", "pathlib", "typing", "fcntl", "subprocess", "logging"]
    done = subprocess.run(
        [sys.executable, "-c", script, *heavy],
        env={"PATH": os.environ["PATH"], "STATE_DIRECTORY": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == ""
