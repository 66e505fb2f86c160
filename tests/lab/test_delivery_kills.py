"""Nothing lost, nothing doubled: a daemon that is killed 200 times while it tells people of faults."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.incidents import Incident
from agent.store.rows import value
from tests.agent.telling import STAFF, Desk, fault
from tests.lab.disks import Memory

pytestmark = pytest.mark.lab
KILLS = 200


class Centre(ThreadingHTTPServer):
    """Takes notices and counts them by key; now and then it is busy, or takes one and hangs up without a word."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.luck = random.Random(7)
        self.moody = True
        self.lock = threading.Lock()
        self.got: Counter[tuple[str, str]] = Counter()
        self.order: dict[tuple[str, str], list[str]] = {}
        self.turned_away = self.hung_up = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A killed daemon's connections break."""


class Answer(BaseHTTPRequestHandler):
    """One notice."""

    server: Centre

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        channel, centre = self.path.strip("/"), self.server
        with centre.lock:
            mood = centre.luck.random() if centre.moody else 1.0
            if mood < 0.03:
                centre.turned_away += 1
            else:
                assert self.headers["Idempotency-Key"] == said["key"]
                if not centre.got[(channel, said["key"])]:
                    centre.order.setdefault((channel, said["data"]["incident"]), []).append(said["what"])
                centre.got[(channel, said["key"])] += 1
                centre.hung_up += mood < 0.06
        if 0.03 <= mood < 0.06:
            self.close_connection = True
            return
        self.send_response(503 if mood < 0.03 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def centre() -> Iterator[Centre]:
    with Centre() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.mark.timeout(280)
def test_200_kills_lose_no_notice_and_double_none_but_with_the_same_key(centre: Centre, tmp_path: Path) -> None:
    began = time.monotonic()
    url = f"http://127.0.0.1:{centre.server_address[1]}/"
    command = [sys.executable, "-m", "tests.lab.delivery_nursery", str(tmp_path), url, str(KILLS), "11"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=Path.cwd())
    assert (done.stdout, done.stderr) == (f"{KILLS}\n", "")
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        rows = db.execute("SELECT channel, key, incident, what, state FROM outbox").fetchall()
        incidents = [value(Incident, noted) for (noted,) in db.execute("SELECT incident FROM incident")]
    promised = {(channel, key) for channel, key, *_ in rows}
    doubled = sum(centre.got.values()) - len(centre.got)
    print(
        f"{KILLS} kills, {len(incidents)} incidents, {len(promised)} notices in {time.monotonic() - began:.0f} s: "
        f"{len(promised - centre.got.keys())} lost, {doubled} arrived again with the same key; "
        f"{centre.turned_away} turned away, {centre.hung_up} taken without a word"
    )
    assert len(promised) > 2 * KILLS, "enough was under way to be lost"
    assert set(centre.got) == promised, "every notice of the outbox arrived, and nothing else did"
    assert {state for *_, state in rows} == {"sent"}
    kept = {(channel, incident, what) for channel, _, incident, what, _ in rows}
    for incident in incidents:
        assert incident is not None
        for channel in ("centre", "staff"):
            assert {(channel, incident.id, "opened"), (channel, incident.id, "resolved")} <= kept, "one transaction"
            assert centre.order[(channel, incident.id)] == ["opened", "resolved"]
    assert len(kept) == len(rows) == 4 * len(incidents)
    assert doubled <= 4 * KILLS


def test_on_a_full_disk_everybody_is_told_and_the_disk_catches_up(tmp_path: Path) -> None:
    with Memory(tmp_path / "disk", 1024) as disk:
        desk = Desk(disk.place, STAFF)
        desk.world.down("staff")
        desk.opens(fault("i-0"))
        desk.go(60)
        disk.fill()
        for number in range(1, 30):
            desk.opens(fault(f"i-{number}", desk.wall, cause=f"isp.down{number}"))
            desk.go(60)
        assert "state" in desk.keeper.problems
        desk.world.up("staff")
        desk.go(1900)
        told = Counter(desk.world.told())
        assert {incident for incident, what in told if what == "opened"} == {f"i-{number}" for number in range(30)}
        assert set(told.values()) == {1}
        for number in range(30):
            desk.resolves(f"i-{number}")
        desk.go(60)
        disk.free()
        desk.keeper._retry_at = 0.0
        desk.save(True)
        desk.go(60)
        assert desk.keeper.pending.empty
        desk.close()
        again = Desk(disk.place, STAFF, world=desk.world, wall=desk.wall + 60)
        again.go(3600)
        assert again.known.book.open == ()
        whats = Counter(what for _, what in again.world.told() if what != "reminder")
        assert whats == {"opened": 30, "resolved": 30}
        assert len({message.key for _, message in again.world.got}) == len(again.world.got), "nothing twice"
        assert again.escalator.counts()["waiting"] == 0
        again.close()
