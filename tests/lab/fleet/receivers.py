"""The centre: a real nginx with mutual TLS, a real mosquitto with TLS, and behind each somebody who writes down what comes.

nginx asks every till for its certificate and hands each POST to a small collector over a Unix socket; the collector
looks into the body before it says that it has it. Behind mosquitto a subscriber with a lasting session does the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import multiprocessing
import os
import pickle
import resource
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trustme

from tests.lab.broker import Broker, Papers, free_port
from tests.lab.fleet.scene import names

NGINX = """
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {home}/nginx.pid;
error_log {home}/nginx.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    upstream collector {{ server unix:{home}/collector; keepalive 32; }}
    server {{
        listen {address}:{port} ssl backlog=4096;
        ssl_certificate {server};
        ssl_certificate_key {server};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_client_certificate {ca};
        ssl_verify_client on;
        keepalive_timeout {keepalive_s}s;
        client_max_body_size 1m;
        client_body_buffer_size 64k;
        location = /v1/reports {{
            proxy_pass http://collector;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Till $ssl_client_s_dn;
        }}
    }}
}}
"""
KEEPALIVE_S = 10
BROKER = """
max_queued_messages 0
max_inflight_messages 0
max_connections -1
require_certificate true
use_identity_as_username true
autosave_interval 0
"""
SUBSCRIBER = "centre"
ACL = Path(__file__).parents[3] / "fleet" / "mosquitto" / "acl"
"""As it ships: each till writes its own branch."""


class Arrival(NamedTuple):
    """One thing that came. Monotonic seconds."""

    at: float
    till: str
    topic: str
    """The last level of its topic; of a POST, what its header says that it is."""
    schema: str
    seq: int
    to_seq: int
    """A gap's, with how many reports are lost in `lost`."""
    lost: int
    lost_incidents: int
    what: str
    """An incident's event, and its id."""
    key: str
    wrong: str
    """What is wrong with it; empty."""
    size: int


class _Site(msgspec.Struct, frozen=True):
    store: str = ""
    terminal: str = ""


class _Incident(msgspec.Struct, frozen=True):
    id: str = ""


class _Head(msgspec.Struct):
    schema: str
    seq: int = 0
    from_seq: int = 0
    to_seq: int = 0
    reports: int = 0
    incidents: Any = 0
    store: str = ""
    terminal: str = ""
    what: str = ""
    site: _Site = _Site()
    incident: _Incident = _Incident()


_decoder = msgspec.json.Decoder(_Head)


def arrival(topic: str, speaker: str, key: str, body: bytes, size: int) -> Arrival:
    """Look into it."""
    now = time.monotonic()
    try:
        head = _decoder.decode(body)
    except msgspec.DecodeError as error:
        return Arrival(now, speaker, topic, "", 0, 0, 0, 0, "", key, f"no JSON: {error}", size)
    told = f"{head.store or head.site.store}/{head.terminal or head.site.terminal}"
    wrong = []
    if told != speaker:
        wrong.append(f"{speaker} speaks for {told}")
    if key.rpartition("-")[2] != hashlib.sha256(body).hexdigest()[:16]:
        wrong.append(f"the key {key} is of another body")
    return Arrival(
        now, told, topic, head.schema, head.seq or head.from_seq, head.to_seq, head.reports,
        head.incidents if isinstance(head.incidents, int) else 0, f"{head.what} {head.incident.id}".strip(), key, "; ".join(wrong), size,
    )  # fmt: skip


# --- who takes what nginx lets through --------------------------------------------------------------------------------


