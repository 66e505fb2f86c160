"""What does a NUT server (upsd of Network UPS Tools) know about a UPS?

The text protocol of RFC 9271, reading only: LIST UPS, LIST VAR, LOGOUT. No login, no command that changes anything.
"""

from __future__ import annotations

import contextlib
import re
import socket

import msgspec

from probes.host import Host
from probes.redact import scrub

LINE_LIMIT = 4096
ANSWER_LIMIT = 1 << 18
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


class Unreachable(Exception):
    """No NUT server there, or it stopped talking; the text says why."""


class Refused(Exception):
    """The server answered ERR; `code` is its word, such as "DATA-STALE"."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Ups(msgspec.Struct, frozen=True):
    """One UPS by its name on the server, with every variable it has."""

    name: str
    variables: dict[str, str]


def read(host: Host, address: str, port: int, name: str | None) -> Ups:
    """All variables of a UPS; of the only one when `name` is None. Raises Unreachable or Refused, OutOfTime."""
    try:
        with socket.create_connection((address, port), timeout=host.left()) as sock:
            talk = _Talk(host, sock)
            known = name or _only(talk.listed("UPS"))
            variables = {words[2]: words[3] for words in talk.listed(f"VAR {known}") if len(words) > 3}
            with contextlib.suppress(OSError):  # a courtesy; all that matters has been said
                sock.sendall(b"LOGOUT\n")
            return Ups(known, variables)
    except TimeoutError as error:
        raise Unreachable("no answer") from error
    except OSError as error:
        raise Unreachable(error.strerror or str(error)) from error


def words(line: str) -> list[str]:
    """The words of one line; a quoted one may hold spaces, and quotes and backslashes behind a backslash."""
    found = []
    for quoted, bare in _WORD.findall(line):
        found.append(bare or re.sub(r"\\(.)", r"\1", quoted))
    return found


def _only(listed: list[list[str]]) -> str:
    """The name of the one UPS there is."""
    names = [line[1] for line in listed if len(line) > 1]
    if len(names) == 1:
        return names[0]
    said = f"several: {', '.join(names)}; name one in `ups`" if names else "the server has none"
    raise Refused("UNKNOWN-UPS", said)


class _Talk:
    """Questions and answers, line by line, within the deadline and within bounds."""

    def __init__(self, host: Host, sock: socket.socket) -> None:
        self.host, self.sock, self.buffer, self.received = host, sock, b"", 0

    def listed(self, what: str) -> list[list[str]]:
        """The lines between BEGIN LIST and END LIST, split into words. Raises Refused or Unreachable."""
        self.sock.sendall(f"LIST {what}\n".encode())
        begin = self._line()
        if begin[:1] == ["ERR"]:
            code = begin[1] if len(begin) > 1 else "UNKNOWN"
            raise Refused(code, " ".join(begin[1:]))
        if begin[:2] != ["BEGIN", "LIST"]:
            raise Unreachable(f"answers, but is no NUT server: {' '.join(begin)[:80]!r}")
        lines = []
        while (line := self._line())[:2] != ["END", "LIST"]:
            lines.append(line)
        return lines

    def _line(self) -> list[str]:
        while b"\n" not in self.buffer:
            self.sock.settimeout(self.host.left())
            data = self.sock.recv(LINE_LIMIT)
            self.received += len(data)
            if not data:
                raise Unreachable("the server closed the connection in the middle of its answer")
            if self.received > ANSWER_LIMIT or len(self.buffer) > LINE_LIMIT:
                raise Unreachable("answers without end, or is no NUT server")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return words(scrub(line.decode("utf-8", "replace")))
