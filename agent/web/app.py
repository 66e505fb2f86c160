"""What is answered to whom? All that the page serves, and nothing else: read-only, nothing of a request comes back."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.web.guard import WRONG_HOST, Guard
from agent.web.passing import Passing
from agent.web.sight import Content, Sight

if TYPE_CHECKING:
    from agent.texts import Language
    from agent.web.past import Past

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = (
    ("Cache-Control", "no-cache"),
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""Sent with every answer, also with refusals."""
STATUS = {
    200: "200 OK",
    304: "304 Not Modified",
    400: "400 Bad Request",
    401: "401 Unauthorized",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    413: "413 Content Too Large",
    421: "421 Misdirected Request",
    431: "431 Request Header Fields Too Large",
    500: "500 Internal Server Error",
    501: "501 Not Implemented",
    503: "503 Service Unavailable",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
}
TEXT = "text/plain; charset=utf-8"
CHALLENGES = (
    ("WWW-Authenticate", 'Bearer realm="posagent"'),
    ("WWW-Authenticate", 'Basic realm="posagent", charset="UTF-8"'),
)
Environ = Mapping[str, Any]


class Answer(NamedTuple):
    """A status, what is to be read, and headers beside those that are always sent."""

    status: int
    content: Content
    headers: tuple[tuple[str, str], ...] = ()


def text(status: int, line: str, *headers: tuple[str, str]) -> Answer:
    """One line for people."""
    return Answer(status, Content(line.encode(), TEXT), headers)


class App:
    """The WSGI application. Its methods are called from threads of the server."""

    def __init__(self, sight: Sight, guard: Guard, past: Past) -> None:
        self.sight, self.guard, self.past = sight, guard, past
        self.trouble = Passing()
        """What went wrong inside; it should not."""
        self._files: dict[str, tuple[int, Content]] = {}
        self._shipped = {f"/static/{path.relative_to(STATIC).as_posix()}": path for path in _shipped()}
        self._ways: dict[str, Callable[[Environ], Answer]] = {
            "/": lambda _: self._file("/static/index.html"),
            "/health.json": self._health,
            "/healthz": lambda _: self._alive(),
            "/history.json": self._history,
            "/metrics": self._metrics,
        }

    def __call__(self, environ: Environ, start_response: Callable[[str, list[tuple[str, str]]], Any]) -> list[bytes]:
        """Answer one request."""
        try:
            answer = self._answer(environ)
        except Exception as error:  # noqa: BLE001 -- whatever is asked, the agent goes on, and says what happened
            self.trouble.say(f"the page could not answer: {type(error).__name__}: {error}; please report this")
            answer = text(500, "the agent could not answer; `posagent status` says more\n")
        status, headers, body = dress(answer, environ)
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: Environ) -> Answer:
        if not self.guard.knows(environ.get("HTTP_HOST", "")):
            return text(421, WRONG_HOST)
        if not self.guard.admits(environ.get("HTTP_AUTHORIZATION", "")):
            return text(401, "a token is needed: `Authorization: Bearer …`, or as the password\n", *CHALLENGES)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return text(405, "this page is read-only\n", ("Allow", "GET, HEAD"))
        path = environ.get("PATH_INFO", "")
        way = self._ways.get(path)
        return way(environ) if way is not None else self._file(path)

    def _file(self, path: str) -> Answer:
        """What ships with the page, and no other file of this PC."""
        place = self._shipped.get(path)
        if place is None:
            return text(404, "not found\n")
        changed = place.stat().st_mtime_ns
        known = self._files.get(path)
        if known is None or known[0] != changed:
            guessed = TYPES.get(place.suffix) or mimetypes.guess_type(place.name)[0] or "application/octet-stream"
            known = self._files[path] = changed, Content(place.read_bytes(), guessed)
        worker = (("Service-Worker-Allowed", "/"),) if place.name == "sw.js" else ()
        return Answer(200, known[1], worker)

    def _health(self, environ: Environ) -> Answer:
        served = self.sight.take(_language(environ))
        if served is None:
            return text(503, "no report yet\n", ("Retry-After", "2"))
        return Answer(200, served, (("Content-Language", served.language),))

    def _alive(self) -> Answer:
        trouble = self.sight.trouble(time.time(), time.monotonic())
        return text(503, f"{trouble}\n") if trouble else text(200, "ok\n")

    def _history(self, environ: Environ) -> Answer:
        served = self.sight.take(None)
        language = _language(environ) or (served.language if served else "en")
        return Answer(200, self.past.content(language))

    def _metrics(self, environ: Environ) -> Answer:
        import msgspec

        from agent import metrics

        served = self.sight.take(None)
        report = msgspec.json.decode(served.data) if served else {}
        openmetrics = "application/openmetrics-text" in environ.get("HTTP_ACCEPT", "")
        own = {**metrics.own_numbers(), **self.sight.counts}
        body = metrics.render(report, own, openmetrics=openmetrics)
        type = metrics.OPENMETRICS if openmetrics else metrics.TEXT
        return Answer(200, Content(body, type), (("Vary", "Accept"),))


def dress(answer: Answer, environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
    """Status line, headers, body: zipped where the reader takes it, nothing where the reader has it."""
    status, content, headers = answer.status, answer.content, [*ALWAYS, *answer.headers]
    body = content.data
    if status == 200:
        headers += [("ETag", content.etag), ("Vary", "Accept-Encoding")]
        if _has(environ.get("HTTP_IF_NONE_MATCH", ""), content.etag):
            return STATUS[304], headers, b""
        zipped = content.zipped if _takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")) else None
        if zipped is not None:
            body = zipped
            headers.append(("Content-Encoding", "gzip"))
    headers += [("Content-Type", content.type), ("Content-Length", str(len(body)))]
    return STATUS[status], headers, body


def _has(known: str, etag: str) -> bool:
    names = {name.strip().removeprefix("W/") for name in known.split(",")}
    return "*" in names or etag.removeprefix("W/") in names


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _language(environ: Environ) -> Language | None:
    wanted = environ.get("QUERY_STRING", "").split("&")
    return "zh-CN" if "lang=zh-CN" in wanted else "en" if "lang=en" in wanted else None


def _shipped() -> Iterable[Path]:
    if STATIC.is_dir():
        yield from (path for path in STATIC.rglob("*") if path.is_file() and not path.name.startswith("."))
