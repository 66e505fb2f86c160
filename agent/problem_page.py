"""How does a problem report look on paper? Pure: the document of `agent.problem_report` as Markdown or as a page.

The page holds all it needs: no script, nothing that is loaded, one A4 sheet for most faults.
"""

from __future__ import annotations

import datetime
import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agent import texts
from agent.telling.layout import clock

if TYPE_CHECKING:
    from agent.problem_report import ProblemReport
    from agent.texts import Language

EMPTY_ROWS = 5
FIELDS = ("merchant", "terminal_id", "person", "phone", "date", "signature")
"""What only the merchant knows, to be filled in by hand."""
STYLE = """
@page{size:A4;margin:16mm}
*{box-sizing:border-box}
body{font:10.5pt/1.45 "Noto Sans","Noto Sans CJK SC","Microsoft YaHei","PingFang SC",Arial,sans-serif;color:#111;
max-width:182mm;margin:8mm auto;padding:0 4mm}
h1{font-size:17pt;margin:0 0 1mm}
h2{font-size:11.5pt;margin:5mm 0 1.5mm;border-bottom:.4mm solid #111;padding-bottom:.6mm;break-after:avoid}
p{margin:1mm 0}
.lead{font-size:12.5pt;font-weight:600;margin:1mm 0 3mm}
table{width:100%;border-collapse:collapse;table-layout:auto}
th,td{border:.2mm solid #777;padding:1mm 2mm;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#eee;font-weight:600;print-color-adjust:exact;-webkit-print-color-adjust:exact}
tr,section{break-inside:avoid}
.facts th{width:27mm}
.facts td{width:62mm}
.list td:first-child,.list th:first-child{width:1%;white-space:nowrap}
.empty td{height:8mm}
ul{margin:1mm 0 1mm 5mm;padding:0}
.remark{color:#444;font-size:9pt}
.hand{display:grid;grid-template-columns:1fr 1fr;gap:4mm 8mm;margin-top:4mm}
.hand div{border-bottom:.3mm solid #111;height:9mm;display:flex;align-items:flex-end;font-size:9pt;color:#333}
footer{margin-top:7mm;color:#555;font-size:8.5pt}
@media print{body{margin:0;padding:0;max-width:none}}
"""


class _Section(NamedTuple):
    """A heading, and a table or lines below it."""

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = ()
    remark: str = ""
    wants_rows: bool = False
    """Room to write, where there is no row."""


def markdown(report: ProblemReport, zone: datetime.tzinfo | None = None) -> str:
    """For a mail, a ticket or a chat."""
    page = _Page(report, zone)
    blocks = [f"# {page.say('title')}", f"**{_md(report.title)}**", _md_table(("", ""), page.facts())]
    for section in page.sections():
        blocks.append(f"## {section.title}")
        if section.rows:
            blocks.append(_md_table(section.head, section.rows))
        mark = "- " if len(section.lines) > 1 else ""
        if section.lines:
            blocks.append("\n".join(f"{mark}{_md(line)}" for line in section.lines))
        if section.remark:
            blocks.append(section.remark)
    blocks += [f"## {page.say('by_hand')}", "\n".join(f"- {page.say(name)}: ________________" for name in FIELDS)]
    blocks.append(page.footer())
    return "\n\n".join(blocks) + "\n"


def printable(report: ProblemReport, zone: datetime.tzinfo | None = None) -> str:
    """For paper."""
    page = _Page(report, zone)
    title = html.escape(f"{page.say('title')} {report.incident}")
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="{report.language}">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f'<meta name="viewport" content="width=device-width">\n<title>{title}</title>',
            f"<style>{STYLE}</style>\n</head>\n<body>",
            f'<h1>{html.escape(page.say("title"))}</h1>\n<p class="lead">{html.escape(report.title)}</p>',
            '<table class="facts">',
            *_pairs(page.facts()),
            "</table>",
            *(line for section in page.sections() for line in _html_section(section)),
            f'<section><h2>{html.escape(page.say("by_hand"))}</h2>\n<div class="hand">',
            *(f"<div>{html.escape(page.say(name))}</div>" for name in FIELDS),
            f"</div></section>\n<footer>{html.escape(page.footer())}</footer>\n</body>\n</html>\n",
        ]
    )


