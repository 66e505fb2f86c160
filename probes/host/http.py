"""What does a web server answer, in bounded time and space, whatever it does?

Requests and urllib3 speak HTTP here over a connection that the doors `tcp` and `tls` have made, so a fault below HTTP
has the same name as there; no environment variable, .netrc or redirect leads anywhere else. A timer cuts the connection
at the deadline, because time-outs per read are no bound for a server that drips bytes; the body is capped, unpacked or
not.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import socket
import sys
import threading
import time
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import msgspec

from probes.host import Host, tcp, tls
from probes.host.cutting import cut_at_the_end
from probes.host.exchange import CAP, Answer, Exchange, Request, Site, site
from probes.host.tcp import Reach
from probes.host.tls import Certificate
from probes.redact import scrub

if TYPE_CHECKING:
    from requests import Response
    from requests.adapters import HTTPAdapter

__all__ = ["CAP", "Answer", "Exchange", "Request", "Session", "Site", "ask", "get", "site"]
_CHUNK = 4096  # of packed bytes: one such piece of a gzip bomb, packed unasked, unpacks to 4 MB
_SHORT = 160
_coming = threading.Lock()


def get(host: Host, url: str, ca_file: str | None = None, proxy: str | None = None) -> Exchange:
    """GET a URL once, following nothing. Raises Unsupported when there is nothing to trust, OutOfTime."""
    return ask(host, Request(url), ca_file, proxy)


def ask(host: Host, request: Request, ca_file: str | None = None, proxy: str | None = None) -> Exchange:
    """Send one request, following nothing. Raises Unsupported when there is nothing to trust, OutOfTime."""
    with Session(ca_file, proxy) as session:
        return session.ask(host, request)


class Session:
    """Requests to one site, one after another, over one connection as long as that site keeps it. For one thread."""

    def __init__(
        self, ca_file: str | None = None, proxy: str | None = None, certificate: Certificate | None = None
    ) -> None:
        """`certificate`: this PC's own, for a site that wants one."""
        self._ca_file, self._proxy, self._certificate = ca_file, proxy, certificate
        self._stack = contextlib.ExitStack()
        self._open: tuple[Site, socket.socket, HTTPAdapter] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, if there is one; another request makes another."""
        self._open = None
        self._stack.close()

    def ask(self, host: Host, request: Request) -> Exchange:
        """Send one request, following nothing. Raises Unsupported when there is nothing to trust, OutOfTime.

        Where the site has ended a connection that it had kept, the request is sent again over a new one.
        """
        began = time.monotonic()
        target = site(request.url)
        if self._open is not None and self._open[0] == target:
            answer = self._speak(host, request)
            if answer.status or answer.timed_out:
                if _is_no_end(answer):
                    self.close()
                return Exchange(Reach(target.host, target.port), answer=answer, seconds=time.monotonic() - began)
        self.close()
        return self._anew(host, request, target, began)

    def _anew(self, host: Host, request: Request, target: Site, began: float) -> Exchange:
        first = site(self._proxy or request.url)
        reach, connection = self._stack.enter_context(tcp.reaching(host, first.host, first.port))
        handshake, refusal, answer = None, None, None
        if connection is not None:
            connection.setblocking(True)
            if target.scheme == "https":
                if self._proxy:
                    refusal = _tunnel(host, connection, target, _proxy_headers(self._proxy))
                if refusal is None:
                    shaking = tls.shaking(host, connection, target.host, self._ca_file, self._certificate)
                    handshake, connection = self._stack.enter_context(shaking)
        if connection is not None and refusal is None:
            absolute = self._proxy is not None and target.scheme == "http"
            self._open = (target, connection, _adapter()(connection, request.url, absolute))  # type: ignore[arg-type]
            answer = self._speak(host, request)
        if answer is None or not answer.status or _is_no_end(answer):
            self.close()
        return Exchange(reach, handshake, refusal, answer, time.monotonic() - began)

    def _speak(self, host: Host, request: Request) -> Answer:
        if self._open is None:
            return Answer(error="no connection")
        target, connection, adapter = self._open
        by_proxy = self._proxy if target.scheme == "http" else None
        return _ask(host, connection, adapter, request, by_proxy)


def _is_no_end(answer: Answer) -> bool:
    """Whether more may come on this connection, which the next request would take for its own answer."""
    return answer.timed_out or answer.cut or answer.status < 200


def _adapter() -> type[HTTPAdapter]:
    """Requests is imported by one thread: two that begin with different parts of it find it half made."""
    with _coming:
        _spare_guessing()
        return _over()


@functools.cache
def _spare_guessing() -> None:
    """Before Requests comes: 3 MB that guess the encoding of bodies stay out, as bodies are decoded here.

    It wants one of two such libraries by name and asks only for its version.
    """
    if "requests" in sys.modules:
        return
    stand_in = ModuleType("chardet")
    stand_in.__version__ = "5.2.0"  # type: ignore[attr-defined]
    spared = {"chardet": stand_in, "charset_normalizer": None}
    before = {name: sys.modules[name] for name in spared if name in sys.modules}
    sys.modules.update(spared)  # type: ignore[arg-type]  # None: not to be found, says the language's reference
    try:
        import requests  # noqa: F401 -- for its side effects
    finally:
        for name in spared:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def _ask(host: Host, connection: socket.socket, adapter: HTTPAdapter, asked: Request, by_proxy: str | None) -> Answer:
    """One request over an open connection; a proxy is told the whole URL."""
    import requests
    from urllib3.exceptions import HTTPError

    with cut_at_the_end(host, connection) as cut:
        try:
            headers = {**_headers(asked.url), **_proxy_headers(by_proxy), **asked.headers}
            request = requests.Request(asked.method, asked.url, headers=headers, data=asked.body).prepare()
            response = adapter.send(request, stream=True, timeout=host.left())
            with contextlib.closing(response):
                answer = _read(response, asked.most)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            answer = Answer(error=_innermost(error))
    return msgspec.structs.replace(answer, timed_out=True) if cut.is_set() else answer


def _read(response: Response, most: int) -> Answer:
    """Status and headers, and as much of the body as is wanted. A body that breaks off is noted, not raised."""
    import requests
    from urllib3.exceptions import HTTPError

    body, error, cut = bytearray(), "", False
    try:
        for piece in response.iter_content(_CHUNK):
            body += piece
            if len(body) >= most:
                cut = True
                break
    except (requests.RequestException, HTTPError, OSError, ValueError) as broken:
        error = _innermost(broken)
    return Answer(
        status=response.status_code,
        phrase=_clean(response.reason or ""),
        location=response.headers.get("Location", ""),
        retry_after=response.headers.get("Retry-After", ""),
        date=response.headers.get("Date", ""),
        body=bytes(body[:most]),
        cut=cut,
        error=error,
        odd_head=_odd_head(response),
    )


def _odd_head(response: Response) -> str:
    original: Any = getattr(response.raw, "_original_response", None)
    defects = getattr(getattr(original, "msg", None), "defects", ())
    return type(defects[0]).__name__ if defects else ""


@functools.cache
def _over() -> type[HTTPAdapter]:
    """The adapter that speaks over one connection and no other. Made once: Requests comes late, and a class is dear."""
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool

    class Prepared(HTTPConnection):
        def __init__(self, *words: Any, prepared: socket.socket, **named: Any) -> None:
            super().__init__(*words, **named)
            self.prepared = prepared

        def _new_conn(self) -> socket.socket:
            return self.prepared

    class Pool(HTTPConnectionPool):
        ConnectionCls = Prepared

    class Adapter(HTTPAdapter):
        def __init__(self, connection: socket.socket, url: str, absolute: bool) -> None:
            super().__init__(max_retries=0)
            target = site(url)
            self.pool, self.absolute = Pool(target.host, target.port, maxsize=1, prepared=connection), absolute

        def init_poolmanager(self, *_: Any, **__: Any) -> None:
            """There is nothing to manage."""

        def close(self) -> None:
            self.pool.close()

        def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
            return self.pool

        def cert_verify(self, *_: Any, **__: Any) -> None:
            """The door `tls` has seen to that."""

        def request_url(self, request: Any, proxies: Any) -> str:
            return str(request.url) if self.absolute else str(request.path_url)

    return Adapter


def _headers(url: str) -> dict[str, str]:
    return {
        "Host": _authority(site(url), urlsplit(url).port is not None),
        "User-Agent": "posagent",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


def _proxy_headers(proxy: str | None) -> dict[str, str]:
    """Who we are to the proxy, where its URL says so."""
    parts = urlsplit(proxy or "")
    if not parts.username:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


def _authority(target: Site, with_port: bool) -> str:
    name = f"[{target.host}]" if ":" in target.host else target.host
    return f"{name}:{target.port}" if with_port else name


def _tunnel(host: Host, connection: socket.socket, target: Site, headers: Mapping[str, str]) -> Answer | None:
    """Ask a proxy for a way to the target; None when it gives one, else its answer."""
    where = _authority(target, with_port=True)
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", "User-Agent: posagent"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with cut_at_the_end(host, connection) as cut:
        head = bytearray()
        try:
            connection.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
            while not head.endswith(b"\r\n\r\n") and len(head) < _CHUNK * 4:
                byte = connection.recv(1)  # no byte more: the next one belongs to the TLS handshake
                if not byte:
                    break
                head += byte
        except OSError as error:
            return Answer(error=_innermost(error), timed_out=cut.is_set())
    status, phrase = _status_line(bytes(head))
    if 200 <= status < 300 and not cut.is_set():
        return None
    return Answer(status=status, phrase=phrase, timed_out=cut.is_set(), error="" if status else "no HTTP answer")


def _status_line(head: bytes) -> tuple[int, str]:
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not (words[1].isdecimal() and words[1].isascii()):
        return 0, ""
    return int(words[1][:3]), _clean(words[2] if len(words) > 2 else "")


def _innermost(error: BaseException) -> str:
    """What really happened, from under the layers of requests and urllib3."""
    seen = 0
    while seen < 10 and (inner := error.__cause__ or error.__context__) is not None:
        error, seen = inner, seen + 1
    return _clean(f"{type(error).__name__}: {error}")


def _clean(text: str) -> str:
    return scrub(" ".join("".join(char if char.isprintable() else " " for char in text).split())[:_SHORT])
