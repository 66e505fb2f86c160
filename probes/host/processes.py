"""Which programs run, how much memory do they take, and which TCP ports wait for callers?

From /proc, where everybody may read it. A command line is matched, never handed on: it may hold a password.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from probes.host import Host, files, holders

LISTEN = "0A"
_NUMBERS = re.compile(r"-?\d{1,20}(?: -?\d{1,20})*", re.ASCII)
COMMAND_LINE = 8192
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
KNOWN_AT_MOST = 2048
_KNOWN: dict[tuple[Path, str, str], tuple[tuple[str, ...], str]] = {}
"""Names and command line of a process, by its id, the kernel's name for it, and its start: a program that becomes
another one (exec) gets another name, and a till's hundreds of processes need not be read whole every 30 s."""


class Process(msgspec.Struct, frozen=True):
    """One running program. `started` is in seconds after the kernel's start; sizes in bytes."""

    pid: int
    name: str
    names: tuple[str, ...] = ()
    command_line: str = ""
    parent: int = 0
    state: str = "S"
    started: float = 0.0
    own_memory: int = 0
    shared_memory: int = 0

    @property
    def runs(self) -> bool:
        """Whether it is more than a zombie."""
        return self.state not in {"Z", "X", "x"}


class Listener(msgspec.Struct, frozen=True):
    """A TCP socket that waits for callers."""

    address: str
    port: int
    inode: int

    def serves(self, address: str, port: int) -> bool:
        """Whether a caller of `address` (empty: any) and `port` would get through to it."""
        if self.port != port:
            return False
        if not address or self.address in {address, "::"}:
            return True
        return self.address == "0.0.0.0" and ":" not in address  # noqa: S104 - compared, not bound


def everything(host: Host) -> list[Process]:
    """All processes but kernel threads and posagent's own: itself, its other copies, what it started."""
    found = {}
    for name in files.names(host.path("/proc")):
        if name.isascii() and name.isdecimal():
            host.left()
            process = _read(host, int(name))
            if process is not None:
                found[process.pid] = process
    for key in [key for key in _KNOWN if key[0] == host.root and int(key[1].partition(" ")[0]) not in found]:
        _KNOWN.pop(key, None)  # it ended; another thread may be here too
    ours = {process.pid for process in found.values() if _is_posagent(process)}
    callers: set[int] = set()
    if host.is_this_machine:
        ours.add(os.getpid())
        callers = {pid for pid in _line(os.getpid(), found) if "posagent" in found[pid].command_line}
    return [
        process
        for process in found.values()
        if process.pid not in callers and ours.isdisjoint(_line(process.pid, found))
    ]


def goes_by(process: Process, name: str) -> bool:
    """Whether people call it so: its file name, its kernel name (cut at 15 characters), its script's name."""
    return holders.goes_by(process.names, name)


def sees_others(host: Host) -> bool:
    """False where /proc hides the programs of other users (hidepid): then what is not seen may still be there."""
    return not host.is_this_machine or host.path("/proc/1/stat").exists()


def listeners(host: Host, pid: int | None = None) -> list[Listener] | None:
    """Who waits for callers, in the network of process `pid` (which may be a container's); None: may not be read."""
    found: list[Listener] = []
    seen = False
    for family in ("tcp", "tcp6"):
        try:
            text = files.read_bytes(host.path(f"/proc/{pid or 'self'}/net/{family}"), 4 << 20).decode(
                "ascii", "replace"
            )
        except OSError:
            continue
        seen = True
        found += parse_listeners(text)
    return found if seen else None


def sockets(host: Host, pid: int) -> set[int] | None:
    """Inodes of the sockets a process has open; None where this user may not see them."""
    directory = host.path(f"/proc/{pid}/fd")
    found = set()
    try:
        for name in os.listdir(directory):  # noqa: PTH208 - thousands of names; no need for thousands of paths
            try:
                link = re.fullmatch(r"socket:\[(\d{1,20})\]", os.readlink(directory / name))  # noqa: PTH115
            except FileNotFoundError:
                continue
            if link:
                found.add(int(link[1]))
    except FileNotFoundError:
        return set()
    except OSError:
        return None
    return found


def parse_listeners(text: str) -> Iterator[Listener]:
    """Listening sockets of /proc/net/tcp or tcp6; lines that make no sense are passed over."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN and fields[9].isascii() and fields[9].isdecimal():
            address, _colon, port = fields[1].partition(":")
            if re.fullmatch(r"(?:[0-9A-F]{8}|[0-9A-F]{32})", address) and re.fullmatch(r"[0-9A-F]{4}", port):
                yield Listener(_address(address), int(port, 16), int(fields[9]))


def parse_stat(text: str) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; the name before them may hold anything, brackets included."""
    fields = text.rpartition(")")[2].split()
    numbers = fields[1:22]
    return fields if len(fields) >= 22 and _NUMBERS.fullmatch(" ".join(numbers)) else None


def _read(host: Host, pid: int) -> Process | None:
    """One process, but for its memory; None where it ended meanwhile, or is a thread of the kernel."""
    stat = files.read_word(host.path(f"/proc/{pid}/stat")) or ""
    fields = parse_stat(stat)
    if fields is None or int(fields[6]) & holders.KERNEL_THREAD:
        return None
    key = (host.root, stat.rpartition(")")[0], fields[19])
    known = _KNOWN.get(key)
    if known is None:
        if len(_KNOWN) >= KNOWN_AT_MOST:
            _KNOWN.clear()
        known = _KNOWN[key] = (holders.names(host, pid), _command_line(host, pid))
    names, command_line = known
    return Process(
        pid=pid,
        name=names[0] if names else "?",
        names=names,
        command_line=command_line,
        parent=int(fields[1]),
        state=fields[0],
        started=int(fields[19]) / TICKS,
    )


def _command_line(host: Host, pid: int) -> str:
    try:
        words = files.read_bytes(host.path(f"/proc/{pid}/cmdline"), COMMAND_LINE).decode("utf-8", "replace")
    except OSError:
        return ""
    return " ".join(words.split("\0")).strip()


def with_memory(host: Host, process: Process) -> Process:
    """The same process, and what it takes of memory now."""
    pages = (files.read_word(host.path(f"/proc/{process.pid}/statm")) or "").split()
    resident, shared = (int(word) if word.isascii() and word.isdecimal() else 0 for word in [*pages, "", "", ""][1:3])
    return msgspec.structs.replace(process, own_memory=max(0, resident - shared) * PAGE, shared_memory=shared * PAGE)


def _is_posagent(process: Process) -> bool:
    """A copy of posagent: the daemon beside a check, or a check beside the daemon."""
    return (
        "posagent" in process.names
        or re.search(r"python[0-9.]* (?:-\S+ )*-m agent\b", process.command_line) is not None
    )


def _line(pid: int, everybody: dict[int, Process]) -> list[int]:
    """A process, its parent, its parent's parent …"""
    line: list[int] = []
    while pid in everybody and pid not in line:
        line.append(pid)
        pid = everybody[pid].parent
    return line


def _address(digits: str) -> str:
    """The kernel prints an address as 32-bit words in this machine's byte order; all tills are little-endian."""
    packed = b"".join(bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
