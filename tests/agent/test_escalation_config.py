"""[[escalation]] and the settlement's deadline: from the file to what is decided with."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agent import config
from agent.causes import CAUSES
from agent.config import levels_of, probes_of
from agent.config.read import Source
from agent.config.show import show
from agent.diagnosis import model
from agent.escalation.settlement import next_deadline

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")

CHANNELS = """
[channels.staff]
kind = "journal"
[channels.centre]
kind = "journal"
[channels.old]
kind = "journal"
enabled = false
"""
LEVELS = """
[[escalation]]
name = "store"
channels = ["staff", "old"]
hours = "open"
causes = ["lan.*", "isp.down"]
[[escalation]]
name = "nobody"
channels = ["old"]
[[escalation]]
name = "centre"
channels = ["centre"]
after = "45m"
remind_every = 0
impacts = ["stop"]
"""


def loaded(text: str) -> config.Config:
    return config.parse(Source("config.toml", text.encode()))


def test_channels_that_are_switched_off_are_in_no_level() -> None:
    levels = levels_of(loaded(CHANNELS + LEVELS))
    assert [(level.name, level.channels) for level in levels] == [("store", ("staff",)), ("centre", ("centre",))]
    assert levels[0].causes == ("lan.*", "isp.down")
    assert (levels[1].after, levels[1].remind_every, levels[1].impacts) == (2700.0, 0.0, ("stop",))


def test_without_levels_every_channel_is_told_in_opening_hours() -> None:
    levels = levels_of(loaded(CHANNELS))
    assert [(level.channels, level.impacts, level.after, level.hours) for level in levels] == [
        (("staff", "centre"), ("stop",), 0.0, "open"),
        (("staff", "centre"), ("degrade",), 900.0, "open"),
    ]


def test_without_channels_there_are_no_levels() -> None:
    assert levels_of(config.Config()) == ()
    assert levels_of(loaded('[channels.a]\nkind = "journal"\nenabled = false\n')) == ()


@pytest.mark.parametrize("text", ["", CHANNELS, CHANNELS + LEVELS])
def test_what_is_shown_reads_back_to_the_same_levels(text: str) -> None:
    first = loaded(text or "language = 'en'")
    shown = show(first)
    second = loaded(shown)
    assert levels_of(second) == levels_of(first)
    assert show(second).split("\n")[1:] == shown.split("\n")[1:]
    assert shown.count("[[escalation]]") == (3 if "[[" in text else 2 if text else 0)


def test_every_cause_can_be_named_and_every_family() -> None:
    assert CAUSES is model.CAUSES
    names = [*CAUSES, *{f"{cause.partition('.')[0]}.*" for cause in CAUSES if "." in cause}, "*"]
    written = ", ".join(f'"{name}"' for name in names)
    text = CHANNELS + f'[[escalation]]\nname = "all"\nchannels = ["staff"]\ncauses = [{written}]\n'
    assert loaded(text).escalation[0].causes == tuple(names)


# ---- by when tonight's batch must be through

SETTLEMENT = """
[site]
timezone = "{zone}"
[probes.day]
kind = "settlement"
file = "/opt/pos/settle.csv"
format = "csv"
deadline = "{deadline}"
days = {days}
[probes.disk]
kind = "disk"
"""
ALL_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def due(
    now: str, deadline: str, *, zone: ZoneInfo = SHANGHAI, days: list[str] = ALL_DAYS, closed: str | None = None
) -> str | None:
    """The next deadline, as the store's clock shows it; so are `now` and `closed`, the last batch close."""
    text = SETTLEMENT.format(zone=zone.key, deadline=deadline, days=days)
    probes = probes_of(loaded(text.replace("'", '"')))
    settled = {} if closed is None else {"day": at(closed, zone)}
    found = next_deadline(probes, at(now, zone), settled)
    return None if found is None else f"{datetime.fromtimestamp(found, zone):%Y-%m-%dT%H:%M}"


def at(local: str, zone: ZoneInfo) -> float:
    return datetime.fromisoformat(local).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("now", "deadline", "expected"),
    [
        ("2026-03-02T10:00", "23:30", "2026-03-02T23:30"),
        ("2026-03-02T23:29", "23:30", "2026-03-02T23:30"),
        ("2026-03-02T23:30", "23:30", "2026-03-03T23:30"),
        ("2026-03-03T01:00", "02:00", "2026-03-03T02:00"),
        ("2026-03-03T02:00", "02:00", "2026-03-04T02:00"),
        ("2026-12-31T23:45", "23:30", "2027-01-01T23:30"),
    ],
)
def test_the_next_deadline(now: str, deadline: str, expected: str) -> None:
    assert due(now, deadline) == expected


def test_a_day_without_a_batch_has_no_deadline() -> None:
    working = ["mon", "tue", "wed", "thu", "fri"]
    assert due("2026-03-07T10:00", "23:30", days=working) == "2026-03-09T23:30"  # Saturday: on Monday
    assert due("2026-03-07T01:00", "02:00", days=working) == "2026-03-07T02:00"  # Friday's batch, after midnight
    assert due("2026-03-07T10:00", "02:00", days=working) == "2026-03-10T02:00"
    assert due("2026-03-03T10:00", "23:30", days=["mon"]) == "2026-03-09T23:30"


def test_a_batch_that_is_through_has_no_deadline_any_more() -> None:
    assert due("2026-03-02T22:40", "23:30", closed="2026-03-02T22:31") == "2026-03-03T23:30"
    assert due("2026-03-02T22:40", "23:30", closed="2026-03-01T22:31") == "2026-03-02T23:30"
    assert due("2026-03-03T00:40", "02:00", closed="2026-03-02T23:10") == "2026-03-04T02:00"


def test_yesterdays_batch_closed_late_is_not_todays() -> None:
    assert due("2026-03-02T22:40", "23:30", closed="2026-03-02T00:20") == "2026-03-02T23:30"


def test_deadlines_on_the_days_when_the_clock_changes() -> None:
    assert due("2026-03-29T00:30", "02:30", zone=BERLIN) == "2026-03-29T03:30"  # there is no half past two
    assert due("2026-10-25T00:30", "02:30", zone=BERLIN) == "2026-10-25T02:30"
    text = SETTLEMENT.format(zone="Europe/Berlin", deadline="02:30", days=ALL_DAYS).replace("'", '"')
    found = next_deadline(probes_of(loaded(text)), at("2026-10-25T00:30", BERLIN))
    assert found == at("2026-10-25T00:30", BERLIN) + 3 * 3600  # the second half past two


def test_who_watches_no_settlement_has_no_deadline() -> None:
    assert next_deadline(probes_of(loaded('[probes.disk]\nkind = "disk"\n')), 1_800_000_000.0) is None
    assert due("2026-03-02T10:00", "") is None
