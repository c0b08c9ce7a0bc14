"""Statistics without a server: the same blobs, states, events and entities in one SQLite file.

Decides the SQL, when what has expired goes, and which entities go at the bound. Threads and transactions are left to
`worker`, the tables to `sqlite_schema`. The file survives a killed process; a power cut may cost the last second.
"""

import os
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from guardproxy.errors import StoreError
from guardproxy.stores.names import plain_name, safe_name
from guardproxy.stores.patience import patience
from guardproxy.stores.reserve import Reserve
from guardproxy.stores.sqlite_file import bring_up, refuse_damaged
from guardproxy.stores.sqlite_schema import KIND
from guardproxy.stores.standing import Clock, Standing
from guardproxy.stores.statistics import (
    MAX_BLOB,
    MAX_EVENTS,
    BucketKey,
    BucketWrite,
    StatisticsStatus,
    StoreDownError,
    check_blob,
    check_records,
)
from guardproxy.stores.worker import Worker

T = TypeVar("T")

CALL_S: Final = 0.5
"""How long a call may take; one that takes longer is a StoreDownError, and what it writes is written later."""
LOCK_S: Final = 0.25
PURGE_S: Final = 60.0
"""How often what has expired is deleted. Nothing that has expired is ever read, deleted or not."""
PURGE_ROWS: Final = 2_000
"""Most rows of a table that one purge deletes; the next call goes on where more have expired."""
MAX_WAITING: Final = 64
"""Most calls that wait for the file; one more is a StoreDownError."""

_PUT: Final = (
    "INSERT INTO buckets VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET blob = excluded.blob, expires_at = excluded.expires_at"
)
_READ: Final = (
    "SELECT writer, blob FROM buckets WHERE model = ? AND series = ? AND version = ? AND resolution = ? AND bucket = ?"
    " AND expires_at > ?"
)
_PUSH: Final = (
    "INSERT INTO entities VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET at = excluded.at, record = excluded.record, expires_at = excluded.expires_at"
)
_PURGES: Final = (
    "DELETE FROM buckets WHERE rowid IN (SELECT rowid FROM buckets WHERE expires_at <= ? LIMIT ?)",
    "DELETE FROM states WHERE rowid IN (SELECT rowid FROM states WHERE expires_at <= ? LIMIT ?)",
    "DELETE FROM entities WHERE (model, id) IN (SELECT model, id FROM entities WHERE expires_at <= ? LIMIT ?)",
)
_FORGET_EVENTS: Final = (
    "DELETE FROM events WHERE model = ? AND number <="
    " (SELECT number FROM events WHERE model = ? ORDER BY number DESC LIMIT 1 OFFSET ?)"
)
_FORGET_ENTITIES: Final = (
    "DELETE FROM entities WHERE model = ? AND id IN"
    " (SELECT id FROM entities WHERE model = ? ORDER BY at LIMIT ?)"
)


