"""posagent status: whatever lies where the report should be, one sentence and exit code 3, and never a wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent import homes
from agent.cli import Complaint
from agent.cli.configured import configured_language, report_path

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