class _Post(asyncio.Protocol):
    """Just enough HTTP/1.1 for one nginx."""

    def __init__(self, arrived: list[Arrival]) -> None:
        self._arrived, self._data = arrived, bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            lines = self._data[:end].decode("latin-1").split("\r\n")[1:]
            head = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = int(head.get("content-length", "0"))
            if len(self._data) < end + 4 + size:
                return
            body = bytes(self._data[end + 4 : end + 4 + size])
            del self._data[: end + 4 + size]
            self._answer(head, body)

    def _answer(self, head: dict[str, str], body: bytes) -> None:
        assert self._transport is not None
        speaker = next((part[3:] for part in head.get("x-till", "").split(",") if part.startswith("CN=")), "?")
        try:
            plain = gzip.decompress(body) if head.get("content-encoding") == "gzip" else body
        except OSError:
            plain = b""
        self._arrived.append(
            arrival(head.get("posagent-kind", "?"), speaker, head.get("idempotency-key", ""), plain, len(body))
        )
        self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def collect_posts(home: Path, pipe: Connection) -> None:
    """A process of its own: takes POSTs until it is told to hand over what came."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arrived: list[Arrival] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Post(arrived), str(home / "collector"), backlog=1024)
        pipe.send("ready")
        await loop.run_in_executor(None, _answer_questions, pipe, arrived, home / "posts")
        server.close()

    asyncio.run(serve())


def collect_messages(home: Path, port: int, ca_file: Path, papers: Path, pipe: Connection) -> None:
    """A process of its own: subscribes to everything, with a session that outlives an outage of the broker."""
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arrived: list[Arrival] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=SUBSCRIBER, protocol=MQTTProtocolVersion.MQTTv5)
    context = ssl.create_default_context(cafile=ca_file)
    context.load_cert_chain(papers)
    client.tls_set_context(context)
    ready = threading.Event()

    def came(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        *_, store, terminal, topic = message.topic.split("/")
        told = dict(getattr(message.properties, "UserProperty", ()))
        payload = bytes(message.payload)
        if topic == "status":
            word = payload.decode()
            arrived.append(
                Arrival(time.monotonic(), f"{store}/{terminal}", topic, "", 0, 0, 0, 0, word, "", "", len(payload))
            )
        else:
            arrived.append(arrival(topic, f"{store}/{terminal}", told.get("key", ""), payload, len(payload)))

    client.on_message = came

    def connected(_client: object, _data: object, flags: Any, *_: object) -> None:
        if not flags.session_present:  # subscribing anew would bring all that is retained once more
            client.subscribe("posagent/v1/#", qos=1)

    client.on_connect = connected
    client.on_subscribe = lambda *_: ready.set()
    client.reconnect_delay_set(1, 1)
    lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    lasting.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", port, 60, clean_start=False, properties=lasting)
    client.loop_start()
    pipe.send("ready" if ready.wait(10) else "the broker does not let the collector in")
    _answer_questions(pipe, arrived, home / "messages")
    client.loop_stop()


def _answer_questions(pipe: Connection, arrived: list[Arrival], path: Path) -> None:
    while True:
        try:
            question = pipe.recv()
        except (EOFError, OSError):
            return
        if question == "end":
            path.write_bytes(pickle.dumps([tuple(each) for each in arrived]))
            pipe.send(str(path))
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send((len(arrived), used.ru_utime + used.ru_stime))


@dataclass
class Collector:
    """One of these processes, as seen from outside."""

    process: Any
    pipe: Connection

    @classmethod
    def begin(cls, target: Any, *arguments: Any) -> Collector:
        spawning = multiprocessing.get_context("spawn")
        ours, theirs = spawning.Pipe()
        process = spawning.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        assert ours.poll(30), "a collector does not begin"
        assert (word := ours.recv()) == "ready", word
        return cls(process, ours)

    def ask(self) -> tuple[int, float]:
        """How much came, and the processor's seconds."""
        self.pipe.send("counts")
        assert self.pipe.poll(30)
        found: tuple[int, float] = self.pipe.recv()
        return found

    def end(self) -> list[Arrival]:
        """All that came."""
        self.pipe.send("end")
        assert self.pipe.poll(60)
        found = pickle.loads(Path(self.pipe.recv()).read_bytes())
        self.process.join(10)
        return [Arrival(*each) for each in found]


# --- both receivers ---------------------------------------------------------------------------------------------------


