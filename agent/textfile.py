"""How does node_exporter see this till? `report.textfile`: the report's metrics in a file, replaced as a whole.

The file holds nothing that is only true at the moment of a scrape: no process numbers (they would clash with those of
node_exporter itself), no clock. Whether it is stale its `posagent_report_valid_until_timestamp_seconds` says.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from agent import metrics

MODE = 0o644
"""The scraper is another user, and the file says no more than /metrics does."""


class Textfile:
    """Writes the metrics of each report; says what hinders it. Owned by one thread."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._problem: str | None = None

    def write(self, encoded: bytes) -> bool:
        """Replace the file by this report's metrics. False where that failed: then the old file stands."""
        content = metrics.render(msgspec.json.decode(encoded), {}, openmetrics=False)
        try:
            self._replace(content)
        except OSError as trouble:
            self._problem = (
                f"cannot write the metrics for node_exporter to {self._path}: {trouble.strerror or trouble}; "
                "check report.textfile, and that posagent's user may write to that directory"
            )
            return False
        self._problem = None
        return True

    def problems(self) -> list[str]:
        """What is wrong now, for `agent.problems`."""
        return [] if self._problem is None else [self._problem]

    def _replace(self, content: bytes) -> None:
        """A reader sees the old file or the new one. Not fsynced: flash wears, and the next report mends a power cut.

        The temporary name is fixed (nothing heaps up after kills) and does not end in .prom (no scraper reads it).
        """
        temporary = self._path.with_name(f".{self._path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, MODE)
                file.write(content)
            temporary.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
