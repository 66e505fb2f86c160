"""process: running, restarting, growing, listening; and never ourselves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import Host, processes
from probes.host.processes import Listener, Process
from probes.model import Denied, Memory, Observation, Status
from probes.process import KIND, Found, ProcessSettings, Reading

Tree = Callable[[dict[str, str]], Host]
Start = Callable[..., int]
STAT = "{pid} ({name}) S {parent} 1 1 0 -1 {flags} 0 0 0 0 5 5 0 0 20 0 1 0 {started} 9999 50 18446744073709551615"
POS = "import socket,sys,time\ns=socket.socket()\ns.bind(('127.0.0.1',0))\n{}\nprint(s.getsockname()[1],flush=True)\ntime.sleep(60)\n"


def look(memory: Memory | None = None, **settings: object) -> Observation:
    ready = ProcessSettings(kind="process", **settings)  # type: ignore[arg-type]
    return KIND.judge(ready, KIND.read(ready, Host(ends=time.monotonic() + 5)), memory or {})


def judge(reading: Reading, memory: Memory | None = None, **settings: object) -> Observation:
    return KIND.judge(ProcessSettings(kind="process", **{"name": "pos", **settings}), reading, memory or {})  # type: ignore[arg-type]


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[Start]:
    """Starts a Python program as nobody's child (what we start ourselves never matches): `orphan("pos-app", code)`."""
    started: list[int] = []

    def start(name: str, code: str, *arguments: str) -> int:
        program, out = tmp_path / name, tmp_path / f"{name}.pid"
        program.write_text(f"#!{sys.executable}\n{code}")
        program.chmod(0o755)
        said = tmp_path / f"{name}.out"
        script = '"$@" >"$OUT" 2>&1 & echo $! >"$PID"'
        env = {**os.environ, "OUT": str(said), "PID": str(out)}
        subprocess.run(["/bin/sh", "-c", script, "sh", str(program), *arguments], env=env, check=True, timeout=10)
        started.append(int(out.read_text()))
        ends = time.monotonic() + 10
        while not (said.exists() and said.read_text().endswith("\n")) and time.monotonic() < ends:
            time.sleep(0.02)
        return int(said.read_text())

    yield start
    for pid in started:
        os.kill(pid, 9)


def proc(
    pid: int, name: str, words: str = "", *, parent: int = 1, started: int = 100, flags: int = 0
) -> dict[str, str]:
    return {
        f"/proc/{pid}/stat": STAT.format(pid=pid, name=name, parent=parent, flags=flags, started=started),
        f"/proc/{pid}/comm": f"{name}\n",
        f"/proc/{pid}/cmdline": words,
        f"/proc/{pid}/statm": "900 50 20 1 0 30 0\n",
    }


def test_a_real_program_is_found_by_its_scripts_name_and_listens(orphan: Start) -> None:
    port = orphan("posd-of-this-test", POS.format("s.listen()"), "--till", "7")
    seen = look(name="posd-of-this-test", match=r"--till 7$", listens=port)
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["process"] == "posd-of-this-test"
    assert int(str(seen.measurements["memory_bytes"])) > 1_000_000
    assert look(name="posd-of-this-test", listens=f"127.0.0.1:{port}").reason == "ok"
    assert look(name="posd-of-this-test", listens=f"127.0.0.2:{port}").reason == "process.not_listening"
    assert look(name="posd-of-this-test", max_memory="1MB").reason == "process.memory"
    assert look(name="posd-of-this-test", max_memory="4GiB").reason == "ok"
    assert look(name="posd-of-this-test", match="--till 8").reason == "process.absent"


