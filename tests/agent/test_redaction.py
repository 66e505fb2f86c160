"""Wherever posagent keeps or sends something: no card of the whole corpus is in it, and what is no card arrives."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from agent import bundle, bundled, config, problem_page, problem_report, runner, texts
from agent.cli import writing
from agent.escalation import Notice
from agent.incidents import Incident, Seen
from agent.journal import Journal, Priority
from agent.oneshot import check
from agent.report import encode
from agent.store import Note, Store
from agent.telling.message import About, compose
from probes.model import Observation, Status
from tests.agent.telling import NOON, Desk, fault
from tests.probes.cards import leaks, readings
from tests.probes.test_corpus import CASES, INNOCENT, together

if TYPE_CHECKING:
    from agent.texts import Language

PLAIN = [text for text in INNOCENT if "|" not in text]
"""A plugin's `|` begins its performance data."""


def plugins(place: Path, groups: list[list[str]]) -> config.Config:
    """A till with a plugin for each of these groups of texts, which prints them and fails."""
    lines = ['[site]\nstore = "0042"\n']
    for number, group in enumerate(groups):
        (place / f"said{number}").write_text("\n\n".join(["TILL CRITICAL", *group]), "utf-8", newline="")
        command = json.dumps(["/bin/sh", "-c", f"cat {place}/said{number}; exit 2"])
        lines.append(f'[probes.p{number:03}]\nkind = "plugin"\ncommand = {command}\ntimeout = "20s"\n')
    (place / "config.toml").write_text("\n".join(lines))
    return config.load(place / "config.toml")


BEGINNINGS = {case.card[place : place + 8] for case in CASES for place in (0, 1)}


def nothing_of_a_card(*written: str) -> None:
    """Whoever undoes every disguise finds the beginning of none."""
    for text in written:
        for line in text.split("\n"):
            for reading in readings(line):
                found = [beginning for beginning in BEGINNINGS if beginning in reading]
                assert not found, (found, line)
        assert not re.search("DOE/JOHN|DOE%2F|737", text)


@pytest.fixture(scope="module")
def spoken() -> dict[str, str]:
    """The texts of the corpus as the gate behind every probe hands them on."""
    handed = {}
    for text in [*(case.text for case in CASES), *INNOCENT]:
        seen = runner._clean(Observation(status=Status.FAIL, reason="x", evidence=(text,)))
        handed[text] = seen.evidence[0]
    return handed


def test_the_report_of_probes_that_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    dirty = together([case.text for case in CASES if "\n" not in case.text], 10)
    settings = plugins(tmp_path, [*dirty, *together(PLAIN, 10)])
    found = encode(check(settings, config.probes_of(settings), "en")).decode()
    parts = json.loads(found)["probes"]
    assert [part["reason"] for part in parts] == ["plugin.critical"] * len(parts)
    for part in parts[: len(dirty)]:
        nothing_of_a_card(*part["evidence"], part["summary"], str(part["measurements"]))
    arrived = {line for part in parts[len(dirty) :] for line in part["evidence"]}
    assert {text.strip() for text in PLAIN} <= arrived
    nothing_of_a_card(raw(tmp_path / "state"))


def raw(place: Path) -> str:
    """Every byte of every file, as text."""
    return "\n".join(file.read_bytes().decode("latin-1") for file in sorted(place.rglob("*")) if file.is_file())


def test_the_log(tmp_path: Path) -> None:
    def line(text: str) -> str:
        stream = io.StringIO()
        Journal(stream, env={}).say(Priority.WARNING, "event", detail=text, error=OSError(text))
        return stream.getvalue()

    for case in CASES:
        assert not leaks(line(case.text).partition(" event ")[2], case)
    for text in INNOCENT:
        assert text in line(text).replace('\\"', '"')


