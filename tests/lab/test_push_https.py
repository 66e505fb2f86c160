"""Debian's nginx as the centre's front: certificates on both sides, changed, refused, gone for an hour; and kills."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from agent.config.push import HttpsPush, Push
from agent.push import centre as centres
from agent.push import stock as stocks
from agent.push.https import HttpsSender
from agent.push.sender import Parcel, Till
from probes.model import Seconds
from tests.agent.pushing import Clock, Pusher
from tests.lab.broker import free_port
from tests.lab.daemon import Till as DaemonTill

pytestmark = pytest.mark.lab
KILLS = 200
CONF = """
daemon off; master_process on; worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {here}/t1; proxy_temp_path {here}/t2; fastcgi_temp_path {here}/t3;
  uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {here}/server.pem; ssl_certificate_key {here}/server.pem;
    ssl_client_certificate {here}/tills.pem; ssl_verify_client on;
    location /v1/ {{ proxy_pass http://127.0.0.1:{behind}; }}
    location /page {{ default_type text/html; return 200 "<html>Welcome to nginx!</html>"; }}
    location /moved {{ return 301 https://elsewhere.example/; }}
    location /small {{ client_max_body_size 10; proxy_pass http://127.0.0.1:{behind}; }}
    location /busy {{ add_header Retry-After 77 always; return 429; }}
    location /gone {{ proxy_pass http://127.0.0.1:1; }}
    location / {{ return 404; }}
  }}
}}
"""


class Receiver(ThreadingHTTPServer):
    """Takes reports and counts them by key; now and then it is busy, or takes one and hangs up without a word."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.luck = random.Random(7)
        self.moody = False
        self.lock = threading.Lock()
        self.got: Counter[str] = Counter()
        self.order: list[tuple[str, int]] = []
        self.turned_away = self.hung_up = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def seqs(self) -> list[int]:
        return [seq for kind, seq in self.order if kind != "gap"]

    def handle_error(self, request: object, client_address: object) -> None:
        """A killed till's connections break."""


class Answer(BaseHTTPRequestHandler):
    """One parcel."""

    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        key, centre = self.headers["Idempotency-Key"], self.server
        with centre.lock:
            mood = centre.luck.random() if centre.moody else 1.0
            if mood < 0.03:
                centre.turned_away += 1
            else:
                assert key.partition("-")[2] == hashlib.sha256(body).hexdigest()[:16]
                if not centre.got[key]:
                    centre.order.append((self.headers["Posagent-Kind"], int(self.headers["Posagent-Seq"])))
                centre.got[key] += 1
                centre.hung_up += mood < 0.06
        if 0.03 <= mood < 0.06:
            self.close_connection = True
            return
        self.send_response(503 if mood < 0.03 else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


class Nginx:
    """A front with certificates, in front of a receiver."""

    def __init__(self, here: Path, behind: int) -> None:
        self.here, self.port = here, free_port()
        here.mkdir()
        here.chmod(0o755)
        self.centres, self.tills, self.strangers = trustme.CA(), trustme.CA(), trustme.CA()
        self.centres.cert_pem.write_to_path(str(here / "centre-ca.pem"))
        self.tills.cert_pem.write_to_path(str(here / "tills.pem"))
        self.show(self.centres)
        self.give("till", self.tills)
        self.give("stranger", self.strangers)
        (here / "nginx.conf").write_text(CONF.format(here=here, port=self.port, behind=behind))
        self._process: subprocess.Popen[bytes] | None = None

    def show(self, authority: trustme.CA, name: str = "127.0.0.1") -> None:
        """The front's own certificate, from now on, or after `reload`."""
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(self.here / "server.pem"))

    def give(self, name: str, authority: trustme.CA) -> str:
        """A till's certificate."""
        path = self.here / f"{name}-own.pem"
        authority.issue_cert(f"{name}.example").private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def start(self) -> None:
        command = ["nginx", "-p", str(self.here), "-c", str(self.here / "nginx.conf")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self) -> None:
        import socket

        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError((self.here / "error.log").read_text())

    def serial(self) -> bytes:
        """Of the certificate that it shows now."""
        import ssl

        with contextlib.suppress(OSError):
            return ssl.get_server_certificate(("127.0.0.1", self.port), timeout=2).encode()
        return b""

    def reload(self) -> None:
        """Returns once new connections see the new certificate, all of them: old workers accept for a moment yet."""
        assert self._process is not None
        before, ends = self.serial(), time.monotonic() + 10
        self._process.send_signal(signal.SIGHUP)
        in_a_row = 0
        while in_a_row < 10 and time.monotonic() < ends:
            in_a_row = 0 if self.serial() in (before, b"") else in_a_row + 1
            time.sleep(0.03)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        self._process = None

    def settings(self, path: str = "/v1/reports", **more: Any) -> HttpsPush:
        given = {"ca_file": str(self.here / "centre-ca.pem"), "certificate_file": str(self.here / "till-own.pem")}
        url = f"https://127.0.0.1:{self.port}{path}"
        return HttpsPush(url=url, timeout=Seconds(3), **(given | more))

    def sent(self, path: str = "/v1/reports", **more: Any) -> Any:
        body = json.dumps({"seq": 1}).encode()
        key = f"1-{hashlib.sha256(body).hexdigest()[:16]}"
        made = HttpsSender(self.settings(path, **more), Till("0042", "T01"), {})
        try:
            return made.send(Parcel("report", key, 1, 1.0, gzip.compress(body)))
        finally:
            made.close(0.1)


@pytest.fixture
def nginx(tmp_path: Path, receiver: Receiver) -> Iterator[Nginx]:
    made = Nginx(tmp_path / "front", receiver.port)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def till(tmp_path: Path, nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pusher]:
    """The loop's own code, in time of the test's own; certificates, sockets and the state file are real."""
    clock = Clock()
    for module in (stocks, centres):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, time=lambda: clock.wall))
    made = Pusher(tmp_path, {}, clock, Push(https=nginx.settings()))
    yield made
    made.die()


def test_what_nginx_answers_is_understood(nginx: Nginx, receiver: Receiver) -> None:
    assert nginx.sent().ok
    assert len(receiver.got) == 1
    before = "answered 400 Bad Request, from a server before the receiver; check the certificate"
    outcomes = {
        "none": nginx.sent(certificate_file=None),
        "stranger": nginx.sent(certificate_file=str(nginx.here / "stranger-own.pem")),
        "trust": nginx.sent(ca_file=str(nginx.here / "tills.pem")),
        "page": nginx.sent("/page"),
        "moved": nginx.sent("/moved"),
        "busy": nginx.sent("/busy"),
        "gone": nginx.sent("/gone"),
        "nowhere": nginx.sent("/nowhere"),
        "small": nginx.sent("/small"),
    }
    details = {name: outcome.detail for name, outcome in outcomes.items()}
    assert details["none"].startswith(before)
    assert details["stranger"].startswith(before)
    assert "is not trusted" in details["trust"]
    assert details["page"].startswith("answered 200 OK with a page that no receiver sends")
    assert "leads on to elsewhere.example" in details["moved"]
    assert details["busy"].startswith("answered 429")
    assert outcomes["busy"].retry_after == 77
    assert details["gone"] == "answered 502 Bad Gateway; ask the centre"
    assert details["nowhere"].startswith("answered 404 Not Found")
    assert details["small"].startswith("refused this report for good: answered 413")
    assert [name for name, outcome in outcomes.items() if outcome.permanent] == ["small"]
    assert len(receiver.got) == 1, "nothing got past the front"


def test_a_certificate_that_changes_is_one_clear_line_until_it_is_mended(
    nginx: Nginx, receiver: Receiver, till: Pusher
) -> None:
    till.report()
    till.run(11)
    assert receiver.seqs == [1]
    nginx.show(nginx.strangers)
    nginx.reload()
    till.run(600, till.report, every=60)
    (problem,) = till.centre.problems()
    where = f"https://127.0.0.1:{nginx.port}/v1/reports"
    assert problem.startswith(f"cannot push to the centre {where}: the certificate that 127.0.0.1 shows is not trusted")
    assert problem.endswith("; check `ca_file` and `url` in [push.https]")
    assert receiver.seqs == [1]
    nginx.strangers.cert_pem.write_to_path(str(nginx.here / "centre-ca.pem"))  # IT brings the new CA; nobody restarts
    till.run(700)
    assert till.centre.problems() == []
    assert receiver.seqs == [1, 11, *range(2, 11)]


def test_a_certificate_of_ours_that_is_renewed_is_taken(nginx: Nginx, receiver: Receiver, till: Pusher) -> None:
    nginx.give("till", nginx.strangers)
    till.report()
    till.run(60)
    (problem,) = till.centre.problems()
    assert "check the certificate" in problem
    nginx.give("till", nginx.tills)
    till.run(400)
    assert (till.centre.problems(), receiver.seqs) == ([], [1])


def test_an_hour_without_the_centre_and_then_everything(nginx: Nginx, receiver: Receiver, till: Pusher) -> None:
    till.report()
    till.run(11)
    nginx.stop()
    till.run(3600, till.report, every=60)
    (problem,) = till.centre.problems()
    assert "cannot reach 127.0.0.1" in problem
    nginx.start()
    till.run(900)
    assert receiver.seqs == [1, 61, *range(2, 61)]
    assert set(receiver.got.values()) == {1}
    till.run(60)
    assert till.rows() == []


def test_reloads_of_the_front_lose_nothing(nginx: Nginx, receiver: Receiver, till: Pusher) -> None:
    """Its old workers end the connections that tills keep."""
    for _ in range(5):
        for _ in range(5):
            till.report()
            till.run(5)
        nginx.show(nginx.centres)
        nginx.reload()
    till.run(600)
    assert sorted(receiver.seqs) == list(range(1, 26))


def test_a_daemon_tells_all_it_saw_through_outages_and_kills_and_no_probe_notices(
    nginx: Nginx, receiver: Receiver, tmp_path: Path
) -> None:
    with DaemonTill(tmp_path / "till", heartbeat="10s") as daemon:
        daemon.more = (
            f'[site]\nstore = "0042"\nterminal = "T01"\n[push.https]\nurl = "https://127.0.0.1:{nginx.port}/v1/reports"\n'
            f'ca_file = "{nginx.here}/centre-ca.pem"\ncertificate_file = "{nginx.here}/till-own.pem"\nsplay = "1s"\n'
        )
        daemon.watch("host")
        daemon.tell("host", "ok")
        daemon.begin()
        until(lambda: receiver.seqs, "the first report")
        nginx.stop()
        for word in ("fail", "ok", "fail"):
            daemon.tell("host", word)
            (daemon.until_incident if word == "fail" else daemon.until_well)("host")
            daemon.kill()
            daemon.begin()
        (said,) = daemon.until(lambda report: report["agent"]["problems"], "a problem", 20)["agent"]["problems"]
        assert said.startswith(f"cannot push to the centre https://127.0.0.1:{nginx.port}/v1/reports: cannot reach")
        assert daemon.until(lambda report: report["agent"]["waiting"]["reports"] > 5)
        nginx.start()
        daemon.until(lambda report: not report["agent"]["problems"] and not report["agent"]["waiting"]["reports"])
        took = daemon.stop()
        last = json.loads(daemon.report_path.read_bytes())["seq"]
        assert sorted(receiver.seqs) == list(range(1, last + 1)), "the very last one too"
        keys = Counter(key.partition("-")[0] for key in receiver.got)
        assert set(keys.values()) == {1}
        looks = daemon.looks("host")
        assert took < 3
        assert "Traceback" not in daemon.said()
        assert len(looks) > 5
        print(f"{last} reports, {sum(receiver.got.values()) - len(receiver.got)} came again; stopped in {took:.2f} s")


def until(is_so: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


@pytest.mark.timeout(280)
def test_200_kills_lose_no_report_and_double_none_but_with_the_same_key(receiver: Receiver, tmp_path: Path) -> None:
    began = time.monotonic()
    receiver.moody = True
    url = f"http://127.0.0.1:{receiver.port}/v1/reports"
    command = [sys.executable, "-m", "tests.lab.push_nursery", str(tmp_path), url, str(KILLS), "11"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=Path.cwd())
    assert (done.stdout, done.stderr) == (f"{KILLS}\n", "")
    promised = {int(line) for line in (tmp_path / "written").read_text().split()}
    keys = Counter(key.partition("-")[0] for key in receiver.got)
    doubled = sum(receiver.got.values()) - len(receiver.got)
    print(
        f"{KILLS} kills, {len(promised)} reports in {time.monotonic() - began:.0f} s: "
        f"{len(promised - set(receiver.seqs))} lost, {doubled} arrived again with the same key; "
        f"{receiver.turned_away} turned away, {receiver.hung_up} taken without a word"
    )
    assert sum(receiver.got.values()) > KILLS, "enough was under way to be lost"
    assert len(promised) > KILLS / 4
    assert promised <= set(receiver.seqs)
    assert set(keys.values()) == {1}, "one report, one key"
    assert doubled <= 4 * KILLS
