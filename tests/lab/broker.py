"""A real mosquitto on loopback or in a namespace, whoever listens to it, and brokers that behave badly.

`Broker` is started and stopped by its pid; what it retained survives a stop. `Listener` subscribes and keeps what came.
`BadBroker` speaks just enough MQTT to misbehave in one way that no real broker can be told to.
"""

from __future__ import annotations

import contextlib
import datetime
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

PASSWORD = "open sesame"


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody has just now."""
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


class Papers:
    """A CA of the centre's, and what it signs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.ca = trustme.CA(organization_name="Centre CA")
        self.ca_file = home / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def server(self, name: str = "127.0.0.1", *, days: float = 30) -> Path:
        """A server's certificate for this name, with its key; negative `days`: it has expired."""
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        return self._write("server", self.ca.issue_cert(name, not_after=until))

    def client(self, name: str) -> Path:
        """A till's certificate, with its key."""
        return self._write("till", self.ca.issue_cert("till.example", common_name=name))

    def _write(self, what: str, leaf: trustme.LeafCert) -> Path:
        path = self.home / f"{what}.pem"
        chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
        new = path.with_suffix(".new")
        new.write_bytes(leaf.private_key_pem.bytes() + chain)
        new.replace(path)
        return path


class Broker:
    """One mosquitto. A context manager: it is stopped at the end, and so is its disk."""

    def __init__(
        self,
        home: Path,
        *,
        papers: Papers | None = None,
        conf: str = "",
        users: Sequence[str] = (),
        acl: str | None = None,
        address: str = "127.0.0.1",
        inside: Sequence[str] = (),
        port: int = 0,
    ) -> None:
        """`papers`: speak TLS. `users`: only they come in, with PASSWORD. `inside`: the command that enters a namespace."""
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.address, self.inside = home, address, tuple(inside)
        self.port = port or (8883 if inside else free_port(address))
        self.log, self.papers, self.users = home / "mosquitto.log", papers, users
        self.process: subprocess.Popen[bytes] | None = None
        lines = [
            "user root",  # as whom it would otherwise not read a test's directory
            "per_listener_settings false",
            "persistence true",
            f"persistence_location {home}/",
            "log_type all",
            "log_dest stderr",
            "connection_messages true",
            "set_tcp_nodelay true",
            f"listener {self.port} {address}",
        ]
        if papers is not None:
            server = papers.server(address) if not (papers.home / "server.pem").exists() else papers.home / "server.pem"
            lines += [f"certfile {server}", f"keyfile {server}", f"cafile {papers.ca_file}"]
        if users:
            lines += ["allow_anonymous false", f"password_file {self._passwords(users)}"]
        else:
            lines += ["allow_anonymous true"]
        if acl is not None:
            (home / "acl").write_text(acl)
            (home / "acl").chmod(0o600)
            lines += [f"acl_file {home / 'acl'}"]
        self.conf = home / "mosquitto.conf"
        self.conf.write_text("\n".join(lines) + "\n" + conf + "\n")

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.log.exists():
            print(self.log.read_text(errors="replace")[-4000:])
        self.kill()

    def start(self) -> None:
        """Returns once it listens."""
        command = [*self.inside, "mosquitto", "-c", str(self.conf)]
        seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while " running" not in self.said(seen):
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"mosquitto did not start: {self.said()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """In order: what it retained is on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It goes on holding its connections and says nothing more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """It reads its certificates, passwords and ACL again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def said(self, since: int = 0) -> str:
        """Its log."""
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def _end(self, how: int) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)
        self.process.wait(10)
        self.process = None

    def _passwords(self, users: Sequence[str]) -> Path:
        path = self.home / "passwords"
        path.write_text("".join(f"{user}:{PASSWORD}\n" for user in users))
        path.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, timeout=20)
        return path


@dataclass
class Heard:
    """One message as a subscriber sees it. `retained`: it was there before the subscriber was."""

    topic: str
    text: str
    retained: bool
    qos: int
    properties: dict[str, Any] = field(default_factory=dict)


class Listener:
    """Who listens to everything at a broker, in a thread of paho's own."""

    def __init__(
        self, broker: Broker, topics: str = "#", *, user: str | None = None, certificate: Path | None = None
    ) -> None:
        self.heard: list[Heard] = []
        self._ready = threading.Event()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"listener-{id(self)}", protocol=MQTTProtocolVersion.MQTTv5
        )
        if user:
            self.client.username_pw_set(user, PASSWORD)
        if broker.papers is not None:
            trusting = ssl.create_default_context(cafile=broker.papers.ca_file)
            if certificate is not None:
                trusting.load_cert_chain(certificate)
            self.client.tls_set_context(trusting)
        self.client.on_connect = lambda *_: self.client.subscribe(topics, qos=1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._take
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(broker.address, broker.port, 10)
        self.client.loop_start()
        assert self._ready.wait(10), "the listener was not let in"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _take(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        properties: dict[str, Any] = {}
        if message.properties is not None:
            properties = {
                "content_type": getattr(message.properties, "ContentType", None),
                **dict(getattr(message.properties, "UserProperty", [])),
            }
        text = message.payload.decode()
        self.heard.append(Heard(message.topic, text, message.retain, message.qos, properties))

    def on(self, end: str) -> list[Heard]:
        """What came on the topics that end so."""
        return [one for one in list(self.heard) if one.topic.endswith(end)]

    def texts(self, end: str) -> list[str]:
        return [one.text for one in self.on(end)]

    def wait(self, end: str, text: str | None = None, count: int = 1, seconds: float = 10) -> list[Heard]:
        """Until so many messages came there (with that text)."""
        until = time.monotonic() + seconds
        while True:
            found = [one for one in self.on(end) if text is None or one.text == text]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"waited for {end} {text!r}, heard {self.heard}"
            time.sleep(0.02)


def retained(broker: Broker, topic: str = "#", **how: Any) -> dict[str, str]:
    """What somebody who subscribes now is told at once: the last message of each topic."""
    with Listener(broker, topic, **how) as listener:
        time.sleep(0.3)
        return {one.topic: one.text for one in listener.heard if one.retained}


# --- brokers that behave badly ----------------------------------------------------------------------------------------

CONNACK_5, CONNACK_3 = b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x00"


def packet(connection: socket.socket) -> tuple[int, bytes]:
    """The next packet of a client: its first byte and its body. Raises EOFError when there is none."""
    first = _exactly(connection, 1)[0]
    size, shift = 0, 0
    while True:
        byte = _exactly(connection, 1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return first, _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def message_id(body: bytes) -> bytes:
    """Of a PUBLISH with QoS 1."""
    at = 2 + int.from_bytes(body[:2], "big")
    return body[at : at + 2]


Talk = Callable[[socket.socket], None]


class BadBroker:
    """Listens on loopback and does with each connection what `talk` says. Ends with the block."""

    def __init__(self, talk: Talk, context: ssl.SSLContext | None = None) -> None:
        self._talk, self._context = talk, context
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address, self.port = "127.0.0.1", int(self._server.getsockname()[1])
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._over = False

    def __enter__(self) -> BadBroker:
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for one in (self._server, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while not self._over:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), connection:
            self._talk(connection)


def answering(*answers: bytes, then: Talk | None = None) -> Talk:
    """Answer the first packets so, whatever they are; then read on until the client leaves."""

    def talk(connection: socket.socket) -> None:
        for answer in answers:
            packet(connection)
            connection.sendall(answer)
        if then is not None:
            then(connection)
        while connection.recv(4096):
            pass

    return talk


def acknowledging(connack: bytes = CONNACK_5, *, at_most: int = 1_000_000) -> Talk:
    """Welcome the client and acknowledge its first `at_most` messages; then read on in silence."""

    def talk(connection: socket.socket) -> None:
        packet(connection)
        connection.sendall(connack)
        for _ in range(at_most):
            first, body = packet(connection)
            if first >> 4 == 3:
                connection.sendall(b"\x40\x02" + message_id(body))
            elif first >> 4 == 12:
                connection.sendall(b"\xd0\x00")
            elif first >> 4 == 14:
                return
        while connection.recv(4096):
            pass

    return talk
