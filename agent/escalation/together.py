"""Who is to be told what of all the incidents there are? Pure: `decide` for each, and what they mean for each other.

A fault that is back before anybody heard of its end goes on, under its new incident, as if it had never gone. Whoever
was told of a fault that turned out to be part of a deeper one will hear of the end of that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent.escalation.policy import HOUR_S, Moment, Step
from agent.escalation.words import Notice, Told, fault_of

if TYPE_CHECKING:
    from agent.incidents import Incident
    from agent.store import Note


def decide_all(
    incidents: Iterable[Incident], told: Mapping[str, Told], charges: Mapping[str, Note], moment: Moment
) -> tuple[dict[str, Told], list[Notice]]:
    """Only what is other than in `told`, and the notices.

    `incidents`: the open ones, and those that ended while their `told` is not over. `told`: what people know of these,
    and of others of the last hour. `charges`: the last note by which somebody took charge, by incident: of the open
    ones, and of those that `told` has as `spoken`.
    """
    known = dict(told)
    notices: list[Notice] = []
    ordered = sorted(incidents, key=lambda each: (each.resolved_at is not None, each.opened_at, each.id))
    ended = [each for each in ordered if each.resolved_at is not None]
    for incident in ordered:
        if incident.resolved_at is None:
            _inherit(incident, ended, known, moment)
        mine = known.get(incident.id)
        charge = _charge(incident, mine, charges)
        after, said = Step(_at_home(incident, known), mine, charge, moment, _lately(incident, known)).run()
        known[incident.id] = after
        notices += said
        _tell_home(incident, said, known)
        _lead_home(incident, known)
    return {key: value for key, value in known.items() if told.get(key) != value}, notices


def next_of_all(
    incidents: Iterable[Incident], told: Mapping[str, Told], charges: Mapping[str, Note], moment: Moment
) -> float | None:
    """When `decide_all`, which was just asked, must be asked again at the latest; None: once something happens."""
    times = (
        Step(each, told.get(each.id), _charge(each, told.get(each.id), charges), moment).again_at()
        for each in incidents
    )
    return min((time for time in times if time is not None), default=None)


def forgettable(told: Told, now: float) -> bool:
    """Whether nothing will ever be asked of it again: it is over, and so is the hour in which it counts."""
    return told.over and abs(now - told.last_at) >= HOUR_S


def _charge(incident: Incident, told: Told | None, charges: Mapping[str, Note]) -> Note | None:
    """Who is in charge: of the incident, or of the one under which people know the fault."""
    return charges.get(incident.id) or (charges.get(told.spoken) if told is not None else None)


def _same_fault(incident: Incident, told: Told) -> bool:
    return incident.previous == told.incident or fault_of(incident) == told.fault


def _lately(incident: Incident, known: Mapping[str, Told]) -> Iterator[float]:
    """When notices were about the same fault under other incidents."""
    for told in known.values():
        if told.incident != incident.id and _same_fault(incident, told):
            yield from told.recent


def _inherit(incident: Incident, ended: Iterable[Incident], known: dict[str, Told], moment: Moment) -> None:
    """The fault is back, and there are people who never heard that it was gone: to them it goes on."""
    mine = known.get(incident.id)
    if mine is not None and mine.told_at:
        return
    for before in ended:
        told = known.get(before.id)
        if told is None or told.over or before.joined_to is not None or not _same_fault(incident, told):
            continue
        unaware = tuple(pair for pair in told.told_at if pair[0] not in told.relieved)
        if unaware:
            again = {level.name for level in moment.levels if not set(told.relieved).isdisjoint(level.channels)}
            known[incident.id] = replace(
                told,
                incident=incident.id,
                told_at=unaware,
                relieved=(),
                rungs=tuple(rung for rung in told.rungs if rung.name not in again),
                owed=tuple(channel for channel in told.owed if channel not in told.relieved),
                returned_at=moment.now,
                count=mine.count if mine is not None else 0,
                recent=mine.recent if mine is not None else (),
            )
            known[before.id] = replace(told, relieved=tuple(channel for channel, _ in told.told_at), over=True)
            return


def _home(incident: Incident, known: Mapping[str, Told]) -> Told | None:
    """What people know of the incident that it is part of, or of the one that this is part of, if that is not over."""
    mine, seen = known.get(incident.id), {incident.id}
    home = known.get((mine.home if mine is not None else "") or incident.joined_to or "")
    while home is not None and home.over and home.incident not in seen:
        seen.add(home.incident)
        home = known.get(home.home)
    return None if home is None or home.over else home


def _lead_home(incident: Incident, known: dict[str, Told]) -> None:
    """It is part of something else now: so is what is part of it, for whoever is still to hear that."""
    for key, told in known.items() if incident.joined_to else ():
        if told.home == incident.id and not told.over:
            known[key] = replace(told, home=incident.joined_to)


def _at_home(incident: Incident, known: Mapping[str, Told]) -> Incident:
    """The incident; one whose home is over as well has simply ended."""
    if incident.joined_to is None or _home(incident, known) is not None:
        return incident
    return replace(incident, joined_to=None)


def _tell_home(incident: Incident, said: Iterable[Notice], known: dict[str, Told]) -> None:
    """Whoever was told that a fault is part of another one knows of that one."""
    home = _home(incident, known)
    for notice in said:
        if notice.what == "joined" and home is not None:
            informed = {channel for channel, _ in home.told_at}
            also = tuple((channel, notice.at) for channel in notice.channels if channel not in informed)
            known[home.incident] = replace(home, told_at=(*home.told_at, *also))
