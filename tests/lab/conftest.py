"""When do lab tests run, and what do they share?

Everything under tests/lab is a lab test. It runs when POSAGENT_LAB=1 says that this is a place where namespaces may be
made (.ci/run sets it) and is skipped elsewhere, with the reason. Once asked for, nothing is skipped in silence: a
missing right or program is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lab.store import Store

HERE = Path(__file__).parent
if importlib.util.find_spec("playwright") is None and os.environ.get("POSAGENT_LAB") != "1":
    collect_ignore = ["test_page.py"]  # who only runs the unit tests needs no browser's driver; the lab fails without
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
PROGRAMS = {
    "arping": "iputils-arping",
    "busctl": "systemd",
    "chronyd": "chrony",
    "dbus-daemon": "dbus",
    "dnsmasq": "dnsmasq-base",
    "ethtool": "ethtool",
    "fsck.ext4": "e2fsprogs",
    "gcc": "gcc",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "modinfo": "kmod",
    "nft": "nftables",
    "notify-send": "libnotify-bin",
    "openssl": "openssl",
    "ping": "iputils-ping",
    "rpm": "rpm",
    "rpmbuild": "rpm",
    "strace": "strace",
    "tc": "iproute2",
    "umockdev-run": "umockdev",
    "pgrep": "procps",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "amtool": "prometheus-alertmanager",
    "mosquitto": "mosquitto",
    "mosquitto_sub": "mosquitto-clients",
    "nginx": "nginx-light",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "promtool": "prometheus",
    "/lib/nut/dummy-ups": "nut-server",
    "/lib/nut/upsd": "nut-server",
    "/lib/systemd/systemd-udevd": "udev",
    "/usr/lib/nagios/plugins/check_dummy": "monitoring-plugins-basic",
}


def missing() -> list[str]:
    """Whatever the lab needs and this machine has not; empty when all is here."""
    lacks = [] if os.geteuid() == 0 else ["root"]
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}") is None:
            lacks.append(f"{program} (Debian package {package})")
    return lacks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies in this directory is a lab test, marked or not."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip where the lab was not asked for; fail where it was and cannot be built."""
    if item.get_closest_marker("lab") is None:
        return
    if os.environ.get("POSAGENT_LAB") != "1":
        pytest.skip("lab test: needs root, the packages of tests/lab/packages.txt and POSAGENT_LAB=1; .ci/run sets it")
    if lacks := missing():
        pytest.fail("POSAGENT_LAB=1, but the lab cannot be built here; missing: " + ", ".join(lacks), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _system_programs_are_found() -> Iterator[None]:
    """Root's programs live in sbin, which is not on everybody's PATH."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{before}:{SYSTEM_PATH}"
    yield
    os.environ["PATH"] = before


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """A whole, healthy store, up for the length of the run; whoever breaks it mends it."""
    from tests.lab.store import Store

    with Store() as built:
        yield built
