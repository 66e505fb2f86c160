"""How does a message get into this PC's journal, without a network? As structured fields, or as a line of syslog.

`journalctl -u posagent POSAGENT_WHAT=opened` finds them again. Where neither journal nor syslog runs, stderr is told.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

from agent.channels.errand import Errand, fitted
from agent.config.channels import JournalChannel
from agent.outcome import Outcome, delivered, failed
from probes.model import OutOfTime

JOURNAL, SYSLOG = "/run/systemd/journal/socket", "/dev/log"
PRIORITIES = {"critical": 2, "warning": 4, "info": 5}
_DAEMON = 3 << 3  # syslog's facility for daemons
_MOST = 48000  # bytes of the text: a datagram holds some 200 kB, but journald shows no more than 48 kB of a line


def deliver(errand: Errand[JournalChannel]) -> Outcome:
    """Write to the first of journal, syslog and stderr that takes it."""
    priority = PRIORITIES.get(errand.message.severity, 5)
    errors = []
    for path, datagram in ((JOURNAL, _fields(errand, priority)), (SYSLOG, _line(errand, priority))):
        try:
            _send(path, datagram, errand.host.left())
        except (FileNotFoundError, ConnectionRefusedError):
            continue
        except (OSError, OutOfTime) as error:
            errors.append(f"{path}: {getattr(error, 'strerror', None) or error}")
        else:
            return delivered(path)
    if sys.stderr is None:
        return failed("; ".join(errors) or "there is no journal, no syslog and no stderr")
    os.write(sys.stderr.fileno(), f"<{priority}>{_flat(errand)}\n".encode("utf-8", "replace"))
    return delivered("stderr")


def _send(path: str, datagram: bytes, seconds: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.settimeout(min(seconds, 2.0))
        out.connect(path)
        out.send(datagram)


def _fields(errand: Errand[JournalChannel], priority: int) -> bytes:
    message = errand.message
    fields = {
        "MESSAGE": fitted(f"{message.subject}\n{message.text}", _MOST, of_bytes=True),
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "posagent",
        "POSAGENT_KEY": message.key,
        "POSAGENT_WHAT": message.what,
        "POSAGENT_INCIDENT": errand.fact("incident"),
        "POSAGENT_CAUSE": errand.fact("cause"),
    }
    return b"".join(_field(name, value) for name, value in fields.items() if value)


def _field(name: str, value: str) -> bytes:
    """systemd.io/JOURNAL_NATIVE_PROTOCOL: the length goes before a value that may hold line ends."""
    coded = value.encode("utf-8", "replace")
    return name.encode() + b"\n" + struct.pack("<Q", len(coded)) + coded + b"\n"


def _line(errand: Errand[JournalChannel], priority: int) -> bytes:
    return f"<{_DAEMON | priority}>posagent[{os.getpid()}]: {_flat(errand)}".encode("utf-8", "replace")[:2000]


def _flat(errand: Errand[JournalChannel]) -> str:
    return " ".join(f"{errand.message.subject}: {errand.message.text}".split())
