"""Who holds a device node? Links of /proc, the kernel's lock table, lock files: nothing is opened to find out.

Whose descriptors this user may not see is counted, never guessed: `RIGHT` is what would show them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Literal

import msgspec

from probes.host import Host, files
from probes.redact import scrub

RIGHT = "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
LOCK_DIRECTORIES = ("/run/lock", "/var/lock")
PID_LIMIT = 1 << 22
KERNEL_THREAD = 0x00200000
INTERPRETER = re.compile(r"^(python|perl|ruby|node|java|mono|dotnet|php|wine|sh$|bash|dash|busybox)")
GONE = " (deleted)"
KNOWN_AT_MOST = 512
_KNOWN: dict[tuple[Path, str, str], tuple[str, ...]] = {}


class Holder(msgspec.Struct, frozen=True):
    """One program that has the node. `names` are all the names it goes by; pid 0 where it hides behind a container."""

    pid: int
    name: str
    how: Literal["open", "lock", "lock file", "console", "dead node"]
    names: tuple[str, ...] = ()
    parent: int = 0

    def goes_by(self, name: str) -> bool:
        """Whether people call it so; the kernel keeps only 15 characters of a name."""
        return goes_by(self.names or (self.name,), name)

    def __str__(self) -> str:
        """For evidence: "ModemManager (pid 812, open)"."""
        return f"{self.name} (pid {self.pid or '?'}, {self.how})"


class Sight(msgspec.Struct, frozen=True):
    """What could be seen. `hidden` counts programs whose descriptors this user may not see.

    `dead` are programs that hold a port which was unplugged: when it comes back they still talk to nobody.

    `nameless` says that /proc hides even the names of other users' programs (hidepid).
    """

    holders: tuple[Holder, ...] = ()
    dead: tuple[Holder, ...] = ()
    stale: tuple[str, ...] = ()
    hidden: int = 0
    nameless: bool = False


def of(host: Host, node: str) -> Sight:
    """Everybody who holds `node` (a device's own path, no link). Raises OutOfTime."""
    stat = _stat(host, node)
    seen: list[Holder] = []
    pids = _pids(host)
    blind: set[int] = set()
    for pid in pids:
        host.left()
        how, may_see = _holds(host, pid, node, stat)
        if how:
            seen.append(_holder(host, pid, how))
        elif not may_see:
            blind.add(pid)
    locked = [_holder(host, pid, "lock") for pid in _lockers(host, stat)]
    files_of, stale = _lock_files(host, node, blind, {holder.pid for holder in seen})
    live = [holder for holder in seen if holder.how != "dead node"]
    for holder in (*locked, *files_of, *_console(host, node)):
        if holder.pid not in {other.pid for other in live} or not holder.pid:
            live.append(holder)
    return Sight(
        holders=tuple(live),
        dead=tuple(holder for holder in seen if holder.how == "dead node"),
        stale=tuple(stale),
        hidden=len(blind),
        nameless=host.is_this_machine and 1 not in pids,
    )


def called(host: Host, name: str) -> list[tuple[int, bool]]:
    """Programs that go by `name`, but us: process id, and whether this user sees what they have open."""
    me = os.getpid() if host.is_this_machine else 0
    return [(pid, _may_see(host, pid)) for pid in _pids(host) if pid != me and goes_by(names(host, pid), name)]


def names(host: Host, pid: int) -> tuple[str, ...]:
    """What a process goes by: the kernel's name for it, its program, and an interpreter's script. Empty when gone.

    Remembered by process id, the kernel's name and the start: a program that becomes another one gets another name.
    """
    stat = files.read_word(host.path(f"/proc/{pid}/stat")) or ""
    head, _, tail = stat.rpartition(")")
    fields = tail.split(None, 20)
    if len(fields) < 20:
        return _names(host, pid)
    key = (host.root, head, fields[19])
    known = _KNOWN.get(key)
    if known is None:
        if len(_KNOWN) >= KNOWN_AT_MOST:
            _KNOWN.clear()
        known = _KNOWN[key] = _names(host, pid)
    return known


def _names(host: Host, pid: int) -> tuple[str, ...]:
    short = scrub(files.read_word(host.path(f"/proc/{pid}/comm")) or "")
    try:
        words = files.read_text(host.path(f"/proc/{pid}/cmdline"), 4096).split("\0")
    except OSError:
        words = []
    program = PurePath(words[0]).name.lstrip("-") if words else ""
    found = [short, program]
    if INTERPRETER.match(program):
        found += [PurePath(word).name for word in words[1:9] if word and not word.startswith("-")]
    return tuple(dict.fromkeys(name for name in found if name))


def goes_by(known: tuple[str, ...], name: str) -> bool:
    """Whether one of the known names is `name`, whole or as the kernel cuts it."""
    return name in known or (len(name) > 15 and name[:15] in known)


def parse_locks(text: str) -> Iterator[tuple[int, int, int, int]]:
    """(pid, device major, minor, inode) of every lock that is held; waiters and broken lines are passed over."""
    for line in text.splitlines():
        found = re.match(r"\d+: (?:FLOCK|POSIX|OFDLCK)\s+\S+\s+\S+\s+(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ", line)
        if found is not None:
            yield max(0, int(found[1])), int(found[2], 16), int(found[3], 16), int(found[4])


def parse_lock_file(content: bytes) -> int | None:
    """The process id in a LCK.. file: ten characters and a newline (HDB UUCP), or four bytes as old programs wrote."""
    text = content.strip().split(b"\n")[0].split(b" ")[0]
    if text.isdigit() and len(text) <= 10:
        return int(text)
    number = int.from_bytes(content, "little")
    return number if len(content) == 4 and number <= PID_LIMIT else None


def _pids(host: Host) -> list[int]:
    return [int(name) for name in files.names(host.path("/proc")) if name.isdecimal() and name.isascii()]


def _stat(host: Host, node: str) -> os.stat_result | None:
    try:
        return host.path(node).stat()
    except OSError:
        return None


def _holds(
    host: Host, pid: int, node: str, stat: os.stat_result | None
) -> tuple[Literal["open", "dead node", ""], bool]:
    """How a process holds the node, and whether we may see."""
    directory = str(host.path(f"/proc/{pid}/fd"))
    dead = False
    try:
        for number in os.listdir(directory):  # noqa: PTH208 - thousands of names; no need for thousands of paths
            try:
                target = os.readlink(f"{directory}/{number}")  # noqa: PTH115 - the link as the kernel wrote it
            except FileNotFoundError:
                continue
            if target.startswith("/dev/tty") and target.endswith(GONE):
                dead = True
            elif target.startswith("/dev/") and _is_same(host, f"{directory}/{number}", target, node, stat):
                return "open", True
    except PermissionError:
        return "", _has_no_files(host, pid)
    except OSError:  # it ended while we looked
        return "", True
    return ("dead node" if dead else ""), True


def _is_same(host: Host, link: str, target: str, node: str, stat: os.stat_result | None) -> bool:
    """Whether a descriptor is this very device: a container's /dev/pts/0 is not ours, its bind-mounted ttyACM0 is."""
    if not host.is_this_machine or stat is None:
        return target == node
    try:
        other = os.stat(link)  # noqa: PTH116 - asks about the open file behind the link, opens nothing
    except OSError:
        return False
    if node.startswith("/dev/pts/"):
        return (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino)
    return other.st_rdev == stat.st_rdev and (other.st_mode & 0o170000) == (stat.st_mode & 0o170000)


def _may_see(host: Host, pid: int) -> bool:
    directory = host.path(f"/proc/{pid}/fd")
    try:
        for number in os.listdir(directory)[:1]:  # noqa: PTH208
            os.readlink(directory / number)  # noqa: PTH115
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def _has_no_files(host: Host, pid: int) -> bool:
    """Kernel threads and the dead that nobody has buried hold nothing."""
    fields = _after_name(host, pid)
    is_thread = len(fields) > 6 and fields[6].isdigit() and bool(int(fields[6]) & KERNEL_THREAD)
    return is_thread or fields[:1] in (["Z"], ["X"])


def _after_name(host: Host, pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; the name before them may hold anything, brackets included."""
    return (files.read_word(host.path(f"/proc/{pid}/stat")) or "").rpartition(")")[2].split()


def _holder(host: Host, pid: int, how: Literal["open", "lock", "lock file", "dead node"]) -> Holder:
    known = names(host, pid) if pid else ()
    fields = _after_name(host, pid) if pid else []
    parent = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
    return Holder(pid=pid, name=known[0] if known else "?", how=how, names=known, parent=parent)


def _lockers(host: Host, stat: os.stat_result | None) -> list[int]:
    if stat is None:
        return []
    try:
        text = files.read_text(host.path("/proc/locks"))
    except OSError:
        return []
    mine = (os.major(stat.st_dev), os.minor(stat.st_dev), stat.st_ino)
    return sorted({pid for pid, *place in parse_locks(text) if tuple(place) == mine})


def _lock_files(host: Host, node: str, blind: set[int], seen: set[int]) -> tuple[list[Holder], list[str]]:
    """Who claims the port by a lock file, and which lock files are left over: owner dead, or alive without the port."""
    live: list[Holder] = []
    stale: list[str] = []
    for directory in LOCK_DIRECTORIES:
        path = host.path(directory) / f"LCK..{PurePath(node).name}"
        try:
            pid = parse_lock_file(files.read_bytes(path, 64))
        except OSError:
            continue
        if pid is not None and pid in seen:
            continue
        if pid is not None and pid in blind:
            live.append(_holder(host, pid, "lock file"))
        else:
            stale.append(f"{directory}/{path.name} is left over from process {pid if pid is not None else 'unknown'}")
    same = len(stale) == 2 and host.path("/var/lock").is_symlink()
    return live[:1], stale[:1] if same else stale


def _console(host: Host, node: str) -> list[Holder]:
    active = (files.read_word(host.path("/sys/class/tty/console/active")) or "").split()
    return [Holder(0, "kernel console", "console")] if node.removeprefix("/dev/") in active else []
