"""What is wrong with this till, since when, and is it over? Pure: from diagnoses and tracks to incidents.

One cause is one incident, from the moment it is confirmed until it is confirmed gone. What a deeper fault turns out to
explain is joined to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from agent.incidents.casework import Casework, Rules
from agent.incidents.words import Book, Case, Change, Incident, Pending, Seen
from agent.state import Track, is_bad

__all__ = ["Book", "Case", "Change", "Incident", "Pending", "Seen", "uncovered", "update"]


def update(  # noqa: PLR0913 - one call, one moment: all that it hangs on is named at the caller
    book: Book,
    cases: Sequence[Case],
    tracks: Mapping[str, Track],
    now: float,
    *,
    round_taken: bool,
    certain: Collection[str] = (),
    rounds: int = 2,
    reopen_within: float = 300.0,
    hold: float = 600.0,
    watched: Collection[str],
    new_id: Callable[[float], str],
) -> tuple[Book, list[Change]]:
    """Hold the present diagnoses against what is open.

    `round_taken`: the cases come from an examination that was not yet counted. `certain`: causes for which one
    examination is enough. `watched`: the probes of the configuration; others hold nothing open.
    """
    if not (cases or book.open or book.pending or book.recent):
        return book, []
    concerned = {name for each in book.open for name in each.probes}.union(*(case.explains for case in cases))
    unseen = Track()
    known = {name: tracks.get(name) or unseen for name in concerned if name in watched}
    step = Casework(book, known, now, Rules(rounds, certain, reopen_within, hold), new_id)
    step.run(cases, counts=round_taken)
    return step.book(), step.changes()


def uncovered(book: Book, tracks: Mapping[str, Track]) -> frozenset[str]:
    """Probes in confirmed trouble that no open incident accounts for: worth one more examination."""
    covered = {name for incident in book.open for name in incident.probes}
    return frozenset(name for name, track in tracks.items() if is_bad(track.status) and name not in covered)
