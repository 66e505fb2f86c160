"""Each service is told as it documents it, by its own name, over real TLS; its refusals are understood."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.channels import dingtalk, feishu, marks, pagerduty, slack, teams, telegram, web, webhook, wecom
from agent.config.channels import DingTalk, Feishu, PagerDuty, Slack, Teams, Telegram, WeCom
from agent.config.model import Channel
from agent.outcome import concealed
from probes.host import resolve
from probes.host.http import Answer
from tests.agent import doubles
from tests.agent.doubles import GONE, MESSAGE, SECRET, Asked, Town, always, answer, deliver, place

LONG = msgspec.structs.replace(MESSAGE, text="断网。" * 4000, markdown="**断网** <b> & _x_\n" * 2000)


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    """Every name of the world leads to loopback."""
    monkeypatch.setattr(resolve, "_getaddrinfo", lambda name: ("127.0.0.1",))
    return Town(tmp_path)


NAMES = {
    "wecom": "qyapi.weixin.qq.com",
    "dingtalk": "oapi.dingtalk.com",
    "feishu": "open.feishu.cn",
    "slack": "hooks.slack.com",
    "teams": "prod-01.westeurope.logic.azure.com",
    "telegram": "api.telegram.org",
    "pagerduty": "events.pagerduty.com",
}
PATHS = {
    "wecom": f"/cgi-bin/webhook/send?key={SECRET}",
    "dingtalk": f"/robot/send?access_token={SECRET}",
    "feishu": f"/open-apis/bot/v2/hook/{SECRET}",
    "slack": f"/services/T000/B000/{SECRET}",
    "teams": f"/workflows/1/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers&sig={SECRET}",
}


def channel(kind: str, double: doubles.Double, **more: Any) -> tuple[Channel, dict[str, str]]:
    """A channel to the double, and the environment its secrets are in."""
    web: dict[str, Any] = {"kind": kind, "ca_file": double.ca_file, "timeout": 5, **more}
    env = {"URL": double.url + PATHS[kind]} if kind in PATHS else {}
    env |= {"SIGN": "SEC" + SECRET, "TOKEN": f"123:{SECRET}"}
    made: dict[str, Channel] = {
        "wecom": lambda: WeCom(url=place("URL"), **web),
        "dingtalk": lambda: DingTalk(url=place("URL"), sign=place("SIGN"), **web),
        "feishu": lambda: Feishu(url=place("URL"), sign=place("FSIGN"), **web),
        "slack": lambda: Slack(url=place("URL"), **web),
        "teams": lambda: Teams(url=place("URL"), **web),
        "telegram": lambda: Telegram(token=place("TOKEN"), chat="-100200", api=double.url, **web),
        "pagerduty": lambda: PagerDuty(routing_key=place(), url=f"{double.url}/v2/enqueue", **web),
    }[kind]()  # type: ignore[assignment]
    return made, env | {"FSIGN": "SIGN" + SECRET}  # type: ignore[return-value]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_service_takes_what_is_sent(kind: str, form: str, town: Town) -> None:
    with town.serving(NAMES[kind], getattr(doubles, kind)) as double:
        to, env = channel(kind, double, **({} if kind == "pagerduty" else {"format": form}))
        for message in (MESSAGE, GONE, LONG):
            outcome = deliver(to, message, **env)
            assert outcome.ok, outcome.detail
        assert [asked.method for asked in double.asked] == ["POST"] * 3
        assert all(asked.headers["host"] == f"{NAMES[kind]}:{double.port}" for asked in double.asked)


@pytest.mark.parametrize("kind", NAMES)
def test_a_wrong_secret_is_a_lasting_refusal_that_names_no_secret(kind: str, town: Town) -> None:
    with town.serving(NAMES[kind], getattr(doubles, kind)) as double:
        to, env = channel(kind, double)
        wrong = {name: value.replace(SECRET, "wr0ng-secret-99") for name, value in env.items()}
        outcome = deliver(to, SECRET="wr0ng-secret-99", **wrong)
    assert (outcome.ok, outcome.permanent) == (False, True), outcome.detail
    assert "wr0ng" not in outcome.detail
    assert outcome.detail


ANSWERS = [
    # kind, what the service answers, permanent?, retry_after, a word of the detail
    ("wecom", answer("200 OK", {"errcode": 45009, "errmsg": "api freq out of limit"}), False, 60.0, "45009"),
    ("wecom", answer("200 OK", {"errcode": -1, "errmsg": "system busy"}), False, None, "system busy"),
    ("wecom", answer("200 OK", "<html>login</html>"), False, None, "without `errcode`"),
    ("dingtalk", answer("200 OK", {"errcode": 130101, "errmsg": "send too fast"}), False, 60.0, "too fast"),
    ("dingtalk", answer("200 OK", {"errcode": 310000, "errmsg": "invalid timestamp"}), False, None, "clock"),
    ("dingtalk", answer("200 OK", {"errcode": 300001, "errmsg": "token is not exist"}), True, None, "access_token"),
    ("feishu", answer("200 OK", {"code": 11232, "msg": "frequency limited"}), False, 60.0, "frequency"),
    ("feishu", answer("200 OK", {"code": 19021, "msg": "sign match fail"}), False, None, "clock"),
    ("feishu", answer("400 Bad Request", {"code": 9499, "msg": "Bad Request"}), True, None, "9499"),
    ("feishu", answer("200 OK", {"code": 19024, "msg": "Key Words Not Found"}), True, None, "keyword"),
    ("slack", answer("200 OK", "<html>Log in to the guest network</html>"), False, None, "not ok"),
    ("slack", answer("404 Not Found", "channel_not_found"), True, None, "channel_not_found"),
    ("slack", answer("429 Too Many Requests", "", "Retry-After: 30"), False, 30.0, "429"),
    ("slack", answer("500 Server Error", "rollup_error"), False, None, "rollup_error"),
    (
        "teams",
        answer(
            "200 OK", "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429"
        ),
        False,
        None,
        "HTTP error 429",
    ),
    ("teams", answer("401 Unauthorized", {"error": {"code": "Unauthorized"}}), True, None, "401"),
    (
        "telegram",
        answer(
            "429 Too Many Requests",
            {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 5}},
        ),
        False,
        5.0,
        "Too Many",
    ),
    (
        "telegram",
        answer("200 OK", {"ok": False, "error_code": 403, "description": "bot was kicked"}),
        True,
        None,
        "kicked",
    ),
    (
        "telegram",
        answer(
            "400 Bad Request",
            {"ok": False, "error_code": 400, "description": "upgraded", "parameters": {"migrate_to_chat_id": -5}},
        ),
        True,
        None,
        'chat = "-5"',
    ),
    ("pagerduty", answer("200 OK", "hello"), False, None, "200"),
    ("pagerduty", answer("429 Too Many Requests", {"status": "throttle exceeded"}), False, None, "429"),
    ("pagerduty", answer("500 Internal Server Error"), False, None, "500"),
]


@pytest.mark.parametrize(("kind", "said", "permanent", "retry_after", "word"), ANSWERS)
def test_what_the_service_answers_is_understood(
    kind: str, said: bytes, permanent: bool, retry_after: float | None, word: str, town: Town
) -> None:
    """A 200 that says failure in its body is a failure."""
    with town.serving(NAMES[kind], always(said)) as double:
        to, env = channel(kind, double)
        outcome = deliver(to, **env)
    assert (outcome.ok, outcome.permanent, outcome.retry_after) == (False, permanent, retry_after), outcome.detail
    assert word in outcome.detail


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{", b'"ok"', b"\xff\x00", b"1", b'{"errcode": "x", "ok": 1}', b"[" * 5000]
)
def test_nonsense_in_a_200_is_no_delivery(kind: str, body: bytes, town: Town) -> None:
    """But for Teams, whose workflows answer with nothing."""
    with town.serving(NAMES[kind], always(answer("200 OK", body))) as double:
        to, env = channel(kind, double)
        outcome = deliver(to, **env)
    assert (outcome.ok, outcome.permanent) == (kind == "teams", False), outcome.detail


def sent(kind: str, town: Town, message: Any = MESSAGE, **more: Any) -> Asked:
    with town.serving(NAMES[kind], getattr(doubles, kind)) as double:
        to, env = channel(kind, double, **more)
        assert deliver(to, message, **env).ok
        return double.asked[0]


def test_wecom_calls_people_by_name(town: Town) -> None:
    body = sent("wecom", town, format="text", mention=("zhang", "13800000000", "@all")).json
    assert body["text"]["mentioned_list"] == ["zhang", "@all"]
    assert body["text"]["mentioned_mobile_list"] == ["13800000000"]
    assert sent("wecom", town, mention=("zhang",)).json["markdown"]["content"].endswith("\n<@zhang>")


def test_wecom_gets_as_much_as_it_takes_and_no_broken_character(town: Town) -> None:
    content = sent("wecom", town, LONG, format="text").json["text"]["content"]
    assert 2040 <= len(content.encode()) <= 2048
    assert content.endswith("…")
    assert "\ufffd" not in content


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("form", ["text", "markdown"])
def test_whose_till_it_is_stands_in_the_message_itself(kind: str, form: str, town: Town) -> None:
    """A group reads of many tills, and a telephone shows the first line only."""
    body = sent(kind, town, **({} if kind == "pagerduty" else {"format": form})).json
    assert json.dumps(body).count(MESSAGE.subject) >= (2 if (kind, form) == ("dingtalk", "markdown") else 1)


def test_dingtalk_signs_as_openssl_would(town: Town) -> None:
    """printf '1700000000000\\nSECtest' | openssl dgst -sha256 -hmac SECtest -binary | base64"""
    expected = "timestamp=1700000000000&sign=aZLLrriXgn05YbwaGR7knYsLeJADjr9NwLaNNKpxh4g%3D"
    assert dingtalk.signature("SECtest", 1700000000000) == expected
    asked = sent("dingtalk", town, mention=("13800000000",))
    assert asked.json["at"] == {"atMobiles": ["13800000000"], "isAtAll": False}
    assert asked.json["markdown"]["text"].endswith("@13800000000")
    assert asked.json["markdown"]["title"] == MESSAGE.subject


def test_dingtalk_behind_a_wrong_clock_is_tried_again(town: Town) -> None:
    in_2000 = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC).timestamp()
    with town.serving(NAMES["dingtalk"], lambda asked: doubles.dingtalk(asked, now=lambda: in_2000)) as double:
        to, env = channel("dingtalk", double)
        outcome = deliver(to, **env)
    assert (outcome.ok, outcome.permanent) == (False, False)
    assert "invalid timestamp" in outcome.detail


def test_feishu_signs_as_openssl_would(town: Town) -> None:
    """printf '' | openssl dgst -sha256 -mac HMAC -macopt hexkey:(time, line end, secret) -binary | base64"""
    assert feishu.signature("SECtest", 1700000000) == "G7XpBpG8NgG02fJOAhX6FRAObIljmFoxVReo8I62pEk="
    card = sent("feishu", town).json["card"]
    assert card["header"] == {"title": {"tag": "plain_text", "content": MESSAGE.subject}, "template": "red"}
    assert card["elements"][0]["content"].startswith("**Network cable unplugged**\n")
    assert sent("feishu", town, GONE).json["card"]["header"]["template"] == "green"


def test_slack_is_sent_its_own_marks_and_text_that_stays_text(town: Town) -> None:
    text = sent("slack", town).json["text"]
    assert text.startswith(
        f"*{MESSAGE.subject}*\n\n*Network cable unplugged*\n\n*Since* 09:01, `eth0`\n\n• Push the cable in\n"
    )
    assert "<https://isp.example/a?b=1&amp;c=2|the ISP>" in text
    plain = sent("slack", town, format="text").json
    assert "Call: 10000 &lt;isp&gt; &amp; co" in plain["text"]
    assert plain["mrkdwn"] is False


def test_teams_is_sent_an_adaptive_card(town: Town) -> None:
    [card] = sent("teams", town).json["attachments"]
    title, *blocks = card["content"]["body"]
    assert (title["text"], title["color"]) == (MESSAGE.subject, "Attention")
    assert [block["text"].split("\r")[0] for block in blocks] == [
        "**Network cable unplugged**",
        "**Since** 09:01, `eth0`",
        "- Push the cable in",
    ]


def test_telegram_is_sent_html_that_is_well_formed(town: Town) -> None:
    body = sent("telegram", town, thread=7).json
    assert (body["chat_id"], body["message_thread_id"], body["parse_mode"]) == ("-100200", 7, "HTML")
    assert "<b>Network cable unplugged</b>" in body["text"]
    assert '<a href="https://isp.example/a?b=1&amp;c=2">the ISP</a>' in body["text"]
    assert "<code>eth0</code>" in body["text"]
    assert "parse_mode" not in sent("telegram", town, format="text").json


def test_pagerduty_opens_and_resolves_one_incident(town: Town) -> None:
    opened, gone = sent("pagerduty", town).json, sent("pagerduty", town, GONE).json
    assert opened["dedup_key"] == gone["dedup_key"] == "posagent/0042/T01/20261122-0901-lan"
    assert (opened["event_action"], gone["event_action"]) == ("trigger", "resolve")
    payload = opened["payload"]
    assert (payload["severity"], payload["source"], payload["component"]) == (
        "critical",
        "0042 T01",
        "lan.cable_unplugged",
    )
    assert payload["summary"] == MESSAGE.subject
    assert payload["custom_details"]["text"] == MESSAGE.text
    assert "payload" not in gone


def test_a_drill_in_pagerduty_never_opens_a_real_incident(town: Town) -> None:
    drill = msgspec.structs.replace(MESSAGE, what="drill", severity="info", key="drill-1", data={"store": "0042"})
    body = sent("pagerduty", town, drill).json
    assert body["payload"]["severity"] == "info"
    assert body["dedup_key"].endswith("drill-1")


@pytest.mark.parametrize("write", [marks.for_slack, marks.for_telegram, marks.for_cards, marks.for_dingtalk])
def test_marks_lose_no_word(write: Any) -> None:
    words = ("Network", "cable", "unplugged", "Since", "eth0", "Push", "the ISP")
    assert all(word in write(MESSAGE.markdown) for word in words)
    assert write("") == ""


HOSTILE = (
    "**a",
    "a**b**",
    "`a",
    "[a](javascript:x)",
    '[a](https://x/"onclick=1)',
    "<script>",
    "&amp;",
    "# ",
    "**`a**`",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_odd_text_is_taken_by_telegram_all_the_same(text: str, town: Town) -> None:
    body = sent("telegram", town, msgspec.structs.replace(MESSAGE, markdown=text + " x")).json
    assert "<script" not in body["text"]
    assert json.dumps(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "errcode",
                    "errmsg",
                    "code",
                    "msg",
                    "ok",
                    "success",
                    "error_code",
                    "description",
                    "parameters",
                    "retry_after",
                    "migrate_to_chat_id",
                    "status",
                    "message",
                    "errors",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)
JUDGES = [wecom._judge, dingtalk._judge, feishu._judge, slack._judge, teams._judge, telegram._judge, pagerduty._judge]


@pytest.mark.parametrize(
    "judge", [*JUDGES, lambda found: webhook._judge(found, "ok+")], ids=lambda judge: judge.__module__
)
@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), status=st.integers(200, 599))
def test_whatever_a_service_answers_an_outcome_comes_of_it(judge: web.Judge, body: bytes, status: int) -> None:
    found = judge(Answer(status=status, body=body))
    if found is not None:
        assert found.ok <= (status < 400)
        assert not (found.ok and found.permanent)
        assert found.retry_after is None or 0 <= found.retry_after <= 86400


@settings(max_examples=300, deadline=None)
@given(
    secret=st.from_regex(r"[A-Za-z0-9_-]{6,40}", fullmatch=True).filter(lambda text: text.lower() not in "(not shown)"),
    before=st.text(max_size=40),
    after=st.text(max_size=400),
)
def test_no_text_shows_a_secret_that_it_held(secret: str, before: str, after: str) -> None:
    for known in (secret, f"https://h.example/hook/{secret}?x={secret}", f"https://till:{secret}@h.example/"):
        assert secret not in concealed(before + secret + after, [known])
