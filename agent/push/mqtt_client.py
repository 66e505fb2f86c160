"""paho's client, over a connection of ours: the one door for paho-mqtt. Imported only where MQTT is used.

Left to itself paho resolves names without a deadline, heeds proxy variables and accepts packets of 256 MB.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.push.mqtt_words import Over, Words
from probes.host import Host, sockets, tcp, tls
from probes.host.resolve import Unresolved, resolve
from probes.model import Unsupported

if TYPE_CHECKING:
    from agent.config.push import MqttPush

LARGEST = 65536
"""No packet that a broker has reason to send is larger."""
CHATTER = 262_144
"""Nor do all of them together come to this between two messages of ours."""

LONGEST_PUBACK = 128
"""Bytes that are remembered, in case paho makes nothing of them."""

_HUNG_UP = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Wire:
    """A connection as paho wants one. It hears only so much, and keeps in mind why it broke."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.heard = 0
        self.babbles = False
        """What comes is nothing that a broker has reason to send."""
        self.why = ""
        """What TLS or the network said when it broke; nothing where the other side merely hung up."""
        self.closed = False
        self._last = b""

    def recv(self, size: int) -> bytes:
        """As socket.recv. Raises ConnectionAbortedError for more than anybody has reason to say."""
        if size > LARGEST or self.heard > CHATTER:
            self.babbles = True
            raise ConnectionAbortedError("more than a broker has reason to say")
        try:
            data = self._connection.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self._broke(error)
            raise
        self.heard += len(data)
        self._last = (self._last + data)[-LONGEST_PUBACK:]
        return data

    def send(self, data: bytes) -> int:
        """As socket.send."""
        try:
            return self._connection.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError, OSError):
                self.recv(1)  # why it hung up may still lie there: a TLS alert
            self._broke(error)
            raise

    def refusal(self, message: int) -> int:
        """The code of a PUBACK that paho does not know and takes for nonsense; 0: what came last was none.

        mosquitto answers 0x95 to what is too large, which the standard does not have in this place.
        """
        packet = self._last
        at = packet.rfind(b"\x40", 0, len(packet) - 4)
        whole = at >= 0 and len(packet) == at + 2 + packet[at + 1]
        return packet[at + 4] if whole and packet[at + 2 : at + 4] == message.to_bytes(2, "big") else 0

    def _broke(self, error: OSError) -> None:
        if not self.why and not isinstance(error, _HUNG_UP):
            self.why = reason(error)

    def close(self) -> None:
        """Politely: what was sent last shall arrive."""
        if not self.closed:
            self.closed = True
            sockets.close(self._connection)

    def fileno(self) -> int:
        """Negative once it is closed."""
        return self._connection.fileno()

    def setblocking(self, flag: bool) -> None:
        """As socket.setblocking."""
        self._connection.setblocking(flag)

    def pending(self) -> int:
        """Bytes that TLS has read already and poll() knows nothing of."""
        if self.closed or not isinstance(self._connection, ssl.SSLSocket):
            return 0
        return self._connection.pending()


class Client(paho.Client):
    """One connection's client. `wire` once there is one."""

    def __init__(self, settings: MqttPush, client_id: str, words: Words, ends: float) -> None:
        five = settings.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self.max_queued_messages_set(2)
        self.wire: Wire | None = None
        self._settings, self._words, self._ends, self.five = settings, words, ends, five

    def begin(self) -> None:
        """Connect, by the deadline, and send CONNECT. Raises Over, and what a door raises."""
        settings, keepalive = self._settings, int(self._settings.keepalive)
        if not self.five:
            self.connect(settings.host, settings.port, keepalive)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = LARGEST
        self.connect(settings.host, settings.port, keepalive, clean_start=True, properties=properties)

    def _create_socket(self) -> paho.SocketLike:
        """In place of paho's own."""
        host, settings = Host(ends=self._ends), self._settings
        try:
            found = resolve(host, settings.host)
        except Unresolved as error:
            raise Over(self._words.unreachable(str(error))) from error
        attempts, connection = tcp.connect(host, found.addresses, settings.port)
        if connection is None:
            tried = ", ".join(f"{one.address} {one.outcome}" for one in attempts)
            raise Over(self._words.unreachable(tried))
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = Wire(self._shaken(host, connection) if settings.tls else connection)
        return cast("paho.SocketLike", self.wire)

    def _trusting(self) -> ssl.SSLContext:
        """Whom to believe, and as whom to come. Files are read again at each connection, once they have changed."""
        settings = self._settings
        own = settings.certificate_file
        try:
            return tls.context(settings.ca_file, tls.Certificate(own, settings.key_file) if own is not None else None)
        except Unsupported as error:
            raise Over(f"{error}; check push.mqtt") from error
        except OSError as error:
            raise Over(f"cannot read a certificate file of push.mqtt ({reason(error)}); check its rights") from error

    def _shaken(self, host: Host, connection: socket.socket) -> ssl.SSLSocket:
        try:
            wrapped = self._trusting().wrap_socket(
                connection,
                server_hostname=self._settings.host.partition("%")[0].rstrip("."),
                do_handshake_on_connect=False,
            )
        except BaseException:
            connection.close()
            raise
        try:
            wrapped.settimeout(max(0.001, host.left() - tcp.MARGIN_S))
            wrapped.do_handshake()
        except OSError as error:
            wrapped.close()
            raise Over(self._shake_failed(error)) from error
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _shake_failed(self, error: OSError) -> str:
        if isinstance(error, TimeoutError):
            return self._words.no_answer()
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._words.untrusted(error)
        if isinstance(error, ssl.SSLError):
            return self._words.no_tls(error.reason or "")
        return self._words.no_tls("")


def publishing(content_type: str, facts: tuple[tuple[str, str], ...]) -> Properties:
    """What MQTT 5 says beside a message."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = content_type
    if facts:
        properties.UserProperty = list(facts)
    return properties


def reason(error: OSError) -> str:
    """In few words, the same every time."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS was cut short"
    with contextlib.suppress(AttributeError):
        return error.strerror or str(error)
    return str(error)
