"""A till without a way out for nine hours, and back: a network namespace, a real webhook, a clock that is moved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab
CENTRE = "203.0.113.10"
CONFIG = f"""
[channels.centre]
kind = "webhook"
url = "http://{CENTRE}:8080/centre"
timeout = "5s"
"""
INSIDE = f"""
import json, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from agent import channels
from tests.agent.telling import Desk, World, fault

got = []

class Centre(BaseHTTPRequestHandler):
    def do_POST(self):
        got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass

class Real(World):
    def send(self, channel, message, env):
        self.tried["centre"] += 1
        return channels.send(channel, message, env=env)

def ip(*words):
    subprocess.run(["ip", *words], check=True)

desk = Desk(Path(sys.argv[1]), {CONFIG!r}, world=Real())
desk.opens(fault())
desk.go(9 * 3600)
desk.resolves("i-1")
desk.go(600)
before, problems = len(got), desk.escalator.problems()
ip("link", "set", "lo", "up")
ip("address", "add", "{CENTRE}/32", "dev", "lo")
server = HTTPServer(("{CENTRE}", 8080), Centre)
threading.Thread(target=server.serve_forever, daemon=True).start()
desk.go(1860)
tried = desk.world.tried["centre"]
desk.close()
print(json.dumps({{"before": before, "problems": problems, "tried": tried, "got": got}}))
"""


def test_nine_hours_without_a_way_out_lose_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", INSIDE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path.cwd(),
    )
    assert done.stderr == ""
    seen = json.loads(done.stdout)
    assert seen["before"] == 0
    assert len(seen["problems"]) == 1
    assert "centre" in seen["problems"][0]
    assert seen["tried"] < 40
    assert [one["what"] for one in seen["got"]] == ["opened", "resolved"]
    first, last = seen["got"]
    assert first["data"]["began_at"] == "2026-11-22T11:59:50.000Z"
    assert first["data"]["ended_at"] == "2026-11-22T21:00:00.000Z"
    assert first["data"]["late_s"] > 9 * 3600
    assert last["data"]["ended_at"] == "2026-11-22T21:00:00.000Z"
    assert len({one["key"] for one in seen["got"]}) == 2
