"""Can a card number get past here? No: whatever is read from logs, commands, devices or servers passes `scrub` first.

Rules of PCI DSS 3.3-3.5 as far as a reader of free text can keep them: a digit run of 13 to 19 (spaces and dashes
allowed) that passes the Luhn test keeps its last four digits; magnetic track data takes its whole line with it.
About one random digit run in ten passes Luhn, so take trace and reference numbers from structured fields.
"""

from __future__ import annotations

import re

MASK = "*"
TRACK_DROPPED = "[line with track data dropped]"

_DIGITS = re.compile(r"(?<![\d.])\d(?:[ \-]?\d){12,18}(?![\d])")
_AT_THE_CUT = re.compile(r"\d[\d \-]*\Z")
_TRACK = re.compile(r"%[Bb]\d{8,19}\^|;?\d{12,19}[=Dd]\d{4,}\??")


def luhn(digits: str) -> bool:
    """Whether a digit string carries a valid Luhn check digit (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit)
        if place % 2:
            number = number * 2 - 9 if number > 4 else number * 2
        total += number
    return total % 10 == 0


def scrub(text: str, *, cut: bool = False) -> str:
    """The text without card data. Cheap where there are no long digit runs.

    `cut` says that the text was cut off at its end: a number that may go on beyond the cut is dropped.
    """
    if cut:
        text = _AT_THE_CUT.sub("", text)
    if _TRACK.search(text):
        text = "\n".join(TRACK_DROPPED if _TRACK.search(line) else line for line in text.split("\n"))
    return _DIGITS.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    digits = re.sub(r"[ \-]", "", found[0])
    if not luhn(digits):
        return found[0]
    return MASK * (len(digits) - 4) + digits[-4:]