def test_a_port_that_another_program_holds_is_not_its_own(orphan: Start) -> None:
    orphan("posd-of-that-test", POS.format("pass"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        seen = look(name="posd-of-that-test", listens=other.getsockname()[1])
    assert seen.reason == "process.not_listening"
    assert seen.evidence == ("the port is held by another program",)


def test_a_bound_port_that_does_not_listen_does_not_count(orphan: Start) -> None:
    port = orphan("posd-not-listening", POS.format("pass"))
    assert look(name="posd-not-listening", listens=port).reason == "process.not_listening"


def test_what_we_started_ourselves_never_matches() -> None:
    with subprocess.Popen(["sleep", "59.123"]) as child:
        try:
            assert look(match=r"sleep 59\.123").reason == "process.absent"
        finally:
            child.kill()


def test_a_command_line_is_never_reported(orphan: Start) -> None:
    orphan("posd-with-secret", "import time\nprint(1,flush=True)\ntime.sleep(60)\n", "--password=hunter2")
    seen = look(name="posd-with-secret")
    assert seen.reason == "ok"
    assert "hunter2" not in repr(seen)


def test_posagents_own_copies_and_callers_do_not_count(tree: Tree) -> None:
    host = tree(
        {
            **proc(10, "posagent", "/usr/bin/python3\0/usr/bin/posagent\0run\0--config\0/etc/pos.toml"),
            **proc(11, "check_pos", "/usr/lib/check_pos\0pos", parent=10),
            **proc(12, "python3", "/opt/venv/bin/python3\0-m\0agent\0check"),
            **proc(13, "sh", "sh\0-c\0posagent run & exec /opt/pos/start"),
            **proc(14, "pos", "/opt/pos/bin/pos\0--till\0007", parent=13),
            **proc(15, "kworker/pos", flags=0x00200000),
        }
    )
    assert [process.pid for process in processes.everything(host) if "pos" in process.command_line] == [13, 14]


def test_a_recorded_till_is_read(tree: Tree) -> None:
    files = {
        **proc(812, "java", "/usr/bin/java\0-jar\0/opt/pos/pos.jar\0", started=500),
        **proc(813, "Web (Content) 1", "x\0", started=600),
        "/proc/812/net/tcp": "  sl  local_address rem_address\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n",
        "/proc/uptime": "1000.00 900.00\n",
        "/proc/sys/kernel/random/boot_id": "b\n",
    }
    host = tree(files)
    settings = ProcessSettings(kind="process", name="pos.jar", listens=8080)
    reading = KIND.read(settings, host)
    assert [(found.pid, found.name, found.started) for found in reading.found] == [(812, "java", 5.0)]
    assert reading.uptime == 1000.0
    assert [process.name for process in processes.everything(host)] == ["java", "Web (Content) 1"]


def test_hidden_processes_are_denied_not_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "sees_others", lambda _host: False)
    with pytest.raises(Denied, match="hidepid"):
        look(name="no-such-program-anywhere")


def test_absent_says_so() -> None:
    seen = judge(Reading(zombies=1))
    assert (seen.status, seen.reason) == (Status.FAIL, "process.absent")
    assert seen.evidence == ("1 of that name died and were not buried (zombies)",)


def test_restarts_within_an_hour_are_counted() -> None:
    memory: Memory = {}
    reasons = []
    for number in range(5):
        running = Found(pid=100 + number, name="pos", started=1000.0 + 60 * number)
        seen = judge(Reading(found=(running,), uptime=1010.0 + 60 * number, boot="a"), memory)
        memory = seen.memory
        reasons.append((seen.reason, seen.measurements["restarts_per_hour"]))
    assert reasons == [("ok", 0), ("ok", 1), ("ok", 2), ("process.restarting", 3), ("process.restarting", 4)]
    calm = judge(Reading(found=(running,), uptime=1010.0 + 240 + 3600, boot="a"), memory)
    assert (calm.reason, calm.measurements["restarts_per_hour"]) == ("ok", 0)


def test_gone_and_back_is_one_restart() -> None:
    first = judge(Reading(found=(Found(1, "pos", 5.0),), uptime=10, boot="a"))
    gone = judge(Reading(uptime=20, boot="a"), first.memory)
    back = judge(Reading(found=(Found(9, "pos", 25.0),), uptime=30, boot="a"), gone.memory)
    assert back.measurements["restarts_per_hour"] == 1


def test_a_restart_of_the_pc_is_no_restart_of_the_program() -> None:
    memory = {"boot": "a", "pid": 1, "started": 5.0, "restarts": [1.0, 2.0, 3.0]}
    seen = judge(Reading(found=(Found(7, "pos", 9.0),), uptime=30, boot="b"), memory)
    assert (seen.reason, seen.measurements["restarts_per_hour"]) == ("ok", 0)


def test_a_worker_that_comes_and_goes_is_no_restart() -> None:
    main = Found(1, "pos", 5.0)
    first = judge(Reading(found=(main, Found(2, "pos", 6.0)), uptime=10, boot="a"))
    second = judge(Reading(found=(main, Found(3, "pos", 12.0)), uptime=20, boot="a"), first.memory)
    assert second.measurements["restarts_per_hour"] == 0


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("300MB", "ok"), ("299MB", "process.memory"), ("0.5GB", "ok"), ("286MiB", "process.memory"), ("287MiB", "ok")],
)
def test_shared_memory_is_counted_once(limit: str, reason: str) -> None:
    found = (Found(1, "pos", 1.0, 100_000_000, 50_000_000), Found(2, "pos", 2.0, 150_000_000, 40_000_000))
    seen = judge(Reading(found=found), max_memory=limit)
    assert (seen.reason, seen.measurements["memory_bytes"]) == (reason, 300_000_000)


