"""posagent drill: an exercise through the whole path, with real servers, a real daemon, and whatever fails of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent import drill, texts
from agent.cli import drill as command
from agent.cli.parser import parse as parse_words
from agent.config import parse
from agent.config.read import Source
from agent.outcome import refused
from agent.store import Batch, Outgoing, Store
from tests.agent import telling
from tests.agent.daemons import POSAGENT
from tests.agent.daemons import Desk as Place
from tests.agent.telling import NOON, fault
from tests.agent.test_cli_ack import as_nobody

DISK = '[probes.disk]\nkind = "disk"\nmin_free = 0\nmin_inodes = 0\n'
Run = Callable[..., subprocess.CompletedProcess[str]]


class Server:
    """Answers by its path: /ok, /slow (after a second), /no (400), /never (not before the test is over)."""

    def __init__(self, port: int = 0) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.over = threading.Event()
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                mine.got.append((self.path, body))
                mine.over.wait({"/slow": 1.0, "/never": 30.0}.get(self.path, 0))
                with contextlib.suppress(OSError):
                    self.send_response(400 if self.path == "/no" else 200)
                    self.end_headers()
                    self.wfile.write(b"no such group" if self.path == "/no" else b"thanks")

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def heard(self, path: str) -> list[dict[str, Any]]:
        return [body for where, body in self.got if where == path]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def dead() -> Iterator[int]:
    """A port at which nobody listens, and that nobody else gets."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def hook(name: str, port: int, path: str, more: str = "") -> str:
    return f'[channels.{name}]\nkind = "webhook"\nurl = "http://127.0.0.1:{port}/{path}"\n{more}\n'


