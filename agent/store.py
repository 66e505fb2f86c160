"""What must this agent still know after the power comes back? The only SQL.

SQLite in WAL mode with `synchronous=NORMAL`: cannot corrupt at a power cut, may lose the last moments, and writes a
twentieth of what the default journal writes to a till's flash.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent import homes

MIGRATIONS = (
    """
    CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE memory (probe TEXT PRIMARY KEY, noted TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""Step n brings a file from version n to n + 1; a step that was released is never edited."""

BUSY_S = 1.0


class StoreError(Exception):
    """The state cannot be read or kept; the text is `cannot <verb> <file>: <cause>`."""


def directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where state lives. Raises StoreError where this user has no place for it."""
    found = homes.state(env)
    if found is None:
        raise StoreError("cannot keep state: this user has no home directory; set $XDG_STATE_HOME or $STATE_DIRECTORY")
    return Path(found)


class Store:
    """The open state file. Raises StoreError from every method; close it."""

    def __init__(self, path: Path) -> None:
        """Open or create, and migrate. A file that is no database is moved aside, and `problems` says so."""
        self.path = path
        self.problems: list[str] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise StoreError(f"cannot open {path}: {cause}") from error

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self.path.with_name(f"{self.path.name}.corrupt-{int(time.time())}")
            for tail in ("-wal", "-shm"):  # else SQLite would mend the new file with them
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + tail).rename(f"{aside}{tail}")
            self.path.rename(aside)
            self.problems.append(f"state file was corrupt ({error}); kept as {aside.name}, started anew")
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        existed = self.path.exists()
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        if not existed:
            self.path.chmod(0o600)
        try:
            _prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def next_seq(self) -> int:
        """One more than ever before, over restarts, also when two processes ask at once."""
        rows = self._run(
            "INSERT INTO number VALUES ('seq', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
        )
        return int(rows[0][0])

    def memories(self) -> dict[str, dict[str, Any]]:
        """What each probe noted at its last look; a note that cannot be read is forgotten."""
        found = {}
        for name, text in self._run("SELECT probe, noted FROM memory"):
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                noted = json.loads(text)
                if isinstance(noted, dict):
                    found[name] = noted
        return found

    def remember(self, memories: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what these probes noted; the others' notes stay."""
        if not memories:
            return
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(
                    "INSERT INTO memory VALUES (?, ?) ON CONFLICT (probe) DO UPDATE SET noted = excluded.noted",
                    [(name, json.dumps(noted)) for name, noted in memories.items()],
                )
        except sqlite3.Error as error:
            raise StoreError(f"cannot write {self.path}: {error}") from error

    def _run(self, sql: str) -> list[Any]:
        try:
            return self._db.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"cannot use {self.path}: {error}") from error

    def close(self) -> None:
        """Done with it."""
        self._db.close()


def _prepare(db: sqlite3.Connection) -> None:
    """Bring the file to the newest version and touch every table: damage shows here or not at all."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    if _version(db) < len(MIGRATIONS):
        db.execute("BEGIN IMMEDIATE")  # of two that open a new file at once, the second waits here and finds it done
        for step, script in enumerate(MIGRATIONS[_version(db) :], start=_version(db) + 1):
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={step}")
        db.execute("COMMIT")
    if _version(db) > len(MIGRATIONS):
        raise sqlite3.OperationalError(f"it was written by a newer posagent (format {_version(db)})")
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not {"number", "memory"} <= names:
        raise sqlite3.DatabaseError("a table is missing")
    db.execute("SELECT count(value) FROM number").fetchone()
    db.execute("SELECT count(noted) FROM memory").fetchone()


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
