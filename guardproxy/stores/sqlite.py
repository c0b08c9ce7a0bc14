"""The embedded store: holds in one SQLite file, durable to the fsync.

Decides the SQL and the bounds (open holds, file size, free disk). Threads and transactions are left to `worker`, the
tables to `schema`, the room kept free to `reserve`.
"""

import base64
import contextlib
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guardproxy.errors import ConflictError, NotFoundError, StoreError
from guardproxy.holds import Entry, Hold, State, entry_created, from_json, to_json
from guardproxy.stores.contract import (
    ALL_HOLDS,
    MAX_LIMIT,
    CursorError,
    HoldFilter,
    Order,
    Page,
    StoreFullError,
    StoreStatus,
)
from guardproxy.stores.reserve import Reserve
from guardproxy.stores.schema import KIND, VERSION
from guardproxy.stores.sqlite_file import bring_up, refuse_damaged
from guardproxy.stores.worker import Worker
from guardproxy.units import format_size

_MIB: Final = 1024 * 1024
_KEYS: Final[Mapping[Order, tuple[str, ...]]] = {
    Order.PRIORITY: ("-severity", "expires_at", "id"),
    Order.RECENT: ("-created_at", "id"),
    Order.OLDEST: ("created_at", "id"),
}
_WAITING: Final = frozenset({State.OPEN, State.DECIDING})
_INSERT_HOLD: Final = "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_ENTRY: Final = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE_HOLD: Final = (
    "UPDATE holds SET rev = ?, state = ?, due_at = ?, decided_at = ?, document = ? WHERE id = ? AND rev = ?"
)


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """Bounds of the embedded store.

    `max_open` holds may be undecided, the file may have `max_bytes`; beyond either, and below `low_water_bytes` of free
    disk, `add` raises StoreFullError. `reserve_bytes` are kept in a file beside the database for decisions and
    expiries. `max_waiting` operations may queue; `lock_timeout_s` is how long another process may keep the file.
    """

    max_open: int = 10_000
    max_bytes: int = 2048 * _MIB
    low_water_bytes: int = 16 * _MIB
    reserve_bytes: int = 4 * _MIB
    max_waiting: int = 1024
    lock_timeout_s: float = 5.0


