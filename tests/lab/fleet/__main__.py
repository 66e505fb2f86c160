"""python -m tests.lab.fleet: how does a fleet of tills come through an outage of its centre?"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.lab.fleet import accounts
from tests.lab.fleet.accounts import histogram
from tests.lab.fleet.run import Outcome, play, scratch
from tests.lab.fleet.scene import DAYS_SPLAY_S, Scene


def table(outcome: Outcome) -> str:
    """All figures."""
    scene, figures = outcome.scene, outcome.figures
    made = sum(len(each.reports) for each in outcome.told.values())
    sizes = [size for each in outcome.told.values() for size in each.sizes] or [0]
    rows: list[tuple[str, object]] = [
        ("tills / processes", f"{scene.tills} / {scene.processes}"),
        ("splay", f"{scene.splay_s:g} s (default {DAYS_SPLAY_S:g} s: time is compressed {DAYS_SPLAY_S / scene.splay_s:g} times)"),
        ("outage of both receivers", f"{scene.outage_s:g} s (stands for {scene.outage_s * DAYS_SPLAY_S / scene.splay_s / 60:.0f} min)"),
        ("reports made", f"{made}, {min(sizes)} to {max(sizes)} bytes, {sum(sizes) / len(sizes):.0f} on average"),
    ]  # fmt: skip
    for way, account in outcome.accounts.items():
        rows += [
            (f"{way}: arrived", f"{account.reports} reports, {account.in_gaps} named by {account.gaps} gaps, {account.incidents} of incidents"),
            (f"{way}: came twice, with the same key", account.doubles),
            (f"{way}: tills whose older reports came in another order", account.disordered),
            (f"{way}: first contacts per tenth of the splay", " ".join(map(str, outcome.tenths(way)))),
            (f"{way}: fullest tenth of a splay, against its share", f"{_peak(account.first_contacts, scene):.1f}; of older reports {_peak(account.history, scene):.1f}"),
            (f"{way}: older reports per tenth of twice the splay", " ".join(map(str, outcome.history(way)))),
        ]  # fmt: skip
    rows += [
        ("all told", f"{figures.get('drained_after_s', 0):.0f} s after the receivers came back"),
        ("memory of a till", ", ".join(f"{when} {kb:.0f} KB" for when, kb in outcome.memory_kb.items())),
        ("processor per 1,000 POSTs: nginx", f"{_per_1000(figures, 'nginx_s', 'posts', 'nginx_before_s', 'posts_before'):.2f} s"),
        ("processor per 1,000 messages: mosquitto", f"{_per_1000(figures, 'broker_s', 'messages', 'broker_before_s', 'messages_before'):.2f} s"),
        ("processor per report: a till", f"{1000 * figures.get('tills_cpu_s', 0) / max(1, made):.1f} ms, both ways, state file and threads"),
        ("faults", len(outcome.faults)),
    ]  # fmt: skip
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _peak(moments: list[float], scene: Scene) -> float:
    return accounts.peak(moments, scene.splay_s)


def _per_1000(figures: dict[str, float], spent: str, count: str, *_: str) -> float:
    """The receivers began anew after the outage, and so did their clocks."""
    return 1000 * figures.get(spent, 0.0) / max(1.0, figures.get(count, 0.0) - figures.get(f"{count}_before", 0.0))


def main() -> int:
    default = Scene()
    parser = argparse.ArgumentParser(prog="python -m tests.lab.fleet", description=__doc__)
    parser.add_argument("--tills", type=int, default=default.tills)
    parser.add_argument("--processes", type=int, default=default.processes)
    parser.add_argument("--outage", type=float, default=default.outage_s, help="seconds")
    parser.add_argument("--splay", type=float, default=default.splay_s, help="seconds")
    parser.add_argument("--scale", type=float, default=1.0, help="how much slower than this everything goes")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--keep", type=Path, help="a directory for everything that was written")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever is asked to go takes the receivers along
    scale = given.scale
    scene = Scene(
        tills=given.tills,
        processes=given.processes,
        splay_s=given.splay * scale,
        boot_s=default.boot_s * scale,
        healthy_s=default.healthy_s * scale,
        outage_s=given.outage * scale,
        drain_s=default.drain_s * scale,
        beat_s=default.beat_s * scale,
        seed=given.seed,
    )
    began = time.monotonic()
    with scratch() as memory:
        home = given.keep or memory
        home.mkdir(parents=True, exist_ok=True)
        outcome = play(scene, home, lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True))
    for way in outcome.accounts:
        print("\n" + histogram(f"{way}: first contacts after the outage", outcome.tenths(way), scene.splay_s / 10))
        print(histogram(f"{way}: older reports after the outage", outcome.history(way), scene.splay_s / 5))
    print("\n" + table(outcome))
    for fault in outcome.faults[:40]:
        print("FAULT", fault)
    print("\nsaid in the outage:", *outcome.problems[:10], sep="\n  ")
    print("\nsaid at the end:", *outcome.left[:10], sep="\n  ")
    return 1 if outcome.faults or outcome.left else 0


if __name__ == "__main__":
    sys.exit(main())
