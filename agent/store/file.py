"""How does the state file get open, whatever was done to it? Made, brought up to date, looked through, or moved aside.

SQLite in WAL mode with `synchronous=NORMAL`: cannot corrupt at a power cut, may lose the last moments, and writes a
twentieth of what the default journal writes to a till's flash.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from agent.store.schema import CACHE_KB, HIGHEST, MIGRATIONS, PAGE, TABLES, WAL_BYTES

BUSY_S = 1.0
MODE = 0o640
"""The service's group may read: `posagent status` of a technician who is in it."""
KEPT_ASIDE = 2
"""Damaged files kept for whoever wants to know; a dying disk shall not fill itself with them."""
JOURNALS = ("-wal", "-shm")
CANNOT = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class Damaged(sqlite3.DatabaseError):
    """SQLite can open the file, and it is not whole."""


def is_damage(error: BaseException) -> bool:
    """Does this say that the file is no good, rather than busy, full or out of reach?"""
    return (
        isinstance(error, Damaged)
        or code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
        or str(error).startswith(("no such table", "no such column", "malformed", "unsupported file format"))
    )


def code(error: BaseException) -> int:
    """SQLite's primary result code; 0 when it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def writable(path: Path, problems: list[str], *, distrust: bool = False) -> sqlite3.Connection:
    """Open or make the file. One that is no good is moved aside, and `problems` says so.

    `distrust`: it misbehaved before although it looks whole, so it goes aside in any case.
    """
    if not distrust and _size(path):
        _expect(path, os.W_OK)
        try:
            return _connect(path)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
    with _alone_in(path.parent):  # of two that find it damaged, the second finds it mended
        return _mended(path, problems, distrust)


def _mended(path: Path, problems: list[str], distrust: bool) -> sqlite3.Connection:
    size = _size(path)
    lost = size == 0 or (size is None and path.with_name(f"{path.name}-wal").exists())
    trouble = "it failed while in use" if distrust and size else ""
    if not trouble:
        try:
            if size is None:
                _make(path)
            db = _connect(path)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            trouble = str(error)
        else:
            if lost:
                problems.append(f"state file was {'empty' if size == 0 else 'gone'}; started anew")
            return db
    aside = _move_aside(path)
    problems.append(f"state file was corrupt ({trouble}); kept as {aside.name}, started anew")
    return _connect(path)


def _make(path: Path) -> None:
    """A new file, there as a whole or not at all: an empty one would look like a loss at the next start."""
    made = path.with_name(f"{path.name}.new")
    _remove(made, *(path.with_name(f"{path.name}{tail}") for tail in JOURNALS))  # an orphan's, too
    try:
        _connect(made).close()
        made.rename(path)
    finally:
        _remove(made)


def _remove(*files: Path) -> None:
    for file in files:
        for tail in ("", *JOURNALS):
            file.with_name(f"{file.name}{tail}").unlink(missing_ok=True)


def readable(path: Path) -> sqlite3.Connection:
    """Open for reading, beside a running daemon, without one, on a read-only disk, or for a user who may only read."""
    _expect(path, os.R_OK)
    try:
        return _reader(f"{path.absolute().as_uri()}?mode=ro")
    except sqlite3.OperationalError as error:
        if code(error) not in CANNOT:
            raise
    if not _size(path.with_name(f"{path.name}-wal")):
        return _reader(f"{path.absolute().as_uri()}?immutable=1")
    return _copy(path)


def _copy(path: Path) -> sqlite3.Connection:
    """A file with a journal that this user cannot put to use, read into memory."""
    import shutil
    import tempfile

    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with tempfile.TemporaryDirectory(prefix="posagent-") as place:
            copied = Path(place) / "state"
            for tail in ("", "-wal"):
                shutil.copyfile(f"{path}{tail}", f"{copied}{tail}")
            with contextlib.closing(sqlite3.connect(copied)) as db:
                db.backup(memory)
        _check_reader(memory)
    except BaseException:
        memory.close()
        raise
    return memory


def _reader(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        _check_reader(db)
    except BaseException:
        db.close()
        raise
    return db


def _check_reader(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA query_only=ON")
    db.execute(f"PRAGMA cache_size=-{CACHE_KB}")
    db.text_factory = _text
    found = _version(db)
    if found != len(MIGRATIONS):
        age = "a newer" if found > len(MIGRATIONS) else "an older"
        raise sqlite3.OperationalError(f"it was written by {age} posagent (format {found})")
    _check_tables(db)


def _connect(path: Path) -> sqlite3.Connection:
    new = not _size(path)
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        if new:
            path.chmod(MODE)
        db.text_factory = _text
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Bring a file of any age to the newest version and look through all of it: damage shows here or never."""
    db.execute(f"PRAGMA cache_size=-{CACHE_KB}")
    if _version(db) > len(MIGRATIONS):
        raise sqlite3.OperationalError(f"it was written by a newer posagent (format {_version(db)})")
    if _version(db) < len(MIGRATIONS):
        _look_through(db)
        _reshape(db, path)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
    db.execute(f"PRAGMA wal_autocheckpoint={WAL_BYTES // PAGE}")
    _migrate(db)
    _check_tables(db)
    _look_through(db)


