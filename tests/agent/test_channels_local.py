"""Ways that need no network: a program of one's own, this PC's journal, the screen."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent import channels
from agent.channels import desktop, journal
from agent.config.channels import CommandChannel, Desktop, JournalChannel
from agent.config.model import Channel
from tests.agent.doubles import MESSAGE, SECRET, deliver, place

# ---- a program ----


def program(*words: str, **more: object) -> CommandChannel:
    return CommandChannel(kind="command", command=words, **({"timeout": 5} | more))  # type: ignore[arg-type]


def shell(script: str, **more: object) -> CommandChannel:
    return program("/bin/sh", "-c", script, **more)


def test_the_program_gets_the_whole_message_as_json(tmp_path: Path) -> None:
    outcome = deliver(shell(f"cat > {tmp_path}/got; echo told; echo 17 people"))
    assert (outcome.ok, outcome.detail) == (True, "17 people")
    got = json.loads((tmp_path / "got").read_text())
    assert got["schema"] == "posagent.notice/1"
    assert (got["key"], got["text"], got["data"]) == (MESSAGE.key, MESSAGE.text, MESSAGE.data)


def test_its_words_are_its_own_and_never_a_shells(tmp_path: Path) -> None:
    (tmp_path / "tell").write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/words\n')
    (tmp_path / "tell").chmod(0o755)
    assert deliver(program(str(tmp_path / "tell"), "a b", "$(touch x)", "; rm", "*")).ok
    assert (tmp_path / "words").read_text() == "a b|$(touch x)|; rm|*|"


def test_its_environment_is_small_and_holds_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHERS_PASSWORD", "not-yours")
    assert deliver(shell(f"env > {tmp_path}/env", secrets={"SMS_TOKEN": place()})).ok
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert env["SMS_TOKEN"] == SECRET
    assert (env["POSAGENT_KEY"], env["POSAGENT_WHAT"], env["POSAGENT_SEVERITY"]) == (MESSAGE.key, "opened", "critical")
    assert "OTHERS_PASSWORD" not in env


@pytest.mark.parametrize(
    ("code", "ok", "permanent"),
    [
        (0, True, False),
        (1, False, False),
        (75, False, False),
        (64, False, True),
        (67, False, True),
        (78, False, True),
        (255, False, False),
    ],
)
def test_its_exit_code_says_how_it_went(code: int, ok: bool, permanent: bool) -> None:
    outcome = deliver(shell(f"echo no such number >&2; exit {code}"))
    assert (outcome.ok, outcome.permanent) == (ok, permanent)
    if not ok:
        assert outcome.detail == f"/bin/sh ended with {code}: no such number"


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    outcome = deliver(shell(f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait", timeout=1))
    assert time.monotonic() - began < 1.5
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert "did not end in time" in outcome.detail
    for name in ("child", "self"):
        assert is_gone(int((tmp_path / name).read_text()))


def is_gone(pid: int) -> bool:
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        with contextlib.suppress(FileNotFoundError):
            if " Z " not in Path(f"/proc/{pid}/stat").read_text():
                time.sleep(0.02)
                continue
        return True
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return False


def test_a_program_that_dies_or_babbles_or_does_not_listen() -> None:
    assert "died of SIGKILL" in deliver(shell("kill -9 $$")).detail
    assert not deliver(program("/usr/bin/yes")).ok
    long = msgspec.structs.replace(MESSAGE, text="x" * 500_000)
    assert deliver(program("/bin/true"), long).ok
    assert len(deliver(shell("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")).detail) <= 300


@pytest.mark.parametrize("path", ["/nowhere/tell", "/etc/passwd", "/"])
def test_what_is_no_program_is_refused_for_good(path: str) -> None:
    outcome = deliver(program(path))
    assert (outcome.ok, outcome.permanent) == (False, True)
    assert path in outcome.detail


def test_a_program_that_says_its_secret_or_a_card_number_spreads_neither() -> None:
    outcome = deliver(shell('echo "token $T refused for 4111111111111111" >&2; exit 1', secrets={"T": place()}))
    assert outcome.detail == "/bin/sh ended with 1: token (not shown) refused for ************1111"


# ---- the journal ----


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the journal and syslog would be; neither is there yet."""
    monkeypatch.setattr(journal, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(journal, "SYSLOG", str(tmp_path / "log"))
    return tmp_path


@contextlib.contextmanager
def listening(path: Path) -> Iterator[list[bytes]]:
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        box.bind(str(path))
        box.settimeout(5)
        thread = threading.Thread(target=lambda: heard.append(box.recv(1 << 20)))
        thread.start()
        yield heard
        thread.join(6)


def fields(datagram: bytes) -> dict[str, str]:
    """systemd.io/JOURNAL_NATIVE_PROTOCOL, read by hand."""
    found = {}
    while datagram:
        name, datagram = datagram.split(b"\n", 1)
        [size] = struct.unpack("<Q", datagram[:8])
        found[name.decode()] = datagram[8 : 8 + size].decode()
        assert datagram[8 + size : 9 + size] == b"\n"
        datagram = datagram[9 + size :]
    return found


LOG = JournalChannel(kind="journal")


def test_the_journal_gets_fields_that_can_be_searched(sockets: Path) -> None:
    with listening(sockets / "journal") as heard:
        assert deliver(LOG).detail == str(sockets / "journal")
    assert fields(heard[0]) == {
        "MESSAGE": f"{MESSAGE.subject}\n{MESSAGE.text}",
        "PRIORITY": "2",
        "SYSLOG_IDENTIFIER": "posagent",
        "POSAGENT_KEY": MESSAGE.key,
        "POSAGENT_WHAT": "opened",
        "POSAGENT_INCIDENT": "20261122-0901-lan",
        "POSAGENT_CAUSE": "lan.cable_unplugged",
    }


def test_without_a_journal_syslog_gets_one_line(sockets: Path) -> None:
    with listening(sockets / "log") as heard:
        assert deliver(LOG).ok
    assert heard[0].startswith(f"<26>posagent[{os.getpid()}]: 0042 T01: card payments down".encode())
    assert b"\n" not in heard[0]


def test_a_socket_that_nobody_reads_is_no_journal(sockets: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(sockets / "journal"))
    with listening(sockets / "log") as heard:
        assert deliver(LOG).detail == str(sockets / "log")
    assert heard


@pytest.mark.usefixtures("sockets")
def test_without_either_stderr_gets_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert deliver(LOG).detail == "stderr"
    said = capfd.readouterr().err
    assert said.startswith("<2>0042 T01: card payments down")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("sockets")
def test_with_nothing_to_write_to_the_journal_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert deliver(LOG).detail == "there is no journal, no syslog and no stderr"


def test_a_journal_that_does_not_read_keeps_nobody_waiting(sockets: Path) -> None:
    slow = JournalChannel(kind="journal", timeout=1)  # type: ignore[arg-type]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        box.bind(str(sockets / "journal"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler, contextlib.suppress(BlockingIOError):
            filler.setblocking(False)
            while True:
                filler.sendto(b"x" * 1000, str(sockets / "journal"))
        began = time.monotonic()
        outcome = deliver(slow)
    assert time.monotonic() - began < 1.5
    assert outcome.took_s <= 1.5


def test_a_message_of_any_size_is_written(sockets: Path) -> None:
    with listening(sockets / "journal") as heard:
        assert deliver(LOG, msgspec.structs.replace(MESSAGE, text="断" * 500_000)).ok
    assert fields(heard[0])["MESSAGE"].startswith(MESSAGE.subject)


# ---- the screen ----


@pytest.fixture
def seats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PC on which nobody is logged in."""
    (tmp_path / "sessions").mkdir()
    monkeypatch.setattr(desktop, "SESSIONS", tmp_path / "sessions")
    monkeypatch.setattr(desktop, "USERS", tmp_path / "user")
    for name in ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def session(root: Path, name: str, uid: int, **facts: str) -> None:
    table = {"UID": str(uid), "CLASS": "user", "TYPE": "wayland", "STATE": "active", "ACTIVE": "1"} | facts
    (root / "sessions" / name).write_text(
        "# This is private data. Do not parse.\n" + "".join(f"{key}={value}\n" for key, value in table.items())
    )
    (root / "user" / str(uid)).mkdir(parents=True, exist_ok=True)
    (root / "user" / str(uid) / "bus").touch()


SCREEN = Desktop(kind="desktop")


@pytest.mark.usefixtures("seats")
def test_nobody_is_logged_in() -> None:
    outcome = deliver(SCREEN)
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert outcome.detail == "nobody is logged in at a desktop"


def test_those_at_a_screen_are_found_and_nobody_else(seats: Path) -> None:
    session(seats, "2", 1000, TYPE="x11", DISPLAY=":0")
    session(seats, "3", 1001, TYPE="tty")
    session(seats, "4", 1002, CLASS="greeter")
    session(seats, "5", 1003, STATE="closing")
    session(seats, "6", 1004)
    (seats / "user" / "1004" / "bus").unlink()
    (seats / "sessions" / "7").write_bytes(b"\xff\x00nonsense")
    (seats / "sessions" / "8.ref").mkdir()
    assert list(desktop.seats({})) == [desktop.Seat(1000, f"unix:path={seats}/user/1000/bus", ":0")]


def test_an_agent_in_a_session_of_its_own_finds_it(seats: Path) -> None:
    env = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x", "WAYLAND_DISPLAY": "wayland-0"}
    assert list(desktop.seats(env)) == [desktop.Seat(os.getuid(), "unix:path=/x")]
    del env["WAYLAND_DISPLAY"]
    assert list(desktop.seats(env)) == []


# ---- all ----


def test_there_is_a_way_for_every_kind_of_channel() -> None:
    from agent.config.channels import KINDS

    assert set(channels.WAYS) == set(KINDS)


def test_a_fault_of_our_own_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_errand: object) -> channels.Outcome:
        raise ZeroDivisionError(f"while holding {SECRET}")

    monkeypatch.setattr(channels, "WAYS", {"journal": broken})
    outcome = channels.send(LOG, MESSAGE)
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert outcome.detail.startswith("posagent's own fault: ZeroDivisionError at test_channels_local.py:")


@pytest.mark.parametrize("key", ["", "a\nb", "ключ", "x" * 5000])
def test_any_key_is_sent(key: str) -> None:
    ways: list[Channel] = [program("/bin/true")]
    for way in ways:
        assert deliver(way, msgspec.structs.replace(MESSAGE, key=key)).ok
