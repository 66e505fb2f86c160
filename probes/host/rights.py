"""May this process open that node? Worked out from modes, access lists and credentials; nobody tries the door."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
from pathlib import Path

import msgspec

from probes.host import Host, files

CAP_DAC_OVERRIDE = 1 << 1
READ_WRITE = 6
USER, GROUP_OWNER, GROUP, MASK = 0x02, 0x04, 0x08, 0x10
ACCESS_LIST = "system.posix_acl_access"


class Credentials(msgspec.Struct, frozen=True):
    """As whom a process touches files."""

    uid: int
    groups: frozenset[int]
    overrides: bool = False


class Node(msgspec.Struct, frozen=True):
    """Who owns a node, its mode, and the entries of its access list as (tag, rights, id)."""

    uid: int
    gid: int
    mode: int
    entries: tuple[tuple[int, int, int], ...] = ()

    def __str__(self) -> str:
        """As `ls -l` shows it: "crw-rw---- root dialout"."""
        return f"{stat.filemode(self.mode)} {_user(self.uid)} {_group(self.gid)}"

    @property
    def only_owner(self) -> bool:
        """Whether nobody but its owner, and root, may read and write."""
        return not self.entries and self.mode & 0o060 != 0o060 and self.mode & 0o006 != 0o006


def node(path: Path) -> Node:
    """What the file system says of a node. Raises OSError when it is absent."""
    found = path.stat()
    try:
        entries = parse_access_list(os.getxattr(path, ACCESS_LIST))
    except OSError:  # most nodes have none
        entries = ()
    return Node(found.st_uid, found.st_gid, found.st_mode, entries)


def of(host: Host, pid: int) -> Credentials | None:
    """The credentials of a process, None when it is gone."""
    try:
        return parse_status(files.read_text(host.path(f"/proc/{pid}/status"), 16384))
    except OSError:
        return None


def parse_status(text: str) -> Credentials | None:
    """Credentials from /proc/PID/status; the fourth id is the one files are opened with."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        return Credentials(
            uid=int(fields["Uid"].split()[3]),
            groups=frozenset(map(int, [fields["Gid"].split()[3], *fields.get("Groups", "").split()])),
            overrides=bool(int(fields.get("CapEff", "0"), 16) & CAP_DAC_OVERRIDE),
        )
    except (KeyError, IndexError, ValueError):
        return None


def parse_access_list(raw: bytes) -> tuple[tuple[int, int, int], ...]:
    """Entries of a POSIX access list as the kernel hands it out: version 2, then (tag, rights, id) each."""
    if len(raw) < 4 or (len(raw) - 4) % 8 or struct.unpack_from("<I", raw)[0] != 2:
        return ()
    return tuple(struct.iter_unpack("<HHI", raw[4:]))


def may_open(who: Credentials, what: Node) -> bool:
    """Whether `who` may open `what` for reading and writing, by the rules of acl(5)."""
    if who.overrides:
        return True
    if who.uid == what.uid:
        return what.mode >> 6 & READ_WRITE == READ_WRITE
    mask = next((rights for tag, rights, _id in what.entries if tag == MASK), 7)
    for tag, rights, name in what.entries:
        if tag == USER and name == who.uid:
            return rights & mask & READ_WRITE == READ_WRITE
    grants = [rights & mask for tag, rights, name in what.entries if tag == GROUP and name in who.groups]
    if what.gid in who.groups:
        owning = next((rights for tag, rights, _id in what.entries if tag == GROUP_OWNER), what.mode >> 3 & 7)
        grants.append(owning & mask)
    if grants:
        return any(rights & READ_WRITE == READ_WRITE for rights in grants)
    return what.mode & READ_WRITE == READ_WRITE


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
