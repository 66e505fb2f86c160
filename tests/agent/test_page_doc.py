"""docs/page.md shows configurations that are accepted and speaks of the endpoints that there are."""

from __future__ import annotations

import re
from pathlib import Path

from agent import config
from agent.config.read import Source
from agent.web.app import App
from agent.web.guard import Guard
from agent.web.past import Past
from agent.web.sight import Sight

PAGE = (Path(__file__).parents[2] / "docs" / "page.md").read_text("utf-8")


def test_its_configurations_are_accepted() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert config.parse(Source("config.toml", block.encode())).web.tls is not None


def test_it_names_every_endpoint_and_no_other() -> None:
    app = App(Sight(lambda language: None), Guard("127.0.0.1", 9187), Past(None))
    assert set(re.findall(r"^\| `(/[^`]*)` \|", PAGE, re.MULTILINE)) == set(app._ways)
