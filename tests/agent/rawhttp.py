"""Requests that no browser would send: from nearly right to noise. The same seed gives the same ones."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

CANARY = "c4n4ry"
"""Stands in the paths and headers of every request: no answer may repeat it."""
METHODS = ["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "TRACE", "CONNECT", "get", "", "G" * 300, "\x00", "PRI"]
PATHS = [
    "/",
    "/health.json",
    "/health.json?lang=zh-CN",
    "/healthz",
    "/history.json",
    "/metrics",
    "/static/index.html",
    f"/{CANARY}",
    f"/static/../../{CANARY}",
    f"/static/%2e%2e/%2e%2e/{CANARY}/etc/passwd",
    f"/static/..\\..\\{CANARY}",
    f"/%00{CANARY}",
    f"/%ff%fe/{CANARY}",
    f"/é中/{CANARY}",
    f"//{CANARY}//",
    f"http://{CANARY}.example/",
    f"/?{CANARY}={CANARY}&lang=en&" + "a=b&" * 200,
    f"*{CANARY}",
    "",
    f"/%{CANARY}%zz",
    f"/{CANARY}" + "a" * 3000,
    f"/{CANARY}" + "/.." * 500,
    f"/health.json;{CANARY}#x",
]
VERSIONS = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.1 ", "http/1.1", "", "X"]
HEADERS = [
    "Host: {host}",
    "Host: {host}",
    "Host: {host}",
    f"Host: {CANARY}.example",
    "Host:",
    "Connection: close",
    "Connection: keep-alive",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999999",
    "Content-Length: 1, 1",
    "Content-Length: " + "9" * 5000,
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    f"Transfer-Encoding: {CANARY}",
    "Expect: 100-continue",
    f"Expect: {CANARY}",
    "Accept-Encoding: gzip;q=" + "9" * 300,
    "Accept-Encoding: ,,;;gzip;;",
    'If-None-Match: *, W/"x", ,"',
    "Authorization: Basic " + "A" * 500,
    f"Authorization: Bearer {CANARY}",
    "Authorization: Basic ===",
    "Accept: application/openmetrics-text",
    f"X-{CANARY}: {CANARY}",
    f"X_{CANARY}: 1",
    f" folded {CANARY}",
    f"no colon {CANARY}",
    f": {CANARY}",
    "Range: bytes=0-1",
    "Upgrade: websocket",
    f"X-Forwarded-For: {CANARY}",
    f"Forwarded: for={CANARY};host={CANARY}",
    "X-Long: " + "a" * 9000,
    "X-Nul: \x00\x01\x7f",
    "Cookie: " + "a=b; " * 100,
]
BODIES = ["", "", "", "hello", "5\r\nhello\r\n0\r\n\r\n", "zz\r\n", f"{CANARY}" * 50, "\x00" * 100]
ENDS = ["\r\n"] * 12 + ["\n", "\r", "\r\r\n", "\n\r"]


def requests(count: int, seed: int, host: str) -> Iterator[bytes]:
    """That many: put together from parts, then half of them damaged."""
    chance = random.Random(seed)
    for _ in range(count):
        data = _composed(chance, host)
        if chance.random() < 0.5:
            data = _damaged(chance, data)
        yield data


def _composed(chance: random.Random, host: str) -> bytes:
    end = chance.choice(ENDS)
    first = f"{chance.choice(METHODS)} {chance.choice(PATHS)} {chance.choice(VERSIONS)}"
    some = [each.format(host=host) for each in chance.sample(HEADERS, chance.randint(0, 5))]
    if chance.random() < 0.7:
        some.insert(0, f"Host: {host}")
    return (end.join([first, *some, "", ""]) + chance.choice(BODIES)).encode("utf-8")


def _damaged(chance: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        how = chance.randrange(5)
        if how == 0:
            found[at:at] = chance.randbytes(chance.randint(1, 8))
        elif how == 1:
            del found[at : at + chance.randint(1, 20)]
        elif how == 2:
            found[at:at] = found[max(0, at - 30) : at] * chance.randint(1, 5)
        elif how == 3:
            found[at : at + 1] = bytes([chance.randrange(256)])
        else:
            found[at:at] = b"\r\n\r\n"
    if chance.random() < 0.1:
        return chance.randbytes(chance.randint(1, 2000))
    return bytes(found)


def answer(port: int, data: bytes, patience: float = 0.01) -> bytes:
    """What comes back in a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        found = b""
        try:
            sock.sendall(data)
            sock.settimeout(patience)
            while more := sock.recv(65536):
                found += more
        except OSError:
            pass  # nothing more comes, or it was closed
        return found
