"""What every test may rely on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from probes.host import Host


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Where all was asked for, as in CI, everything must run: a skip there is a failure, whoever skipped.

    POSAGENT_LAB=1 asks for the lab too; POSAGENT_UNIT=1 for all but the lab.
    """
    outcome = yield
    report = outcome.get_result()
    of_the_lab = item.get_closest_marker("lab") is not None
    asked = os.environ.get("POSAGENT_LAB") == "1" or (os.environ.get("POSAGENT_UNIT") == "1" and not of_the_lab)
    if report.skipped and asked:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"


@pytest.fixture
def host() -> Host:
    """This machine, with five seconds to look at it."""
    return Host(ends=time.monotonic() + 5)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], Host]:
    """A fixture tree that *is* a machine: `tree({"/sys/…": "text"})`; a value "-> target" makes a symbolic link."""

    def plant(files: dict[str, str]) -> Host:
        for name, content in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                path.symlink_to(content[3:])
            else:
                path.write_text(content)
        return Host(root=tmp_path, ends=time.monotonic() + 5)

    return plant
