"""One thread that owns one SQLite connection, fed through a bounded queue.

Decides how operations become transactions: writes that wait together share one transaction and one fsync (group commit),
each in a savepoint of its own, and nothing is answered before the commit. What the operations do is left to `sqlite`.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

from guardproxy.errors import GuardproxyError, StoreError
from guardproxy.stores.contract import StoreFullError
from guardproxy.stores.reserve import Reserve

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

GROUP: Final = 256
"""Most writes that share one transaction."""

_SENTENCES: Final[dict[int, tuple[type[StoreError], str]]] = {
    sqlite3.SQLITE_FULL: (StoreFullError, "{path} cannot grow: the disk is full; free some space"),
    sqlite3.SQLITE_IOERR: (StoreError, "the disk under {path} reported an error ({error})"),
    sqlite3.SQLITE_BUSY: (
        StoreError,
        "{path} is locked by another process; end it, or wait until it is done",
    ),
    sqlite3.SQLITE_LOCKED: (StoreError, "{path} is locked by another connection"),
    sqlite3.SQLITE_CORRUPT: (StoreError, "{path} is damaged ({error}); restore a copy or move it away"),
    sqlite3.SQLITE_NOTADB: (
        StoreError,
        "{path} is not a database; restore a copy or name another file in `store`",
    ),
    sqlite3.SQLITE_READONLY: (StoreError, "{path} cannot be written; check its owner and mode"),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "{path} cannot be opened; check its directory, owner and mode"),
}
_LOCKS: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class _Kind(Enum):
    READ = "read"
    WRITE = "write"
    STOP = "stop"


@dataclass(slots=True, eq=False)
class _Job:
    kind: _Kind
    operation: Operation[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    urgent: bool = False
    result: Any = None
    error: BaseException | None = field(default=None)

    def report(self) -> None:
        """Hand the result to the waiting task; one that was cancelled, or whose loop is gone, needs none."""
        try:
            self.loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def _settle(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Worker:
    """Runs operations in the order they came. An operation once accepted runs even if its task is cancelled."""

    def __init__(
        self,
        path: str,
        connect: Callable[[], sqlite3.Connection],
        reserve: Reserve,
        *,
        max_waiting: int,
    ) -> None:
        self._path = path
        self._connect = connect
        self._reserve = reserve
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._ready = threading.Condition()
        self._thread: threading.Thread | None = None
        self._accepting = False
        self.problem = ""

    @property
    def waiting(self) -> int:
        """How many operations wait."""
        return len(self._jobs)

    @property
    def accepting(self) -> bool:
        """True while operations are taken."""
        return self._accepting and len(self._jobs) < self._max_waiting

    async def start(self) -> None:
        """Start the thread and connect. Raises StoreError when the connection cannot be made."""
        if self._thread is not None:
            raise StoreError(f"{self._path} is already open")
        loop = asyncio.get_running_loop()
        opened = _Job(_Kind.READ, lambda _connection: None, loop, loop.create_future())
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="guardproxy-store", daemon=True
        )
        self._thread.start()
        try:
            await opened.future
        except BaseException:
            self._thread = None
            raise

    async def stop(self) -> None:
        """Run what was accepted, then close the connection and end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        loop = asyncio.get_running_loop()
        job = _Job(_Kind.STOP, lambda _connection: None, loop, loop.create_future())
        with self._ready:
            self._accepting = False
            self._jobs.append(job)
            self._ready.notify()
        await job.future
        thread.join()

    async def read(self, operation: Operation[T]) -> T:
        """Run `operation` outside a transaction of its own."""
        return await self._submit(_Kind.READ, operation, urgent=False)

    async def write(self, operation: Operation[T], *, urgent: bool = False) -> T:
        """Run `operation` in a durable transaction. An urgent one may use up the disk reserve."""
        return await self._submit(_Kind.WRITE, operation, urgent=urgent)

    async def _submit(self, kind: _Kind, operation: Operation[T], *, urgent: bool) -> T:
        loop = asyncio.get_running_loop()
        job = _Job(kind, operation, loop, loop.create_future(), urgent)
        with self._ready:
            if not self._accepting:
                raise StoreError(f"{self._path} is not open")
            if len(self._jobs) >= self._max_waiting:
                raise StoreError(f"{self._path} is too slow: {self._max_waiting} operations are waiting")
            self._jobs.append(job)
            self._ready.notify()
        result: T = await job.future
        return result

    def _run(self, opened: _Job) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the task that opens must hear of it
            opened.error = self._translated(error)
            opened.report()
            return
        self._accepting = True
        opened.report()
        try:
            self._serve(connection)
        finally:
            connection.close()
            self._abandon()

    def _serve(self, connection: sqlite3.Connection) -> None:
        while True:
            jobs = self._take()
            if jobs[0].kind is _Kind.STOP:
                self._close(connection, jobs[0])
                return
            try:
                self._perform(connection, jobs)
            except BaseException:
                for job in jobs:
                    job.error = StoreError(f"{self._path} had to be closed")
                raise
            finally:
                for job in jobs:
                    job.report()

    def _perform(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        if jobs[0].kind is _Kind.READ:
            self._read(connection, jobs[0])
            return
        self._write(connection, jobs)
        with contextlib.suppress(OSError):  # the next write says what is wrong with the disk
            self._reserve.take()

    def _close(self, connection: sqlite3.Connection, job: _Job) -> None:
        try:
            connection.close()
        except sqlite3.Error as error:
            job.error = self._translated(error)
        job.report()

    def _abandon(self) -> None:
        """Take no more work, and leave no task waiting for an answer that will not come."""
        with self._ready:
            self._accepting = False
            jobs, self._jobs = self._jobs, deque()
        for job in jobs:
            job.error = StoreError(f"{self._path} is closed")
            job.report()

    def _take(self) -> list[_Job]:
        """Wait for work; return all writes at the head of the queue (at most GROUP), or one job of another kind."""
        with self._ready:
            while not self._jobs:
                self._ready.wait()
            jobs = [self._jobs.popleft()]
            while (
                jobs[0].kind is _Kind.WRITE
                and self._jobs
                and self._jobs[0].kind is _Kind.WRITE
                and len(jobs) < GROUP
            ):
                jobs.append(self._jobs.popleft())
            return jobs

    def _read(self, connection: sqlite3.Connection, job: _Job) -> None:
        try:
            job.result = job.operation(connection)
        except Exception as error:  # noqa: BLE001 - handed to the task that asked
            job.error = self._translated(error)

    def _write(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Run `jobs` in one transaction; when the database refuses it, each in one of its own."""
        try:
            _transaction(connection, jobs)
            self.problem = ""
        except sqlite3.Error as error:
            code = _code(error)
            if code in _LOCKS:
                self._fail(jobs, error)
            elif len(jobs) > 1:
                for job in jobs:
                    self._write(connection, [job])
            elif code in _NO_ROOM and jobs[0].urgent and self._make_room(connection):
                self._write(connection, jobs)
            else:
                self._fail(jobs, error)

    def _make_room(self, connection: sqlite3.Connection) -> bool:
        """Give the reserve back and fold the journal into the file; tell whether it is worth to try again."""
        if not self._reserve.release():
            return False
        with contextlib.suppress(
            sqlite3.Error
        ):  # what cannot be folded now stays in the journal, as durable as before
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def _fail(self, jobs: list[_Job], error: sqlite3.Error) -> None:
        for job in jobs:
            job.error = self._translated(error)
        self.problem = str(self._translated(error))

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, OSError):
            return StoreError(f"{self._path}: {error.strerror or error}")
        if not isinstance(error, sqlite3.Error):
            return error
        kind, sentence = _SENTENCES.get(_code(error), (StoreError, "{path}: {error}"))
        translated = kind(sentence.format(path=self._path, error=error))
        translated.__cause__ = error
        return translated


def _transaction(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
    """Run all jobs and commit; an error of one job undoes that job only, one of the database undoes all."""
    if connection.in_transaction:  # an earlier rollback failed with the disk
        connection.execute("ROLLBACK")
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            job.result, job.error = None, None
            connection.execute("SAVEPOINT job")
            try:
                job.result = job.operation(connection)
            except sqlite3.Error:
                raise
            except Exception as error:  # noqa: BLE001 - handed to the task that asked
                connection.execute("ROLLBACK TO job")
                job.error = error if isinstance(error, GuardproxyError) else _unexpected(error)
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _unexpected(error: Exception) -> Exception:
    if isinstance(error, OSError):
        return StoreError(f"the store's disk: {error.strerror or error}")
    return error


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
