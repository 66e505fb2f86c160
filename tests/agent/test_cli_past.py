"""posagent incidents and history: the past as the state file has it, beside a daemon that writes to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import texts
from agent.cli.history import Share, _bar, _long_bar, _percent
from agent.incidents import Incident
from agent.state import Transition
from agent.store import Batch, Event, Note, Store
from probes.model import Status
from tests.agent.daemons import POSAGENT, Desk

Run = Callable[..., subprocess.CompletedProcess[str]]
NOW = time.time()
NOW_AT_IMPORT = NOW
TODAY = datetime.fromtimestamp(NOW).astimezone().date()


@pytest.fixture(autouse=True)
def just_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own now: the commands look at the clock themselves."""
    moment = time.time()
    monkeypatch.setattr(sys.modules[__name__], "NOW", moment)
    monkeypatch.setattr(sys.modules[__name__], "TODAY", datetime.fromtimestamp(moment).astimezone().date())
    for name in ("CABLE", "LINE", "NAMES"):
        monkeypatch.setattr(sys.modules[__name__], name, later(globals()[name], moment - NOW_AT_IMPORT))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, '[contacts]\nstore = "duty manager 8001"\n')


@pytest.fixture
def posagent(desk: Desk) -> Run:
    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [POSAGENT, *words], env=desk.env | env, capture_output=True, text=True, timeout=30, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    return run


def incident(name: str, cause: str, ago: float, lasted: float | None, **more: Any) -> Incident:
    return Incident(
        **{"party": "store", "category": "network", "confidence": "certain", "fingerprint": "f0", "impact": "stop"}
        | {"id": name, "cause": cause, "began_at": NOW - ago - 10, "opened_at": NOW - ago}
        | {"resolved_at": None if lasted is None else NOW - ago + lasted}
        | more
    )


def later(one: Incident, seconds: float) -> Incident:
    over = one.resolved_at + seconds if one.resolved_at is not None else None
    return msgspec.structs.replace(
        one, began_at=one.began_at + seconds, opened_at=one.opened_at + seconds, resolved_at=over
    )


CABLE = incident(
    "261122-CABL", "lan.cable_unplugged", 7500, None, headline="The network cable of eth0 is unplugged",
    probes=("eth0", "auth"), evidence=("eth0: interface.no_carrier",), flapping=True, previous="261121-CABL",
)  # fmt: skip
LINE = incident("261120-LINE", "isp.down", 190_000, 1920, headline="The internet is down", party="isp")
NAMES = incident("261122-NAME", "dns.down", 9000, 1500, joined_to="261122-CABL", probes=("dns",))


@pytest.fixture
def store(desk: Desk) -> Any:
    """A state file with something in it, kept open as by a daemon."""
    state = Store(desk.state / "state.sqlite")
    batch = Batch(incidents=[CABLE, LINE, NAMES])
    batch.transitions = [
        Transition(probe="eth0", at=NOW - 7509, old=Status.OK, new=Status.FAIL, reason="interface.no_carrier"),
        Transition(probe="disk", at=NOW - 7400, old=None, new=Status.OK, reason="ok"),
    ]
    dark = {"why": "power_cut", "from": NOW - 5000, "until": NOW - 1400, "seconds": 3600.0}
    batch.events = [
        Event(at=NOW - 1390, what="dark", facts=dark),
        Event(at=NOW - 1380, what="agent.started", facts={"version": "0.1"}),
        Event(at=NOW - 1000, what="clock.jumped", facts={"seconds": -3600.0, "from": 1.0, "to": 2.0}),
    ]
    for back in range(3):
        day = (TODAY - timedelta(days=back)).isoformat()
        batch.availability += [(day, "eth0", 46_800.0 - back * 4680, back * 4680.0, 0.0), (day, "auth", 0.0, 0.0, 60.0)]
    state.save(batch)
    state.add_note(Note(incident="261122-CABL", at=NOW - 60, by="Li", text="cable ordered"))
    yield state
    state.close()


def local(moment: float, form: str = "%H:%M") -> str:
    return time.strftime(form, time.gmtime(moment))  # the commands run with TZ=UTC


