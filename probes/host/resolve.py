"""Which addresses does the system give for a name, and how long did it take to say so?

The system's own path (getaddrinfo: hosts file, search domains, name service switch), because that is what the POS
software uses. It has no deadline of its own - a silent resolver holds it for up to a minute - so it sits in a thread
that can be left behind.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from dataclasses import dataclass, field

from probes.host import Host
from probes.host.spare import Errand

LEFT_BEHIND = 4  # lookups of one name that may be left waiting for a silent resolver; the next ones share the last


class Unresolved(Exception):
    """No address; `reason` is "timeout", "no_such_name", "no_address" or "failed"."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Resolution:
    """Numeric addresses of both families in the order the system would try them, and the seconds it took."""

    addresses: tuple[str, ...]
    seconds: float = 0.0


@dataclass
class _Lookup:
    """One question to the system that may outlive its asker."""

    name: str
    done: threading.Event = field(default_factory=threading.Event)
    addresses: tuple[str, ...] = ()
    error: Unresolved | None = None  # None and no addresses: the thread died of something unforeseen

    def ask(self) -> None:
        try:
            self.addresses = _getaddrinfo(self.name)
        except Unresolved as error:
            self.error = error
        finally:
            with _lock:
                _waiting[self.name].remove(self)
                if not _waiting[self.name]:
                    del _waiting[self.name]
            self.done.set()


_lock = threading.Lock()
_waiting: dict[str, list[_Lookup]] = {}


def resolve(host: Host, name: str) -> Resolution:
    """Addresses of a name within the deadline; literals pass without asking. Raises Unresolved, or OutOfTime."""
    if is_literal(name):
        return Resolution((name,))
    seconds = host.left()
    began = time.monotonic()
    lookup = _begin(name)
    if not lookup.done.wait(seconds):
        raise Unresolved("timeout", f"the system's resolver gave no answer for {name} within {seconds:.1f} s")
    if lookup.error is not None:
        raise Unresolved(lookup.error.reason, str(lookup.error))
    if not lookup.addresses:
        raise Unresolved("failed", f"{name}: the lookup broke off")
    return Resolution(lookup.addresses, time.monotonic() - began)


def is_literal(name: str) -> bool:
    """Whether a text is a numeric IPv4 or IPv6 address already (`fe80::1%eth0` included)."""
    try:
        if ":" in name:
            ipaddress.IPv6Address(name)
        else:
            socket.inet_pton(socket.AF_INET, name)  # takes exactly what IPv4Address does, at a tenth of the price
    except (OSError, ValueError):
        return False
    return True


def _begin(name: str) -> _Lookup:
    with _lock:
        waiting = _waiting.setdefault(name, [])
        if len(waiting) >= LEFT_BEHIND:
            return waiting[-1]
        lookup = _Lookup(name)
        waiting.append(lookup)
    try:
        Errand(lookup.ask, f"resolve {name}")
    except RuntimeError as error:  # no thread to be had: the question was never asked
        with _lock:
            waiting.remove(lookup)
        raise Unresolved("failed", f"{name} could not be asked for: {error}") from error
    return lookup


_REASONS = {
    socket.EAI_NONAME: ("no_such_name", "no such name"),
    getattr(socket, "EAI_NODATA", -5): ("no_address", "the name exists but has no address"),
    getattr(socket, "EAI_ADDRFAMILY", -9): ("no_address", "the name exists but has no address of a usable family"),
    socket.EAI_AGAIN: ("failed", "no resolver answered, or it could not say (temporary failure)"),
}


def _getaddrinfo(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        reason, text = _REASONS.get(error.errno or 0, ("failed", str(error)))
        raise Unresolved(reason, f"{name}: {text}") from error
    except OSError as error:
        raise Unresolved("failed", f"{name}: {error}") from error
    except ValueError as error:  # UnicodeError from an over-long or empty label; a NUL
        raise Unresolved("no_such_name", f"{name[:80]!r} cannot be a host name: {error}") from error
    addresses = tuple(dict.fromkeys(_numeric(address) for *_, address in found))
    if not addresses:
        raise Unresolved("no_address", f"{name}: the system gave no address")
    return addresses


def _numeric(address: tuple[object, ...]) -> str:
    """The address of a sockaddr; a link-local one keeps its interface, without which it leads nowhere."""
    text = str(address[0])
    if len(address) == 4 and address[3] and "%" not in text:
        return f"{text}%{_interface(int(str(address[3])))}"
    return text


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)
