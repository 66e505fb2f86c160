"""Which disguises does a card number wear? Each one applied to the networks' published test numbers of every length.

No number here is anybody's: most are the ones that card networks and payment services publish for tests, the others
are made up of counting digits and a check digit.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote

NUMBERS = {
    "visa": "4012888888881881",
    "visa-4242": "4242424242424242",
    "visa-4111": "4111111111111111",
    "visa-13": "4222222222222",
    "visa-19": "4917610000000000003",
    "mastercard": "5105105105105100",
    "mastercard-55": "5555555555554444",
    "mastercard-2": "2223003122003222",
    "amex": "378282246310005",
    "amex-corporate": "371449635398431",
    "diners": "30569309025904",
    "diners-36": "36227206271667",
    "jcb": "3566002020360505",
    "discover": "6011000990139424",
    "unionpay": "6250947000000014",
    "unionpay-17": "62123456789000003",
    "unionpay-18": "621234567890000002",
    "unionpay-19": "6205500000000000004",
    "unionpay-19-counting": "6222021234567890128",
    "icbc": "9558800200123456788",
    "maestro": "6759649826438453",
    "maestro-13": "5018123456789",
    "mir": "2200123456789019",
    "rupay": "5085123456789012",
}
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


class Case(NamedTuple):
    """A text, and what of it may be nowhere afterwards."""

    name: str
    text: str
    card: str
    gone: tuple[str, ...] = ()


def grouped(card: str, gap: str) -> str:
    """As it is embossed."""
    cuts = {15: (4, 10), 14: (4, 10)}.get(len(card), tuple(range(4, len(card), 4)))
    return gap.join(card[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(card)), strict=True))


def bcd(card: str, pad: str = "F") -> str:
    """Two digits a byte, filled up at its end."""
    return card + pad * (len(card) % 2)


def pairs(text: str, gap: str = " ") -> str:
    return gap.join(text[place : place + 2] for place in range(0, len(text), 2))


def ascii_hex(text: str) -> str:
    return text.encode("ascii").hex()


def tlv(tag: str, value: str) -> str:
    return f"{tag}{len(value) // 2:02X}{value}"


def track2(card: str, mark: str = "=") -> str:
    return f"{card}{mark}27122011234500000"


def chip(card: str) -> str:
    """What a terminal hands to the till after a payment with a chip."""
    return "9F2608A1B2C3D4E5F60718" + tlv("5A", bcd(card)) + "5F2403271231" + "9F36020042"


def binary_dump(packed: str) -> str:
    """As `hexdump -C` shows it: offset, sixteen bytes, the letters."""
    rows = []
    for place in range(0, len(packed), 32):
        row = packed[place : place + 32]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in bytes.fromhex(row))
        left, right = pairs(row[:16]), pairs(row[16:])
        rows.append(f"{place // 2:08x}  {left.lower()}  {right.lower():<23}  |{shown}|")
    return "\n".join(rows)


def even(text: str) -> str:
    return text + "0" * (len(text) % 2)


DISGUISES: dict[str, Callable[[str], str]] = {
    "alone": lambda card: card,
    "in a sentence": lambda card: f"The customer with card {card} was charged twice.",
    "glued to words": lambda card: f"PAY{card}END",
    "underscores around it": lambda card: f"txn_{card}_retry",
    "spaces": lambda card: f"card {grouped(card, ' ')} declined",
    "dashes": lambda card: f"card {grouped(card, '-')} declined",
    "dots": lambda card: f"card {grouped(card, '.')} declined",
    "slashes": lambda card: f"card {grouped(card, '/')} declined",
    "underscores": lambda card: f"card {grouped(card, '_')} declined",
    "no-break spaces": lambda card: f"card {grouped(card, chr(0xA0))} declined",
    "thin spaces": lambda card: f"card {grouped(card, chr(0x2009))} declined",
    "en dashes": lambda card: f"card {grouped(card, chr(0x2013))} declined",
    "full-width spaces": lambda card: f"卡 {grouped(card, chr(0x3000))} 失败",
    "full-width hyphens": lambda card: f"卡 {grouped(card.translate(WIDE), chr(0xFF0D))} 失败",
    "minus signs": lambda card: f"card {grouped(card, chr(0x2212))} declined",
    "tabs": lambda card: f"card\t{grouped(card, chr(9))}\tdeclined",
    "two spaces": lambda card: f"card {grouped(card, '  ')} declined",
    "space dash space": lambda card: f"card {grouped(card, ' - ')} declined",
    "commas": lambda card: f"card {grouped(card, ',')} declined",
    "colons": lambda card: f"card {grouped(card, ':')} declined",
    "digit by digit": lambda card: f"keys: {' '.join(card)}",
    "digit by digit, dashed": lambda card: f"keys: {'-'.join(card)}",
    "a list of digits": lambda card: f"keys = [{', '.join(card)}]",
    "full-width digits": lambda card: f"卡号{card.translate(WIDE)}支付失败",
    "full-width digits in groups": lambda card: f"卡号 {grouped(card.translate(WIDE), ' ')} 支付失败",
    "wrapped at the eighth digit": lambda card: f"2026-11-22 06:14:05 sale {card[:8]}\n{card[8:]} declined",
    "wrapped between groups": lambda card: f"sale {grouped(card, ' ').replace(' ', chr(10), 1)} declined",
    "wrapped with CR LF": lambda card: f"sale {card[:10]}\r\n{card[10:]} declined",
    "soft line end": lambda card: f"sale {card[:8]}=\n{card[8:]} declined",
    "escaped line end": lambda card: f"sale {card[:8]}\\n{card[8:]} declined",
    "behind zeros": lambda card: f"PAN {card:0>22}",
    "expiry and code behind it": lambda card: f"{card}|12/27|737|DOE",
    "expiry glued to it": lambda card: f"{card}2712 approved",
    "track 1": lambda card: f"%B{card}^DOE/JOHN^27122010000000000?",
    "track 1 without a start": lambda card: f"swipe B{card}^DOE/JOHN                 ^2712201",
    "track 1 in groups": lambda card: f"%B{grouped(card, ' ')}^DOE/JOHN^2712201?",
    "track 1, URL": lambda card: f"t1=%25B{card}%5EDOE%2FJOHN%5E2712201%3F",
    "track 2": lambda card: f";{track2(card)}?",
    "track 2 in JSON": lambda card: json.dumps({"magstripe": track2(card)}),
    "track 2, URL": lambda card: f"m={track2(card, '%3D')}&x=1",
    "track 2, entity": lambda card: f"<m>{track2(card, '&#61;')}</m>",
    "track 2, escaped": lambda card: f'{{"m":"{track2(card, chr(92) + "u003d")}"}}',
    "track 2, D": lambda card: f"swipe {track2(card, 'D')}F",
    "track 2 without a service code": lambda card: f"{card}=2712 ok",
    "track 2 cut behind its mark": lambda card: f"reader said ;{card}=",
    "tag 57": lambda card: f"EMV {tlv('57', even(track2(card, 'D') + 'F'))}",
    "tag 57 named": lambda card: f"57: {track2(card, 'D')}F",
    "tag 57 as bytes": lambda card: f"57 13 {pairs(even(track2(card, 'D') + 'F'))}",
    "tag 57 0x": lambda card: f"tag=0x57 len=0x13 value=0x{even(track2(card, 'D') + 'F')}",
    "tag 9F6B": lambda card: f"{tlv('9F6B', even(track2(card, 'D') + 'F'))}9F660432C04000",
    "tag 5A": lambda card: f"EMV {tlv('5A', bcd(card))}5F340101",
    "tag 5A named": lambda card: f"[5A] Application PAN: {bcd(card)}",
    "tag 5A colon": lambda card: f"5A:{bcd(card)} 5F24:271231",
    "tag 5A as bytes": lambda card: f"5A {(len(card) + 1) // 2:02X} {pairs(bcd(card))} 5F 24 03 27 12 31",
    "tag 5A in JSON": lambda card: json.dumps({"5A": bcd(card), "5F24": "271231", "9F36": "0042"}),
    "tag 5A, small letters": lambda card: f"rx 5a{(len(card) + 1) // 2:02x}{bcd(card, 'f')}5f240327123190",
    "chip data": lambda card: f"DE55 {chip(card)}",
    "chip data alone": chip,
    "BCD": lambda card: f"rx {bcd(card)}",
    "BCD with a length": lambda card: f"rx {len(card)}{bcd(card, '0')}",
    "BCD as bytes": lambda card: f"rx {pairs(bcd(card))}",
    "BCD as bytes, colons": lambda card: f"rx {pairs(bcd(card), ':')}",
    "BCD as bytes, dashes": lambda card: f"rx {pairs(bcd(card), '-')}",
    "BCD as bytes, 0x": lambda card: f"rx 0x{pairs(bcd(card)).replace(' ', ' 0x')}",
    "BCD as bytes, 0x and commas": lambda card: f"buf = {{0x{pairs(bcd(card)).replace(' ', ', 0x')}}}",
    "BCD as bytes, backslashes": lambda card: "rx b'" + "".join(f"\\x{b}" for b in pairs(bcd(card)).split()) + "'",
    "BCD in a message": lambda card: f"60000300000200703C048020C08211{len(card)}{bcd(card, '0')}00000000000001",
    "BCD in a dump": lambda card: binary_dump(
        even(f"60000300000200703C048020C08211{len(card)}{bcd(card, '0')}000000000012800001230022")
    ),
    "ASCII hex": lambda card: f"rx {ascii_hex(card)}",
    "ASCII hex, bytes": lambda card: f"rx {pairs(ascii_hex(card))}",
    "ASCII hex, 0x": lambda card: f"rx 0x{pairs(ascii_hex(card)).replace(' ', ' 0x')}",
    "ASCII hex, 0x and commas": lambda card: f"rx 0x{pairs(ascii_hex(card)).replace(' ', ', 0x')}",
    "ASCII hex, colons": lambda card: f"rx {pairs(ascii_hex(card), ':')}",
    "ASCII hex, dashes": lambda card: f"rx {pairs(ascii_hex(card), '-')}",
    "ASCII hex, track 2": lambda card: f"rx 3b{ascii_hex(track2(card))}3f",
    "ASCII hex in a dump": lambda card: binary_dump(even(ascii_hex(f"0200 sale {card} CNY"))),
    "escaped, x": lambda card: "rx " + "".join(f"\\x{ord(digit):02x}" for digit in card),
    "escaped, u": lambda card: "rx " + "".join(f"\\u{ord(digit):04x}" for digit in card),
    "entities": lambda card: "".join(f"&#{ord(digit)};" for digit in card),
    "entities, hex": lambda card: "".join(f"&#x{ord(digit):x};" for digit in card),
    "per cent, each digit": lambda card: "".join(f"%{ord(digit):x}" for digit in card),
    "ASCII codes": lambda card: f"rx [{', '.join(str(ord(digit)) for digit in card)}]",
    "ISO 8583": lambda card: f"0200702404802000C080{len(card)}{card}00000000000001234500012",
    "ISO 8583, printed": lambda card: f'<field id="2" value="{card}"/>\n<field id="14" value="2712"/>',
    "ISO 8583, listed": lambda card: f"Field   2 [{len(card)}] = {card}\nField  14 = 2712",
    "ISO 8583, Python": lambda card: (
        f"{{'t': '0200', '2': '{card}', '3': '000000', '14': '2712', '35': '{track2(card)}'}}"
    ),
    "ISO 8583, DE 35": lambda card: f"DE035 LLVAR {len(card) + 18} {track2(card)}",
    "ISO 8583, Chinese": lambda card: f"[域2] = [{card}]  [域14] = [2712]",
    "JSON": lambda card: json.dumps({"pan": card, "expiry": "12/27", "cvv": "737", "amount": 128.5}),
    "JSON, a number": lambda card: json.dumps({"cardNumber": int(card), "trace": 12}),
    "JSON in JSON": lambda card: json.dumps({"body": json.dumps({"card": {"number": card, "cvc": "737"}})}),
    "JSON, groups": lambda card: json.dumps({"card": {"n": 1, "number": grouped(card, " ")}}),
    "XML": lambda card: f"<Card><PAN>{card}</PAN><CVV2>737</CVV2><ExpiryDate>2712</ExpiryDate></Card>",
    "XML, attribute": lambda card: f'<card number="{card}" expiry="1227" cvc="737"/>',
    "XML, CDATA": lambda card: f"<pan><![CDATA[{card}]]></pan>",
    "YAML": lambda card: f"payment:\n  card: '{card}'\n  exp: 12/27\n  cvv: 737\n",
    "SQL": lambda card: f"INSERT INTO txn (pan, amt) VALUES ('{card}', 128.50);",
    "CSV": lambda card: f"2026-11-22,000123,{card},128.50,APPROVED",
    "CSV, quoted": lambda card: f'"000123";"{grouped(card, " ")}";"12/27";"128,50"',
    "CSV, tabs": lambda card: f"000123\t{card}\t2712\t128.50",
    "CSV, as a spreadsheet wants it": lambda card: f'="{card}",128.50',
    "fixed columns": lambda card: f"D{card:<19}000000012850CNY",
    "fixed columns, right": lambda card: f"D{card:>19}000000012850CNY",
    "query": lambda card: f"GET /pay?card={card}&exp=1227&cvv=737 HTTP/1.1",
    "query, %20": lambda card: f"GET /pay?c={quote(grouped(card, ' '))}&a=1 HTTP/1.1",
    "query, plus": lambda card: f"POST c={grouped(card, '+')}&a=1",
    "query, %2D": lambda card: f"POST c={grouped(card, '%2D')}&a=1",
    "query, twice escaped": lambda card: f"GET /r?u=pay%253Fc%253D{grouped(card, '%2520')}",
    "path": lambda card: f"GET /v2/cards/{card}/balance 404",
    "file name": lambda card: f"/var/spool/pos/receipt_{card}_20261122.txt: No space left on device",
    "file name, dashes": lambda card: f"open('slip-{grouped(card, '-')}.pdf') failed",
    "Windows file name": lambda card: f"C:\\POS\\slips\\{card}.bmp not found",
    "scheme": lambda card: f"pay:{card}@store",
    "quotation marks": lambda card: f"pan is '{card[:4]}' '{card[4:8]}' '{card[8:12]}' '{card[12:]}'",
    "log of a framework": lambda card: f"CardData(pan={card}, expiryDate=2712, serviceCode=201, cvv=737)",
    "XON log": lambda card: f"<STX>0200{card}<FS>2712<ETX>",
    "control characters": lambda card: f"\x020200\x1c{card}\x1c2712\x03",
    "receipt": lambda card: f"卡号/CARD NUMBER\n{grouped(card, ' ')} /S\n有效期/EXP DATE: 2712",
    "too little masked: twelve and stars": lambda card: f"card {card[:-4]}****",
    "too little masked: ten and the last four": lambda card: f"card {card[: len(card) - 6]}**{card[-4:]}",
    "too little masked: all but two": lambda card: f"card {card[:8]}XX{card[10:]}",
    "too little masked: groups": lambda card: (
        f"card {card[:4]} {card[4:8]} **** {card[12:]}" if len(card) == 16 else f"card {card[:-4]}xxxx"
    ),
    "too little masked: the first and stars": lambda card: f"card {card[: len(card) - 3]}###",
}
"""What is done to it. The names are the tests' ids."""

