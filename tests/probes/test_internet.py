"""internet: several anchors at once, and captive portals of every manner."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import endpoints
from probes.host import Host, portal, tcp
from probes.host.portal import NoPage, Page
from probes.internet import ANCHORS, KIND, PORTAL_BODY, PORTAL_URL, InternetSettings, Reading
from probes.model import Status
from tests.probes.streams import Talk, closed, hangs_up, says, serving, stalls

APPLE = f"<HTML><HEAD><TITLE>Success</TITLE></HEAD>{PORTAL_BODY}</HTML>"
GOOD_PAGE = Page(200, "", APPLE)
LOGIN = Page(302, "http://login.isp.example/", "")


def settings(**given: object) -> InternetSettings:
    return InternetSettings(**{"kind": "internet", **given})  # type: ignore[arg-type]


def reading(alive: int, dead: int, page: Page | None = None, outcome: str = tcp.TIMEOUT) -> Reading:
    return Reading(
        {f"192.0.2.{number}:443": 0.02 for number in range(alive)},
        {f"198.51.100.{number}:443": outcome for number in range(dead)},
        page,
        "" if page else "no answer",
    )


def judge(seen: Reading, **given: object) -> tuple[Status, str]:
    observation = KIND.judge(settings(**given), seen, {})
    assert observation.reason == "ok" or observation.reason in KIND.reasons
    return observation.status, observation.reason


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(reading(5, 0, GOOD_PAGE), (Status.OK, "ok"), id="all alive"),
        pytest.param(reading(5, 0), (Status.OK, "ok"), id="the page's server is down, which proves nothing"),
        pytest.param(reading(4, 1, GOOD_PAGE), (Status.OK, "ok"), id="one dead anchor is not the internet"),
        pytest.param(reading(1, 1), (Status.OK, "ok"), id="one dead of two"),
        pytest.param(reading(3, 2), (Status.OK, "ok"), id="a country's filter"),
        pytest.param(reading(2, 2), (Status.WARN, "internet.partial"), id="half"),
        pytest.param(reading(1, 4, GOOD_PAGE), (Status.WARN, "internet.partial"), id="most"),
        pytest.param(reading(0, 5), (Status.FAIL, "internet.unreachable"), id="all dead"),
        pytest.param(reading(0, 1), (Status.FAIL, "internet.unreachable"), id="the only one dead"),
        pytest.param(reading(0, 5, GOOD_PAGE), (Status.WARN, "internet.partial"), id="only web pages get through"),
        pytest.param(reading(0, 5, Page(204)), (Status.WARN, "internet.partial"), id="only 204 gets through"),
        pytest.param(reading(5, 0, LOGIN), (Status.FAIL, "internet.captive_portal"), id="redirected, TCP works"),
        pytest.param(reading(0, 5, LOGIN), (Status.FAIL, "internet.captive_portal"), id="redirected, TCP blocked"),
        pytest.param(
            reading(5, 0, Page(200, "", "<html>Sign in. Success!")),
            (Status.FAIL, "internet.captive_portal"),
            id="a page",
        ),
        pytest.param(reading(5, 0, Page(200)), (Status.FAIL, "internet.captive_portal"), id="an empty page"),
        pytest.param(reading(5, 0, Page(511)), (Status.FAIL, "internet.captive_portal"), id="511 says so itself"),
        pytest.param(reading(5, 0, Page(403)), (Status.FAIL, "internet.captive_portal"), id="forbidden"),
        pytest.param(reading(5, 0, Page(503)), (Status.OK, "ok"), id="the page's server is in trouble"),
        pytest.param(reading(0, 5, Page(502)), (Status.FAIL, "internet.unreachable"), id="a gateway's error, all dead"),
    ],
)
def test_what_anchors_and_page_mean(seen: Reading, expected: tuple[Status, str]) -> None:
    assert judge(seen) == expected


def test_this_pcs_own_firewall_is_a_measurement() -> None:
    observation = KIND.judge(settings(), reading(0, 3, outcome=tcp.BLOCKED_HERE), {})
    assert observation.measurements["blocked_here"] is True


def http(status: str, body: str = "", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def look(talk: Talk, seconds: float = 2.0) -> tuple[Status, str]:
    with serving(hangs_up) as anchor, serving(talk) as page:
        given = {"anchors": (f"127.0.0.1:{anchor}",), "portal_url": f"http://127.0.0.1:{page}/generate_204?a=1"}
        began = time.monotonic()
        seen = KIND.read(settings(**given), Host(ends=began + seconds))
        assert time.monotonic() - began < seconds
    return judge(seen, **given)


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        pytest.param(says(http("204 No Content")), "ok", id="204"),
        pytest.param(says(http("200 OK", APPLE)), "ok", id="the expected page"),
        pytest.param(says(b"HTTP/1.0 200 OK\n\n", APPLE.encode()), "ok", id="bare line ends, in two pieces"),
        pytest.param(says(http("302 Found", "", "Location: http://login/\r\n")), "internet.captive_portal", id="302"),
        pytest.param(says(http("200 OK", "<html>pay first")), "internet.captive_portal", id="a page of its own"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n"), "ok", id="no HTTP proves nothing"),
        pytest.param(hangs_up, "ok", id="hangs up"),
    ],
)
def test_the_page_is_fetched_and_weighed(talk: Talk, expected: str) -> None:
    assert look(talk)[1] == expected


def test_a_stalling_page_costs_its_deadline_and_no_more() -> None:
    assert look(stalls, 0.7) == (Status.OK, "ok")


def test_a_dripping_page_costs_its_deadline_and_no_more() -> None:
    def drips(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n<html>Sign in")
        for _ in range(100):
            time.sleep(0.05)
            peer.sendall(b".")

    assert look(drips, 0.7) == (Status.FAIL, "internet.captive_portal")


def test_an_endless_page_is_cut_off() -> None:
    def floods(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.sendall(b"x" * 65536)

    with serving(floods) as port:
        page = portal.get(Host(ends=time.monotonic() + 2), f"http://127.0.0.1:{port}/")
    assert len(page.body) < 100_000


def test_anchors_are_tried_all_at_once() -> None:
    with serving(hangs_up) as alive, closed() as refused:
        given = {
            "anchors": (f"127.0.0.1:{alive}", f"127.0.0.1:{refused}", "a..example:443"),
            "portal_url": "",
        }
        seen = KIND.read(settings(**given), Host(ends=time.monotonic() + 3))
    assert list(seen.alive) == [f"127.0.0.1:{alive}"]
    assert seen.dead[f"127.0.0.1:{refused}"] == tcp.REFUSED
    assert seen.dead["a..example:443"].startswith("unresolved")
    assert seen.page is None


def test_no_page_is_asked_when_there_is_no_url() -> None:
    observation = KIND.judge(settings(portal_url=""), Reading({"192.0.2.1:443": 0.1}, {}), {})
    assert observation.evidence == ()


@given(st.binary(max_size=400))
def test_whatever_comes_back_is_a_page_or_none(data: bytes) -> None:
    with contextlib.suppress(NoPage):
        portal.parse(data)
    portal._is_whole(data)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"HTTP/1.1 302 x\r\nLocation: ", b"HTTP/1.0 200\n\n", b"HTTP/1.1 200\r\nContent-Length:"]),
)
def test_whatever_follows_a_status_line_is_a_page(data: bytes, head: bytes) -> None:
    assert portal.parse(head + data).status in (200, 302)
    portal._is_whole(head + data)


def test_card_data_in_a_page_stops_at_the_door() -> None:
    page = portal.parse(b"HTTP/1.1 302 x\r\nLocation: http://pay/?n=4111111111111111\r\n\r\n4111 1111 1111 1111")
    assert "411111" not in page.location
    assert "4111 1111 1111" not in page.body


def test_the_default_anchors_are_addresses_in_several_places() -> None:
    assert len({endpoints.split(anchor)[0] for anchor in ANCHORS}) >= 4
    assert all(endpoints.is_address(endpoints.split(anchor)[0]) for anchor in ANCHORS)
    assert list(KIND.problems(settings())) == []
    assert PORTAL_URL.startswith("http://")


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"anchors": ()}, "anchors"),
        ({"anchors": ("192.0.2.1",)}, "anchors"),
        ({"anchors": ("192.0.2.1:443",) * 17}, "anchors"),
        ({"anchors": ("192.0.2.1:443", "2001:db8::1:443")}, "anchors"),
        ({"portal_url": "http://user:secret@host/"}, "portal_url"),
        ({"portal_url": "http://host:99999/"}, "portal_url"),
    ],
)
def test_settings_that_cannot_work_are_named(given: dict[str, object], key: str) -> None:
    assert [problem[0] for problem in KIND.problems(settings(**given))] == [key]


@given(st.text(max_size=40))
def test_any_text_is_an_endpoint_or_a_clear_refusal(text: str) -> None:
    try:
        host, port = endpoints.split(text, 53)
    except ValueError as error:
        assert "host:port" in str(error)
    else:
        assert host
        assert endpoints.split(endpoints.join(host, port)) == (host, port)
