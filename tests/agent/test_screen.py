"""What people read: columns that line up in Chinese, nothing coloured in a pipe, consequences of each flag."""

from __future__ import annotations

import pytest

from agent import screen


def data(**probe: object) -> dict:
    row = {
        "name": "gateway",
        "label": "gateway",
        "kind": "gateway",
        "target": "192.0.2.1",
        "status": "fail",
        "reason": "gateway.no_reply",
        "summary": "192.0.2.1 does not answer",
        "duration_ms": 12.3,
        "measurements": {"loss_percent": 100},
        "evidence": ["ARP: INCOMPLETE"],
        "explained_by": None,
    }
    well = row | {"name": "磁盘", "label": "磁盘", "status": "ok", "summary": "/：剩余 5 GB"}
    return {
        "verdict": {"payments": "down", "settlement": "unknown", "headline": "DOWN: gateway"},
        "probes": [row | probe, well],
        "diagnosis": [],
        "agent": {"problems": []},
        "not_checked": ["payment hosts: none"],
    }


def test_plain_lines_line_up_whatever_the_width_of_the_letters() -> None:
    text = list(screen.lines(screen.page(data(), "en")))
    assert text == [
        "DOWN: gateway",
        "settlement: not known",
        "",
        "FAIL  gateway  192.0.2.1 does not answer",
        "ok    磁盘     /：剩余 5 GB",
        "",
        "Not checked here",
        "  - payment hosts: none",
    ]


def test_chinese_status_words_take_two_columns_a_letter() -> None:
    rows = [
        line
        for line in screen.lines(screen.page(data(status="unknown"), "zh-CN"))
        if "gateway" in line or "磁盘" in line
    ]
    assert rows[1:] == ["未知  gateway  192.0.2.1 does not answer", "正常  磁盘     /：剩余 5 GB"]


def test_failures_only_hides_what_is_well() -> None:
    text = "\n".join(screen.lines(screen.page(data(), "en", failures_only=True)))
    assert "磁盘" not in text
    assert "Not checked" not in text
    assert "192.0.2.1 does not answer" in text


def test_verbose_shows_reason_measurements_and_evidence_under_the_sentence() -> None:
    text = list(screen.lines(screen.page(data(), "en", verbose=True)))
    assert text[4:7] == [
        "               gateway 192.0.2.1 · gateway.no_reply · 12 ms",
        "               loss_percent=100",
        "               ARP: INCOMPLETE",
    ]


def test_colour_only_where_asked() -> None:
    assert not any("\x1b" in line for line in screen.lines(screen.page(data(), "en")))
    assert "\x1b[1;31mFAIL\x1b[0m" in "\n".join(screen.lines(screen.page(data(), "en"), colour=True))


def test_combining_marks_take_no_column() -> None:
    assert screen.cells("é") == 1
    assert screen.cells("签到") == 4


def test_what_a_device_calls_itself_moves_no_cursor() -> None:
    text = "\n".join(screen.lines(screen.page(data(label="\x1b]0;evil\x07\x9b2J", summary="a\r\nb\u202ec"), "en")))
    assert "?]0;evil??2J" in text
    assert "a  b?c" in text
    assert "\x1b" not in text


def test_joined_and_marked_letters_take_no_column_of_their_own() -> None:
    assert screen.cells("e\u0301") == 1
    assert screen.cells("收\u200d银") == 4
    assert screen.cells("Ａ") == 2


def test_a_list_is_told_as_text_not_as_python_writes_it() -> None:
    page = screen.page(data(measurements={"servers": ["192.0.2.1", "192.0.2.2"]}), "en", verbose=True)
    assert "servers=192.0.2.1; 192.0.2.2" in "\n".join(screen.lines(page))


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("no route to it", ["no route", "to it"]),
        ("UPS 没有数据，或没有应答", ["UPS 没有", "数据，或", "没有应答"]),
        ("（未配置）", ["（未配", "置）"]),
        ("/var/lib/pos/close.json", ["/var/lib/", "pos/close", ".json"]),
        ("a\nb", ["a", "b"]),
        ("", [""]),
    ],
)
def test_lines_are_broken_as_their_language_is(text: str, folded: list[str]) -> None:
    assert screen.fold(text, 9 if "/" in text or "no" in text else 8) == folded


def test_a_terminal_of_two_columns_still_shows_everything() -> None:
    assert "".join(screen.fold("故障 x", 2)) == "故障x"


def test_what_a_fault_explains_is_told_by_the_probe_that_proves_it() -> None:
    report = data(explained_by="software.not_running")
    report["probes"] = [report["probes"][0] | {"name": name, "label": name} for name in ("serial", "pos", "late")]
    report["probes"][2] |= {"status": "unknown"}
    report["diagnosis"] = [
        {
            "cause": "software.not_running",
            "party": "vendor",
            "confidence": "certain",
            "title": "The POS software does not run",
            "explanation": "It ended.",
            "evidence": [{"probe": "pos", "detail": "pos is not running"}],
            "explains": ["pos", "serial"],
            "ruled_out": [],
            "alternatives": [],
            "alternative_titles": [],
            "steps": ["Start it."],
            "technician_steps": [],
            "warnings": [],
            "still_works": [],
            "contact": None,
        }
    ]
    text = list(screen.lines(screen.page(report, "en")))
    rows = [line for line in text if line.startswith(("FAIL", "unknown"))]
    assert rows == ["FAIL  pos  192.0.2.1 does not answer"]
    assert "           2 more for the same reason: serial, late" in text
    assert (
        len(
            [
                line
                for line in screen.lines(screen.page(report, "en", verbose=True))
                if line.startswith(("FAIL", "unkn"))
            ]
        )
        == 3
    )