EXTRA = {
    "expiry and code behind it": ("12/27", "737"),
    "expiry glued to it": ("2712",),
    "track 1": ("DOE", "2712"),
    "track 1 without a start": ("DOE", "2712"),
    "track 1 in groups": ("DOE", "2712"),
    "track 1, URL": ("DOE", "2712"),
    "track 2": ("2712",),
    "track 2 in JSON": ("2712",),
    "track 2, URL": ("2712",),
    "track 2, D": ("2712",),
    "tag 57": ("2712",),
    "tag 57 named": ("2712",),
    "tag 9F6B": ("2712",),
    "tag 5A": (),
    "tag 5A colon": ("271231",),
    "tag 5A as bytes": ("27 12 31",),
    "tag 5A in JSON": ("271231",),
    "tag 5A, small letters": ("271231",),
    "chip data": ("271231",),
    "ISO 8583, printed": ("2712",),
    "ISO 8583, listed": ("2712",),
    "ISO 8583, Python": ("2712",),
    "ISO 8583, DE 35": ("2712",),
    "ISO 8583, Chinese": ("2712",),
    "JSON": ("12/27", "737"),
    "JSON in JSON": ("737",),
    "XML": ("737", "2712"),
    "XML, attribute": ("1227", "737"),
    "YAML": ("12/27", "737"),
    "CSV, quoted": ("12/27",),
    "CSV, tabs": ("2712",),
    "query": ("1227", "737"),
    "log of a framework": ("2712", "737"),
    "XON log": ("2712",),
    "control characters": ("2712",),
    "receipt": ("2712",),
}
"""What belongs to the card besides its number and must go with it."""


