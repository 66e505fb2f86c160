"""Whatever is done to its port, the page stays, tells nothing it should not, and takes little."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.web import front, reader
from tests.agent.rawhttp import CANARY, answer, requests
from tests.agent.webpages import Shown, shown, until

STATUSES = {200, 100, 304, 400, 401, 404, 405, 413, 421, 431, 501}
FUZZED = 10_000


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Shown]:
    with shown(str(tmp_path)) as found:
        yield found


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def statuses(found: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", found, re.MULTILINE)]


@pytest.mark.timeout(180)
def test_ten_thousand_broken_requests_break_nothing_and_learn_nothing(page: Shown, tmp_path: Path) -> None:
    page.sight.beat = time.monotonic() + 600
    page.ask("/metrics")
    threads, opened = threading.active_count(), files()
    told = 0
    sent = list(requests(FUZZED, 20261122, f"127.0.0.1:{page.port}"))
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda data: answer(page.port, data), sent))
    for data, found in zip(sent, answers, strict=True):
        codes = statuses(found)
        told += bool(codes)
        assert not found or found.startswith(b"HTTP/1."), data
        assert set(codes) <= STATUSES, data
        for secret in (
            CANARY.encode(),
            str(tmp_path).encode(),
            b"Traceback",
            b"/agent/",
            b"site-packages",
            b"waitress",
        ):
            assert secret not in found, data
        assert b"server:" not in found.lower(), data
    assert told > FUZZED / 2
    assert page.page.problems() == []
    assert page.ask("/health.json").status == 200
    assert threading.active_count() <= threads  # of other tests some may have ended meanwhile
    until(lambda: files() <= opened, 30)


def test_two_hundred_slow_connections_keep_nobody_from_looking(page: Shown) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(page.connect()) for _ in range(200)]
        for sock in slow:
            with suppress(OSError):  # it had to make room already
                sock.sendall(b"GET / HTTP/1.1\r\nHost: ")
        for _ in range(20):
            began = time.monotonic()
            assert page.ask("/health.json").status == 200
            assert time.monotonic() - began < 1.0
        assert len(page.server.active_channels) <= front.CONNECTIONS


def drip(sock: socket.socket, letters: bytes, pause: float, until_s: float) -> bool:
    """Whether it was closed before the time was over."""
    end = time.monotonic() + until_s
    sock.settimeout(pause)
    for letter in letters:
        if time.monotonic() > end:
            return False
        try:
            sock.sendall(bytes([letter]))
            if sock.recv(1) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_who_drips_is_closed_however_often_a_letter_comes(page: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "READ_S", 0.6)
    with page.connect() as sock:
        assert drip(sock, b"GET / HTTP/1.1\r\nX: " + b"a" * 500, 0.05, 5.0)


def test_who_says_nothing_is_closed_and_so_is_who_has_nothing_more_to_ask(
    page: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "READ_S", 0.3)
    monkeypatch.setattr(reader, "IDLE_S", 0.3)
    with page.connect() as silent, page.connect() as kept:
        assert page.again(kept, "/healthz").status == 200
        assert silent.recv(1) == b""
        assert kept.recv(1) == b""


def test_who_does_not_read_its_answer_is_closed(page: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SEND_S", 0.5)
    large = page.sight.take()
    assert large is not None
    large.data = b"x" * 8_000_000
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", page.port))
        sock.sendall(f"GET /health.json HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        until(lambda: page.server.active_channels)
        until(lambda: not page.server.active_channels)
    assert page.ask("/healthz").status == 200


def test_nothing_wakes_while_nobody_looks(page: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    page.ask("/")
    until(lambda: not page.server.active_channels)
    waits: list[Any] = []
    tend = page.server._tend
    monkeypatch.setattr(page.server, "_tend", lambda now: waits.append(tend(now)) or waits[-1])
    page.ask("/")
    until(lambda: not page.server.active_channels)
    until(lambda: waits[-1] is None)
    before = len(waits)
    time.sleep(1.5)
    assert len(waits) == before


def test_without_a_file_to_spare_it_waits_and_does_not_spin(page: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    page.ask("/")
    until(lambda: not page.server.active_channels)
    real, refused = page.server.socket, []

    class Poor:
        def accept(self) -> Any:
            refused.append(time.monotonic())
            raise OSError(24, "Too many open files")

        def fileno(self) -> int:
            return int(real.fileno())

    monkeypatch.setattr(page.server, "socket", Poor())
    with page.connect() as sock:
        time.sleep(1.5)
        assert 1 <= len(refused) <= 3
        monkeypatch.setattr(page.server, "socket", real)
        assert page.again(sock, "/healthz").status == 200


def test_callers_that_hang_up_at_once_leave_nothing_behind(page: Shown) -> None:
    before = files()
    for _ in range(300):
        with page.connect() as sock:
            sock.sendall(f"GET /health.json HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: not page.server.active_channels)
    until(lambda: files() <= before)
    assert page.page.problems() == []


def asking(page: Shown, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{page.port}", *headers, "", ""]).encode()


def test_who_asks_again_before_the_answer_came_gets_that_answer_and_is_closed(page: Shown) -> None:
    found = page.raw(asking(page, "/healthz") + asking(page, "/nope") * 99)
    assert statuses(found) == [200]
    assert b"\r\nconnection: close\r\n" in found.lower()
    assert found.endswith(b"\r\n\r\nok\n")


def test_an_empty_line_before_or_behind_a_request_is_no_request(page: Shown) -> None:
    with page.connect() as sock:
        for _ in range(3):
            sock.sendall(b"\r\n" + asking(page, "/healthz") + b"\r\n")
            found = b""
            while not found.endswith(b"\r\n\r\nok\n"):
                more = sock.recv(65536)
                assert more
                found += more
            assert statuses(found) == [200]


def hoard(page: Shown, stack: ExitStack, data: bytes) -> socket.socket:
    """Asks, and takes nothing in."""
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", page.port))
    sock.sendall(data)
    return sock


def held(page: Shown) -> int:
    return sum(each.total_outbufs_len for each in list(page.server.active_channels.values()))


def test_whoever_asks_for_hundreds_of_large_answers_at_once_is_given_one_and_keeps_nobody_from_looking(
    page: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SEND_S", 2.0)
    large = page.sight.take()
    assert large is not None
    large.data = b"x" * 3_000_000  # more than what sockets of loopback swallow
    most, end = 0, time.monotonic() + 2.5
    with ExitStack() as stack:
        for _ in range(3):
            hoard(page, stack, asking(page, "/health.json") * 100)
        while time.monotonic() < end:
            began = time.monotonic()
            assert page.ask("/healthz").status == 200
            assert time.monotonic() - began < 1.0
            most = max(most, held(page))
            time.sleep(0.05)
        until(lambda: not page.server.active_channels)
    assert 0 < most < 3 * 3_001_000


def test_what_waits_for_readers_who_do_not_take_it_in_is_bounded_for_all_of_them_together(
    page: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "HELD_BYTES", 5_000_000)
    large = page.sight.take()
    assert large is not None
    large.data = b"x" * 8_000_000
    with ExitStack() as stack:
        for _ in range(4):
            hoard(page, stack, asking(page, "/health.json"))
        assert page.ask("/healthz").status == 200  # by now all of them have been let in
        until(lambda: len(page.server.active_channels) == 1 and held(page) > 0)
        assert len(page.ask("/health.json").body) == 8_000_000  # the last who came is served


def test_a_short_answer_that_came_last_costs_nobody_a_long_one(page: Shown) -> None:
    closed: list[int] = []

    def one(number: int, waits: int) -> SimpleNamespace:
        return SimpleNamespace(since=float(number), total_outbufs_len=waits, handle_close=lambda: closed.append(number))

    of_all = [one(1, front.HELD_BYTES), one(2, front.HELD_BYTES * 2), one(3, 120)]
    shop = SimpleNamespace(active_channels=dict(enumerate(of_all)))
    front.Server._hold_less(shop)  # type: ignore[arg-type]
    assert closed == [1], "the second is alone with so much, and may"


def test_a_thread_that_waits_for_a_reader_is_not_waited_for(page: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were there more to an answer than the watermark, in parts, its reader would still have to get on."""
    monkeypatch.setattr(reader, "SEND_S", 0.5)
    monkeypatch.setattr(page.server.adj, "outbuf_high_watermark", 1_000_000, raising=False)
    application, parts = page.server.application, [b"x" * 1_000_000] * 40

    def endless(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "40000000")])
        return parts

    with ExitStack() as stack:
        page.server.application = endless
        for _ in range(front.THREADS):
            hoard(page, stack, asking(page, "/"))
        until(lambda: len(page.server.active_channels) == front.THREADS)
        until(lambda: held(page) > 1_000_000)
        page.server.application = application
        assert page.ask("/healthz").status == 200


def test_nothing_of_all_this_is_written_to_stderr(page: Shown, capfd: pytest.CaptureFixture[str]) -> None:
    for data in requests(200, 7, "127.0.0.1"):
        answer(page.port, data)
    page.page.stop(1.0)
    found = capfd.readouterr()
    assert (found.out, found.err) == ("", "")
