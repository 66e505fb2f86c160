"""version: comparing by the right scheme; every source; required, published and grace; what waits for a restart."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

from agent.texts import sentence
from probes import compare
from probes.host import Host, command, manifest, packages, restart, versions
from probes.model import Denied, Observation, Status
from probes.version import KIND, Reading
from probes.version_settings import VersionSettings

Tree = Callable[[dict[str, str]], Host]


def probe(**given: Any) -> VersionSettings:
    converted = msgspec.convert({"kind": "version", "of": "POS software", **given}, VersionSettings)
    assert list(KIND.problems(converted)) == []
    return converted


def look(wanted: VersionSettings, host: Host, memory: dict[str, Any] | None = None) -> Observation:
    observation = KIND.judge(wanted, KIND.read(wanted, host), memory or {})
    assert json.loads(json.dumps(observation.memory)) == observation.memory
    for language in ("en", "zh-CN"):
        said = sentence("version", observation.reason, observation.measurements, language)
        assert said != observation.reason
        assert "?" not in said
    return observation


# --- which is newer ---


@pytest.mark.parametrize(
    ("scheme", "ascending"),
    [
        # The list of semver.org, item 11.
        ("semver", ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0"]),
        # PEP 440, "Summary of permitted suffixes and relative ordering".
        ("pep440", ["1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12", "1.0b1", "1.0rc1", "1.0", "1.0+abc.5", "1.0+abc.7", "1.0+5", "1.0.post456", "1.1.dev1", "1!0.1"]),
        ("debian", ["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0-0.1", "1.0-1", "1.0a", "1.0b", "1.0+b", "1.0.1", "1.9", "1.10", "1:0.1"]),
        ("rpm", ["1.0~rc1", "1.0", "1.0^git1", "1.0.a", "1.0.1", "1.9", "1.10", "1:0.1"]),
        ("dotted", ["1.2.3.4-rc1", "1.2.3.4", "1.2.3.4a", "1.2.3.4b", "1.2.3.4-build7", "1.2.3.4-build10", "1.2.3.5", "01.02.0007", "1.10", "v2"]),
        ("date", ["2025.12", "2026-01-31", "20260201", "2026/11/3", "2026.11.10", "2026-11-10-2", "2026年11月11日"]),
        ("auto", ["1.2.3-rc.1", "1.2.3", "1.2.3-7", "1.2.4"]),
        ("auto", ["1.0.2", "1.0.2a", "1.0.2k", "1.0.10"]),
        ("auto", ["2026-11-03", "20261104", "2026-11-05"]),
        ("auto", ["9", "10", "10.0.1"]),
        ("auto", ["3.2.0-beta", "3.2.0", "3.2.0.1"]),
    ],
)  # fmt: skip
def test_versions_in_ascending_order(scheme: compare.Scheme, ascending: list[str]) -> None:
    for place, one in enumerate(ascending):
        for other in ascending[place + 1 :]:
            assert compare.compare(one, other, scheme) == -1, (one, other)
            assert compare.compare(other, one, scheme) == 1, (other, one)


@pytest.mark.parametrize(
    ("scheme", "one", "other"),
    [
        ("dotted", "01.02.0007", "1.2.7"),
        ("dotted", "1.2", "1.2.0.0"),
        ("dotted", "V1.2", "v1.2"),
        ("semver", "1.0.0+build1", "1.0.0+build2"),
        ("pep440", "1.0.0", "v1.0"),
        ("pep440", "1.0-1", "1.0.post1"),
        ("debian", "1.0", "0:1.0-0"),
        ("debian", "1.01", "1.1"),
        ("rpm", "1.2", "1.2-3.el9"),
        ("rpm", "1_0", "1.0"),
        ("date", "20261103", "2026-11-03"),
        ("date", "2026年11月3日", "2026.11.03"),
        ("auto", "1.2", "1.2.0"),
    ],
)
def test_different_spellings_of_one_version(scheme: compare.Scheme, one: str, other: str) -> None:
    assert compare.compare(one, other, scheme) == 0


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("semver", "1.2"),
        ("semver", "01.2.3"),
        ("pep440", "one"),
        ("pep440", "1.2.3.4-build7"),
        ("debian", "1.0 beta"),
        ("debian", ""),
        ("rpm", "a b"),
        ("dotted", "beta 3"),
        ("date", "2026-13-01"),
        ("date", "2026-02-30"),
        ("date", "3.2.1"),
        ("auto", "unknown"),
        ("auto", "1." * 200),
        ("auto", "9" * 5000),
    ],
)
def test_what_is_no_version_is_not_compared(scheme: compare.Scheme, text: str) -> None:
    with pytest.raises(compare.Unparsable):
        compare.check(text, scheme)


TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="0123456789.-+~:^abrcv", max_size=20),
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,4}([-+~][a-z0-9]{1,5})?", fullmatch=True),
)
SCHEMES: st.SearchStrategy[compare.Scheme] = st.sampled_from(["auto", "pep440", "semver", "debian", "rpm", "dotted", "date"])  # fmt: skip


@settings(deadline=None)
@given(one=TEXTS, other=TEXTS, scheme=SCHEMES)
def test_an_order_has_two_sides(one: str, other: str, scheme: compare.Scheme) -> None:
    try:
        answer = compare.compare(one, other, scheme)
    except compare.Unparsable:
        return
    assert compare.compare(other, one, scheme) == -answer
    assert compare.compare(one, one, scheme) == 0


@settings(deadline=None)
@given(
    numbers=st.lists(st.integers(0, 99), min_size=3, max_size=3),
    others=st.lists(st.integers(0, 99), min_size=3, max_size=3),
    scheme=SCHEMES.filter(lambda scheme: scheme != "date"),
)
def test_three_numbers_are_ordered_as_numbers_in_every_scheme(
    numbers: list[int], others: list[int], scheme: compare.Scheme
) -> None:
    one, other = (".".join(map(str, given)) for given in (numbers, others))
    assert compare.compare(one, other, scheme) == (numbers > others) - (numbers < others)


# --- where it stands ---


@pytest.mark.parametrize(
    ("text", "pattern", "version"),
    [
        ("4.2.1\n", None, "4.2.1"),
        ("v4.2.1", None, "4.2.1"),
        ("POS 4.2.1-rc1 (build 77)\n", None, "4.2.1-rc1"),
        ("QtPOS version 1.2.3.4-build7, Copyright 2026", None, "1.2.3.4-build7"),
        ("firmware of 2026-11-03", None, "2026-11-03"),
        ("收银软件 版本 3.1.0。", None, "3.1.0"),
        ("7", None, "7"),
        ("nothing here", None, ""),
        ("", None, ""),
        ("Linux version 6.1.0, app 7.8", r"app ([\d.]+)", "7.8"),
        ("build=77", r"build=\d+", "build=77"),
        ("build=", r"build=(\d+)?", ""),
    ],
)
def test_the_version_is_found_in_a_text(text: str, pattern: str | None, version: str) -> None:
    assert versions.extract(text, pattern) == version


@settings(deadline=None)
@given(text=st.text(max_size=300))
def test_whatever_the_text_a_version_is_found_or_not(text: str) -> None:
    assert len(versions.extract(text, None)) <= compare.LONGEST


# --- judged ---

ENTRY = manifest.Entry(required="4.0", latest="4.3", grace_until="2026-12-01")


@pytest.mark.parametrize(
    ("given", "reading", "expected"),
    [
        pytest.param({}, Reading(version="4.2"), (Status.OK, "ok"), id="nothing asked of it"),
        pytest.param({"minimum": "4.2"}, Reading(version="4.2.0"), (Status.OK, "ok"), id="just new enough"),
        pytest.param({"minimum": "4.10"}, Reading(version="4.9"), (Status.FAIL, "version.outdated"), id="too old"),
        pytest.param({"expected": "4.2"}, Reading(version="4.2.0"), (Status.OK, "ok"), id="as expected"),
        pytest.param({"expected": "4.2"}, Reading(version="4.3"), (Status.FAIL, "version.mismatch"), id="newer than expected"),
        pytest.param({"expected": "4.2"}, Reading(version="4.1"), (Status.FAIL, "version.mismatch"), id="older than expected"),
        pytest.param({"expected": "4.2", "minimum": "4.3"}, Reading(version="4.2"), (Status.FAIL, "version.outdated"), id="as expected, yet too old"),
        pytest.param({"expected": "A1B2C3"}, Reading(version="A1B2C3"), (Status.OK, "ok"), id="a driver's hash"),
        pytest.param({"expected": "A1B2C3"}, Reading(version="D4"), (Status.FAIL, "version.mismatch"), id="another hash"),
        pytest.param({"minimum": "4.2"}, Reading(version="A1B2C3"), (Status.UNKNOWN, "version.unparsable"), id="a hash has no order"),
        pytest.param({}, Reading(problem="version.unreadable", because={"detail": "x"}), (Status.UNKNOWN, "version.unreadable"), id="unreadable"),
        pytest.param({"manifest": "/m"}, Reading(version="3.9", published=ENTRY), (Status.FAIL, "version.outdated"), id="older than required"),
        pytest.param({"manifest": "/m"}, Reading(version="4.1", published=ENTRY, today="2026-12-01"), (Status.WARN, "version.outdated"), id="the last day of grace"),
        pytest.param({"manifest": "/m"}, Reading(version="4.1", published=ENTRY, today="2026-12-02"), (Status.FAIL, "version.outdated"), id="grace is over"),
        pytest.param({"manifest": "/m"}, Reading(version="4.1", published=manifest.Entry(latest="4.3"), today="2026-12-02"), (Status.WARN, "version.outdated"), id="no date of grace"),
        pytest.param({"manifest": "/m"}, Reading(version="4.3", published=ENTRY), (Status.OK, "ok"), id="the latest"),
        pytest.param({"manifest": "/m"}, Reading(version="4.4", published=ENTRY), (Status.OK, "ok"), id="newer than published"),
        pytest.param({"manifest": "/m"}, Reading(version="4.3", manifest_problem="x"), (Status.WARN, "version.manifest_unreachable"), id="no manifest"),
        pytest.param({"manifest": "/m", "minimum": "5"}, Reading(version="4.3", manifest_problem="x"), (Status.FAIL, "version.outdated"), id="no manifest, and too old anyway"),
        pytest.param({}, Reading(version="4.3", waiting=("this PC",)), (Status.WARN, "version.restart_pending"), id="a restart is due"),
        pytest.param({"minimum": "5"}, Reading(version="4.3", waiting=("this PC",)), (Status.FAIL, "version.outdated"), id="too old, and a restart is due"),
        pytest.param({"minimum": "1.0-1"}, Reading(version="1.0~1", scheme="debian", orders={"1.0-1": -1}), (Status.FAIL, "version.outdated"), id="dpkg's own word"),
    ],
)  # fmt: skip
def test_each_state_has_its_own_reason(given: dict[str, Any], reading: Reading, expected: tuple[Status, str]) -> None:
    observation = KIND.judge(probe(value="x", **given), reading, {})
    assert (observation.status, observation.reason) == expected


@pytest.mark.parametrize(
    ("version", "entry", "today", "english", "chinese"),
    [
        ("3.9", ENTRY, "2026-11-01", "4.0 is wanted", "要求 4.0"),
        ("4.1", ENTRY, "2026-11-01", "4.3 is wanted by 2026-12-01", "最迟须于 2026-12-01 升级到 4.3"),
        ("4.1", ENTRY, "2026-12-02", "4.3 was wanted by 2026-12-01", "最迟应于 2026-12-01 升级到 4.3，已逾期"),
        ("4.1", manifest.Entry(latest="4.3"), "2026-12-02", "4.3 is wanted", "要求 4.3"),
    ],
)
def test_a_date_of_grace_is_named(version: str, entry: manifest.Entry, today: str, english: str, chinese: str) -> None:
    reading = Reading(version=version, published=entry, today=today)
    facts = KIND.judge(probe(value="x", of="POS", manifest="/m"), reading, {}).measurements
    assert sentence("version", "version.outdated", facts, "en") == f"POS is at version {version}; {english}"
    assert sentence("version", "version.outdated", facts, "zh-CN") == f"POS 当前版本 {version} 过旧，{chinese}"


def test_a_manifest_out_of_reach_is_remembered_with_its_age() -> None:
    wanted = probe(value="x", manifest="https://fleet.example/m.toml")
    seen = KIND.judge(wanted, Reading(version="4.1", published=ENTRY, now=1000.0, today="2026-11-22"), {})
    memory = json.loads(json.dumps(seen.memory))
    lost = Reading(version="4.1", manifest_problem="no route", now=4600.0, today="2026-11-22")
    observation = KIND.judge(wanted, lost, memory)
    assert (observation.status, observation.reason) == (Status.WARN, "version.outdated")
    assert observation.measurements["manifest_age_s"] == 3600
    assert observation.evidence == ("no route",)
    late = msgspec.structs.replace(lost, today="2026-12-02")
    assert KIND.judge(wanted, late, observation.memory).status is Status.FAIL
    fine = msgspec.structs.replace(lost, version="4.3")
    assert KIND.judge(wanted, fine, memory).reason == "version.manifest_unreachable"
    assert KIND.judge(wanted, fine, memory).measurements["version"] == "4.3"
    other = probe(value="x", manifest="https://fleet.example/other.toml")
    assert "latest" not in KIND.judge(other, lost, memory).measurements
    odd = {"manifest": wanted.manifest, "at": "yesterday", "latest": 7}
    assert KIND.judge(wanted, lost, odd).reason == "version.manifest_unreachable"


# --- real sources ---


def test_a_command_says_its_version(host: Host) -> None:
    observation = look(probe(command=[sys.executable, "--version"], minimum="3.11"), host)
    assert observation.reason == "ok"
    assert observation.measurements["version"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("code", "reason", "evidence"),
    [
        ("print('POS 4.1')", "version.outdated", ""),
        ("import sys; print('POS 4.2', file=sys.stderr)", "ok", ""),
        ("print('no idea')", "version.unparsable", "no version in: 'no idea'"),
        ("raise SystemExit(3)", "version.unreadable", "ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", "version.unreadable", "ended with SIGSEGV"),
    ],
)
def test_commands_that_say_other_things(host: Host, code: str, reason: str, evidence: str) -> None:
    observation = look(probe(command=[sys.executable, "-c", code], minimum="4.2"), host)
    assert observation.reason == reason
    assert evidence in " ".join(observation.evidence)


def test_a_program_that_is_gone_is_no_till_without_it(host: Host) -> None:
    observation = look(probe(command=["/opt/pos/bin/pos", "--version"]), host)
    assert (observation.status, observation.reason) == (Status.UNKNOWN, "version.unreadable")


def test_files_of_every_sort(tmp_path: Path, host: Host) -> None:
    text, firmware = tmp_path / "VERSION", tmp_path / "firmware.bin"
    text.write_bytes("\ufeff4.2.1\r\n".encode())
    firmware.write_bytes(b"\x7fELF\x00\xff\xfe" * 1000 + b"\0FW_VER=07.00.0012\0" + b"\xff" * 100)
    assert look(probe(file=str(text), expected="4.2.1"), host).reason == "ok"
    assert look(probe(file=str(firmware), pattern=r"FW_VER=([0-9.]+)", minimum="7.0.12"), host).reason == "ok"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe", Path("/dev/tty")):
        assert look(probe(file=str(path)), host).reason == "version.unreadable"


def test_a_value_that_holds_a_card_number_is_masked(host: Host) -> None:
    observation = look(probe(value="4111111111111111"), host)
    assert "411111111111" not in repr(observation)


DPKG_STATUS = """\
Package: pos-app-data
Status: install ok installed
Version: 9.9