@pytest.mark.usefixtures("store")
def test_open_incidents_come_first_and_say_since_when(posagent: Run) -> None:
    done = posagent("incidents")
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "Open incidents"
    assert lines[1].startswith("261122-CABL since ")
    remarks = "The network cable of eth0 is unplugged · Li takes care of it · comes and goes"
    assert lines[1].endswith(f" 2 h 5 min lan.cable_unplugged {remarks}")
    assert lines[2] == "Past incidents"
    assert lines[3].startswith("261122-NAME ")
    assert " 25 min dns.down " in lines[3]
    assert lines[3].endswith(" · explained by 261122-CABL")
    assert lines[4].startswith(f"261120-LINE {local(LINE.opened_at, '%Y-%m-%d %H:%M')} – ")
    assert lines[4].endswith(" 32 min isp.down The internet is down")
    assert len(lines) == 5


@pytest.mark.usefixtures("store")
def test_a_reader_of_chinese_gets_chinese_titles_even_of_what_was_told_in_english(posagent: Run) -> None:
    lines = posagent("incidents", "--lang", "zh-CN").stdout.splitlines()
    assert lines[0] == "未关闭的事件"
    assert "网线" in lines[1]
    assert "2 小时 5 分钟" in lines[1]
    assert lines[2] == "历史事件"
    assert "cable" not in "".join(lines).replace("lan.cable_unplugged", "")


@pytest.mark.usefixtures("store")
def test_one_incident_is_told_whole(posagent: Run) -> None:
    done = posagent("incidents", "261122-cab")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "The network cable of eth0 is unplugged [lan.cable_unplugged, certain]"
    for line in (
        "Incident 261122-CABL",
        "State open",
        f"First sign {local(CABLE.began_at, '%Y-%m-%d %H:%M:%S')}",
        f"Confirmed {local(CABLE.opened_at, '%Y-%m-%d %H:%M:%S')}",
        "Lasted 2 h 5 min",
        "Effect card payments are down",
        "Call the store itself: duty manager 8001",
        "Pattern comes and goes",
        "It was here before as 261121-CABL",
        "- eth0: interface.no_carrier",
        "- auth",
        f"- {local(NOW - 7509, '%Y-%m-%d %H:%M:%S')} eth0: ok → FAIL interface.no_carrier",
        "- 261122-NAME The till cannot look up the names of the banks' computers",
        f"- {local(NOW - 60, '%Y-%m-%d %H:%M:%S')} Li: cable ordered",
        "Do now",
    ):
        assert line in lines, done.stdout
    assert "disk" not in done.stdout


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "words", [["incidents"], ["incidents", "261122-CABL"], ["incidents", "261120-LINE"], ["history"]]
)
def test_everything_is_told_in_chinese_too(posagent: Run, words: list[str]) -> None:
    done = posagent(*words, "--lang", "zh-CN")
    assert (done.returncode, done.stderr) == (0, "")
    english = (
        "since",
        "Open",
        "State",
        "Lasted",
        "Call",
        "Notes",
        "explained",
        "Availability",
        "out of order",
        "power",
        "clock",
    )
    assert not [word for word in english if word in done.stdout]


@pytest.mark.usefixtures("store")
def test_json_of_all_and_of_one(posagent: Run) -> None:
    listed = json.loads(posagent("incidents", "--json").stdout)
    assert [each["id"] for each in listed] == ["261122-CABL", "261122-NAME", "261120-LINE"]
    assert [each["state"] for each in listed] == ["open", "joined", "resolved"]
    assert listed[2]["duration_s"] == 1920
    one = json.loads(posagent("incidents", "261122-CABL", "--json").stdout)
    assert one["contact"] == "duty manager 8001"
    assert one["joined"] == ["261122-NAME"]
    assert one["notes"][0]["text"] == "cable ordered"
    assert [change["reason"] for change in one["changes"]] == ["interface.no_carrier"]
    assert one["resolved_at"] is None


@pytest.mark.usefixtures("store")
def test_since_leaves_out_what_was_over_before(posagent: Run) -> None:
    ids = [each["id"] for each in json.loads(posagent("incidents", "--json", "--since", "1d").stdout)]
    assert ids == ["261122-CABL", "261122-NAME"]
    done = posagent("incidents", "--since", "soon")
    assert (done.returncode, done.stdout) == (64, "")
    assert "--since: expected a duration" in done.stderr


