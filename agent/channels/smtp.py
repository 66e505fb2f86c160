"""How does a message go by mail, before the deadline, and only over a connection that is what it should be?

Every attempt at one message has the same Message-ID: a mailbox that has it already knows it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from agent.channels.errand import Errand
from agent.config.channels import Email
from agent.outcome import Outcome, delivered, failed, refused
from probes.host import tcp, tls
from probes.host.cutting import cut_at_the_end

if TYPE_CHECKING:
    import smtplib

PORTS = {"starttls": 587, "tls": 465, "none": 25}


class _NotSecure(Exception):
    """The connection did not become what the settings ask for; nothing was sent."""


def deliver(errand: Errand[Email]) -> Outcome:
    """Send one mail to all its readers."""
    channel = errand.channel
    port = channel.port or PORTS[channel.security]
    with tcp.reaching(errand.host, channel.host, port) as (reach, connection):
        if connection is None:
            tried = ", ".join(f"{one.address} {one.outcome}" for one in reach.attempts)
            return failed(f"cannot reach {channel.host} port {port}: {reach.unresolved_text or tried}")
        connection.setblocking(True)
        with connection.dup() as handle, cut_at_the_end(errand.host, handle) as cut:
            outcome = _converse(errand, connection.dup())
        if cut.is_set() and not outcome.ok:
            return failed(f"{channel.host} did not take the mail in time")
        return outcome


def mail(errand: Errand[Email]) -> EmailMessage:
    """The mail itself, plain text."""
    message, channel = errand.message, errand.channel
    made = EmailMessage(policy=POLICY)
    made["Subject"] = _one_line(message.subject)
    made["From"] = channel.sender
    made["To"] = ", ".join(channel.to)
    made["Date"] = formatdate()
    domain = re.sub(r"[^A-Za-z0-9.-]", "", channel.sender.rpartition("@")[2]) or "posagent.invalid"
    made["Message-ID"] = f"<{hashlib.sha256(message.key.encode()).hexdigest()[:40]}@{domain}>"
    made["Auto-Submitted"] = "auto-generated"
    made["X-Posagent-Key"] = "".join(char for char in _one_line(message.key) if char.isascii())
    if message.severity == "critical":
        made["Importance"] = "high"
    made.set_content(message.text, cte="base64" if not message.text.isascii() else None)
    return made


def _converse(errand: Errand[Email], connection: socket.socket) -> Outcome:
    """Whatever goes wrong before the server knows what we want may pass."""
    import smtplib

    try:
        server = _session(errand, connection)
    except smtplib.SMTPResponseException as error:
        return failed(_words(error))
    except _NotSecure as error:
        return failed(str(error))
    except (smtplib.SMTPException, OSError) as error:
        return failed(f"{errand.channel.host} broke off: {_reason(error)}")
    with contextlib.closing(server):
        return _hand_over(errand, server)


def _hand_over(errand: Errand[Email], server: smtplib.SMTP) -> Outcome:
    import smtplib

    channel = errand.channel
    try:
        if channel.user is not None:
            server.login(channel.user, errand.secrets["password"])
        unwanted = server.send_message(mail(errand))
    except smtplib.SMTPResponseException as error:
        return refused(_words(error)) if 500 <= error.smtp_code < 600 else failed(_words(error))
    except smtplib.SMTPRecipientsRefused as error:
        detail = f"no reader is known there: {_listed(error.recipients)}"
        lasting = all(500 <= code < 600 for code, _ in error.recipients.values())
        return refused(detail) if lasting else failed(detail)
    except (smtplib.SMTPException, OSError) as error:
        return failed(f"{channel.host} broke off: {_reason(error)}")
    with contextlib.suppress(smtplib.SMTPException, OSError):
        server.quit()  # the mail is taken: how the talk ends makes no difference
    return delivered(f"but not to {_listed(unwanted)}" if unwanted else "")


def _session(errand: Errand[Email], connection: socket.socket) -> smtplib.SMTP:
    """A session that has greeted, and is encrypted where it should be."""
    import smtplib
    import ssl

    channel = errand.channel
    name = channel.host.partition("%")[0].rstrip(".")
    trusting = None if channel.security == "none" else tls.context(channel.ca_file)

    class Prepared(smtplib.SMTP):
        def _get_socket(self, *_: Any) -> socket.socket:
            if channel.security == "tls" and trusting is not None:
                return trusting.wrap_socket(connection, server_hostname=name)
            return connection

    connection.settimeout(errand.host.left())
    own = connection.getsockname()[0]
    try:
        # Without a name of our own smtplib would ask the resolver for it, and wait as long as that takes.
        server = Prepared(name, 0, local_hostname=f"[IPv6:{own}]" if ":" in own else f"[{own}]")
        if channel.security == "starttls" and trusting is not None:
            server.ehlo()
            if not server.has_extn("starttls"):
                server.close()
                raise _NotSecure(f"{channel.host} does not offer STARTTLS; nothing was sent")
            server.starttls(context=trusting)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise _NotSecure(f"the certificate that {channel.host} shows is not trusted: {error.verify_message}") from None
    return server


def _words(error: smtplib.SMTPResponseException) -> str:
    return f"answered {error.smtp_code} {_text(error.smtp_error)}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _listed(recipients: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{who}: {code} {said.decode('utf-8', 'replace')}" for who, (code, said) in recipients.items())


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
