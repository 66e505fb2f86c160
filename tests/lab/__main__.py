"""The lab by hand: `python -m tests.lab list|up|on FAULT|off FAULT|exec [ROOM] COMMAND…|down` (as root)."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from tests.lab.faults import Fault
from tests.lab.healthy import Variant
from tests.lab.store import NAMESPACES, RUN, Store, remove_leftovers
from tests.lab.wider import FAULTS, VARIANTS

EVERYTHING: dict[str, Fault | Variant] = {**FAULTS, **VARIANTS}
SOCKET = RUN / "hand.sock"


def hold() -> None:
    """Own a store until told to stop, and break it as asked: one request of JSON per connection."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    active: dict[str, AbstractContextManager[None]] = {}
    with Store() as store, socket.socket(socket.AF_UNIX) as door, contextlib.ExitStack() as bye:
        SOCKET.unlink(missing_ok=True)
        bye.callback(SOCKET.unlink, missing_ok=True)
        bye.callback(lambda: [fault.__exit__(None, None, None) for fault in active.values()])
        door.bind(str(SOCKET))
        door.listen()
        while True:
            peer, _ = door.accept()
            with peer:
                word, name = json.loads(peer.recv(4096))
                try:
                    peer.sendall(answer(store, active, word, name).encode())
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    peer.sendall(f"failed: {error}".encode())


def answer(store: Store, active: dict[str, AbstractContextManager[None]], word: str, name: str) -> str:
    """Do one thing to the store."""
    if word == "on" and name not in active:
        fault = store.fault(EVERYTHING[name])
        fault.__enter__()
        active[name] = fault
    elif word == "off" and name in active:
        active.pop(name).__exit__(None, None, None)
    return json.dumps({"owner": store.owner, "on": list(active)})


def ask(word: str, name: str = "") -> str:
    """Ask the process that holds the store."""
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(str(SOCKET))
        except OSError:
            sys.exit("no store is up; `python -m tests.lab up` builds one")
        peer.sendall(json.dumps([word, name]).encode())
        return peer.recv(65536).decode()


def up() -> None:
    """Leave a process behind that holds the store, and wait until it answers."""
    RUN.mkdir(parents=True, exist_ok=True)
    remove_leftovers()
    log = (RUN / "hand.log").open("w")
    held = subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "hold"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    for _ in range(200):
        if SOCKET.exists() and held.poll() is None:
            print(ask("show"))
            return
        if held.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"the store did not come up: {(RUN / 'hand.log').read_text()}")


def down() -> None:
    """Tell the holder to stop, and wait for it."""
    owner = json.loads(ask("show"))["owner"]
    os.kill(owner, signal.SIGTERM)
    while Path(f"/proc/{owner}").exists():
        time.sleep(0.05)


def execute(words: list[str]) -> None:
    """Run a command in a room of the store; the till, unless another is named."""
    shown = json.loads(ask("show"))
    room, *command = words if words[0] in NAMESPACES else ["till", *words]
    store = Store(owner=shown["owner"])
    environment = {**os.environ, **(store.till_env if room == "till" else {})}
    line = store.in_room(room, *(command or ["bash"]))
    os.execvpe(line[0], line, environment)


def show_list() -> None:
    """Print every fault with its cause, and every healthy variant."""
    for name, fault in FAULTS.items():
        causes = " + ".join(f"{one.cause} ({one.party})" for one in fault.expected)
        print(f"{name:44} {fault.layer:10} {'/'.join(fault.payments):16} {causes}")
    for name, variant in VARIANTS.items():
        print(f"{name:44} healthy    {'ready':16} {variant.title}")


def main() -> None:
    """Read the command and do it."""
    words = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = words.add_subparsers(dest="command", required=True)
    for name in ("list", "up", "hold", "down", "show"):
        commands.add_parser(name)
    for name in ("on", "off"):
        commands.add_parser(name).add_argument("fault", choices=EVERYTHING, metavar="FAULT")
    commands.add_parser("exec").add_argument("words", nargs=argparse.REMAINDER)
    asked = words.parse_args()
    if asked.command in ("on", "off", "show"):
        print(ask(asked.command, getattr(asked, "fault", "")))
    elif asked.command == "exec":
        execute(asked.words or ["bash"])
    else:
        {"list": show_list, "up": up, "hold": hold, "down": down}[asked.command]()


main()
