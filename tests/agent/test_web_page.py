"""The page answers what it should, to whom it should, and the agent outlives whatever keeps it from that."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.config.secret import Secret
from agent.config.web import Web
from agent.incidents import Incident
from agent.state import Transition
from agent.store import Batch, Note, Store
from agent.web import Page, Sight, app
from agent.web.past import Past
from probes.model import Status
from tests.agent.daemons import stamp
from tests.agent.webpages import Shown, encoded, free_port, shown, until

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def test_every_answer_is_fenced_in_and_says_nothing_of_who_serves_it() -> None:
    with shown() as page:
        for path, status in (("/", 200), ("/health.json", 200), ("/healthz", 200), ("/nope", 404)):
            got = page.ask(path)
            assert got.status == status
            assert got.headers["content-security-policy"] == POLICY
            assert got.headers["x-content-type-options"] == "nosniff"
            assert got.headers["referrer-policy"] == "no-referrer"
            assert got.headers["cross-origin-resource-policy"] == "same-origin"
            assert got.headers["cross-origin-opener-policy"] == "same-origin"
            assert got.headers["x-frame-options"] == "DENY"
            assert got.headers["cache-control"] == "no-cache"
            assert not {"server", "via", "access-control-allow-origin"} & set(got.headers)


def test_the_report_is_served_as_it_was_written_and_named_so_that_it_is_sent_once() -> None:
    with shown() as page:
        report = encoded(7)
        page.sight.put("en", report)
        got = page.ask("/health.json")
        assert got.body == report
        assert got.headers["content-type"] == "application/json"
        assert got.headers["content-language"] == "en"
        again = page.ask("/health.json", {"If-None-Match": got.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == got.headers["etag"]
        assert page.ask("/health.json", {"If-None-Match": '"other", ' + got.headers["etag"]}).status == 304
        page.sight.put("en", encoded(8))
        assert page.ask("/health.json", {"If-None-Match": got.headers["etag"]}).status == 200


def test_the_report_is_zipped_for_who_takes_that() -> None:
    with shown() as page:
        report = encoded(7)
        page.sight.put("en", report)
        got = page.ask("/health.json", {"Accept-Encoding": "br, gzip"})
        assert got.headers["content-encoding"] == "gzip"
        assert got.headers["vary"] == "Accept-Encoding"
        assert gzip.decompress(got.body) == report
        for accepted in ("", "br", "gzip;q=0", "gzip ; q=0.0, *;q=0"):
            assert page.ask("/health.json", {"Accept-Encoding": accepted}).body == report


def test_a_reader_of_the_other_language_gets_it() -> None:
    with shown() as page:
        report = encoded(9)
        page.sight.put("zh-CN", report)
        page.sight.put("en", report)
        assert page.ask("/health.json?lang=zh-CN").headers["content-language"] == "zh-CN"
        assert page.ask("/health.json?x=1&lang=en").headers["content-language"] == "en"
        assert page.ask("/health.json?lang=tlh").headers["content-language"] == "zh-CN"


def test_a_head_has_the_headers_of_a_get_and_no_body() -> None:
    with shown() as page:
        got, head = page.ask("/health.json"), page.ask("/health.json", method="HEAD")
        assert head.status == 200
        assert head.body == b""
        assert head.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW"])
def test_it_is_read_only(method: str) -> None:
    with shown() as page:
        got = page.ask("/health.json", method=method)
        assert got.status in (400, 405)
        if got.status == 405:
            assert got.headers["allow"] == "GET, HEAD"


def test_a_body_is_not_taken() -> None:
    with shown() as page:
        assert page.ask("/health.json", body=b"x", method="POST").status == 413
        chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        assert page.raw(chunked).startswith(b"HTTP/1.1 413 ")


def test_before_the_first_report_it_says_so() -> None:
    with shown() as page:
        page.server.application.sight = Sight(lambda language: None)
        assert page.ask("/health.json").status == 503
        assert page.ask("/healthz").text == "no report yet\n"
        assert page.ask("/").status == 200
        assert page.ask("/metrics").status == 200


def test_healthz_is_a_watchdog_of_the_agent() -> None:
    with shown() as page:
        assert (page.ask("/healthz").status, page.ask("/healthz").text) == (200, "ok\n")
        page.sight.beat = time.monotonic() - 45
        got = page.ask("/healthz")
        assert (got.status, got.text) == (503, "the main loop has stood still for 45 s\n")
        page.sight.beat = time.monotonic()
        page.sight.put("en", encoded(2, valid_until=stamp(time.time() - 61)))
        assert page.ask("/healthz").text == "the report has been stale for 61 s\n"


def test_metrics_come_in_both_notations_with_what_the_agent_counts() -> None:
    with shown() as page:
        page.sight.counts = {"notices_waiting": 3.0}
        plain = page.ask("/metrics")
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "posagent_report_seq 1" in plain.text
        accept = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"}
        opened = page.ask("/metrics", accept)
        assert opened.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert opened.text.endswith("# EOF\n")


def test_what_ships_is_served_and_nothing_else() -> None:
    with shown() as page:
        names = [path.relative_to(app.STATIC).as_posix() for path in app.STATIC.rglob("*") if path.is_file()]
        assert "index.html" in names
        for name in names:
            got = page.ask(f"/static/{name}")
            assert (got.status, got.body) == (200, (app.STATIC / name).read_bytes())
        assert page.ask("/").body == (app.STATIC / "index.html").read_bytes()
        for path in (
            "/static/",
            "/static",
            "/static/../app.py",
            "/static/..%2fapp.py",
            "/static/%2e%2e/app.py",
            "/static//etc/passwd",
            "/static/index.html/",
            "/static/index.html%00",
            "/static/INDEX.HTML",
            "/app.py",
            "/..",
            "/\u00e9".encode().decode("latin-1"),
        ):
            data = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nConnection: close\r\n\r\n".encode("latin-1")
            found = page.raw(data)
            assert found.startswith((b"HTTP/1.1 404 ", b"HTTP/1.0 400 ", b"HTTP/1.1 400 ")), (path, found[:80])


def test_a_foreign_host_is_turned_away_before_anything_else_is_looked_at() -> None:
    with shown(hosts=("t01.store.example",), token=Secret(env="TOKEN"), env={"TOKEN": "s3cret"}) as page:
        bearer = {"Authorization": "Bearer s3cret"}
        assert page.ask("/", {"Host": "evil.example", **bearer}).status == 421
        assert page.ask("/", {"Host": "t01.store.example", **bearer}).status == 200
        assert page.ask("/", {"Host": f"localhost:{page.port}", **bearer}).status == 200
        assert page.raw(b"GET / HTTP/1.1\r\n\r\n", 1.0).startswith(b"HTTP/1.1 421 ")
        twice = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nHost: evil.example\r\n\r\n".encode()
        assert page.raw(twice, 1.0).startswith(b"HTTP/1.1 421 ")


def test_a_token_is_asked_for_everywhere() -> None:
    with shown(token=Secret(env="TOKEN"), env={"TOKEN": "s3cret"}) as page:
        for path in ("/", "/static/index.html", "/health.json", "/history.json", "/metrics", "/healthz", "/nope"):
            got = page.ask(path)
            assert got.status == 401
            assert "Basic" in got.headers["www-authenticate"]
            assert page.ask(path, {"Authorization": "Bearer S3cret"}).status == 401
            assert page.ask(path, {"Authorization": "Bearer s3cret"}).status in (200, 404)


def test_a_connection_is_kept_for_who_asks_again() -> None:
    with shown() as page, page.connect() as sock:
        for _ in range(3):
            assert page.again(sock, "/healthz").text == "ok\n"


# --- the past ---------------------------------------------------------------------------------------------------------


def incident(id: str, opened_at: float, resolved_at: float | None, **more: Any) -> Incident:
    return Incident(
        id=id,
        cause="lan.cable_unplugged",
        party="store",
        category="network",
        confidence="certain",
        fingerprint="f" * 16,
        impact="stop",
        began_at=opened_at - 10,
        opened_at=opened_at,
        resolved_at=resolved_at,
        **more,
    )


def change(probe: str, at: float, old: Status | None, new: Status) -> Transition:
    return Transition(probe=probe, at=at, old=old, new=new, reason="x")


def test_the_last_day_and_the_last_month_are_told(tmp_path: Path) -> None:
    now = time.time()
    today = time.strftime("%Y-%m-%d", time.localtime(now))
    store = Store(tmp_path / "state.sqlite")
    store.save(
        Batch(
            transitions=[
                change("disk", now - 200_000, None, Status.OK),
                change("disk", now - 90_000, Status.OK, Status.WARN),
                change("disk", now - 3600, Status.WARN, Status.OK),
                change("young", now - 7200, None, Status.FAIL),
                change("quiet", now - 300_000, None, Status.OK),
            ],
            availability=[
                (today, "disk", 3600.4, 60.0, 0.0),
                ("2001-01-01", "disk", 1.0, 1.0, 1.0),
                (today, "counted", 5.0, 0.0, 0.0),
            ],
            incidents=[
                incident("A", now - 5000, now - 4000, headline="Cable pulled out"),
                incident("B", now - 3000, now - 2000),
                incident("OPEN", now - 1000, None),
            ],
        )
    )
    store.add_note(Note(incident="A", at=now - 4500, by="Li", text="on my way"))
    store.close()
    with shown(str(tmp_path)) as page:
        got = json.loads(page.ask("/history.json?lang=en").body)
        chinese = json.loads(page.ask("/history.json?lang=zh-CN").body)
    assert "problem" not in got
    since = got["since"]
    assert got["probes"]["disk"] == {
        "changes": [{"at": since, "status": "warn"}, {"at": stamp(now - 3600), "status": "ok"}],
        "days": [{"day": today, "good_s": 3600, "bad_s": 60, "blind_s": 0}],
    }
    assert got["probes"]["young"]["changes"] == [
        {"at": since, "status": None},
        {"at": stamp(now - 7200), "status": "fail"},
    ]
    assert got["probes"]["quiet"]["changes"] == [{"at": since, "status": "ok"}]
    assert got["probes"]["counted"]["changes"] == [{"at": since, "status": None}]
    assert [each["id"] for each in got["incidents"]] == ["B", "A"]
    assert got["incidents"][1] == {
        "id": "A",
        "cause": "lan.cable_unplugged",
        "title": "Cable pulled out",
        "party": "store",
        "opened_at": stamp(now - 5000),
        "resolved_at": stamp(now - 4000),
        "acknowledged": {"by": "Li", "at": stamp(now - 4500), "note": "on my way"},
    }
    assert got["incidents"][0]["acknowledged"] is None
    assert chinese["incidents"][1]["title"] != "Cable pulled out"


def test_a_past_that_cannot_be_read_is_empty_and_says_so_without_naming_a_path(tmp_path: Path) -> None:
    for state in (None, str(tmp_path), str(tmp_path / "nowhere")):
        with shown(state) as page:
            got = page.ask("/history.json")
            assert got.status == 200
            assert str(tmp_path) not in got.text
            assert json.loads(got.body)["probes"] == {}
            assert json.loads(got.body)["problem"]
    (tmp_path / "state.sqlite").write_bytes(b"not a database at all" * 100)
    with shown(str(tmp_path)) as page:
        assert json.loads(page.ask("/history.json").body)["problem"] == "the state file cannot be read just now"


def test_the_state_file_is_asked_once_however_many_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path / "state.sqlite").close()
    past = Past(str(tmp_path))
    first = past.content("en")
    assert past.content("en") is first
    monkeypatch.setattr("agent.web.past.FRESH_S", 0.0)
    assert past.content("en") is not first


# --- opening, closing, reloading --------------------------------------------------------------------------------------


def page_on(port: int, **settings: Any) -> Page:
    return Page(Web(listen=f"127.0.0.1:{port}", **settings), Sight(lambda language: None), None, {})


def test_a_port_in_use_is_a_problem_and_tried_again_every_half_minute() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        page = page_on(port)
        page.start()
        [problem] = page.problems()
        assert problem == f"no status page: cannot listen on 127.0.0.1:{port}: Address already in use"
        page.tend(100.0)
        assert page.problems()
    page.tend(129.0)
    assert page.problems()
    page.tend(130.1)
    assert page.problems() == []
    page.stop(1.0)


def test_an_address_that_is_not_here_is_a_problem() -> None:
    page = Page(Web(listen="192.0.2.77:9187"), Sight(lambda language: None), None, {})
    page.start()
    assert page.problems() == ["no status page: cannot listen on 192.0.2.77:9187: Cannot assign requested address"]
    page.stop(1.0)


def test_without_its_token_there_is_no_page_rather_than_an_open_one() -> None:
    page = page_on(free_port(), token=Secret(env="TOKEN"))
    page.start()
    [problem] = page.problems()
    assert problem.startswith("no status page: cannot read secret")
    assert page._server is None


def test_no_page_is_wanted() -> None:
    page = Page(Web(listen=""), Sight(lambda language: None), None, {})
    page.start()
    page.tend(100.0)
    assert page.problems() == []
    page.stop(1.0)


def test_a_closed_page_is_gone_and_can_be_opened_again_at_once() -> None:
    with shown() as page:
        page.ask("/")
        idle = page.connect()
        began = time.monotonic()
        page.page.stop(1.0)
        assert time.monotonic() - began < 0.9
        with pytest.raises(ConnectionRefusedError):
            page.connect()
        idle.close()
        page.page.start()
        assert page.ask("/healthz").status == 200


def test_what_is_being_answered_when_it_closes_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown() as page:
        monkeypatch.setattr(page.sight, "trouble", lambda wall, now: time.sleep(0.4) or "slept well")
        with page.connect() as sock:
            sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
            time.sleep(0.15)
            page.page.stop(2.0)
            assert b"slept well" in sock.recv(65536)


def test_a_reload_changes_names_and_token_without_closing_the_door() -> None:
    with shown(token=Secret(env="OLD"), env={"OLD": "old", "NEW": "new"}) as page, page.connect() as sock:
        server = page.server
        assert page.again(sock, "/").status == 401
        settings = Web(listen=f"127.0.0.1:{page.port}", token=Secret(env="NEW"), hosts=("t01.store.example",))
        page.page.arrange(settings)
        assert page.server is server
        assert page.ask("/", {"Authorization": "Bearer old"}).status == 401
        assert page.ask("/", {"Authorization": "Bearer new", "Host": "t01.store.example"}).status == 200
        assert page.again(sock, "/", "Authorization: Bearer new").status == 200
        page.page.arrange(Web(listen=f"127.0.0.1:{page.port}", token=Secret(env="GONE")))
        assert page.page.problems()
        with pytest.raises(ConnectionRefusedError):
            page.connect()


def test_a_reload_moves_it_to_another_port_or_switches_it_off() -> None:
    with shown() as page:
        old, new = page.port, free_port()
        page.page.arrange(Web(listen=f"127.0.0.1:{new}"))
        page.port = new
        assert page.ask("/healthz").status == 200
        page.port = old
        with pytest.raises(ConnectionRefusedError):
            page.connect()
        page.page.arrange(Web(listen=""))
        page.port = new
        with pytest.raises(ConnectionRefusedError):
            page.connect()
        assert page.page.problems() == []


def test_an_answer_that_fails_is_a_problem_of_the_agent_and_tells_the_reader_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with shown() as page:
        monkeypatch.setattr(page.sight, "take", lambda language=None: 1 / 0)
        got = page.ask("/health.json")
        assert got.status == 500
        assert "Zero" not in got.text
        assert page.page.problems() == [
            "the page could not answer: ZeroDivisionError: division by zero; please report this"
        ]
        assert page.ask("/healthz").status == 200


def test_a_server_that_dies_is_opened_again_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown() as page:
        monkeypatch.setattr(page.server, "_tend", lambda now: 1 / 0)
        with pytest.raises((OSError, Exception)):
            page.ask("/healthz")
        until(lambda: not page.server.alive)
        page.page.tend(time.monotonic() + 100)
        assert page.page.problems() == [
            "the status page failed and was opened again: ZeroDivisionError: division by zero"
        ]
        assert page.ask("/healthz").status == 200


def test_what_failed_and_went_on_is_told_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown() as page, monkeypatch.context() as broken:
        broken.setattr(page.sight, "take", lambda language=None: 1 / 0)
        broken.setattr(page.server, "_tend", lambda now: 1 / 0)
        until(lambda: broke(page) and not page.server.alive)
        page.page.tend(time.monotonic() + 100)
        page.ask("/health.json")
        broken.undo()
        told = [
            "the status page failed and was opened again: ZeroDivisionError: division by zero",
            "the page could not answer: ZeroDivisionError: division by zero; please report this",
        ]
        assert page.page.problems() == told
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + 590)
        assert page.page.problems() == told
        monkeypatch.setattr(time, "monotonic", lambda: real() + 600)
        assert page.page.problems() == []


def broke(page: Shown) -> bool:
    """The server comes round when somebody calls."""
    with suppress(OSError):
        page.connect().close()
    return True


def test_a_reload_is_the_end_of_what_failed_and_went_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown() as page, monkeypatch.context() as broken:
        broken.setattr(page.sight, "take", lambda language=None: 1 / 0)
        broken.setattr(page.server, "_tend", lambda now: 1 / 0)
        until(lambda: broke(page) and not page.server.alive)
        page.page.tend(time.monotonic() + 100)
        page.ask("/health.json")
        assert len(page.page.problems()) == 2
        page.page.arrange(page.page._settings)
        assert page.page.problems() == []


@pytest.mark.parametrize("had", [0, 1, 2])
def test_without_threads_to_be_had_there_is_no_page_and_nothing_is_left_behind(
    had: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the three that a page needs."""
    port, start = free_port(), threading.Thread.start
    began: list[threading.Thread] = []

    def scarce(thread: threading.Thread) -> None:
        if len(began) >= had:
            raise RuntimeError("can't start new thread")
        began.append(thread)
        start(thread)

    page = page_on(port)
    files, running = len(os.listdir("/proc/self/fd")), threading.active_count()
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", scarce)
        before = time.monotonic()
        page.start()
        assert time.monotonic() - before < 0.5
    assert len(began) == had
    assert page.problems() == ["no status page: cannot start its threads: can't start new thread"]
    until(lambda: threading.active_count() == running)
    assert len(os.listdir("/proc/self/fd")) == files
    page.tend(time.monotonic() + 100)
    try:
        assert page.problems() == []
        assert Shown(page, page.sight, port).ask("/healthz").status == 503
    finally:
        page.stop(1.0)
