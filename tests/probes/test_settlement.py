"""settlement: what the POS software wrote, in its formats, zones and encodings; which deadline passed; what went wrong."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.texts import sentence
from probes import moments, records
from probes.batches import Close, Meanings, Reading, understand
from probes.host import Host
from probes.model import Observation, Seconds, Status
from probes.records import Fields, Row
from probes.settlement import KIND
from probes.settlement_settings import CLOSE, SUCCESS, WAITING, SettlementSettings

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
MEANINGS = Meanings.of(SUCCESS, WAITING, CLOSE, is_log=False)
LOG = (
    r"^(?P<time>\S+ \S+) (?P<type>SALE|REFUND|SETTLEMENT) (?:amt=(?P<amount>\S+) )?(?:ref=(?P<reference>\S+) )?rc=(?P<status>\S+)",
)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def probe(**given: Any) -> SettlementSettings:
    converted = msgspec.convert(
        {"kind": "settlement", **given}, SettlementSettings, dec_hook=lambda of, value: of.parse(value)
    )
    assert list(KIND.problems(converted)) == []
    return converted


def look(wanted: SettlementSettings, host: Host, memory: dict[str, Any] | None = None) -> Observation:
    reading = KIND.read(wanted, host)
    # Through the notebook and back: what is remembered must survive as JSON.
    observation = KIND.judge(wanted, reading, memory or {})
    assert json.loads(json.dumps(observation.memory)) == observation.memory
    return observation


def ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()


# --- the settlement day ---


@pytest.mark.parametrize(
    ("now", "zone", "deadline", "began", "due"),
    [
        # Shanghai is eight hours ahead, all year.
        pytest.param("2026-11-22 15:29:59", SHANGHAI, "23:30", "2026-11-20 16:00", "2026-11-21 15:30", id="a second before"),
        pytest.param("2026-11-22 15:30:00", SHANGHAI, "23:30", "2026-11-21 16:00", "2026-11-22 15:30", id="just passed"),
        pytest.param("2026-11-22 20:00:00", SHANGHAI, "23:30", "2026-11-21 16:00", "2026-11-22 15:30", id="next morning"),
        pytest.param("2026-11-22 18:00:00", SHANGHAI, "02:00", "2026-11-22 04:00", "2026-11-22 18:00", id="02:00 belongs to the day before"),
        pytest.param("2026-11-22 17:59:59", SHANGHAI, "02:00", "2026-11-21 04:00", "2026-11-21 18:00", id="02:00 not yet"),
        # Berlin: UTC+1 in winter, UTC+2 in summer; the change was on 29 March and 25 October 2026.
        pytest.param("2026-10-25 23:00:00", BERLIN, "23:30", "2026-10-24 22:00", "2026-10-25 22:30", id="a day of 25 hours"),
        pytest.param("2026-03-29 23:00:00", BERLIN, "23:30", "2026-03-28 23:00", "2026-03-29 21:30", id="a day of 23 hours"),
        pytest.param("2026-10-25 01:29:59", BERLIN, "02:30", "2026-10-23 10:00", "2026-10-24 00:30", id="02:30 comes twice: the first does not count"),
        pytest.param("2026-10-25 01:30:00", BERLIN, "02:30", "2026-10-24 10:00", "2026-10-25 01:30", id="02:30 comes twice: the second does"),
        pytest.param("2026-03-29 01:29:59", BERLIN, "02:30", "2026-03-27 11:00", "2026-03-28 01:30", id="02:30 is skipped: not before 03:30"),
        pytest.param("2026-03-29 01:30:00", BERLIN, "02:30", "2026-03-28 11:00", "2026-03-29 01:30", id="02:30 is skipped: at 03:30"),
        # New York: the clock went back on 1 November 2026 at 02:00, from UTC-4 to UTC-5.
        pytest.param("2026-11-02 04:30:00", NEW_YORK, "23:30", "2026-11-01 04:00", "2026-11-02 04:30", id="New York, a day of 25 hours"),
    ],
)  # fmt: skip
def test_the_deadline_that_passed_last_and_the_day_it_belongs_to(
    now: str, zone: ZoneInfo, deadline: str, began: str, due: str
) -> None:
    assert moments.settlement_day(utc(now), zone, deadline, moments.DAYS) == (utc(began), utc(due))


def test_a_day_off_has_no_deadline() -> None:
    six_days: tuple[moments.Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat")
    # 22 November 2026 is a Sunday: on Monday morning Saturday's deadline is still the last.
    monday = utc("2026-11-23 01:00")
    assert moments.settlement_day(monday, SHANGHAI, "23:30", six_days) == (
        utc("2026-11-20 16:00"),
        utc("2026-11-21 15:30"),
    )
    # With a deadline after midnight, Saturday's is on Sunday.
    assert moments.settlement_day(monday, SHANGHAI, "02:00", six_days) == (
        utc("2026-11-21 04:00"),
        utc("2026-11-21 18:00"),
    )


# --- times as they are written ---

NOW = utc("2026-11-22 15:10:00")  # 23:10 in Shanghai


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2026-11-22 23:01:02", None, "2026-11-22 15:01:02"),
        ("2026/11/22 23:01:02.500", None, "2026-11-22 15:01:02.500"),
        ("2026-11-22 23:01:02,500", None, "2026-11-22 15:01:02.500"),
        ("2026-11-22T23:01:02", None, "2026-11-22 15:01:02"),
        ("2026-11-22T15:01:02Z", None, "2026-11-22 15:01:02"),
        ("2026-11-22T15:01:02.123+00:00", None, "2026-11-22 15:01:02.123"),
        ("2026-11-22T10:31:02-0430", None, "2026-11-22 15:01:02"),
        ("2026-11-22 23:01", None, "2026-11-22 15:01:00"),
        ("20261122230102", None, "2026-11-22 15:01:02"),
        ("20261122 230102", None, "2026-11-22 15:01:02"),
        ("2026年11月22日 23:01:02", None, "2026-11-22 15:01:02"),
        ("2026年11月22日23时01分02秒", None, "2026-11-22 15:01:02"),
        ("2026-11-22", None, "2026-11-21 16:00:00"),
        ("1795359662", None, "2026-11-22 15:01:02"),
        ("1795359662.5", None, "2026-11-22 15:01:02.500"),
        ("1795359662000", None, "2026-11-22 15:01:02"),
        ("11-22 23:01:02", None, "2026-11-22 15:01:02"),
        ("12-31 23:01:02", None, "2025-12-31 15:01:02"),
        ("23:01:02", None, "2026-11-22 15:01:02"),
        ("23:50:00", None, "2026-11-21 15:50:00"),
        ("22/11/2026 23:01:02", "%d/%m/%Y %H:%M:%S", "2026-11-22 15:01:02"),
        ("Nov 22 23:01:02", "%b %d %H:%M:%S", "2026-11-22 15:01:02"),
        ("1122230102", "%m%d%H%M%S", "2026-11-22 15:01:02"),
        ("0229120000", "%m%d%H%M%S", "2024-02-29 04:00:00"),
        ("230102", "%H%M%S", "2026-11-22 15:01:02"),
        ("22.11.26 16:01 +0100", "%d.%m.%y %H:%M %z", "2026-11-22 15:01:00"),
        ("11/22/2026 11:01:02 PM", "%m/%d/%Y %I:%M:%S %p", "2026-11-22 15:01:02"),
        # Not understood, and not a guess either.
        ("22/11/2026 23:01", None, None),
        ("yesterday", None, None),
        ("", None, None),
        ("2026-13-41 25:61:61", None, None),
        ("99999999999999999999", None, None),
        ("0000000000", None, None),
        ("2026-11-22 23:01:02", "%d/%m/%Y", None),
    ],
)
def test_times_are_read_as_they_are_written(text: str, form: str | None, expected: str | None) -> None:
    moment = moments.parse(text, form, SHANGHAI, NOW)
    assert moment == (None if expected is None else pytest.approx(utc(expected), abs=0.001))


@settings(deadline=None)
@given(text=st.text(max_size=80), form=st.sampled_from([None, "%d/%m/%Y %H:%M", "%b %d %H:%M:%S", "%H%M", "%j"]))
def test_whatever_the_text_a_time_is_told_or_not(text: str, form: str | None) -> None:
    moment = moments.parse(text, form, BERLIN, NOW)
    assert moment is None or isinstance(moment, float)


# --- judged ---

DAY = 86400.0
BEGAN, DUE = 1000 * DAY, 1000 * DAY + 84600
GOOD = Close(DUE - 600, "2026-11-22 23:20", "ok", settled=True)
OLD = Close(BEGAN - 600, "2026-11-21 23:50", "ok", settled=True)
BAD = Close(DUE - 300, "2026-11-22 23:25", "E12", settled=False)


@pytest.mark.parametrize(
    ("reading", "given", "expected"),
    [
        pytest.param(Reading(last=GOOD, settled=GOOD), {}, (Status.OK, "ok"), id="closed in time"),
        pytest.param(Reading(last=OLD, settled=OLD), {}, (Status.FAIL, "settlement.overdue"), id="closed yesterday only"),
        pytest.param(Reading(last=BAD, settled=GOOD), {}, (Status.FAIL, "settlement.failed"), id="the last one failed"),
        pytest.param(Reading(last=BAD), {}, (Status.FAIL, "settlement.failed"), id="none ever went through"),
        pytest.param(Reading(), {}, (Status.WARN, "settlement.no_record"), id="no close at all"),
        pytest.param(Reading(pending=3), {"deadline": ""}, (Status.OK, "ok"), id="only counting what waits"),
        pytest.param(Reading(last=OLD, settled=OLD), {"deadline": ""}, (Status.OK, "ok"), id="no deadline"),
        pytest.param(Reading(last=OLD, settled=OLD), {"deadline": "", "max_age": "26h"}, (Status.OK, "ok"), id="24 h old of 26"),
        pytest.param(Reading(last=OLD, settled=OLD), {"deadline": "", "max_age": "23h"}, (Status.FAIL, "settlement.overdue"), id="24 h old of 23"),
        pytest.param(Reading(last=GOOD, settled=GOOD, pending=5), {"max_pending": 5}, (Status.OK, "ok"), id="as many as may wait"),
        pytest.param(Reading(last=GOOD, settled=GOOD, pending=6), {"max_pending": 5}, (Status.WARN, "settlement.unsent"), id="one too many"),
        pytest.param(Reading(last=GOOD, settled=GOOD, pending=6), {}, (Status.OK, "ok"), id="no limit set"),
        pytest.param(Reading(last=GOOD, settled=GOOD, pending=1, oldest_pending=DUE - 7200), {"max_pending_age": "1h"}, (Status.WARN, "settlement.unsent"), id="one waits too long"),
        pytest.param(Reading(problem={"detail": "no JSON"}), {}, (Status.UNKNOWN, "settlement.unreadable"), id="unreadable"),
    ],
)  # fmt: skip
def test_each_state_has_its_own_reason(reading: Reading, given: dict[str, Any], expected: tuple[Status, str]) -> None:
    reading = msgspec.structs.replace(reading, now=DUE + 60)
    if given.get("deadline") != "":
        reading = msgspec.structs.replace(reading, began=BEGAN, due=DUE, due_local="2026-11-22 23:30")
    observation = KIND.judge(probe(file="/x", **given), reading, {})
    assert (observation.status, observation.reason) == expected
    for language in ("en", "zh-CN"):
        said = sentence("settlement", observation.reason, observation.measurements, language)
        assert said != observation.reason
        assert "?" not in said or observation.reason == "ok"


def test_a_close_before_the_deadline_is_in_time_and_a_late_one_ends_the_delay() -> None:
    before = Reading(now=DUE - 60, last=OLD, settled=OLD, began=BEGAN - DAY, due=DUE - DAY)
    assert KIND.judge(probe(file="/x"), before, {}).reason == "ok"
    late = Close(DUE + 3000, "2026-11-23 00:20", "ok", settled=True)
    after = Reading(now=DUE + 3600, last=late, settled=late, began=BEGAN, due=DUE)
    assert KIND.judge(probe(file="/x"), after, {}).reason == "ok"


def test_a_rotated_log_does_not_forget_the_last_close() -> None:
    wanted = probe(file="/x")
    seen = KIND.judge(wanted, Reading(now=DUE, last=GOOD, settled=GOOD), {})
    memory = json.loads(json.dumps(seen.memory))
    later = KIND.judge(wanted, Reading(now=DUE + 60, began=BEGAN, due=DUE), memory)
    assert later.reason == "ok"
    assert later.measurements["last_settled"] == "2026-11-22 23:20"
    assert KIND.judge(probe(file="/y"), Reading(now=DUE + 60), memory).reason == "settlement.no_record"
    assert (
        KIND.judge(wanted, Reading(now=DUE + 60), {"source": "/x", "last": {"at": "?"}}).reason
        == "settlement.no_record"
    )


# --- real files ---


def test_a_json_document_by_paths(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "state.json"
    path.write_text(
        json.dumps({"batch": [{"t": 1}, {"closed": ago(60), "code": "00", "no": 7}], "queue": {"unsent": 3}})
    )
    wanted = probe(
        file=str(path), fields={"time": "batch.-1.closed", "status": "batch.-1.code", "pending": "queue.unsent"}
    )
    observation = look(wanted, host)
    assert observation.reason == "ok"
    assert observation.measurements["pending_count"] == 3
    assert observation.measurements["last_status"] == "00"
    assert observation.measurements["last_settled_age_s"] in range(58, 70)


def test_a_json_list_with_the_unsent_ones_beside_it(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "batches.json"
    closes = [{"time": ago(60), "status": "SETTLED"}, {"time": ago(90000), "status": "ERROR 96"}]  # newest first
    path.write_text(json.dumps({"closes": closes, "unsent": [{"pan": "4111111111111111"}, {}]}))
    observation = look(probe(file=str(path), records="closes", fields={"pending": "unsent"}), host)
    assert observation.reason == "ok"
    assert observation.measurements["pending_count"] == 2
    assert "4111111111111111" not in repr(observation)


def test_json_lines_whose_last_line_is_being_written(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "events.jsonl"
    lines = [json.dumps({"time": ago(300), "type": "SETTLEMENT", "status": "ok"})]
    path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n" + '{"time": "2026-11-2')
    assert look(probe(file=str(path)), host).reason == "ok"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_table_in_chinese(tmp_path: Path, host: Host, encoding: str) -> None:
    path = tmp_path / "批结算.csv"
    table = f"交易时间;类型;金额;结果;流水号\r\n{ago(400)};消费;¥128,00;失败;000123\r\n{ago(300)};结算;;成功;\r\n"
    path.write_bytes(table.encode(encoding))
    columns = {"time": "交易时间", "status": "结果", "amount": "金额", "type": "类型", "reference": "流水号"}
    observation = look(probe(file=str(path), format="csv", fields=columns), host)
    assert observation.reason == "ok"
    assert observation.measurements["last_status"] == "成功"
    failed = observation.measurements["failed_transactions"]
    assert isinstance(failed, list)
    assert [line.split("|")[1:] for line in failed] == [["消费", "¥128,00", "失败", "000123"]]


def test_a_table_without_a_header(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "batch.csv"
    path.write_text(f"{ago(300)}\t0042\tok\n")
    observation = look(probe(file=str(path), format="csv", fields={"time": "#1", "status": "#3"}), host)
    assert observation.reason == "ok"


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "batch.csv"
    path.write_text("when,result\n1,2\n")
    observation = look(probe(file=str(path), format="csv", fields={"time": "time_of_close"}), host)
    assert observation.reason == "settlement.unreadable"
    assert "'time_of_close' in: when,result" in observation.evidence[0]


def test_a_log_of_transactions_and_closes(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "pos.log"
    log = [
        "2026-11-20 10:00:00 started",
        "2026-11-20 10:01:00 SALE amt=12.50 ref=000001 rc=00",
        "2026-11-20 10:02:00 SALE amt=99.00 ref=000002 rc=91",
        "2026-11-20 10:03:00 SALE amt=99.00 ref=000002 rc=00",
        "2026-11-20 10:04:00 SALE amt=7.00 ref=000003 rc=96",
        "2026-11-20 10:05:00 SALE amt=8.00 ref=000004 rc=pending",
        "2026-11-20 23:00:00 SETTLEMENT rc=98",
    ]
    path.write_text("\n".join(log) + "\n")
    wanted = probe(file=str(path), format="log", patterns=LOG, timezone="Asia/Shanghai", max_pending_age="1h")
    observation = look(wanted, host)
    assert observation.reason == "settlement.failed"
    assert observation.measurements["last_close"] == "2026-11-20 23:00"
    assert observation.measurements["last_close_at"] == "2026-11-20T15:00:00.000Z"
    assert observation.measurements["last_status"] == "98"
    assert observation.measurements["pending_count"] == 1
    # Reference 000002 was declined and then went through: that is no failed transaction.
    assert observation.measurements["failed_transactions"] == [
        "2026-11-20T02:04:00.000Z|SALE|7.00|96|000003",
        "2026-11-20T15:00:00.000Z|SETTLEMENT||98|",
    ]


def test_a_log_that_was_rotated_a_moment_ago(tmp_path: Path, host: Host) -> None:
    (tmp_path / "pos.log.1").write_text(f"{ago(600).replace('T', ' ')} SETTLEMENT rc=00\n")
    wanted = probe(file=str(tmp_path / "pos.log"), format="log", patterns=LOG)
    assert look(wanted, host).reason == "ok"
    (tmp_path / "pos.log").write_text("a new day\n")
    assert look(wanted, host).reason == "ok"


def test_a_log_with_one_file_per_day(tmp_path: Path, host: Host) -> None:
    for day, age in (("20", 3), ("21", 2), ("22", 1)):
        path = tmp_path / f"pos-2026-11-{day}.log"
        path.write_text(f"{ago(age * 100).replace('T', ' ')} SETTLEMENT rc={'00' if day == '22' else '96'}\n")
        os.utime(path, (time.time() - age * 100,) * 2)
    wanted = probe(file=str(tmp_path / "pos-*.log"), format="log", patterns=LOG)
    observation = look(wanted, host)
    assert observation.reason == "ok"
    assert len(observation.measurements["failed_transactions"]) == 2  # type: ignore[arg-type]


def test_a_line_in_writing_is_left_alone_until_it_is_old(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "pos.log"
    good = f"{ago(900).replace('T', ' ')} SETTLEMENT rc=00\n"
    path.write_text(good + f"{ago(5).replace('T', ' ')} SETTLEMENT rc=9")
    wanted = probe(file=str(path), format="log", patterns=LOG)
    assert look(wanted, host).reason == "ok"
    os.utime(path, (time.time() - 60,) * 2)
    assert look(wanted, host).reason == "settlement.failed"


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "pos.log"
    with path.open("w") as file:
        file.truncate(3 << 30)  # three gigabytes of nothing, as a power cut leaves them
        file.seek(0, os.SEEK_END)
        file.write(f"\n{ago(100).replace('T', ' ')} SETTLEMENT rc=00\n")
    started = time.monotonic()
    assert look(probe(file=str(path), format="log", patterns=LOG), host).reason == "ok"
    assert time.monotonic() - started < 3


def test_a_command_prints_the_record(host: Host) -> None:
    document = json.dumps({"time": ago(60), "status": "ok", "reference": 4111111111111111})
    observation = look(probe(command=[sys.executable, "-c", f"print({document!r})"]), host)
    assert observation.reason == "ok"
    failing = look(probe(command=[sys.executable, "-c", "raise SystemExit('no database')"]), host)
    assert failing.reason == "settlement.unreadable"
    assert "no database" in failing.evidence[0]
    assert look(probe(command=["/no/such/program"]), host).reason == "settlement.unreadable"


def test_what_is_no_file_is_never_opened(tmp_path: Path, host: Host) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent", Path("/dev/tty"), Path("/dev/null")):
        assert look(probe(file=str(path)), host).reason == "settlement.unreadable"


def test_a_file_that_may_not_be_read_is_left_to_the_runner(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.json"
    path.touch()

    def refuse(*_: object) -> None:  # as the kernel does, but also to root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        KIND.read(probe(file=str(path), timezone="Etc/UTC"), host)


def test_the_pc_own_zone_is_the_default(tree: Callable[[dict[str, str]], Host]) -> None:
    machine = tree(
        {
            "/etc/localtime": "-> /usr/share/zoneinfo/Asia/Shanghai",
            "/opt/pos.json": '{"time": "2026-11-20 23:00:00", "status": "ok"}',
        }
    )
    reading = KIND.read(probe(file="/opt/pos.json"), machine)
    assert reading.settled is not None
    assert reading.settled.at == utc("2026-11-20 15:00:00")


# --- what is not believed ---


def read_rows(*rows: tuple[str, str]) -> Reading:
    said = [(moments.parse(at, None, SHANGHAI, NOW), Row(time=at, status=status)) for at, status in rows]
    return understand(said, MEANINGS, SHANGHAI, NOW)


def test_a_record_from_the_future_hides_no_missed_deadline() -> None:
    reading = read_rows(("2026-11-20 23:00:00", "ok"), ("2099-01-01 00:00:00", "ok"))
    assert reading.settled is not None
    assert reading.settled.local == "2026-11-20 23:00"
    assert reading.notes == ("1 records dated ahead of the clock, such as '2099-01-01 00:00:00'",)


def test_times_that_are_all_gibberish_are_unreadable_not_no_record() -> None:
    problem = read_rows(("22/11/2026", "ok")).problem
    assert problem["detail"] == "1 times not understood, such as '22/11/2026'"
    mixed = read_rows(("2026-11-20 23:00:00", "ok"), ("22/11/2026", "ok"))
    assert not mixed.problem
    assert mixed.notes


def test_a_record_without_a_status_is_no_success() -> None:
    assert read_rows(("2026-11-20 23:00:00", "")).last is None
    only_successes = Meanings.of((), WAITING, CLOSE, is_log=False)
    at = utc("2026-11-20 15:00:00")
    reading = understand([(at, Row(time="x"))], only_successes, SHANGHAI, NOW)
    assert reading.settled is not None


def test_a_close_that_is_still_running_does_not_count_yet() -> None:
    reading = read_rows(("2026-11-21 23:00:00", "ok"), ("2026-11-22 23:00:00", "结算中"))
    assert reading.last is not None
    assert reading.last.local == "2026-11-21 23:00"


# --- card data ---


def test_failed_transactions_hold_five_facts_and_no_card(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "transactions.csv"
    header = "time,type,amount,status,reference,pan,expiry,cvv,track2\n"
    rows = [
        f"{ago(300)},SALE,12.50,declined,4111 1111 1111 1111,4111111111111111,12/27,123,;4111111111111111=27121010000?\n",
        f"{ago(290)},SALE,4111111111111111,declined,4111.1111.1111.1111,x,x,x,x\n",
        f"{ago(280)},5555555555554444,1.00,378282246310005 declined,a|b,x,x,x,x\n",
    ]
    path.write_text(header + "".join(rows))
    observation = look(probe(file=str(path), format="csv"), host)
    failed = [str(line).split("|")[1:] for line in observation.measurements["failed_transactions"]]  # type: ignore[union-attr]
    assert failed == [
        ["SALE", "12.50", "declined", "************1111"],
        ["SALE", "", "declined", "************1111"],
        ["************4444", "1.00", "***********0005 declined", "a/b"],
    ]
    said = repr(observation)
    assert not any(secret in said for secret in ("12/27", "123,", "27121010000", "411111", "411 1"))


def test_a_log_pattern_cannot_cut_a_card_number_in_half(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "pos.log"
    path.write_text("2026-11-20 10:04:00 card 4111111111111111 000 declined\n")
    greedy = r"^(?P<time>\S+ \S+) (?P<type>card) (?P<reference>\d{12})(?P<amount>\d+) (?P<status>\d+)"
    observation = look(probe(file=str(path), format="log", patterns=[greedy]), host)
    assert observation.measurements["failed_transactions"] == []  # 000 is a success, though it stands behind a card
    path.write_text("2026-11-20 10:04:00 card 4111111111111111 091 declined\n")
    observation = look(probe(file=str(path), format="log", patterns=[greedy]), host)
    assert observation.measurements["failed_transactions"] == ["2026-11-20T10:04:00.000Z|card||091|"]
    assert "411111111111" not in repr(observation)


def test_no_more_than_the_last_twenty_failures_are_kept() -> None:
    rows = [(NOW - 1000 + i, Row(time="x", type="SALE", status="96", reference=f"{i:06}")) for i in range(50)]
    failed = understand(rows, MEANINGS, SHANGHAI, NOW).failed
    assert len(failed) == 20
    assert failed[0].endswith("|000030")
    assert failed[-1].endswith("|000049")


# --- any bytes ---

RECORDS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "time": st.sampled_from(["2026-11-20 10:00:00", "1795359662", 1795359662000, "?", None, 1e300, True]),
            "status": st.sampled_from(["ok", "96", "pending", "", None, 0, [], {}]),
            "type": st.text(max_size=5),
            "pending": st.one_of(st.integers(), st.text(max_size=3), st.lists(st.none(), max_size=3)),
        },
    ),
    max_size=5,
)
BYTES = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    RECORDS.map(lambda items: json.dumps(items).encode()),
    RECORDS.map(lambda items: "\n".join(json.dumps(item) for item in items).encode("utf-16")),
    st.lists(st.lists(st.sampled_from(["time", "status", "ok", '"', "2026-11-20 10:00:00", "#1", "\0", "成功"]), max_size=4), max_size=6)
    .map(lambda rows: "\n".join(",".join(row) for row in rows).encode("gb18030")),
    st.integers(1, 3000).map(lambda depth: b"[" * depth),
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=BYTES,
    form=st.sampled_from(["json", "csv", "log"]),
    encoding=st.sampled_from(["auto", "utf-8", "big5", "utf-16"]),
)
def test_whatever_the_bytes_an_observation_comes_back(tmp_path: Path, data: bytes, form: str, encoding: str) -> None:
    path = tmp_path / "record"
    path.write_bytes(data)
    patterns = ([r"(?P<time>\S+)[ ,](?P<status>\S+)", r"(?P<pending>\d+)"]) if form == "log" else []
    wanted = probe(file=str(path), format=form, patterns=patterns, encoding=encoding)
    observation = look(wanted, Host(ends=time.monotonic() + 5))
    assert observation.reason in {"ok", *KIND.reasons}
    assert all(len(line) <= 512 for line in observation.evidence)


@settings(deadline=None)
@given(head=st.binary(max_size=50), data=st.binary(max_size=200), torn=st.booleans())
def test_torn_pieces_cost_a_line_and_nothing_else(head: bytes, data: bytes, torn: bool) -> None:
    whole = data + b"\n2026-11-20 10:00:00 SETTLEMENT rc=00\nrest"
    found = [line for line in records.lines(records.Chunk(whole, head, torn), "utf-8") if "SETTLEMENT" in line]
    assert found == ["2026-11-20 10:00:00 SETTLEMENT rc=00"]


# --- settings that cannot work ---


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ("file", "expected exactly one of file, command, got none")),
        ({"file": "/x", "command": ("y",)}, ("file", "expected exactly one of file, command, got both")),
        ({"file": "/**/x"}, ("file", 'expected a path in which "*" stands for a part of one name, got "**"')),
        ({"file": "/x", "format": "log"}, ("patterns", "expected regular expressions with groups such as (?P<time>…) and (?P<status>…)")),
        ({"file": "/x", "patterns": ("x",)}, ("patterns", 'expected none, as the format is "json"')),
        ({"file": "/x", "format": "log", "patterns": ("(?P<time>x)(?P<card>y)",)}, ("patterns", "expected groups named time, status, amount, type, reference, pending, got card")),
        ({"file": "/x", "format": "log", "patterns": ("(?P<time>x)",), "fields": Fields(time="x")}, ("fields", "expected none, as the format is log: the groups of `patterns` name what they find")),
        ({"file": "/x", "format": "csv", "records": "x"}, ("records", 'expected none, as the format is "csv"')),
        ({"file": "/x", "time_format": "%Q"}, ("time_format", 'expected a format such as "%Y-%m-%d %H:%M:%S", got "%Q"')),
        ({"file": "/x", "timezone": "Asia/Peking"}, ("timezone", 'expected a time zone such as Asia/Shanghai, got "Asia/Peking"')),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_named(given: dict[str, Any], problem: tuple[str, str]) -> None:
    assert list(KIND.problems(SettlementSettings(kind="settlement", **given))) == [problem]


def test_a_deadline_is_a_time_of_day() -> None:
    for good in ("23:30", "00:00", ""):
        probe(file="/x", deadline=good)
    for bad in ("24:00", "9:30", "23:60", "soon"):
        with pytest.raises(msgspec.ValidationError):
            probe(file="/x", deadline=bad)
    assert probe(file="/x", max_age="26h").max_age == Seconds(93600)


def test_why_a_record_cannot_be_read_is_said_with_it(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    missing = look(probe(file=str(file)), host)
    file.write_text("no JSON at all\n")
    broken = look(probe(file=str(file)), host)
    assert missing.reason == broken.reason == "settlement.unreadable"
    assert sentence("settlement", missing.reason, missing.measurements, "en").endswith(
        f"could not be read: there is no file {file}"
    )
    assert sentence("settlement", missing.reason, missing.measurements, "zh-CN").endswith(f"：文件 {file} 不存在")
    assert "could not be read: it is no JSON: " in sentence("settlement", broken.reason, broken.measurements, "en")
    assert "：不是 JSON：" in sentence("settlement", broken.reason, broken.measurements, "zh-CN")


def test_failed_transactions_are_remembered_when_the_record_no_longer_shows_them() -> None:
    old = tuple(f"2026-11-19T10:{minute:02}:00.000Z|sale|1.00|declined|{minute:06}" for minute in range(50))
    new = tuple(f"2026-11-20T10:{minute:02}:00.000Z|sale|1.00|declined|{minute:06}" for minute in range(20))
    first = KIND.judge(probe(file="/x"), Reading(failed=old, last=GOOD, settled=GOOD), {})
    second = KIND.judge(
        probe(file="/x"), Reading(failed=new, last=GOOD, settled=GOOD), json.loads(json.dumps(first.memory))
    )
    assert second.memory["failed"] == [*old[-40:], *new]
    assert second.measurements["failed_transactions"] == list(new)
    lost = KIND.judge(probe(file="/x"), Reading(problem={"detail": "gone", "why": "no_file"}), second.memory)
    assert lost.memory["failed"] == second.memory["failed"]
    odd = KIND.judge(probe(file="/x"), Reading(failed=new[:1], last=GOOD), {**first.memory, "failed": ["x", 5, None]})
    assert odd.memory["failed"] == [new[0], "x"]
