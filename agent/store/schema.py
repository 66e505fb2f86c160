"""Which tables are in the state file, and how did older ones become these? The text of it, nothing that runs."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE memory (probe TEXT PRIMARY KEY, noted TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE track (probe TEXT PRIMARY KEY, track TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE incident (id TEXT PRIMARY KEY, opened_at REAL NOT NULL, resolved_at REAL, incident TEXT NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE transition (at REAL, probe TEXT, old TEXT, new TEXT, reason TEXT NOT NULL,
        PRIMARY KEY (at, probe, new)) WITHOUT ROWID;
    CREATE TABLE availability (day TEXT, probe TEXT, good REAL NOT NULL, bad REAL NOT NULL, blind REAL NOT NULL,
        PRIMARY KEY (day, probe)) WITHOUT ROWID;
    CREATE TABLE event (at REAL, what TEXT, facts TEXT, PRIMARY KEY (at, what, facts)) WITHOUT ROWID;
    CREATE TABLE mark (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE note (incident TEXT, at REAL, by TEXT, text TEXT, until REAL,
        PRIMARY KEY (incident, at, by, text)) WITHOUT ROWID;
    CREATE TABLE silence (id INTEGER PRIMARY KEY, starts REAL NOT NULL, until REAL NOT NULL, by TEXT NOT NULL,
        reason TEXT NOT NULL);
    CREATE TABLE outbox (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, incident TEXT, created REAL NOT NULL,
        due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL, state TEXT NOT NULL);
    """,
    """
    DROP TABLE outbox;
    CREATE TABLE outbox (id INTEGER PRIMARY KEY, key TEXT NOT NULL, channel TEXT NOT NULL, incident TEXT NOT NULL,
        what TEXT NOT NULL, level INTEGER NOT NULL, at REAL NOT NULL, created REAL NOT NULL, due REAL NOT NULL,
        attempts INTEGER NOT NULL, state TEXT NOT NULL, finished REAL, detail TEXT NOT NULL,
        instead_of TEXT NOT NULL, passed_on INTEGER NOT NULL, message BLOB NOT NULL, UNIQUE (key, channel));
    CREATE INDEX outbox_waiting ON outbox (channel, due) WHERE state = 'waiting';
    CREATE INDEX outbox_order ON outbox (incident, channel, id) WHERE state = 'waiting';
    CREATE TABLE told (incident TEXT PRIMARY KEY, told TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE parcel (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, seq INTEGER NOT NULL,
        at REAL NOT NULL, changed INTEGER NOT NULL, ways TEXT NOT NULL, body BLOB NOT NULL);
    """,
)
"""Step n brings a file from version n to n + 1; a step that was released is never edited.

Keys are natural ones, so that a batch whose fate is unknown can be saved again and nothing is there twice.
"""

TABLES = frozenset(
    (
        "number",
        "memory",
        "track",
        "incident",
        "transition",
        "availability",
        "event",
        "mark",
        "note",
        "silence",
        "outbox",
        "told",
        "parcel",
    )
)
PAGE = 1024
"""A heartbeat touches a few rows in each of a few tables: with small pages it writes a third of what 4 KB pages do."""
WAL_BYTES = 512 * 1024
CACHE_KB = 512
HIGHEST = 1000
"""No posagent will ever have written this many formats: a larger number is damage."""