Package: pos-app
Status: hold ok installed
Architecture: amd64
Description: 收银
 Version: 0.0
Version: 1:4.2.0~rc1-2+deb12u1

Package: gone
Status: deinstall ok config-files
Version: 1.0
"""


def test_a_package_of_a_fixture_tree(tree: Tree) -> None:
    machine = tree({"/var/lib/dpkg/status": DPKG_STATUS})
    assert packages.installed(machine, "pos-app") == packages.Installed("1:4.2.0~rc1-2+deb12u1", "debian")
    assert packages.installed(machine, "pos-app:amd64") is not None
    assert packages.installed(machine, "pos-app:arm64") is None
    assert packages.installed(machine, "pos.app") is None
    too_old = look(probe(package="pos-app", minimum="1:4.2.0"), machine)
    assert (too_old.status, too_old.reason) == (Status.FAIL, "version.outdated")
    assert look(probe(package="pos-app", minimum="1:4.2.0~rc1"), machine).reason == "ok"
    # With a pattern the maker's version is left, and compared as such.
    assert look(probe(package="pos-app", pattern=r"^1:([0-9.]+)", expected="4.2"), machine).reason == "ok"
    assert look(probe(package="gone"), machine).reason == "version.unreadable"


def test_a_pc_without_package_systems(tree: Tree) -> None:
    assert look(probe(package="pos-app"), tree({"/etc/os-release": ""})).reason == "version.unreadable"


def test_drivers_by_version_or_by_hash(tree: Tree) -> None:
    machine = tree({"/sys/module/cdc_acm/srcversion": "A1B2C3D4\n", "/sys/module/ftdi_sio/version": "v1.6.0\n"})
    assert look(probe(module="ftdi_sio", minimum="1.5"), machine).reason == "ok"
    assert look(probe(module="cdc_acm", expected="A1B2C3D4"), machine).reason == "ok"
    assert look(probe(module="cdc_acm", expected="FFFF"), machine).reason == "version.mismatch"
    assert look(probe(module="usbserial"), machine).reason == "version.unreadable"


def test_a_driver_that_the_sandbox_hides_is_not_called_absent(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tree({"/sys/module/cdc_acm/srcversion": "A1B2C3D4\n", "/lib/modules/6.1.0-25-amd64/modules.dep": ""})
    monkeypatch.setattr("os.access", lambda *_: False)  # as ProtectKernelModules=yes leaves it to a service
    assert versions.of_module(machine, "cdc_acm") == "A1B2C3D4"
    with pytest.raises(Denied, match="sandbox hides /lib/modules"):
        versions.of_module(machine, "ftdi_sio")


# --- restarts ---


def test_a_restart_that_debian_asks_for(tree: Tree) -> None:
    machine = tree(
        {
            "/run/reboot-required": "*** System restart required ***\n",
            "/run/reboot-required.pkgs": "linux-image-6.1.0-25-amd64\nlibc6\nlibc6\n",
            "/var/lib/dpkg/status": "Package: libc6\nStatus: install ok installed\nVersion: 2.36\n",
            "/proc/sys/kernel/osrelease": "6.1.0-25-amd64\n",
        }
    )
    mine = look(probe(package="libc6"), machine)
    assert (mine.status, mine.reason) == (Status.WARN, "version.restart_pending")
    assert mine.measurements["waiting"] == ["this PC, for linux-image-6.1.0-25-amd64, libc6"]
    assert look(probe(value="1.0"), machine).reason == "ok"
    assert look(probe(value="1.0", restart=True), machine).reason == "version.restart_pending"


@pytest.mark.parametrize(
    ("running", "installed", "waiting"),
    [
        pytest.param("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-25-amd64"], "6.1.0-25-amd64", id="newer"),
        pytest.param("6.1.0-25-amd64", ["6.1.0-9-amd64", "6.1.0-25-amd64"], None, id="the newest runs"),
        pytest.param("6.1.0-9-amd64", ["6.6.0-1-rt-amd64"], None, id="another flavour"),
        pytest.param("6.18.0", ["6.1.0-25-amd64"], None, id="a container on another kernel"),
        pytest.param("5.14.0-427.el9.x86_64", ["5.14.0-503.el9.x86_64", "0-rescue-ab12"], "5.14.0-503.el9.x86_64", id="rpm"),
        pytest.param("6.1.0-9-amd64", ["6.1.0-25-amd64.dpkg-tmp", "?"], None, id="half installed"),
    ],
)  # fmt: skip
def test_a_newer_kernel_waits(tree: Tree, running: str, installed: list[str], waiting: str | None) -> None:
    boot = {f"/boot/vmlinuz-{name}": "" for name in installed}
    machine = tree({"/proc/sys/kernel/osrelease": f"{running}\n", **boot})
    assert restart.newer_kernel(machine) == waiting


def test_a_driver_that_was_updated_while_another_copy_is_loaded(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tree({"/sys/module/ftdi_sio/version": "v1.6.0\n"})
    on_disk: dict[tuple[str, ...], str] = {("modinfo", "-F", "version", "ftdi_sio"): "v1.7.0\n"}

    def modinfo(_host: Host, argv: Sequence[str]) -> command.Outcome:  # this kernel may have no modules at all
        said = on_disk.get(tuple(argv), "")
        return command.Outcome(exit_code=0 if said else 1, stdout=said)

    monkeypatch.setattr(command, "run", modinfo)
    monkeypatch.setattr(Host, "is_this_machine", True)
    assert packages.is_stale(machine, "ftdi_sio")
    observation = look(probe(module="ftdi_sio", minimum="1.5"), machine)
    assert observation.reason == "version.restart_pending"
    on_disk[("modinfo", "-F", "version", "ftdi_sio")] = "v1.6.0\n"
    assert not packages.is_stale(machine, "ftdi_sio")
    assert not packages.is_stale(machine, "cdc_acm")


@pytest.fixture
def replaced_program(tmp_path: Path) -> Iterator[int]:
    """A running program whose file is replaced, as a package upgrade does it. Yields its process id."""
    program = tmp_path / "pos-frontend"
    shutil.copy("/bin/sleep", program)
    process = subprocess.Popen([program, "60"])
    try:
        fresh = tmp_path / "fresh"
        shutil.copy("/bin/sleep", fresh)
        fresh.rename(program)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_program_that_was_replaced_while_it_runs(host: Host, replaced_program: int) -> None:
    observation = look(probe(value="4.2", process="pos-frontend"), host)
    assert observation.reason == "version.restart_pending"
    waiting = [f"pos-frontend (process {replaced_program}): its program was replaced"]
    assert observation.measurements["waiting"] == waiting
    assert look(probe(value="4.2", process="pos-backend"), host).reason == "ok"


# --- manifests ---

TOML = b'\xef\xbb\xbf[products."POS software"]\r\nrequired = "4.2"\r\nlatest = "4.3"\r\ngrace_until = 2026-12-01\r\nnotes = 7\r\n'


def test_manifests_in_toml_and_json(tmp_path: Path, host: Host) -> None:
    expected = manifest.Entry(required="4.2", latest="4.3", grace_until="2026-12-01")
    assert manifest.entry(TOML, "POS software") == expected
    document = {"products": {"POS software": {"required": "4.2", "latest": "4.3", "grace_until": "2026-12-01"}}}
    assert manifest.entry(json.dumps(document).encode(), "POS software") == expected
    path = tmp_path / "manifest.toml"
    path.write_bytes(TOML)
    assert look(probe(value="4.1", manifest=str(path)), host).reason == "version.outdated"
    assert look(probe(value="4.3", manifest=str(path)), host).reason == "ok"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "the manifest does not name 'POS software'"),
        (b"{", "the manifest is neither TOML nor JSON"),
        (b"products = 7", "the manifest does not name 'POS software'"),
        (b"<html>login</html>", "the manifest is neither TOML nor JSON"),
        (b"\xff\xfe\x00", "the manifest is neither TOML nor JSON"),
        (b'{"products": {"POS software": {"required": 4.2}}}', "the manifest's required is no version in quotes"),
        (b'{"products": {"POS software": {"latest": ""}}}', "the manifest's latest is no version in quotes"),
        (b'{"products": {"POS software": {"grace_until": "soon"}}}', "the manifest's grace_until is no date such as 2026-12-01"),
        (b'{"a": ' + b"[" * 100_000, "the manifest is neither TOML nor JSON"),
        (b"a = " + b"[" * 5000, "the manifest is neither TOML nor JSON"),
    ],
)  # fmt: skip
def test_a_manifest_that_says_nothing_usable(tmp_path: Path, host: Host, data: bytes, complaint: str) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(data)
    observation = look(probe(value="4.2", manifest=str(path)), host)
    assert observation.reason == "version.manifest_unreachable"
    assert observation.measurements["version"] == "4.2"
    assert observation.evidence[0].startswith(complaint)


def test_a_manifest_with_a_version_of_no_scheme(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "manifest"
    path.write_text('[products."POS software"]\nlatest = "newest"\n')
    assert look(probe(value="4.2", manifest=str(path)), host).reason == "version.unparsable"


# --- over HTTPS ---


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HTTPServer, str]]:
    """A real HTTPS server with a certificate of a private CA. Yields it and the CA's file."""
    authority = trustme.CA()
    trusted = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with HTTPServer(host="localhost", ssl_context=context) as server:
        yield server, str(trusted)


