"""Are the generated documents what the code says? `python -m agent.documents` rewrites them in this directory."""

from __future__ import annotations

import json
from pathlib import Path


def generated() -> dict[str, str]:
    """Each generated file of the repository, by its path, as the code would have it."""
    from agent import report
    from agent.config.example import example
    from agent.config.schema import schema
    from agent.kinds_page import probes_page

    return {
        "config.example.toml": example(),
        "docs/config.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        "docs/probes.md": probes_page(),
        "docs/report.schema.json": json.dumps(report.schema(), indent=2) + "\n",
    }


if __name__ == "__main__":
    for name, text in generated().items():
        Path(name).write_text(text, encoding="utf-8")
