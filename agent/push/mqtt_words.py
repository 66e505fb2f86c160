"""What do MQTT's numbers and TLS's complaints mean for whoever has to mend it? `<cause>; <next step>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.outcome import Outcome, failed, refused

if TYPE_CHECKING:
    import ssl

    from agent.config.push import MqttPush

TAKEN_OVER = 0x8E
_NEVER = frozenset({0x90, 0x95, 0x99})
"""Of a PUBACK: the same message will be refused every time."""
_LATER = "it is tried again"
_ASK = "ask the centre what its broker's log says"

_REASONS = {
    0x80: ("the broker gives no reason", _ASK),
    0x81: ("the broker calls what this till sends malformed", "is there an MQTT broker, or something in between?"),
    0x82: ("the broker speaks of a protocol error", _ASK),
    0x83: ("the broker does not take it and gives no reason", _ASK),
    0x84: ("the broker does not speak MQTT {version}", "set push.mqtt.version to the one that it speaks"),
    0x85: ("the broker refuses the client id {client_id}", "let the centre allow it, or set push.mqtt.client_id"),
    0x86: ("the broker calls user or password wrong", "check push.mqtt.user and push.mqtt.password"),
    0x87: (
        "the broker does not let this till in (not authorized)",
        "check push.mqtt.user, password and client_id, and whom the broker lets in",
    ),
    0x88: ("the broker is not available", _LATER),
    0x89: ("the broker is busy", _LATER),
    0x8A: ("the broker has banned this till", "ask the centre"),
    0x8B: ("the broker is shutting down", _LATER),
    0x8C: ("the broker wants another way of authentication", "let the centre allow user and password, or certificates"),
    0x8D: ("the broker heard nothing of this till for too long", "check the line to it, or raise push.mqtt.keepalive"),
    TAKEN_OVER: (
        "another client uses the client id {client_id}",
        "give each till its own push.mqtt.client_id (or site.store and site.terminal)",
    ),
    0x8F: ("the broker does not take this topic filter", "check push.mqtt.prefix"),
    0x90: ("the broker does not take the topic {topic}", "check push.mqtt.prefix, site.store and site.terminal"),
    0x93: ("the broker takes fewer messages at once", _LATER),
    0x95: ("the message is too large for the broker", "raise its limit (mosquitto: max_packet_size)"),
    0x96: ("the broker calls this till's messages too many", _LATER),
    0x97: ("the broker's quota for this till is used up", "raise it, or ask the centre"),
    0x98: ("somebody at the broker closed the connection", "ask the centre"),
    0x99: ("the broker does not take messages in JSON", _ASK),
    0x9A: ("the broker keeps no retained messages", "let it keep them (mosquitto: retain_available)"),
    0x9B: ("the broker takes no messages with QoS 1", "let it take them (mosquitto: max_qos)"),
    0x9C: ("the broker tells tills to use another server", "set push.mqtt.host to that"),
    0x9D: ("the broker has moved to another server", "set push.mqtt.host to that"),
    0x9F: ("the broker takes fewer connections in that time", _LATER),
}


class Over(Exception):
    """A connection is at its end, or came to nothing.

    `ousted`: another client took its place; `silent`: the broker closed it and did not say why.
    """

    def __init__(self, detail: str, *, ousted: bool = False, silent: bool = False) -> None:
        super().__init__(detail)
        self.outcome, self.ousted, self.silent = failed(detail), ousted, silent


class Words:
    """Sentences about one broker."""

    def __init__(self, settings: MqttPush, client_id: str) -> None:
        self._settings, self._client_id = settings, client_id

    def reason(self, code: int, said: str = "", topic: str = "", name: str = "") -> str:
        """What a reason code of MQTT 5 means; `said` is the broker's own reason, `name` the code's."""
        cause, step = _REASONS.get(code, (f"the broker says {name or hex(code)}", _ASK))
        told = f" ({said})" if said else ""
        cause = cause.format(version=self._settings.version, client_id=self._client_id, topic=topic)
        return f"{cause}{told}; {step}"

    def not_taken(self, code: int, topic: str, said: str = "", name: str = "") -> Outcome:
        """A message was answered with this reason instead of being taken."""
        if code == 0x87:
            told = f" ({said})" if said else ""
            return failed(f"the broker does not let this till write to {topic}{told}; let its ACL allow it")
        text = self.reason(code, said, topic, name)
        return refused(text) if code in _NEVER else failed(text)

    def too_large(self, most: int) -> Outcome:
        """MQTT 5 brokers say beforehand what they take."""
        return refused(
            f"the broker takes at most {most} bytes in one message; raise its limit (mosquitto: max_packet_size)"
        )

    def no_answer(self) -> str:
        """It accepted the connection."""
        return "the broker accepts the connection and says nothing; is it overloaded, or no MQTT broker?"

    def not_acknowledged(self) -> str:
        """It accepted a message."""
        return "the broker does not acknowledge a message in time; is it overloaded, or the line to it too slow?"

    def not_mqtt(self) -> str:
        """It speaks, but what?"""
        return f"the broker answers what is not MQTT {self._settings.version}; check push.mqtt.host, port and version"

    def lost(self) -> str:
        """It answers no more, and did not hang up either."""
        return "the broker does not answer any more; is the line to it cut?"

    def unreachable(self, tried: str) -> str:
        """No connection came about."""
        return f"cannot reach the broker ({tried}); check push.mqtt.host and port, and the line to it"

    def hung_up(self, *, welcome: bool, why: str = "") -> str:
        """It closed the connection without a word; `welcome`: after it had let this till in."""
        if why:
            return self._broke_off(why)
        if not welcome:
            return (
                "the broker hangs up before it lets this till in; is it full, does it want TLS or a certificate "
                "(push.mqtt.certificate_file), or is it no MQTT broker?"
            )
        maybe = f"is it restarted, or does another client use the client id {self._client_id}?"
        if self._settings.version != "5":
            maybe = f"in MQTT 3.1.1 it cannot: {maybe} Does its ACL deny a topic, was a message too large?"
        return f"the broker closed the connection without saying why; {maybe}"

    def rival(self) -> str:
        """The connection is closed again and again, soon after it was made."""
        return (
            f"the broker closes the connection again and again; does another client use the client id "
            f"{self._client_id}? Give each till its own push.mqtt.client_id"
        )

    def _broke_off(self, why: str) -> str:
        if "CERTIFICATE" in why or "UNKNOWN_CA" in why:
            return f"the broker refuses this till's certificate ({why}); check push.mqtt.certificate_file"
        return f"the connection broke off ({why}); it is tried again"

    # --- TLS ----------------------------------------------------------------------------------------------------------

    def untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        """The broker's certificate is not to be believed."""
        cause = f"the broker's certificate is not trusted ({error.verify_message})"
        if error.verify_code in (9, 10):  # not valid yet, expired
            return f"{cause}; the centre must renew it, or this PC's clock is wrong"
        if error.verify_code in (62, 64):  # of another host, or address
            return f"{cause}; set push.mqtt.host to a name that stands in it"
        return f"{cause}; set push.mqtt.ca_file to the CA that signs for the centre"

    def no_tls(self, reason: str) -> str:
        """The handshake came to nothing, for another reason than the broker's certificate."""
        if reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return "the broker speaks no TLS on this port; check push.mqtt.port (usually 8883)"
        if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
            return self._broke_off(reason)
        if not reason or "EOF" in reason:
            return "the broker hangs up during the TLS handshake; is it full, or does something in between forbid it?"
        return f"no TLS with the broker ({reason}); {_ASK}"
