"""What was found, as the table of docs/footprint.md, and which promises it breaks."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.daemons.detection import EXPORTER
from bench.daemons.scale import SCRAPER

CPU_S, MEMORY_MB, WRITTEN_KB = 2.0, 32.0, 300.0
PART_OF_MONITS, QUICK_PART_OF_MONITS, EVENT_S = 0.5, 0.75, 1.0
QUICK_CPU = 2.0
"""The quick run has everything at once on a busy machine, and few seconds."""
SHORT = " This short run, on a busy machine, lets twice the processor time pass."
MANY, MANY_CPU_S, MANY_MEMORY_MB = 1000, 40.0, 48.0
PACKAGES = (
    "monit",
    "prometheus-blackbox-exporter",
    "prometheus-node-exporter",
    "prometheus",
    "icinga2-bin",
    "monitoring-plugins-basic",
    "zabbix-agent2",
)
INTRODUCTION = """# What the daemon costs, and how soon it knows

Written by `python -m bench --daemons --write` as root ({minutes}), all daemons in one run on one machine.
{when}: {machine}.
{versions}.

All look at the same things every 30 s, over one cable, in a network namespace. Processor time is user and system time
with all children, by the hour. Memory is PSS, in which promises are made. As the benchmark is in Python too, PSS
flatters posagent here: *alone* counts whole what nobody else on a till uses, all but the libraries that systemd maps.
Written is what went to a real disk: posagent's reports while nothing changes, every ten minutes, and what it saves each
half hour (in the short form what it writes when told to stop stands for that). Start-up is not counted. Prometheus,
which scrapes the exporters, usually runs elsewhere and is told apart.
"""
KNOWN = """*Known* is what each calls proven: posagent an open incident (its default: three looks, every 5 s while in
doubt); Monit two cycles; Prometheus an alert after two scrapes (rules every 15 s, `for: 30s`); Icinga 2 a hard state of
three attempts, every 5 s while in doubt; Zabbix two values in a row."""


def report(found: dict[str, Any], *, quickly: bool) -> tuple[str, list[str]]:
    """Return the page and the promises that are broken."""
    broken: list[str] = []
    lines = [
        INTRODUCTION.format(
            minutes="its short form" if quickly else "about 15 minutes",
            when=datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            machine=machine(),
            versions=versions(),
        ),
        *footprint(found["footprint"], broken, quickly=quickly),
        *detection(found["detection"], broken, quickly=quickly),
        *events(found["events"], broken),
        *scale(found["scale"], broken, quickly=quickly),
    ]
    return "\n".join(lines) + "\n", broken


def footprint(found: dict[str, Any], broken: list[str], *, quickly: bool) -> Iterator[str]:
    """Say what sixteen checks cost."""
    yield f"## Sixteen checks every 30 s, all well\n\nMeasured for {found['seconds']:.0f} s.\n"
    yield from table("daemon", "CPU s/h", "PSS MB", "alone MB", "written KB/h", "processes")
    for name, cost in found["costs"].items():
        yield row(
            name,
            f"{cost['cpu_s_per_hour']:.1f}",
            f"{cost['pss_mb']:.1f}",
            f"{cost['alone_mb']:.1f}",
            f"{cost['written_kb_per_hour']:.0f}",
            cost["processes"],
        )
    ours = found["costs"]["posagent"]
    promise(broken, "CPU seconds an hour, 16 checks", ours["cpu_s_per_hour"], CPU_S * (QUICK_CPU if quickly else 1))
    promise(broken, "MB of PSS, 16 checks", ours["pss_mb"], MEMORY_MB)
    promise(broken, "KB written an hour, 16 checks", ours["written_kb_per_hour"], WRITTEN_KB)
    most = f"{CPU_S:g} CPU-seconds, {MEMORY_MB:g} MB, {WRITTEN_KB:g} KB an hour"
    yield f"\nPromised: at most {most}.{SHORT if quickly else ''}\n"


def detection(tries: list[dict[str, Any]], broken: list[str], *, quickly: bool) -> Iterator[str]:
    """Say how long faults went unnoticed."""
    yield f"## A fault until it is known\n\n{KNOWN}\n\nMedian seconds (quickest to slowest) of {len(tries)} tries.\n"
    names = [name for name in tries[0]["seconds"] if name != EXPORTER]
    names = sorted({name for each in tries for name in each["seconds"]}, key=["posagent", "Monit", *names].index)
    yield from table("daemon", "all", "service died (reset)", "swallowed by a firewall")
    for name in names:
        kinds = [seconds(tries, name, fault) for fault in ("", "refused", "swallowed")]
        yield row(name, *(spread(each) for each in kinds))
    ours, monits = (statistics.median(seconds(tries, name, "")) for name in ("posagent", "Monit"))
    part = QUICK_PART_OF_MONITS if quickly else PART_OF_MONITS
    promise(broken, "of Monit's time until a fault is known", ours / monits, part)
    yield f"\nposagent needs {ours / monits:.2f} of Monit's time; promised: at most {PART_OF_MONITS:g}.\n"


def seconds(tries: list[dict[str, Any]], name: str, fault: str) -> list[float]:
    """Return one daemon's times; a fault that it did not tell at all counts as for ever."""
    return [each["seconds"].get(name, float("inf")) for each in tries if each["fault"].startswith(fault)]


