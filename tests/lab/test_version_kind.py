"""version, with the real dpkg, rpm and modinfo: our own orders are theirs, and what they have installed is found."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import compare
from probes.host import Host, packages
from probes.model import Status
from probes.version import KIND
from probes.version_settings import VersionSettings

DEBIAN = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "0:", "1:", "12:"]),
    st.integers(0, 20),
    st.text(alphabet="019aBz.+~", max_size=8),
    st.one_of(st.just(""), st.text(alphabet="019aBz.+~", min_size=1, max_size=4).map("-{}".format)),
)
RPM = st.builds("{}{}".format, st.integers(0, 20), st.text(alphabet="019aBz._+~^", max_size=8))


def dpkg(one: str, other: str) -> int:
    for relation, answer in (("lt", -1), ("eq", 0), ("gt", 1)):
        done = subprocess.run(["dpkg", "--compare-versions", one, relation, other], capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        if done.returncode == 0:
            return answer
    raise AssertionError(f"dpkg orders {one} and {other} in no way")


@settings(max_examples=400, deadline=None)
@given(one=DEBIAN, other=DEBIAN)
def test_our_debian_order_is_dpkgs(one: str, other: str) -> None:
    assert compare.compare(one, other, "debian") == dpkg(one, other)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(RPM, RPM), min_size=10, max_size=10))
def test_our_rpm_order_is_rpms(pairs: list[tuple[str, str]]) -> None:
    calls = " ".join(f'.. " " .. rpm.vercmp("{one}", "{other}")' for one, other in pairs)
    done = subprocess.run(["rpm", "--eval", f"%{{lua: print('' {calls})}}"], capture_output=True, text=True, check=True)
    assert [compare.compare(one, other, "rpm") for one, other in pairs] == [int(word) for word in done.stdout.split()]


def test_the_package_of_this_machine_is_the_one_dpkg_names() -> None:
    host = Host(ends=time.monotonic() + 10)
    says = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "dpkg"], capture_output=True, text=True, check=True)
    assert packages.installed(host, "dpkg") == packages.Installed(says.stdout, "debian")
    reading = KIND.read(VersionSettings(kind="version", package="dpkg", minimum="99"), host)
    assert reading.orders == {"99": -1}
    assert KIND.judge(VersionSettings(kind="version", package="dpkg", minimum="99"), reading, {}).status is Status.FAIL


def test_every_package_that_dpkg_lists_is_found() -> None:
    host = Host(ends=time.monotonic() + 30)
    form = "${db:Status-Status} ${Package}:${Architecture} ${Version}\n"
    listed = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    lines = [line.split(" ") for line in listed.splitlines() if line.startswith("installed ")][::25]
    assert lines
    for _status, name, version in lines:
        assert packages.installed(host, name) == packages.Installed(version, "debian")


@pytest.fixture
def rpm_package(tmp_path: Path) -> Iterator[str]:
    """A package in this machine's rpm database, where Debian has none. Yields its name."""
    name = "posagent-lab-package"
    spec = tmp_path / "lab.spec"
    spec.write_text(
        f"Name: {name}\nEpoch: 2\nVersion: 4.2.0\nRelease: 3\nSummary: x\nLicense: MIT\nBuildArch: noarch\n"
        "%description\nx\n%files\n"
    )
    built = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {tmp_path}", str(spec)]
    subprocess.run(built, check=True, capture_output=True)
    [package] = tmp_path.glob("RPMS/noarch/*.rpm")
    rpm = ["rpm", "--dbpath", "/var/lib/rpm", "--justdb", "--nodeps"]
    subprocess.run([*rpm, "-i", str(package)], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run([*rpm, "-e", name], check=True, capture_output=True)


def test_a_package_of_the_real_rpm(rpm_package: str) -> None:
    host = Host(ends=time.monotonic() + 10)
    assert packages.installed(host, rpm_package) == packages.Installed("2:4.2.0-3", "rpm")
    assert packages.installed(host, "posagent-no-such-package") is None
    wanted = VersionSettings(kind="version", package=rpm_package, minimum="2:4.2.0", expected="2:4.2.0-3")
    assert KIND.judge(wanted, KIND.read(wanted, host), {}).reason == "ok"
    newer = VersionSettings(kind="version", package=rpm_package, minimum="2:4.10.0")
    assert KIND.judge(newer, KIND.read(newer, host), {}).reason == "version.outdated"
