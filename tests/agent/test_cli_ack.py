"""posagent ack, silence, unsilence: written beside a running daemon, heeded by it, and refused with a way on."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.cli import Complaint, charges, run, writing
from agent.incidents import Incident
from agent.store import Batch, Note, Store
from tests.agent.daemons import POSAGENT, Desk

Run = Callable[..., subprocess.CompletedProcess[str]]
NOW = time.time()
NOBODY = 65534


def incident(name: str, cause: str = "isp.down", ended: float | None = None, **more: Any) -> Incident:
    return Incident(
        **{"party": "isp", "category": "network", "confidence": "certain", "fingerprint": "f0", "impact": "stop"}
        | {"id": name, "cause": cause, "began_at": NOW - 600, "opened_at": NOW - 590, "resolved_at": ended}
        | {"headline": "The internet is down"}
        | more
    )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    found = Desk(tmp_path)
    with_store(
        found,
        incident("261122-K7QM"),
        incident("261122-K7ZZ", ended=NOW - 60),
        incident("261121-A2B3"),
        incident("261121-JOIN", ended=NOW - 60, joined_to="261122-K7QM"),
    )
    return found


def with_store(desk: Desk, *incidents: Incident) -> None:
    store = Store(desk.state / "state.sqlite")
    store.save(Batch(incidents=list(incidents)))
    store.close()


@pytest.fixture
def posagent(desk: Desk) -> Run:
    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [POSAGENT, *words], env=desk.env | env, capture_output=True, text=True, timeout=30, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    return run


@contextmanager
def read(desk: Desk) -> Iterator[Store]:
    store = Store(desk.state / "state.sqlite", read_only=True)
    try:
        yield store
    finally:
        store.close()


def notes(desk: Desk, name: str = "261122-K7QM") -> list[Note]:
    with read(desk) as store:
        return store.notes(name)


def test_who_takes_charge_is_kept_with_the_incident(desk: Desk, posagent: Run) -> None:
    done = posagent("ack", "261122-K7QM", "--note", "router is being changed", "--for", "2h", "--by", "Li Wei")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("261122-K7QM: Li Wei has taken charge until ")
    (note,) = notes(desk)
    assert (note.by, note.text) == ("Li Wei", "router is being changed")
    assert note.until == pytest.approx(note.at + 7200)
    assert note.at == pytest.approx(time.time(), abs=20)


def test_without_a_time_it_holds_until_the_incident_is_over(desk: Desk, posagent: Run) -> None:
    done = posagent("ack", "261122-K7QM", "--lang", "zh-CN", SUDO_USER="wang")
    assert done.stdout.splitlines()[0].startswith("261122-K7QM：wang 已接手处理；")
    (note,) = notes(desk)
    assert (note.by, note.text, note.until) == ("wang", "", None)


@pytest.mark.parametrize("prefix", ["261122-K7Q", "261121-a", "261122-K7"])
def test_the_beginning_of_an_id_will_do_and_of_several_the_open_one_is_meant(posagent: Run, prefix: str) -> None:
    assert posagent("ack", prefix).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["261122-K7QN"], "there is none of this id; did you mean 261122-K7QM?"),
        (["NOPE"], "there is none of this id; open: 261122-K7QM, 261121-A2B3"),
        (["2611"], "several have an id that begins so; did you mean one of 261122-K7ZZ, 261122-K7QM,"),
        ([""], "there is none of this id"),
        (["261122-K7ZZ"], "cannot take charge of 261122-K7ZZ: it is over since "),
        (["261122-K7ZZ", "--for", "1h", "--note", "x"], "with --note alone you can still write to it what was done"),
        (["261121-JOIN"], "it is part of 261122-K7QM now; take charge of that one: `posagent ack 261122-K7QM`"),
        (["261122-K7QM", "--for", "soon"], '--for: expected a duration such as "500ms"'),
        (["261122-K7QM", "--for", "5s"], "--for: expected 1m to 30d, got '5s'"),
        (["261122-K7QM", "--note", " \n"], "--note: expected a text of 1 to 1000 characters, got 0"),
        (["261122-K7QM", "--by", ""], "--by: expected a text of 1 to 100 characters, got 0"),
    ],
)
def test_what_cannot_be_acknowledged_is_refused_with_a_way_on(
    desk: Desk, posagent: Run, words: list[str], message: str
) -> None:
    done = posagent("ack", *words)
    assert (done.returncode, done.stdout) == (64, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not notes(desk)


def test_what_was_done_can_be_written_to_an_incident_that_is_over(desk: Desk, posagent: Run) -> None:
    done = posagent("ack", "261122-K7ZZ", "--note", "cable replaced", "--by", "Li")
    assert done.stdout.splitlines()[0] == "261122-K7ZZ is over; the note of Li is kept with it"
    assert [note.text for note in notes(desk, "261122-K7ZZ")] == ["cable replaced"]


def test_no_card_number_is_kept_that_somebody_types(desk: Desk, posagent: Run) -> None:
    card = "4111 1111 1111 1111"
    assert posagent("ack", "261122-K7QM", "--note", f"customer {card}", "--by", card).returncode == 0
    assert card not in posagent("silence", "1h", "--reason", f"card {card}").stdout
    raw = b"".join(path.read_bytes() for path in desk.state.iterdir())
    assert b"4111 1111" not in raw
    assert b"**** 1111" in raw


def test_without_a_daemon_it_is_said_that_nobody_heeds_it_yet(desk: Desk, posagent: Run) -> None:
    with desk.daemon():
        assert "no daemon" not in posagent("ack", "261122-K7QM").stdout
    assert "no daemon is running here" in posagent("ack", "261122-K7QM").stdout


def test_where_no_daemon_ever_ran_there_is_nothing_to_write_to(tmp_path: Path, posagent: Run) -> None:
    nowhere = str(tmp_path / "nowhere")
    for words in (["ack", "261122-K7QM"], ["silence", "1h", "--reason", "x"], ["unsilence"]):
        done = posagent(*words, STATE_DIRECTORY=nowhere)
        assert (done.returncode, done.stdout) == (3, "")
        assert "nothing is recorded before `posagent run` has run" in done.stderr
    assert not Path(nowhere).exists()


def test_a_damaged_file_is_left_to_the_daemon(desk: Desk, posagent: Run) -> None:
    file = desk.state / "state.sqlite"
    file.write_bytes(b"no database at all" * 100)
    done = posagent("ack", "261122-K7QM")
    assert done.returncode == 3
    assert "`posagent run` mends or renews it" in done.stderr
    assert file.read_bytes().startswith(b"no database")


def as_nobody(way: Callable[[], object]) -> str:
    """What a user without any rights is told in another process."""
    assert {pwd.__name__, grp.__name__}  # loaded now: where they lie, nobody may be able to read
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            way()
        except Complaint as complaint:
            os.write(sender, f"{complaint.code} {complaint}".encode())
        finally:
            os._exit(0)
    os.close(sender)
    with open(receiver, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_whoever_may_only_read_is_told_whose_file_it_is_and_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("STATE_DIRECTORY", place)
        Path(place).chmod(0o755)
        store = Store(Path(place) / "state.sqlite")
        for path in Path(place).iterdir():
            path.chmod(0o644)
        said = as_nobody(lambda: writing.write("posagent ack 261122-K7QM --by 'Li Wei'", lambda store: store.notes("")))
        store.close()
    assert said == (
        f"77 posagent: cannot write {place}/state.sqlite: only root may, and group root may only read; "
        "run `sudo posagent ack 261122-K7QM --by 'Li Wei'`"
    )


def test_the_command_to_type_is_the_one_that_was_typed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[str] = []
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    really = writing.write

    def write(command: str, way: Callable[[Store], Any]) -> Any:
        typed.append(command)
        return really(command, way)

    monkeypatch.setattr(writing, "write", write)
    assert run(["ack", "261122-K7", "--note", "new cable", "--for", "2h", "--by", "Li"]) == 0
    assert run(["silence", "1h", "--reason", "new switch"]) == 0
    assert typed == [
        "posagent ack 261122-K7QM --note 'new cable' --for 2h --by Li",
        "posagent silence 1h --reason 'new switch'",
    ]


def test_planned_work_silences_until_it_is_done(desk: Desk, posagent: Run) -> None:
    done = posagent("silence", "2h", "--reason", "new switch", "--by", "Li")
    assert re.match(r"silenced until .* by Li: new switch;", done.stdout)
    assert re.match(r"Silenced until .* by Li: new switch\n", posagent("incidents").stdout)
    with read(desk) as store:
        (one,) = store.silences(time.time())
    assert (one.by, one.reason) == ("Li", "new switch")
    assert one.until == pytest.approx(time.time() + 7200, abs=20)
    assert posagent("unsilence").stdout.startswith("no longer silenced")
    assert posagent("unsilence").stdout.startswith("nothing was silenced")
    assert "Silenced" not in posagent("incidents").stdout
    with read(desk) as store:
        assert store.silences(time.time()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2h"], "the following arguments are required: --reason"),
        (["--reason", "x"], "the following arguments are required: DURATION"),
        (["8d", "--reason", "x"], "DURATION: expected 1m to 7d, got '8d'"),
        (["2 hours", "--reason", "x"], "DURATION: expected a duration"),
        (["2h", "--reason", ""], "--reason: expected a text of 1 to 1000 characters, got 0"),
    ],
)
def test_a_silence_has_an_end_and_a_reason(posagent: Run, words: list[str], message: str) -> None:
    done = posagent("silence", *words)
    assert done.returncode == 64
    assert message in done.stderr


def test_lists_say_who_has_it_in_hand_and_for_how_long(posagent: Run) -> None:
    posagent("ack", "261122-K7QM", "--by", "Li", "--for", "2h", "--note", "on my way")
    line = next(line for line in posagent("incidents").stdout.splitlines() if "K7QM" in line)
    assert re.search(r"The internet is down · Li takes care of it until \d\d:\d\d$|\d\d-\d\d \d\d:\d\d$", line)
    assert re.search(r"Li: on my way \(until .*\d\d:\d\d\)", posagent("incidents", "261122-K7QM").stdout)
    listed = {each["id"]: each["acknowledged"] for each in json.loads(posagent("incidents", "--json").stdout)}
    assert listed["261121-A2B3"] is None
    assert (listed["261122-K7QM"]["by"], listed["261122-K7QM"]["note"]) == ("Li", "on my way")
    one = json.loads(posagent("incidents", "261122-K7QM", "--json").stdout)
    assert one["acknowledged"] == listed["261122-K7QM"]


def test_a_charge_that_has_expired_is_nobodys() -> None:
    forever, expired = Note("i", 10, "Li"), Note("i", 20, "Wang", "", 100)
    assert charges.holder([], 50) is None
    assert charges.holder([forever], 50) == forever
    assert charges.holder([forever, expired], 99) == expired
    assert charges.holder([forever, expired], 100) is None  # who took it last had it, and has it no longer


@pytest.fixture
def refused() -> int:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def real(tmp_path: Path, refused: int) -> Iterator[Desk]:
    """A daemon whose bank refuses every connection."""
    desk = Desk(
        tmp_path,
        '[schedule]\ninterval = "1s"\nretry_interval = "1s"\nfail_after = 1\n'
        f'[probes.auth]\nkind = "port"\nhost = "127.0.0.1"\nport = {refused}\n',
    )
    daemon = subprocess.Popen([sys.executable, "-m", "agent", "run"], env=desk.env, stderr=subprocess.DEVNULL)
    try:
        yield desk
    finally:
        daemon.terminate()
        daemon.wait(10)


def opened(desk: Desk) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads((desk.state / "health.json").read_text())["incidents"]
    except (OSError, ValueError):
        return []
    return found


def until(desk: Desk, holds: Callable[[dict[str, Any]], bool], within: float) -> dict[str, Any]:
    """The first open incident of the report, once this is true of it."""
    ends = time.monotonic() + within
    while time.monotonic() < ends:
        found = opened(desk)
        if found and holds(found[0]):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"not within {within} s: {opened(desk)}")


def test_a_running_daemon_heeds_it_within_three_seconds(real: Desk) -> None:
    def do(*words: str) -> None:
        subprocess.run([POSAGENT, *words], env=real.env, check=True, capture_output=True, timeout=20)

    name = until(real, lambda _one: True, 20)["id"]
    with read(real) as kept:  # with what stood behind its evidence: it can be told in any language, weeks later
        (one,) = kept.open_incidents()
    assert one.seen["auth: port.refused"].facts["port"] == int(one.subjects[0].rpartition(":")[2])
    do("ack", name[:9], "--by", "Li", "--note", "on my way", "--for", "1h")
    taken = until(real, lambda one: one["acknowledged"] is not None, 3)["acknowledged"]
    assert (taken["by"], taken["note"]) == ("Li", "on my way")
    assert taken["until"] > taken["at"]
    do("ack", name, "--by", "Wang")
    until(real, lambda one: one["acknowledged"]["by"] == "Wang" and one["acknowledged"]["until"] is None, 3)
    do("silence", "1h", "--reason", "new switch")
    until(real, lambda one: one["silenced_until"] is not None, 3)
    shown = subprocess.run([POSAGENT, "status"], env=real.env, capture_output=True, text=True, timeout=20, check=False)
    assert re.search(r"^Silenced until \d\d:\d\d: nobody is told", shown.stdout, re.MULTILINE)
    do("unsilence")
    until(real, lambda one: one["silenced_until"] is None, 3)

    soon = time.time() + 1.5  # a minute is the shortest that the command takes
    store = Store(real.state / "state.sqlite")
    store.add_note(Note(name, time.time(), "Zhao", "", soon))
    store.close()
    until(real, lambda one: one["acknowledged"] is None, 5)
    assert time.time() >= soon