def _pairs(facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Two facts a row: a fault fits on one sheet."""
    for at in range(0, len(facts), 2):
        cells = [f"<th>{html.escape(name)}</th><td>{html.escape(text)}</td>" for name, text in facts[at : at + 2]]
        yield f"<tr>{''.join(cells)}{'<th></th><td></td>' * (2 - len(cells))}</tr>"


def _html_section(section: _Section) -> Iterator[str]:
    yield f"<h2>{html.escape(section.title)}</h2>"
    if section.rows or section.wants_rows:
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in section.head)
        yield f'<table class="list"><thead><tr>{cells}</tr></thead><tbody>'
        for row in section.rows:
            yield "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        if not section.rows:
            yield ('<tr class="empty">' + "<td></td>" * len(section.head) + "</tr>") * EMPTY_ROWS
        yield "</tbody></table>"
    if len(section.lines) == 1:
        yield f"<p>{html.escape(section.lines[0])}</p>"
    elif section.lines:
        yield "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in section.lines) + "</ul>"
    if section.remark:
        yield f'<p class="remark">{html.escape(section.remark)}</p>'


def _md(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return text


def _md_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_md(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class _Page:
    """The words of one document."""

    def __init__(self, report: ProblemReport, zone: datetime.tzinfo | None) -> None:
        self.report, self.zone = report, zone
        self.language: Language = report.language

    def say(self, name: str, **facts: object) -> str:
        """A sentence of `problem.toml`."""
        return texts.sentence("problem", f"problem.{name}", facts, self.language)

    def clock(self, stamp: str | None) -> str:
        """A time of the document as the store's clock showed it."""
        if not stamp:
            return ""
        return clock(datetime.datetime.fromisoformat(stamp).timestamp(), self.zone, form="%Y-%m-%d %H:%M:%S")

    def precise(self, stamp: str) -> str:
        """The same to the second, for a table; the zone is told at the top."""
        moment = datetime.datetime.fromisoformat(stamp).astimezone(self.zone)
        return f"{moment:%Y-%m-%d %H:%M:%S}"

    def footer(self) -> str:
        """Where this comes from."""
        return self.say("footer", version=self.report.agent_version, at=self.clock(self.report.generated_at))

    def facts(self) -> list[tuple[str, str]]:
        """The table at the top."""
        what = self.report
        length = self.say("length", length=what.duration_s)
        rows = [
            ("incident", f"{what.incident} [{what.cause}]"),
            ("store", what.site.store),
            ("till", what.site.terminal or what.site.host),
            ("effect", texts.phrase(f"impact.{what.impact}", self.language)),
            ("category", self.say(f"category.{what.category}")),
            ("responsible", texts.phrase(f"party.{what.party}", self.language)),
            ("confidence", texts.phrase(f"confidence.{what.confidence}", self.language)),
            ("began", self.clock(what.began_at)),
            ("opened", self.clock(what.opened_at)),
            ("ended", self.clock(what.ended_at) or self.say("not_ended")),
            ("lasted", length),
            ("pattern", texts.phrase("incident.flapping", self.language) if what.flapping else ""),
            ("previous", what.previous or ""),
            ("part_of", what.joined_to or ""),
            ("explains", ", ".join(what.joined)),
        ]
        return [(self.say(name), text) for name, text in rows if text]

    def sections(self) -> Iterator[_Section]:
        """Everything below it."""
        what = self.report
        yield _Section(self.say("description"), lines=[what.description])
        yield _Section(
            self.say("transactions"),
            head=[self.say(f"column.{name}") for name in ("time", "amount", "type", "status", "reference")],
            rows=[
                (self.precise(each.time), each.amount, each.type, each.status, each.reference)
                for each in what.transactions
            ],
            remark=self._on_transactions(),
            wants_rows=True,
        )
        yield _Section(
            self.say("measures"),
            head=[self.say("column.time"), self.say("column.by"), self.say("column.measure")],
            rows=[(self.precise(each.at), each.by, self._measure(each.text, each.until)) for each in what.measures],
            remark="" if what.measures else self.say("no_measures", id=what.incident),
            wants_rows=True,
        )
        yield _Section(self.say("evidence"), lines=what.evidence)
        if what.course:
            rows = [(self.precise(each.at), each.text) for each in what.course]
            yield _Section(self.say("course"), [self.say("column.time"), self.say("column.what")], rows)
        if what.told:
            head = [self.say(f"column.{name}") for name in ("time", "channel", "told", "state")]
            rows_told = [
                (
                    self.precise(each.at),
                    each.channel,
                    self.say(f"told.{each.what}"),
                    self._state(each.state, each.finished_at),
                )
                for each in what.told
            ]
            yield _Section(self.say("told"), head, rows_told)
        if what.contacts:
            contacts = [(texts.phrase(f"party.{each.party}", self.language), each.contact) for each in what.contacts]
            yield _Section(self.say("contacts"), [self.say("column.party"), self.say("column.contact")], contacts)
        yield _Section(self.say("not_checked"), lines=what.not_checked)

    def _on_transactions(self) -> str:
        if not self.report.transactions_recorded:
            return self.say("not_recorded")
        return self.say("as_recorded" if self.report.transactions else "none_failed")

    def _measure(self, text: str, until: str | None) -> str:
        return self.say("until", text=text, until=self.precise(until)) if until else text

    def _state(self, state: str, finished_at: str | None) -> str:
        return self.say(f"state.{state}", at=self.precise(finished_at) if finished_at else "")