@pytest.mark.parametrize(
    ("listener", "address", "expected"),
    [
        (Listener("127.0.0.1", 80, 1), "", True),
        (Listener("127.0.0.1", 80, 1), "127.0.0.1", True),
        (Listener("127.0.0.1", 80, 1), "192.0.2.1", False),
        (Listener("0.0.0.0", 80, 1), "192.0.2.1", True),
        (Listener("0.0.0.0", 80, 1), "::1", False),
        (Listener("::", 80, 1), "::1", True),
        (Listener("::", 80, 1), "192.0.2.1", True),
        (Listener("::1", 80, 1), "::1", True),
        (Listener("0.0.0.0", 81, 1), "", False),
    ],
)
def test_a_listener_serves_its_address(listener: Listener, address: str, expected: bool) -> None:
    assert listener.serves(address, 80) is expected


def test_our_own_listeners_are_seen_in_both_families(host: Host) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        seen = processes.listeners(host) or []
        own = processes.sockets(host, os.getpid()) or set()
        for server, address in ((four, "127.0.0.1"), (six, "::1")):
            port = server.getsockname()[1]
            assert [one.inode in own for one in seen if (one.address, one.port) == (address, port)] == [True]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [("name", "expected name, match or both")]),
        ({"name": "pos", "listens": "127.0.0.1:0"}, [("listens", 'expected 1..65535 or "address:port"')]),
        ({"name": "pos", "listens": "1.2.3.400:80"}, [("listens", 'expected 1..65535 or "address:port"')]),
        ({"name": "pos", "listens": "[::1]:8080"}, []),
        ({"match": "pos", "listens": 8080}, []),
    ],
)
def test_settings_that_cannot_work_are_told(settings: dict[str, object], expected: list[tuple[str, str]]) -> None:
    assert list(KIND.problems(ProcessSettings(kind="process", **settings))) == expected  # type: ignore[arg-type]


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["0A", "0100007F:1F90", "1", "x", ":", "\n", "9" * 30])).map(" ".join)
)
def test_whatever_proc_says_nothing_falls_over(text: str) -> None:
    for listener in processes.parse_listeners("head\n" + text):
        assert 0 <= listener.port <= 65535
    fields = processes.parse_stat(text)
    assert fields is None or len(fields) >= 22


def test_a_name_with_brackets_and_blanks_is_parsed() -> None:
    fields = processes.parse_stat(STAT.format(pid=5, name="a) R (b", parent=3, flags=0, started=77))
    assert fields is not None
    assert (fields[0], fields[1], fields[19]) == ("S", "3", "77")


def test_the_kernels_cut_names_still_match() -> None:
    process = Process(pid=1, name="averylongprogra", names=("averylongprogra",))
    assert processes.goes_by(process, "averylongprogramname")
