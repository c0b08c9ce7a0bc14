"""A SQLite file of ours: whose it is, whether it is whole, and how an older one becomes a current one.

Decides what is looked at before a file is used. Its tables, and what a person is told to do, are left to each store. The version stands in
SQLite's `user_version`, the owner in its `application_id`.
"""

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from guardproxy.errors import StoreError

_CHECKED_BYTES: Final = 64 * 1024 * 1024


class Kind(NamedTuple):
    """A kind of file. Step n brings one from version n to n + 1. The others say what to do about a file that is another program's, one that
    a newer version wrote, and a damaged one."""

    application_id: int
    steps: tuple[tuple[str, ...], ...]
    foreign: str
    newer: str
    damaged: str


def refuse_damaged(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """Raise StoreError for a damaged file at once rather than in the middle of the night (of a small one; it is read whole)."""
    if path.stat().st_size > _CHECKED_BYTES:
        return
    finding = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if finding != "ok":
        raise StoreError(f"{path} is damaged ({' '.join(finding.split())[:200]}); {kind.damaged}")


def bring_up(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """Bring a file to the newest version, in one transaction. Raises StoreError when it is not ours or is newer."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path, kind)
        for step in kind.steps[version:]:
            for statement in step:
                connection.execute(statement)
        if version < len(kind.steps):
            connection.execute(f"PRAGMA application_id = {kind.application_id}")
            connection.execute(f"PRAGMA user_version = {len(kind.steps)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, path: Path, kind: Kind) -> int:
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if owner != kind.application_id and (owner or version or tables):
        raise StoreError(f"{path} is another program's database; {kind.foreign}")
    if version > len(kind.steps):
        raise StoreError(
            f"{path} was written by a newer guardproxy (its version {version}, known here {len(kind.steps)}); {kind.newer}"
        )
    return version
