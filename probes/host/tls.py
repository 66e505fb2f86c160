"""What does a server show of itself in one TLS handshake, whether or not it is to be believed?

One handshake gives the verdict of OpenSSL *and* the chain. A trust store costs 35 ms and 8 MB, so there is one context
per store for the life of the process. Nothing is ever sent after the handshake but its orderly end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from probes import x509
from probes.host import Host, sockets
from probes.host.tcp import MARGIN_S
from probes.model import Unsupported
from probes.redact import scrub

if TYPE_CHECKING:
    import ssl

OK, STALLED, CLOSED, FAILED, OLD, UNTRUSTED = "ok", "stalled", "closed", "failed", "old", "untrusted"
_OLD_REASONS = {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW", "WRONG_SSL_VERSION"}
_PEM, _DER = 1, 2  # _ssl's own encodings
_HANDSHAKE, _CERTIFICATE_REQUEST = 22, 13  # RFC 8446, 5.1 and 4


class Certificate(msgspec.Struct, frozen=True):
    """A certificate of ours: PEM files. `key` None: it is in the same file."""

    file: str
    key: str | None = None


class Handshake(msgspec.Struct, frozen=True):
    """How one handshake went. `trusted` holds the chain that OpenSSL built, where it was content.

    `complete` is false for a server that is well, but wants a certificate of ours before it goes on.
    """

    outcome: str
    seconds: float = 0.0
    detail: str = ""
    version: str = ""
    verify_code: int = 0
    chain: tuple[x509.Certificate, ...] = ()
    trusted: tuple[x509.Certificate, ...] = ()
    wants_certificate: bool = False
    complete: bool = False


@contextlib.contextmanager
def shaking(
    host: Host,
    connection: socket.socket,
    name: str,
    ca_file: str | None = None,
    certificate: Certificate | None = None,
) -> Iterator[tuple[Handshake, ssl.SSLSocket | None]]:
    """Shake hands over a connection as `name`. Yields what was seen and the session, if there is one; then ends it.

    `certificate`: ours, for a server that wants one. Raises Unsupported when there is nothing to trust, or ours is no
    good, OSError when a file cannot be read.
    """
    began, trusting = time.monotonic(), context(ca_file, certificate)
    try:
        wrapped = trusting.wrap_socket(
            connection.dup(),  # wrap_socket() takes the descriptor out of its argument
            server_hostname=name.partition("%")[0].rstrip("."),
            do_handshake_on_connect=False,
        )
    except OSError as error:  # reset before a word was said
        yield Handshake(CLOSED, time.monotonic() - began, error.strerror or str(error)), None
        return
    _asked[id(wrapped)] = ""
    try:
        # do_handshake() keeps to this over all its reads, so that a server that drips bytes gains nothing
        wrapped.settimeout(max(0.001, host.ends - MARGIN_S - time.monotonic()))
        handshake = _shake(wrapped, began)
        yield handshake, wrapped if handshake.complete else None
    finally:
        _asked.pop(id(wrapped), None)
        _end(wrapped)


def _shake(wrapped: ssl.SSLSocket, began: float) -> Handshake:
    import ssl

    outcome, detail, code = OK, "", 0
    try:
        wrapped.do_handshake()
    except ssl.SSLCertVerificationError as error:
        outcome, detail, code = UNTRUSTED, error.verify_message, error.verify_code
    except TimeoutError:
        outcome, detail = STALLED, "the server accepted the connection and then said nothing more"
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError) as error:
        outcome, detail = CLOSED, str(error)
    except ssl.SSLError as error:
        outcome, detail = OLD if error.reason in _OLD_REASONS else FAILED, error.reason or str(error)
    except OSError as error:
        outcome, detail = CLOSED, error.strerror or str(error)
    seconds = time.monotonic() - began
    chain = _chain(wrapped, "get_unverified_chain")
    complete, wants = outcome == OK, _asked.pop(id(wrapped), "")
    if outcome in (CLOSED, FAILED) and wants:
        outcome = OK  # it wanted a certificate of ours and ended the talk without one: it lives, and it spoke TLS
    return Handshake(
        outcome=outcome,
        seconds=seconds,
        detail=scrub(detail),
        version=wrapped.version() or wants,
        verify_code=code,
        chain=chain,
        trusted=_chain(wrapped, "get_verified_chain") if outcome == OK else (),
        wants_certificate=bool(wants),
        complete=complete,
    )


def _end(wrapped: ssl.SSLSocket) -> None:
    """close_notify, as far as it goes without waiting, then FIN."""
    with contextlib.suppress(OSError, ValueError):
        wrapped.setblocking(False)
        wrapped.unwrap()
    sockets.close(wrapped)


def _chain(wrapped: ssl.SSLSocket, which: str) -> tuple[x509.Certificate, ...]:
    """The chain, which Python shows of a failed handshake only from 3.13, and before under a private name."""
    import ssl

    inner: Any = getattr(wrapped, "_sslobj", None)
    get = getattr(wrapped, which, None) or getattr(inner, which, None)
    found = []
    with contextlib.suppress(ValueError, ssl.SSLError):
        for certificate in (get() if get is not None else None) or ():
            der = certificate if isinstance(certificate, bytes) else certificate.public_bytes(_DER)
            with contextlib.suppress(ValueError):
                found.append(_parsed(der))
    return tuple(found)


@functools.lru_cache(maxsize=32)
def _parsed(der: bytes) -> x509.Certificate:
    """Servers show the same certificates every minute."""
    return x509.parse(der)


_lock = threading.Lock()
_contexts: dict[tuple[str, Certificate | None], tuple[object, ssl.SSLContext]] = {}
_asked: dict[int, str] = {}
"""By handshake under way here: the version in which the server asked for a certificate of ours, empty: it did not.

