"""Three kinds for the tests of the configuration, beside posagent's own."""

from __future__ import annotations

import pytest

from probes import registry


@pytest.fixture
def sample_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kinds `sample`, `required` and `single`."""
    monkeypatch.setitem(registry.KINDS, "sample", "tests.agent.sample")
    monkeypatch.setitem(registry.KINDS, "required", "tests.agent.sample_required")
    monkeypatch.setitem(registry.KINDS, "single", "tests.agent.sample_single")