class SqliteHoldStore:
    """A `HoldStore` in one file. Several processes may share the file; each opens a store of its own."""

    def __init__(self, path: str | os.PathLike[str], options: SqliteOptions = SqliteOptions()) -> None:
        self._path = Path(path)
        self._options = options
        self._reserve = Reserve(
            self._path.with_name(self._path.name + ".reserve"), options.reserve_bytes, options.low_water_bytes
        )
        self._worker = Worker(str(path), self._connect, self._reserve, max_waiting=options.max_waiting)
        self._open_holds = 0

    async def open(self) -> None:
        """Open or create the file (mode 0600), check it and bring its tables up to date."""
        await self._worker.start()

    async def close(self) -> None:
        """Finish what was accepted, then close the file."""
        await self._worker.stop()

    async def add(self, holds: Sequence[Hold]) -> None:
        """Store all of `holds` or none, durably; see `HoldStore.add`."""
        rows = [(_hold_row(hold), _entry_row(entry_created(hold))) for hold in holds]
        await self._worker.write(lambda connection: self._insert(connection, rows))

    async def get(self, hold_id: str) -> Hold:
        """Return one hold, or raise NotFoundError."""
        return await self._worker.read(lambda connection: self._select(connection, hold_id))

    async def list(
        self,
        where: HoldFilter = ALL_HOLDS,
        *,
        order: Order = Order.PRIORITY,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of holds; see `HoldStore.list`."""
        keys = _KEYS[order]
        clauses, values = _where(where)
        if cursor is not None:
            clauses.append(f"({', '.join(keys)}) > ({', '.join('?' * len(keys))})")
            values.extend(_read_cursor(cursor, order))
        limit = max(1, min(limit, MAX_LIMIT))
        sql = (
            f"SELECT id, document, {', '.join(keys)} FROM holds WHERE {' AND '.join(clauses)} "  # noqa: S608 - constants
            f"ORDER BY {', '.join(keys)} LIMIT ?"
        )
        rows = await self._worker.read(
            lambda connection: connection.execute(sql, (*values, limit + 1)).fetchall()
        )
        holds = tuple(self._hold(row[0], row[1]) for row in rows[:limit])
        return Page(holds, _write_cursor(order, rows[limit - 1][2:]) if len(rows) > limit else None)

    async def counts(self, where: HoldFilter = ALL_HOLDS) -> Mapping[State, int]:
        """Return how many holds are in each state; see `HoldStore.counts`."""
        clauses, values = _where(where)
        sql = f"SELECT state, count(*) FROM holds WHERE {' AND '.join(clauses)} GROUP BY state"  # noqa: S608 - constants
        if where == ALL_HOLDS:
            sql = "SELECT state, n FROM totals"
        rows = await self._worker.read(lambda connection: connection.execute(sql, values).fetchall())
        found = {State(state): int(number) for state, number in rows}
        return {state: found.get(state, 0) for state in State}

    async def swap(self, hold: Hold, *, expected_rev: int, entry: Entry) -> None:
        """Compare and set, with the history line; see `HoldStore.swap`."""
        if hold.rev != expected_rev + 1 or (entry.hold_id, entry.rev) != (hold.id, hold.rev):
            raise ValueError(f"a change must raise the revision by one and be recorded as such: {entry}")
        values = (
            hold.rev, hold.state, hold.due_at, hold.decided_at, to_json(hold), hold.id, expected_rev,
        )  # fmt: skip
        row = _entry_row(entry)
        await self._worker.write(
            lambda connection: self._update(connection, hold.id, values, row), urgent=True
        )

    async def due(self, at: float, limit: int = 100) -> Sequence[Hold]:
        """Return holds whose timer has run out, the oldest first."""
        rows = await self._worker.read(
            lambda connection: connection.execute(
                "SELECT id, document FROM holds WHERE due_at <= ? ORDER BY due_at LIMIT ?",
                (at, max(0, min(limit, MAX_LIMIT))),
            ).fetchall()
        )
        return [self._hold(*row) for row in rows]

    async def events(self, hold_id: str) -> Sequence[Entry]:
        """Return a hold's history, the oldest first; raises NotFoundError."""
        rows = await self._worker.read(
            lambda connection: connection.execute(
                "SELECT hold_id, rev, at, kind, by, before, after, reason, note FROM entries"
                " WHERE hold_id = ? ORDER BY rev",
                (hold_id,),
            ).fetchall()
        )
        if not rows:
            raise NotFoundError(f"there is no hold {hold_id!r}")
        return [_entry(row) for row in rows]

    async def purge(self, before: float, limit: int = 1000) -> int:
        """Delete old terminal holds; see `HoldStore.purge`."""
        sql = (
            "DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE due_at IS NULL AND decided_at < ?"
            " ORDER BY decided_at LIMIT ?)"
        )
        return await self._worker.write(
            lambda connection: connection.execute(sql, (before, limit)).rowcount, urgent=True
        )

    async def probe(self) -> None:
        """Write the file's version anew; see `HoldStore.probe`."""
        await self._worker.write(lambda connection: connection.execute(f"PRAGMA user_version = {VERSION}"))

    def status(self) -> StoreStatus:
        """Say how the store is doing; reads only the file system's free space."""
        try:
            free = self._reserve.free_bytes()
        except OSError as error:
            return StoreStatus(
                accepting=False,
                waiting=self._worker.waiting,
                free_bytes=None,
                problem=f"{self._path.parent}: {error.strerror}",
            )
        problem = self._worker.problem
        if not self._worker.accepting:
            problem = problem or "the store is closed or its queue is full"
        elif free < self._options.low_water_bytes:
            problem = self._low_water()
        elif self._open_holds >= self._options.max_open:
            problem = f"{self._open_holds} holds are open, the most that are allowed"
        return StoreStatus(
            accepting=not problem,
            waiting=self._worker.waiting,
            free_bytes=free,
            problem=problem,
        )

    def _connect(self) -> sqlite3.Connection:
        if not self._path.parent.is_dir():
            raise StoreError(f"the directory of {self._path} does not exist; create it first")
        # The file has the rows of other people's requests in it: nobody else on the machine may read them.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, timeout=self._options.lock_timeout_s, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {16 * _MIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {self._journal_pages()}")
            refuse_damaged(connection, self._path, KIND)
            bring_up(connection, self._path, KIND)
            self._open_holds = _count_open(connection)
            self._reserve.take()
        except BaseException:
            connection.close()
            raise
        return connection

    def _journal_pages(self) -> int:
        """Keep the journal to about a quarter of the reserve, so that the reserve is enough to fold it in."""
        if self._options.reserve_bytes == 0:
            return 1000
        return max(64, min(1000, self._options.reserve_bytes // 4 // 4096))

    def _insert(
        self, connection: sqlite3.Connection, rows: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    ) -> None:
        self._check_room(connection, len(rows))
        for hold_row, entry_row in rows:
            try:
                connection.execute(_INSERT_HOLD, hold_row)
            except sqlite3.IntegrityError as error:
                raise ConflictError(f"hold {hold_row[0]!r} cannot be added: {error}") from error
            connection.execute(_INSERT_ENTRY, entry_row)
        self._open_holds += len(rows)

    def _check_room(self, connection: sqlite3.Connection, more: int) -> None:
        self._open_holds = _count_open(connection)
        if self._open_holds + more > self._options.max_open:
            raise StoreFullError(
                f"{self._open_holds} holds are open; at most {self._options.max_open} may be until some are decided"
            )
        pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        if pages * int(connection.execute("PRAGMA page_size").fetchone()[0]) >= self._options.max_bytes:
            raise StoreFullError(
                f"{self._path} has reached its bound of {format_size(self._options.max_bytes)}"
            )
        if self._reserve.too_full():
            raise StoreFullError(self._low_water())

    def _low_water(self) -> str:
        return (
            f"the disk under {self._path} has less than {format_size(self._options.low_water_bytes)} free; "
            "new holds are refused, decisions still work"
        )

    def _update(
        self, connection: sqlite3.Connection, hold_id: str, values: Sequence[Any], entry_row: Sequence[Any]
    ) -> None:
        try:
            changed = connection.execute(_UPDATE_HOLD, values).rowcount
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"hold {hold_id!r}: {error}") from error
        if changed == 0:
            now = self._select(connection, hold_id)
            raise ConflictError(f"it is at revision {now.rev} now ({now.state}), not {values[-1]}")
        connection.execute(_INSERT_ENTRY, entry_row)
        self._open_holds = _count_open(connection)

    def _select(self, connection: sqlite3.Connection, hold_id: str) -> Hold:
        try:
            row = connection.execute("SELECT id, document FROM holds WHERE id = ?", (hold_id,)).fetchone()
        except UnicodeEncodeError:  # a lone surrogate: no id has one
            row = None
        if row is None:
            raise NotFoundError(f"there is no hold {hold_id!r}")
        return self._hold(*row)

    def _hold(self, hold_id: str, document: str) -> Hold:
        try:
            return from_json(document)
        except ValueError as error:
            raise StoreError(f"{self._path}: hold {hold_id} cannot be read: {error}") from error


def _count_open(connection: sqlite3.Connection) -> int:
    sql = "SELECT coalesce(sum(n), 0) FROM totals WHERE state IN (?, ?)"
    return int(connection.execute(sql, tuple(_WAITING)).fetchone()[0])


def _where(where: HoldFilter) -> tuple[list[str], list[Any]]:
    clauses, values = ["1"], list[Any]()
    if where.states:
        # The plus keeps SQLite from the index by state, after which it would have to sort.
        clauses.append(f"+state IN ({', '.join('?' * len(where.states))})")
        values.extend(where.states)
        if _WAITING.issuperset(where.states):
            clauses.append("due_at IS NOT NULL")  # lets SQLite use the small index of what is undecided
    for column, wanted in (("queue", where.queue), ("model", where.model)):
        if wanted is not None:
            clauses.append(f"{column} = ?")
            values.append(wanted.encode("utf-8", "replace").decode())
    return clauses, values


def _write_cursor(order: Order, keys: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([order, *keys]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, order: Order) -> list[Any]:
    parts: Any = None
    if len(cursor) <= 1024:
        with contextlib.suppress(ValueError, RecursionError):
            parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if not isinstance(parts, list) or len(parts) != len(_KEYS[order]) + 1 or parts[0] != order:
        raise CursorError("this cursor is not one that this listing gave; start again without it")
    keys = parts[1:]
    numbers = all(type(key) in (int, float) for key in keys[:-1])
    if not numbers or not isinstance(keys[-1], str) or not keys[-1].isascii():
        raise CursorError("this cursor is not one that this listing gave; start again without it")
    return keys


def _hold_row(hold: Hold) -> tuple[Any, ...]:
    return (
        hold.id, hold.rev, hold.state, hold.model, hold.queue, int(hold.severity), hold.created_at, hold.expires_at,
        hold.due_at, hold.decided_at, to_json(hold),
    )  # fmt: skip


def _entry_row(entry: Entry) -> tuple[Any, ...]:
    texts = (entry.by, entry.before, entry.after, entry.reason, entry.note)
    return (entry.hold_id, entry.rev, entry.at, entry.kind, *(_storable(text) for text in texts))


def _storable(text: str | None) -> str | None:
    """Return text that UTF-8 can say; a lone surrogate becomes a question mark."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _entry(row: Sequence[Any]) -> Entry:
    hold_id, rev, at, kind, by, before, after, reason, note = row
    return Entry(
        hold_id, rev, at, kind, by, None if before is None else State(before), State(after), reason, note
    )
