"""The status page in a real browser: what the shop sees, in every state, and what the page never does.

Needs Debian's chromium and fonts-noto-cjk, and axe-core from npm under the environment's own folder (see AXE).
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from agent.report import encode
from tests.lab import sights
from tests.lab.daemon import Till
from tests.lab.glass import Glass, browser, free_port

AXE = Path(sys.prefix) / "node/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NO_ANSWER = "net::ERR_CONNECTION_REFUSED"
STARTING = "status of 503"
pytestmark = pytest.mark.timeout(120)


class Eyes:
    """A browser's window at the page, and everything it noticed."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.forgiven: tuple[str, ...] = ()
        page.on("console", lambda each: self.errors.append(each.text) if each.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.context.on("request", lambda request: self.asked.append(request.url))
        page.add_init_script(
            "window.broken = []; addEventListener('securitypolicyviolation', e => broken.push(e.violatedDirective))"
        )

    def look(self, glass: Glass, mode: str) -> None:
        """Open the page and wait until it says so."""
        self.page.goto(glass.url)
        self.until(mode)

    def until(self, mode: str) -> None:
        expect(self.page.locator("main")).to_have_attribute("data-mode", mode, timeout=25_000)

    def text(self, selector: str) -> str:
        return " ".join(self.page.locator(selector).first.inner_text().split())

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return wider

    def faults(self) -> list[str]:
        """What axe finds, one line each."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate(
            "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})", RULES
        )
        return [
            f"{each['id']}: {node['html'][:120]}: {node['failureSummary'][:200]}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    def check_manners(self) -> None:
        """Whatever was shown: no error, no request that leaves this PC, nothing against the page's own policy."""
        left = [text for text in self.errors if not any(word in text for word in self.forgiven)]
        assert left == []
        away = [url for url in self.asked if not url.startswith(("http://127.0.0.1:", "data:"))]
        assert away == []
        assert self.asked
        if self.page.url.startswith("http"):
            assert self.page.evaluate("window.broken") == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert AXE.exists(), f"npm install --no-save --ignore-scripts --prefix {sys.prefix}/node axe-core@4"
    os.environ["PW_EXPERIMENTAL_SERVICE_WORKER_NETWORK_EVENTS"] = "1"
    with browser() as found:
        yield found


@pytest.fixture
def glass() -> Iterator[Glass]:
    with Glass() as opened:
        yield opened


@pytest.fixture
def open_eyes(chromium: Browser) -> Iterator[Callable[..., Eyes]]:
    """Windows of any size and language, each judged when the test ends."""
    opened: list[Eyes] = []

    def opens(*, width: int = 1366, height: int = 768, locale: str = "en-US", scheme: str = "light") -> Eyes:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            locale=locale,
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        opened.append(Eyes(context.new_page()))
        return opened[-1]

    yield opens
    for each in opened:
        each.check_manners()
        each.page.context.close()


# --- what the shop sees -----------------------------------------------------------------------------------------------

READY = ("ready", "Cards work", "可以刷卡", "", "")
SEEN: dict[str, tuple[str, str, str, str, str]] = {
    # sight: mode, h1, 标题, the torn link, where the telephone leads
    "healthy": READY,
    "store": ("down", "Cards do not work", "无法刷卡", "Cable", "tel:13800138000"),
    "it": ("down", "Cards do not work", "无法刷卡", "Firewall", "tel:02155500100"),
    "isp": ("down", "Cards do not work", "无法刷卡", "Internet", "tel:10000"),
    "acquirer": ("down", "Cards do not work", "无法刷卡", "Bank", "tel:95516"),
    "vendor": ("down", "Cards do not work", "无法刷卡", "Till, terminal", "tel:4008208820"),
    "firewall": ("down", "Cards do not work", "无法刷卡", "Firewall", "tel:02155500100"),
    "terminal": ("down", "Cards do not work", "无法刷卡", "Till, terminal", "tel:13800138000"),
    "power": ("at_risk", "Cards work, with a fault", "可以刷卡，但有异常", "", "tel:13800138000"),
    "settlement": ("at_risk", "Cards work, with a fault", "可以刷卡，但有异常", "", "tel:13800138000"),
    "unknown": ("unknown", "Cannot tell if cards work", "无法判断能否刷卡", "", ""),
    "two": ("down", "Cards do not work", "无法刷卡", "Bank", "tel:95516"),
}


@pytest.mark.parametrize("sight", SEEN)
def test_the_verdict_what_to_do_and_whom_to_call(sight: str, glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    mode, words, _, torn, phone = SEEN[sight]
    glass.show_sight(sight)
    eyes = open_eyes()
    eyes.look(glass, mode)
    assert eyes.text("h1") == words
    assert eyes.page.locator(".torn .name").all_inner_texts()[:1] == ([torn] if torn else [])
    if phone:
        fault = sights.report(sight).diagnosis[0]
        assert eyes.page.locator(".call .number").get_attribute("href") == phone
        assert eyes.page.locator(".steps li").all_inner_texts() == list(fault.steps)
        assert eyes.text(".hero .reason") == fault.title
        assert "12 min" in eyes.text(".since")
    expect(eyes.page.locator(".strip rect").first).to_be_attached()
    assert eyes.faults() == []


@pytest.mark.parametrize("sight", SEEN)
def test_the_same_in_chinese_in_the_dark_on_a_phone(sight: str, glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    mode, _, words, _, _ = SEEN[sight]
    glass.show_sight(sight)
    eyes = open_eyes(width=360, height=740, locale="zh-CN", scheme="dark")
    eyes.look(glass, mode)
    assert eyes.text("h1") == words
    assert eyes.page.evaluate("document.documentElement.lang") == "zh-CN"
    assert eyes.overflow() == 0
    assert eyes.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 19)"
    expect(eyes.page.locator(".strip rect").first).to_be_attached()
    assert eyes.faults() == []


@pytest.mark.parametrize("width", [320, 360, 768, 1024, 1366, 1920])
def test_nothing_is_ever_wider_than_the_window(width: int, glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show(sights.crowd("en"))
    eyes = open_eyes(width=width, height=1080)
    eyes.look(glass, "down")
    expect(eyes.page.locator(".probe")).to_have_count(60)
    assert eyes.overflow() == 0
    for each in eyes.page.locator("details").all():
        each.evaluate("node => { node.open = true; }")
    assert eyes.overflow() == 0
    if width in (360, 1920):
        assert eyes.faults() == []


def test_the_first_screen_of_a_small_till_says_what_to_do_and_whom_to_call(
    glass: Glass, open_eyes: Callable[..., Eyes]
) -> None:
    glass.show_sight("firewall")
    for width, height in ((1024, 768), (1366, 768), (1920, 1080)):
        eyes = open_eyes(width=width, height=height)
        eyes.look(glass, "down")
        for selector in ("h1", ".steps li:first-child", ".call .number"):
            expect(eyes.page.locator(selector)).to_be_in_viewport(ratio=1)
        large = eyes.page.locator("h1").evaluate("node => parseFloat(getComputedStyle(node).fontSize)")
        assert large >= 64  # letters of 12 mm on a till's 15-inch screen: readable from more than two metres


def test_who_took_charge_and_planned_work_are_shown(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show_sight("store", acknowledged=True, silenced=True)
    eyes = open_eyes()
    eyes.look(glass, "down")
    assert "Li Wei is taking care of it" in eyes.text(".call .held")
    assert "on my way with a new cable" in eyes.text(".call .held")
    assert "Planned work until" in eyes.text(".banner")
    assert "Li Wei takes care of it since" in eyes.text(".incidents")
    assert eyes.faults() == []


def test_a_till_nobody_configured_says_what_is_missing(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show(sights.bare("en"))
    eyes = open_eyes()
    eyes.look(glass, "unknown")
    assert "no payment host or terminal is configured" in eyes.text(".hero .reason")
    assert "Ask IT to enter the acquirer's hosts" in eyes.text(".steps")
    assert "payment hosts: none is configured" in eyes.text("[data-key=unchecked]")
    assert eyes.faults() == []


def test_troubles_of_the_agent_and_what_waits_are_told(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    data = json.loads(encode(sights.report(problems=("the disk is full: history is kept in memory",))))
    data["agent"]["waiting"] = {"notices": 2, "reports": 1200, "dropped_reports": 0}
    glass.show(sights.report())
    glass.sight.put("en", json.dumps(data | {"seq": 900}).encode())
    eyes = open_eyes()
    eyes.look(glass, "ready")
    told = eyes.text("[data-key=agent]")
    assert "the disk is full: history is kept in memory" in told
    assert "1,200 reports wait to be sent to the centre." in told
    assert "could not be kept" not in told


def test_a_report_of_an_older_agent_without_chain_or_history_is_shown(
    glass: Glass, open_eyes: Callable[..., Eyes]
) -> None:
    data = json.loads(encode(sights.report("store")))
    del data["chain"], data["agent"]["waiting"], data["agent"]["events"], data["agent"]["silenced_until"]
    for each in data["incidents"]:
        del each["title"], each["probes"]
    glass.show(sights.report("store"), past={"problem": "no state is kept here", "probes": {}, "incidents": []})
    glass.sight.put("en", json.dumps(data | {"seq": 900}).encode())
    eyes = open_eyes()
    eyes.look(glass, "down")
    assert eyes.page.locator(".chain").count() == 0
    assert eyes.page.locator(".strip rect").count() == 0
    assert eyes.page.locator(".probe").count() == 16
    assert eyes.faults() == []


def test_what_comes_over_the_wire_is_text_and_never_markup(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    evil = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'
    data = json.loads(encode(sights.report("store")))
    for each in data["probes"]:
        each.update(label=evil, summary=evil, target=evil, evidence=[evil], measurements={evil: evil})
    data["diagnosis"][0].update(title=evil, steps=[evil, f"`{evil}`"], contact=f"javascript:alert(1) {evil}")
    data["site"].update(store=evil, terminal=evil)
    data["agent"]["problems"] = [evil]
    glass.show(sights.report("store"))
    glass.sight.put("en", json.dumps(data | {"seq": 900}).encode())
    eyes = open_eyes()
    eyes.look(glass, "down")
    assert eyes.page.evaluate("window.hit") is None
    assert eyes.page.locator("#page img, #page script").count() == 0
    assert eyes.text(".label") == evil


# --- when nobody vouches for it ---------------------------------------------------------------------------------------


def test_a_report_that_nobody_renews_turns_stale_by_itself(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show_sight("healthy", valid_for=6.0, age=0.0)
    eyes = open_eyes()
    eyes.look(glass, "ready")
    eyes.until("stale")
    assert eyes.text("h1") == "This is no longer up to date"
    assert "Cards work" in eyes.text(".last")
    assert "Try one card payment" in eyes.text(".steps")
    assert eyes.page.locator(".v-ready").count() == 0
    assert eyes.page.locator(".old .chain").count() == 1
    assert eyes.faults() == []
    glass.show_sight("healthy")
    eyes.until("ready")


def test_before_the_first_report_it_says_so(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    eyes = open_eyes()
    eyes.forgiven = (STARTING,)
    eyes.look(glass, "starting")
    assert "posagent is starting" in eyes.text(".kicker")
    assert eyes.faults() == []
    glass.show_sight("healthy")
    eyes.until("ready")


def test_a_dead_agent_is_told_on_the_open_page_and_after_a_reload(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show_sight("healthy")
    eyes = open_eyes()
    eyes.forgiven = (NO_ANSWER,)
    eyes.look(glass, "ready")
    kept = "async () => { await navigator.serviceWorker.ready; return (await caches.keys()).length }"
    assert eyes.page.evaluate(kept) == 1
    glass.close()
    died = time.monotonic()
    eyes.until("gone")
    assert 5 < time.monotonic() - died < 25  # not for a hiccup, and soon enough
    assert eyes.text("h1") == "Nobody is watching this till"
    assert "Last known" in eyes.text(".last")
    assert "021-5550 0100" in eyes.text(".call")
    assert eyes.page.title().startswith("Nobody is watching")
    assert eyes.faults() == []
    eyes.page.reload()
    eyes.until("gone")
    assert "Cards work" in eyes.text(".last")
    assert "021-5550 0100" in eyes.text(".call"), "whom to call is remembered"
    assert eyes.page.locator(".panel").count() == 0
    assert eyes.faults() == []
    glass.open()
    glass.show_sight("acquirer")
    eyes.until("down")
    assert "certificate" in eyes.text(".hero .reason")


def test_a_real_agent_that_is_killed_under_an_open_page(tmp_path: Path, open_eyes: Callable[..., Eyes]) -> None:
    port = free_port()
    with Till(tmp_path / "till") as till:
        till.watch("bank", impact="stop")
        till.tell("bank", "fail")
        till.listen = f"127.0.0.1:{port}"
        till.begin()
        till.until_incident("bank")
        eyes = open_eyes()
        eyes.forgiven = (NO_ANSWER,)
        eyes.page.goto(f"http://127.0.0.1:{port}/")
        eyes.until("down")
        eyes.page.evaluate("window.same = true")
        assert eyes.text(".probe .word") == "FAULT"
        eyes.page.get_by_role("button", name="切换到中文").click()  # the agent says it again, in the other language
        expect(eyes.page.locator(".probe .word").first).to_have_text("故障")
        expect(eyes.page.locator(".incidents .title")).to_have_text("出现 posagent 无法归类的异常")
        expect(eyes.page.locator(".strip rect").first).to_be_attached()
        till.tell("bank", "ok")
        expect(eyes.page.locator("main")).not_to_have_attribute("data-mode", "down", timeout=20_000)
        till.kill()
        eyes.until("gone")
        till.begin()
        expect(eyes.page.locator("main")).not_to_have_attribute("data-mode", "gone", timeout=20_000)
        assert eyes.page.evaluate("window.same") is True


# --- how it behaves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "spoken"), [("zh-CN", "zh-CN"), ("zh-TW", "zh-CN"), ("en-GB", "en"), ("de-DE", "en")]
)
def test_the_browsers_language_decides_first(
    locale: str, spoken: str, glass: Glass, open_eyes: Callable[..., Eyes]
) -> None:
    glass.show_sight("healthy")
    eyes = open_eyes(locale=locale)
    eyes.look(glass, "ready")
    assert eyes.page.evaluate("document.documentElement.lang") == spoken


def test_the_language_is_switched_by_a_button_and_remembered(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show_sight("store")
    eyes = open_eyes()
    eyes.look(glass, "down")
    eyes.page.get_by_role("button", name="切换到中文").click()
    expect(eyes.page.locator("h1")).to_have_text("无法刷卡")
    expect(eyes.page.locator(".hero .reason")).to_have_text("收银机的网线没有插好")
    eyes.page.reload()
    expect(eyes.page.locator("h1")).to_have_text("无法刷卡")
    assert eyes.faults() == []
    eyes.page.get_by_role("button", name="Switch to English").click()
    expect(eyes.page.locator(".hero .reason")).to_have_text("The network cable of the till is out")


def test_it_follows_the_till_without_a_reload_and_leaves_the_reader_alone(
    glass: Glass, open_eyes: Callable[..., Eyes]
) -> None:
    glass.show_sight("healthy")
    eyes = open_eyes()
    eyes.look(glass, "ready")
    eyes.page.evaluate("window.same = document.querySelector('[data-key=disk]')")
    disk = eyes.page.locator("[data-key=disk] summary")
    disk.click()
    disk.focus()
    expect(eyes.page.locator("[data-key=disk] .facts")).to_be_visible()
    assert "Cards work" in eyes.text("#said")
    glass.show_sight("store")
    eyes.until("down")
    assert "Cards do not work. The network cable of the till is out" in eyes.text("#said")
    expect(eyes.page.locator("[data-key=disk] .facts")).to_be_visible()
    assert eyes.page.evaluate("same.isConnected && same.contains(document.activeElement)")
    assert eyes.page.title() == "Cards do not work · T01"
    assert eyes.page.locator(".probe").first.get_attribute("data-key") == "cable"


def test_it_asks_again_without_carrying_the_same_report_twice(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show_sight("healthy")
    eyes = open_eyes()
    answers: list[int] = []
    eyes.page.on("response", lambda each: answers.append(each.status) if "health.json" in each.url else None)
    eyes.look(glass, "ready")
    expect(eyes.page.locator("main")).to_be_visible()
    eyes.page.wait_for_timeout(7000)
    assert answers[0] == 200
    assert answers[1:3] == [304, 304]
    assert len(answers) <= 4


def test_everything_is_within_reach_of_the_keyboard(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show_sight("acquirer")
    eyes = open_eyes()
    eyes.look(glass, "down")
    expect(eyes.page.locator(".strip rect").first).to_be_attached()
    keys = eyes.page.keyboard
    reached = []
    for _ in range(7):
        keys.press("Tab")
        reached.append(eyes.page.evaluate("document.activeElement.className || document.activeElement.id || document.activeElement.textContent"))  # fmt: skip
        if reached[-1] == "skip":
            expect(eyes.page.locator(".skip")).to_be_in_viewport()
    assert reached[:3] == ["skip", "switch", "number"]
    assert reached[3] == "Why, and what a technician does"
    assert "Bank: authorisation" in reached[4]
    keys.press("Enter")
    expect(eyes.page.locator(".probe details[open] .facts")).to_be_visible()
    outline = eyes.page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    eyes.page.locator(".skip").focus()
    keys.press("Enter")
    expect(eyes.page.locator("#checks")).to_be_focused()
    eyes.page.locator("#switch").focus()
    keys.press("Enter")
    expect(eyes.page.locator("h1")).to_have_text("无法刷卡")
    expect(eyes.page.locator("#switch")).to_be_focused()


def test_a_technician_finds_reasons_evidence_and_what_was_ruled_out(
    glass: Glass, open_eyes: Callable[..., Eyes]
) -> None:
    glass.show_sight("firewall")
    eyes = open_eyes()
    eyes.look(glass, "down")
    fault = sights.report("firewall").diagnosis[0]
    expect(eyes.page.locator(".reasons-body").first).to_be_hidden()
    eyes.page.get_by_text("Why, and what a technician does").click()
    told = eyes.text(".reasons-body")
    assert fault.explanation in told
    assert all(each.title in told for each in fault.ruled_out)
    assert "firewall.port_blocked" in told
    assert eyes.page.locator(".reasons-body code").first.inner_text() == "nc -vz -w 3 HOST PORT"
    assert eyes.faults() == []


def test_it_prints(glass: Glass, open_eyes: Callable[..., Eyes]) -> None:
    glass.show_sight("store")
    eyes = open_eyes()
    eyes.look(glass, "down")
    eyes.page.emulate_media(media="print")
    assert eyes.page.evaluate("getComputedStyle(document.querySelector('.hero')).backgroundColor") == "rgb(255, 255, 255)"  # fmt: skip
    assert eyes.page.locator("#switch").is_hidden()
    assert len(eyes.page.pdf()) > 10_000


# --- who may not ------------------------------------------------------------------------------------------------------


@contextmanager
def another_origin(body: str) -> Iterator[str]:
    """A web page of somebody else, on another port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join(5)


def test_a_page_of_another_origin_cannot_read_it(glass: Glass, chromium: Browser) -> None:
    glass.show_sight("healthy")
    tries = """async url => {
      const read = async options => {
        try { return (await (await fetch(url + 'health.json', options)).text()).length } catch (error) { return error.name }
      };
      const framed = document.createElement('iframe');
      framed.src = url;
      document.body.append(framed);
      await new Promise(done => { framed.onload = done; setTimeout(done, 3000) });
      let inside;
      try { inside = framed.contentDocument?.body?.innerText ?? null } catch (error) { inside = error.name }
      const script = await new Promise(done => {
        const tag = document.createElement('script');
        tag.src = url + 'static/page.js'; tag.type = 'module';
        tag.onload = () => done('ran'); tag.onerror = () => done('refused');
        document.body.append(tag);
      });
      return [await read({}), await read({mode: 'no-cors'}), await read({credentials: 'include'}), inside, script];
    }"""
    page = chromium.new_page()
    with another_origin("<!doctype html><p>hello") as elsewhere:
        page.goto(elsewhere)
        plain, opaque, with_cookies, inside, script = page.evaluate(tries, glass.url)
        page.goto(glass.url)
        own = page.evaluate(tries, glass.url)
    page.close()
    assert plain == with_cookies == "TypeError"
    assert opaque in ("TypeError", 0)
    assert not inside
    assert script == "refused"
    assert own[0] > 1000  # the same question, asked by the page itself
