"""process as an ordinary user sees it: another user's program, whose sockets are not for everybody's eyes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

LOOK = """
import sys, time
from probes.host import Host
from probes.process import KIND, ProcessSettings
settings = ProcessSettings(kind="process", match=r"^sleep 61\\.5$", listens=int(sys.argv[1]))
seen = KIND.judge(settings, KIND.read(settings, Host(ends=time.monotonic() + 5)), {})
print(seen.reason, *seen.evidence, sep="|")
"""
NO_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a listening program of another user."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "61.5"]
        with subprocess.Popen(other, pass_fds=[server.fileno()]) as program:
            number = int(server.getsockname()[1])
            server.close()
            try:
                yield number
            finally:
                program.kill()


def look(port: int, *become: str) -> str:
    done = subprocess.run(
        [*become, sys.executable, "-c", LOOK, str(port)], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.strip()


def test_with_the_right_to_see_the_owner_of_the_port_is_known(port: int) -> None:
    assert look(port) == "ok"
    with socket.create_server(("127.0.0.1", 0)) as ours:
        reason, holder = look(ours.getsockname()[1]).split("|")
        assert reason == "process.not_listening"
        assert holder.startswith("the port is held by ")
        assert holder != "the port is held by another program"


def test_without_it_the_port_is_seen_and_the_doubt_is_told(port: int) -> None:
    seen = look(port, *NO_RIGHTS)
    assert seen == f"ok|somebody listens on {port}; whether it is this program this user may not see"
    assert look(1, *NO_RIGHTS) == "process.not_listening"
