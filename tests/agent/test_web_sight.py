"""What the page shows is the newest report, in the reader's language where that can be had, and it knows when it is old."""

from __future__ import annotations

import gzip
import json
import threading
import time
from typing import Any

from agent.web.guard import Guard
from agent.web.sight import Content, Sight
from tests.agent.daemons import stamp
from tests.agent.webpages import encoded


def seq(found: Any) -> int:
    return int(json.loads(found.data)["seq"])


def silent() -> Sight:
    return Sight(lambda language: None)


def test_before_the_first_report_there_is_nothing_to_take() -> None:
    assert silent().take() is None
    assert silent().take("zh-CN") is None


def test_the_newest_report_is_taken() -> None:
    sight = silent()
    sight.put("en", encoded(1))
    sight.put("en", encoded(2))
    found = sight.take("en")
    assert found is not None
    assert (seq(found), found.language) == (2, "en")


def test_another_language_is_asked_for_once_and_then_known_until_the_next_report() -> None:
    asked = []

    def want(language: str) -> None:
        asked.append(language)
        sight.put("zh-CN", encoded(5))

    sight = Sight(want)
    sight.put("en", encoded(5))
    first, second = sight.take("zh-CN"), sight.take("zh-CN")
    assert first is second is not None
    assert first.language == "zh-CN"
    assert asked == ["zh-CN"]
    newest = sight.take()
    assert newest is not None
    assert newest.language == "en"


def test_an_answer_that_comes_later_is_waited_for() -> None:
    sight = Sight(lambda language: threading.Timer(0.2, lambda: sight.put("zh-CN", encoded(5))).start())
    sight.put("en", encoded(5))
    found = sight.take("zh-CN")
    assert found is not None
    assert found.language == "zh-CN"


def test_where_nobody_answers_the_newest_is_shown_in_its_own_language_within_a_second_and_a_bit() -> None:
    sight = silent()
    sight.put("en", encoded(5))
    began = time.monotonic()
    found = sight.take("zh-CN")
    assert found is not None
    assert found.language == "en"
    assert time.monotonic() - began < 1.6


def test_a_translation_that_was_overtaken_is_not_taken_for_news() -> None:
    sight = silent()
    late = encoded(5, generated_at=stamp(time.time() - 10))
    sight.put("en", late)
    sight.put("en", encoded(6))
    sight.put("zh-CN", late)
    found = sight.take()
    assert found is not None
    assert (seq(found), found.language) == (6, "en")


def test_after_a_lost_state_file_numbers_begin_anew_and_the_report_is_news() -> None:
    sight = silent()
    sight.put("en", encoded(900, generated_at=stamp(time.time() - 10)))
    sight.put("en", encoded(1))
    found = sight.take()
    assert found is not None
    assert seq(found) == 1


def test_after_the_clock_was_set_back_a_new_number_is_news() -> None:
    sight = silent()
    sight.put("en", encoded(5))
    sight.put("en", encoded(6, generated_at=stamp(time.time() - 3600)))
    found = sight.take()
    assert found is not None
    assert seq(found) == 6


def test_where_no_state_can_be_kept_reports_of_the_same_number_are_told_apart() -> None:
    sight = silent()
    sight.put("zh-CN", encoded(0, generated_at=stamp(time.time() - 10)))
    sight.put("en", encoded(0))
    found = sight.take("zh-CN")
    assert found is not None
    assert found.language == "en"


def test_the_loop_is_never_held_up_by_whoever_is_asked_for_another_language() -> None:
    entered, leave = threading.Event(), threading.Event()

    def want(_: str) -> None:
        entered.set()
        leave.wait(10)

    sight = Sight(want)
    sight.put("en", encoded(1))
    reader = threading.Thread(target=lambda: sight.take("zh-CN"))
    reader.start()
    assert entered.wait(5)
    began = time.monotonic()
    sight.put("en", encoded(2))
    assert time.monotonic() - began < 1.0
    leave.set()
    reader.join(10)


def test_the_agent_is_well_with_a_fresh_report_and_a_loop_that_turns() -> None:
    sight = silent()
    now, wall = time.monotonic(), time.time()
    assert sight.trouble(wall, now) == "no report yet"
    sight.put("en", encoded())
    assert sight.trouble(wall, now) == ""
    assert sight.trouble(wall + 660, now) == "the report has been stale for 60 s"
    sight.beat = now - 31
    assert sight.trouble(wall, now) == "the main loop has stood still for 31 s"


def test_content_is_zipped_where_that_saves_something() -> None:
    small, large = Content(b"ok\n", "text/plain"), Content(b"line\n" * 1000, "text/plain")
    assert small.zipped is None
    assert large.zipped is not None
    assert len(large.zipped) < 100
    assert gzip.decompress(large.zipped) == b"line\n" * 1000
    assert small.etag != large.etag
    assert Content(b"ok\n", "text/plain").etag == small.etag


def test_a_guard_of_a_page_on_loopback_knows_its_names() -> None:
    guard = Guard("127.0.0.1", 9187, ["T01.store.example"])
    assert [guard.knows(host) for host in ("127.0.0.1:9187", "localhost:9187", "LOCALHOST:9187")] == [True] * 3
    assert [guard.knows(host) for host in ("t01.store.example", "t01.Store.example.:8443")] == [True] * 2
    for stranger in (
        "",
        "127.0.0.1",
        "127.0.0.1:9188",
        "127.0.0.1:",
        "127.0.0.1:09187x",
        "127.0.0.2:9187",
        "evil.example:9187",
        "localhost.evil.example:9187",
        "t01.store.example.evil.example",
        "127.0.0.1:9187, evil.example",
        "evil.example, 127.0.0.1:9187",
        "[::1]:9187",
        "0:9187",
        "2130706433:9187",
        "\xe4:9187",
        "127.0.0.1:٩١٨٧",
    ):
        assert not guard.knows(stranger), stranger


def test_a_guard_of_a_page_for_everybody_knows_every_address_and_no_foreign_name() -> None:
    guard = Guard("::", 443)
    assert guard.knows("192.0.2.7")
    assert guard.knows("[2001:db8::1]:443")
    assert guard.knows("[2001:db8::1]")
    assert guard.knows("localhost")
    assert not guard.knows("192.0.2.7:8443")
    assert not guard.knows("evil.example")


def test_a_page_in_the_store_is_not_called_localhost() -> None:
    guard = Guard("192.0.2.10", 9187)
    assert guard.knows("192.0.2.10:9187")
    assert not guard.knows("localhost:9187")


def test_a_token_comes_as_a_bearer_or_as_a_password() -> None:
    guard = Guard("127.0.0.1", 9187, (), "s3crét")
    assert guard.admits("Bearer s3crét".encode().decode("latin-1"))
    assert guard.admits("Basic YW55Ym9keTpzM2Nyw6l0")  # anybody:s3crét
    assert guard.admits("basic  OnMzY3LDqXQ=")  # :s3crét
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic ",
        "Basic !!!",
        "Basic czNjcsOpdA==",
        "Digest s3crét",
    ):
        assert not guard.admits(wrong), wrong
    assert Guard("127.0.0.1", 9187).admits("")
