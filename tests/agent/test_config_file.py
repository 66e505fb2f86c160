"""Which file is read, and what is said of a file that cannot be."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent import config
from agent.config import read

DISK = b'[probes.sales]\nkind = "disk"\n'
NOBODY = 65534


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(read, "DEFAULT_PATH", tmp_path / "etc" / "config.toml")


def refused(path: str, content: bytes | None = None) -> list[str]:
    if content is not None:
        Path(path).write_bytes(content)
    with pytest.raises(config.ConfigError) as caught:
        config.load(Path(path), {})
    return str(caught.value).split("\n")


def test_without_a_file_the_pc_is_discovered() -> None:
    found = config.load(None, {})
    assert found.discovered
    assert found.source is None
    assert found.sha256 is None


def test_the_systems_file_is_used_when_none_is_named() -> None:
    Path("etc").mkdir()
    Path("etc/config.toml").write_bytes(DISK)
    assert list(config.load(None, {}).probes) == ["sales"]


def test_the_environment_goes_before_the_systems_file() -> None:
    Path("etc").mkdir()
    Path("etc/config.toml").write_bytes(DISK)
    Path("mine.toml").write_bytes(b'language = "zh-CN"\n')
    found = config.load(None, {"POSAGENT_CONFIG": "mine.toml"})
    assert (found.language, found.source) == ("zh-CN", "mine.toml")


def test_the_option_goes_before_the_environment() -> None:
    Path("mine.toml").write_bytes(DISK)
    assert config.load(Path("mine.toml"), {"POSAGENT_CONFIG": "nowhere.toml"}).source == "mine.toml"


def test_an_empty_variable_names_nothing() -> None:
    assert config.load(None, {"POSAGENT_CONFIG": ""}).discovered


def test_a_file_that_was_asked_for_must_exist() -> None:
    assert refused("nowhere.toml") == ["nowhere.toml: there is no such file"]
    assert refused("nowhere/at/all.toml") == ["nowhere/at/all.toml: there is no such file"]
    with pytest.raises(config.ConfigError, match=r"^absent\.toml: there is no such file$"):
        config.load(None, {"POSAGENT_CONFIG": "absent.toml"})


def test_a_directory_is_not_a_file() -> None:
    Path("conf.d").mkdir()
    assert refused("conf.d") == ["conf.d: is a directory, not a file"]


def test_a_pipe_or_device_never_blocks() -> None:
    os.mkfifo("pipe")
    assert refused("pipe") == ["pipe: is not a regular file"]
    assert refused("/dev/zero") == ["/dev/zero: is not a regular file"]


def test_a_path_that_no_kernel_takes() -> None:
    [said] = refused("a\0b")
    assert said.startswith("a\0b: cannot be read: ")
    assert "embedded null" in said
    assert refused("x" * 300) == [f"{'x' * 300}: cannot be read: File name too long"]


def test_an_unreadable_file(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        file = Path(directory, "config.toml")
        file.write_bytes(DISK)
        file.chmod(stat.S_IWUSR)
        with AsNobody(), pytest.raises(config.ConfigError) as caught:
            config.load(file, {})
        assert str(caught.value) == f"{file}: this user may not read it (permission denied)"


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_an_empty_file_may_have_been_cut_off(content: bytes) -> None:
    [said] = refused("config.toml", content)
    assert said == (
        "config.toml: the file is empty; was it cut off while being written? (a file of comments only is fine: "
        "posagent then looks at what this PC has)"
    )


def test_a_file_of_comments_only_is_discovery() -> None:
    Path("config.toml").write_bytes(b"# nothing yet\n")
    assert config.load(Path("config.toml"), {}).discovered


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + DISK, id="byte-order mark"),
        pytest.param(DISK.replace(b"\n", b"\r\n"), id="Windows line ends"),
        pytest.param(b"\xef\xbb\xbf" + DISK.replace(b"\n", b"\r\n"), id="both"),
        pytest.param(DISK.rstrip(b"\n"), id="no last line end"),
    ],
)
def test_what_editors_leave_in_a_file_is_read(content: bytes) -> None:
    Path("config.toml").write_bytes(content)
    assert list(config.load(Path("config.toml"), {}).probes) == ["sales"]


def test_a_problem_after_windows_line_ends_has_its_line() -> None:
    assert refused("config.toml", b'\xef\xbb\xbflanguage = "en"\r\n[probes\r\n') == [
        "config.toml: line 2, column 8: Expected ']' at the end of a table declaration"
    ]


def test_bad_utf8_is_told_by_line_and_byte() -> None:
    assert refused("config.toml", b'language = "en"\n[site]\nstore = "M\xfcnchen"\n') == [
        "config.toml: line 3: is not UTF-8 (byte 0xfc); save it as UTF-8"
    ]


def test_utf16_is_named() -> None:
    assert refused("config.toml", "language".encode("utf-16")) == ["config.toml: is UTF-16; save it as UTF-8"]


def test_a_nul_byte_is_told_by_line() -> None:
    assert refused("config.toml", b'language = "en"\n\0\0\0\0') == [
        "config.toml: line 2: holds a NUL byte; it is not a text file, or it was damaged"
    ]


def test_numbers_and_nesting_that_break_the_parser_are_told() -> None:
    assert refused("config.toml", b"a = " + b"[" * 5000)[0] == (
        "config.toml: is not TOML that anybody meant: nested too deeply"
    )
    deep = b"[site]\nstore = " + b"[" * 300 + b"]" * 300
    assert refused("config.toml", deep) == [
        "config.toml: site.store: expected text of at most 200 characters, got [[…]]"
    ]
    assert refused("config.toml", b"a = " + b"9" * 5000)[0].startswith("config.toml: is not valid TOML: Exceeds")


def test_a_huge_file_is_not_read() -> None:
    assert refused("config.toml", b"#" * (5 << 20)) == ["config.toml: is larger than 4 MiB; is it the right file?"]


def test_the_digest_is_that_of_the_file() -> None:
    Path("config.toml").write_bytes(b'language = "en"\n')
    assert (
        config.load(Path("config.toml"), {}).sha256
        == (subprocess.run(["sha256sum", "config.toml"], capture_output=True, text=True, check=True).stdout.split()[0])
    )


def test_reading_a_configuration_imports_only_its_kinds() -> None:
    Path("config.toml").write_bytes(DISK)
    code = (
        "import sys; from pathlib import Path; from agent import config;"
        "config.probes_of(config.load(Path('config.toml'), {}));"
        "heavy = {'requests', 'ssl', 'psutil', 'dns', 'rich', 'zoneinfo', 'difflib', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)), sorted(m for m in sys.modules if m.startswith('probes.')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, kinds = ran.stdout.strip().split("] [")
    assert loaded == "["
    assert "probes.disk" in kinds
    assert "probes.tls" not in kinds
    assert "probes.ping" not in kinds


class AsNobody:
    """Root may read everything; give that up for a moment."""

    def __enter__(self) -> None:
        self.user = os.geteuid()
        if self.user == 0:
            os.seteuid(NOBODY)

    def __exit__(self, *_: object) -> None:
        os.seteuid(self.user)