def _reshape(db: sqlite3.Connection, path: Path) -> None:
    """Small pages, and room that can be given back. Needs the file to itself: one in use stays as it is."""
    db.execute(f"PRAGMA page_size={PAGE}")
    db.execute("PRAGMA auto_vacuum=INCREMENTAL")
    if not _size(path) or (number(db, "page_size") == PAGE and number(db, "auto_vacuum")):
        return
    with contextlib.suppress(PermissionError):
        path.chmod(MODE)
    try:
        if db.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == "delete":
            db.execute(f"PRAGMA page_size={PAGE}")  # not heard while it was in WAL mode
            db.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if is_damage(error):
            raise


def _migrate(db: sqlite3.Connection) -> None:
    if _version(db) == len(MIGRATIONS):
        return
    try:
        db.execute("BEGIN IMMEDIATE")  # of two that open an old file at once, the second waits here and finds it done
        for step, script in enumerate(MIGRATIONS[_version(db) :], start=_version(db) + 1):
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={step}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # from now on a lost journal cannot make it look new


def _check_tables(db: sqlite3.Connection) -> None:
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names >= TABLES:
        raise Damaged("a table is missing")


def _look_through(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Damaged(" ".join(str(found).replace("*", " ").split())[:160])


def _version(db: sqlite3.Connection) -> int:
    """How many migrations made this file."""
    found = number(db, "user_version")
    if not 0 <= found < HIGHEST:
        raise Damaged(f"format {found}")
    return found


def number(db: sqlite3.Connection, pragma: str) -> int:
    """What one of SQLite's settings or counts says."""
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


def _expect(path: Path, right: int) -> None:
    """Say in the system's words what forbids it. (To try by opening is no way: closing would drop SQLite's locks.)"""
    if os.access(path, right):
        return
    path.stat()
    frozen = right == os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY
    number = errno.EROFS if frozen else errno.EACCES
    raise OSError(number, os.strerror(number))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # a garbled letter shall not hide the rows beside it


def identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name now; None where that cannot be seen, as where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int | None:
    """None where there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
    while aside.exists():
        aside = aside.with_name(aside.name + "x")
    for tail in JOURNALS:  # else SQLite would mend the new file with them
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + tail).rename(f"{aside}{tail}")
    path.rename(aside)
    known = [one for one in path.parent.glob(f"{path.name}.corrupt-*") if not one.name.endswith(JOURNALS)]
    for old in sorted(known, key=lambda one: one.stat().st_mtime)[:-KEPT_ASIDE]:
        for tail in ("", *JOURNALS):
            if Path(f"{old}{tail}") != aside:
                Path(f"{old}{tail}").unlink(missing_ok=True)
    return aside


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Only one process at a time makes or mends a file here."""
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ends = time.monotonic() + 10 * BUSY_S
        while True:
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.02)
        yield
    finally:
        os.close(place)
