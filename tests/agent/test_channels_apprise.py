"""Apprise delivers in a child process that nobody can look into and that never outlives its deadline."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent.channels import anything
from agent.config.channels import Apprise
from agent.config.secret import Secret
from tests.agent.doubles import GONE, MESSAGE, SECRET, Town, always, answer, deliver
from tests.probes import talk

URL = Secret(env="URL")


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


def channel(town: Town, **more: Any) -> Apprise:
    return Apprise(kind="apprise", url=URL, **({"ca_file": town.ca_file, "timeout": 15} | more))


def test_any_service_of_apprise_gets_the_message_over_verified_tls(town: Town) -> None:
    with town.serving("localhost", always(answer("200 OK"))) as double:
        url = f"jsons://till:{SECRET}@localhost:{double.port}/path"
        assert deliver(channel(town), URL=url).ok
        assert deliver(channel(town), GONE, URL=url).ok
        untrusting = deliver(channel(town, ca_file=None), URL=url)
    assert (untrusting.ok, untrusting.permanent) == (False, False)
    first, second = (asked.json for asked in double.asked)
    assert (first["title"], first["message"], first["type"]) == (MESSAGE.subject, MESSAGE.text, "failure")
    assert second["type"] == "success"


@pytest.mark.parametrize(
    ("status", "permanent"),
    [("400 Bad Request", True), ("404 Not Found", True), ("429 Too Many Requests", False), ("503 Unavailable", False)],
)
def test_a_lasting_refusal_is_told_from_a_passing_one(status: str, permanent: bool, town: Town) -> None:
    with town.serving("localhost", always(answer(status))) as double:
        outcome = deliver(channel(town), URL=f"jsons://localhost:{double.port}/{SECRET}")
    assert (outcome.ok, outcome.permanent) == (False, permanent), outcome.detail


def test_what_apprise_does_not_know_is_refused_for_good(town: Town) -> None:
    outcome = deliver(channel(town), URL=f"nosuchservice://{SECRET}@host/")
    assert (outcome.ok, outcome.permanent) == (False, True)
    assert outcome.detail.startswith("apprise knows no service by this URL")


def test_without_apprise_the_way_to_it_is_told(town: Town, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError('not here')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    outcome = deliver(channel(town), URL=f"jsons://localhost/{SECRET}")
    assert (outcome.ok, outcome.permanent) == (False, True)
    assert outcome.detail == "apprise is not installed beside posagent: pip install 'posagent[notify]'"


@pytest.mark.parametrize("script", ["raise SystemExit(3)", "print('{')", "import os; os.abort()", "1/0"])
def test_a_child_that_dies_or_talks_nonsense_is_passing(
    script: str, town: Town, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "child.py").write_text(script)
    monkeypatch.setattr(anything, "CHILD", tmp_path / "child.py")
    outcome = deliver(channel(town), URL=f"jsons://localhost/{SECRET}")
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert outcome.detail.startswith("the child process ended with")


def test_no_list_of_processes_shows_the_secret_and_the_deadline_ends_the_child(town: Town) -> None:
    """While it talks to a server that never answers, its command line and environment are looked at."""
    seen: list[str] = []

    def look() -> None:
        ends = time.monotonic() + 2.5
        while time.monotonic() < ends:
            for directory in processes():
                try:
                    line = (directory / "cmdline").read_bytes()
                    if anything.CHILD.name.encode() in line:
                        seen.append(line.decode() + (directory / "environ").read_bytes().decode())
                except OSError:
                    continue
            time.sleep(0.05)

    watcher = threading.Thread(target=look)
    with talk.serving(talk.stall) as (port, _):
        watcher.start()
        began = time.monotonic()
        outcome = deliver(channel(town, timeout=2), URL=f"json://localhost:{port}/{SECRET}")
        assert time.monotonic() - began < 2.5
        watcher.join()
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert seen
    assert not any(SECRET in text for text in seen)
    time.sleep(0.1)
    assert not any(anything.CHILD.name.encode() in read(path / "cmdline") and is_ours(path) for path in processes())


def processes() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*"))


def is_ours(process: Path) -> bool:
    """Whether it is a child of this test and not of one beside it."""
    return read(process / "stat").rpartition(b")")[2].split()[1:2] == [str(os.getpid()).encode()]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_environments_proxy_is_not_used_and_an_explicit_one_is(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    asked: list[bytes] = []

    def proxy(connection: Any, over: threading.Event) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(answer("200 OK"))

    with talk.serving(proxy) as (port, _):
        outcome = deliver(channel(town, proxy=f"http://127.0.0.1:{port}"), URL=f"json://centre.example/{SECRET}")
    assert outcome.ok, outcome.detail
    assert asked[0].startswith(b"POST http://centre.example/")
