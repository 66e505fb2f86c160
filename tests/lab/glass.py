"""The status page under glass: its real server on a port of this machine, showing whatever report it is handed."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from agent.config.web import Web
from agent.report import Report, encode
from agent.web import Page, Sight
from agent.web.sight import Content
from tests.lab import sights

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from agent.texts import Language

CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--font-render-hinting=none")
"""Debian's browser as root, drawing the same on every machine."""


class Fixed:
    """A past that is always the same."""

    def __init__(self, past: Mapping[str, Any]) -> None:
        self.past = past

    def content(self, _language: Language) -> Content:
        """What /history.json answers."""
        return Content(msgspec.json.encode(self.past), "application/json")


class Glass:
    """A page and what it shows. A context manager: the server ends with the block."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.sight = Sight(lambda language: None)
        self.page = Page(Web(listen=f"127.0.0.1:{self.port}"), self.sight, None, {})
        self.seq = 1

    def __enter__(self) -> Glass:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Start the server, perhaps once more."""
        self.page.start()
        assert not self.page.problems()

    def close(self) -> None:
        """The agent is dead."""
        self.page.stop(0.2)

    def show(self, report: Report, past: Mapping[str, Any] | None = None, other: Report | None = None) -> None:
        """From now on the till looks like this; `other`: the same in the other language."""
        self.seq += 1
        for each in (report, other):
            if each is not None:
                self.sight.put(each.agent.language, encode(msgspec.structs.replace(each, seq=self.seq)))
        app = self.page._app
        assert app is not None
        app.past = Fixed(past if past is not None else sights.history(report))  # type: ignore[assignment]

    def show_sight(self, name: str, **how: Any) -> None:
        """A till of `sights`, in both languages."""
        self.show(sights.report(name, "en", **how), other=sights.report(name, "zh-CN", **how))


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield chromium
        finally:
            chromium.close()
