"""The tables of statistics in SQLite.

Decides their shape on disk and whether a file is ours. What is written into them is left to `sqlite_statistics`.
"""

import sqlite3
from typing import Final

from guardproxy.errors import StoreError

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


def make_tables(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables of a new file, in one transaction. Raises StoreError when the file is not ours or is newer."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_new(connection, path):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_new(connection: sqlite3.Connection, path: str) -> bool:
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if owner != APPLICATION_ID and (owner or version or tables):
        raise StoreError(
            f"{path} is another program's database; name another file in `statistics: {{store}}`"
        )
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a newer guardproxy (its version {version}, known here {VERSION}); "
            "run that release, or move the file away: statistics begin anew"
        )
    return version == 0
