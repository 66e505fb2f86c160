"""posagent silence, unsilence: work is going on here; nobody is to be told of what it breaks until it is done."""

from __future__ import annotations

import argparse
import shlex
import time

from agent import screen, texts
from agent.cli import past, writing
from agent.cli.configured import configured_language, speaks

SHORTEST_S, LONGEST_S = 60.0, 7 * 86400.0


def run(arguments: argparse.Namespace) -> int:
    """0 when it is written down: the daemon heeds it within two seconds."""
    language = speaks(arguments.lang or configured_language(arguments.config))
    now = time.time()
    if arguments.action == "unsilence":
        past.opened().close()  # or it is said why there is nothing to write to
        ended = writing.write("posagent unsilence", lambda store: store.end_silences(now))
        told = texts.sentence("charge", "charge.ended" if ended else "charge.none", {}, language)
    else:
        told = texts.sentence("charge", "charge.silenced", _begin(arguments, now), language)
    writing.tell(told, language)
    return 0


def _begin(arguments: argparse.Namespace, now: float) -> dict[str, object]:
    from agent.store import Silence

    lasts = writing.length("DURATION", arguments.time, SHORTEST_S, LONGEST_S, "1m to 7d")
    reason, by = writing.said("--reason", arguments.reason), writing.person(arguments.by)
    past.opened().close()
    words = ["posagent", "silence", arguments.time, "--reason", arguments.reason]
    again = shlex.join([*words, *(["--by", arguments.by] if arguments.by else [])])
    wanted = Silence(0, now, now + lasts, by, reason)
    made = writing.write(again, lambda store: (store.add_silence(wanted), store.silences(now)))
    until = max(each.until for each in (made[0], *made[1]))
    return {"until": screen.local(until), "reason": reason, "by": by}
