"""Does Apprise deliver this? One JSON object on standard input, one on standard output.

Run by `anything`, never imported. It stands alone: it is started with `python -I`, and finds apprise where its parent
would.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any


def main() -> None:
    """Answer `delivered`, `failed`, `unknown` (no such service) or `missing` (no apprise)."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    log = io.StringIO()
    try:
        import apprise
    except ImportError:
        _answer("missing", "")
        return
    logging.getLogger("apprise").addHandler(logging.StreamHandler(log))
    logging.getLogger("apprise").setLevel(logging.WARNING)
    _answer(_delivered(apprise, asked), " ".join(log.getvalue().split())[:2000])


def _delivered(apprise: Any, asked: dict[str, str]) -> str:
    asset = apprise.AppriseAsset(app_id="posagent", async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY)
    service = apprise.Apprise(asset=asset)
    if not service.add(asked["url"]):
        return "unknown"
    taken = service.notify(
        title=asked["title"], body=asked["body"], body_format=asked["format"], notify_type=asked["type"]
    )
    return "delivered" if taken else "failed"


def _answer(how: str, said: str) -> None:
    sys.stdout.write(json.dumps({"how": how, "said": said}))


if __name__ == "__main__":
    main()