def test_a_manifest_over_https(fleet: tuple[HTTPServer, str], host: Host) -> None:
    server, trusted = fleet
    server.expect_request("/manifest.toml").respond_with_data(TOML)
    server.expect_request("/gone").respond_with_data("no", status=404)
    server.expect_request("/moved").respond_with_data(
        "", status=302, headers={"Location": server.url_for("/manifest.toml")}
    )
    url = server.url_for("/manifest.toml")
    assert look(probe(value="4.1", manifest=url, ca_file=trusted), host).reason == "version.outdated"
    for path, why in (("/gone", "status 404"), ("/moved", "status 302")):
        observation = look(probe(value="4.3", manifest=server.url_for(path), ca_file=trusted), host)
        assert observation.reason == "version.manifest_unreachable"
        assert why in observation.evidence[0]


def test_a_manifest_from_a_server_that_cannot_prove_itself_is_not_believed(
    fleet: tuple[HTTPServer, str], host: Host
) -> None:
    server, _trusted = fleet
    server.expect_request("/lie.toml").respond_with_data(TOML)
    observation = look(probe(value="4.1", manifest=server.url_for("/lie.toml")), host)
    assert observation.reason == "version.manifest_unreachable"
    assert observation.measurements["version"] == "4.1"


def test_a_silent_manifest_server_does_not_cost_the_version() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/manifest.toml"
        began = time.monotonic()
        observation = look(probe(value="4.2", manifest=url), Host(ends=began + 1.0))
    assert time.monotonic() - began < 1.0
    assert observation.reason == "version.manifest_unreachable"
    assert observation.measurements["version"] == "4.2"


