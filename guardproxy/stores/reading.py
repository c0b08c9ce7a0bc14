"""The holds of an embedded store, read without a server and without changing anything.

Decides that the file is opened read-only, so that it may be read while guardproxy serves from it. What is made of the holds
is left to the caller.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from guardproxy.errors import StoreError
from guardproxy.holds import Hold, from_json
from guardproxy.stores.schema import APPLICATION_ID, VERSION

MAX_READ: Final = 200_000
"""Most holds that are read: the newest ones. Nobody reviews more in the time that a recording spans."""


def read_holds(path: Path, *, model: str | None = None, since: float = 0.0) -> Iterator[Hold]:
    """Yield the holds that were made at or after `since` (Unix seconds), the newest first, at most MAX_READ.

    Raises StoreError with a sentence when the file is missing, not a store, newer than this release, or damaged.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no such store")
    where, values = "created_at >= ?", [since, MAX_READ]
    if model is not None:
        where, values = "created_at >= ? AND model = ?", [since, model, MAX_READ]  # type: ignore[list-item]
    sql = f"SELECT document FROM holds WHERE {where} ORDER BY created_at DESC LIMIT ?"  # noqa: S608 - constants
    try:
        address = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=5.0)) as connection:
            _check(connection, path)
            for (document,) in connection.execute(sql, values):
                yield _hold(document, path)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _check(connection: sqlite3.Connection, path: Path) -> None:
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if owner != APPLICATION_ID:
        raise StoreError(f"{path} is no store of guardproxy")
    if version != VERSION:
        raise StoreError(
            f"{path} has the layout of another release (version {version}, known here {VERSION})"
        )


def _hold(document: str, path: Path) -> Hold:
    try:
        return from_json(document)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} holds a document that cannot be read ({error})") from error
