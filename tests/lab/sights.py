"""What can a till look like? Reports of it as the agent makes them: real looks, real diagnoses, real sentences.

Each sight is a list of what its probes answer otherwise than on a good day. Nothing here is drawn: tests put these
reports on the status page, and pictures are taken of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from agent.causes import CAUSES
from agent.diagnosis import explain
from agent.diagnosis.model import Place
from agent.rendering import Circumstances, Standing, render, title_of
from agent.report import AcknowledgedPart, EventPart, IncidentPart, Report, stamp
from agent.runner import Look
from agent.verdict import decide
from tests.agent.looks import BEYOND, look

if TYPE_CHECKING:
    from agent.texts import Language

BANK = "auth.acquirer.example"
LINES = {"isp": "10000", "acquirer": "95516", "vendor": "400-820 8820"}
CONTACTS: dict[str, dict[str, str]] = {
    "en": {"store": "Store manager Zhang, 138 0013 8000", "it": "IT desk, 021-5550 0100", **LINES},
    "zh-CN": {"store": "张店长 138 0013 8000", "it": "IT 服务台：021-5550 0100", **LINES},
}
Facts = dict[str, Any]
GOOD: dict[str, tuple[str, str, str, str, Facts]] = {
    # name: kind, label, 中文, target, facts
    "mains": ("ups", "Mains and UPS", "市电与备用电源", "till@127.0.0.1", {"ups": "till", "status": "OL", "charge_percent": 100}),
    "terminal": ("usb", "Card terminal", "POS 终端", "11ca:0204", {"device": "Verifone P400", "id": "11ca:0204", "path": "1-2", "speed_mbps": 480}),
    "pos": ("process", "Sales software", "收银软件", "poscash", {"process": "poscash", "pid": 812, "memory_bytes": 183_500_800}),
    "cable": ("interface", "Network cable", "网线", "eth0", {"name": "eth0", "addresses": ["192.168.10.21"], "speed_mbit": 1000}),
    "router": ("gateway", "Router", "路由器", "192.168.10.1", {"gateway": "192.168.10.1", "interface": "eth0", "rtt_ms": 0.6}),
    "names": ("dns", "Names (DNS)", "域名解析", BANK, {"name": BANK, "addresses": ["203.0.113.10"], "server": "192.168.10.1", "servers_asked": 2, "servers_answering": 2}),
    "internet": ("internet", "Internet", "互联网", "3 fixed points", {"anchors": 3, "anchors_alive": 3}),
    "line": ("ping", "Line", "线路", "203.0.113.31", {"host": "203.0.113.31", "address": "203.0.113.31", "rtt_ms": 8.7, "recent_loss_percent": 0}),
    "clock": ("clock", "Clock", "时钟", "time.example", {"server": "time.example", "offset_s": 0.01, "rtt_ms": 9.0}),
    "bank": ("tls", "Bank: authorisation", "银行：授权", f"{BANK}:443", {"host": BANK, "target": f"{BANK}:443", "tls_version": "1.3", "not_after": "2027-03-01", "ipv4": "ok"}),
    "bank-2": ("tls", "Bank: second line", "银行：备用线路", "auth2.acquirer.example:443", {"host": "auth2.acquirer.example", "target": "auth2.acquirer.example:443", "tls_version": "1.3", "not_after": "2027-03-01", "ipv4": "ok"}),
    "batch-host": ("port", "Bank: batch upload", "银行：批上送", f"{BANK}:8443", {"host": BANK, "port": 8443, "target": f"{BANK}:8443", "connect_ms": 18.2, "ipv4": "ok"}),
    "batch": ("settlement", "Batch close", "批结算", "/var/lib/pos/settlement.json", {"last_settled": "2026-11-21 22:31", "source": "/var/lib/pos/settlement.json", "pending_count": 3}),
    "disk": ("disk", "Disk", "磁盘", "/", {"path": "/", "free_bytes": 21_474_836_480, "total_bytes": 64_424_509_440, "free_percent": 33.3}),
    "tms": ("http", "Terminal management", "终端管理平台", "https://tms.vendor.example/health", {"url": "https://tms.vendor.example/health", "host": "tms.vendor.example", "answer": "204", "time_ms": 88.0}),
    "version": ("version", "Sales software's version", "收银软件版本", "poscash", {"of": "poscash", "version": "4.2.1"}),
}  # fmt: skip
NO_TCP = {"ipv4": "timeout", "families": "IPv4", "waited_s": 3}
Answers = dict[str, tuple[str, str, Facts]]
UNREACHED: Answers = {
    "internet": ("fail", "internet.unreachable", {"anchors_alive": 0}),
    "line": ("fail", "ping.no_reply", {"recent_loss_percent": 100, "rtt_ms": None}),
    "bank": ("fail", "port.timeout", NO_TCP),
    "bank-2": ("fail", "port.timeout", NO_TCP),
    "batch-host": ("fail", "port.timeout", NO_TCP),
    "tms": ("fail", "port.timeout", {"target": "tms.vendor.example:443", **NO_TCP}),
    "names": ("fail", "dns.timeout", {"servers_answering": 0}),
    "clock": ("warn", "clock.no_reply", {"rtt_ms": None}),
}
NO_CABLE: Answers = {
    **{name: ("fail", "port.no_route", {"ipv4": "no_route", "families": "IPv4"}) for name in ("bank", "bank-2", "batch-host")},
    "tms": ("fail", "port.no_route", {"target": "tms.vendor.example:443", "families": "IPv4"}),
    "cable": ("fail", "interface.no_carrier", {}),
    "line": ("fail", "ping.unreachable", {}),
    "router": ("fail", "gateway.no_route", {}),
    "internet": ("fail", "internet.unreachable", {"anchors_alive": 0}),
    "names": ("fail", "dns.timeout", {"servers_answering": 0}),
    "clock": ("warn", "clock.no_reply", {"rtt_ms": None}),
}  # fmt: skip
SIGHTS: dict[str, Answers] = {
    "healthy": {},
    "store": NO_CABLE,
    "it": {name: ("fail", "port.blocked_here", {"ipv4": "blocked_here", "families": "IPv4"}) for name in ("bank", "bank-2", "batch-host")},
    "firewall": {"batch-host": ("fail", "port.timeout", NO_TCP)},
    "isp": UNREACHED,
    "acquirer": {
        "bank": ("fail", "tls.expired", {"not_after": "2026-11-22", "checked_at": "2026-11-22", "valid_from": "2025-11-22"}),
    },
    "vendor": {"pos": ("fail", "process.absent", {})},
    "terminal": {"terminal": ("fail", "usb.absent", {"wanted": "11ca:0204", "detail": "it was here until 14:02"})},
    "power": {"mains": ("warn", "ups.on_battery", {"status": "OB"})},
    "at_risk": {"disk": ("warn", "disk.low", {"free_percent": 6.1, "min_free_percent": 10})},
    "settlement": {"batch": ("warn", "settlement.overdue", {"last_settled": "2026-11-20 22:31"})},
    "unknown": {name: ("unknown", "probe.timeout", {"timeout_s": 3, "detail": "no answer from the name service"}) for name in ("bank", "bank-2", "batch-host")},
    "two": {
        "disk": ("warn", "disk.low", {"free_percent": 6.1, "min_free_percent": 10}),
        "bank": ("fail", "tls.handshake_timeout", {}),
        "batch": ("fail", "settlement.failed", {"last_close": "2026-11-21 22:31", "last_status": "declined (code 96)"}),
    },
}  # fmt: skip
"""By the party who mends it, or by what is special about it."""
PARTIES = {"store": "store", "it": "it", "isp": "isp", "acquirer": "acquirer", "vendor": "vendor"}
LATER_MINUTES = 12


def looks(sight: str, language: Language) -> tuple[list[Look], dict[str, Place]]:
    """What every probe of the till answers."""
    found, places = list[Look](), dict[str, Place]()
    for name, (kind, english, chinese, target, facts) in GOOD.items():
        status, reason, otherwise = SIGHTS[sight].get(name, ("ok", "ok", {}))
        told = {key: value for key, value in {**facts, **otherwise}.items() if value is not None}
        seen = look(name, kind, status, reason, told)
        label = english if language == "en" else chinese
        role = None if name != "tms" else seen.probe.role
        probe = replace(seen.probe, label=label, target=target, role=role)
        duration = 3.0 if reason.endswith("timeout") else 0.02
        found.append(Look(probe, seen.observation, time.time() - 4, duration))
        places[name] = "beyond" if kind in BEYOND else "lan" if kind == "dns" else "unknown"
    return found, places


def report(
    sight: str = "healthy",
    language: Language = "en",
    *,
    seq: int = 1041,
    acknowledged: bool = False,
    silenced: bool = False,
    valid_for: float = 120.0,
    age: float = 4.0,
    problems: tuple[str, ...] = (),
) -> Report:
    """The report of a till that looks like this since a while."""
    seen, places = looks(sight, language)
    return rendered(seen, places, language, Circumstances(
        seq=seq, mode="run", started_at=time.time() - 200_000, now=time.time() - age, boot_id="b", store="0042", terminal="T01",
        host="till-01", contacts=CONTACTS[language], language=language, valid_for=valid_for, problems=problems,
        verdict_since=time.time() - (60 * LATER_MINUTES if SIGHTS[sight] else 190_000),
        silenced_until=time.time() + 5400 if silenced else None, events=events(language) if SIGHTS[sight] else (),
    ), acknowledged=acknowledged)  # fmt: skip


def rendered(
    seen: list[Look],
    places: Mapping[str, Place],
    language: Language,
    about: Circumstances,
    *,
    acknowledged: bool = False,
) -> Report:
    """As the daemon does it: every trouble confirmed, its incident open."""
    explained = explain(seen, places)
    opened = time.time() - 60 * LATER_MINUTES
    taken = AcknowledgedPart(
        by="Li Wei" if language == "en" else "李伟",
        at=stamp(opened + 180),
        note="on my way with a new cable" if language == "en" else "带新网线过去",
        until=stamp(time.time() + 3000),
    )
    standings = {
        each.probe.name: Standing(
            confirmed=True,
            since=about.now - (60 * LATER_MINUTES if each.observation.status != "ok" else 190_000),
            next_check_at=about.now + 30,
        )
        for each in seen
    }
    incidents = [
        IncidentPart(
            id=f"i{1207 + at}",
            cause=each.cause,
            opened_at=stamp(opened),
            level=1,
            acknowledged=taken if acknowledged and at == 0 else None,
            silenced_until=None,
            title=title_of(each.cause, about),
            party=each.party,
            probes=list(each.explains),
        )
        for at, each in enumerate(explained.diagnoses)
    ]
    about = msgspec.structs.replace(about, standings=standings, incidents=incidents)
    return render(seen, decide(seen, explained.harmless), about, explained)


def events(language: Language) -> tuple[EventPart, ...]:
    """A dark hour this morning."""
    text = "the PC was off for 41 min" if language == "en" else "本机断电 41 分钟"
    return (EventPart(at=stamp(time.time() - 9000), what="dark", text=text),)


def bare(language: Language = "en") -> Report:
    """A till nobody has configured: no bank, no terminal."""
    seen, places = looks("healthy", language)
    few = [each for each in seen if each.probe.name in ("disk", "clock", "cable", "router")]
    about = Circumstances(seq=3, mode="run", started_at=time.time(), now=time.time(), host="till-01", language=language)
    return rendered(few, places, language, about)


def crowd(language: Language = "en", count: int = 60) -> Report:
    """A till with very many probes, some of them ill, one with a name that no line can hold."""
    seen, places = looks("firewall", language)
    for at in range(count - len(seen)):
        words = "very-long-host-name-without-any-place-to-break-" * 3 if at == 7 else f"branch{at:02}.service"
        status, reason = ("warn", "port.slow") if at % 19 == 5 else ("ok", "ok")
        facts = {"host": f"{words}.example", "port": 443, "target": f"{words}.example:443", "connect_ms": 31.5, "max_connect_ms": 20, "ipv4": "ok"}  # fmt: skip
        one = look(f"services/{words}", "port", status, reason, facts, role="service")
        seen.append(Look(one.probe, one.observation, time.time() - 4, 0.03))
        places[one.probe.name] = "beyond"
    return rendered(seen, places, language, Circumstances(
        seq=77, mode="run", started_at=time.time() - 9000, now=time.time() - 2, store="0042", terminal="T01", host="till-01",
        contacts=CONTACTS[language], language=language, valid_for=120,
    ))  # fmt: skip


def history(of: Report) -> dict[str, Any]:
    """A day and a month behind a report: good with a few bad hours, and what is wrong now began when it says."""
    now = time.time()
    since, probes = now - 86400, dict[str, Any]()
    for at, probe in enumerate(of.probes):
        changes: list[dict[str, Any]] = [{"at": stamp(since), "status": "ok"}]
        if at % 5 == 0:
            began = since + 5000 * (1 + at % 11)
            changes += [{"at": stamp(began), "status": "fail"}, {"at": stamp(began + 1500), "status": "ok"}]
        if at % 7 == 3:
            began = since + 61000 + 300 * at
            changes += [{"at": stamp(began), "status": "warn"}, {"at": stamp(began + 4000), "status": "ok"}]
        dark = now - 11460
        changes += [{"at": stamp(dark), "status": None}, {"at": stamp(now - 9000), "status": "ok"}]
        if probe.status != "ok":
            changes.append({"at": stamp(now - 60 * LATER_MINUTES), "status": probe.status})
        changes.sort(key=lambda each: str(each["at"]))
        probes[probe.name] = {"changes": changes, "days": [_day(now, back, at) for back in reversed(range(30))]}
    return {
        "generated_at": stamp(now),
        "since": stamp(since),
        "probes": probes,
        "incidents": [
            _past("i1199", "isp.down", now - 90_000, 1500, of.agent.language, None),
            _past("i1188", "terminal.cable_poor", now - 400_000, 5400, of.agent.language, "Li Wei"),
        ],
    }


def _day(now: float, back: int, at: int) -> dict[str, Any]:
    day = time.strftime("%Y-%m-%d", time.localtime(now - back * 86400))
    if back % 7 == 6:
        return {"day": day, "good_s": 0, "bad_s": 0, "blind_s": 0}
    bad = {3: 1400, 11: 240, 19: 16000}.get((back + at * 3) % 23, 0)
    return {"day": day, "good_s": 46800 - bad, "bad_s": bad, "blind_s": 0}


def _past(id: str, cause: str, opened: float, lasted: float, language: Language, by: str | None) -> dict[str, Any]:
    about = Circumstances(seq=0, mode="run", started_at=0, now=0, language=language)
    return {
        "id": id,
        "cause": cause,
        "title": title_of(cause, about),
        "party": CAUSES[cause].party,
        "opened_at": stamp(opened),
        "resolved_at": stamp(opened + lasted),
        "acknowledged": {"by": by, "at": stamp(opened + 300), "note": ""} if by else None,
    }