@pytest.fixture(scope="module")
def till(tmp_path_factory: pytest.TempPathFactory, spoken: dict[str, str]) -> Iterator[Till]:
    """A till whose faults tell the whole corpus, whose staff typed it, and whose channel is dead."""
    place = tmp_path_factory.mktemp("state")
    desk = Desk(place)
    desk.world.down("staff")
    made = []
    for number, text in enumerate([*(case.text for case in CASES), *INNOCENT]):
        said = spoken[text]
        clue = "till: plugin.critical"
        seen = {clue: Seen("plugin", {"plugin": "check", "text": said[:256], "exit_code": 2})}
        made.append(
            fault(
                f"i-{number:04}",
                cause=f"isp.down{number}",
                headline=said,
                evidence=(f"till: {said}", clue),
                seen=seen,
                subjects=(said,),
            )
        )
    desk.opens(*made)
    desk.turn()
    desk.close()
    store = Store(place / "state.sqlite")
    for number, text in enumerate([*(case.text for case in CASES), *INNOCENT]):
        if text.strip() and len(text.splitlines()) == 1:  # what is typed is one line
            store.add_note(Note(f"i-{number:04}", NOON + number, "Li", writing.said("--note", text)))
    store.close()
    yield Till(place, desk, made)


class Till(NamedTuple):
    """What a test of this till needs."""

    place: Path
    desk: Desk
    incidents: list[Incident]


def test_the_state_file_the_outbox_and_the_log_of_a_daemon(till: Till) -> None:
    with contextlib.closing(Store(till.place / "state.sqlite")) as store:
        for number, case in enumerate(CASES):
            (one,) = store.outbox.of(f"i-{number:04}")
            kept = [store.incident(one.incident), store.notes(one.incident)]
            for text in (json.loads(one.message)["text"], json.loads(one.message)["markdown"], *map(str, kept)):
                for line in text.split("\n"):
                    assert not leaks(line, case._replace(gone=())), (case, line)
        for number, text in enumerate(INNOCENT, len(CASES)):
            (one,) = store.outbox.of(f"i-{number:04}")
            assert text.strip() in json.loads(one.message)["subject"]
            (note,) = store.notes(one.incident)
            assert note.text == " ".join(text.split())
    everything = raw(till.place)
    for beginning in sorted(BEGINNINGS - {text for text in BEGINNINGS if any(text in each for each in INNOCENT)}):
        assert beginning not in everything
    nothing_of_a_card(till.desk.log.getvalue())


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_notice_and_problem_report(till: Till, language: Language) -> None:
    with contextlib.closing(Store(till.place / "state.sqlite")) as store:
        for number, incident in enumerate(till.incidents):
            notes = store.notes(incident.id)
            failed = [f"2026-11-22T12:00:00.000Z|sale|1.00|{incident.headline[:64].replace('|', ' ')}|000001"]
            facts = problem_report.Facts(
                incident=incident, now=NOON + 60, notes=notes, failed=failed, own_language=language
            )
            said = problem_report.build(facts, language)
            notice = Notice(f"{incident.id}/1", "opened", incident.id, 1, ("staff",), NOON)
            message = compose(notice, incident, About(store="0042", language=language), language, now=NOON + 60)
            forms = [problem_page.markdown(said), html.unescape(problem_page.printable(said))]
            forms += [problem_report.encode(said).decode(), message.text, message.markdown]
            if number < len(CASES):
                case = CASES[number]._replace(gone=())
                for line in "\n".join(forms).split("\n"):
                    assert not leaks(line, case), (case, line)
                assert not leaks(message.subject, case)
            else:
                text = INNOCENT[number - len(CASES)].strip()
                assert language == "zh-CN" or text in message.subject
                assert language == "zh-CN" or text in said.title
                assert text in message.text
                assert any(text in line for line in said.evidence)
                assert text in html.unescape(problem_page.printable(said))


def test_the_bundle(till: Till) -> None:
    report = till.place / "health.json"
    report.write_text(json.dumps({"said": [case.text for case in CASES], "well": INNOCENT}))
    log = "\n".join(case.text for case in CASES)
    pieces = [*bundled.pieces(None, "no configuration", None, report, till.place)][:4]
    file = io.BytesIO()
    bundle.write(file, [*pieces, bundle.Piece("log.txt", lambda: log)], {"store": "0042"}, (), NOON)
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:gz") as archive:
        found = {Path(each.name).name: archive.extractfile(each).read().decode() for each in archive.getmembers()}  # type: ignore[union-attr]
    said = json.loads(found["report.json"])
    for case, text in zip(CASES, said["said"], strict=True):
        assert not leaks(text, case), (case, text)
    assert said["well"] == INNOCENT
    dirty = set(BEGINNINGS) - {text for text in BEGINNINGS if any(text in each for each in INNOCENT)}
    for name, text in found.items():
        assert not [beginning for beginning in dirty if beginning in text], name
