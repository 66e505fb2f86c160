"""Are the generated documents what the code says? `python -m agent.documents` rewrites them in the current directory."""

from __future__ import annotations

import json
from pathlib import Path


def generated() -> dict[str, str]:
    """Each generated file of the repository, by its path, as the code would have it."""
    from agent import report

    return {"docs/report.schema.json": json.dumps(report.schema(), indent=2) + "\n"}


if __name__ == "__main__":
    for name, text in generated().items():
        Path(name).write_text(text, encoding="utf-8")
