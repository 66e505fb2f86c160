"""What every test may rely on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.host import Host


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
