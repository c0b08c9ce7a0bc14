"""The tables of statistics in SQLite.

Decides their shape on disk. What is written into them is left to `sqlite_statistics`.
"""

from typing import Final

from guardproxy.stores.sqlite_file import Kind

APPLICATION_ID: Final = 0x47524453  # "GRDS"
VERSION: Final = 1

_TABLES: Final = (
    """
    CREATE TABLE buckets (
        model TEXT NOT NULL,
        series TEXT NOT NULL,
        version TEXT NOT NULL,
        resolution INTEGER NOT NULL,
        bucket INTEGER NOT NULL,
        writer TEXT NOT NULL,
        blob BLOB NOT NULL,
        expires_at REAL NOT NULL,
        PRIMARY KEY (model, series, version, resolution, bucket, writer)
    ) STRICT
    """,
    "CREATE INDEX buckets_expired ON buckets (expires_at)",
    """
    CREATE TABLE states (
        model TEXT NOT NULL,
        name TEXT NOT NULL,
        state BLOB NOT NULL,
        expires_at REAL NOT NULL,
        PRIMARY KEY (model, name)
    ) STRICT
    """,
    """
    CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        model TEXT NOT NULL,
        id TEXT NOT NULL,
        event BLOB NOT NULL,
        UNIQUE (model, id)
    ) STRICT
    """,
    "CREATE INDEX events_newest ON events (model, number)",
    """
    CREATE TABLE entities (
        model TEXT NOT NULL,
        id BLOB NOT NULL,
        at INTEGER NOT NULL,
        record BLOB NOT NULL,
        expires_at REAL NOT NULL,
        PRIMARY KEY (model, id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX entities_oldest ON entities (model, at)",
    "CREATE INDEX entities_expired ON entities (expires_at)",
    # How many entities a model has, kept by the database itself so that the bound on them costs nothing.
    "CREATE TABLE totals (model TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """
    CREATE TRIGGER entities_counted_in AFTER INSERT ON entities BEGIN
        INSERT INTO totals VALUES (NEW.model, 1) ON CONFLICT (model) DO UPDATE SET n = n + 1;
    END
    """,
    """
    CREATE TRIGGER entities_counted_out AFTER DELETE ON entities BEGIN
        UPDATE totals SET n = n - 1 WHERE model = OLD.model;
    END
    """,
)


KIND: Final = Kind(
    APPLICATION_ID,
    (_TABLES,),
    foreign="name another file in `statistics: {store}`",
    newer="run that release, or move the file away: statistics begin anew",
    damaged="move it away: statistics begin anew, holds are not in it",
)
"""What a file of statistics is."""