class SqliteStatistics:
    """A `StatisticsStore` in one file. Several processes may share the file; each opens a store of its own."""

    def __init__(self, path: Path, max_entities: int = 1_000_000, clock: Clock = time.time) -> None:
        self._path = path
        self._max_entities = max_entities
        self._clock = clock
        self._standing = Standing("sqlite", clock)
        self._purged_at = clock()
        self._unsure = deque[tuple[str, str]](maxlen=MAX_WAITING)
        reserve = Reserve(path.with_name(path.name + ".reserve"), size=0, low_water=0)
        self._worker = Worker(str(path), self._connect, reserve, max_waiting=MAX_WAITING)

    async def open(self) -> None:
        """Open or create the file (mode 0600) and its tables. Raises StoreError when it is damaged or not ours."""
        await self._worker.start()

    async def close(self) -> None:
        """Finish what was accepted, then close the file."""
        await self._worker.stop()

    def status(self) -> StatisticsStatus:
        """Say how the store is doing."""
        return self._standing.status()

    async def put(self, writes: Sequence[BucketWrite]) -> None:
        """Write blobs; see `StatisticsStore.put`."""
        now = self._clock()
        rows = [
            (*_key(write.key), safe_name(write.writer), write.blob, now + write.keep_s)
            for write in writes
            if len(write.blob) <= MAX_BLOB
        ]
        if len(rows) < len(writes):
            self._standing.skip(
                f"a blob of more than {MAX_BLOB} bytes was not written", len(writes) - len(rows)
            )

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_PUT, rows)
            self._purge(connection, now)

        await self._call(self._worker.write(work))

    async def read(self, keys: Sequence[BucketKey]) -> Sequence[Mapping[str, bytes]]:
        """Return blobs by writer; see `StatisticsStore.read`."""
        now = self._clock()

        def work(connection: sqlite3.Connection) -> list[dict[str, bytes]]:
            return [
                {plain_name(writer): blob for writer, blob in connection.execute(_READ, (*_key(key), now))}
                for key in keys
            ]

        return await self._call(self._worker.read(work))

    async def offset(self) -> float:
        """Return 0: the file has no clock but this machine's."""
        return 0.0

    async def state(self, model: str, name: str) -> bytes | None:
        """Return a named state; see `StatisticsStore.state`."""
        now = self._clock()
        return await self._call(
            self._worker.read(lambda connection: _state(connection, safe_name(model), safe_name(name), now))
        )

    async def swap(self, model: str, name: str, expected: bytes | None, state: bytes, keep_s: int) -> bool:
        """Compare and set; see `StatisticsStore.swap`."""
        check_blob(state, "a state")
        now, keys = self._clock(), (safe_name(model), safe_name(name))

        def work(connection: sqlite3.Connection) -> bool:
            if _state(connection, *keys, now) != expected:
                return False
            connection.execute(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)", (*keys, state, now + keep_s)
            )
            return True

        return await self._call(self._worker.write(work))

    async def report(self, model: str, event_id: str, event: bytes) -> bool:
        """Append an event once per id; see `StatisticsStore.report`.

        What was given up is done all the same, later; so who reports it again hears True once, even if it was another's before.
        """
        check_blob(event, "an event")
        model, event_id = safe_name(model), safe_name(event_id)

        def work(connection: sqlite3.Connection) -> bool:
            row = (model, event_id, event)
            sql = "INSERT INTO events (model, id, event) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            if not connection.execute(sql, row).rowcount:
                return False
            connection.execute(_FORGET_EVENTS, (model, model, MAX_EVENTS))
            return True

        try:
            new = await self._call(self._worker.write(work))
        except StoreDownError:
            self._unsure.append((model, event_id))
            raise
        if (model, event_id) in self._unsure:
            self._unsure.remove((model, event_id))
            return True
        return new

    async def events(self, model: str, limit: int = 100) -> Sequence[tuple[str, bytes]]:
        """Return the newest events first; see `StatisticsStore.events`."""
        sql = "SELECT id, event FROM events WHERE model = ? ORDER BY number DESC LIMIT ?"
        values = (safe_name(model), max(0, min(limit, MAX_EVENTS)))
        rows = await self._call(
            self._worker.read(lambda connection: connection.execute(sql, values).fetchall())
        )
        return [(plain_name(event_id), event) for event_id, event in rows]

    async def pull(self, model: str, entities: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the record of each entity; see `StatisticsStore.pull`."""
        name, now = safe_name(model), self._clock()
        sql = "SELECT record FROM entities WHERE model = ? AND id = ? AND expires_at > ?"

        def work(connection: sqlite3.Connection) -> list[bytes | None]:
            rows = [connection.execute(sql, (name, entity, now)).fetchone() for entity in entities]
            return [None if row is None else row[0] for row in rows]

        return await self._call(self._worker.read(work))

    async def push(self, model: str, records: Mapping[bytes, bytes], keep_s: int) -> None:
        """Write records by entity; see `StatisticsStore.push`."""
        check_records(records)
        name, now = safe_name(model), self._clock()
        rows = [
            (name, entity, int.from_bytes(record[:4], "big"), record, now + keep_s)
            for entity, record in records.items()
        ]

        def work(connection: sqlite3.Connection) -> int:
            connection.executemany(_PUSH, rows)
            self._purge(connection, now)
            total = connection.execute("SELECT n FROM totals WHERE model = ?", (name,)).fetchone()
            too_many = max(0, (total[0] if total else 0) - self._max_entities)
            if too_many:
                connection.execute(_FORGET_ENTITIES, (name, name, too_many))
            return too_many

        self._standing.evicted += await self._call(self._worker.write(work))

    async def _call(self, work: Awaitable[T]) -> T:
        try:
            async with patience(CALL_S):
                result = await work
        except TimeoutError:
            problem = f"{self._path} did not answer within {CALL_S} s; see whether its disk is slow or another process keeps it"
            self._standing.failed(problem)
            raise StoreDownError(problem) from None
        except StoreError as error:
            self._standing.failed(str(error))
            raise StoreDownError(str(error)) from error
        self._standing.succeeded()
        return result

    def _purge(self, connection: sqlite3.Connection, now: float) -> None:
        if abs(now - self._purged_at) < PURGE_S:
            return
        gone = [connection.execute(sql, (now, PURGE_ROWS)).rowcount for sql in _PURGES]
        if max(gone) < PURGE_ROWS:
            self._purged_at = now

    def _connect(self) -> sqlite3.Connection:
        if not self._path.parent.is_dir():
            raise StoreError(f"the directory of {self._path} does not exist; create it first")
        # Names of models and what their inputs look like: nobody else on the machine may read it.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, timeout=LOCK_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            refuse_damaged(connection, self._path, KIND)
            bring_up(connection, self._path, KIND)
        except BaseException:
            connection.close()
            raise
        return connection


def _key(key: BucketKey) -> tuple[str, str, str, int, int]:
    return safe_name(key.model), safe_name(key.series), safe_name(key.version), key.resolution, key.bucket


def _state(connection: sqlite3.Connection, model: str, name: str, now: float) -> bytes | None:
    sql = "SELECT state FROM states WHERE model = ? AND name = ? AND expires_at > ?"
    row = connection.execute(sql, (model, name, now)).fetchone()
    return None if row is None else bytes(row[0])
