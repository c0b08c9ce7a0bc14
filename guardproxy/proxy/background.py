"""Work that a reply waits for away from the event loop: durable writes, and bodies too large to screen in passing.

Decides who owns such work (one task group and two threads) and that a fault in it reaches its client as a 500 and the
log, and nobody else. What the work is comes from `exchange` and `holding`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

import structlog

from guardproxy.wire import Exchange, default_refusal

log = structlog.get_logger("guardproxy.proxy")

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

OFF_LOOP_BYTES: Final = 256 * 1024
"""A body of this size takes about a millisecond to screen; the loop has other clients to serve meanwhile."""

THREADS: Final = 2


class Background:
    """Runs work of exchanges in tasks of `tasks` and threads of `threads`."""

    def __init__(self, tasks: asyncio.TaskGroup, threads: Executor) -> None:
        """Own nothing: both belong to whoever made them."""
        self.faults = 0
        self._tasks = tasks
        self._threads = threads

    def spawn(self, work: Coroutine[Any, Any, None], exchange: Exchange) -> None:
        """Run `work`, which answers `exchange`, in a task."""
        self._tasks.create_task(self._watched(work, exchange))

    def compute(self, work: Callable[[], T], then: Callable[[T], None], exchange: Exchange) -> None:
        """Call `work` in a thread, then `then` with its result on the loop."""

        async def run() -> None:
            then(await asyncio.get_running_loop().run_in_executor(self._threads, work))

        self.spawn(run(), exchange)

    async def computed(self, work: Callable[[], T]) -> T:
        """Call `work` in a thread and return its result, or raise what it raised."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def finished(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns or raise what it raises; it goes on to its end when the caller is cancelled."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                result = await work
            except Exception as error:
                if done.cancelled():
                    self.faults += 1
                    log.error("exchange.failed", error=type(error).__name__, exc_info=error)
                else:
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self._tasks.create_task(run())
        return await done

    async def _watched(self, work: Coroutine[Any, Any, None], exchange: Exchange) -> None:
        try:
            await work
        except Exception as error:
            self.faults += 1
            log.error("exchange.failed", error=type(error).__name__, exc_info=error)
            if not exchange.replied:
                exchange.reply(default_refusal(500, "the guard failed"))


def without_frames(error: E) -> E:
    """Return an error without a trace of where it was raised.

    Its frames would keep whole bodies, and one that is the result of a thread's work is in a frame of its own: only the
    collector, which runs rarely, would free them.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
