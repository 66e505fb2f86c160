"""What if the kernel never answers? A question to a dead file server holds its caller for ever.

Such a question sits in a thread that can be left behind. At most one is left per question, however often it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from probes.host import Host
from probes.host.spare import Errand
from probes.model import OutOfTime

T = TypeVar("T")

_left_behind: dict[Hashable, Errand] = {}


def answer(host: Host, question: Hashable, ask: Callable[[], T], hung: OutOfTime) -> T:
    """What `ask()` returns or raises. Raises `hung` when it outlasts the deadline.

    `question` names what is asked: while an earlier thread still hangs on it, no second one is started.
    """
    earlier = _left_behind.get(question)
    if earlier is not None:
        if not earlier.wait(host.left()):
            raise hung
        _left_behind.pop(question, None)
    answers: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # noqa: BLE001 - not swallowed: raised again in the caller's thread
            errors.append(error)

    errand = Errand(work, f"posagent waits: {hung}"[:60])
    errand.wait(host.left())
    if errors:
        raise errors[0]
    if not answers:
        _left_behind[question] = errand
        raise hung
    return answers[0]


def file_system(path: str) -> OutOfTime:
    """What to say when the file system of a path hangs."""
    return OutOfTime(f"the file system of {path} does not answer", why="file_system_hangs", path=path)


def left_behind() -> list[str]:
    """Names of the threads that still hang."""
    return [errand.name for errand in list(_left_behind.values()) if not errand.has_ended]