def cases() -> Iterator[Case]:
    """Every disguise on three numbers: a Visa, a UnionPay of 19 digits, and one that changes from disguise to disguise."""
    names = list(NUMBERS)
    for place, (name, disguise) in enumerate(DISGUISES.items()):
        # Of a number of 13 digits half a mask leaves less than anybody would miss.
        others = [each for each in names if len(NUMBERS[each]) > 13 or "masked" not in name]
        chosen = dict.fromkeys(["visa", "unionpay-19-counting", others[(place * 5 + 2) % len(others)]])
        for brand in chosen:
            card = NUMBERS[brand]
            yield Case(f"{name}, {brand}", disguise(card), card, EXTRA.get(name, ()))


def leaks(text: str, case: Case) -> str:
    """What of the card can still be read, by somebody who undoes every disguise; "" where nothing can."""
    for gone in case.gone:
        if gone in text:
            return gone
    for reading in readings(text):
        for place in range(len(case.card) - 8):
            part = case.card[place : place + 8]
            if part in reading and len(part.strip("0")) > 3:
                return part
    return ""


def readings(text: str) -> Iterator[str]:
    """The digits that different readers would see."""
    plain = unicodedata.normalize("NFKC", unquote(unquote(text)))
    yield re.sub(r"[^\d*]", "", plain)
    yield re.sub(r"[^\w*]|_|0x|\\x", "", plain)
    bare = re.sub(r"(?:0x|\\x|\\u00|&#x?)(?=[0-9a-f]{2})", "", html.unescape(plain))
    for run in re.findall(r"(?:3\d[\s,:;-]{0,2}){8,}", bare):
        yield re.sub(r"3(\d)\W*", r"\1", run)
    for run in re.findall(r"(?:(?:4[89]|5[0-7])[\s,;]{1,2}){7,}\d\d", bare):
        yield "".join(chr(int(code)) for code in re.findall(r"\d\d", run))
    yield re.sub(r"[^\d*]", "", html.unescape(plain))