def test_only_the_newest_past_ones_are_listed_unless_all_are_wanted(posagent: Run, desk: Desk) -> None:
    with_many = Store(desk.state / "state.sqlite")
    with_many.save(Batch(incidents=[incident(f"id-{n:02}", "isp.down", 5000 * n + 5000, 60) for n in range(25)]))
    with_many.close()
    lines = posagent("incidents").stdout.splitlines()
    assert (len(lines), lines[-1]) == (22, "5 older ones; --all shows them")
    assert len(posagent("incidents", "--all").stdout.splitlines()) == 26


@pytest.mark.usefixtures("store")
def test_an_id_that_is_none_or_several(posagent: Run) -> None:
    none, several = posagent("incidents", "nope"), posagent("incidents", "261122-")
    assert none.returncode == several.returncode == 64
    assert "there is none of this id" in none.stderr
    assert "did you mean one of 261122-CABL, 261122-NAME?" in several.stderr


@pytest.mark.usefixtures("store")
def test_a_configuration_that_is_broken_today_hides_no_past(posagent: Run, desk: Desk) -> None:
    desk.config.write_text("[probes.disk]\nkind = 5\n")
    for words in (["incidents"], ["incidents", "261122-CABL"], ["history"]):
        assert posagent(*words).returncode == 0
    assert "no number is configured" in posagent("incidents", "261122-CABL").stdout


@pytest.mark.parametrize("words", ["incidents", "incidents x", "history", "incidents --json"])
def test_where_nothing_was_recorded_it_says_so(posagent: Run, desk: Desk, words: str) -> None:
    done = posagent(*words.split())
    assert (done.returncode, done.stdout) == (3, "")
    assert f"cannot open {desk.state}/state.sqlite" in done.stderr
    assert "nothing is recorded before `posagent run` has run" in done.stderr
    assert not (desk.state / "state.sqlite").exists(), "a reader makes nothing"


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 100, b"\x00" * 8192])
def test_a_damaged_state_file_is_left_alone_and_said_to_be_damaged(posagent: Run, desk: Desk, content: bytes) -> None:
    path = desk.state / "state.sqlite"
    path.write_bytes(content)
    done = posagent("incidents")
    assert done.returncode == 3
    assert f"posagent: cannot open {path}: " in done.stderr
    assert "mends or renews it" in done.stderr
    assert path.read_bytes() == content
    assert [entry.name for entry in desk.state.iterdir()] == ["state.sqlite"]


def test_nothing_ever_went_wrong(posagent: Run, desk: Desk) -> None:
    Store(desk.state / "state.sqlite").close()
    assert posagent("incidents").stdout == "no incident on record\n"
    assert posagent("incidents", "--json").stdout == "[]\n"
    assert posagent("history").stdout == "nothing is recorded for these days\n"


@pytest.mark.usefixtures("store")
def test_history_shows_each_probe_and_day_and_what_happened(posagent: Run) -> None:
    lines = [" ".join(line.split()) for line in posagent("history", "--days", "3", TZ="").stdout.splitlines()]
    days = [(TODAY - timedelta(days=back)).isoformat()[5:] for back in (2, 1, 0)]
    assert lines[0] == "Availability inside opening hours"
    assert lines[1] == f"in all {' '.join(days)} out of order not seen"
    assert lines[2] == "auth – ··· – – – – 3 min"
    assert lines[4] == "eth0 90.0 % ▆▇█ 80.0 % 90.0 % 100 % 3 h 54 min –"
    assert "disk" in lines[3], "a probe without a record of availability, but with a change"
    at = lines.index("Dark times and other events, newest first")
    assert lines[at + 1].endswith("this PC's clock was set back by 1 h")
    assert "power cut or reset: this PC was off from " in lines[at + 2]
    assert lines[at + 2].endswith("(1 h)")
    assert lines[at + 3] == "", "that the agent was started is no news"
    assert lines[at + 4] == "Changes of status, newest first"
    assert lines[at + 5].endswith("disk: ok ok")
    assert lines[at + 6].endswith("eth0: ok → FAIL interface.no_carrier")


