"""clock: the kernel's word, times that cannot be, and time servers good, bad and silent."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import texts
from probes import clock
from probes.clock import EARLIEST, KIND, LATEST, ClockSettings, Reading
from probes.host import Host, ntp
from probes.host.ntp import Kernel, Sample
from probes.model import Seconds, Status, Unsupported
from tests.probes.datagrams import Reply, answering, nobody, silent

NOW = EARLIEST + 20_000_000
KEPT, LOOSE, MUTE = Kernel(True, "kernel: synchronised"), Kernel(False, "kernel: not"), Kernel(None, "adjtimex: EPERM")
NTP_EPOCH = 2_208_988_800


def settings(**given: object) -> ClockSettings:
    return ClockSettings(**{"kind": "clock", **given})  # type: ignore[arg-type]


def judge(reading: Reading, **given: object) -> tuple[Status, str]:
    seen = KIND.judge(settings(**given), reading, {})
    assert seen.reason == "ok" or seen.reason in KIND.reasons
    return seen.status, seen.reason


def stamp(moment: float) -> bytes:
    whole = int(moment) + NTP_EPOCH
    return struct.pack("!II", whole % (1 << 32), int(moment % 1 * (1 << 32)))


def reply(
    question: bytes, ahead: float = 0.0, stratum: int = 2, leap: int = 0, mode: int = 4, ref: bytes = b"GPS\0"
) -> bytes:
    """What a time server sends whose clock is `ahead` of ours."""
    now = time.time() + ahead
    head = struct.pack("!BBBb", leap << 6 | 4 << 3 | mode, stratum, 6, -20)
    return head + bytes(8) + ref + stamp(now - 60) + question[40:48] + stamp(now) + stamp(now)


def server(**how: object) -> Reply:
    return lambda question: [reply(question, **how)]  # type: ignore[arg-type]


def ask(made: Reply, seconds: float = 2.0) -> Sample:
    with answering(made) as port:
        return ntp.ask(Host(ends=time.monotonic() + seconds), ("127.0.0.1",), port)


# --- time servers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0.0, 3.5, -90.0, 86400.0 * 400])
def test_the_offset_is_measured(ahead: float) -> None:
    sample = ask(server(ahead=ahead))
    assert sample.refused == ""
    assert sample.offset == pytest.approx(ahead, abs=0.05)
    assert 0 <= sample.round_trip < 0.5
    assert sample.stratum == 2


def test_the_way_to_the_server_and_back_is_taken_out() -> None:
    def slow(question: bytes) -> Iterable[bytes]:
        time.sleep(0.2)  # both stamps are taken after the wait: 0.2 s there, nothing back
        return [reply(question, ahead=10)]

    sample = ask(slow)
    assert sample.round_trip == pytest.approx(0.2, abs=0.08)
    assert sample.offset == pytest.approx(10.1, abs=0.05)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param({"stratum": 0, "ref": b"RATE"}, "kiss of death: RATE", id="kiss of death"),
        pytest.param({"stratum": 0, "ref": b"\xff\x00\x01\x02"}, "kiss of death", id="a kiss in no language"),
        pytest.param({"stratum": 16}, "stratum 16", id="not synchronised"),
        pytest.param({"stratum": 255}, "stratum 255", id="stratum of no meaning"),
        pytest.param({"leap": 3}, "leap indicator 3", id="its clock is unsynchronised"),
        pytest.param({"mode": 3}, "mode 3", id="our own packet back"),
        pytest.param({"mode": 5}, "mode 5", id="a broadcast"),
    ],
)
def test_a_server_of_no_use_is_refused(how: dict[str, object], said: str) -> None:
    sample = ask(server(**how))
    assert said in sample.refused
    assert sample.offset == 0


def test_a_zero_transmit_stamp_is_no_time() -> None:
    assert "zero time stamp" in ask(lambda question: [reply(question)[:40] + bytes(8)]).refused


def test_stamps_that_contradict_each_other_are_refused() -> None:
    sample = ask(lambda question: [reply(question)[:40] + stamp(time.time() + 3600)])
    assert "contradict" in sample.refused


def test_an_answer_to_another_question_is_not_believed() -> None:
    def forger(question: bytes) -> Iterable[bytes]:
        return [reply(bytes(48), ahead=5000)]

    sample = ask(forger, seconds=0.6)
    assert "wrong origin" in sample.refused


def test_the_true_answer_behind_a_forged_one_is_taken() -> None:
    assert ask(
        lambda question: [reply(bytes(48), ahead=5000), b"short", reply(question, ahead=2)]
    ).offset == pytest.approx(2, abs=0.05)


def test_a_silent_server_costs_the_deadline_and_is_asked_twice() -> None:
    seen: list[bytes] = []

    def counts(question: bytes) -> Iterable[bytes]:
        seen.append(question)
        return ()

    with answering(counts) as port:
        began = time.monotonic()
        with pytest.raises(ntp.NoReply, match="no answer"):
            ntp.ask(Host(ends=began + 1.2), ("127.0.0.1",), port)
        elapsed = time.monotonic() - began
    assert 1.1 < elapsed < 1.6
    assert len(seen) == 2
    assert seen[0][40:] != seen[1][40:]


def test_an_answer_later_than_the_second_question_still_counts() -> None:
    def slow(question: bytes) -> Iterable[bytes]:
        time.sleep(1.1)
        return [reply(question, ahead=10)]

    sample = ask(slow, seconds=1.8)
    assert sample.round_trip == pytest.approx(1.1, abs=0.1)
    assert sample.offset == pytest.approx(10.55, abs=0.1)


def test_a_server_that_sends_us_away_is_not_asked_again() -> None:
    seen: list[bytes] = []

    def kiss(question: bytes) -> Iterable[bytes]:
        seen.append(question)
        return [reply(question, stratum=0, ref=b"DENY")]

    ask(kiss)
    assert len(seen) == 1


def test_the_request_tells_nothing_about_this_pc() -> None:
    seen: list[bytes] = []
    with answering(lambda question: seen.append(question) or [reply(question)]) as port:  # type: ignore[func-returns-value]
        ntp.ask(Host(), ("127.0.0.1",), port)
    assert seen[0][:40] == b"\x23" + bytes(39)


def test_a_port_where_nothing_listens_is_no_reply_at_once() -> None:
    with nobody() as port:
        began = time.monotonic()
        with pytest.raises(ntp.NoReply, match="refused"):
            ntp.ask(Host(), ("127.0.0.1",), port)
    assert time.monotonic() - began < 0.5


def test_a_dead_ipv6_does_not_hide_a_living_ipv4() -> None:
    with answering(server(ahead=1)) as port:
        assert ntp.ask(Host(), ("100::1", "127.0.0.1"), port).offset == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("moment", [1767225600.0, 2085978495.0, 2085978497.0, 2240524800.0])
def test_time_stamps_go_on_after_2036(moment: float) -> None:
    data = reply(bytes(48))[:32] + stamp(moment) * 2
    assert ntp.read(data, "server", moment - 5, 0.0).offset == pytest.approx(5, abs=0.001)


@given(st.binary(max_size=120), st.floats(0, 3))
def test_whatever_a_server_sends_a_sample_comes_back(data: bytes, seconds: float) -> None:
    sample = ntp.read(data, "server", NOW, seconds)
    assert sample.refused or sample.round_trip >= 0


@given(st.binary(min_size=48, max_size=48), st.sampled_from([0x24, 0x1C, 0x64, 0xE4]), st.integers(0, 17))
def test_whatever_stamps_a_server_sends_a_sample_comes_back(data: bytes, first: int, stratum: int) -> None:
    assert ntp.read(bytes([first, stratum]) + data[2:], "server", NOW, 0.01).server == "server"


# --- the whole kind -----------------------------------------------------------------------------------------------------


def test_a_good_server_answers_for_a_clock_that_nobody_keeps(host: Host) -> None:
    with answering(server()) as port:
        reading = KIND.read(settings(server=f"127.0.0.1:{port}"), host)
    assert judge(reading, server="x") == (Status.OK, "ok")
    assert reading.sample is not None


def test_a_silent_server_is_no_reply_within_the_deadline() -> None:
    with answering(silent) as port:
        began = time.monotonic()
        reading = KIND.read(settings(server=f"127.0.0.1:{port}"), Host(ends=began + 0.6))
        elapsed = time.monotonic() - began
    assert elapsed < 0.6
    assert judge(reading, server="x") == (Status.WARN, "clock.no_reply")


def test_a_server_whose_name_is_unknown_is_no_reply(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_host: Host, name: str) -> None:
        raise clock.resolve.Unresolved("no_such_name", f"{name}: no such name")

    monkeypatch.setattr(clock.resolve, "resolve", unknown)
    reading = KIND.read(settings(server="ntp.nowhere.example"), host)
    assert reading.silence == "ntp.nowhere.example: no such name"
    assert judge(reading, server="x") == (Status.WARN, "clock.no_reply")


def test_this_machines_kernel_says_something() -> None:
    said = ntp.kernel()
    assert said.detail
    assert said.synchronised in (True, False, None)


def test_the_time_daemons_traces_and_the_last_known_time_are_read(tree: Callable[[dict[str, str]], Host]) -> None:
    machine = tree({"/run/systemd/timesync/synchronized": "", "/var/lib/systemd/timesync/clock": "", "/.dockerenv": ""})
    witness = machine.path("/var/lib/systemd/timesync/clock")
    os.utime(witness, (NOW, NOW))
    reading = KIND.read(settings(), machine)
    assert (reading.keeper, reading.not_before, reading.container) == ("systemd-timesyncd", NOW, True)
    assert reading.witness == "/var/lib/systemd/timesync/clock"


def test_a_witness_from_the_far_future_or_past_is_not_believed(tree: Callable[[dict[str, str]], Host]) -> None:
    machine = tree({"/var/lib/systemd/timesync/clock": "", "/usr/lib/clock-epoch": ""})
    for path, moment in (("/var/lib/systemd/timesync/clock", LATEST + 10.0), ("/usr/lib/clock-epoch", 0.0)):
        os.utime(Path(machine.path(path)), (moment, moment))
    assert KIND.read(settings(), machine).not_before == EARLIEST


# --- what it means ------------------------------------------------------------------------------------------------------


def sample(offset: float = 0.0, refused: str = "") -> Sample:
    return Sample("192.0.2.123:123", offset, 0.02, 2, refused)


@pytest.mark.parametrize(
    ("reading", "server", "expected"),
    [
        pytest.param(Reading(NOW, KEPT), None, (Status.OK, "ok"), id="kept by a daemon"),
        pytest.param(Reading(NOW, LOOSE), None, (Status.WARN, "clock.unsynchronised"), id="kept by nobody"),
        pytest.param(Reading(0.0, KEPT), None, (Status.FAIL, "clock.skewed"), id="1970: the battery is flat"),
        pytest.param(Reading(EARLIEST - 31, LOOSE), None, (Status.FAIL, "clock.skewed"), id="before this release"),
        pytest.param(Reading(LATEST + 1, LOOSE), None, (Status.FAIL, "clock.skewed"), id="far in the future"),
        pytest.param(Reading(NOW, KEPT, NOW + 100, "x"), None, (Status.FAIL, "clock.skewed"), id="it was later once"),
        pytest.param(Reading(NOW, KEPT, NOW + 10, "x"), None, (Status.OK, "ok"), id="it was a little later once"),
        pytest.param(Reading(NOW, LOOSE, sample=sample(0.4)), "x", (Status.OK, "ok"), id="seen to be right"),
        pytest.param(Reading(NOW, MUTE, sample=sample(0.4)), "x", (Status.OK, "ok"), id="right, kernel mute"),
        pytest.param(Reading(NOW, KEPT, sample=sample(31)), "x", (Status.FAIL, "clock.skewed"), id="behind"),
        pytest.param(Reading(NOW, KEPT, sample=sample(-31)), "x", (Status.FAIL, "clock.skewed"), id="ahead"),
        pytest.param(
            Reading(NOW, KEPT, sample=sample(refused="kiss")), "x", (Status.WARN, "clock.bad_server"), id="bad"
        ),
        pytest.param(Reading(NOW, KEPT, silence="no answer"), "x", (Status.WARN, "clock.no_reply"), id="silent"),
        pytest.param(
            Reading(0.0, KEPT, silence="no answer"), "x", (Status.FAIL, "clock.skewed"), id="silent, and 1970"
        ),
        pytest.param(
            Reading(0.0, KEPT, sample=sample(refused="kiss")), "x", (Status.FAIL, "clock.skewed"), id="bad, 1970"
        ),
        pytest.param(
            Reading(NOW, KEPT, NOW + 100, "x", sample=sample(0.1)),
            "x",
            (Status.OK, "ok"),
            id="a server outranks a file",
        ),
    ],
)
def test_what_kernel_server_and_calendar_mean(
    reading: Reading, server: str | None, expected: tuple[Status, str]
) -> None:
    assert judge(reading, server=server) == expected


def test_the_offset_is_told_as_this_pcs_error() -> None:
    seen = KIND.judge(settings(server="x", max_offset=Seconds(5)), Reading(NOW, KEPT, sample=sample(600)), {})
    assert (seen.reason, seen.measurements["offset_s"]) == ("clock.skewed", -600)


@pytest.mark.parametrize(
    ("reading", "english", "chinese"),
    [
        (
            Reading(NOW, KEPT, sample=sample(34_560_000)),
            "the clock is 400 d behind (at most 30 s allowed)",
            "系统时钟慢了 400 天（最多允许 30 秒）",
        ),
        (
            Reading(NOW, KEPT, sample=sample(-600.2)),
            "the clock is 10 min ahead (at most 30 s allowed)",
            "系统时钟快了 10 分钟（最多允许 30 秒）",
        ),
        (
            Reading(EARLIEST - 7200, KEPT),
            "the clock is 2 h or more behind (at most 30 s allowed)",
            "系统时钟至少慢了 2 小时（最多允许 30 秒）",
        ),
        (
            Reading(LATEST + 86400, KEPT),
            "the clock is 1 d or more ahead (at most 30 s allowed)",
            "系统时钟至少快了 1 天（最多允许 30 秒）",
        ),
    ],
)
def test_how_far_and_which_way_the_clock_is_off_is_said_in_words(reading: Reading, english: str, chinese: str) -> None:
    seen = KIND.judge(settings(server="x") if reading.sample else settings(), reading, {})
    assert texts.sentence("clock", seen.reason, seen.measurements, "en") == english
    assert texts.sentence("clock", seen.reason, seen.measurements, "zh-CN") == chinese


def test_a_mute_kernel_and_no_server_is_not_called_well() -> None:
    with pytest.raises(Unsupported, match="set `server`"):
        judge(Reading(NOW, MUTE))


def test_a_container_is_mentioned() -> None:
    seen = KIND.judge(settings(), Reading(NOW, KEPT, container=True), {})
    assert any("the host's" in line for line in seen.evidence)


@pytest.mark.parametrize(
    ("server", "fine"), [("ntp.example", True), ("[2001:db8::1]:123", True), ("ntp.example:0", False)]
)
def test_the_server_may_have_a_port(server: str, fine: bool) -> None:
    assert [key for key, _ in KIND.problems(settings(server=server))] == ([] if fine else ["server"])
