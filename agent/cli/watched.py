"""Whose report does `posagent watch` show: the daemon's while it is renewed, else looks of its own?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import screen, texts
from agent.cli.configured import load, read_file, report_path
from agent.cli.status import age, standing

if TYPE_CHECKING:
    from concurrent.futures import Future

    from agent.texts import Language

LOOK_EVERY_S = 2.0
ASK_EVERY_S = 0.5
"""How often it is asked whether the daemon still lives."""


class Sight:
    """What can be told in this moment: a report, if there is one, and what is to be said of where it comes from."""

    def __init__(self, data: Mapping[str, Any] | None, about: tuple[str, str], alone: str = "") -> None:
        self.data = data
        self.about = about
        self.alone = alone
        """Why posagent looks by itself; empty while it follows a daemon."""


class Source:
    """The daemon's report while it is renewed, else looks of our own."""

    def __init__(self, config: str | None, language: Language) -> None:
        self._config, self._language = config, language
        self._path = report_path(config)
        self._seen: tuple[int, ...] = ()
        self._report: dict[str, Any] | None = None
        self._problem = ""
        self._standing, self._ask_at = "age", 0.0
        self._own = OwnLooks(config, language)

    def turn(self) -> Sight:
        """How it stands. Raises Complaint where a look of our own is needed and the configuration is wrong."""
        self._read_if_changed()
        why = self._why_alone()
        if not why:
            assert self._report is not None  # noqa: S101 -- else there was a reason
            self._own.forget()
            return Sight(self._report, age(self._report, self._standing, self._language))
        looked = self._own.turn()
        shown = self._report if looked is None else looked
        notice = texts.phrase("watch.alone", self._language, why=why, seconds=LOOK_EVERY_S)
        return Sight(shown, (notice, "warn"), why)

    def stop(self) -> None:
        """Wait for nothing that still looks."""
        self._own.stop()

    def _read_if_changed(self) -> None:
        try:
            found = Path(self._path).stat()
            seen = (found.st_ino, found.st_ctime_ns, found.st_size)
            if seen == self._seen:
                return
            self._seen, self._report, self._problem = seen, None, "unreadable"
            data = json.loads(read_file(self._path))
            screen.page(data, self._language)
            self._standing, self._ask_at = standing(data), time.monotonic() + ASK_EVERY_S
            self._report, self._problem = data, ""
        except FileNotFoundError:
            self._seen, self._report, self._problem = (), None, "missing"
        except OSError:
            self._report, self._problem = None, "unreadable"
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            self._report = None  # whatever lies there, it is no report

    def _why_alone(self) -> str:
        """A sentence, where nobody renews the report."""
        if self._report is None:
            return texts.phrase(f"watch.{self._problem}", self._language, path=self._path)
        if time.monotonic() >= self._ask_at:
            self._standing, self._ask_at = standing(self._report), time.monotonic() + ASK_EVERY_S
        if self._standing != "age":
            return age(self._report, self._standing, self._language)[0]
        if self._report["agent"].get("mode") != "run":
            return texts.phrase("watch.once", self._language)
        return ""


class OwnLooks:
    """A look every two seconds, in a thread of its own: the screen goes on while probes wait."""

    def __init__(self, config: str | None, language: Language) -> None:
        self._config, self._language = config, language
        self._executor: Any = None
        self._running: Future[dict[str, Any]] | None = None
        self._newest: dict[str, Any] | None = None
        self._due = 0.0

    def turn(self) -> dict[str, Any] | None:
        """Begin a look if it is time; the newest finished one."""
        if self._executor is None:
            self._begin()
        if self._running is not None and self._running.done():
            self._newest = self._running.result()
            self._running = None
        if self._running is None and time.monotonic() >= self._due:
            self._due = time.monotonic() + LOOK_EVERY_S
            self._running = self._executor.submit(self._look)
        return self._newest

    def forget(self) -> None:
        """The daemon is back: the next look of our own begins anew."""
        self._newest = None

    def stop(self) -> None:
        """Nothing begins any more."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from agent.discovery import probes_to_check

        self._loaded = load(self._config)
        self._probes = probes_to_check(self._loaded)
        self._executor = ThreadPoolExecutor(1, "look")

    def _look(self) -> dict[str, Any]:
        from agent import oneshot, report

        return report.as_data(oneshot.check(self._loaded, self._probes, self._language))
