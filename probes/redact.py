"""Can a card number get past here? No: whatever is read from logs, commands, devices or servers passes `scrub` first.

What PCI DSS 3.3-3.5 ask of a reader of free text, as far as a pattern can know:

- a number of 13 to 19 digits, grouped as cards are, that a card issuer could have given out and that passes the Luhn
  test, keeps its last four digits; an expiry date or security code right behind it keeps nothing;
- magnetic track data takes its whole line with it; a hex dump that holds card data goes as a whole;
- a number that was masked too little, or wrapped over two lines, is masked as if it stood there whole;
- what is *called* a card number, track, expiry date, security code, PIN or password is masked whatever it looks like,
  and so are fields 2, 14, 35, 45, 52 and 55 of ISO 8583 and the tags 5A, 57, 5F20 and 5F24 of EMV;
- times, versions, addresses, UUIDs and numbers no issuer has (from 0, from 1, from a year 20xx) stay as they are.

In doubt a number is masked: about one random 16-digit number in fourteen is lost, so take trace and reference numbers
from structured fields. Every pattern is linear in the length of the text. What was encrypted, compressed or written in
Base64 is not undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MASK = "*"
TRACK_DROPPED = "[line with track data dropped]"
HEX_DROPPED = "[hex with card data dropped]"
DIGITS_DROPPED = "[endless digits dropped]"
ENDLESS = 1000
_FIRST_SIX_LAST_FOUR = 10
_SHORT = 400
"""Characters: of a longer text of many lines each line is judged by itself."""

_SEPARATOR = r"(?:[ \-._+/\u00a0\u2000-\u200b\u2010-\u2015\u202f\u00b7\u2212\u3000\uff0d]|%(?:25)?2[0dD])"
_HEX = "[0-9A-Fa-f]"
_MONTH = r"(?:0[1-9]|1[0-2])"
_YEAR = r"(?:1[5-9]|[2-4]\d)"
_EXPIRY = rf"(?:{_MONTH}(?:[/-]|%2F)?{_YEAR}|{_YEAR}(?:[/-]|%2F)?{_MONTH})(?!\d)"

# Every pattern begins with a plain set of characters where it can: that is what makes it cheap on ordinary text.
# Groups between which the same few signs stand each time, whichever they are, and nothing else before or after.
_GAP = r"(?![ .+/-]\d)[^\w\n]{1,4}+|&nbsp;|&#160;|\\t"
_LIKE = re.compile(rf"\d{{1,8}}+(?P<gap>{_GAP})\d{{1,8}}+(?:(?P=gap)\d{{1,8}}+){{1,18}}+(?!\d|(?P=gap)\d|:[0-9A-Fa-f])")
_ADDRESS = re.compile(r"[0-9A-Fa-f:]:\Z")
_BREAK = re.compile(r"(?:\n|\\n)[ \t>]{0,8}(?P<rest>\d(?:[ \-]?\d){0,15}+)(?![.:/\-]?\d)")
_BEFORE_BREAK = re.compile(r"(?P<begun>\d(?:[ \-]?\d){2,17})[ \-]?=?(?:\r|\\r)?\Z")
_DATE = re.compile(r"(?:19|20)\d\d[01]\d|1[67]\d{8}(?!\d)")
_STARS = r"(?:[*#\u2022\u25cf\uff0a]{1,16}|[xX]{2,16})"
_HALF = re.compile(rf"{_STARS}(?:[ \-]{_STARS}){{0,3}}(?:[ \-]?\d){{0,12}}+(?!\d)")
_SHOWN = re.compile(r"(?<!\d)\d(?:[ \-]?\d){5,17}[ \-]?\Z")
_CHAIN = re.compile(rf"(?P<chain>\d(?:{_SEPARATOR}{{0,2}}\d){{12,}})(?P<unit> ?bytes\b)?")
_ENDLESS = re.compile(rf"\d{{{ENDLESS},}}")
_UUID = re.compile(rf"\b{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}\b")
_JSON_KEY, _JSON_NEXT = re.compile(r'"\s{0,4}:\s{0,4}\Z'), re.compile(r"\s*[,}\]]")
_PARTS = re.compile(rf"\d+|(?:{_SEPARATOR})+")
_COUNTER = re.compile(
    r"\b(?:[rt]x|in|out|read|written|sent|received|free|used|total)[_ ]?bytes[\"']?\s*[:=]?\s*\Z", re.I
)

_TRACK = re.compile(
    r"\d{8,19}(?:\^|%5[Ee])[^\^\n]{0,30}(?:\^|%5[Ee])"  # track 1: number^NAME/FIRST^expiry…
    r"|%(?:25)?[Bb]\d[\d ]{7,22}(?:\^|%5[Ee])"
    r"|\d{12,19}(?:=|%3[Dd])\d{4}"  # track 2: number=expiry…
    rf"|\d{{12,19}}[Dd]\d\d{_MONTH}\d{{3}}"  # the same in hexadecimal
)
_DUMP = re.compile(rf"\b{_HEX}{{2}}(?P<gap>[ :\-])(?:{_HEX}{{2}}(?P=gap)){{5,}}+(?:{_HEX}{{2}}\b)?")
_LISTED = re.compile(rf"(?:(?:0[xX]|\\x|\\u00|&#x|%){_HEX}{{2}}[ ,:;]{{0,2}}+){{7,}}+")
_ROWS = re.compile(
    rf"(?:\b{_HEX}{{4,8}}:?[ \t]{{1,3}}(?:{_HEX}{{2}}(?:{_HEX}{{2}})?[ \t]{{1,3}}){{1,16}}+"
    rf"(?:{_HEX}{{2}}\b)?[^\n]{{0,80}}(?:\n[ \t]{{0,4}}|\Z))+"
)
_ROW = re.compile(rf"\b{_HEX}{{4,8}}:?[ \t]+(?P<bytes>(?:{_HEX}{{2}}(?:{_HEX}{{2}})?(?:[ \t]{{1,2}}|$)){{1,17}})")
_ASCII = re.compile(r"(?:(?:%|\\x|\\u00|0x)?3\d[ :,]?){13,}")
_CODES = re.compile(r"(?:(?:&#)?(?:4[89]|5[0-7])[;, ]{1,2}){12,}+(?:4[89]|5[0-7])?")
_PAN_TAG = re.compile(r"5[Aa](?P<length>0[7-9Aa])(?P<value>\d{13}[\dFf]{0,7})")
_NAME_TAG = re.compile(rf"5[Ff]20(?P<length>[01]{_HEX})(?P<value>{_HEX}{{4,62}})")
_EXPIRY_TAG = re.compile(
    r"(?P<tag>5[Ff]24[\"'\]>)]{0,3}[ :=]{0,3}[\"'\[]?(?:03[ :=]{0,3}(?=\d{6})|(?=\d{6}(?!\d))))\d{6}"
)

_IS = r"""["'\])]{0,3}\s{0,3}(?:value)?[:=：]?\s{0,3}["'\[(]{0,2}"""
_FIELD = re.compile(
    r"(?P<key>(?:\b(?:DE|F|field|fld|bit|data ?element)(?: id)?|域|字段)[ _#=\[(\"'.-]{0,3}|\")0{0,2}"
    rf"(?:2{_IS}(?P<pan>\d{{12,19}})|14{_IS}(?P<expiry>{_EXPIRY})|35{_IS}(?P<track2>[\dDd=*]{{12,40}})"
    rf"|45{_IS}(?P<track1>[^\"'\s]{{12,80}})|52{_IS}(?P<pin>{_HEX}{{16}})(?!{_HEX})|55{_IS}(?P<chip>{_HEX}{{16,512}}))",
    re.IGNORECASE,
)
_EQUALS = r"""(?:\\{0,3}["'\])]{0,2}\s{0,3}[:=：]>?\s{0,3}\\{0,3}["'\[(]{0,2}|>\s{0,3}(?:<!\[CDATA\[)?)"""
_CALLED = re.compile(
    r"(?:(?<![a-z])pan|card[ _-]?(?:no|num|number|nbr)|acct[ _-]?no|account[ _-]?number|卡号)"
    rf"{_EQUALS}(?P<pan>\d[\d .\-]{{10,24}}\d)"
    rf"|(?:cvv2?|cvc2?|cvn2?|cav2|csc|(?:security|verification)[ _-]?code|安全码){_EQUALS}(?P<code>\d{{3,4}})(?!\d)"
    rf"|\b(?:pin[ _-]?(?:block|data)?|密码){_EQUALS}(?P<pin>{_HEX}{{16}}|\d{{4,12}})(?![0-9A-Za-z.])"
    rf"|(?:track[ _-]?[123](?:[ _-]?data)?|[一二三]?磁道(?:数据)?){_EQUALS}(?P<track>[^\"'\s]{{8,200}})"
    r"|(?:exp(?:iry|iration|ires?)?(?:[ _-]?date)?|valid[ _-]?(?:thru|until)|有效期)"
    rf"{_EQUALS}(?P<expiry>{_EXPIRY})(?![/-]\d)"
    rf"|(?:passw(?:or)?d|passwd|pwd|secret|api[_-]?key|access[_-]?token){_EQUALS}(?P<secret>[^\s\"'&,;]{{1,200}})"
    r"|authorization\s{0,3}[:=]\s{0,3}(?:basic |bearer )?(?P<credential>[^\s\"',;]{4,2000})",
    re.IGNORECASE,
)
# How these names begin, in small letters.
_NAMES = "pan|card|acct|account|cav|cv|csc|security|verification|pin|track|exp|valid|pass|pwd|secret|api|access|auth"
_HINTS = re.compile(_NAMES + "|卡号|安全码|密码|磁道|一磁道|二磁道|三磁道|有效期")
# What an ASCII text must have, in small letters, before a pattern above can change it: the sign, tag or name that the
# pattern is about, or 12 digits and among them a chain, groups that are alike, or bytes that mean digits.
_SIGN = re.compile(
    r"[*^\\&xf%\"=#\n](?:(?<=[*^\\])|(?<=\d=)|(?<=\d#)|(?<=\d[ \-]#)|(?<=[0x]x)|(?<=&)(?:nbsp|#)|(?<=5f)2"
    r"|(?<=%)(?:[0-9a-f]{2}|b\d)|(?<=\")0{0,2}[1-5]|(?<=\n)[ \t>]{0,8}\d)"
)
_NUMBERED = re.compile(
    r"[bdef](?:(?<=\bd)e|(?<=\bf)(?:ld)?|(?<=f)ield|(?<=b)it|(?<=e)lement)(?: id)?[ _#=\[(\"'.-]{0,3}\d"
)
_NAMED = re.compile(rf"(?:{_NAMES})[a-z0-9 _\-]{{0,16}}[\"'\])]{{0,3}}\s{{0,3}}[:=>]")
_NEEDS_DIGITS = 12
_NEXT = r"[ \-._+/]"
_LONG = re.compile(
    rf"[0-9](?<!\d\d)(?:(?<!\d{_NEXT}\d)(?<!\d{_NEXT}{{2}}\d)(?:{_NEXT}{{0,2}}\d){{{_NEEDS_DIGITS - 1}}}"
    rf"|\d{{3,7}}+(?P<gap>{_GAP})\d{{3,8}}+(?P=gap)\d|(?P<one>{_GAP})\d(?P=one)\d(?P=one)\d(?!\d)|\d:\d\d:\d\d:\d\d:)"
)
_BYTES = re.compile(
    r"[345d](?:(?<=\dd)\d{5}|(?<=3)\d[ :,]?(?:3\d[ :,]?){4}"
    r"|(?:(?<=4)[89]|(?<=5)[0-7])[;, ]{1,2}(?:(?:4[89]|5[0-7])[;, ]{1,2}){4})"
)
# What stands behind a card in one run: its expiry date, or an amount in a field of fixed width.
_FOLLOWS = re.compile(rf"{_YEAR}{_MONTH}(?:\d{{3}}|\Z)|000\d{{3,}}")
_MESSAGE = re.compile(r"0[12458][0-3]0(?!0)")
_BEHIND = re.compile(
    rf"(?:(?<=\*\d{{4}})|(?<=\*[ \-.]\d{{4}})|(?<=\*(?:\d[ \-.]\d\d|\d\d[ \-.]\d|\d\d\d[ \-.])\d))"
    rf"(?P<gap>[ ,;|:/\"'\t\x1c-\x1f]{{1,4}}|<FS>)"
    rf"(?P<expiry>{_EXPIRY}(?:[ ,;|:/]{{1,3}}\d{{3,4}}(?!\d))?|\d{{3}}(?![\d.,:]))"
)

_LAYOUTS = (
    *((4, 4, 4, 4, last) for last in (3, 2, 1)),
    (4, 4, 4, 5),
    (4, 4, 4, 6),
    *((4, 4, 4, 4), (8, 8), (6, 10), (6, 6, 4), (4, 12), (12, 4), (4, 8, 4), (8, 4, 4), (4, 4, 8)),  # 16
    *((4, 6, 5), (4, 4, 4, 3), (5, 5, 5), (4, 6, 4), (4, 4, 4, 2), (4, 4, 5), (4, 3, 3, 3), (4, 4, 4, 1)),  # 13 to 15
    *((6, 13), (8, 11), (6, 12), (6, 6, 7), (4, 4, 4, 7), (4, 4, 11)),  # UnionPay's 18 and 19
    *((2,) * pairs for pairs in (7, 8, 9, 10)),  # the bytes of a dump
    *((1,) * digits for digits in range(13, 20)),
)
# Lengths as characters, so that a layout is found with `startswith`.
_BY_FIRST = {
    chr(size): ["".join(map(chr, layout)) for layout in _LAYOUTS if layout[0] == size]
    for size in sorted({layout[0] for layout in _LAYOUTS})
}

# The numbers that issuers give out, by length: old Visa, Maestro; Diners; Amex; and everything from 16 up: Mir and
# Mastercard (22-27), Diners and JCB (3), Visa, Mastercard, Maestro, UnionPay, Discover, RuPay, fuel cards (4-7),
# UnionPay's 81, RuPay's 82, Uzcard's 86, and the national ones under 9 (ICBC 9558, Troy, Humo).
# Left out on purpose: 0, 1 (times in ms, us, ns; UATP), 20 (dates), 89 (SIM cards).
_ISSUED = {
    13: re.compile("4|5[0678]|6[0-8]"),
    14: re.compile("3[0689]|5[0678]|6"),
    15: re.compile("3[47]|5[0678]|6"),
    **dict.fromkeys(range(16, 20), re.compile("2[2-7]|3[05689]|[4-79]|8[126]")),
}
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_SINGLE = bytes.maketrans(b"0123456789", bytes(range(10)))


def scrub(text: str, *, cut: bool = False) -> str:
    """The text without card data. `cut` says that it was cut off at its end: an unfinished number there is dropped."""
    if cut:
        text = text.rstrip("0123456789 -._+/=^;%")
    if len(text) > _SHORT and "\n" in text:
        return "".join(_without_wrapped("\n".join(_by_lines(text.split("\n")))))
    return text if _is_harmless(text) else _scrubbed(text)


def _by_lines(lines: list[str]) -> Iterator[str]:
    """Of a long text only lines that a pattern could change are looked at closely, with those they belong to."""
    begin = end = 0
    for place, line in enumerate(lines):
        if (line.isdecimal() and len(line) < _NEEDS_DIGITS and line.isascii()) or _is_harmless(line):
            continue
        above, below = _reach(line, lines[place - 1] if place else "")
        if place - above > end:
            if end > begin:
                yield _cleaned("\n".join(lines[begin:end]))
            yield from lines[end : place - above]
            begin = place - above
        end = max(end, place + below + 1)
    if end > begin:
        yield _cleaned("\n".join(lines[begin:end]))
    yield from lines[end:]


def _reach(line: str, above: str) -> tuple[int, int]:
    """How many lines above and below this one its meaning may reach: a dump's rows, a value below its name."""
    if _ROW.search(line):
        return 1, 1
    return int(above.rstrip()[-1:] in tuple(":=")), 3 if line.rstrip()[-1:] in tuple(":=>\"'([{,") else 0


def _is_harmless(text: str) -> bool:
    """No pattern can change it, which most texts tell at a glance. False where that takes a closer look."""
    if not text.isascii():
        return False
    small = text.lower()
    if (":" in small or "=" in small or ">" in small) and _NAMED.search(small):
        return False
    digits = len(text) - len(text.encode().translate(None, b"0123456789"))
    if digits == 0:
        return True
    if _SIGN.search(small) or _NUMBERED.search(small):
        return False
    if digits < _NEEDS_DIGITS:
        return True
    return not (
        _LONG.search(small) or _BYTES.search(small) or _ROW.search(text) or ("\n" in text and _ROWS.search(text))
    )


def _scrubbed(text: str) -> str:
    return "".join(_without_wrapped(_cleaned(text)))


def _cleaned(text: str) -> str:
    """All but what is wrapped over two lines."""
    text = _ENDLESS.sub(DIGITS_DROPPED, text)
    if _TRACK.search(text):
        text = "\n".join(TRACK_DROPPED if _TRACK.search(line) else line for line in text.split("\n"))
    text = _ROWS.sub(_without_rows, text)
    text = _ASCII.sub(_without_ascii, _LISTED.sub(_without_dump, _DUMP.sub(_without_dump, text)))
    text = _CODES.sub(_without_codes, text)
    text = _PAN_TAG.sub(_without_tag, text)
    text = _NAME_TAG.sub(_without_tag, text)
    text = _EXPIRY_TAG.sub(lambda found: found["tag"] + MASK * 6, text)
    text = _FIELD.sub(_without_value, text)
    text = "".join(_without_called(text))
    text = _LIKE.sub(_without_like, "".join(_without_half(text)))
    return _BEHIND.sub(_without_expiry, _CHAIN.sub(_without_cards, text))


def _without_called(text: str) -> Iterator[str]:
    """What is called by its name, masked. The names are looked for first, which is far quicker."""
    place = 0
    for hint in _HINTS.finditer(_small(text)):
        found = _CALLED.match(text, hint.start()) if hint.start() >= place else None
        if found is not None:
            yield text[place : found.start()]
            yield _without_value(found)
            place = found.end()
    yield text[place:]


def _small(text: str) -> str:
    """In small letters, each at its place: the one letter that would become two is left out."""
    return text.lower() if text.isascii() else text.replace("\u0130", "i").lower()


def scrub_data(value: Any) -> Any:
    """The same for parsed JSON, where a masked bare number must stay readable: keys and values, all the way down."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrub(str(key)): _scrub_item(str(key), item) for key, item in value.items()}
    if isinstance(value, list):
        return [scrub_data(item) for item in value]
    return _scrub_item("", value)


def _scrub_item(key: str, value: Any) -> Any:
    """A value under its name: 123 means nothing, `cvv` 123 does."""
    if isinstance(value, (dict, list)):
        return scrub_data(value)
    if value is None or isinstance(value, bool):
        return value
    whole = f'"{key}":"{value}"'
    text = scrub(whole)
    if text == whole:
        return value
    name = f'"{key}":"'
    return text[len(name) : -1] if text.startswith(name) and text.endswith('"') else scrub(str(value))


def luhn(digits: str) -> bool:
    """Whether a digit string carries a valid Luhn check digit (ISO/IEC 7812-1)."""
    plain = _ascii(digits).encode("ascii")
    return not (sum(plain[-1::-2].translate(_SINGLE)) + sum(plain[-2::-2].translate(_DOUBLED))) % 10


def is_card(digits: str) -> bool:
    """Whether an issuer could have given out this number: its first digits, its length, its check digit."""
    issued = _ISSUED.get(len(digits))
    return issued is not None and issued.match(_ascii(digits)) is not None and luhn(digits)


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _without_cards(found: re.Match[str]) -> str:
    chain = found["chain"]
    if found["unit"] or _is_something_else(found.string, found.start(), found.end("chain")):
        return found[0]
    parts = _PARTS.findall(chain)
    masked = "".join(_masked_chain(parts[::2], [*parts[1::2], ""]))
    return found[0] if masked == chain else _as_json(found.string, found.start(), masked, found.end())


def _as_json(text: str, start: int, masked: str, end: int) -> str:
    """A bare number of a JSON object becomes a text, so that the document can still be read."""
    is_bare = _JSON_KEY.search(text[max(0, start - 8) : start]) and _JSON_NEXT.match(text[end : end + 8] + "}")
    return f'"{masked}"' if is_bare else masked


def _is_something_else(text: str, start: int, end: int) -> bool:
    """What stands around these digits makes them part of a UUID, a byte counter or a short telephone number."""
    before = text[max(0, start - 36) : start]
    if before.endswith("+") and sum(char.isdigit() for char in text[start:end]) <= 13:
        return True
    around = before + text[start : end + 36]
    if "-" in around and any(uuid.end() >= len(before) + end - start > uuid.start() for uuid in _UUID.finditer(around)):
        return True
    return _COUNTER.search(before) is not None


def _masked_chain(groups: list[str], gaps: list[str]) -> Iterator[str]:
    """The chain again, group by group, with every card in it masked."""
    if len(groups) > ENDLESS:
        yield DIGITS_DROPPED
        return
    sizes = "".join(chr(min(len(group), 99)) for group in groups)
    place = 0
    while place < len(groups):
        spans = [
            len(layout)
            for layout in _BY_FIRST.get(sizes[place], ())
            if sizes.startswith(layout, place) and is_card("".join(groups[place : place + len(layout)]).lstrip("0"))
        ]
        if not spans:
            is_fraction = place > 0 and gaps[place - 1] == "."
            yield groups[place] if is_fraction else _masked_run(groups[place])
            yield gaps[place]
            place += 1
            continue
        # Two readings of the same digits: the four that one would keep may be the other's security code.
        kept = 4 if len(spans) == 1 else 0
        last = place + max(spans)
        total = sum(map(len, groups[place:last]))
        for group, gap in zip(groups[place:last], gaps[place:last], strict=True):
            hidden = max(0, min(len(group), total - kept))
            yield MASK * hidden + group[hidden:] + gap
            total -= len(group)
        place = last


def _masked_run(digits: str) -> str:
    """One unbroken run of digits, with the cards that may hide in it masked."""
    if len(digits) < 13:
        return digits
    for start, end in _cards_in(digits):
        hidden = end - 4
        rest = digits[end:]
        # What follows a card in one run is its expiry date, service code or security code.
        return (
            digits[:start]
            + MASK * (hidden - start)
            + digits[hidden:end]
            + (MASK * len(rest) if len(rest) <= 20 else MASK * 20 + _masked_run(rest[20:]))
        )
    return digits


def _cards_in(digits: str) -> Iterator[tuple[int, int]]:
    """Where a card may lie in an unbroken run: all of it, behind zeros, before an expiry, behind its own length."""
    start = len(digits) - len(digits.lstrip("0"))
    if start == 0 or len(digits) - start >= 14:
        if is_card(digits[start:]):
            yield start, len(digits)
        for size in (16, 19, 15, 14):
            rest = digits[start + size :]
            if (len(rest) in (3, 4) or _FOLLOWS.match(rest)) and is_card(digits[start : start + size]):
                yield start, start + size
    if _MESSAGE.match(digits) and is_card(digits[4:]):
        yield 4, len(digits)
    for found in re.finditer(r"(?=(1[3-9]))", digits):
        begin = found.start() + 2
        end = begin + int(found[1])
        if is_card(digits[begin:end]):
            yield begin, end


def _without_like(found: re.Match[str]) -> str:
    groups = found[0].split(found["gap"])
    sizes = tuple(map(len, groups))
    before = found.string[max(0, found.start() - 8) : found.start()]
    is_part = before.removesuffix(found["gap"])[-1:].isdigit() or _ADDRESS.search(before)
    if is_part or sizes not in _LAYOUTS or (sizes[0] == 2 and found["gap"] != ":") or not is_card("".join(groups)):
        return found[0]
    return _masked(found[0])


def _without_half(text: str) -> Iterator[str]:
    """Of a card number first six and last four may be known at most; where more is, only the last four stay."""
    place = 0
    for found in _HALF.finditer(text):
        shown = _SHOWN.search(text[max(place, found.start() - 38) : found.start()])
        written = shown[0] + found[0] if shown else ""
        size, digits = len(re.sub("[ -]", "", written)), len(re.sub(r"\D", "", written))
        if 13 <= size <= 19 and digits > _FIRST_SIX_LAST_FOUR and _ascii(written[0]) in "23456789":
            yield text[place : found.end() - len(written)]
            yield _masked(written)
            place = found.end()
    yield text[place:]


def _without_wrapped(text: str) -> Iterator[str]:
    """A card number that goes on in the next line, unless these are two lines of a column of numbers."""
    place = 0
    for found in _BREAK.finditer(text):
        line = text[max(place, found.start() - 40) : found.start()].rpartition("\n")[2]
        begun = _BEFORE_BREAK.search(line) if len(line) + len(found["rest"]) > _NEEDS_DIGITS else None
        if begun is None or _DATE.match(found["rest"]):
            continue
        begin = found.start() - len(begun[0])
        digits = re.sub(r"\D", "", begun["begun"] + found["rest"])
        if text[begin - 1 : begin].isdigit() or not is_card(digits) or _is_column(text, begin, found.end()):
            continue
        yield text[place:begin]
        yield _masked(text[begin : found.end()])
        place = found.end()
    yield text[place:]


def _is_column(text: str, begin: int, end: int) -> bool:
    """Whether both lines are numbers alone and so is the one before or behind them."""
    before = text[max(0, begin - 40) : begin].split("\n")
    behind = text[end : end + 40].split("\n")
    if before[-1].strip() or behind[0].strip():
        return False
    return any(line.strip().isdigit() for line in (*before[-2:-1], *behind[1:2]))


def _masked(written: str) -> str:
    """The same with its last four digits at most, whatever stands between them."""
    hidden = len(written)
    for _ in range(4):
        if written[:hidden].rstrip(" -")[-1:].isdigit():
            hidden = len(written[:hidden].rstrip(" -")) - 1
    return re.sub(r"\d", MASK, written[:hidden]) + written[hidden:]


def _without_rows(found: re.Match[str]) -> str:
    """A dump with addresses and letters beside it: a number may go on in the next row."""
    rows = [row["bytes"] for line in found[0].split("\n") if (row := _ROW.search(line))]
    packed = "".join("".join(rows).split())
    return HEX_DROPPED + "\n" if _holds_card(packed) else found[0]


def _without_dump(found: re.Match[str]) -> str:
    packed = re.sub(r"0[xX]|\\x|\\u00|&#x|[^0-9A-Fa-f]", "", found[0])
    return HEX_DROPPED if _holds_card(packed) else found[0]


def _holds_card(packed: str) -> bool:
    """Whether there is card data in these bytes, packed or as letters."""
    if _TRACK.search(packed) or _PAN_TAG.search(packed):
        return True
    letters = bytes.fromhex(packed[: len(packed) // 2 * 2]).decode("latin-1")
    runs = (*re.findall(r"\d{13,}", packed), *re.findall(r"[0-9]{13,}", letters))
    return _TRACK.search(letters) is not None or any(True for run in runs for _card in _cards_in(run[:ENDLESS]))


def _without_codes(found: re.Match[str]) -> str:
    digits = "".join(chr(int(code)) for code in re.findall(r"\d\d", found[0]))
    return DIGITS_DROPPED if any(True for _card in _cards_in(digits[:ENDLESS])) else found[0]


def _without_ascii(found: re.Match[str]) -> str:
    digits = "".join(re.findall(r"3(\d)", found[0]))
    return HEX_DROPPED if len(digits) > ENDLESS or any(True for _card in _cards_in(digits)) else found[0]


def _without_tag(found: re.Match[str]) -> str:
    value = found["value"][: 2 * int(found["length"], 16)]
    start = found.start("value") - found.start()
    return found[0][:start] + MASK * len(value) + found[0][start + len(value) :]


def _without_value(found: re.Match[str]) -> str:
    name = found.lastgroup or ""
    value = found[name]
    kept = 4 if name == "pan" else 0
    masked = re.sub(r"\w", MASK, value[: len(value) - kept]) + value[len(value) - kept :]
    start = found.start(name) - found.start()
    masked = _as_json(found.string, found.start(name), masked, found.end(name))
    return found[0][:start] + masked + found[0][start + len(value) :]


def _without_expiry(found: re.Match[str]) -> str:
    return found["gap"] + re.sub(r"\d", MASK, found["expiry"])
