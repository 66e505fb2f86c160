"""Is it told once, and only once, who has an incident in hand?"""

from __future__ import annotations

from typing import Any

from agent.housekeeping import House
from agent.incidents import Incident
from agent.store import Note
from tests.agent.tills import NOON, Till


class Notes:
    """What people wrote, as a keeper reads it; nothing while the file cannot be read."""

    def __init__(self) -> None:
        self.written: dict[str, list[Note]] = {}
        self.readable = True

    def notes(self, incident: str) -> list[Note]:
        return self.written.get(incident, []) if self.readable else []

    def silences(self, _now: float) -> list[Any]:
        return []


def housed() -> tuple[House, Notes, Incident, list[str]]:
    till, keeper, heard = Till("auth port"), Notes(), list[str]()
    incident = till.confirm("auth")
    house = House(till.known, keeper, None, None, None)  # type: ignore[arg-type]
    house.taken_charge = lambda _incident, note: heard.append(note.by)
    return house, keeper, incident, heard


def note(incident: Incident, by: str, at: float, until: float | None = None) -> Note:
    return Note(incident=incident.id, at=at, by=by, text="on my way", until=until)


def test_who_takes_charge_is_told_once_whatever_the_clock_says() -> None:
    house, keeper, incident, heard = housed()
    house.read_notes()
    keeper.written[incident.id] = [note(incident, "Li", NOON - 90_000)]  # the clock was a day ahead when this began
    house.read_notes()
    house.read_notes()
    assert heard == ["Li"]
    assert house.notes[incident.id].by == "Li"


def test_a_file_that_cannot_be_read_for_a_moment_makes_nobody_take_charge_again() -> None:
    house, keeper, incident, heard = housed()
    house.read_notes()
    keeper.written[incident.id] = [note(incident, "Li", NOON)]
    house.read_notes()
    keeper.readable = False
    house.read_notes()
    keeper.readable = True
    house.read_notes()
    assert heard == ["Li"]


def test_what_was_written_before_this_life_is_no_news() -> None:
    house, keeper, incident, heard = housed()
    keeper.written[incident.id] = [note(incident, "Li", NOON)]
    house.read_notes()
    assert heard == []
    assert house.notes[incident.id].by == "Li"


def test_two_who_wrote_between_two_readings_are_both_told() -> None:
    house, keeper, incident, heard = housed()
    house.read_notes()
    keeper.written[incident.id] = [note(incident, "Li", NOON), note(incident, "Wang", NOON + 1)]
    house.read_notes()
    assert heard == ["Li", "Wang"]
