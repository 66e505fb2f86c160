"""Does the door to Requests hold when many come at once?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FIRST_TOGETHER = """
import http.server, threading, time
from probes.host import Host, http as door

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
server.RequestHandlerClass.log_message = lambda *_: None
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
seen, ready = [], threading.Barrier(12)

def look():
    ready.wait()
    answer = door.ask(Host(ends=time.monotonic() + 10), door.Request(f"http://127.0.0.1:{server.server_port}/", method="HEAD")).answer
    seen.append(answer.status if answer else 0)

threads = [threading.Thread(target=look) for _ in range(12)]
for each in threads: each.start()
for each in threads: each.join()
assert seen == [200] * 12, seen
"""


@pytest.mark.parametrize("attempt", range(4))
def test_a_dozen_threads_that_ask_for_the_first_time_at_once_are_all_answered(attempt: int, tmp_path: Path) -> None:
    """Each would be the one that brings the library in."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_TOGETHER], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