class Till(Place):
    """A till with these channels: its commands, and its daemon."""

    def __init__(self, path: Path, *tables: str) -> None:
        super().__init__(path, "\n".join(['language = "en"\n[site]\nstore = "0042"\n', DISK, *tables]))

    def posagent(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [POSAGENT, *words], env=self.env | env, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    def drilled(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = self.posagent("drill", *words, "--json")
        assert done.stderr == ""
        told = json.loads(done.stdout)
        assert told["id"].startswith("DRILL-")
        return done.returncode, told

    @contextlib.contextmanager
    def watched(self) -> Iterator[subprocess.Popen[bytes]]:
        with open(self.state.parent / "log", "wb") as log:
            process = subprocess.Popen([POSAGENT, "run"], env=self.env, stdout=log, stderr=log)
        try:
            until((self.state / "health.json").exists)
            yield process
        finally:
            process.terminate()
            process.wait(20)

    @contextlib.contextmanager
    def read(self) -> Iterator[Store]:
        store = Store(self.state / "state.sqlite", read_only=True)
        try:
            yield store
        finally:
            store.close()

    def outbox(self, name: str) -> dict[str, Outgoing]:
        with self.read() as store:
            return {one.channel: one for one in store.outbox.of(name)}


def until(fact: Callable[[], Any], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)


def states(told: dict[str, Any]) -> dict[str, str]:
    return {each["channel"]: each["state"] for each in told["channels"]}


# ---- with a daemon ----


def test_the_daemon_tells_every_channel_and_the_command_says_what_each_answered(
    tmp_path: Path, server: Server, dead: int
) -> None:
    till = Till(
        tmp_path,
        hook("good", server.port, "ok"),
        hook("slow", server.port, "slow", 'language = "zh-CN"'),
        hook("strict", server.port, "no", 'fallback = "good"'),
        hook("dead", dead, "x"),
        hook("off", server.port, "off", "enabled = false"),
        '[[escalation]]\nname = "store"\nchannels = ["slow", "strict", "dead"]\n',
    )
    with till.watched():
        assert till.posagent("silence", "1h", "--reason", "the exercise is told all the same").returncode == 0
        done = till.posagent("drill", "lan.cable_unplugged", "--timeout", "5s", SUDO_USER="Li Wei")
        assert (done.returncode, done.stderr) == (1, "")
        head, by, *rest = done.stdout.splitlines()
        assert head.startswith("Exercise DRILL-") and head.endswith(" [lan.cable_unplugged]")
        assert by == "The daemon tells 4 channels; answers are awaited for 5 s."
        rows = {line.split()[1]: line for line in rest[:4]}
        assert set(rows) == {"good", "slow", "strict", "dead"}
        assert [rows[name].split()[0] for name in ("good", "slow", "strict")] == ["reached", "reached", "REFUSED"]
        assert "FAILED" in rows["dead"] and "refused" in rows["dead"]
        assert float(rows["slow"].split()[3]) >= 1.0
        assert "no such group" in rows["strict"]
        assert rest[4:] == ["2 of 4 were reached."]  # good is the fallback of strict, and so in use

        name = head.split()[1].rstrip(",")
        for path, words in (("/ok", "EXERCISE"), ("/slow", "演练"), ("/no", "EXERCISE")):
            (body,) = server.heard(path)
            assert words in body["subject"] and words in body["text"] and words in body["markdown"]
            assert (body["what"], body["severity"], body["data"]["drill"]) == ("drill", "info", True)
            assert (body["data"]["incident"], body["data"]["cause"]) == (name, "lan.cable_unplugged")
        assert server.heard("/off") == []
        assert {each: one.state for each, one in till.outbox(name).items()} == {
            "good": "sent",
            "slow": "sent",
            "strict": "refused",
            "dead": "dropped",
        }

        late = Server(dead)  # it is mended
        try:
            code, told = till.drilled("--timeout", "20s")
            assert (code, states(told)["dead"]) == (1, "reached")  # at once, however long it had failed
            assert [body["data"]["incident"] for body in late.heard("/x")] == [told["id"]]  # and not the first one
        finally:
            late.stop()
        report = json.loads((till.state / "health.json").read_text())
        assert report["incidents"] == []
    past = till.posagent("history").stdout
    assert "exercise by Li Wei (lan.cable_unplugged): 2 of 4 channels were reached, not dead, strict" in past
    assert "Li Wei 进行了演练（lan.cable_unplugged）：4 个通道中送达 2 个，未送达：dead, strict" in (
        till.posagent("history", "--lang", "zh-CN").stdout
    )


def test_where_all_are_reached_it_ends_well_and_at_once(tmp_path: Path, server: Server) -> None:
    till = Till(tmp_path, hook("good", server.port, "ok"), hook("slow", server.port, "slow"))
    with till.watched():
        began = time.monotonic()
        code, told = till.drilled()
        assert time.monotonic() - began < 30
        assert (code, told["reached"], told["of"], told["through"], told["remarks"]) == (0, 2, 2, "daemon", [])
        assert told["cause"] == "isp.down"
        assert {each["attempts"] for each in told["channels"]} == {1}
    assert "all 2 channels were reached" in till.posagent("history").stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_stops_waiting_takes_back_what_has_not_left(tmp_path: Path, dead: int, number: signal.Signals) -> None:
    till = Till(tmp_path, hook("dead", dead, "x"))
    with till.watched():
        process = subprocess.Popen([POSAGENT, "drill"], env=till.env, stdout=subprocess.PIPE)
        assert process.stdout is not None
        name = process.stdout.readline().split()[1].decode().rstrip(",")
        until(lambda: till.outbox(name))
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        process.stdout.close()
        assert till.outbox(name)["dead"].state == "dropped"


def test_a_daemon_that_ends_meanwhile_is_not_waited_for(tmp_path: Path, server: Server) -> None:
    till = Till(tmp_path, hook("never", server.port, "never"))
    with till.watched() as daemon:
        process = subprocess.Popen([POSAGENT, "drill", "--json"], env=till.env, stdout=subprocess.PIPE)
        until(lambda: server.got)
        daemon.kill()
        daemon.wait(20)
        said, _ = process.communicate(timeout=20)
        told = json.loads(said)
        assert (process.returncode, states(told)) == (1, {"never": "late"})
        assert told["remarks"] == ["The daemon ended during the exercise: journalctl -u posagent"]
        assert till.outbox(told["id"])["never"].state == "dropped"


def test_a_daemon_that_runs_with_another_configuration_is_told_of(tmp_path: Path, server: Server) -> None:
    till = Till(tmp_path, hook("good", server.port, "ok"))
    with till.watched():
        with till.config.open("a") as file:
            file.write(hook("new", server.port, "ok"))
        code, told = till.drilled("--timeout", "5s")
        assert (code, states(told)) == (1, {"good": "reached", "new": "late"})
        assert told["remarks"] == ["The daemon runs with another configuration than this one: posagent reload"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_write_to_the_daemons_state_is_told_who_may(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        till = Till(Path(name), '[channels.bell]\nkind = "command"\ncommand = ["/bin/true"]\n')
        for key, value in till.env.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(command, "stop_on_signals", lambda: None)
        with till.watched():
            assert command.run(parse_words(["drill"])) == 0  # all is loaded now: nobody may be able to read it
            for each in (till.state, *till.state.iterdir()):
                each.chmod(0o755 if each.is_dir() else 0o644)
            said = as_nobody(lambda: command.run(parse_words(["drill", "clock.wrong"])))
        assert said.startswith(f"77 posagent: cannot write {till.state}/state.sqlite: only root may")
        assert said.endswith("; run `sudo posagent drill clock.wrong --timeout 60s`")
        with till.read() as store:
            assert len([event for event in store.events() if event.what == "drill"]) == 1
    capfd.readouterr()


# ---- without one ----


def test_without_a_daemon_it_tells_them_itself_and_says_that_none_runs(
    tmp_path: Path, server: Server, dead: int
) -> None:
    till = Till(
        tmp_path,
        hook("good", server.port, "ok"),
        hook("never", server.port, "never", 'timeout = "1m"'),
        hook("dead", dead, "x"),
        hook("secret", server.port, "ok", 'token = { credential = "centre" }'),
        '[[escalation]]\nname = "store"\nchannels = ["good"]\n',
    )
    began = time.monotonic()
    done = till.posagent("drill", "--timeout", "5s")
    assert time.monotonic() - began < 10
    assert (done.returncode, done.stderr) == (1, "")
    assert "No daemon runs here, so nobody would be told of a real fault" in done.stdout
    rows = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows == {"good": "reached", "never": "FAILED", "dead": "FAILED", "secret": "FAILED"}, done.stdout
    assert "1 of 4 were reached." in done.stdout
    assert "Channel dead is told by no escalation level" in done.stdout
    assert "as that of secret is: start the daemon and repeat the exercise" in done.stdout
    assert "could not be written into history" in done.stdout
    assert not (till.state / "state.sqlite").exists()  # the daemon's own is not begun by somebody else
    assert "EXERCISE" in server.heard("/ok")[0]["subject"]


def test_where_a_daemon_once_ran_the_exercise_is_kept(tmp_path: Path, server: Server) -> None:
    till = Till(tmp_path, hook("good", server.port, "ok"))
    Store(till.state / "state.sqlite").close()
    code, told = till.drilled("clock.wrong")
    assert (code, told["through"], told["remarks"]) == (0, "itself", [])
    with till.read() as store:
        (event,) = store.events()
    assert event.what == "drill"
    assert event.facts == {"reached": 1, "of": 1, "cause": "clock.wrong", "by": told["by"]}


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ((), "Nobody would be told of a fault: no channel is configured. Add one as [channels.NAME]"),
        (
            (hook("off", 9, "x", "enabled = false"),),
            "Nobody would be told of a fault: every channel is switched off (off).",
        ),
    ],
)
def test_where_nobody_would_be_told_that_is_the_answer(tmp_path: Path, tables: tuple[str, ...], sentence: str) -> None:
    till = Till(tmp_path, *tables)
    done = till.posagent("drill")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(sentence)
    code, told = till.drilled()
    assert (code, told["of"], told["through"]) == (1, 0, "nobody")
    assert told["remarks"][0].startswith(sentence)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lan.cable_unpluged"], "there is no such cause; did you mean lan.cable_unplugged?"),
        (["?"], "there is no such cause; docs/diagnosis.md lists them"),
        (["--timeout", "1s"], "--timeout: expected 5s to 10m, got '1s'"),
        (["--timeout", "1h"], "--timeout: expected 5s to 10m, got '1h'"),
    ],
)
def test_what_cannot_be_exercised_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    done = Till(tmp_path).posagent("drill", *words)
    assert (done.returncode, done.stdout) == (64, "")
    assert message in done.stderr