class Nginx:
    """nginx with mutual TLS. Killed as a power cut would."""

    def __init__(
        self,
        home: Path,
        papers: Papers,
        *,
        address: str = "127.0.0.1",
        inside: Sequence[str] = (),
        keepalive_s: int = KEEPALIVE_S,
    ) -> None:
        self.home, self.address, self._inside = home, address, tuple(inside)
        self.port = 8443 if inside else free_port(address)
        self.process: subprocess.Popen[bytes] | None = None
        server = papers.home / "server.pem" if (papers.home / "server.pem").exists() else papers.server(address)
        (home / "nginx.conf").write_text(
            NGINX.format(
                home=home, address=address, port=self.port, server=server, ca=papers.ca_file, keepalive_s=keepalive_s
            )
        )

    def start(self) -> None:
        """Returns once it listens."""
        (self.home / "nginx.pid").unlink(missing_ok=True)
        command = [*self._inside, "nginx", "-p", str(self.home), "-c", str(self.home / "nginx.conf")]
        with (self.home / "nginx.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        until = time.monotonic() + 10
        while not (self.home / "nginx.pid").exists() or not self._workers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"nginx did not start: {(self.home / 'nginx.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Its workers too, which would go on without it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def _workers(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(each) for each in children]

    def cpu_s(self) -> float:
        return sum(map(cpu_s, self._workers())) if self.process is not None else 0.0


def cpu_s(pid: int) -> float:
    """The processor's seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Centre:
    """Both receivers and who writes down what comes. A context manager."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.papers = Papers(home / "papers")
        self.nginx = Nginx(home, self.papers)
        self.broker = Broker(home / "broker", papers=self.papers, conf=BROKER, acl=ACL.read_text())
        quiet = self.broker.conf.read_text().replace(
            "log_type all", "log_type error\nlog_type warning\nlog_type information"
        )
        self.broker.conf.write_text(quiet)
        self.posts: Collector | None = None
        self.messages: Collector | None = None

    def certify(self, tills: int) -> None:
        """A certificate for every till, and one for the subscriber."""
        for number in range(tills):
            store, terminal = names(number)
            write_leaf(self.papers.ca, f"{store}/{terminal}", self.papers.home / f"{number:05}.pem")
        write_leaf(self.papers.ca, SUBSCRIBER, self.papers.home / "subscriber.pem")

    def __enter__(self) -> Centre:
        self.posts = Collector.begin(collect_posts, self.home)
        self.up()
        subscriber = self.papers.home / "subscriber.pem"
        self.messages = Collector.begin(collect_messages, self.home, self.broker.port, self.papers.ca_file, subscriber)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.nginx.kill()
        self.broker.__exit__(kind)
        for one in (self.posts, self.messages):
            if one is not None and one.process.is_alive():
                one.process.kill()
                one.process.join(10)

    def up(self) -> None:
        self.nginx.start()
        self.broker.start()

    def down(self) -> None:
        """nginx as in a power cut, in the middle of what it does; the broker in order, or it would forget its part."""
        self.nginx.kill()
        self.broker.stop()

    def broker_cpu_s(self) -> float:
        return cpu_s(self.broker.process.pid) if self.broker.process is not None else 0.0

    def retained(self) -> dict[tuple[str, str], bytes]:
        """What somebody who subscribes now is told at once, by till and topic."""
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        found: dict[tuple[str, str], bytes] = {}
        newest = [time.monotonic() + 5.0]
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"newcomer-{time.monotonic_ns()}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        context = ssl.create_default_context(cafile=self.papers.ca_file)
        context.load_cert_chain(self.papers.home / "subscriber.pem")
        client.tls_set_context(context)

        def came(_client: object, _data: object, message: paho.MQTTMessage) -> None:
            *_, store, terminal, topic = message.topic.split("/")
            if message.retain:
                found[f"{store}/{terminal}", topic] = bytes(message.payload)
                newest[0] = time.monotonic() + 1.5

        client.on_message = came

        def connected(*_: object) -> None:
            client.subscribe("posagent/v1/#", qos=1)

        client.on_connect = connected
        client.connect("127.0.0.1", self.broker.port, 60)
        client.loop_start()
        while time.monotonic() < newest[0]:
            time.sleep(0.1)
        client.disconnect()
        client.loop_stop()
        return found


def write_leaf(ca: trustme.CA, name: str, path: Path) -> None:
    """A certificate with its key."""
    leaf = ca.issue_cert("till.example", common_name=name)
    path.write_bytes(leaf.private_key_pem.bytes() + b"".join(part.bytes() for part in leaf.cert_chain_pems))