@pytest.mark.usefixtures("store")
def test_history_of_one_probe_day_by_day(posagent: Run) -> None:
    lines = posagent("history", "--days", "3", "--probe", "eth0").stdout.splitlines()
    assert " ".join(lines[2].split()) == f"{TODAY - timedelta(days=2)} 80.0 % {'█' * 16}{'░' * 4} 2 h 36 min –"
    assert " ".join(lines[4].split()) == f"{TODAY} 100 % {'█' * 20} – –"
    assert not any("disk" in line for line in lines)
    done = posagent("history", "--probe", "eht0")
    assert (done.returncode, done.stdout) == (64, "")
    assert "did you mean 'eth0'?" in done.stderr


@pytest.mark.usefixtures("store")
def test_history_for_programs(posagent: Run) -> None:
    data = json.loads(posagent("history", "--json", "--days", "2").stdout)
    assert data["days"] == [(TODAY - timedelta(days=back)).isoformat() for back in (1, 0)]
    row = {"day": (TODAY - timedelta(days=1)).isoformat(), "probe": "eth0", "good_s": 42120.0, "bad_s": 4680.0}
    assert row | {"blind_s": 0.0, "percent": 90.0} in data["availability"]
    assert {each["what"] for each in data["events"]} >= {"dark", "clock.jumped"}
    assert {each["probe"] for each in data["transitions"]} >= {"eth0"}


@pytest.mark.parametrize("days", ["0", "-1", "4000", "soon"])
def test_a_number_of_days_that_is_none_is_a_usage_error(posagent: Run, days: str) -> None:
    assert posagent("history", "--days", days).returncode == 64


@pytest.mark.usefixtures("store")
def test_many_days_have_bars_and_no_columns(posagent: Run) -> None:
    lines = posagent("history", "--days", "60", "--lang", "zh-CN").stdout.splitlines()
    row = next(line for line in lines if "eth0" in line)
    assert "·" * 57 + "▆▇█" in row
    assert row.endswith("–")


@pytest.mark.usefixtures("store")
def test_a_user_who_may_not_read_the_state_is_told_what_to_ask_for(desk: Desk) -> None:
    (desk.state / "state.sqlite").chmod(0o600 if os.geteuid() == 0 else 0)
    script = "import os, agent.store; from agent.cli import Complaint, past\n"
    script += "if os.geteuid() == 0: os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
    script += "try: past.opened()\nexcept Complaint as complaint: print(complaint.code, complaint)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": os.environ["PATH"], "STATE_DIRECTORY": "."},
        cwd=desk.state,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert not done.stderr
    assert done.stdout.startswith("3 posagent: cannot open state.sqlite: ")
    assert done.stdout.endswith("; ask for membership of the file's group\n")


@pytest.mark.parametrize(
    ("share", "percent", "bar", "long"),
    [
        (Share(100, 0, 0), "100 %", "█", "█" * 20),
        (Share(1_000_000, 1, 0), "99.99 %", "▇", "█" * 19 + "░"),
        (Share(995, 5, 0), "99.50 %", "▇", "█" * 19 + "░"),
        (Share(50, 50, 100), "50.0 %", "▄", "█" * 5 + "░" * 5 + "·" * 10),
        (Share(0, 10, 0), "0.0 %", "▁", "░" * 20),
        (Share(0, 0, 10), "–", "·", "·" * 20),
        (Share(0, 0, 0), "–", "·", ""),
        (None, "–", "·", ""),
    ],
)
def test_a_second_of_trouble_is_never_rounded_away(share: Share | None, percent: str, bar: str, long: str) -> None:
    assert (_percent(share), _bar(share), _long_bar(share)) == (percent, bar, long)


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("why", ["power_cut", "shutdown", "agent_stopped", "agent_crashed", "unheard_of"])
def test_every_dark_time_has_a_sentence(language: Any, why: str) -> None:
    known = texts.event("dark", language, {"why": why, "from": 0.0, "until": 60.0, "seconds": 60.0})
    assert "?" not in known
    assert ("1 min" in known) == (language == "en")
    unknown = texts.event("dark", language, {"why": why, "from": 60.0, "until": 0.0})
    assert "(?)" in unknown or "（?）" in unknown, "the clock was set back in between: nobody can know"


def test_an_event_nobody_has_words_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert texts.event("moon.rose", "en", {}) == "moon.rose"
    assert texts.fill("{at:clock}", {"at": 1767225600.0}) == "01-01 00:00"
    assert texts.fill("{at:clock}", {"at": "soon"}) == "soon"
