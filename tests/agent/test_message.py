"""Messages: one line that says it all, then what to do; in both languages, never with card data, never mistaken."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import problem_page, problem_report, texts
from agent.cli import ack, charges, silence, writing
from agent.escalation import Notice
from agent.incidents import Incident, Seen
from agent.report import DiagnosisPart, EvidencePart
from agent.store import Note
from agent.telling import letter, message
from agent.telling.message import About, Message, compose, late
from tests.probes.test_redact import DIRTY, INNOCENT

if TYPE_CHECKING:
    from agent.texts import Language

SHANGHAI = timezone(timedelta(hours=8))
BEGAN = datetime(2026, 11, 22, 6, 14, 5, tzinfo=UTC).timestamp()  # 14:14 in Shanghai
OPENED = BEGAN + 10
CARD = "4111 1111 1111 1111"
CABLE = Incident(
    id="261122-CABL", cause="lan.cable_unplugged", party="store", category="network", confidence="certain",
    fingerprint="f0f0", impact="stop", began_at=BEGAN, opened_at=OPENED, probes=("eth0", "auth"),
    evidence=("eth0: interface.no_carrier",), headline="The network cable of eth0 is unplugged",
    seen={"eth0: interface.no_carrier": Seen("interface", {"name": "eth0"})},
)  # fmt: skip
ABOUT = About(
    store="0042", terminal="T01", host="till-1", tags={"region": "east"}, payments="down", settlement="at_risk",
    contacts={"store": "duty manager 8001", "isp": "10000"}, zone=SHANGHAI,
)  # fmt: skip


def notice(what: str = "opened", level: int = 1, at: float = OPENED) -> Notice:
    return Notice("261122-CABL/1", what, "261122-CABL", level, ("staff",), at)  # type: ignore[arg-type]


def told(
    what: str = "opened", language: Language = "en", after: float = 360, incident: Incident = CABLE, **about: Any
) -> Message:
    """What is said so many seconds after the first sign."""
    about_it = msgspec.structs.replace(ABOUT, **about)
    return compose(notice(what, 2), incident, about_it, language, now=BEGAN + after)


def over(**more: Any) -> Incident:
    return msgspec.structs.replace(CABLE, resolved_at=BEGAN + 2040, **more)


DIAGNOSIS = DiagnosisPart(
    cause="lan.cable_unplugged", party="store", category="network", confidence="certain",
    title="The network cable of eth0 is unplugged", explanation="The socket sees no signal.",
    steps=["Push the cable in."], technician_steps=["ethtool eth0"], warnings=["Look up the last payment."],
    still_works=["Cash."], contact="Mr Lee 8123", explains=["eth0", "auth"],
    evidence=[EvidencePart(probe="eth0", reason="interface.no_carrier", detail="eth0 has no carrier")],
    ruled_out=[], alternatives=[], alternative_titles=[], fingerprint="f0f0",
)  # fmt: skip


@pytest.mark.parametrize(
    ("what", "incident", "payments", "english", "chinese"),
    [
        (
            "opened", CABLE, "down",
            "store 0042 till T01 DOWN: The network cable of eth0 is unplugged",
            "门店 0042 收银机 T01 无法刷卡：收银机的网线没有插好",
        ),
        (
            "escalated", CABLE, "down",
            "store 0042 till T01 DOWN for 6 min, level 2: The network cable of eth0 is unplugged",
            "门店 0042 收银机 T01 无法刷卡 已 6 分钟，升级至第 2 级：收银机的网线没有插好",
        ),
        (
            "reminder", CABLE, "down",
            "store 0042 till T01 still DOWN after 6 min: The network cable of eth0 is unplugged",
            "门店 0042 收银机 T01 无法刷卡 已 6 分钟，尚未恢复：收银机的网线没有插好",
        ),
        (
            "resolved", over(), "ready",
            "store 0042 till T01 RECOVERED after 34 min, now READY: The network cable of eth0 is unplugged",
            "门店 0042 收银机 T01 已恢复（历时 34 分钟），目前正常：收银机的网线没有插好",
        ),
        (
            "joined", over(joined_to="261122-ROUT"), "down",
            "store 0042 till T01: part of 261122-ROUT: The network cable of eth0 is unplugged",
            "门店 0042 收银机 T01 已并入 261122-ROUT：收银机的网线没有插好",
        ),
        (
            "drill", CABLE, "ready",
            "EXERCISE, no real fault: store 0042 till T01: The network cable of eth0 is unplugged",
            "【演练，并非真实故障】门店 0042 收银机 T01：收银机的网线没有插好",
        ),
        (
            "opened", msgspec.structs.replace(CABLE, impact="degrade"), "down",
            "store 0042 till T01 AT RISK: The network cable of eth0 is unplugged",
            "门店 0042 收银机 T01 有风险：收银机的网线没有插好",
        ),
    ],
)  # fmt: skip
def test_the_subject_says_store_till_verdict_and_cause_on_one_line(
    what: str, incident: Incident, payments: str, english: str, chinese: str
) -> None:
    assert told(what, "en", incident=incident, payments=payments).subject == english
    assert told(what, "zh-CN", incident=incident, payments=payments).subject == chinese


def test_a_till_without_a_name_is_told_by_its_host() -> None:
    assert told(store="", terminal="").subject.startswith("till-1 DOWN: ")
    assert told(terminal="").subject.startswith("store 0042 DOWN: ")


def test_the_text_tells_somebody_at_the_counter_all_they_need() -> None:
    said = told(diagnosis=DIAGNOSIS, url="http://127.0.0.1:9187/", deadline=BEGAN + 3600)
    assert said.text == (
        "The network cable of eth0 is unplugged. DOWN: cards cannot be taken.\n"
        "\n"
        "store 0042 till T01\n"
        "Since 2026-11-22 14:14 (UTC+08:00), 6 min ago\n"
        "The batch must be closed by 2026-11-22 15:14 (UTC+08:00): 54 min left\n"
        "\n"
        "Do now: Push the cable in.\n"
        "\n"
        "Careful: Look up the last payment.\n"
        "\n"
        "Call: the store itself: Mr Lee 8123\n"
        "\n"
        "Why: The socket sees no signal.\n"
        "\n"
        "Evidence\n"
        "- eth0: eth0 has no carrier\n"
        "\n"
        "Incident 261122-CABL [lan.cable_unplugged]. To take charge, on that till: posagent ack 261122-CABL\n"
        "Status page, on that till: http://127.0.0.1:9187/\n"
    )


def test_without_a_report_at_hand_the_advice_of_the_cause_is_told_and_the_incidents_own_evidence() -> None:
    english, chinese = told().text, told(language="zh-CN").text
    assert "1. Push the network cable in at the back of the till" in english
    assert "Call: the store itself: duty manager 8001" in english
    assert "联系：门店：duty manager 8001" in chinese
    assert "现在这样做\n1. 把收银机背面的网线插紧" in chinese
    assert "- eth0: interface.no_carrier" not in english  # a sentence, not a code
    assert re.search(r"依据\n- eth0: .*[\u4e00-\u9fff]", chinese)


def test_a_reader_of_the_other_language_gets_no_sentence_of_this_one() -> None:
    said = told(language="zh-CN", diagnosis=DIAGNOSIS)  # which is in English
    assert "Push the cable" not in said.text
    assert "unplugged" not in said.subject + said.text.replace("lan.cable_unplugged", "")


def test_what_a_fault_is_about_is_named_in_the_other_language_too() -> None:
    hosts = tuple(f"{name}.bank.example:443" for name in ("auth", "batch", "params"))
    bank = msgspec.structs.replace(
        CABLE, cause="acquirer.refusing", party="acquirer", headline="refused", subjects=hosts, evidence=()
    )
    assert told(language="zh-CN", incident=bank).subject == (
        "门店 0042 收银机 T01 无法刷卡：银行主机拒绝连接：auth.bank.example:443、batch.bank.example:443 等另有 1 个"
    )
    assert told(language="zh-CN", incident=msgspec.structs.replace(bank, subjects=hosts[:1])).subject.endswith(
        "银行主机拒绝连接：auth.bank.example:443"
    )


def test_a_fault_found_before_the_language_was_set_to_chinese_is_told_in_chinese() -> None:
    about = msgspec.structs.replace(ABOUT, language="zh-CN")
    message = compose(notice("resolved"), over(), about, "zh-CN", now=BEGAN + 2040)
    assert "is unplugged" not in message.subject + message.text + message.markdown
    assert "网线" in message.subject


def test_there_is_a_link_only_where_there_is_a_page() -> None:
    assert "http" not in told().text
    assert told().data["url"] is None


def test_a_deadline_far_away_is_no_news_and_a_past_one_no_comfort() -> None:
    assert "batch" not in told(deadline=BEGAN + 6 * 3600).text
    assert "batch must" not in told(deadline=BEGAN + 300).text


def test_a_reminder_says_that_nobody_has_taken_charge_or_who_has() -> None:
    assert "Nobody has taken charge of it for 6 min" in told("reminder").text
    charge = Note("261122-CABL", BEGAN + 60, "Li Wei", "on my way")
    taken = told("escalated", charge=charge, level_name="head office")
    assert "Li Wei has taken charge of it at 2026-11-22 14:15 (UTC+08:00)" in taken.text
    assert "This is escalation level 2 (head office)" in taken.text
    assert "posagent ack" not in taken.text
    assert taken.data["acknowledged"] == {
        "by": "Li Wei", "at": "2026-11-22T06:15:05.000Z", "note": "on my way", "until": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("language", "subject", "never"),
    [("en", "NO LONGER WATCHED", "RECOVERED"), ("zh-CN", "不再监测", "已恢复（")],
)
def test_what_nobody_watches_any_more_is_not_called_well(language: Language, subject: str, never: str) -> None:
    said = told("resolved", incident=over(unwatched=True), after=2050, payments="ready", language=language)
    assert subject in said.subject
    assert never not in said.subject + said.text.partition("\n")[0]


def test_the_recovery_says_from_when_to_when_and_what_is_true_now() -> None:
    said = told("resolved", incident=over(), after=2050, payments="ready")
    assert said.text == (
        "It is over after 34 min: The network cable of eth0 is unplugged. READY: cards can be taken.\n"
        "\n"
        "store 0042 till T01\n"
        "From 2026-11-22 14:14 (UTC+08:00) to 2026-11-22 14:48 (UTC+08:00), 34 min\n"
        "\n"
        "Incident 261122-CABL [lan.cable_unplugged]\n"
    )
    assert (said.severity, said.data["ended_at"], said.data["duration_s"]) == (
        "info", "2026-11-22T06:48:05.000Z", 2040,
    )  # fmt: skip


@pytest.mark.parametrize(("impact", "severity"), [("stop", "critical"), ("degrade", "warning"), ("none", "info")])
def test_how_bad_it_is(impact: str, severity: str) -> None:
    assert told(incident=msgspec.structs.replace(CABLE, impact=impact)).severity == severity


@pytest.mark.parametrize(("language", "mark"), [("en", "EXERCISE"), ("zh-CN", "演练")])
def test_a_drill_cannot_be_mistaken_for_a_fault(language: Language, mark: str) -> None:
    said = told("drill", language)
    lines = said.text.strip().splitlines()
    for text in (said.subject, lines[0], lines[2], lines[-1], *said.markdown.strip().splitlines()[0::1][:1]):
        assert mark in text
    assert mark in said.markdown.strip().splitlines()[-1]
    assert (said.severity, said.data["drill"]) == ("info", True)
    assert not said.subject.startswith(("store", "门店"))
    assert told("opened", language).data["drill"] is False
    assert mark not in told("opened", language).text


def test_a_message_held_back_says_so_first_and_when_the_fault_was_over() -> None:
    said = told()
    assert late(said, OPENED + 60) is said
    held = late(said, OPENED + 3 * 3600, BEGAN + 2040)
    assert held.subject == f"(late) {said.subject}"
    first = held.text.splitlines()[0]
    assert first.startswith("LATE: this was to be told at 2026-11-22 ")
    assert "could not leave for 3 h. The fault was over at 2026-11-22 " in first
    assert held.markdown.startswith(f"> {first}\n\n**")
    assert held.text.endswith(said.text)
    assert (held.key, held.data["late_s"], held.data["ended_at"]) == (said.key, 10800, "2026-11-22T06:48:05.000Z")


def test_of_a_fault_that_lasts_a_late_message_says_only_that_it_is_late() -> None:
    held = late(told(language="zh-CN"), OPENED + 7200)
    assert held.subject.startswith("（延迟）门店 0042")
    assert "恢复" not in held.text.splitlines()[0]
    recovered = late(told("resolved", incident=over()), OPENED + 7200, BEGAN + 2040)
    assert "The fault was over" not in recovered.text


@pytest.mark.parametrize("what", ["opened", "escalated", "reminder", "resolved", "joined", "drill"])
@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_no_card_number_leaves_in_a_message(what: str, language: Language) -> None:
    evil = msgspec.structs.replace(
        over() if what in ("resolved", "joined") else CABLE,
        headline=f"router says {CARD}",
        evidence=(f"auth: said {CARD}", "eth0: interface.no_carrier"),
        seen={"eth0: interface.no_carrier": Seen("interface", {"name": CARD})},
    )
    bad = msgspec.structs.replace(
        DIAGNOSIS, title=f"host {CARD}", evidence=[EvidencePart(probe="auth", reason="x", detail=f"pan={CARD}")]
    )
    for diagnosis in (None, bad):
        charge = Note("261122-CABL", BEGAN, f"Li {CARD}", f"customer {CARD}")
        said = told(what, language, incident=evil, diagnosis=diagnosis, charge=charge, level_name=CARD)
        everything = msgspec.json.encode(late(said, OPENED + 9000, BEGAN + 2040)).decode()
        assert not re.search(r"4111\W?1111", everything)
        assert "1111" in everything


def test_the_whole_corpus_of_card_data_stays_out_of_messages_and_problem_reports() -> None:
    for case in DIRTY:
        text = case["text"]
        evil = msgspec.structs.replace(CABLE, headline=text, evidence=(f"p: {text}",), subjects=(text,))
        note = Note("i", BEGAN, text, text)
        said = told("reminder", incident=evil, charge=note)
        report = problem_report.build(problem_report.Facts(incident=evil, now=BEGAN + 60, notes=[note]), "en")
        sent = [*said.text.splitlines(), *said.markdown.splitlines(), *map(str, said.data.values()), said.subject]
        for line in [*sent, *problem_page.markdown(report).splitlines(), *map(str, msgspec.structs.astuple(report))]:
            assert not any(gone in line for gone in case["gone"]), (text, line)


def test_what_is_no_card_data_arrives_in_a_message() -> None:
    for text in INNOCENT:
        plain = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        said = told(incident=msgspec.structs.replace(CABLE, headline=plain or "x", evidence=()))
        assert plain in said.subject
        assert plain in said.text


def test_telephone_numbers_arrive_whole() -> None:
    numbers = "+86 400 820 8388 / 0086 138 0013 8000 ext 1234"
    assert numbers in told(contacts={"store": numbers}).text


def test_nothing_from_outside_is_markdown() -> None:
    evil = msgspec.structs.replace(
        CABLE, headline="[log in](http://evil.example) <!channel> `rm` *now*", evidence=("p: <@all> [x](y)",)
    )
    said = told(incident=evil).markdown
    assert "](" not in said
    assert "<" not in said
    assert "*now*" not in said
    assert "`rm`" not in said


@given(st.text(max_size=200), st.text(max_size=50), st.sampled_from(texts.LANGUAGES))
def test_whatever_a_device_says_the_subject_is_one_line_and_the_message_can_be_stored(
    headline: str, name: str, language: Language
) -> None:
    incident = msgspec.structs.replace(CABLE, headline=headline, evidence=(f"{name}: x",))
    said = told(language=language, incident=incident, charge=Note("i", BEGAN, name, headline))
    assert len(said.subject.splitlines()) == 1
    assert msgspec.json.decode(msgspec.json.encode(said), type=Message) == said


def test_a_message_for_a_phone_is_not_a_novel() -> None:
    for language in texts.LANGUAGES:
        assert len(told(language=language).text.encode()) < 2000


def sentences_in(module: Any) -> set[str]:
    """The names of the sentences that this code says, as far as they are written out."""
    return set(re.findall(r'(?:_?say|self\.say|page\.say)\(\s*"([a-z_.]+)"', Path(module.__file__).read_text()))


@pytest.mark.parametrize(
    ("catalogue", "modules"),
    [
        ("notice", [message, letter]),
        ("problem", [problem_report, problem_page]),
        ("charge", [charges]),
    ],
)
def test_every_sentence_of_the_code_is_in_its_catalogue(catalogue: str, modules: list[Any]) -> None:
    words = tomllib.loads((Path(texts.__file__).parent / f"{catalogue}.toml").read_text(encoding="utf-8"))
    used = {f"{catalogue}.{name}" for module in modules for name in sentences_in(module)}
    assert used
    assert used <= set(words)


def test_the_answers_of_the_commands_are_in_their_catalogue() -> None:
    words = tomllib.loads((Path(texts.__file__).parent / "charge.toml").read_text(encoding="utf-8"))
    code = "".join(Path(str(module.__file__)).read_text() for module in (ack, silence, writing))
    assert set(re.findall(r'"(charge\.[a-z_]+)"', code)) <= set(words)
    assert {f"charge.{name}" for name in ("taken", "taken_until", "noted")} <= set(words)


def test_the_examples_of_the_documentation_are_what_comes_out() -> None:
    page = (Path(__file__).parents[2] / "docs/messages.md").read_text(encoding="utf-8")
    for said in (told(), told(language="zh-CN"), told("resolved", incident=over(), after=2050, payments="ready")):
        assert f"```text\n{said.subject}\n\n{said.text}```\n" in page
    for said in (late(told(), OPENED + 3 * 3600, BEGAN + 2040), told("drill", payments="ready")):
        assert f"```text\n{said.subject}\n\n{said.text.splitlines()[0]}\n\n" in page