def test_a_page_that_holds_the_version(fleet: tuple[HTTPServer, str], host: Host) -> None:
    server, trusted = fleet
    server.expect_request("/version").respond_with_json({"name": "pos", "version": "4.2.1"})
    given = {"url": server.url_for("/version"), "ca_file": trusted}
    assert look(probe(expected="4.2.1", **given), host).reason == "ok"
    assert look(probe(**{**given, "url": server.url_for("/none")}), host).reason == "version.unreadable"
    nobody = look(probe(url="http://127.0.0.1:9/version"), host)
    assert nobody.reason == "version.unreadable"
    assert "refused" in nobody.evidence[0]


@settings(deadline=None)
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: f"[products]\n{text}".encode())))
def test_whatever_the_bytes_a_manifest_is_read_or_refused(data: bytes) -> None:
    try:
        manifest.entry(data, "POS software")
    except manifest.Unusable as error:
        assert len(str(error)) < 300


# --- any bytes ---


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=200), TEXTS.map(str.encode)), scheme=SCHEMES)
def test_whatever_the_bytes_an_observation_comes_back(tmp_path: Path, data: bytes, scheme: compare.Scheme) -> None:
    path = tmp_path / "version"
    path.write_bytes(data)
    wanted = VersionSettings(kind="version", file=str(path), scheme=scheme, minimum="2026.11.1", expected="4.2.0")
    observation = KIND.judge(wanted, KIND.read(wanted, Host(ends=time.monotonic() + 5)), {})
    assert observation.reason in {"ok", *KIND.reasons}


