"""The problem report: what a merchant must hand in, of one incident, in three forms and two languages, without cards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import problem_page, problem_report, texts
from agent.incidents import Incident, Seen
from agent.problem_report import Facts, build, transactions
from agent.state import Transition
from agent.store import Batch, Event, Note, Outgoing, Silence, Store
from probes.model import Status
from tests.agent.daemons import POSAGENT, Desk, probe, report

if TYPE_CHECKING:
    from agent.texts import Language

SHANGHAI = timezone(timedelta(hours=8))
BEGAN = datetime(2026, 11, 22, 6, 14, 5, tzinfo=UTC).timestamp()
CARD = "4111111111111111"
FAILED = (
    "2026-11-22T05:00:00.000Z|sale|1.00|declined|000001",  # an hour before: another matter
    "2026-11-22T06:10:00.000Z|sale|¥128.50|timeout|530612345678",
    "2026-11-22T06:20:00.000Z|退货|9.90|声明失败|000003",
    "2026-11-22T07:30:00.000Z|sale|5.00|declined|000004",  # long after
)
LINE = Incident(
    id="261122-K7QM", cause="isp.down", party="isp", category="network", confidence="likely", fingerprint="f0",
    impact="stop", began_at=BEGAN, opened_at=BEGAN + 12, resolved_at=BEGAN + 2040, probes=("wan", "auth"),
    evidence=("wan: internet.no_answer",), headline="The internet connection is down", flapping=True,
    previous="261121-B4CK", seen={},
)  # fmt: skip


def facts(**more: Any) -> Facts:
    return Facts(
        **{"incident": LINE, "now": BEGAN + 3000, "store": "0042", "terminal": "T01", "host": "till-1"}
        | {"contacts": {"store": "8000", "isp": "10000", "vendor": "400-1"}, "failed": FAILED}
        | {
            "notes": [
                Note("261122-K7QM", BEGAN + 300, "Li Wei", "router restarted", BEGAN + 7500),
                Note("261122-K7QM", BEGAN + 200, "Wang"),
            ],
            "silences": [Silence(1, BEGAN + 100, BEGAN + 900, "it", "new switch")],
            "changes": [
                turn(12, Status.OK, Status.FAIL, "internet.no_answer"),
                turn(2040, Status.FAIL, Status.OK, "ok"),
            ],
            "events": [
                Event(BEGAN - 5, "reloaded", {"probes": 2}),
                Event(BEGAN + 1000, "dark", {"why": "power_cut", "from": BEGAN + 900, "until": BEGAN + 1000, "seconds": 100.0}),
            ],
            "notices": [
                notice("opened", "sent", BEGAN + 20),
                notice("resolved", "waiting", None),
            ],
        }
        | more
    )  # fmt: skip


def turn(after: float, old: Status, new: Status, reason: str) -> Transition:
    return Transition(probe="wan", at=BEGAN + after, old=old, new=new, reason=reason)


def notice(what: str, state: Any, finished: float | None) -> Outgoing:
    return Outgoing(
        key=f"k/{what}", channel="staff", incident="261122-K7QM", what=what, at=BEGAN + 12, created=BEGAN + 13,
        due=BEGAN + 13, state=state, finished=finished,
    )  # fmt: skip


def test_it_holds_all_that_is_asked_for() -> None:
    said = build(facts(), "en")
    assert (said.schema, said.incident, said.state, said.cause) == (
        "posagent.problem/1", "261122-K7QM", "resolved", "isp.down",
    )  # fmt: skip
    assert (said.site.store, said.site.terminal, said.site.host) == ("0042", "T01", "till-1")
    assert (said.title, said.category, said.party) == ("The internet connection is down", "network", "isp")
    assert said.description.startswith("The ")
    assert (said.began_at, said.opened_at, said.ended_at) == (
        "2026-11-22T06:14:05.000Z", "2026-11-22T06:14:17.000Z", "2026-11-22T06:48:05.000Z",
    )  # fmt: skip
    assert (said.duration_s, said.flapping, said.previous) == (2040.0, True, "261121-B4CK")
    assert [(each.by, each.text, each.until) for each in said.measures] == [
        ("it", "planned work, notifications silenced: new switch", "2026-11-22T06:29:05.000Z"),
        ("Wang", "took charge", None),
        ("Li Wei", "router restarted", "2026-11-22T08:19:05.000Z"),
    ]
    assert [msgspec.structs.astuple(each) for each in said.transactions] == [
        ("2026-11-22T06:10:00.000Z", "¥128.50", "sale", "timeout", "530612345678"),
        ("2026-11-22T06:20:00.000Z", "9.90", "退货", "声明失败", "000003"),
    ]
    assert [(each.party, each.contact) for each in said.contacts] == [
        ("isp", "10000"), ("store", "8000"), ("vendor", "400-1"),
    ]  # fmt: skip
    assert said.course[0].text == "wan: ok → FAIL (internet.no_answer)"
    assert len(said.course) == 3  # the power cut too; that the configuration was reloaded is no part of it
    assert [(each.what, each.state, each.finished_at) for each in said.told] == [
        ("opened", "sent", "2026-11-22T06:14:25.000Z"), ("resolved", "waiting", None),
    ]  # fmt: skip
    assert said.not_checked == ["funds, card limits, merchant account and bank policy: only the acquirer can see them"]


def test_to_a_chinese_reader_everything_is_chinese() -> None:
    page = problem_page.printable(build(facts(), "zh-CN"), SHANGHAI)
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    for ours in ("261122-K7QM", "isp.down", "posagent", "Li Wei", "Wang", "router restarted", "new switch", "T01",
                 "internet.no_answer", "wan", "sale", "timeout", "staff", "UTC", "POS", "QR", "MID", "TID", "IT", "it",
                 "ok", "261121-B4CK"):  # fmt: skip
        text = text.replace(ours, "")
    assert not re.findall(r"[A-Za-z]{3,}", text)
    assert "故障报告单" in text
    assert "2026-11-22 14:14:05 (UTC+08:00)" in page


def test_an_incident_of_settlement_is_about_the_whole_batch() -> None:
    batch = msgspec.structs.replace(LINE, cause="settlement.failed")
    assert len(build(facts(incident=batch), "en").transactions) == 3


def test_of_one_that_lasts_it_says_so() -> None:
    said = build(facts(incident=msgspec.structs.replace(LINE, resolved_at=None)), "en")
    assert (said.state, said.ended_at, said.duration_s) == ("open", None, 3000.0)
    assert "| Over | not yet |" in problem_page.markdown(said, SHANGHAI)


def test_evidence_is_told_in_sentences_where_the_incident_kept_what_was_measured() -> None:
    seen = {"auth: port.refused": Seen("port", {"host": "a.example", "port": 443, "target": "a.example:443"})}
    kept = msgspec.structs.replace(LINE, evidence=("auth: port.refused", "wan: internet.no_answer"), seen=seen)
    english, chinese = (build(facts(incident=kept), language).evidence for language in texts.LANGUAGES)
    assert "refuses the connection" in english[0]
    assert re.search("[\u4e00-\u9fff]", chinese[0])
    assert english[1] == chinese[1] == "wan: internet.no_answer"


def test_markdown_is_whole_and_says_where_the_transactions_are_from() -> None:
    said = problem_page.markdown(build(facts(), "en"), SHANGHAI)
    assert said.startswith("# Problem report\n\n**The internet connection is down**\n")
    assert "| First sign | 2026-11-22 14:14:05 (UTC+08:00) |" in said
    assert "| 2026-11-22 14:10:00 | ¥128.50 | sale | timeout | 530612345678 |" in said
    assert "| 2026-11-22 14:19:05 | Li Wei | router restarted (until 2026-11-22 16:19:05) |" in said
    assert "As the POS software recorded them" in said
    assert "| 2026-11-22 14:14:18 | staff | fault | 2026-11-22 14:14:25 |" in said
    assert "| 2026-11-22 14:14:18 | staff | recovery | not yet |" in said


def test_where_nothing_failed_and_where_nobody_can_tell_are_two_things() -> None:
    none, unknown = build(facts(failed=[]), "en"), build(facts(failed=None), "en")
    assert (none.transactions_recorded, unknown.transactions_recorded) == (True, False)
    assert "recorded no failed transaction for this time" in problem_page.markdown(none)
    assert "No record of the POS software is read" in problem_page.markdown(unknown)
    assert problem_page.printable(unknown).count('<tr class="empty">') >= 5  # room to write


class Reader(HTMLParser):
    """Every tag in its place, and nothing that is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data", "background")]
        if tag not in ("meta", "br"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_the_page_is_whole_and_loads_nothing(language: Language) -> None:
    page = problem_page.printable(build(facts(), language), SHANGHAI)
    reader = Reader()
    reader.feed(page)
    assert reader.stack == []
    assert reader.loaded == []
    assert not reader.tags & {"script", "link", "img", "iframe", "object"}
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert f'<html lang="{language}">' in page


@given(st.text(max_size=80))
def test_whatever_somebody_wrote_the_page_holds_it_as_text(text: str) -> None:
    evil = msgspec.structs.replace(LINE, headline=f"<script>{text}", evidence=(f"<img src=x>{text}",))
    said = build(facts(incident=evil, notes=[Note("i", BEGAN, text, f"</td>{text}|x")]), "en")
    reader = Reader()
    reader.feed(problem_page.printable(said))
    assert reader.stack == []
    assert not reader.tags & {"script", "img"}
    assert json.loads(problem_report.encode(said))["schema"] == "posagent.problem/1"


def test_no_card_number_is_handed_in() -> None:
    evil = msgspec.structs.replace(LINE, headline=f"said {CARD}", evidence=(f"a: {CARD}",))
    failed = [f"2026-11-22T06:15:00.000Z|sale {CARD}|{CARD}|declined {CARD}|4111 1111 1111 1111"]
    written = facts(
        incident=evil, failed=failed, notes=[Note("i", BEGAN, CARD, f"card {CARD}")],
        silences=[Silence(1, BEGAN, BEGAN + 5, CARD, CARD)],
        events=[Event(BEGAN, "state.corrupt", {"detail": CARD})],
    )  # fmt: skip
    for language in texts.LANGUAGES:
        said = build(written, language)
        for form in (problem_report.encode(said).decode(), problem_page.markdown(said), problem_page.printable(said)):
            assert not re.search(r"4111\D{0,2}1111\D{0,2}1111", form)
    assert msgspec.structs.astuple(build(written, "en").transactions[0])[1:] == (
        "", "sale ************1111", "declined ************1111", "************1111",
    )  # fmt: skip


@given(st.lists(st.text(max_size=120), max_size=5))
def test_lines_that_are_no_transaction_are_left_out(lines: list[str]) -> None:
    for each in transactions(lines, 0, 4e9):
        assert each.time


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """The state of a till whose line was down, and whose POS software wrote down what failed meanwhile."""
    desk = Desk(tmp_path, '[site]\nstore = "0042"\nterminal = "T01"\n[contacts]\nisp = "10000"\n')
    now = time.time()
    moment = datetime.fromtimestamp(now - 30, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    later = datetime.fromtimestamp(now - 20, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    store = Store(desk.state / "state.sqlite")
    batch = Batch(incidents=[msgspec.structs.replace(LINE, began_at=now - 60, opened_at=now - 50, resolved_at=None)])
    batch.memories["batch"] = {
        "source": "/x", "last": None, "settled": None, "failed": [f"{moment}|sale|8.00|timeout|000777"],
    }  # fmt: skip
    store.save(batch)
    store.add_note(Note("261122-K7QM", now - 10, "Li", "router restarted"))
    store.close()
    settlement = probe("batch") | {"kind": "settlement"}
    settlement["measurements"] = {"failed_transactions": [f"{later}|sale|9.00|timeout|000778"]}
    desk.write(report(settlement) | {"site": {"store": "old", "terminal": "old", "host": "till-1", "tags": {}}})
    return desk


@pytest.fixture
def posagent(desk: Desk) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [POSAGENT, *words], env=desk.env | env, capture_output=True, text=True, timeout=30, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    return run


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_command_writes_it_from_what_the_daemon_kept(posagent: Run) -> None:
    done = posagent("incidents", "261122-k7", "--report", "json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["site"] == {"store": "0042", "terminal": "T01", "host": "till-1"}
    assert [each["reference"] for each in said["transactions"]] == ["000777", "000778"]  # remembered, and just seen
    assert [each["text"] for each in said["measures"]] == ["router restarted"]
    assert said["contacts"] == [{"party": "isp", "contact": "10000"}]
    assert posagent("incidents", "261122-k7", "--report").stdout.startswith("# Problem report\n")
    assert posagent("incidents", "261122-k7", "--report", "--lang", "zh-CN").stdout.startswith("# 故障报告单\n")
    assert posagent("incidents", "261122-k7", "--report", "html").stdout.startswith('<!doctype html>\n<html lang="en">')


def test_it_is_written_with_a_broken_configuration_and_without_a_report(desk: Desk, posagent: Run) -> None:
    desk.config.write_text("nonsense = [")
    (desk.state / "health.json").write_text("{")
    done = posagent("incidents", "261122-K7QM", "--report", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [each["reference"] for each in json.loads(done.stdout)["transactions"]] == ["000777"]


def test_it_is_utf_8_whatever_the_locale(desk: Desk) -> None:
    command = [POSAGENT, "incidents", "261122-K7QM", "--report", "html", "--lang", "zh-CN"]
    env = desk.env | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=env, capture_output=True, timeout=30, check=True)
    assert "故障报告单" in done.stdout.decode("utf-8")


def test_which_one_must_be_said(posagent: Run) -> None:
    done = posagent("incidents", "--report")
    assert (done.returncode, done.stdout) == (64, "")
    assert "of which incident? `posagent incidents` lists them" in done.stderr
    assert "invalid choice: 'pdf'" in posagent("incidents", "x", "--report", "pdf").stderr


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_it_prints_on_paper(tmp_path: Path) -> None:
    page, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(problem_page.printable(build(facts(), "zh-CN"), SHANGHAI), encoding="utf-8")
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={paper}", page.as_uri()),
    ]
    subprocess.run(command, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, timeout=60, check=True)
    sheets = len(re.findall(rb"/Type\s*/Page[^s]", paper.read_bytes()))
    assert 1 <= sheets <= 2
