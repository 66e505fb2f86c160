"""Whom to tell of which fault, when, and how often again, until somebody takes charge? Pure: no clock, no I/O.

words      Told, Notice: what people know, and what they are to be told
policy     decide, next_at: one incident at one moment
together   decide_all, next_of_all: all of them, and what they mean for each other
"""

from __future__ import annotations

from agent.escalation.policy import Moment, decide, next_at
from agent.escalation.together import decide_all, forgettable, next_of_all
from agent.escalation.words import Notice, Rung, Told, What, shifted

__all__ = [
    "Moment",
    "Notice",
    "Rung",
    "Told",
    "What",
    "decide",
    "decide_all",
    "forgettable",
    "next_at",
    "next_of_all",
    "shifted",
]