# --- settings that cannot work ---


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ("command", "expected exactly one of command, file, package, module, url, value, got none")),
        ({"file": "/x", "value": "1"}, ("value", "expected exactly one of command, file, package, module, url, value, got file and value")),
        ({"value": "1", "minimum": "new"}, ("minimum", 'expected a version, got "new"')),
        ({"value": "1", "minimum": "1.2", "scheme": "semver"}, ("minimum", 'expected a version of the scheme semver, got "1.2"')),
        ({"value": "1", "expected": "new", "scheme": "date"}, ("expected", 'expected a version of the scheme date, got "new"')),
        ({"value": "1", "manifest": "http://x/m"}, ("manifest", 'expected a path or an https:// URL, got "http://x/m"')),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_named(given: dict[str, Any], problem: tuple[str, str]) -> None:
    assert list(KIND.problems(VersionSettings(kind="version", **given))) == [problem]


def test_names_that_would_be_options_or_paths_are_refused() -> None:
    for odd in ({"package": "--help"}, {"module": "../../etc"}, {"package": "a b"}):
        with pytest.raises(msgspec.ValidationError):
            probe(**odd)


@pytest.mark.parametrize(
    ("source", "english", "chinese"),
    [
        ({"file": "/no/such"}, "there is no file /no/such", "文件 /no/such 不存在"),
        (
            {"command": ["/no/such"]},
            "there is no program /no/such, or none to interpret it",
            "没有程序 /no/such，或没有可解释它的程序",
        ),
        (
            {"command": ["/bin/sh", "-c", "echo broken >&2; exit 3"]},
            "/bin/sh ended with exit code 3: broken",
            "/bin/sh 异常结束（exit code 3）：broken",
        ),
    ],
)
def test_why_a_version_cannot_be_read_is_said_with_it(
    host: Host, source: dict[str, Any], english: str, chinese: str
) -> None:
    seen = look(probe(**source), host)
    assert seen.reason == "version.unreadable"
    said = {lang: sentence("version", seen.reason, seen.measurements, lang) for lang in ("en", "zh-CN")}
    assert said == {
        "en": f"the version of POS software could not be read: {english}",
        "zh-CN": f"无法读取 POS software 的版本：{chinese}",
    }