def spread(times: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(times):.1f} ({min(times):.1f}-{max(times):.1f})" if times else "-"


def events(found: dict[str, Any], broken: list[str]) -> Iterator[str]:
    """Say how soon a pulled plug is told."""
    yield "## A pulled plug until it is told\n"
    yield from table("fault", "confirmed in the report, s", "incident open, s")
    for name, label in (("cable", "network cable"), ("plug", "USB plug of a terminal")):
        shown, opened = ([each[n] for each in found[name]] for n in (0, 1))
        yield row(label, spread(shown), spread(opened))
        promise(broken, f"s until a pulled {name} is in the report", max(shown), EVENT_S)
    yield f"\n{len(found['cable'])} tries each; promised: at most {EVENT_S:g} s to the report.\n"


def scale(found: list[dict[str, Any]], broken: list[str], *, quickly: bool) -> Iterator[str]:
    """Say what many probes cost, and whether each had its turn."""
    most_cpu = MANY_CPU_S * (QUICK_CPU if quickly else 1)
    yield "## Many `port` probes every 30 s\n"
    yield f"Measured for {found[0]['seconds']:.0f} s each, on the wire; a look is missed when a gap is 15 s too long.\n"
    yield from table(
        "probes",
        "targets",
        "daemon",
        "CPU s/h",
        "PSS MB",
        "alone MB",
        "looks",
        "missed",
        "longest gap s",
        "all dead known, s",
    )
    for size in found:
        for phase, label in (("well", "all well"), ("dead", "a tenth dead")):
            for name, each in size[phase].items():
                looks, cost = each["looks"], each["cost"]
                gap = f"{'> ' if looks['never'] else ''}{looks['longest_gap_s']:.0f}"
                on_wire = (looks["looks"], looks["missed"], gap) if name != SCRAPER else ("", "", "")
                costs = (f"{cost['cpu_s_per_hour']:.1f}", f"{cost['pss_mb']:.1f}", f"{cost['alone_mb']:.1f}")
                yield row(size["count"], label, name, *costs, *on_wire, known(each, size, phase, name))
            ours = size[phase]["posagent"]
            promise(broken, f"missed looks, {size['count']} probes, {label}", ours["looks"]["missed"], 0)
            if size["count"] == MANY and phase == "well":
                promise(broken, f"CPU seconds an hour, {MANY} probes", ours["cost"]["cpu_s_per_hour"], most_cpu)
                promise(broken, f"MB of PSS, {MANY} probes", ours["cost"]["pss_mb"], MANY_MEMORY_MB)
    yield (
        f"\nPromised for {MANY} probes: no look missed, at most {MANY_CPU_S:g} CPU-seconds an hour and "
        f"{MANY_MEMORY_MB:g} MB.\n"
    )


def known(each: dict[str, Any], size: dict[str, Any], phase: str, name: str) -> str:
    """Say how long it took until every dead target was known."""
    if phase == "well" or name == EXPORTER:
        return ""
    return f"> {size['dead_s']:.0f}" if each["known_s"] is None else f"{each['known_s']:.0f}"


def promise(broken: list[str], what: str, seen: float, most: float) -> None:
    """Keep what was promised and is not held."""
    if seen > most:
        broken.append(f"{what}: {seen:.2f}, promised at most {most:g}")


def table(*head: str) -> Iterable[str]:
    """Return the head of a table."""
    return row(*head), "|---" + "|---:" * (len(head) - 1) + "|"


def row(*cells: object) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def machine() -> str:
    """Return what the run happened on."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    model = models[0] if models else platform.machine()
    python = platform.python_version()
    return f"{os.cpu_count()} x {model}, Linux {platform.release().split('-')[0]}, Python {python}"


def versions() -> str:
    """Return the peers' Debian versions."""
    asked = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *PACKAGES]
    told = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout
    return told.strip(", ")