Others shake hands with the same contexts: theirs are not noted, for their ids live on as the ids of others' sockets.
"""


def context(ca_file: str | None = None, certificate: Certificate | None = None) -> ssl.SSLContext:
    """The context that trusts `ca_file`, or the system's store; read again only when a file has changed."""
    import ssl

    path = ca_file or ssl.get_default_verify_paths().cafile or ""
    own = (certificate.file, certificate.key) if certificate is not None else ()
    stamp = [_stamp(each) for each in (path, *own) if each is not None]
    which = (ca_file or "", certificate)
    with _lock:
        known = _contexts.get(which)
        if known is None or known[0] != stamp:
            known = _contexts[which] = (stamp, _new_context(ca_file, certificate))
        return known[1]


def _stamp(path: str) -> object:
    try:
        status = os.stat(path)  # noqa: PTH116 -- an empty path is no path
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _new_context(ca_file: str | None, certificate: Certificate | None) -> ssl.SSLContext:
    import ssl

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # The same answer on every Python: 3.13 is stricter by default, and would call an acquirer's private CA without
    # keyUsage untrusted before it looks at the dates. What stands in the store is trusted, intermediates included.
    made.verify_flags = (made.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    try:
        if ca_file is not None:
            made.load_verify_locations(ca_file)
        else:
            made.load_default_certs()
    except FileNotFoundError as error:
        raise Unsupported(f"ca_file {ca_file} does not exist", why="no_ca_file", ca_file=ca_file or "") from error
    except ssl.SSLError as error:
        raise Unsupported(
            f"ca_file {ca_file} holds no certificates in PEM form ({error.reason})",
            why="bad_ca_file",
            ca_file=ca_file or "",
            said=str(error.reason),
        ) from error
    if ca_file is None and not _has_roots(made):
        raise Unsupported(
            "this PC has no CA certificates: install the package ca-certificates, or set ca_file", why="no_certificates"
        )
    if certificate is not None:
        _show(made, certificate)
    with contextlib.suppress(AttributeError, TypeError):
        # Private: without it mutual TLS is told less well. Not by way of SSLContext, which dresses up each message.
        super(ssl.SSLContext, ssl.SSLContext)._msg_callback.__set__(made, _listen)  # type: ignore[misc]
    return made


def _show(made: ssl.SSLContext, certificate: Certificate) -> None:
    import ssl

    for what, path in (("certificate_file", certificate.file), ("key_file", certificate.key)):
        if path is not None and _stamp(path) is None:
            raise Unsupported(f"{what} {path} does not exist", why="no_certificate_file", what=what, path=path)
    try:
        # an encrypted key has no password here, and nobody is to be asked for one on a terminal
        made.load_cert_chain(certificate.file, certificate.key, password=lambda: b"")
    except ssl.SSLError as error:
        said = error.reason or "no PEM"
        raise Unsupported(
            f"certificate_file {certificate.file} holds no PEM certificate with its key, without a password ({said})",
            why="bad_certificate_file",
            path=certificate.file,
            said=said,
        ) from error


def _has_roots(made: ssl.SSLContext) -> bool:
    import ssl

    directory = ssl.get_default_verify_paths().capath
    return bool(made.cert_store_stats()["x509_ca"] or (directory and any(os.scandir(directory))))


def _listen(talk: object, direction: str, version: int, content: int, message: int, _data: bytes) -> None:
    """Note that a server asks for a certificate of ours; OpenSSL calls this for each message."""
    if content == _HANDSHAKE and message == _CERTIFICATE_REQUEST and direction == "read":
        import ssl

        with contextlib.suppress(ValueError):  # a version that Python does not know
            if id(talk) in _asked:
                _asked[id(talk)] = ssl.TLSVersion(version).name.replace("_", ".")