# ---- what the daemon's own part does, with a clock that the test moves ----

TWO = """
    [channels.staff]
    kind = "command"
    command = ["/bin/tell", "staff"]
    fallback = "boss"
    [channels.boss]
    kind = "command"
    command = ["/bin/tell", "boss"]
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[telling.Desk]:
    made = telling.Desk(tmp_path, TWO)
    yield made
    made.close()


def exercise(desk: telling.Desk, cause: str = "isp.down") -> drill.Exercise:
    """Put into the outbox as another process does."""
    made = drill.Exercise(parse(Source("config.toml", TWO.encode())), cause, "en", desk.wall)
    store = Store(Path(desk.env["STATE_DIRECTORY"]) / "state.sqlite")
    store.save(Batch(notices=made.outgoing()))
    store.close()
    return made


def noticed(desk: telling.Desk) -> None:
    assert desk.keeper.changed_by_others()
    desk.escalator.people_wrote()
    desk.turn()


def kept(desk: telling.Desk, name: str) -> dict[str, str]:
    desk.save(False)
    return desk.keeper.ask(lambda store: {one.channel: one.state for one in store.outbox.of(name)}, {})


def test_an_exercise_while_a_fault_is_open_leaves_its_reminders_as_they_are(desk: telling.Desk) -> None:
    desk.opens(fault())
    desk.turn()
    assert desk.world.told() == [("i-1", "opened")]
    desk.keeper.changed_by_others()
    made = exercise(desk, "lan.router_down")
    noticed(desk)
    assert desk.world.told()[1:] == [(made.id, "drill")]
    desk.go(1900)
    assert desk.world.told()[2:] == [("i-1", "reminder")]
    desk.resolves("i-1")
    desk.go(60)
    assert desk.world.told()[3:] == [("i-1", "resolved")]
    assert [each.id for each in desk.known.book.recent] == ["i-1"]


def test_a_channel_that_rests_after_failures_is_tried_at_once_and_before_what_waits_for_it(desk: telling.Desk) -> None:
    desk.world.down("staff")
    desk.opens(fault())
    desk.go(3600)
    tried = desk.world.tried["staff"]
    desk.keeper.changed_by_others()
    desk.world.up("staff")
    made = exercise(desk)
    noticed(desk)
    assert desk.world.tried["staff"] > tried
    assert desk.world.told()[0] == (made.id, "drill")
    assert ("i-1", "opened") in desk.world.told()  # it works again: all that waited leaves


def test_an_exercise_that_was_refused_is_not_told_through_the_fallback_again(desk: telling.Desk) -> None:
    desk.world.answers["staff"] = lambda _message: refused("no such group")
    desk.keeper.changed_by_others()
    made = exercise(desk)
    noticed(desk)
    desk.go(3600)
    assert desk.world.told("boss") == [(made.id, "drill")]
    assert kept(desk, made.id) == {"staff": "refused", "boss": "sent"}


def test_an_exercise_whose_command_was_killed_arrives_no_hours_later(desk: telling.Desk) -> None:
    desk.world.down("staff", "boss")
    desk.keeper.changed_by_others()
    made = exercise(desk)
    noticed(desk)
    desk.go(1200)
    desk.world.up("staff", "boss")
    desk.go(3600)
    assert desk.world.told() == desk.world.told("boss") == []
    assert kept(desk, made.id) == {"staff": "dropped", "boss": "dropped"}


def test_one_that_was_begun_before_the_power_went_is_not_told_after(tmp_path: Path) -> None:
    first = telling.Desk(tmp_path, TWO)
    made = exercise(first)
    first.close()
    second = telling.Desk(tmp_path, TWO, wall=NOON + 7200)
    second.go(60)
    assert second.world.got == []
    assert kept(second, made.id) == {"staff": "dropped", "boss": "dropped"}
    second.close()


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_an_exercise_of_every_cause_can_be_told_and_nobody_can_take_it_for_a_fault(language: texts.Language) -> None:
    from agent.causes import CAUSES

    for cause in CAUSES:
        made = drill.Exercise(parse(Source("config.toml", TWO.encode())), cause, language, NOON)
        message = made.messages()["staff"]
        mark = {"en": "EXERCISE", "zh-CN": "演练"}[language]
        assert mark in message.subject and mark in message.text.splitlines()[0]
        assert message.text.count(mark) >= 3, cause
        assert "{" not in message.text
