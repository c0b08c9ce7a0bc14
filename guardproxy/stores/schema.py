"""The tables of the SQLite store, and how an older file becomes a current one.

Decides the shape on disk as a table of migrations: entry n brings a file from version n to n + 1. How that is done is left to
`sqlite_file`.
"""

from typing import Final

from guardproxy.stores.sqlite_file import Kind

APPLICATION_ID: Final = 0x47524450  # "GRDP"

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE holds (
            id TEXT NOT NULL PRIMARY KEY,
            rev INTEGER NOT NULL CHECK (rev >= 1),
            state TEXT NOT NULL,
            model TEXT NOT NULL,
            queue TEXT NOT NULL,
            severity INTEGER NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            due_at REAL,
            decided_at REAL,
            document TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX holds_due ON holds (due_at) WHERE due_at IS NOT NULL",
        "CREATE INDEX holds_priority ON holds (-severity, expires_at, id)",
        "CREATE INDEX holds_open_priority ON holds (-severity, expires_at, id) WHERE due_at IS NOT NULL",
        "CREATE INDEX holds_open_oldest ON holds (created_at, id) WHERE due_at IS NOT NULL",
        "CREATE INDEX holds_recent ON holds (-created_at, id)",
        "CREATE INDEX holds_decided ON holds (decided_at) WHERE due_at IS NULL",
        "CREATE INDEX holds_state ON holds (state, queue, model)",
        """
        CREATE TABLE entries (
            hold_id TEXT NOT NULL REFERENCES holds (id) ON DELETE CASCADE,
            rev INTEGER NOT NULL,
            at REAL NOT NULL,
            kind TEXT NOT NULL,
            by TEXT NOT NULL,
            before TEXT,
            after TEXT NOT NULL,
            reason TEXT NOT NULL,
            note TEXT NOT NULL,
            PRIMARY KEY (hold_id, rev)
        ) STRICT, WITHOUT ROWID
        """,
        # How many holds are in each state, kept by the database itself so that the bound on open holds costs nothing.
        "CREATE TABLE totals (state TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        """
        CREATE TRIGGER holds_counted_in AFTER INSERT ON holds BEGIN
            INSERT INTO totals VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
        END
        """,
        """
        CREATE TRIGGER holds_counted_over AFTER UPDATE OF state ON holds BEGIN
            UPDATE totals SET n = n - 1 WHERE state = OLD.state;
            INSERT INTO totals VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
        END
        """,
        """
        CREATE TRIGGER holds_counted_out AFTER DELETE ON holds BEGIN
            UPDATE totals SET n = n - 1 WHERE state = OLD.state;
        END
        """,
        # The last line of defence, whatever a program does: final is final, and history is only ever appended to.
        """
        CREATE TRIGGER holds_final BEFORE UPDATE ON holds WHEN OLD.due_at IS NULL BEGIN
            SELECT RAISE(ABORT, 'a final hold never changes');
        END
        """,
        """
        CREATE TRIGGER entries_append_only BEFORE UPDATE ON entries BEGIN
            SELECT RAISE(ABORT, 'history is append-only');
        END
        """,
    ),
)

VERSION: Final = len(MIGRATIONS)

KIND: Final = Kind(
    APPLICATION_ID,
    MIGRATIONS,
    foreign="name another file in `store`",
    newer="run that release, or name another file in `store`",
    damaged="restore a copy or move it away",
)
"""What a file of holds is."""
