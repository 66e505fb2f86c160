"""How does each service write what Markdown says? Headings, **bold**, `code`, [links](…), lists and quotes.

The messages are our own, so this much Markdown is all there is; whatever else stands in a line is text, and is escaped
so that it stays text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[([^\]\n]+)\]\((https?://[^\s()]+)\)")


def for_slack(markdown: str) -> str:
    """Slack's mrkdwn."""

    def line(text: str) -> str:
        text = escaped_for_slack(text)
        text = _BOLD.sub(r"*\1*", text)
        return _LINK.sub(r"<\2|\1>", text)

    return _lines(markdown, line, lambda text: f"*{text}*", "• ")


def escaped_for_slack(text: str) -> str:
    """Text that Slack takes as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def for_telegram(markdown: str) -> str:
    """Telegram's HTML, always well-formed: escaped first, then marked line by line."""

    def line(text: str) -> str:
        text = html.escape(text, quote=False)
        pieces = _CODE.split(text)  # every second one is code, in which nothing else is marked
        return "".join(f"<code>{piece}</code>" if place % 2 else _html(piece) for place, piece in enumerate(pieces))

    return _lines(markdown, line, lambda text: f"<b>{text}</b>", "• ")


def for_cards(markdown: str) -> str:
    """For cards that know no headings: they become bold."""
    return _lines(markdown, lambda text: text, lambda text: f"**{text}**", None)


def without_tails(markdown: str) -> str:
    """Without the two spaces that break a line in Markdown, for whom every line end does."""
    return "\n".join(line.rstrip() for line in markdown.split("\n"))


def for_teams(markdown: str) -> list[str]:
    """A text for each paragraph; in an adaptive card a line ends where a blank line is, or in a list at a \\r."""
    blocks = []
    for paragraph in re.split(r"\n\s*\n", for_cards(markdown).strip()):
        text = ""
        for line in paragraph.split("\n"):
            joint = "\r" if _ITEM.match(line) and text else "\n\n"
            text += (joint if text else "") + line
        blocks.append(text)
    return blocks


def for_dingtalk(markdown: str) -> str:
    """DingTalk joins lines that do not end in two spaces."""
    return re.sub(r"(?<=\S)\n(?=\S)", "  \n", without_tails(markdown))


def _html(text: str) -> str:
    text = _BOLD.sub(lambda found: f"<b>{found[1]}</b>", text)
    return _LINK.sub(lambda found: f'<a href="{found[2].replace(chr(34), "%22")}">{found[1]}</a>', text)


def _lines(markdown: str, line: Callable[[str], str], heading: Callable[[str], str], bullet: str | None) -> str:
    written = []
    for text in without_tails(markdown).split("\n"):
        found = _HEADING.match(text)
        if found:
            written.append(heading(line(found[1].replace("**", ""))))
        elif bullet and re.match(r"^\s*[-*+]\s", text):
            written.append(bullet + line(re.sub(r"^\s*[-*+]\s+", "", text)))
        else:
            written.append(line(text))
    return "\n".join(written)
